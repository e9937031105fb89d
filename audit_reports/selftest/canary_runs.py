"""Runs of DP-SGD that the controls of gradient canaries look at; imported when one is run."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...accountant.account import account
from ...attacks.membership.gradient_canary import GradientCanary, NoisySteps, clipped_gradients
from ...fl_core.clients import ClientData
from ...fl_core.counters import Counter
from ...fl_core.data.tables import digits_table
from ...fl_core.kernels.base import cross_entropy, flatten
from ...fl_core.kernels.layers import Linear
from ...fl_core.kernels.stacked import Stacked
from ...fl_core.optimizers import PlainSgd
from ...fl_core.private_training import train_privately
from ...mechanisms.base import SeededKey
from ...mechanisms.dpsgd import DpSgd
from ..estimators.tradeoff import TradeOff
from .control import Separated

STEPS, SIGMA, CLIP, RATE, RUNS = 8, 2.0**0.5, 1.0, 0.05, 2000  # RUNS in each world
NO_NOISE = 1e-6  # training with none at all is refused
PLAIN_RUNS, OTHERS = 1000, 2  # in each world, and the records besides the candidate


def canary(
    seed: int,
    *,
    noise: float = SIGMA,
    rate: float = 1.0,
    planted: bool = True,
    bounded: bool = False,
) -> Separated:
    """Runs of `train_privately` with and without a planted record; all that leaves is models.

    A linear model of 17 inputs, 4x4 pixels of digits 0 to 3 and one that no digit uses. The canary
    lies along the unused one, so its gradient is orthogonal to everybody's, and is so long that it
    is clipped in nearly every step.

    Args:
        seed: of digits, models, samples and noise.
        noise: noise multiplier.
        rate: probability that a record is drawn in a step; the attack does not know when.
        planted: whether the record is there in the trials that are said to have it.
        bounded: give the ceiling, too: mu, or the accountant's curve if samples are hidden.
    """
    pool, rng = digits_table(), np.random.default_rng((seed, 1))
    some = rng.permutation(np.flatnonzero(pool.y < 4))[:20]
    x = torch.zeros(21, 17, dtype=torch.float64)
    x[:20, :16] = _small(pool.x[some])
    x[20, 16] = 6.0
    y = torch.cat([torch.from_numpy(pool.y[some]), torch.tensor([3])])
    everyone = list(range(20))
    worlds = [[*everyone, 20] if planted else everyone] * RUNS + [everyone] * RUNS
    mechanism = DpSgd(
        clip_norm=CLIP, noise_multiplier=noise, sampling_rate=rate, expected_batch=20.0 * rate
    )
    scores = _canary_scores(mechanism, x, y, worlds, seed, declared=noise)
    inside, outside = scores[:RUNS].numpy(), scores[RUNS:].numpy()
    if not bounded:
        return Separated(values_in=inside, values_out=outside, independent=True)
    proven = account(mechanism.event(STEPS), adjacency="add-remove")
    return Separated(
        values_in=inside,
        values_out=outside,
        independent=True,
        mu=proven.mu.upper if rate == 1.0 else None,
        curve=None if rate == 1.0 else TradeOff.of(proven),
    )


def plain_canary(seed: int, *, rate: float = 1.0) -> Separated:
    """Runs without noise; the record is a marked digit with a wrong label, among two that vary.

    What hides it is that the others' gradients are not orthogonal to its own, and not known.
    """
    pool, rng = digits_table(), np.random.default_rng((seed, 1))
    some = rng.permutation(np.flatnonzero(pool.y < 4))[:101]
    x = torch.zeros(101, 17, dtype=torch.float64)
    x[:, :16], y = _small(pool.x[some]), torch.from_numpy(pool.y[some])
    x[100, 16], y[100] = 2.0, (y[100] + 2) % 4
    others = rng.random((2 * PLAIN_RUNS, 100)).argsort(axis=1)[:, :OTHERS]
    worlds = [
        [*row, 100] if run < PLAIN_RUNS else [*row] for run, row in enumerate(others.tolist())
    ]
    mechanism = DpSgd(
        clip_norm=CLIP, noise_multiplier=NO_NOISE, sampling_rate=rate, expected_batch=OTHERS * rate
    )
    scores = _canary_scores(mechanism, x, y, worlds, seed, declared=0.5).numpy()
    return Separated(
        values_in=scores[:PLAIN_RUNS], values_out=scores[PLAIN_RUNS:], independent=True
    )


def _small(pixels: NDArray[np.float32]) -> Tensor:
    """float64[n, 16]: 4x4 pixels of 8x8."""
    return torch.from_numpy(pixels).double().view(-1, 4, 2, 4, 2).mean(dim=(2, 4)).flatten(1)


def _canary_scores(
    mechanism: DpSgd,
    x: Tensor,
    y: Tensor,
    worlds: list[list[int]],
    seed: int,
    *,
    declared: float,
) -> Tensor:
    """float64[trials]: of the last record, in runs that hold the records `worlds`.

    Args:
        mechanism: of the steps.
        x: float64[n, 17], the records.
        y: int64[n], their classes.
        worlds: numbers of records of each run.
        seed: of models, samples and noise.
        declared: the noise that the attack reckons with, in the units of the clip norm.
    """
    data = ClientData.of(x, y, worlds, clients=[0] * len(worlds), replicas=list(range(len(worlds))))
    kernel, key = Stacked((), (Linear("1", 17, 4, bias=False),)), SeededKey(seed)
    start = kernel.initial(Counter.of(key, "model"), data.clients, data.replicas)
    params = {name: value.double() for name, value in start.items()}
    learning_rate = RATE * mechanism.sampling_rate
    models = [flatten(params)]
    for step in range(STEPS):
        train_privately(
            kernel,
            params,
            data,
            mechanism=mechanism,
            steps=1,
            loss=cross_entropy,
            optimizer=PlainSgd(learning_rate),
            key=key.child("training"),
            round=step,
        )
        models.append(flatten(params))
    view = NoisySteps.of_sgd(
        torch.stack(models, dim=1),
        learning_rate=learning_rate,
        divisor=mechanism.expected_batch,
        adversary="server",
    )
    gradients = clipped_gradients(kernel, view.models, x[-1], int(y[-1]), clip_norm=CLIP)
    attack = GradientCanary(noise_stddev=declared * CLIP, sampling_rate=mechanism.sampling_rate)
    return attack.score(view, gradients)
