"""Controls of white-box attacks: gradient canaries on DP-SGD, and attacks on noisy prototypes."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .control import Control, Separated

if TYPE_CHECKING:
    from torch import Tensor

    from ...attacks.base import Attack
    from ...fl_core.transcript import View
    from ...mechanisms.base import Mechanism
    from ...mechanisms.prototypes import PrototypeDesign

STEPS, SIGMA, CLIP, RATE, RUNS = 8, 2.0**0.5, 1.0, 0.05, 2000  # RUNS in each world
MU, ROUNDS, TRIALS, HELD = 2.0, 2, 10_000, 8


def canary(
    seed: int, *, noise: float = SIGMA, rate: float = 1.0, planted: bool = True
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
    """
    import numpy as np
    import torch

    from ...accountant.account import account
    from ...attacks.membership.gradient_canary import (
        GradientCanary,
        NoisySteps,
        clipped_gradients,
    )
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

    pool, rng = digits_table(), np.random.default_rng((seed, 1))
    some = rng.permutation(np.flatnonzero(pool.y < 4))[:20]
    pixels = torch.from_numpy(pool.x[some]).double().view(-1, 4, 2, 4, 2).mean(dim=(2, 4))
    x = torch.zeros(21, 17, dtype=torch.float64)
    x[:20, :16] = pixels.flatten(1)
    x[20, 16] = 6.0
    y = torch.cat([torch.from_numpy(pool.y[some]), torch.tensor([3])])
    everyone = list(range(20))
    worlds = [[*everyone, 20] if planted else everyone] * RUNS + [everyone] * RUNS
    data = ClientData.of(x, y, worlds, clients=[0] * len(worlds), replicas=list(range(len(worlds))))
    kernel, key = Stacked((), (Linear("1", 17, 4, bias=False),)), SeededKey(seed)
    start = kernel.initial(Counter.of(key, "model"), data.clients, data.replicas)
    params = {name: value.double() for name, value in start.items()}
    mechanism = DpSgd(
        clip_norm=CLIP, noise_multiplier=noise, sampling_rate=rate, expected_batch=20.0 * rate
    )
    models = [flatten(params)]
    for step in range(STEPS):
        train_privately(
            kernel,
            params,
            data,
            mechanism=mechanism,
            steps=1,
            loss=cross_entropy,
            optimizer=PlainSgd(RATE * rate),
            key=key.child("training"),
            round=step,
        )
        models.append(flatten(params))
    view = NoisySteps.of_sgd(
        torch.stack(models, dim=1),
        learning_rate=RATE * rate,
        divisor=mechanism.expected_batch,
        adversary="server",
    )
    gradients = clipped_gradients(kernel, view.models, x[20], 3, clip_norm=CLIP)
    attack = GradientCanary(noise_stddev=noise * CLIP, sampling_rate=rate)
    scores = attack.score(view, gradients).numpy()
    mu = account(mechanism.event(STEPS), adjacency="add-remove").mu.upper
    return Separated(values_in=scores[:RUNS], values_out=scores[RUNS:], independent=True, mu=mu)


def _design(count: int) -> "PrototypeDesign":
    from ...mechanisms.prototypes import PrototypeDesign

    return PrototypeDesign(
        mu=MU,
        rounds=ROUNDS,
        adjacency="add-remove",
        clip_norm=1.0,
        group_sizes=(32, 32),
        group_norms=(0.8, 0.6),
        public_count=count,
    )


def _threes(seed: int, count: int) -> "Tensor":
    """float64[count, 64]: digits of one class; each is longer than the clip bounds."""
    import numpy as np
    import torch

    from ...fl_core.data.tables import digits_table

    pool = digits_table()
    some = np.random.default_rng((seed, 2)).permutation(np.flatnonzero(pool.y == 3))[:count]
    return torch.from_numpy(pool.x[some]).double()


def _prototype(mechanism: "Mechanism", records: "Tensor") -> "Tensor":
    """float64[..., 1 class, dim]: before noise."""
    import torch

    labels = torch.zeros(records.shape[:-1], dtype=torch.int64)
    return mechanism.statistic(records, labels, 1)


def _views(
    mechanism: "Mechanism", statistics: tuple["Tensor", "Tensor"], seed: int, trials: int
) -> list["View"]:
    """What the server sees of `trials` runs with and without the record."""
    from ...fl_core.worlds import heard
    from ...mechanisms.base import SeededKey

    found = []
    for world, own in enumerate(statistics):
        rows = own.expand(trials, 1, *own.shape[-2:]).unsqueeze(1).expand(-1, ROUNDS, -1, -1, -1)
        uploads = mechanism.perturb(rows, SeededKey(seed).child("prototypes", world))
        found.append(heard(uploads).view("server"))
    return found


def prototype(seed: int, *, attack: str, kind: str, there: bool = True) -> Separated:
    """Releases of the mean of eight threes with and without one of them.

    Args:
        seed: of the digits and the noise.
        attack: its name in the catalog.
        kind: mechanism.
        there: whether the record is there in the trials that are said to have it.
    """
    import torch

    from ...attacks.membership.informed_linear import InformedLinear
    from ...attacks.membership.likelihood_ratio import LikelihoodRatio
    from ...attacks.membership.prototype_distance import PrototypeDistance
    from ...fl_core.transcript import Transcript
    from ...fl_core.worlds import noise_scale
    from ...mechanisms import catalog

    mechanism, records = catalog.build(kind, _design(HELD)), _threes(seed, HELD)
    absent, whole = _prototype(mechanism, records[1:]), _prototype(mechanism, records)
    views = _views(mechanism, (whole if there else absent, absent), seed, TRIALS)
    background, shift = absent[0], (whole - absent)[0]
    scale = noise_scale(mechanism)
    method: Attack[View, Tensor]
    if attack == "prototype_distance":
        method, candidates = PrototypeDistance(), records[0]
    elif attack == "informed_linear":
        method, candidates = InformedLinear(background=background, noise_scale=scale), shift
    else:
        # A public change of basis, so that the noise of the dimensions is correlated.
        generator = torch.Generator().manual_seed(seed)
        basis = torch.randn(64, 64, generator=generator, dtype=torch.float64) / 8 + torch.eye(64)
        views = [
            Transcript(uploads=view.uploads @ basis, broadcasts=view.broadcasts @ basis).view(
                "server"
            )
            for view in views
            if view.uploads is not None and view.broadcasts is not None
        ]
        covariance = basis.mT @ (scale.square() / ROUNDS).diag() @ basis
        method = LikelihoodRatio(
            background=background @ basis, covariance=(covariance + covariance.mT) / 2
        )
        candidates = shift @ basis
    inside, outside = (method.score(view, candidates).numpy() for view in views)
    private = any(mechanism.noise_stddevs)
    return Separated(
        values_in=inside, values_out=outside, independent=True, mu=MU if private else None
    )


def few(seed: int) -> Separated:
    """Means of two threes without noise, and a candidate that is one of them, or a third."""
    import torch

    from ...attacks.membership.prototype_distance import PrototypeDistance
    from ...fl_core.worlds import heard
    from ...mechanisms import catalog

    mechanism, records = catalog.build("none", _design(2)), _threes(seed, 150)
    generator = torch.Generator().manual_seed(seed)
    values = []
    for which in (0, 2):
        some = torch.rand(1000, len(records), generator=generator).argsort(dim=1)[:, :3]
        means = _prototype(mechanism, records[some[:, :2]])
        view = heard(means[:, None, None]).view("server")
        candidates = mechanism.contribution(records)[some[:, which]]
        values.append(PrototypeDistance().score(view, candidates).numpy())
    return Separated(values_in=values[0], values_out=values[1], independent=True)


def _of_prototypes(
    attack: str,
    setting: str,
    kind: str,
    *,
    positive: Callable[[int], Separated] | None = None,
    at_least: float = 0.99,
    reaches: float = 0.0,
) -> Control:
    run = partial(prototype, attack=attack)
    return Control(
        attack=attack,
        adversary="server",
        setting=setting,
        positive=positive or partial(run, kind="none"),
        noise=partial(run, kind=kind, there=False),
        bounded=partial(run, kind=kind),
        at_least=at_least,
        reaches=reaches,
    )


CONTROLS = (
    Control(
        attack="gradient_canary",
        adversary="server",
        setting="8 full steps of DP-SGD on 20 digits, linear model",
        positive=partial(canary, noise=0.05),
        noise=partial(canary, planted=False),
        bounded=canary,
        at_least=0.99,
        reaches=0.9,
    ),
    Control(
        attack="gradient_canary",
        adversary="server",
        setting="the same with hidden Poisson samples of rate 1/4",
        positive=partial(canary, noise=0.05, rate=0.25),
        noise=partial(canary, rate=0.25, planted=False),
        bounded=partial(canary, rate=0.25),
        at_least=0.9,
    ),
    _of_prototypes(
        "informed_linear", "2 rounds of a mean of 8 threes, groupwise noise", "vpp", reaches=0.95
    ),
    _of_prototypes(
        "likelihood_ratio", "the same in a public basis that correlates it", "vpp", reaches=0.95
    ),
    _of_prototypes(
        "prototype_distance",
        "2 rounds of a mean of 8 threes, noise; without noise: means of 2",
        "igpp",
        positive=few,
        at_least=0.85,
    ),
)
