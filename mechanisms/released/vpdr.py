"""VPDR as released: noisy class prototypes, in both generations of the code.

Source: arXiv:2604.27833 and its public code at 51ba672 ("current") and ed89b22 ("legacy").
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.assumption import Assumption
from ...accountant.events import GroupwiseGaussianDpEvent, PureDpEvent
from ..assumed import fails
from ..base import Key, Point
from ..selection import LaplaceTopK, VppBudget, f_scores

Scheme = Literal["vpp", "igpp"]
Generation = Literal["current", "legacy"]
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
            raise ValueError(f"no sigma reaches epsilon = {epsilon} on this grid of orders")
    while high - low > 1e-3:
        middle = (low + high) / 2.0
        low, high = (low, middle) if spent(middle) <= epsilon else (middle, high)
    return high


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
        generation: "legacy" scales noise by sqrt(d_g / D) after a global clip, and spends the
            choice's whole budget in every round (F5).
        epsilon: claimed total; delta: claimed.
        rounds: T.
        radius: R, the clip bound.
        fraction: share of dimensions chosen.
        cap: clamp of the scores (F2).
        frozen_encoder: whether adapters are left untrained; as released they are trained on the
            same records (F6).
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
    frozen_encoder: bool = False

    def __post_init__(self) -> None:
        check.one_of(get_args(Scheme), scheme=self.scheme)
        check.one_of(get_args(Generation), generation=self.generation)
        check.positive(radius=self.radius, cap=self.cap)
        check.open_probability(fraction=self.fraction)
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
    def sigma(self) -> float:
        """Noise multiplier on 2R/n; IGPP does not pay for its partition."""
        spent = self.epsilon if self.scheme == "igpp" else self.budget.prototypes
        return rdp_sigma(spent, self.delta, self.rounds)

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

    def upload(self, features: Tensor, labels: Tensor, classes: int, key: Key) -> Upload:
        """One round of float[..., n, dim] features with labels int[..., n], -1 for padding."""
        dimension = features.shape[-1]
        scores = f_scores(features, labels, classes)
        group = self.choice(dimension).release(scores, key.child("choice"))
        bounds, stddevs = self.shape(dimension)
        clipped = self.clip(features, group, bounds)
        member = labels.unsqueeze(-2) == torch.arange(classes, device=labels.device).unsqueeze(-1)
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
            return _scaled(features, self.radius)
        inside = group.unsqueeze(-2)
        chosen = _scaled(torch.where(inside, features, 0.0), bounds[0] * self.radius)
        rest = _scaled(torch.where(inside, 0.0, features), bounds[1] * self.radius)
        return chosen + rest

    def event(self, dimension: int = 512) -> dpe.DpEvent:
        """What all rounds really cost one record under replace-one with public counts.

        Without a frozen encoder nothing is bounded: what is averaged in round t was computed by
        adapters that saw the records in the clear.
        """
        if not self.frozen_encoder:
            return dpe.NonPrivateDpEvent()
        bounds, stddevs = self.shape(dimension)
        # In units of R/n: a record moves by twice its bound under replace-one.
        noise = tuple(2.0 * self.sigma * s for s in stddevs)
        joint = 1.0 if self.generation == "legacy" else None
        prototypes = GroupwiseGaussianDpEvent(noise, bounds, joint)
        choice = PureDpEvent(self.budget.selection)
        return dpe.ComposedDpEvent(
            [
                dpe.SelfComposedDpEvent(prototypes, self.rounds),
                dpe.SelfComposedDpEvent(choice, self.rounds),
            ]
        )

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the claim would need; those with holds=False are the defects."""
        found = [
            fails(
                "F1",
                "Chosen dimensions are the informative ones.",
                "the noise of the choice is far above the range of the scores",
            ),
            fails(
                "F2",
                "Scores differ after the clamp.",
                f"an F statistic of order 1 is clamped at {self.cap:g}",
            ),
            fails(
                "F8",
                "Noise scale and uploaded classes do not depend on private counts.",
                "noise is 2R/n with the true n; absent classes are left out",
            ),
            fails(
                "F13",
                "The conversion to epsilon is exact.",
                "the classic conversion of Renyi divergences; 15 % to 31 % more noise",
            ),
        ]
        if not self.frozen_encoder:
            found.append(
                fails(
                    "F6",
                    "The encoder does not depend on the private records.",
                    "adapters are trained on the same records between uploads",
                )
            )
        if self.scheme == "igpp" and self.generation == "current":
            found.append(
                fails(
                    "F9",
                    "Everything that reads the records is paid for.",
                    "the partition is still chosen, and not paid for",
                )
            )
        if self.scheme == "vpp":
            found.append(
                fails(
                    "F3",
                    "Noise by group costs no accuracy on average.",
                    "its power is 1.38 times that of isotropic noise",
                )
            )
            found.append(
                fails(
                    "F4",
                    "The allocation fits the data.",
                    "optimal only if a chosen dimension is worth 12.6 others",
                )
            )
        if self.generation == "legacy":
            found.append(
                fails(
                    "F5",
                    "The noise covers a record in the quietest group.",
                    "noise is scaled by sqrt(d_g/D), the clip is global",
                )
            )
        return tuple(found)


def _scaled(rows: Tensor, bound: float) -> Tensor:
    # as released: no guard against values that are not finite
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows * (bound / norms.clamp(min=1e-12)).clamp(max=1.0)
