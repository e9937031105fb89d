"""VPDR as released: noisy class prototypes, in both generations of the code.

Source: arXiv:2604.27833 and its public code at 51ba672 ("current") and ed89b22 ("legacy").
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.adjacency import ADJACENCIES, FIXED_SIZE, Adjacency
from ...accountant.assumption import Assumption
from ...accountant.calibrate import calibrate_gaussian
from ...accountant.errors import ParameterError
from ...accountant.events import GroupwiseGaussianDpEvent, RestrictedDpEvent
from ...accountant.gaussian import mu_interval
from ...accountant.pairwise import GaussianPair, epsilon_lower
from ..base import Key, Point
from ..clipping import Clip
from ..selection import LaplaceTopK, VppBudget, f_scores
from ..sums import members
from .vpdr_declared import declaration
from .vpdr_defects import defects

Scheme = Literal["vpp", "igpp"]
Generation = Literal["current", "legacy"]
Conversion = Literal["rdp", "exact"]
ORDERS = (*(i / 10 for i in range(11, 110)), *range(11, 64), 128, 256, 512)


def rdp_sigma(epsilon: float, delta: float, rounds: int) -> float:
    """Noise multiplier on 2R/n by Renyi divergences and their classic conversion, as released.

    The smallest sigma with min over orders of rounds a / (2 sigma^2) + ln(1/delta) / (a - 1) at
    most epsilon; bisection to 1e-3, the upper end.

    >>> round(rdp_sigma(1.0, 1e-5, 20), 1)
    21.9
    """
    check.positive(epsilon=epsilon)
    check.open_probability(delta=delta)
    check.count(rounds=rounds)
    log = math.log(1.0 / delta)

    def spent(sigma: float) -> float:
        return float(min(rounds * a / (2.0 * sigma**2) + log / (a - 1.0) for a in ORDERS))

    low, high = 0.0, 1.0
    while spent(high) > epsilon:
        low, high = high, 2.0 * high
        if high > 1e12:
            raise ParameterError(
                f"no sigma reaches epsilon = {epsilon} on this grid of orders; give a larger "
                'epsilon, or conversion="exact"'
            )
    while high - low > 1e-3:
        middle = (low + high) / 2.0
        low, high = (low, middle) if spent(middle) <= epsilon else (middle, high)
    return high


def exact_sigma(epsilon: float, delta: float, rounds: int) -> float:
    """The twin (F13): the smallest noise multiplier by exact accounting.

    >>> round(exact_sigma(1.0, 1e-5, 20), 2)
    16.68
    """
    mu = mu_interval(epsilon, delta)[0]
    return calibrate_gaussian(mu=mu, rounds=rounds, adjacency="zero-out")


class Upload(NamedTuple):
    """What one client, or each of several, sends in a round.

    Attributes:
        prototypes: float[..., classes, dim]; zeros for absent classes.
        present: bool[..., classes], not noised (F8).
        group: bool[..., dim], the chosen dimensions.
        stddevs: float[..., classes, dim], the noise that was added.
    """

    prototypes: Tensor
    present: Tensor
    group: Tensor
    stddevs: Tensor


@dataclass(frozen=True, kw_only=True)
class AsReleasedVpdr:
    """VPP or IGPP of the public code.

    Attributes:
        scheme: "vpp" (noise by group) or "igpp" (isotropic, yet with the private partition, F9).
        generation: "legacy" divides scores by their largest (F2), scales noise by sqrt(d_g / D)
            after a global clip, and spends the choice's whole budget in every round (F5).
        epsilon: claimed total; delta: claimed.
        rounds: T.
        radius: R, the clip bound.
        fraction: share of dimensions chosen.
        cap: clamp of the scores (F2).
        conversion: "rdp", as released (F13), or "exact".
        classes: of the data set; batch: records of a training step (F10).
        frozen_encoder: a public encoder that is left alone; as released adapters are trained on the
            same records (F6). What remains is the mechanism by itself: it is declared under
            replace-one with public counts.
    """

    point: ClassVar[Point] = "per_upload"
    scheme: Scheme = "vpp"
    generation: Generation = "current"
    epsilon: float = 10.0
    delta: float = 1e-5
    rounds: int = 20
    radius: float = 5.0
    fraction: float = 0.3
    cap: float = 0.1
    conversion: Conversion = "rdp"
    classes: int = 10
    batch: int = 256
    frozen_encoder: bool = False

    def __post_init__(self) -> None:
        check.one_of(get_args(Scheme), scheme=self.scheme)
        check.one_of(get_args(Generation), generation=self.generation)
        check.one_of(get_args(Conversion), conversion=self.conversion)
        check.positive(radius=self.radius, cap=self.cap)
        check.open_probability(fraction=self.fraction)
        check.count(classes=self.classes, batch=self.batch)
        if self.classes < 2:
            raise ParameterError(f"two classes are needed to score dimensions, not {self.classes}")
        _ = self.budget  # checks the rest

    @property
    def budget(self) -> VppBudget:
        """The split of epsilon."""
        return VppBudget(
            epsilon=self.epsilon,
            delta=self.delta,
            rounds=self.rounds,
            per_round=self.generation == "current",
        )

    @property
    def prototype_epsilon(self) -> float:
        """What sigma is computed for; IGPP does not pay for its partition."""
        return self.epsilon if self.scheme == "igpp" else self.budget.prototypes

    @property
    def sigma(self) -> float:
        """Noise multiplier on 2R/n."""
        formula = rdp_sigma if self.conversion == "rdp" else exact_sigma
        return formula(self.prototype_epsilon, self.delta, self.rounds)

    def choice(self, dimension: int) -> LaplaceTopK:
        """The choice of dimensions in one round."""
        return LaplaceTopK(
            k=math.ceil(self.fraction * dimension),
            dimension=dimension,
            cap=self.cap,
            epsilon=self.budget.selection,
        )

    def shape(self, dimension: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """(clip bounds, noise stds) of the chosen group and the rest; both times R, 2R sigma/n."""
        chosen = self.choice(dimension).k
        kappa = math.sqrt(chosen / dimension), math.sqrt(1.0 - chosen / dimension)
        if self.generation == "legacy":
            return (1.0, 1.0), kappa if self.scheme == "vpp" else (1.0, 1.0)
        if self.scheme == "igpp":
            return kappa, (1.0, 1.0)
        total = sum(kappa)
        # weights: w_A = kappa_B / (kappa_A + kappa_B) and the other way round
        return kappa, (
            kappa[0] / math.sqrt(kappa[1] / total),
            kappa[1] / math.sqrt(kappa[0] / total),
        )

    def scores(self, features: Tensor, labels: Tensor, classes: int) -> Tensor:
        """float[..., dim], before the clamp; the older code divides by the largest (F2)."""
        scores = f_scores(features, labels, classes)
        if self.generation == "current":
            return scores
        largest = scores.amax(dim=-1, keepdim=True)
        return scores / torch.where(largest > 0.0, largest, 1.0)

    def upload(self, features: Tensor, labels: Tensor, classes: int, key: Key) -> Upload:
        """One round of float[..., n, dim] features with labels int[..., n], -1 for padding.

        A record that is not finite counts as a row of zeros, in its class.
        """
        dimension = features.shape[-1]
        finite = torch.isfinite(features).all(dim=-1, keepdim=True)
        features = torch.where(finite, features, 0.0)
        scores = self.scores(features, labels, classes)
        group = self.choice(dimension).release(scores, key.child("choice"))
        bounds, stddevs = self.shape(dimension)
        clipped = self.clip(features, group, bounds)
        member = members(labels, classes)
        counts = member.sum(dim=-1, keepdim=True)  # the true counts (F8)
        means = member.to(clipped) @ clipped / counts.clamp(min=1)
        pair = torch.tensor(stddevs, dtype=torch.float64, device=features.device)
        scale = pair[(~group).long()].unsqueeze(-2)
        noise = 2.0 * self.radius * self.sigma * scale / counts.clamp(min=1)
        noisy = means + (noise * key.child("noise").normal(*means.shape).to(noise)).to(means)
        return Upload(
            prototypes=torch.where(counts > 0, noisy, 0.0),
            present=counts.squeeze(-1) > 0,
            group=group,
            stddevs=noise,
        )

    def clip(self, features: Tensor, group: Tensor, bounds: tuple[float, float]) -> Tensor:
        """Features clipped by group to R times the bounds, or globally in the legacy code."""
        if self.generation == "legacy":
            return Clip(joint_norm=self.radius).apply(features)
        inside = group.unsqueeze(-2)
        chosen, rest = (Clip(joint_norm=bound * self.radius) for bound in bounds)
        return chosen.apply(torch.where(inside, features, 0.0)) + rest.apply(
            torch.where(inside, 0.0, features)
        )

    def event(self, dimension: int = 512, *, adjacency: Adjacency = "replace-one") -> dpe.DpEvent:
        """What all rounds really cost one record, its class and all counts fixed and public.

        Without a frozen encoder nothing is bounded: what is averaged in round t was computed by
        adapters that saw the records in the clear (see `event_if_trained`).

        Raises:
            ParameterError: add-remove, under which the noise itself depends on the record.
        """
        self._check_counts(adjacency)
        return self._cost(dimension, 1.0) if self.frozen_encoder else dpe.NonPrivateDpEvent()

    def event_if_trained(
        self, count: int, dimension: int = 512, *, adjacency: Adjacency = "zero-out"
    ) -> dpe.DpEvent:
        """F6 at its worst: a record changes the encoder, and so moves a mean across its clip set.

        A class of `count` records then moves by 2R instead of 2R/n, whatever happens to the record.
        Exact under zero-out; under replace-one accounting doubles it, which is more than it costs.

        Raises:
            ParameterError: add-remove.
        """
        check.count(count=count)
        self._check_counts(adjacency)
        return self._cost(dimension, 2.0 * count)

    def _check_counts(self, adjacency: Adjacency) -> None:
        check.one_of(ADJACENCIES, adjacency=adjacency)
        if adjacency == "add-remove":
            raise ParameterError(
                "noise of scale 2R/n follows the true number n of records, which add-remove "
                "changes: no event describes that (F8, `count_leak`).\n"
                "  Account under replace-one or zero-out, or release SumsAndCounts."
            )

    def _cost(self, dimension: int, moved: float) -> dpe.DpEvent:
        """All rounds of prototypes, in which a contribution is `moved` R/n, and of choices."""
        bounds, stddevs = self.shape(dimension)
        noise = tuple(2.0 * self.sigma * s for s in stddevs)  # in units of R/n
        prototypes = GroupwiseGaussianDpEvent(
            noise,
            tuple(moved * bound for bound in bounds),
            moved if self.generation == "legacy" else None,
        )
        choice = self.choice(dimension).event()
        return dpe.ComposedDpEvent(
            [
                RestrictedDpEvent(dpe.SelfComposedDpEvent(one, self.rounds), FIXED_SIZE)
                for one in (prototypes, choice)
            ]
        )

    def count_leak(self, count: int, dimension: int = 512) -> float:
        """F8: epsilon that the noise of one upload alone shows of `count`, at least, add-remove.

        Noise of scale 1/n against 1/(n - 1) around equal means; the ratio is that of every group.
        Infinite for one record, whose class vanishes without it.
        """
        check.count(count=count)
        if count == 1:
            return math.inf
        pair = GaussianPair.scaled((count / (count - 1)) ** 2, dimension)
        return epsilon_lower(pair, self.delta)

    def assumptions(
        self, *, count: int = 23, dimension: int = 512, native: int = 192
    ) -> tuple[Assumption, ...]:
        """What the claim would need; those with holds=False are the defects.

        Args:
            count: records of the class that numbers are given for.
            dimension: of the prototypes.
            native: of the encoder's features, before the projection.
        """
        return defects(self, count=count, dimension=dimension, native=native)

    def declaration(
        self, *, count: int = 23, dimension: int = 512, native: int = 192
    ) -> dict[str, Any]:
        """What a lint reads, as nested dicts of the format in docs/lint.md; arguments as above."""
        return declaration(self, count=count, dimension=dimension, native=native)
