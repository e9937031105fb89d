"""Controls of membership and property inference from released prompts, stand-in encoder."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ...attacks.membership.lira import Lira
from ...attacks.membership.outputs import References
from ...attacks.prompts.membership import PromptMembership
from ...attacks.prompts.pipra import Pipra
from ...attacks.prompts.property_inference import PropertyInference
from ...attacks.prompts.released import Records, Released
from ...fl_core.clients import ClientData
from ...fl_core.kernels.base import cross_entropy, flatten
from ...fl_core.optimizers import PlainSgd
from ...fl_core.private_training import train_privately
from ...mechanisms.base import SeededKey
from ...mechanisms.dpsgd import DpSgd
from .control import Separated
from .prompt_stand_in import (
    LENGTH,
    NAMES,
    REACH,
    WIDTH,
    chosen,
    clipped,
    drawn,
    stand_in,
    subsets,
    tuned,
    untouched,
)

_EPOCHS, _RATE = 80, 0.1


class _Tuned(NamedTuple):
    """Prompts of random halves of the candidates, three tenths of whose labels are random.

    Attributes:
        prompts: of `_PROMPTS` rows.
        member: bool[rows, candidates].
        candidates, fresh: records that were tuned on, and as many that never were.
        own: the adversary's records.
        owned: bool[shadows, own]; shadows: prompts of its own.
    """

    prompts: Released
    member: Tensor
    candidates: Records
    fresh: Records
    own: Records
    owned: Tensor
    shadows: Released


_PROMPTS, _CANDIDATES, _OWN = 40, 24, 72


@cache
def _membership_runs(seed: int) -> _Tuned:
    world, draw = stand_in(), drawn(seed, 1)
    y = _some_random_labels(draw)
    order = torch.randperm(len(y), generator=draw)
    pools = [order[:_CANDIDATES], order[_CANDIDATES : 2 * _CANDIDATES], order[-_OWN:]]
    member = subsets(draw, _PROMPTS, _CANDIDATES, _CANDIDATES // 2)
    owned = subsets(draw, _PROMPTS, _OWN, _CANDIDATES // 2)
    index = torch.cat([chosen(pools[0], member), chosen(pools[2], owned)])
    found = tuned(world.kernel, world.x, y, index, epochs=_EPOCHS, rate=_RATE, key=SeededKey(seed))
    both = Released(kernel=world.kernel, prompts=found)
    rows = torch.arange(2 * _PROMPTS)
    candidates, fresh, own = (Records(world.x[pool], y[pool]) for pool in pools)
    return _Tuned(
        both.rows(rows[:_PROMPTS]),
        member,
        candidates,
        fresh,
        own,
        owned,
        both.rows(rows[_PROMPTS:]),
    )


class _Private(NamedTuple):
    """One step of DP-SGD on everything; row n is about canary n modulo their number.

    Attributes:
        prompts: the first half of the rows have their canary.
        canaries: the records.
        own: int64[rows], each row's canary.
        mu: of add or remove.
    """

    prompts: Released
    canaries: Records
    own: Tensor
    mu: float


_PAIRS, _CANARIES, _OTHERS = 300, 10, 3


@cache
def _private_runs(seed: int) -> _Private:
    world, draw = stand_in(), drawn(seed, 2)
    y = _some_random_labels(draw)
    mechanism = DpSgd(
        clip_norm=1.0, noise_multiplier=0.5, sampling_rate=1.0, expected_batch=_OTHERS + 1.0
    )
    order = torch.randperm(len(y), generator=draw)
    canaries, pool = order[:_CANARIES], order[_CANARIES:]
    own = torch.arange(2 * _PAIRS) % _CANARIES
    others = pool[torch.rand(2 * _PAIRS, len(pool), generator=draw).argsort(dim=1)[:, :_OTHERS]]
    parts = [
        [int(canaries[own[n]]), *row] if n < _PAIRS else row
        for n, row in enumerate(others.tolist())
    ]
    data = ClientData.of(world.x, y, parts, virtual=True)
    start = untouched().prompts["context"]
    params = {"context": start.expand(2 * _PAIRS, *start.shape[1:]).clone()}
    train_privately(
        world.kernel, params, data, mechanism=mechanism, steps=1, loss=cross_entropy,
        optimizer=PlainSgd(1.0), key=SeededKey(seed).child("private"),
    )  # fmt: skip
    released = Released(kernel=world.kernel, prompts=params)
    mu = 1.0 / mechanism.noise_multiplier
    return _Private(released, Records(world.x[canaries], y[canaries]), own, mu)


def _some_random_labels(draw: torch.Generator) -> Tensor:
    y = stand_in().y.clone()
    random = torch.rand(len(y), generator=draw) < 0.3
    y[random] = torch.randint(0, len(NAMES), (int(random.sum()),), generator=draw)
    return y


def _separated(scores: Tensor, member: Tensor) -> Separated:
    return Separated(
        values_in=scores[member].numpy(), values_out=scores[~member].numpy(), independent=False
    )


def _coins(like: Tensor, seed: int) -> Tensor:
    return torch.rand(like.shape, generator=drawn(seed, 3)) < 0.5


def _in_and_out(scores: Tensor, runs: _Private) -> Separated:
    """Of float64[rows, canaries], each row's own; the first half of the rows have it."""
    values = scores.gather(1, runs.own[: len(scores), None])[:, 0].numpy()
    half = len(values) // 2
    return Separated(
        values_in=values[:half], values_out=values[half:], independent=True, mu=runs.mu
    )


def membership(seed: int, trained: bool) -> Separated:
    """Loss under the hand prompt minus loss under the tuned one."""
    runs = _membership_runs(seed)
    attack = PromptMembership(reference=untouched())
    if trained:
        return _separated(attack.score(runs.prompts, runs.candidates), runs.member)
    scores = attack.score(runs.prompts, runs.fresh)
    return _separated(scores, _coins(scores, seed))


def membership_bounded(seed: int) -> Separated:
    """The same, of one record after DP-SGD."""
    runs = _private_runs(seed)
    attack = PromptMembership(reference=untouched())
    return _in_and_out(attack.score(runs.prompts, runs.canaries), runs)


def lira(seed: int, trained: bool) -> Separated:
    """Likelihood ratios; one half of the prompts are the shadows of the other half.

    The shadows' coins are not the targets': leaving one out of random labels is biased.
    """
    runs = _membership_runs(seed)
    records = runs.candidates if trained else runs.fresh
    member = runs.member if trained else _coins(runs.member, seed)
    rows = torch.arange(_PROMPTS)
    targets, shadows = rows[: _PROMPTS // 2], rows[_PROMPTS // 2 :]
    references = References(
        answers=runs.prompts.rows(shadows).answers(records),
        member=member[shadows],
        allowed=torch.ones(len(targets), len(shadows), dtype=torch.bool),
    )
    answers = runs.prompts.rows(targets).answers(records)
    return _separated(Lira(references=references).score(answers), member[targets])


def lira_bounded(seed: int) -> Separated:
    """Half of the private runs are references of the other half, blocks of `_CANARIES` in turn."""
    runs = _private_runs(seed)
    place = torch.arange(2 * _PAIRS)
    turn = place // _CANARIES % 2
    targets, shadows = place[turn == 0], place[turn == 1]
    member = torch.nn.functional.one_hot(runs.own, _CANARIES).bool()
    member[_PAIRS:] = False
    references = References(
        answers=runs.prompts.rows(shadows).answers(runs.canaries),
        member=member[shadows],
        allowed=torch.ones(len(targets), len(shadows), dtype=torch.bool),
    )
    answers = runs.prompts.rows(targets).answers(runs.canaries)
    # In blocks of ten, the targets' own canaries are again 0, 1, ..., 9, 0, ...
    return _in_and_out(Lira(references=references).score(answers), runs)


@cache
def _pipra(seed: int) -> Pipra:
    runs = _membership_runs(seed)
    return Pipra.fit(runs.shadows, runs.own, runs.owned, reference=untouched(), seed=seed)


def pipra(seed: int, trained: bool) -> Separated:
    """Of prompts and records that the judge never saw."""
    runs = _membership_runs(seed)
    scores = _pipra(seed).score(runs.prompts, runs.candidates if trained else runs.fresh)
    return _separated(scores, runs.member if trained else _coins(scores, seed))


def pipra_bounded(seed: int) -> Separated:
    """The same judge, of one record after DP-SGD."""
    runs = _private_runs(seed)
    return _in_and_out(_pipra(seed).score(runs.prompts, runs.canaries), runs)


_KINDS, _SIZE = 40, 24
_QUIET = 0.5  # noise over clip norm: a property moves less than a whole change


@cache
def _property_runs(seed: int) -> tuple[Released, Tensor]:
    """Twice `_KINDS` shadows, then as many targets; every other one has many threes."""
    world, draw = stand_in(), drawn(seed, 4)
    has = torch.arange(4 * _KINDS) % 2 == 0
    chance = torch.where(world.y == 3, 12.0, 1.0)
    weights = torch.where(has.unsqueeze(1), chance, torch.ones_like(chance))
    index = torch.multinomial(weights, _SIZE, generator=draw)
    found = tuned(world.kernel, world.x, world.y, index, epochs=40, rate=_RATE, key=SeededKey(seed))
    return Released(kernel=world.kernel, prompts=found), has


def property_inference(seed: int, told: bool) -> Separated:
    """Are many of the records threes? Without data the targets' kind is a coin."""
    runs, has = _property_runs(seed)
    rows = torch.arange(4 * _KINDS)
    shadows, targets = rows[: 2 * _KINDS], rows[2 * _KINDS :]
    attack = PropertyInference.fit(runs.rows(shadows), has[shadows])
    scores = attack.score(runs.rows(targets))
    kind = has[targets] if told else _coins(scores, seed)
    return Separated(
        values_in=scores[kind].numpy(), values_out=scores[~kind].numpy(), independent=True
    )


def property_bounded(seed: int) -> Separated:
    """The change of the prompt clipped and noised: one client's data replaced by other data."""
    runs, has = _property_runs(seed)
    start = flatten(untouched().prompts).double()
    change = clipped(flatten(runs.prompts).double() - start)
    noise = SeededKey(seed).child("property").normal(*change.shape)

    def released(changes: Tensor) -> Released:
        contexts = (start + changes).float().view(-1, LENGTH, WIDTH)
        return Released(kernel=runs.kernel, prompts={"context": contexts})

    rows = torch.arange(4 * _KINDS)
    shadows, targets = rows[: 2 * _KINDS], rows[2 * _KINDS :]
    # The adversary clips its shadows, and adds no noise to them.
    attack = PropertyInference.fit(
        released(change).rows(shadows), has[shadows], space="context", ridge=1.0
    )
    noisy = released(change + _QUIET * REACH * noise)
    scores, kind = attack.score(noisy.rows(targets)), has[targets]
    return Separated(
        values_in=scores[kind].numpy(),
        values_out=scores[~kind].numpy(),
        independent=True,
        mu=2.0 / _QUIET,
    )
