"""How the clients' shared prompts are grouped and averaged: on secret shares, or in the clear.

`SecretClusters` runs `mechanisms.secfpp`, round by round, inside a federated run. `PlainClusters`
is its plaintext twin and the controls: clusters that are known, random, or one for all.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.adjacency import Unit
from ...accountant.errors import ConfigError, LedgerError
from ...accountant.event_json import to_dict
from ...accountant.ledger import EVERYONE, Ledger, LedgerEntry
from ...mechanisms.base import Key
from ...mechanisms.secfpp import SecFPP
from ...mechanisms.secret_sharing.clusterer import Clustered
from ...mechanisms.secret_sharing.clustering import adaptive, plain_distances
from ...mechanisms.secret_sharing.masks import Source
from ...mechanisms.secret_sharing.openings import Board
from ...mechanisms.secret_sharing.reduction import public_basis
from ...mechanisms.secret_sharing.setting import Setting
from ...mechanisms.secret_sharing.sound_mpc import fixed_schedule, plain_sizes
from ..clients import ClientData
from ..cohort import Cohort, Everyone
from .base import Algorithm

Assign = Callable[[Tensor], Tensor]
"""Reduced prompts float64[clients, d'] -> int64[clients], clusters 0, 1, ... without gaps."""


class Clusters(Protocol):
    """Grouping and averaging of all clients' prompts."""

    @property
    def clients(self) -> int:
        """All of them take part in every round."""

    @property
    def most(self) -> int:
        """Clusters at most."""

    def serve(
        self,
        prompts: Tensor,
        kept: Clustered | None,
        *,
        number: int,
        senders: Sequence[int] | None,
    ) -> tuple[Tensor, Clustered]:
        """Each client's cluster prompt, float64[clients, dim], and the clusters.

        Args:
            prompts: float[clients, dim].
            kept: the clusters of the last round; None before the first.
            number: of the round, from 1.
            senders: clients whose replies arrive; all if None.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class SecretClusters:
    """The protocol on shares; also the run's `Protection`, which writes what it costs.

    Give the run the same ledger: a round that is not in it is refused before anything is opened.
    What an adversary saw is in `boards`. Uploads and broadcasts of a recorder are the simulator's
    own: nobody sees them, so do not take a recorder's view for an adversary's.

    Attributes:
        system: the declaration; as many rounds as the run.
        source: of masks and noise; `SystemSource` outside tests.
        ledger: of unit "client".
        boards: what was opened, one for each round of this process.

    Raises:
        LedgerError: the ledger has another unit.
    """

    system: SecFPP
    source: Source
    ledger: Ledger
    boards: list[Board] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.ledger.unit != "client":
            raise LedgerError(
                "what SecFPP protects is one client, but the ledger is about one "
                f'"{self.ledger.unit}".\n  Give Ledger(unit="client").'
            )

    @property
    def clients(self) -> int:
        """N of the setting."""
        return self.system.setting.clients

    @property
    def most(self) -> int:
        """In any mode."""
        return max(self.system.rule.most, self.system.setting.clusters)

    def serve(
        self,
        prompts: Tensor,
        kept: Clustered | None,
        *,
        number: int,
        senders: Sequence[int] | None,
    ) -> tuple[Tensor, Clustered]:
        """See `Clusters`.

        Raises:
            LedgerError: the run writes into another ledger, or has more rounds than the system.
        """
        written = [e.release for e in self.ledger.entries if e.round == number]
        # A run with a name adds it.
        if not all(any(w.startswith(e.release) for w in written) for e in self._entries(number)):
            raise LedgerError(
                f"round {number} of SecFPP is not in the ledger that its clusters were given.\n"
                "  Run the federation with that ledger, and with the clusters as its protection."
            )
        # The protocol numbers rounds by its ledger; the run's has this one already.
        past = Ledger(adjacency=self.ledger.adjacency, unit="client")
        past.write(self._entries(number - 1) if number > 1 else ())
        run = self.system.begin(source=self.source, ledger=past, clustered=kept)
        served = run.round(prompts, senders=senders)
        self.boards.append(run.board)
        assert run.clustered is not None  # a round leaves one, or raises
        return served, run.clustered

    @property
    def unit(self) -> Unit:
        """One client, where anything is bounded."""
        return "client"

    @property
    def trust(self) -> str:
        """Nobody sees an upload."""
        return "uploads are secret-shared and seen by nobody; see the boards for what is opened"

    def check(self, algorithm: Algorithm, data: ClientData, cohort: Cohort) -> None:
        """The algorithm must use these clusters, and all clients take part.

        Raises:
            ConfigError: it does not, or they do not.
        """
        if not isinstance(cohort, Everyone):
            raise ConfigError(
                f"all clients of SecFPP hold shares, but the run draws: {cohort.text}.\n"
                "  Use Everyone()."
            )
        if getattr(algorithm, "clusters", None) is not self:
            raise ConfigError(
                f"{type(algorithm).__name__} does not use the clusters that are accounted.\n"
                "  Give both the same object."
            )

    def entries(
        self, data: ClientData, rows: Tensor, round: int, key: Key
    ) -> Iterable[LedgerEntry]:
        """What the round opens."""
        return self._entries(round + 1)

    def rows(self, uploads: Tensor, data: ClientData, round: int, key: Key) -> Tensor:
        """Unchanged: what leaves a client is shares, which the protocol makes."""
        return uploads

    def totals(self, sums: Tensor, replicas: Tensor, round: int, key: Key) -> Tensor:
        """Unchanged."""
        return sums

    def _entries(self, number: int) -> list[LedgerEntry]:
        plan = self.system.begin(source=self.source).plan
        return [
            LedgerEntry(
                release=f"secfpp {name}",
                client=EVERYONE,
                label="",
                round=number,
                event=to_dict(event),
                noise=self.source.child(name, number).fingerprint,
            )
            for name, event in plan.releases(number, self.ledger.adjacency)
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainClusters:
    """In the clear: a server that sees all prompts. For comparison; nothing is protected.

    Attributes:
        setting: the public constants; prompts are clipped as they are for shares.
        assign: who belongs together.
        period: rounds 1, 1 + period, ... cluster.
        seed: of the public basis of the reduced prompts.
    """

    setting: Setting
    assign: Assign
    period: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        check.count(period=self.period)

    @property
    def clients(self) -> int:
        """N of the setting."""
        return self.setting.clients

    @property
    def most(self) -> int:
        """As many as clients."""
        return self.setting.clients

    def serve(
        self,
        prompts: Tensor,
        kept: Clustered | None,
        *,
        number: int,
        senders: Sequence[int] | None,
    ) -> tuple[Tensor, Clustered]:
        """See `Clusters`; means of the clipped prompts in double precision."""
        setting = self.setting
        rows = setting.checked_rows("prompts", prompts, setting.prompt_dimension).cpu()
        if kept is None or (number - 1) % self.period == 0:
            basis = public_basis(
                prompt_dimension=setting.prompt_dimension,
                dimension=setting.dimension,
                seed=self.seed,
            )
            found = self.assign(setting.clipped(rows.double() @ basis, setting.points.bound))
            numbers = found.unique().tolist()
            if found.shape != (len(rows),) or numbers != list(range(len(numbers))):
                raise ConfigError(
                    f"assign must give int64[{len(rows)}], clusters 0, 1, ... without gaps, but "
                    f"gives {found.tolist()}"
                )
            kept = Clustered(found, torch.bincount(found).double())
        member = torch.nn.functional.one_hot(kept.assignment, len(kept.sizes)).double()
        sums = member.T @ setting.clipped(rows, setting.prompts.bound)
        means = sums / kept.sizes.unsqueeze(1)
        return means[kept.assignment].to(prompts.device), kept


def plaintext_twin(system: SecFPP) -> PlainClusters:
    """The same decisions on numbers in the clear; equal but for fixed-point rounding.

    Raises:
        ConfigError: mode sound_dp, whose noise has no plaintext, or a switch that changes what is
            decided.
    """
    setting = system.setting
    if system.mode == "sound_dp" or system.dissolve or system.basis != "public":
        raise ConfigError(
            "a plaintext twin exists for as_described and sound_mpc with a public basis and "
            f"without dissolving, but mode is {system.mode}, dissolve {system.dissolve} and basis "
            f"{system.basis}"
        )

    def assign(points: Tensor) -> Tensor:
        distances = plain_distances(points)
        if system.mode == "as_described":
            return adaptive(distances, system.rule, setting.clients)
        return fixed_schedule(distances, setting, seed=system.seed, sizes=plain_sizes)

    return PlainClusters(setting=setting, assign=assign, period=system.period, seed=system.seed)
