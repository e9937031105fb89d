"""Client-level differential privacy for everything that clustering and aggregation give out.

The server broadcasts noisy centres; each client picks the nearest on its own device and adds its
clipped vector, its count and its share of integer noise to a secure sum, in the block of its
cluster. All blocks are released. What is released is a Gaussian up to e^(+-tau), tau < 1e-100
(`integer_noise.py`), so the account is a Gaussian's. Who takes part is public: a neighbour under
add-remove is a client that contributes zeros and its noise.
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
from ...accountant.adjacency import Adjacency
from ...accountant.bounds import ProvenBound
from ...accountant.errors import ParameterError
from ...accountant.events import GroupwiseGaussianDpEvent
from .fixed_point import FixedPoint, checked, require_headroom
from .integer_noise import discrete_gaussian, effective_variance
from .masks import Source
from .openings import Board
from .setting import Setting

_TAIL = 45  # a sum of noise beyond this many standard deviations has probability below 1e-400
# The factors e^(+-tau) of `integer_noise` are below 1 +- 1e-100; a multiplier smaller by this much
# has a delta larger by far more than they make.
_CHARGE = Fraction(1) - Fraction(1, 10**12)


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
        if self.honest < 1:
            raise ParameterError(
                f"no client is left whose noise counts: {self.setting.clients} clients less "
                f"{self.setting.colluders} colluders and {self.setting.dropouts} dropouts"
            )
        limits = {}
        for name, noise, clip, code in self._releases():
            variance = self._variance(noise, code)
            effective_variance(variance=variance, honest=self.honest)
            limits[name] = self._limit(variance, clip, code)
        require_headroom(self.setting.within.modulus, **limits)

    @property
    def honest(self) -> int:
        """Clients whose noise is counted: N - t - D."""
        return self.setting.clients - self.setting.colluders - self.setting.dropouts

    def _releases(self) -> tuple[tuple[str, float, float, FixedPoint], ...]:
        return (
            ("points", self.noise_point, self.clip_point, self.setting.points),
            # A count is shared in units of 2^-bits: whole numbers are too coarse for its noise.
            ("counts", self.noise_count, 1.0, self.setting.points),
            ("prompts", self.noise_prompt, self.clip_prompt, self.setting.prompts),
        )

    def _variance(self, noise: float, code: FixedPoint) -> int:
        """Of one client's integer noise: the honest ones together have at least `noise`."""
        return math.ceil((Fraction(noise) * (1 << code.bits)) ** 2 / self.honest)

    def _limit(self, variance: int, clip: float, code: FixedPoint) -> int:
        tail = _TAIL * (math.isqrt(variance * self.setting.clients) + 1)
        return self.setting.clients * (math.ceil(clip * (1 << code.bits)) + 1) + tail

    def _multiplier(self, noise: float, clip: float, code: FixedPoint, dimension: int) -> float:
        """Noise over one client's largest contribution, rounding and discreteness charged."""
        scale = 1 << code.bits
        variance = effective_variance(variance=self._variance(noise, code), honest=self.honest)
        stddev = Fraction(math.isqrt(variance * 10**24), 10**12)
        rounding = Fraction(math.isqrt(dimension * 10**24) + 1, 2 * 10**12)  # sqrt(d')/2
        # A norm of d' doubles errs by less than d' + 8 units in the last place.
        clipped = Fraction(clip) * scale * (1 + Fraction(dimension + 8, 2**52))
        contribution = clipped + rounding
        found = float(stddev / contribution * _CHARGE)
        return math.nextafter(found, 0.0)

    def clustering_event(self, adjacency: Adjacency) -> dpe.DpEvent:
        """One release of all noisy sums and counts.

        Replacing a client moves one sum by 2 C_x, or two sums by C_x and two counts by 1: never
        both at once. So under replace-one the event is the Gaussian of the worse of the two, not
        twice the contribution.
        """
        setting = self.setting
        point = self._multiplier(
            self.noise_point, self.clip_point, setting.points, setting.dimension
        )
        count = self._multiplier(self.noise_count, 1.0, setting.points, 1)
        if adjacency != "replace-one":
            return GroupwiseGaussianDpEvent((point, count), (1.0, 1.0))
        own = 1 / Fraction(point) ** 2
        other = 1 / Fraction(count) ** 2
        worst = max(4 * own, 2 * own + 2 * other)
        multiplier = math.sqrt(4 / worst) * (1 - 2.0**-50)  # the accountant doubles under replace
        return dpe.GaussianDpEvent(multiplier)

    def prompt_event(self) -> dpe.DpEvent:
        """One release of all noisy sums of prompts; replacing moves one by 2 C_g or two by C_g."""
        setting = self.setting
        return dpe.GaussianDpEvent(
            self._multiplier(
                self.noise_prompt, self.clip_prompt, setting.prompts, setting.prompt_dimension
            )
        )

    def event(self, *, adjacency: Adjacency, clusterings: int, prompts: int) -> dpe.DpEvent:
        """All releases of a run.

        Args:
            adjacency: what a neighbour is; clusters are not parallel, so it enters here.
            clusterings: I_tot, releases of centres and counts.
            prompts: T, releases of cluster prompts.
        """
        check.whole(clusterings=clusterings, prompts=prompts)
        return dpe.ComposedDpEvent(
            [
                dpe.SelfComposedDpEvent(self.clustering_event(adjacency), clusterings),
                dpe.SelfComposedDpEvent(self.prompt_event(), prompts),
            ]
        )

    def bound(self, *, adjacency: Adjacency, clusterings: int, prompts: int) -> ProvenBound:
        """What all releases provably leak about one client.

        >>> setting = Setting(clients=20, dimension=16, prompt_dimension=32)
        >>> dp = SoundDp(setting=setting, noise_point=8.0, noise_count=8.0, noise_prompt=8.0)
        >>> round(dp.bound(adjacency="add-remove", clusterings=5, prompts=20).mu.upper, 4)
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
        if step == 1:
            board.begin(round)
        clipped = _norm_clipped(points, self.clip_point)
        nearest = torch.cdist(clipped, centres).argmin(dim=1)
        when, used = (round, step), len(centres)
        summed = self._release("points", clipped, nearest, source, when, senders)
        ones = torch.ones((len(clipped), 1), dtype=torch.float64)
        counts = self._release("counts", ones, nearest, source, when, senders)[:, 0]
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
        points: Tensor,
        centres: Tensor,
        sizes: Tensor,
        *,
        source: Source,
        board: Board,
        round: int,
        senders: Sequence[int] | None = None,
    ) -> Tensor:
        """float64[N, prompt_dimension]: each client's noisy cluster prompt.

        Args:
            prompts: float[N, prompt_dimension].
            points: float[N, d'], from which each client finds its centre, on its device.
            centres: noisy centres of the last clustering.
            sizes: its noisy sizes.
            source: of masks and noise.
            board: records what is opened.
            round: number of the round.
            senders: clients whose replies arrive; default all.
        """
        nearest = torch.cdist(_norm_clipped(points, self.clip_point), centres).argmin(dim=1)
        clipped = _norm_clipped(prompts, self.clip_prompt)
        summed = self._release("prompts", clipped, nearest, source, (round, 0), senders)
        board.open("cluster_prompt", to="all", data=summed, round=round, step=0)
        return (summed[: len(centres)] / sizes[:, None])[nearest]

    def _release(
        self,
        name: str,
        rows: Tensor,
        nearest: Tensor,
        source: Source,
        when: tuple[int, int],
        senders: Sequence[int] | None,
    ) -> Tensor:
        """float64[S, width]: block sums of the rows with every client's integer noise."""
        setting = self.setting
        _, noise, clip, code = next(r for r in self._releases() if r[0] == name)
        blocks = torch.nn.functional.one_hot(nearest, setting.clusters)
        integers = blocks[..., None] * (rows * 2.0**code.bits).round().to(torch.int64)[:, None]
        variance = self._variance(noise, code)
        own = source.child(name, *when)
        noisy = integers + torch.stack(
            [
                discrete_gaussian(own.child("noise", c), variance, *integers.shape[1:])
                for c in range(setting.clients)
            ]
        )
        session = setting.session(own, senders=senders, products=False)
        slices = session.open(session.total(session.share(noisy, "sum"), 1), product=False)
        limit = self._limit(variance, clip, code)
        joined = session.joined(checked(slices, setting.within, limit=limit), rows.shape[-1])
        return joined.to(torch.float64) / 2.0**code.bits


def _norm_clipped(rows: Tensor, bound: float) -> Tensor:
    """float64 rows of norm at most `bound`, up to rounding; one that is not finite is zero."""
    wide = rows.to(torch.float64)
    wide = torch.where(torch.isfinite(wide).all(dim=1, keepdim=True), wide, 0.0)
    norms = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
    clipped: Tensor = wide * (bound / norms).clamp(max=1.0)
    return clipped
