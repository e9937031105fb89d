"""Who takes part in a round. The rule is what the accounting assumes, and the only one there is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.errors import ConfigError
from ..mechanisms.base import Key
from .clients import ClientData
from .counters import Counter


class Cohort(Protocol):
    """A rule; it never looks at anybody's records."""

    def draw(self, data: ClientData, round: int, key: Key) -> Tensor:
        """int64[k]: the rows that take part in a round."""

    @property
    def sampling_rate(self) -> float | None:
        """Probability of an independent secret draw; None if the rule is none such."""

    @property
    def text(self) -> str:
        """The rule in words, for the record."""


@dataclass(frozen=True)
class Everyone:
    """All clients in every round."""

    def draw(self, data: ClientData, round: int, key: Key) -> Tensor:
        """Every row."""
        return torch.arange(len(data))

    @property
    def sampling_rate(self) -> float:
        """1."""
        return 1.0

    @property
    def text(self) -> str:
        """In words."""
        return "all clients in every round"


@dataclass(frozen=True)
class Poisson:
    """Each client on its own with this probability in (0, 1]; the cohort may be empty."""

    rate: float

    def __post_init__(self) -> None:
        check.positive(sampling_rate=self.rate)
        check.probability(sampling_rate=self.rate)

    def draw(self, data: ClientData, round: int, key: Key) -> Tensor:
        """Rows whose number is below the rate."""
        child = key.child("cohort")
        if child.fingerprint == "system":
            drawn = torch.from_numpy(child.generator().random(len(data)))
        else:
            counter = Counter.of(child, round=round)
            drawn = counter.uniform(data.clients.cpu(), data.replicas.cpu(), 1)[:, 0]
        return (drawn < self.rate).nonzero()[:, 0]

    @property
    def sampling_rate(self) -> float:
        """The rate."""
        return self.rate

    @property
    def text(self) -> str:
        """In words."""
        return f"Poisson: each client with probability {self.rate!r} in every round"


@dataclass(frozen=True)
class Scheduled:
    """A public schedule: round -> numbers of the clients that take part, in every replica.

    Nothing is amplified: whoever takes part is known.
    """

    schedule: Callable[[int], Sequence[int]]

    def draw(self, data: ClientData, round: int, key: Key) -> Tensor:
        """Rows of the scheduled clients, in the order of the schedule, replica by replica.

        Raises:
            ConfigError: a client is not there, or is named twice.
        """
        wanted = np.asarray(self.schedule(round), dtype=np.int64)
        position = wanted.argsort()
        names = wanted[position]
        clients, replicas = data.clients.cpu().numpy(), data.replicas.cpu().numpy()
        at = names.searchsorted(clients).clip(max=max(len(names) - 1, 0))
        rows = (names[at] == clients).nonzero()[0] if len(names) else names
        there = np.zeros(len(names), dtype=bool)
        there[at[rows]] = True
        if not there.all() or (np.diff(names) == 0).any():
            raise ConfigError(
                f"the schedule of round {round} names a client that is not there, or one twice: "
                f"{wanted.tolist()}"
            )
        rank = replicas[rows] * (len(names) + 1) + position[at[rows]]
        return torch.from_numpy(rows[rank.argsort(kind="stable")])

    @property
    def sampling_rate(self) -> None:
        """No secret draw."""
        return None

    @property
    def text(self) -> str:
        """In words."""
        return "a public schedule"
