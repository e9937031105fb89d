"""Who is attacked in the controls of attacks by queries, and what the adversary has.

Targets are never each other's references, so that scores about records that no training used are
independent of the coins by which they are judged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ...attacks.membership.outputs import Answers, References

TARGETS, REFERENCES = 12, 64
SINGLE, USERS, EACH, KNOWN = 400, 50, 3, 400  # records, users, records of a user, population

OWN_RUNS, STEPS, ASKED = 64, 4, 24  # the adversary's own runs of DP-SGD in each world
LENGTH = 5.0  # of the first private candidate; each further one is twice as long


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is learnt, and how well.

    Attributes:
        random_labels: share of records with one; what cannot be generalised is learnt by heart.
        contrast: least and greatest of the pictures'; the higher, the more an answer varies.
        steps: of SGD.
        rate: of learning.
    """

    random_labels: float
    contrast: tuple[float, float]
    steps: int
    rate: float


# Anybody can see who is in BY_HEART. In HALF_LEARNT records are as hard as they come, and a loss
# says more of that than of membership: easy ones are answered well by those who never saw them.
BY_HEART = Training(random_labels=0.6, contrast=(1.0, 1.0), steps=1200, rate=0.3)
HALF_LEARNT = Training(random_labels=0.3, contrast=(0.2, 4.0), steps=1500, rate=0.05)


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Some targets, what they answer, and what the adversary has.

    Attributes:
        view: the targets' answers about all records.
        references: the adversary's models.
        member: bool[targets, records]; of untouched records a coin that means nothing.
        x: float[records, dim], the records.
        predicted: the targets' decisions, float[n, dim] -> int64[targets, n].
        known: bool[targets, records], records that are known not to have been used. They are dealt
            by the same coins as the candidates, for the targets and for the references.
        a: how much of a probability is left to gain by training (`Rmia.a`); private training
            changes little.
    """

    view: "Answers"
    references: "References"
    member: "Tensor"
    x: "Tensor"
    predicted: Callable[["Tensor"], "Tensor"]
    known: "Tensor"
    a: float = 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class Overfitted:
    """A world without privacy, and whom to ask about in it.

    Attributes:
        world: all models and records.
        used: int64[m], records that trainings used or not, by coins.
        untouched: int64[m], records that no training used.
        used_users, untouched_users: int64[users, each], records of users; as above, by user.
    """

    world: World
    used: "Tensor"
    untouched: "Tensor"
    used_users: "Tensor"
    untouched_users: "Tensor"


@dataclass(frozen=True, kw_only=True, eq=False)
class Private:
    """Runs of DP-SGD, each of them a trial for one unit.

    Attributes:
        world: all runs and records.
        units: int64[units, each], the records of a unit, which are all used or none of them.
        asked: int64[targets], the unit that each run is a trial for, drawn at random.
        inside: bool[targets], whether it is there; in half of the runs. Other units have coins.
        mu: proven for one run and the presence of one unit.
    """

    world: World
    units: "Tensor"
    asked: "Tensor"
    inside: "Tensor"
    mu: float


@cache
def overfitted(seed: int, how: Training) -> Overfitted:
    """Networks that learn random labels by heart; users' records follow the single ones."""
    import numpy as np
    import torch

    from ...attacks.membership.outputs import Answers, References
    from ...attacks.shadow_batches import WithReplacement
    from ...attacks.shadow_recipe import Recipe
    from ...fl_core.clients import ClientData
    from ...fl_core.data.tables import digits_table
    from ...fl_core.kernels.stacked import mlp
    from ...fl_core.optimizers import PlainSgd
    from ...mechanisms.base import SeededKey

    pool, rng = digits_table(), np.random.default_rng((seed, 0))
    own = SINGLE + USERS * EACH
    some = rng.permutation(len(pool.y))[: 2 * own + KNOWN]
    x = (torch.from_numpy(pool.x[some]) - 0.3) / 0.35  # about zero, and near one: quickly learnt
    order = np.arange(len(some))  # 49 contrasts and, apart from them, labels, each as often
    x = x * torch.from_numpy(np.geomspace(*how.contrast, 49)[order % 49]).to(x).unsqueeze(1)
    redrawn = order % 10 < 10 * how.random_labels
    y = torch.from_numpy(np.where(redrawn, rng.integers(0, 10, len(some)), pool.y[some]))
    models = TARGETS + REFERENCES
    member = np.zeros((models, len(some)), dtype=bool)
    for first in (0, own):
        member[:, first : first + SINGLE] = rng.integers(0, 2, (models, SINGLE))
        users = rng.integers(0, 2, (models, USERS)).repeat(EACH, axis=1)
        member[:, first + SINGLE : first + own] = users
    member[:, 2 * own :] = rng.integers(0, 2, (models, KNOWN))
    used = np.flatnonzero((order < own) | (order >= 2 * own))
    data = ClientData.of(
        x,
        y,
        [used[row] for row in member[:, used]],
        clients=[0] * models,
        replicas=list(range(models)),
    )
    kernel = mlp((64, 64, 10))
    recipe = Recipe(
        kernel=kernel,
        training=WithReplacement(steps=how.steps, batch_size=32),
        optimizer=lambda params: PlainSgd(how.rate),
    )
    params = recipe.train(data, SeededKey(seed))

    def logits(first: int, last: int, x: "Tensor") -> "Tensor":
        rows = {name: value[first:last] for name, value in params.items()}
        return kernel.outputs(rows, x.expand(last - first, *x.shape)).logits

    number = torch.arange(len(some))
    world = World(
        view=Answers(logits=logits(0, TARGETS, x), labels=y),
        references=References(
            answers=Answers(logits=logits(TARGETS, models, x), labels=y),
            member=torch.from_numpy(member[TARGETS:]),
            allowed=torch.ones(TARGETS, REFERENCES, dtype=torch.bool),
        ),
        member=torch.from_numpy(member[:TARGETS]),
        x=x,
        predicted=lambda x: logits(0, TARGETS, x).argmax(dim=2),
        known=(number >= 2 * own) & ~torch.from_numpy(member[:TARGETS]),
    )
    return Overfitted(
        world=world,
        used=number[:SINGLE],
        untouched=number[own : own + SINGLE],
        used_users=number[SINGLE:own].view(USERS, EACH),
        untouched_users=number[own + SINGLE : 2 * own].view(USERS, EACH),
    )


@cache
def private(seed: int, *, runs: int, sigma: float, units: int, each: int) -> Private:
    """`runs` of DP-SGD with one unit, as many without, and the mu that is proven for it.

    A linear model of 4x4 pixels of digits 0 to 3, and of one input more for each candidate record,
    that no other record uses. Such a record is clipped in every step, so that nearly all of mu
    reaches the answer about it. All runs start from the same model. The longer a candidate, the
    worse is that at it, and the more answers about it vary: what an answer says depends on whom it
    is about.

    Args:
        seed: of records, coins and noise.
        runs: in each world.
        sigma: noise multiplier.
        units: candidates, each of them with `each` records.
        each: 1, or the number of records of a user.
    """
    import numpy as np
    import torch

    from ...accountant.account import account
    from ...attacks.membership.outputs import Answers, References
    from ...fl_core.clients import ClientData
    from ...fl_core.data.tables import digits_table
    from ...fl_core.kernels.base import cross_entropy
    from ...fl_core.kernels.layers import Linear
    from ...fl_core.kernels.stacked import Stacked
    from ...fl_core.optimizers import PlainSgd
    from ...fl_core.private_training import train_privately
    from ...mechanisms.base import SeededKey
    from ...mechanisms.dpsgd import DpSgd

    pool, rng = digits_table(), np.random.default_rng((seed, 1))
    own, targets = units * each, 2 * runs
    some = rng.permutation(np.flatnonzero(pool.y < 4))[: 20 + ASKED]
    pixels = torch.from_numpy(pool.x[some]).double().view(-1, 4, 2, 4, 2).mean(dim=(2, 4))
    x = torch.zeros(own + len(some), 16 + own, dtype=torch.float64)
    length = LENGTH * 2.0 ** (torch.arange(own) // each)
    x[:own, 16:], x[own:, :16] = length.diag(), pixels.flatten(1)
    y = torch.cat([torch.full((own,), 3), torch.from_numpy(pool.y[some])])

    count = targets + 2 * OWN_RUNS
    inside = np.arange(targets) % 2 == 0
    asked = rng.integers(0, units, targets)
    there = rng.integers(0, 2, (count, units)).astype(bool)
    there[np.arange(targets), asked] = inside
    population = rng.integers(0, 2, (count, ASKED)).astype(bool)
    holds = np.hstack([there.repeat(each, axis=1), population])
    everyone = list(range(own + ASKED, len(x)))
    data = ClientData.of(
        x,
        y,
        [[*np.flatnonzero(row), *everyone] for row in holds],
        clients=[0] * count,
        replicas=list(range(count)),
    )
    kernel = Stacked((), (Linear("1", 16 + own, 4, bias=False),))
    start = torch.zeros(16 + own, 4, dtype=torch.float64)
    start[16:, 3] = -(length - LENGTH) / (2.0 * length)
    params = {"1.weight": start.repeat(count, 1, 1)}
    mechanism = DpSgd(clip_norm=1.0, noise_multiplier=sigma, sampling_rate=1.0, expected_batch=20.0)
    train_privately(
        kernel,
        params,
        data,
        mechanism=mechanism,
        steps=STEPS,
        loss=cross_entropy,
        optimizer=PlainSgd(1.0),
        key=SeededKey(seed).child("private queries"),
    )
    x, y = x[: own + ASKED], y[: own + ASKED]

    def logits(some: slice, x: "Tensor") -> "Tensor":
        return x @ params["1.weight"][some]

    first, others = slice(0, targets), slice(targets, None)
    member = torch.from_numpy(holds)
    world = World(
        view=Answers(logits=logits(first, x), labels=y),
        references=References(
            answers=Answers(logits=logits(others, x), labels=y),
            member=member[others],
            allowed=torch.ones(targets, 2 * OWN_RUNS, dtype=torch.bool),
        ),
        member=member[first],
        x=x,
        predicted=lambda x: logits(first, x).argmax(dim=2),
        known=(torch.arange(len(x)) >= own) & ~member[first],
        a=1.0,
    )
    proven = account(mechanism.event(STEPS), adjacency="add-remove", unit="user", group_size=each)
    return Private(
        world=world,
        units=torch.arange(own).view(units, each),
        asked=torch.from_numpy(asked),
        inside=torch.from_numpy(inside),
        mu=proven.mu.upper,
    )
