"""Broken samplers of ordinary sums, steps, choices and answers."""

from dataclasses import replace

import torch
from torch import Tensor

from ...accountant.account import account
from ..base import SeededKey
from ..class_means import DpplPublic
from ..clipping import Clip
from ..dpsgd import DpSgd
from ..laplace import LaplaceSum, laplace_like
from ..randomized_response import KaryResponse
from ..secure_sum import Cohort, SecureGaussianSum
from ..selection import LaplaceTopK
from .twins import DIM, OTHERS, TARGET, Draw, Sample, SamplerTwin, copies, mu_claim, people

_ROOT2 = 2.0**0.5
_UNIT = Clip(joint_norm=1.0)
_STEP = DpSgd(clip_norm=1.0, noise_multiplier=1.0, sampling_rate=1.0, expected_batch=1.0)


def _sum(step: DpSgd = _STEP, clip: bool = True) -> Draw:
    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        rows = people(world)
        if clip:
            return step.release(copies(rows, n), key)
        total = rows.sum(dim=0)
        return total + step.noise_multiplier * step.clip_norm * key.normal(n, DIM)

    return draw


def _replaced(noise: float) -> Draw:
    step = replace(_STEP, noise_multiplier=noise)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        rows = torch.cat([OTHERS, (TARGET if world else -TARGET).unsqueeze(0)])
        return step.release(copies(rows, n), key)

    return draw


def _rounds(count: int, noise: float, *, reuse: bool = False) -> Draw:
    """`count` releases of different halves of the features, float[n, count, 3]."""

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        halves = people(world).split(DIM // 2, dim=1)
        sums = torch.stack([_UNIT.apply(halves[i % 2], (3,)).sum(dim=0) for i in range(count)])
        return sums + noise * key.normal(n, 1 if reuse else count, 3)

    return draw


def _same_noise_later(fresh: bool) -> Draw:
    """Two rounds; the model of the second one is a function of the first release."""

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        rows = _UNIT.apply(people(world), (DIM,))
        noise = 2.0**0.5 * key.normal(n, 2, DIM)
        first = rows.sum(dim=0) + noise[:, 0]
        pulled = _UNIT.apply(rows - 0.1 * first.unsqueeze(1), (DIM,)).sum(dim=1)
        return torch.stack([first, pulled + noise[:, 1 if fresh else 0]], dim=1)

    return draw


def _mean(public: bool) -> Draw:
    """Three records and the target; the divisor is public, or counted."""

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        rows = people(world)[-4 if world else -3 :]
        step = replace(_STEP, expected_batch=4.0 if public else float(len(rows)))
        return step.release(copies(rows, n), key)

    return draw


_SAMPLED = DpSgd(clip_norm=1.0, noise_multiplier=0.5, sampling_rate=0.1, expected_batch=2.0)


def _laplace(l1_clip: bool) -> Draw:
    mechanism = LaplaceSum(l1_norm=1.0, noise_multiplier=1.0)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        # Equal entries: of all rows of L2 norm 1 this has the largest L1 norm.
        rows = people(world).clone()
        rows[20:] = 1.0
        if l1_clip:
            return mechanism.release(copies(rows, n), key)
        total = _UNIT.apply(rows, (DIM,)).sum(dim=0).expand(n, DIM)
        return total + laplace_like(total, key)

    return draw


def _answers(replaced: float) -> Draw:
    mechanism = KaryResponse(categories=4, replaced=replaced)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        return mechanism.release(torch.full((n,), 3 * world), key)

    return draw


_ANSWERS = KaryResponse(categories=4, replaced=0.7)


def _choice(factor: float) -> Draw:
    """Three of six; every score moves by the cap."""
    mechanism = LaplaceTopK(k=3, dimension=DIM, cap=1.0, epsilon=1.0)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        scores = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).double()
        scores = scores.flip(0) if world else scores
        noisy = replace(mechanism, epsilon=factor).release(copies(scores, n), key)
        return noisy.to(torch.int64)

    return draw


def _candidate(epsilon: float) -> Draw:
    """One of ten public candidates; a record is for one and against the others."""
    mechanism = DpplPublic(epsilon=epsilon)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        gains = torch.full((10,), 2.0 * (1 - world), dtype=torch.float64)
        gains[0] = 2.0 * world
        return mechanism.release(copies(gains, n), key)

    return draw


def _secure(planned: int) -> Draw:
    """Twenty clients, of which five survive; shares are scaled for `planned` survivors."""
    mechanism = SecureGaussianSum(
        clip_norm=1.0, noise_multiplier=1.0, cohort=Cohort(fewest_survivors=planned)
    )

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        clients = OTHERS.clone()
        clients[0] = TARGET * world  # its data, not its noise, are what changes
        return mechanism.shares(copies(clients, n), key)[:, :5].sum(dim=1)

    return draw


def _twin(name: str, bad: Draw, good: Draw, reason: str, **more: object) -> SamplerTwin:
    claim = more.pop("claim", mu_claim())
    return SamplerTwin(
        name=name,
        system="general",
        bad=Sample(bad),
        good=Sample(good),
        claim=claim,  # type: ignore[arg-type]
        reason=reason,
        **more,  # type: ignore[arg-type]
    )


_SAMPLED_EPSILON = account(_SAMPLED.event(), adjacency="add-remove").epsilon(0.01).upper
TWINS = (
    _twin("noise halved", _sum(replace(_STEP, noise_multiplier=0.5)), _sum(),
          "noise .5 instead of 1", stddevs=(1.0, 1.0)),
    _twin("clip missing", _sum(clip=False), _sum(),
          "the record has norm 3, the bound is 1", stddevs=(1.0, 1.0)),
    _twin("sensitivity off by two", _replaced(1.0), _replaced(2.0),
          "a record is exchanged: the sum moves by twice the bound",
          claim=mu_claim(adjacency="replace-one"), stddevs=(1.0, 2.0)),
    _twin("noise once", _same_noise_later(False), _same_noise_later(True),
          "the second round adds the first one's noise: their difference is exact"),
    _twin("seed reused", _rounds(2, 2.0**0.5, reuse=True), _rounds(2, 2.0**0.5),
          "two tensors get the same noise", stddevs=(_ROOT2, _ROOT2)),
    _twin("budget not split", _rounds(4, 1.0), _rounds(4, 2.0),
          "four releases, each with the whole budget", stddevs=(1.0, 2.0)),
    _twin("noise scaled by the true count", _mean(False), _mean(True),
          "3 or 4 shows in the mean and in the size of its noise"),
    _twin("amplification not present", _sum(replace(_SAMPLED, sampling_rate=1.0)), _sum(_SAMPLED),
          "accounted for one record in ten, every record takes part",
          claim={"epsilon": _SAMPLED_EPSILON, "delta": 0.01, "adjacency": "add-remove",
                 "unit": "example"}),
    _twin("Laplace noise, L2 clip", _laplace(False), _laplace(True),
          "the L1 norm of the clipped record is 2.4",
          claim={"epsilon": 1.0, "delta": 0.0, "adjacency": "add-remove", "unit": "example"},
          trials=10_000, stddevs=(_ROOT2, _ROOT2), law="laplace"),
    _twin("response with other odds", _answers(0.4), _answers(0.7),
          "a label is replaced in 40 % of answers instead of 70 %",
          claim={"epsilon": _ANSWERS.epsilon * (1 + 1e-12), "delta": 0.0,
                 "adjacency": "replace-one", "unit": "example"}),
    _twin("top-k noise without k", _choice(3.0), _choice(1.0),
          "scale 2 cap / epsilon for three choices",
          claim={"epsilon": 1.0, "delta": 0.0, "adjacency": "replace-one", "unit": "example"},
          trials=10_000),
    _twin("exponential mechanism, factor forgotten", _candidate(2.0), _candidate(1.0),
          "exp(epsilon u) for utilities that move both ways",
          claim={"epsilon": 1.0, "delta": 0.0, "adjacency": "replace-one", "unit": "example"},
          trials=10_000),
    _twin("drop-outs not planned for", _secure(20), _secure(5),
          "three of four clients drop out and take their noise with them",
          claim=mu_claim(adjacency="zero-out", unit="client"), stddevs=(1.0, 1.0)),
)  # fmt: skip
"""Caught by a black-box audit."""
