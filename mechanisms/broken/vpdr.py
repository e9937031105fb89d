"""VPDR's defects F1 to F5, F9 and F11 to F13: groups, budgets and sizes of the noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ...accountant import gaussian
from ...accountant.allocation import optimal_cost, optimal_stddevs
from ...accountant.calibrate import calibrate_gaussian
from ...accountant.geometry import clip_mu
from ..base import Key, SeededKey
from ..clipping import Clip
from ..groups import by_score
from ..probes import outbox, theorem
from ..probes.finding import Finding
from ..probes.sensitivity import Pair, quoted
from ..prototypes import NoisyPrototypes
from ..released import vpdr_training as training
from ..released.vpdr import AsReleasedVpdr, rdp_sigma
from ..selection import LaplaceTopK, f_scores
from .twins import (
    DIM,
    Additive,
    Sample,
    copies,
    defect,
    mu_claim,
    people,
)

DIMENSION, CHOSEN = 512, 154
_KEY = SeededKey(11)
_UNIT = Clip(joint_norm=1.0)


def _f1(choose: Callable[[Tensor, Key], Tensor]) -> Finding:
    scores = torch.linspace(0.0, 0.1, DIMENSION, dtype=torch.float64)
    overlaps = [float(choose(scores, _KEY.child(i))[-CHOSEN:].double().mean()) for i in range(200)]
    share = sum(overlaps) / len(overlaps)
    return theorem.at_least(share, 0.5, what="share of the true top dimensions that is chosen")


def _public_choice(scores: Tensor, key: Key) -> Tensor:
    del key
    groups = by_score(scores, CHOSEN, origin="public")
    return torch.zeros(DIMENSION).index_fill(0, torch.tensor(groups.order[:CHOSEN]), 1.0).bool()


def _f2(score: Callable[[Tensor, Tensor, int], Tensor]) -> Finding:
    labels = torch.arange(230) % 10
    features = SeededKey(2).normal(230, DIMENSION)
    found = score(features, labels, 10)
    distinct = float((found < found.max()).double().mean())
    return theorem.at_least(distinct, 0.5, what="share of dimensions below the largest score")


def _shapes() -> tuple[tuple[float, float], tuple[float, float], tuple[int, int]]:
    bounds, stddevs = AsReleasedVpdr().shape(DIMENSION)
    return bounds, stddevs, (CHOSEN, DIMENSION - CHOSEN)


def _prototypes(optimal: bool) -> NoisyPrototypes:
    bounds, stddevs, sizes = _shapes()
    if optimal:
        stddevs = optimal_stddevs(bounds, sizes, mu=clip_mu(stddevs, norm_bounds=bounds))  # type: ignore[assignment]
    return NoisyPrototypes(
        clip=Clip(group_norms=bounds), group_sizes=sizes, noise_stddevs=stddevs, public_count=1
    )


def _f3(mechanism: NoisyPrototypes) -> Finding:
    noise = mechanism.perturb(torch.zeros(2000, mechanism.dimension).double(), _KEY)
    groups = noise.split(mechanism.group_sizes, dim=-1)
    power = sum(float(part.square().sum(dim=-1).mean()) for part in groups)
    bounds = mechanism.clip.group_norms or ()
    mu = clip_mu(mechanism.noise_stddevs, norm_bounds=bounds)
    best = optimal_cost(bounds, mechanism.group_sizes, mu=mu)
    stds = ", ".join(f"{float(part.std()):.3f}" for part in groups)
    return theorem.at_least(
        best / power, 0.99, what=f"least noise power at this mu over measured (stds {stds})"
    )


def _f4(mechanism: NoisyPrototypes) -> Finding:
    noise = mechanism.perturb(torch.zeros(16_000, mechanism.dimension).double(), _KEY)
    parts = zip(mechanism.clip.group_norms or (), mechanism.group_sizes,
                noise.split(mechanism.group_sizes, dim=-1), strict=True)  # fmt: skip
    worth = [c * c / (d * float(part.square().mean()) ** 2) for c, d, part in parts]
    ratio = worth[0] / worth[1]
    return theorem.at_most(
        ratio, 2.0, what="worth of a chosen dimension, in others, for which the noise is optimal"
    )


def _f5(prototype: Additive) -> Finding:
    """A record of the quiet group by its opposite."""
    record = torch.zeros(1, DIMENSION, dtype=torch.float64)
    record[0, :CHOSEN] = 1.0
    return quoted(prototype.clean, [Pair("a quiet record by its opposite", record, -record)],
                  stddevs=prototype.stddevs, epsilon=1.0, delta=1e-5)  # fmt: skip


def _noise_by_group(legacy: bool) -> Additive:
    """The prototype of one record: clipped in all dimensions together, noise by group."""
    shape = AsReleasedVpdr(generation="legacy").shape(DIMENSION)[1] if legacy else (1.0, 1.0)
    sizes = torch.tensor([CHOSEN, DIMENSION - CHOSEN])
    scale = torch.tensor(shape, dtype=torch.float64).repeat_interleave(sizes)
    return Additive(
        clean=lambda records: {"prototype": _UNIT.apply(records, (DIMENSION,)).sum(dim=0)},
        stddevs={"prototype": 2.0 * _exact_sigma(1.0, 1e-5, 1) * scale},
    )


Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Paid:
    """A system and the tensors that its own account lists."""

    system: AsReleasedVpdr
    charged: tuple[str, ...]

    def upload(self, data: Labelled, key: Key) -> dict[str, Tensor]:
        """What leaves in one round."""
        found = self.system.upload(*data, 3, key)
        return {"prototypes": found.prototypes, "group": found.group}


def _f9(case: Paid) -> Finding:
    """What reads the data shows with one key where the noise is small: so a large budget is run."""
    loud = replace(case, system=replace(case.system, epsilon=1e7, cap=100.0))
    labels = torch.arange(21) % 3
    records = 5.0 * people(1) + labels.unsqueeze(1) * torch.arange(DIM)
    left = outbox.outbox(loud.upload, (records, labels), (records.flip(1), labels))
    budget = case.system.budget
    costs = {
        "prototypes": case.system.epsilon if case.system.scheme == "igpp" else budget.prototypes,
        "group": case.system.rounds * budget.selection,
    }
    return outbox.unpaid(left, charged={name: costs[name] for name in case.charged}, costs=costs)


def _chosen_groups(epsilon: float, noise: float) -> Sample:
    """A noisy sum and the choice of three dimensions, made by the records with `epsilon`.

    An epsilon-DP choice is mu-GDP for 2 Phi^-1(e^epsilon / (1 + e^epsilon)): .62 for epsilon .5.
    """
    choice = LaplaceTopK(k=3, dimension=DIM, cap=1.0, epsilon=epsilon)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        scores = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).double()
        group = choice.release(copies(scores.flip(0) if world else scores, n), key.child("choice"))
        total = _UNIT.apply(people(world), (DIM,)).sum(dim=0)
        noisy = total + noise * key.child("noise").normal(n, DIM)
        return torch.cat([noisy, group.double()], dim=1)

    return Sample(draw)


def _f11(projection: Tensor) -> Finding:
    share = training.projected_noise_share(projection)
    return theorem.at_least(share, 1.0, what="share of the noise inside the image of the encoder")


def _noisy_mean(count: int, sigma: float, dimension: int) -> Callable[[Tensor, Key], Tensor]:
    """Class mean of `count` clipped features with noise 2 sigma / count, for 200 runs."""
    stddev = 2.0 * sigma / count

    def release(features: Tensor, key: Key) -> Tensor:
        mean = Clip(joint_norm=1.0).apply(features, (dimension,)).sum(dim=0) / count
        return mean + stddev * key.normal(200, dimension)

    return lambda direction, key: release(direction.expand(count, dimension), key)


def _f12(case: tuple[int, float, int]) -> Finding:
    """The strongest class there is: all features are equal."""
    release, key = _noisy_mean(*case), _KEY.child("f12")
    direction = torch.ones(case[2], dtype=torch.float64)
    noise = release(0.0 * direction, key)
    signal = float((release(direction, key) - noise).norm(dim=1).mean())
    snr = signal / float(noise.square().sum(dim=1).mean().sqrt())
    return theorem.at_least(snr, 1.0, what="signal over noise of one class")


def _exact_sigma(epsilon: float, delta: float, rounds: int) -> float:
    mu = gaussian.mu_interval(epsilon, delta)[0]
    return calibrate_gaussian(mu=mu, rounds=rounds, adjacency="zero-out")


def _f13(calibration: Callable[[float, float, int], float]) -> Finding:
    ratio = _exact_sigma(1.0, 1e-5, 20) / calibration(1.0, 1e-5, 20)
    return theorem.at_least(ratio, 0.999, what="noise that is needed over noise that is added")


_defect = partial(defect, "vpdr")
_GROUPS = _chosen_groups(5.0, 1.0), _chosen_groups(0.5, 1.0 / math.sqrt(1.0 - 0.63**2))

DEFECTS = (
    _defect("F1", "the noise of the choice dwarfs the scores",
            lambda s, key: AsReleasedVpdr(epsilon=1.0).choice(DIMENSION).release(s, key),
            _public_choice, _f1),
    _defect("F2", "the clamp at 0.1 makes all scores equal",
            lambda x, y, c: f_scores(x, y, c).clamp(0.0, 0.1), f_scores, _f2),
    _defect("F3", "noise by group has 1.38 times the power that this mu needs",
            _prototypes(False), _prototypes(True), _f3),
    _defect("F4", "optimal only where a chosen dimension is worth 12.6 others",
            _prototypes(False), _prototypes(True), _f4),
    _defect("F5", "noise scaled by sqrt(d_g / D) with a global clip",
            _noise_by_group(True), _noise_by_group(False), _f5),
    _defect("F9", "the partition is chosen and not paid for",
            Paid(system=AsReleasedVpdr(scheme="igpp", epsilon=1.0), charged=("prototypes",)),
            Paid(system=AsReleasedVpdr(epsilon=1.0), charged=("prototypes", "group")), _f9,
            _GROUPS, mu_claim(), 4_000),
    _defect("F11", "192 dimensions are raised to 512 before noise",
            SeededKey(7).normal(192, 512), torch.eye(192, dtype=torch.float64), _f11),
    _defect("F12", "prototypes are far below the noise", (23, rdp_sigma(1.0, 1e-5, 20), 512),
            (600, _exact_sigma(8.0, 1e-5, 1), 192), _f12),
    _defect("F13", "the classic Renyi conversion for a stack of Gaussians", rdp_sigma,
            _exact_sigma, _f13),
)  # fmt: skip
