"""Controls of white-box attacks: gradient canaries on DP-SGD, and attacks on noisy prototypes."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .control import Control, Separated

if TYPE_CHECKING:
    from torch import Tensor

    from ...attacks.base import Attack
    from ...fl_core.transcript import View
    from ...mechanisms.base import Mechanism
    from ...mechanisms.prototypes import PrototypeDesign

MU, ROUNDS, TRIALS, HELD, DRAWN = 2.0, 2, 10_000, 8, 1000  # DRAWN trials have data of their own


def canaries(seed: int, *, plain: bool = False, **options: Any) -> Separated:
    """Runs of DP-SGD with and without a planted record, or `plain` ones of training."""
    from . import canary_runs

    run = canary_runs.plain_canary if plain else canary_runs.canary
    return run(seed, **options)


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
        method, candidates = PrototypeDistance(), mechanism.contribution(records)[0]
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
    return Separated(
        values_in=inside, values_out=outside, independent=True, mu=MU if there else None
    )


def drawn(seed: int, *, attack: str) -> Separated:
    """Means of threes without noise, with and without one of them; others in each trial.

    "informed_linear" knows all other records but one, for which it takes the mean: if it knew that
    too, all its scores would be the same. "likelihood_ratio" only knows where they come from.
    """
    import torch

    from ...attacks.membership.informed_linear import InformedLinear
    from ...attacks.membership.likelihood_ratio import LikelihoodRatio
    from ...fl_core.worlds import heard
    from ...mechanisms import catalog

    mechanism, records = catalog.build("none", _design(HELD)), _threes(seed, 150)
    some, parts = _draws(seed, len(records)), mechanism.contribution(records)
    method: Attack[View, Tensor]
    if attack == "informed_linear":
        known = (parts[some[:, 2:]].sum(dim=1) + parts.mean(dim=0)) / HELD
        method = InformedLinear(background=known, noise_scale=torch.ones_like(known[0]))
    else:
        ridge = 1e-4 * torch.eye(parts.shape[1], dtype=parts.dtype)  # pixels that are never used
        method = LikelihoodRatio(
            background=(HELD - 1) * parts.mean(dim=0) / HELD,
            covariance=(HELD - 1) * (parts.T.cov() + ridge) / HELD**2,
        )
    values = []
    for held in (some, some[:, 1:]):
        view = heard(_prototype(mechanism, records[held])[:, None, None]).view("server")
        values.append(method.score(view, parts[some[:, 0]] / HELD).numpy())
    return Separated(values_in=values[0], values_out=values[1], independent=True)


def _draws(seed: int, records: int) -> "Tensor":
    """int64[DRAWN, HELD], distinct in each row."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.rand(DRAWN, records, generator=generator).argsort(dim=1)[:, :HELD]


def few(seed: int) -> Separated:
    """Means of two threes without noise, and a candidate that is one of them, or a third."""
    from ...attacks.membership.prototype_distance import PrototypeDistance
    from ...fl_core.worlds import heard
    from ...mechanisms import catalog

    mechanism, records = catalog.build("none", _design(2)), _threes(seed, 150)
    draws, values = _draws(seed, len(records)), []
    for which, some in ((0, draws[: DRAWN // 2]), (2, draws[DRAWN // 2 :])):
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
    positive: Callable[[int], Separated],
    at_least: float,
    reaches: float = 0.0,
) -> Control:
    run = partial(prototype, attack=attack, kind=kind)
    return Control(
        attack=attack,
        adversary="server",
        setting=setting,
        positive=positive,
        noise=partial(run, there=False),
        bounded=run,
        at_least=at_least,
        reaches=reaches,
    )


_RATE = 0.25
_hidden = partial(canaries, noise=0.5, rate=_RATE)  # adding up ratios is far from the best test
CONTROLS = (
    Control(
        attack="gradient_canary",
        adversary="server",
        setting="8 full steps of DP-SGD on 20 digits, linear model; without noise: on 2 or 3",
        positive=partial(canaries, plain=True),
        noise=partial(canaries, planted=False),
        bounded=partial(canaries, bounded=True),
        at_least=0.85,
        reaches=0.9,
    ),
    Control(
        attack="gradient_canary",
        adversary="server",
        setting="the same with hidden Poisson samples of rate 1/4",
        positive=partial(canaries, plain=True, rate=_RATE),
        noise=partial(_hidden, planted=False),
        bounded=partial(_hidden, bounded=True),
        at_least=0.85,
        reaches=0.92,
    ),
    _of_prototypes(
        "informed_linear",
        "2 rounds of a mean of 8 threes, groupwise noise",
        "vpp",
        positive=partial(drawn, attack="informed_linear"),
        at_least=0.99,
        reaches=0.95,
    ),
    _of_prototypes(
        "likelihood_ratio",
        "the same in a public basis that correlates it; without noise: others are not known",
        "vpp",
        positive=partial(drawn, attack="likelihood_ratio"),
        at_least=0.99,
        reaches=0.95,
    ),
    _of_prototypes(
        "prototype_distance",
        "2 rounds of a mean of 8 threes, noise; without noise: means of 2",
        "igpp",
        positive=few,
        at_least=0.9,
    ),
)
