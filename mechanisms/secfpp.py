"""SecFPP: prompts clustered and averaged on secret shares, in three modes.

Source: Hou, Li & Buyukates, arXiv:2505.22447. No code of the authors is known, so `as_described`
follows the description; `sound_mpc` opens less; `sound_dp` also bounds what the outputs say.
Three results are never merged: confidentiality in transit (secret sharing), membership (only
`sound_dp` bounds it) and functional theft (nothing here bounds it).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import dp_accounting.dp_event as dpe
from torch import Tensor

from ..accountant import check
from ..accountant.account import account
from ..accountant.adjacency import Adjacency
from ..accountant.assumption import Assumption
from ..accountant.bounds import ProvenBound
from ..accountant.errors import ClaimError, LedgerError, ParameterError
from .secret_sharing.assumptions import BASES, Basis, assumptions
from .secret_sharing.clustering import AdaptiveRule
from .secret_sharing.described import AsDescribed, Clustered
from .secret_sharing.masks import Source
from .secret_sharing.openings import MODES, OPENINGS, Board, Mode, Opening
from .secret_sharing.setting import Setting
from .secret_sharing.sound_dp import SoundDp
from .secret_sharing.sound_mpc import SoundMpc

NO_CLAIM = "no DP claim"

_RULE = AdaptiveRule(split_above=0.5, merge_below=0.1)


@dataclass(frozen=True, kw_only=True)
class SecFPP:
    """One declared run of SecFPP.

    Attributes:
        mode: "as_described", "sound_mpc" or "sound_dp".
        setting: the public constants.
        rule: split and merge thresholds; for `as_described`.
        zero_sharing: for `as_described`: mask the opened polynomials (S13).
        dissolve: for `as_described`: dissolve small clusters (S3, S4).
        noise: for `sound_dp`, of the same setting.
        basis: where the basis of the dimension reduction comes from (S6).
        clusterings: rounds that cluster; public.
        prompt_rounds: rounds that release cluster prompts; public.
        seed: public, of the start.

    Raises:
        ParameterError: a part is missing or does not belong to the mode.

    >>> setting = Setting(clients=10, dimension=16, prompt_dimension=8)
    >>> SecFPP(mode="sound_mpc", setting=setting).dp_line(delta=1e-5)
    'no DP claim'
    """

    mode: Mode
    setting: Setting
    rule: AdaptiveRule = _RULE
    zero_sharing: bool = False
    dissolve: bool = False
    noise: SoundDp | None = None
    basis: Basis = "public"
    clusterings: int = 4
    prompt_rounds: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        check.one_of(MODES, mode=self.mode)
        check.one_of(BASES, basis=self.basis)
        check.count(clusterings=self.clusterings, prompt_rounds=self.prompt_rounds)
        if (self.noise is not None) != (self.mode == "sound_dp"):
            raise ParameterError(
                f"mode sound_dp needs noise and the others have none, but mode is {self.mode} and "
                f"noise is {self.noise!r}"
            )
        if self.noise is not None and self.noise.setting != self.setting:
            raise ParameterError("noise must be declared for the same setting; give it once")
        if self.mode != "as_described" and (self.zero_sharing or self.dissolve):
            raise ParameterError("zero_sharing and dissolve are switches of mode as_described only")

    @property
    def openings(self) -> tuple[Opening, ...]:
        """What is opened to whom."""
        return OPENINGS[self.mode]

    def board(self) -> Board:
        """An empty record of openings, which refuses those of other modes."""
        return Board(self.mode)

    def run(
        self,
        points: Tensor,
        prompts: Tensor,
        *,
        source: Source,
        board: Board,
        round: int = 1,
        senders: Sequence[int] | None = None,
    ) -> Tensor:
        """One re-clustering round: float64[N, prompt_dimension], each client's cluster prompt.

        Args:
            points: float[N, d'], reduced prompts.
            prompts: float[N, prompt_dimension].
            source: of masks and noise; `SystemSource` outside tests.
            board: records what is opened.
            round: public number of the round.
            senders: clients whose replies arrive; default all.
        """
        if board.mode != self.mode:
            raise ParameterError(f"the board is for mode {board.mode}, the run for {self.mode}")
        if self.noise is None:
            return self.clustered(
                points, prompts, source=source, board=board, round=round, senders=senders
            ).prompts
        self._within_account(board)
        centres, sizes = self.noise.start(), None
        for step in range(1, self.setting.iterations + 1):
            centres, sizes = self.noise.cluster(
                points,
                centres,
                source=source,
                board=board,
                round=round,
                step=step,
                senders=senders,
            )
        assert sizes is not None
        return self.noise.aggregate(
            prompts,
            points,
            centres,
            sizes,
            source=source,
            board=board,
            round=round,
            senders=senders,
        )

    def _within_account(self, board: Board) -> None:
        """Raise `LedgerError` if one more round would release more than `event` accounts for."""
        for value, more, most, name in (
            (
                "centres",
                self.setting.iterations,
                self.clusterings * self.setting.iterations,
                "clusterings",
            ),
            ("cluster_prompt", 1, self.prompt_rounds, "prompt_rounds"),
        ):
            done = len(board.seen(value, to="all"))
            if done + more > most:
                raise LedgerError(
                    f"{done} releases of {value} are on the board and {more} more would exceed the "
                    f"{most} that are accounted.\n  Declare more {name} before the run."
                )

    def clustered(
        self,
        points: Tensor,
        prompts: Tensor,
        *,
        source: Source,
        board: Board,
        round: int = 1,
        senders: Sequence[int] | None = None,
    ) -> Clustered:
        """As `run`, with the assignment, which no party holds whole in `sound_mpc`."""
        protocol: AsDescribed | SoundMpc
        if self.mode == "as_described":
            protocol = AsDescribed(
                setting=self.setting,
                rule=self.rule,
                zero_sharing=self.zero_sharing,
                dissolve=self.dissolve,
            )
        elif self.mode == "sound_mpc":
            protocol = SoundMpc(setting=self.setting, seed=self.seed)
        else:
            raise ParameterError("mode sound_dp has no exact clustering: use run")
        return protocol.run(
            points, prompts, source=source, board=board, round=round, senders=senders
        )

    def event(self, adjacency: Adjacency) -> dpe.DpEvent:
        """What all rounds together release about one client; not private without noise."""
        if self.noise is None:
            return dpe.NonPrivateDpEvent()
        return self.noise.event(
            adjacency=adjacency,
            clusterings=self.clusterings * self.setting.iterations,
            prompts=self.prompt_rounds,
        )

    def bound(self, adjacency: Adjacency) -> ProvenBound:
        """The guarantee of `sound_dp` about one client.

        Raises:
            ClaimError: another mode: secret sharing bounds no output.
        """
        if self.noise is None:
            raise ClaimError(
                f"mode {self.mode} has no DP guarantee: secret sharing hides inputs from t "
                "colluders and bounds nothing that is opened.\n  Report 'no DP claim', or use mode "
                "sound_dp."
            )
        return account(self.event(adjacency), adjacency=adjacency, unit="client")

    def dp_line(self, *, delta: float, adjacency: Adjacency = "add-remove") -> str:
        """The DP column of a report: epsilon, rounded up, or "no DP claim"."""
        if self.noise is None:
            return NO_CLAIM
        upper = self.bound(adjacency).epsilon(delta).upper
        return f"epsilon <= {upper * (1 + 1e-6):.6g} at delta {delta:g}, {adjacency}, one client"

    def assumptions(self, source: Source | None = None) -> tuple[Assumption, ...]:
        """What the guarantees need, checked as far as the declaration tells.

        Args:
            source: of the masks of the run, if it is known.
        """
        return assumptions(
            self.mode,
            self.setting,
            basis=self.basis,
            dissolves=self.mode != "as_described" or self.dissolve,
            masks_openings=self.mode != "as_described" or self.zero_sharing,
            honest=None if self.noise is None else self.noise.honest,
            source=source,
        )
