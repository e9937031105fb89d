"""Sound DP-FedLoRA: what a client sends is a change of its adapters, clipped jointly.

The published program clips the weights of each tensor on its own (`released.dp_fedlora`). Here all
adapted tensors together are one vector, the difference to what was broadcast, and one clip. How
the factors are combined afterwards is post-processing (`lora_aggregate`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.adjacency import FIXED_SIZE, Unit
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from ..accountant.events import RestrictedDpEvent
from .assumed import DOUBLE_PRECISION, NAN_IS_ZERO, ONE_KEY, public
from .base import Key, Point, require_floating
from .clipping import Clip
from .sums import noisy, noisy_given, restored, sampled_total

Rule = Literal["both", "ffa", "rolora"]


def trained_factors(rule: Rule, round_: int) -> tuple[str, ...]:
    """Which of "A" and "B" are trained and sent in a round.

    "both": A and B. "ffa": B alone, A frozen from a public seed (arXiv:2403.12313). "rolora": B in
    even rounds, A in odd ones (arXiv:2409.02346).
    """
    check.one_of(get_args(Rule), rule=rule)
    check.whole(round_=round_)
    if rule == "both":
        return ("A", "B")
    return ("B",) if rule == "ffa" or round_ % 2 == 0 else ("A",)


def joint_delta(
    values: Mapping[str, Tensor], broadcast: Mapping[str, Tensor], names: tuple[str, ...]
) -> Tensor:
    """float[..., clients, all]: the change of all named tensors as one vector per client.

    Args:
        values: name -> float[..., clients, *shape] after local training.
        broadcast: name -> float[*shape] or float[..., clients, *shape] before it.
        names: which tensors are sent, in this order.

    Raises:
        ParameterError: nothing is sent, or a name is missing.
    """
    missing = [name for name in names if name not in values or name not in broadcast]
    if missing or not names:
        raise ParameterError(f"tensors {missing or 'none'} of {list(names)}: name those that exist")
    return torch.cat(
        [(values[n] - broadcast[n]).flatten(-broadcast[n].ndim) for n in names], dim=-1
    )


def split_delta(vector: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Undo `joint_delta` for float[..., all]: name -> float[..., *shape]."""
    sizes = [int(torch.Size(shape).numel()) for shape in shapes.values()]
    parts = vector.split(sizes, dim=-1)
    pairs = zip(shapes.items(), parts, strict=True)
    return {name: part.unflatten(-1, shape) for (name, shape), part in pairs}


_CLIPPED_JOINTLY = Assumption(
    text="Everything that leaves the client is in the clipped vector.",
    how="declared: control variates, statistics and sizes must be in it, public, or off",
    holds=None,
)


@dataclass(frozen=True, kw_only=True)
class JointDeltaUpload:
    """Each client's whole change clipped to one bound and noised before it leaves.

    Source: Gaussian mechanism on one vector per client; derived for arXiv:2509.09097.

    Attributes:
        clip_norm: bound on one client's change, > 0, all tensors together.
        noise_multiplier: noise std / clip_norm, > 0.
    """

    point: ClassVar[Point] = "per_upload"
    unit: ClassVar[Unit] = "client"
    clip_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        check.positive(clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier)

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim]: each client's change clipped; one that is not finite is zero."""
        return Clip(joint_norm=self.clip_norm).apply(rows)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """Noisy changes, float[..., clients, dim], of the same."""
        require_floating(payload)
        scale, own = self.noise_multiplier * self.clip_norm, key.child("upload")
        # Each row is rounded once, after its noise.
        return noisy(self.contribution(payload).double(), scale, own).to(payload.dtype)

    def event(self, participations: int = 1) -> dpe.DpEvent:
        """As many uploads of one client; zero-out or replace-one of its data.

        Accounting under add-remove is refused: that there is an upload shows who takes part.
        """
        check.count(participations=participations)
        one = dpe.GaussianDpEvent(self.noise_multiplier)
        return RestrictedDpEvent(dpe.SelfComposedDpEvent(one, participations), FIXED_SIZE)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (
            _CLIPPED_JOINTLY,
            public("The clip bound, the noise scale and who takes part when"),
            NAN_IS_ZERO,
            ONE_KEY,
            DOUBLE_PRECISION,
        )


@dataclass(frozen=True, kw_only=True)
class JointDeltaSum:
    """Clipped changes summed by a trusted server or a secure sum, noised once.

    Source: McMahan, Ramage, Talwar & Zhang, arXiv:1710.06963.

    Attributes:
        clip_norm: bound on one client's change, > 0, all tensors together.
        noise_multiplier: noise std of the sum / clip_norm, > 0.
        sampling_rate: probability that a client takes part, secret; 1 for a public schedule.
        cohort: public divisor, the expected number of clients of a round, > 0.
    """

    point: ClassVar[Point] = "aggregate"
    unit: ClassVar[Unit] = "client"
    clip_norm: float
    noise_multiplier: float
    sampling_rate: float
    cohort: float

    def __post_init__(self) -> None:
        check.positive(
            clip_norm=self.clip_norm,
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate,
            cohort=self.cohort,
        )
        check.probability(sampling_rate=self.sampling_rate)

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim]: each client's change clipped; one that is not finite is zero."""
        return Clip(joint_norm=self.clip_norm).apply(rows)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """Noisy mean change, float[..., dim], of float[..., clients, dim], clients sampled."""
        own = key.child("sum of changes")
        clipped_sum = sampled_total(self.contribution(payload), self.sampling_rate, own)
        return restored(self.noisy_sum(clipped_sum, own.child("noise")) / self.cohort, payload)

    def noisy_sum(self, clipped: Tensor, key: Key) -> Tensor:
        """Sums with noise, float[..., dim], of sums of `contribution`s, not yet divided."""
        return noisy_given(clipped, self.noise_multiplier * self.clip_norm, key)

    def event(self, rounds: int = 1) -> dpe.DpEvent:
        """`rounds` rounds; add or remove one client."""
        check.count(rounds=rounds)
        one: dpe.DpEvent = dpe.GaussianDpEvent(self.noise_multiplier)
        if self.sampling_rate < 1.0:
            one = dpe.PoissonSampledDpEvent(self.sampling_rate, one)
        return one if rounds == 1 else dpe.SelfComposedDpEvent(one, rounds)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        sampled = self.sampling_rate < 1.0
        return (
            _CLIPPED_JOINTLY,
            Assumption(
                text="Who takes part is secret and drawn independently in every round.",
                how="drawn from the key of the round" if sampled else "no amplification is used",
                holds=None if sampled else True,
            ),
            public("The clip bound, the noise scale and the expected cohort"),
            NAN_IS_ZERO,
            ONE_KEY,
            DOUBLE_PRECISION,
        )
