"""DP-FedLoRA's defects L6, L7, L9, L11, L13, L15 and a slip: averages, schedules and choices."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant.account import account
from ..base import Key, SeededKey
from ..clipping import Clip
from ..lora_aggregate import (
    Adapter,
    ideal,
    plain_average,
    product_noise,
    residual_corrected,
)
from ..probes import flags, outbox, sampling, theorem
from ..probes.finding import Finding
from ..released import dp_fedlora as released
from ..released.dp_fedlora import AsReleasedDpFedLora
from ..selection import LaplaceTopK
from .dp_fedlora import RANK, WEIGHTS, A, B, M, N
from .twins import (
    DIM,
    OTHERS,
    TARGET,
    Sample,
    both,
    defect,
    mu_claim,
)

_KEY = SeededKey(32)
_SYSTEM = AsReleasedDpFedLora()


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """A factor, clipped and noised by each client, and averaged with equal weights."""

    clip_norm: float
    stddev: float
    clients: int
    side: int
    rank: int = 8

    def average(self, values: Tensor, key: Key) -> Tensor:
        """float[rank, side]; every client holds `values`, float[rank, side]."""
        clipped = Clip(joint_norm=self.clip_norm).apply(values.flatten(), (values.numel(),))
        total = torch.zeros(self.rank, self.side, dtype=torch.float64)
        for client in range(self.clients):
            total += self.stddev * key.child(client).normal(self.rank, self.side)
        return clipped.reshape(self.rank, self.side) + total / self.clients


def _l6(case: Averaged) -> Finding:
    """The same noise with and without a signal far above the bound."""
    large, powers, signals = 100.0 * torch.ones(case.rank, case.side).double(), [], []
    for run in range(max(1, 200 // case.clients)):
        key = _KEY.child("l6", run)
        noise_alone = case.average(0.0 * large, key)
        powers.append(float(noise_alone.square().sum()))
        signals.append(float((case.average(large, key) - noise_alone).norm()))
    norm = math.sqrt(sum(powers) / len(powers))
    return theorem.at_least(max(signals) / norm, 1.0,
                            what=f"largest signal over noise of norm {norm:.3g}")  # fmt: skip


def _l7(aggregate: Callable[[Tensor, Tensor, Tensor], Adapter]) -> Finding:
    return theorem.agrees(aggregate(B, A, WEIGHTS).update(), ideal(B, A, WEIGHTS),
                          what="the aggregate")  # fmt: skip


def _l9(who: Callable[[Key], Tensor]) -> Finding:
    return sampling.poisson(who, rate=0.1)


def _schedule(key: Key) -> Tensor:
    """Who takes part in round 7: two of twenty clients, from a generator seeded with the 7."""
    del key
    return torch.isin(torch.arange(20), torch.tensor(released.clients_of_round(7)))


def _coins(key: Key) -> Tensor:
    return torch.from_numpy(key.generator().random(20) < 0.1)


def _round_seven(public: bool) -> Sample:
    """Round 7, where the public schedule has the client, or its own coin decides."""
    client = released.clients_of_round(7)[0]

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        share = Clip(joint_norm=1.0).apply(TARGET * world, (DIM,))
        if public:
            here = torch.full((n, 1), float(_schedule(key)[client]), dtype=torch.float64)
        else:
            coins = torch.from_numpy(key.child("coin").generator().random((n, 1)))
            here = (coins < 0.1).double()
        return here * share + 0.5 * key.child("noise").normal(n, DIM)

    return Sample(draw)


_SAMPLED_EPSILON = account(
    dpe.PoissonSampledDpEvent(0.1, dpe.GaussianDpEvent(0.5)), adjacency="add-remove"
).epsilon(0.01).upper  # fmt: skip


def _both_factors(scale: float) -> float:
    """Power of the noise on BA where B / scale and scale A are noised."""
    beta, alpha = _KEY.child("beta").normal(M, RANK), _KEY.child("alpha").normal(RANK, N)
    b, a = B[0] / scale, scale * A[0]
    return float(((b + 0.3 * beta) @ (a + 0.3 * alpha) - b @ a).square().sum())


def _one_factor(scale: float) -> float:
    """The same where A is frozen at a public value; the clients' scale of it plays no part."""
    beta, frozen = _KEY.child("beta").normal(M, RANK), A[0]
    b = B[0] / scale
    return float(((b + 0.3 * beta) @ frozen - b @ frozen).square().sum())


def _l11(power: Callable[[float], float]) -> Finding:
    found = torch.tensor([power(0.1), power(10.0)], dtype=torch.float64)
    return theorem.agrees(found, torch.full((2,), power(1.0), dtype=torch.float64), tolerance=1e-6,
                          what="noise power on BA at scales .1 and 10")  # fmt: skip


BOUNDS = (0.5, 1.0, 3.0)


def _swept(noise_scale: float, charged: bool) -> Callable[[Tensor, Key], dict[str, Tensor]]:
    """Clip bound chosen by the evaluation records, then their noisy sum under that bound.

    Charged, the choice is .5-DP and so .63-GDP (see F9); the sum has the rest of mu = 1.
    """
    choice = LaplaceTopK(k=1, dimension=len(BOUNDS), cap=2.0, epsilon=0.5)

    def step(records: Tensor, key: Key) -> dict[str, Tensor]:
        norms = records.norm(dim=1, keepdim=True)
        # a record's vote for a bound falls with how far it is from the record's norm
        scores = (2.0 - (norms - torch.tensor(BOUNDS)).abs()).clamp(0.0, 2.0).sum(dim=0)
        best = scores.argmax()
        if charged:
            best = choice.release(scores, key.child("choice")).int().argmax()
        bound = BOUNDS[int(best)]
        total = Clip(joint_norm=bound).apply(records, (DIM,)).sum(dim=0)
        noisy = total + noise_scale * bound * key.child("noise").normal(DIM)
        return {"bound": torch.tensor(bound), "sum": noisy}

    return step


_EVALUATED = torch.cat([0.9 * OTHERS[:1], TARGET.unsqueeze(0)]), 0.9 * OTHERS[:1]


def _l13(step: outbox.Step) -> Finding:
    return outbox.unnoised(step, *_EVALUATED)


def _l15(branch: Callable[[str], str]) -> Finding:
    return flags.branches(branch, released.ALGORITHMS)


def _slip(variance: Callable[[Tensor, Tensor, float], float]) -> Finding:
    """Against noise that was drawn."""
    b, a, stddev = B[0], A[0], 0.3
    draws = 20_000
    beta = stddev * _KEY.child("beta").normal(draws, M, RANK)
    alpha = stddev * _KEY.child("alpha").normal(draws, RANK, N)
    power = ((b + beta) @ (a + alpha) - b @ a).square().sum(dim=(1, 2)).mean()
    return theorem.agrees(torch.tensor([variance(b, a, stddev)]), power.reshape(1), tolerance=0.03,
                          what="variance of the noise on BA by the formula")  # fmt: skip


_defect = partial(defect, "dp-fedlora")
_SWEPT = _swept(1.0, False), _swept(1.0 / math.sqrt(1.0 - 0.63**2), True)

DEFECTS = (
    _defect("L6", "the averaged adapter is noise",
            Averaged(clip_norm=0.1, stddev=_SYSTEM.sigma, side=4096, clients=2),
            Averaged(clip_norm=1.0, stddev=0.035, side=64, clients=1000), _l6),
    _defect("L7", "factors are averaged one by one", plain_average, residual_corrected, _l7),
    _defect("L9", "amplification for a schedule that anyone can compute", _schedule, _coins, _l9,
            (_round_seven(True), _round_seven(False)),
            {"epsilon": _SAMPLED_EPSILON, "delta": 0.01, "adjacency": "add-remove",
             "unit": "client"}, 4_000),
    _defect("L11", "noise on both factors depends on their scale",
            _both_factors, _one_factor, _l11),
    _defect("L13", "learning rate, epsilon and C are swept on evaluation tasks", *_SWEPT, _l13,
            both(*_SWEPT, *_EVALUATED[::-1]), mu_claim()),
    _defect("L15", "a misspelt branch runs plain averaging", released.branch_as_released,
            released.branch, _l15),
    _defect("slip", "m and n are exchanged in the variance", released.swapped_variance,
            lambda b, a, s: product_noise(b, a, s).total, _slip),
)  # fmt: skip
