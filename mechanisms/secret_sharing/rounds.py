"""The rounds of one SecFPP run: what is due, what it costs, and then the protocol.

A federated loop calls `Rounds.round` once a round with the clients' prompts. Public rounds cluster
first; the others average inside the clusters that are there. What a round releases is written into
the ledger before anything of it leaves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dp_accounting.dp_event as dpe
from torch import Tensor

from ...accountant.adjacency import Adjacency
from ...accountant.errors import LedgerError, ParameterError
from ...accountant.event_json import to_dict
from ...accountant.ledger import EVERYONE, Ledger, LedgerEntry
from .clusterer import Clustered, Clusterer
from .masks import Source
from .openings import OPENINGS, Board, Mode
from .reduction import public_basis
from .setting import Setting
from .sound_dp import SoundDp

_PREFIX = "secfpp "  # of our releases in a ledger that may hold others


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The declared run, all of it public.

    Attributes:
        mode: as in `SecFPP`.
        setting: the public constants.
        rounds: T.
        period: rounds 1, 1 + period, ... cluster.
        basis_seed: of the public basis; None if points come from elsewhere.
        noise: of mode sound_dp.
        slices_hidden: whether shares of zero hide the distances per slice.
    """

    mode: Mode
    setting: Setting
    rounds: int
    period: int
    basis_seed: int | None
    noise: SoundDp | None
    slices_hidden: bool

    def clusters(self, round: int) -> bool:
        """Whether this round clusters."""
        return (round - 1) % self.period == 0

    def needed(self, round: int) -> int:
        """How many clients must reply in this round."""
        if self.noise is not None:
            return self.setting.clients - self.setting.dropouts
        products = self.clusters(round) or self.mode == "sound_mpc"
        return self.setting.code(products=products).needed()

    def releases(self, round: int, adjacency: Adjacency) -> list[tuple[str, dpe.DpEvent]]:
        """What the round releases about every client, and at which cost."""
        if self.noise is not None:
            steps = self.setting.iterations if self.clusters(round) else 0
            clusterings = [
                (f"centres and sizes, step {step}", self.noise.clustering_event(adjacency))
                for step in range(1, steps + 1)
            ]
            return [*clusterings, ("cluster_prompt to all", self.noise.prompt_event)]
        return [
            (f"{o.value} to {o.to}", dpe.NonPrivateDpEvent())
            for o in OPENINGS[self.mode]
            if o.to != "nobody"
            and not o.is_public
            and (o.value == "cluster_prompt" or self.clusters(round))
            and not (o.value == "slice_distances" and self.slices_hidden)
        ]


class Rounds:
    """A run of SecFPP, round by round.

    Args:
        plan: what was declared.
        clusterer: the mode's protocol.
        source: of masks and noise.
        ledger: of unit "client"; None for one in memory under zero-out.
        clustered: what the clients kept from an interrupted run of this ledger.

    Attributes:
        board: what was opened, to whom.
        ledger: what was released, and at which cost.
        clustered: what the clients keep from the last clustering; None before the first.
        next: number of the next round, from 1.
        points_given: whether a clustering round took the caller's points, reduced by who knows
            what, not prompts in the public basis; None before one, or if others came before.

    Raises:
        LedgerError: the ledger has another unit.
        ParameterError: the noise does not hold under the ledger's adjacency.
    """

    def __init__(
        self,
        plan: Plan,
        clusterer: Clusterer,
        *,
        source: Source,
        ledger: Ledger | None = None,
        clustered: Clustered | None = None,
    ) -> None:
        if ledger is None:
            ledger = Ledger(
                adjacency="zero-out", unit="client", sampling="all clients in every round"
            )
        if ledger.unit != "client":
            raise LedgerError(
                f'what SecFPP protects is one client, but the ledger is about one "{ledger.unit}".'
                '\n  Give Ledger(unit="client").'
            )
        plan.releases(1, ledger.adjacency)  # refuses an adjacency under which the noise fails
        self.plan, self.ledger, self.clustered = plan, ledger, clustered
        self.points_given: bool | None = None
        self.board = Board(plan.mode)
        self._clusterer, self._source = clusterer, source
        ours = (e.round for e in ledger.entries if e.release.startswith(_PREFIX))
        self.next = 1 + max(ours, default=0)
        self._basis = (
            None
            if plan.basis_seed is None or plan.setting.dimension > plan.setting.prompt_dimension
            else public_basis(
                prompt_dimension=plan.setting.prompt_dimension,
                dimension=plan.setting.dimension,
                seed=plan.basis_seed,
            )
        )

    @property
    def left(self) -> int:
        """Rounds that are still accounted for."""
        return max(0, self.plan.rounds - self.next + 1)

    def round(
        self,
        prompts: Tensor,
        *,
        points: Tensor | None = None,
        senders: Sequence[int] | None = None,
    ) -> Tensor:
        """The next round: float64[N, prompt_dimension], each client's cluster prompt.

        What is refused before the ledger is written costs nothing: repeat the round. After that the
        round is spent, whatever happens.

        Args:
            prompts: float[N, prompt_dimension], all clients', in the order of their numbers.
                Clipped to the public bounds; a row that is not finite counts as zero.
            points: float[N, d'], reduced prompts; default `prompts` in the public basis. Read in
                clustering rounds only.
            senders: clients whose replies arrive; default all.

        Raises:
            LedgerError: all declared rounds were run.
            ParameterError: other shapes, too few replies, or no clustering to average in.
        """
        plan, number = self.plan, self.next
        if not self.left:
            raise LedgerError(
                f"all {plan.rounds} declared rounds were run; one more is not accounted for.\n"
                "  Declare more rounds before the run."
            )
        rows = plan.setting.checked_rows("prompts", prompts, plan.setting.prompt_dimension)
        replying = plan.setting.checked_senders(senders, needed=plan.needed(number))
        reduced = self._reduced(rows, points) if plan.clusters(number) else None
        if reduced is None and self.clustered is None:
            raise ParameterError(
                f"round {number} averages inside clusters, but this run has none yet: the clients "
                "lost them, or the clustering failed.\n  Give `clustered` of the interrupted run."
            )
        self.ledger.write(self._entries(number))
        self.next = number + 1
        self.board.begin(number)
        if reduced is not None:
            self.clustered = None  # should the clustering fail, there is none
            self.clustered = self._clusterer.cluster(
                reduced, source=self._source, board=self.board, round=number, senders=replying
            )
        assert self.clustered is not None
        served = self._clusterer.aggregate(
            rows,
            self.clustered,
            source=self._source,
            board=self.board,
            round=number,
            senders=replying,
        )
        return served.to(prompts.device)

    def _reduced(self, prompts: Tensor, points: Tensor | None) -> Tensor:
        if points is not None:
            self.points_given = True
            return self.plan.setting.checked_rows("points", points, self.plan.setting.dimension)
        if self._basis is None:
            raise ParameterError(
                "points are needed in a clustering round: the basis is not public, or reduced "
                f"prompts have more numbers ({self.plan.setting.dimension}) than prompts "
                f"({self.plan.setting.prompt_dimension}).\n  Give points, float[N, d']."
            )
        if self.next == 1:
            self.points_given = False
        return prompts.double() @ self._basis.to(prompts.device)

    def _entries(self, number: int) -> Iterator[LedgerEntry]:
        for name, event in self.plan.releases(number, self.ledger.adjacency):
            yield LedgerEntry(
                release=_PREFIX + name,
                client=EVERYONE,
                label="",
                round=number,
                event=to_dict(event),
                noise=self._source.child(name, number).fingerprint,
            )
