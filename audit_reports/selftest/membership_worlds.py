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

TARGETS, REFERENCES = 8, 24
SINGLE, USERS, EACH, KNOWN = 400, 50, 3, 400  # records, users, records of a user, non-members
RANDOM_LABELS = 0.5  # what cannot be generalised must be learnt by heart

OWN_RUNS, STEPS, SIGMA, ASKED = 64, 4, 1.0, 24  # the adversary's own runs of DP-SGD in each world


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Some targets, what they answer, and what the adversary has.

    Attributes:
        view: the targets' answers about all records.
        references: the adversary's models.
        member: bool[targets, records]; of untouched records a coin that means nothing.
        x: float[records, dim], the records.
        predicted: the targets' decisions, float[n, dim] -> int64[targets, n].
        used: int64[m], records that trainings used or not, by coins.
        untouched: int64[m], records that no training used.
        used_users, untouched_users: int64[users, each], records of users; as above, by user.
        known: int64[z], records that are known not to have been used.
    """

    view: "Answers"
    references: "References"
    member: "Tensor"
    x: "Tensor"
    predicted: Callable[["Tensor"], "Tensor"]
    used: "Tensor"
    untouched: "Tensor"
    used_users: "Tensor"
    untouched_users: "Tensor"
    known: "Tensor"


@cache
def overfitted(seed: int) -> World:
    """Networks that learnt random labels by heart; users' records follow the single ones."""
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
    redrawn = rng.random(len(some)) < RANDOM_LABELS
    y = torch.from_numpy(np.where(redrawn, rng.integers(0, 10, len(some)), pool.y[some]))
    models = TARGETS + REFERENCES
    member = np.zeros((models, len(some)), dtype=bool)
    for first in (0, own):
        member[:, first : first + SINGLE] = rng.integers(0, 2, (models, SINGLE))
        users = rng.integers(0, 2, (models, USERS)).repeat(EACH, axis=1)
        member[:, first + SINGLE : first + own] = users
    data = ClientData.of(
        x,
        y,
        [np.flatnonzero(row) for row in member[:, :own]],
        clients=[0] * models,
        replicas=list(range(models)),
    )
    kernel = mlp((64, 64, 10))
    recipe = Recipe(
        kernel=kernel,
        training=WithReplacement(steps=700, batch_size=32),
        optimizer=lambda params: PlainSgd(0.3),
    )
    params = recipe.train(data, SeededKey(seed))

    def logits(first: int, last: int, x: "Tensor") -> "Tensor":
        rows = {name: value[first:last] for name, value in params.items()}
        return kernel.outputs(rows, x.expand(last - first, *x.shape)).logits

    number = torch.arange(len(some))
    return World(
        view=Answers(logits=logits(0, TARGETS, x), labels=y),
        references=References(
            answers=Answers(logits=logits(TARGETS, models, x), labels=y),
            member=torch.from_numpy(member[TARGETS:]),
            allowed=torch.ones(TARGETS, REFERENCES, dtype=torch.bool),
        ),
        member=torch.from_numpy(member[:TARGETS]),
        x=x,
        predicted=lambda x: logits(0, TARGETS, x).argmax(dim=2),
        used=number[:SINGLE],
        untouched=number[own : own + SINGLE],
        used_users=number[SINGLE:own].view(USERS, EACH),
        untouched_users=number[own + SINGLE : 2 * own].view(USERS, EACH),
        known=number[2 * own :],
    )


@cache
def private(seed: int, runs: int) -> tuple[World, float]:
    """`runs` of DP-SGD with record 0, as many without, and the mu that is proven for one run.

    A linear model of 17 inputs: 4x4 pixels of digits 0 to 3, and one that no digit uses. Record 0
    lies along that one and is clipped in every step, so that nearly all of mu reaches the answer
    about it. All runs start from the same model.
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
    some = rng.permutation(np.flatnonzero(pool.y < 4))[: 20 + ASKED]
    pixels = torch.from_numpy(pool.x[some]).double().view(-1, 4, 2, 4, 2).mean(dim=(2, 4))
    x = torch.zeros(1 + len(some), 17, dtype=torch.float64)
    x[0, 16], x[1:, :16] = 6.0, pixels.flatten(1)
    y = torch.cat([torch.tensor([3]), torch.from_numpy(pool.y[some])])
    everyone, targets = list(range(1, 21)), 2 * runs
    inside = torch.arange(targets + 2 * OWN_RUNS) % 2 == 0
    data = ClientData.of(
        x,
        y,
        [[0, *everyone] if there else everyone for there in inside.tolist()],
        clients=[0] * len(inside),
        replicas=list(range(len(inside))),
    )
    kernel = Stacked((), (Linear("1", 17, 4, bias=False),))
    params = {"1.weight": torch.zeros(len(inside), 17, 4, dtype=torch.float64)}
    mechanism = DpSgd(clip_norm=1.0, noise_multiplier=SIGMA, sampling_rate=1.0, expected_batch=20.0)
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
    asked = torch.cat([torch.zeros(1, dtype=torch.int64), torch.arange(21, len(x))])
    x, y = x[asked], y[asked]

    def logits(some: slice, x: "Tensor") -> "Tensor":
        return x @ params["1.weight"][some]

    own, others = slice(0, targets), slice(targets, None)
    member = torch.zeros(len(inside), len(asked), dtype=torch.bool)
    member[:, 0] = inside
    world = World(
        view=Answers(logits=logits(own, x), labels=y),
        references=References(
            answers=Answers(logits=logits(others, x), labels=y),
            member=member[others],
            allowed=torch.ones(targets, 2 * OWN_RUNS, dtype=torch.bool),
        ),
        member=member[own],
        x=x,
        predicted=lambda x: logits(own, x).argmax(dim=2),
        used=torch.zeros(1, dtype=torch.int64),
        untouched=torch.zeros(0, dtype=torch.int64),
        used_users=torch.zeros(1, 1, dtype=torch.int64),
        untouched_users=torch.zeros(0, 1, dtype=torch.int64),
        known=torch.arange(1, len(asked)),
    )
    return world, account(mechanism.event(STEPS), adjacency="add-remove").mu.upper
