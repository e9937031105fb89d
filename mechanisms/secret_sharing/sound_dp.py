"""Client-level differential privacy for everything that clustering and aggregation give out.

The server broadcasts noisy centres; each client picks the nearest on its own device and adds its
clipped vector, its count and its share of integer noise to a secure sum, in the block of its
cluster. All blocks are released. What is released is accounted as the Gaussian that dominates a sum
of discrete ones (`discrete_gaussian`). Who takes part is public: a neighbour under zero-out is a
client that contributes zeros and its noise. Under add-remove its noise would go with it: refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.account import account
from ...accountant.adjacency import FIXED_SIZE, Adjacency
from ...accountant.bounds import ProvenBound
from ...accountant.errors import ParameterError
from ...accountant.events import GroupwiseGaussianDpEvent, RestrictedDpEvent
from ..secure_sum import Cohort, SecureDiscreteSum
from .clusterer import Clustered
from .fixed_point import FixedPoint, checked, require_headroom
from .masks import Source, source_words
from .openings import Board
from .setting import Setting

_TAIL = 45  # a sum of noise beyond this many standard deviations has probability below 1e-400


@dataclass(frozen=True, kw_only=True)
class SoundDp:
    """Noisy centres, counts and prompts of all clusters.

    Attributes:
        setting: the public constants; sums only, so K + t + D replies suffice.
        clip_point: C_x, L2 norm of a reduced prompt, > 0.
        clip_prompt: C_g, L2 norm of a prompt (or of its update), > 0.
        noise_point: s_x, standard deviation of the noise of a sum of reduced prompts, in its units.
        noise_count: s_n, of a count.
        noise_prompt: s_g, of a sum of prompts.
        seed: public seed of the start centres.
    """

    setting: Setting
    clip_point: float = 1.0
    clip_prompt: float = 1.0
    noise_point: float
    noise_count: float
    noise_prompt: float
    seed: int = 0

    def __post_init__(self) -> None:
        check.positive(
            clip_point=self.clip_point,
            clip_prompt=self.clip_prompt,
            noise_point=self.noise_point,
            noise_count=self.noise_count,
            noise_prompt=self.noise_prompt,
        )
        for what in (self.point_sum, self.count_sum, self.prompt_sum):
            what.noise_multiplier  # noqa: B018 - raises where the noise is too coarse
        require_headroom(
            self.setting.within.modulus,
            points=self._limit(self.point_sum),
            counts=self._limit(self.count_sum),
            prompts=self._limit(self.prompt_sum),
        )

    @property
    def honest(self) -> int:
        """Clients whose noise is counted: N - t - D, by the setting's inequalities at least 2."""
        return self._cohort.honest

    @property
    def _cohort(self) -> Cohort:
        setting = self.setting
        return Cohort(
            fewest_survivors=setting.clients - setting.dropouts, colluding=setting.colluders
        )

    @property
    def point_sum(self) -> SecureDiscreteSum:
        """The sum of a cluster's reduced prompts: clip, noise shares and account."""
        return self._sum(
            self.clip_point, self.noise_point, self.setting.points, self.setting.dimension
        )

    @property
    def count_sum(self) -> SecureDiscreteSum:
        """The count of a cluster, in units of 2^-bits: whole numbers are too coarse for noise."""
        return self._sum(1.0, self.noise_count, self.setting.points, 1)

    @property
    def prompt_sum(self) -> SecureDiscreteSum:
        """The sum of a cluster's prompts."""
        return self._sum(
            self.clip_prompt, self.noise_prompt, self.setting.prompts, self.setting.prompt_dimension
        )

    def _sum(
        self, clip: float, noise: float, code: FixedPoint, dimension: int
    ) -> SecureDiscreteSum:
        scale = 1 << code.bits
        clip_steps = math.floor(Fraction(clip) * scale)
        if clip_steps < 1:
            raise ParameterError(
                f"a clip of {clip!r} is less than one step 2^-{code.bits}.\n  Use more "
                "fractional bits."
            )
        # Of one client: the honest ones together have at least `noise`.
        wanted = (Fraction(noise) * scale) ** 2 / self.honest
        share = noise * scale / math.sqrt(self.honest)
        while Fraction(share) ** 2 < wanted:
            share = math.nextafter(share, math.inf)
        return SecureDiscreteSum(
            step=1.0 / scale,
            clip_steps=clip_steps,
            share_sigma=share,
            dimension=dimension,
            cohort=self._cohort,
        )

    def _limit(self, what: SecureDiscreteSum) -> int:
        """Largest opened sum, but for a tail of the noise that is never seen."""
        clients = self.setting.clients
        tail = _TAIL * (math.isqrt(math.ceil(what.variance) * clients) + 1)
        return clients * what.clip_steps + tail

    def clustering_event(self, adjacency: Adjacency) -> dpe.DpEvent:
        """One release of all noisy sums and counts.

        Replacing a client moves one sum by 2 C_x, or two sums by C_x and two counts by 1: never
        both at once. So under replace-one the event is the Gaussian of the worse of the two, not
        twice the contribution, and the accountant refuses it under the others. That of zero-out
        allows both and is right under replace-one too.

        Raises:
            ParameterError: add-remove: a client that is away takes its noise with it.
        """
        if adjacency not in FIXED_SIZE:
            raise ParameterError(
                f"sound_dp is not proven under {adjacency}: a client that is away takes its noise "
                "along.\n  Account under zero-out (it sends zeros and its noise) or replace-one."
            )
        point, count = self.point_sum.noise_multiplier, self.count_sum.noise_multiplier
        if adjacency != "replace-one":
            return RestrictedDpEvent(
                GroupwiseGaussianDpEvent((point, count), (1.0, 1.0)), FIXED_SIZE
            )
        own, other = 1 / Fraction(point) ** 2, 1 / Fraction(count) ** 2
        worst = max(4 * own, 2 * own + 2 * other)
        multiplier = math.sqrt(4 / worst) * (1 - 2.0**-50)  # the accountant doubles
        return RestrictedDpEvent(dpe.GaussianDpEvent(multiplier), ("replace-one",))

    @property
    def prompt_event(self) -> dpe.DpEvent:
        """One release of all noisy sums of prompts; replacing moves one by 2 C_g or two by C_g."""
        return RestrictedDpEvent(dpe.GaussianDpEvent(self.prompt_sum.noise_multiplier), FIXED_SIZE)

    def event(self, *, adjacency: Adjacency, clusterings: int, prompts: int) -> dpe.DpEvent:
        """All releases of a run.

        Clusters are no parallel parts: exchanging a client moves others between them.

        Args:
            adjacency: what a neighbour is; see `clustering_event`.
            clusterings: I_tot, releases of centres and counts.
            prompts: T, releases of cluster prompts.
        """
        check.whole(clusterings=clusterings, prompts=prompts)
        return dpe.ComposedDpEvent(
            [
                dpe.SelfComposedDpEvent(self.clustering_event(adjacency), clusterings),
                dpe.SelfComposedDpEvent(self.prompt_event, prompts),
            ]
        )

    def bound(self, *, adjacency: Adjacency, clusterings: int, prompts: int) -> ProvenBound:
        """What all releases provably leak about one client.

        >>> setting = Setting(clients=20, dimension=16, prompt_dimension=32)
        >>> dp = SoundDp(setting=setting, noise_point=8.0, noise_count=8.0, noise_prompt=8.0)
        >>> round(dp.bound(adjacency="zero-out", clusterings=5, prompts=20).mu.upper, 4)
        0.6847
        """
        event = self.event(adjacency=adjacency, clusterings=clusterings, prompts=prompts)
        return account(event, adjacency=adjacency, unit="client")

    def start(self) -> Tensor:
        """Public start centres, float64[S, d']: they look at no data."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.setting.clusters, self.setting.dimension)
        draws = torch.randn(shape, generator=generator, dtype=torch.float64)
        return draws * self.clip_point / math.sqrt(self.setting.dimension)

    def cluster(
        self,
        points: Tensor,
        *,
        source: Source,
        board: Board,
        round: int,
        senders: Sequence[int] | None = None,
    ) -> Clustered:
        """`setting.iterations` releases of noisy centres; see `Clusterer`."""
        centres, sizes = self.start(), torch.empty(0)
        for step in range(1, self.setting.iterations + 1):
            centres, sizes = self.iterate(
                points, centres, source=source, board=board, round=round, step=step, senders=senders
            )
        return Clustered(self._nearest(points, centres), sizes)

    def iterate(
        self,
        points: Tensor,
        centres: Tensor,
        *,
        source: Source,
        board: Board,
        round: int,
        step: int,
        senders: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One release: the clusters that stay, float64[S', d'] centres and float64[S'] sizes.

        All S noisy sums and counts are released. Clusters whose noisy count is below min_size are
        dropped; the largest one stays. Sizes are at least min_size.
        """
        rows = self.setting.checked_rows("points", points, self.setting.dimension)
        nearest, used, when = self._nearest(rows, centres), len(centres), (round, step)
        summed = self._release("points", self.point_sum, rows, nearest, source, when, senders)
        ones = torch.ones((len(rows), 1), dtype=torch.float64, device=rows.device)
        counts = self._release("counts", self.count_sum, ones, nearest, source, when, senders)[:, 0]
        board.open("sizes", to="all", data=counts, round=round, step=step)
        board.open("centres", to="all", data=summed, round=round, step=step)
        kept = counts[:used] >= self.setting.min_size
        if not bool(kept.any()):
            kept[counts[:used].argmax()] = True
        sizes = counts[:used][kept].clamp(min=self.setting.min_size)
        return summed[:used][kept] / sizes[:, None], sizes

    def aggregate(
        self,
        prompts: Tensor,
        clustered: Clustered,
        *,
        source: Source,
        board: Board,
        round: int,
        senders: Sequence[int] | None = None,
    ) -> Tensor:
        """One release of all noisy sums of prompts; see `Clusterer`."""
        rows = self.setting.checked_rows("prompts", prompts, self.setting.prompt_dimension)
        nearest, sizes = clustered
        summed = self._release(
            "prompts", self.prompt_sum, rows, nearest, source, (round, 0), senders
        )
        board.open("cluster_prompt", to="all", data=summed, round=round, step=0)
        return (summed[: len(sizes)] / sizes[:, None])[nearest]

    def _nearest(self, points: Tensor, centres: Tensor) -> Tensor:
        """int64[N]: each client's nearest centre, which it finds on its own device."""
        what = self.point_sum
        clipped = what.contribution(points).to(torch.float64) * what.step
        return torch.cdist(clipped, centres.to(clipped.device)).argmin(dim=1).cpu()

    def _release(
        self,
        name: str,
        what: SecureDiscreteSum,
        rows: Tensor,
        nearest: Tensor,
        source: Source,
        when: tuple[int, int],
        senders: Sequence[int] | None,
    ) -> Tensor:
        """float64[S, width]: block sums of the rows with every client's integer noise."""
        setting = self.setting
        missing = setting.clients - len(setting.checked_senders(senders, needed=0))
        if missing > setting.dropouts:
            raise ParameterError(
                f"{missing} clients dropped out, but the noise was planned for at most "
                f"{setting.dropouts}.\n  Repeat the round with more clients, or declare more "
                "dropouts before the run."
            )
        blocks = torch.nn.functional.one_hot(nearest, setting.clusters).to(rows.device)
        integers = blocks[..., None] * what.contribution(rows)[:, None]
        own = source.child(name, *when)
        noise = [
            what.noise(tuple(integers.shape[1:]), source_words(own.child("noise", c)))
            for c in range(setting.clients)
        ]
        noisy = integers + torch.stack(noise).to(integers.device)
        session = setting.session(own, senders=senders, products=False)
        slices = session.open(session.total(session.share(noisy, "sum"), 1), product=False)
        joined = session.joined(
            checked(slices, setting.within, limit=self._limit(what)), rows.shape[-1]
        )
        return joined.cpu().to(torch.float64) * what.step
