"""SecFPP: prompts clustered and averaged on secret shares, in three modes.

Source: Hou, Li & Buyukates, arXiv:2505.22447. No code of the authors is known, so `as_described`
follows the description; `sound_mpc` opens less; `sound_dp` also bounds what the outputs say.
Three results are never merged: confidentiality in transit (secret sharing), membership (only
`sound_dp` bounds it) and functional theft (nothing here bounds it).
"""

from dataclasses import dataclass

import dp_accounting.dp_event as dpe

from ..accountant import check
from ..accountant.account import account
from ..accountant.adjacency import Adjacency
from ..accountant.assumption import Assumption
from ..accountant.bounds import ProvenBound
from ..accountant.errors import ClaimError, ParameterError
from ..accountant.ledger import Ledger
from .secret_sharing.assumptions import BASES, Basis, assumptions
from .secret_sharing.clusterer import Clustered, Clusterer
from .secret_sharing.clustering import AdaptiveRule
from .secret_sharing.described import AsDescribed
from .secret_sharing.masks import Source
from .secret_sharing.openings import MODES, OPENINGS, Mode, Opening
from .secret_sharing.rounds import Plan, Rounds
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
        prompt_rounds: T; each releases cluster prompts. Public.
        period: rounds 1, 1 + period, 1 + 2 period, ... cluster first. Public.
        seed: public, of the start and of the basis.

    Raises:
        ParameterError: a part is missing or does not belong to the mode.

    >>> import torch
    >>> from .secret_sharing.masks import SystemSource
    >>> setting = Setting(clients=10, dimension=4, prompt_dimension=8)
    >>> system = SecFPP(mode="sound_mpc", setting=setting, prompt_rounds=2)
    >>> system.dp_line(delta=1e-5)
    'no DP claim'
    >>> run = system.begin(source=SystemSource())
    >>> for _ in range(system.prompt_rounds):
    ...     served = run.round(torch.rand(10, 8))
    >>> served.shape, run.left
    (torch.Size([10, 8]), 0)
    """

    mode: Mode
    setting: Setting
    rule: AdaptiveRule = _RULE
    zero_sharing: bool = False
    dissolve: bool = False
    noise: SoundDp | None = None
    basis: Basis = "public"
    prompt_rounds: int = 20
    period: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        check.one_of(MODES, mode=self.mode)
        check.one_of(BASES, basis=self.basis)
        check.count(prompt_rounds=self.prompt_rounds, period=self.period)
        check.whole(seed=self.seed)
        if (self.noise is not None) != (self.mode == "sound_dp"):
            raise ParameterError(
                f"mode sound_dp needs noise and the others have none, but mode is {self.mode} and "
                f"noise is {self.noise!r}"
            )
        if self.noise is not None and self.noise.setting != self.setting:
            raise ParameterError("noise must be declared for the same setting; give it once")
        if self.mode != "as_described" and (self.zero_sharing or self.dissolve):
            raise ParameterError("zero_sharing and dissolve are switches of mode as_described only")
        self._clusterer()  # has conditions of its own

    @property
    def openings(self) -> tuple[Opening, ...]:
        """What is opened to whom."""
        return OPENINGS[self.mode]

    @property
    def clusterings(self) -> int:
        """How many of the rounds cluster."""
        return -(-self.prompt_rounds // self.period)

    def begin(
        self, *, source: Source, ledger: Ledger | None = None, clustered: Clustered | None = None
    ) -> Rounds:
        """The rounds of a run; they write the ledger and keep the board of openings themselves.

        Args:
            source: of masks and noise; `SystemSource` outside tests.
            ledger: of unit "client"; default one in memory under zero-out. A run whose ledger
                holds rounds of SecFPP goes on after the last of them.
            clustered: for such a run: what the clients kept, `Rounds.clustered`.
        """
        plan = Plan(
            mode=self.mode,
            setting=self.setting,
            rounds=self.prompt_rounds,
            period=self.period,
            basis_seed=self.seed if self.basis == "public" else None,
            noise=self.noise,
            slices_hidden=self.zero_sharing,
        )
        return Rounds(plan, self._clusterer(), source=source, ledger=ledger, clustered=clustered)

    def _clusterer(self) -> Clusterer:
        if self.noise is not None:
            return self.noise
        if self.mode == "sound_mpc":
            return SoundMpc(setting=self.setting, seed=self.seed)
        return AsDescribed(
            setting=self.setting,
            rule=self.rule,
            zero_sharing=self.zero_sharing,
            dissolve=self.dissolve,
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

    def dp_line(self, *, delta: float, adjacency: Adjacency = "zero-out") -> str:
        """The DP column of a report: epsilon, rounded up, or "no DP claim"."""
        if self.noise is None:
            return NO_CLAIM
        upper = self.bound(adjacency).epsilon(delta).upper
        return f"epsilon <= {upper * (1 + 1e-6):.6g} at delta {delta:g}, {adjacency}, one client"

    def assumptions(
        self, source: Source | None = None, run: Rounds | None = None
    ) -> tuple[Assumption, ...]:
        """What the guarantees need, checked as far as the declaration tells.

        Args:
            source: of the masks of the run, if it is known.
            run: whether the public basis was used (S6) shows in a run only.
        """
        return assumptions(
            self.mode,
            self.setting,
            basis=self.basis,
            dissolves=self.mode != "as_described" or self.dissolve,
            masks_openings=self.mode != "as_described" or self.zero_sharing,
            honest=None if self.noise is None else self.noise.honest,
            source=source,
            points_given=None if run is None else run.points_given,
        )
