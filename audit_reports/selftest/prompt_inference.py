"""Controls of membership and property inference from released prompts, stand-in encoder.

In the bounded runs both worlds are fixed but for the noise: the adversary is granted every record
except that it does not know whether one takes part. So the release is a Gaussian, or another one
that is mu apart, and without its noise nothing could hide which. `share` is how much of the noise
is really added: 1, but in the test that these controls can fail.
"""

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

_EPOCHS, _RATE = 40, 0.1


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


_PROMPTS, _CANDIDATES, _OWN = 40, 48, 144


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
    """One step of DP-SGD on the same few records each, the first half of the rows with the canary.

    Attributes:
        prompts: of `2 * _TRIALS` rows.
        canary: the record, alone.
        mu: of add or remove.
    """

    prompts: Released
    canary: Records
    mu: float


_TRIALS, _OTHERS = 400, 3
_NOISE = 0.8  # over the clip norm
_STEP = 0.02  # so short that losses are linear in it: the loss is then as good as the gradient


@cache
def _private_runs(seed: int, share: float) -> _Private:
    world, draw = stand_in(), drawn(seed, 2)
    # Below the norm of any gradient, so that the canary counts in full.
    settings = dict(clip_norm=0.01, sampling_rate=1.0, expected_batch=_OTHERS + 1.0)
    stated = DpSgd(noise_multiplier=_NOISE, **settings)
    order = torch.randperm(len(world.y), generator=draw)[: _OTHERS + 1].tolist()
    parts = [order if n < _TRIALS else order[1:] for n in range(2 * _TRIALS)]
    data = ClientData.of(world.x, world.y, parts, virtual=True)
    start = untouched().prompts["context"]
    params = {"context": start.expand(2 * _TRIALS, *start.shape[1:]).clone()}
    train_privately(
        world.kernel,
        params,
        data,
        mechanism=DpSgd(noise_multiplier=share * _NOISE, **settings),
        steps=1,
        loss=cross_entropy,
        optimizer=PlainSgd(_STEP / settings["clip_norm"]),
        key=SeededKey(seed).child("private"),
    )
    released = Released(kernel=world.kernel, prompts=params)
    canary = Records(world.x[order[:1]], world.y[order[:1]])
    return _Private(released, canary, 1.0 / stated.noise_multiplier)


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
    """Of float64[rows, 1]; the first half of the rows have the canary."""
    inside, outside = scores[:, 0].chunk(2)
    return Separated(
        values_in=inside.numpy(), values_out=outside.numpy(), independent=True, mu=runs.mu
    )


def membership(seed: int, trained: bool) -> Separated:
    """The loss under prompts that the adversary tuned, minus the loss under the released one."""
    runs = _membership_runs(seed)
    attack = PromptMembership(references=runs.shadows)
    if trained:
        return _separated(attack.score(runs.prompts, runs.candidates), runs.member)
    scores = attack.score(runs.prompts, runs.fresh)
    return _separated(scores, _coins(scores, seed))


def membership_bounded(seed: int, *, share: float = 1.0) -> Separated:
    """The same, of one record after DP-SGD."""
    runs = _private_runs(seed, share)
    attack = PromptMembership(references=_membership_runs(seed).shadows)
    return _in_and_out(attack.score(runs.prompts, runs.canary), runs)


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


def lira_bounded(seed: int, *, share: float = 1.0) -> Separated:
    """Every other private run is a reference of the others, known with its record."""
    runs = _private_runs(seed, share)
    rows = torch.arange(2 * _TRIALS)
    targets, shadows = rows[::2], rows[1::2]
    references = References(
        answers=runs.prompts.rows(shadows).answers(runs.canary),
        member=(shadows < _TRIALS).unsqueeze(1),
        allowed=torch.ones(len(targets), len(shadows), dtype=torch.bool),
    )
    answers = runs.prompts.rows(targets).answers(runs.canary)
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


def pipra_bounded(seed: int, *, share: float = 1.0) -> Separated:
    """The same judge, of one record after DP-SGD."""
    runs = _private_runs(seed, share)
    return _in_and_out(_pipra(seed).score(runs.prompts, runs.canary), runs)


_KINDS, _SIZE = 40, 24
_SHADOWS = 2000  # of the bounded run
_COHORT = 200.0  # divisor of the clients' sum in the bounded run: one client moves little


@cache
def _property_runs(seed: int) -> tuple[Released, Tensor]:
    """Twice `_KINDS` shadows, then twice as many targets; every other one has many threes."""
    world, draw = stand_in(), drawn(seed, 4)
    has = torch.arange(6 * _KINDS) % 2 == 0
    chance = torch.where(world.y == 3, 12.0, 1.0)
    weights = torch.where(has.unsqueeze(1), chance, torch.ones_like(chance))
    index = torch.multinomial(weights, _SIZE, generator=draw)
    found = tuned(world.kernel, world.x, world.y, index, epochs=40, rate=_RATE, key=SeededKey(seed))
    return Released(kernel=world.kernel, prompts=found), has


def property_inference(seed: int, told: bool) -> Separated:
    """Are many of the records threes? Without data the targets' kind is a coin."""
    runs, has = _property_runs(seed)
    rows = torch.arange(6 * _KINDS)
    shadows, targets = rows[: 2 * _KINDS], rows[2 * _KINDS :]
    attack = PropertyInference.fit(runs.rows(shadows), has[shadows])
    scores = attack.score(runs.rows(targets))
    kind = has[targets] if told else _coins(scores, seed)
    return Separated(
        values_in=scores[kind].numpy(), values_out=scores[~kind].numpy(), independent=True
    )


def property_bounded(seed: int, *, share: float = 1.0) -> Separated:
    """Did the client with the threes take part? Its change is clipped, the sum is noised.

    The other clients' changes are granted, so they are left out here. Shadows are runs with and
    without the client, under noise of the adversary's own; the rule is that of the positive run.
    """
    runs, _ = _property_runs(seed)
    start = flatten(untouched().prompts).double()
    client = clipped(flatten(runs.rows(torch.arange(1)).prompts).double() - start)
    has = torch.arange(_SHADOWS + 2 * _TRIALS) % 2 == 0
    key = SeededKey(seed).child("property")
    stated = _NOISE * REACH
    spread = torch.full((len(has), 1), share * stated, dtype=torch.float64)
    spread[:_SHADOWS] = max(share, 0.1) * stated
    noise = spread * key.normal(len(has), client.shape[1])
    contexts = start + (torch.where(has.unsqueeze(1), client, 0.0) + noise) / _COHORT
    released = Released(
        kernel=runs.kernel, prompts={"context": contexts.float().view(-1, LENGTH, WIDTH)}
    )
    rows = torch.arange(len(has))
    shadows, targets = rows[:_SHADOWS], rows[_SHADOWS:]
    attack = PropertyInference.fit(released.rows(shadows), has[shadows])
    scores, kind = attack.score(released.rows(targets)), has[targets]
    return Separated(
        values_in=scores[kind].numpy(),
        values_out=scores[~kind].numpy(),
        independent=True,
        mu=1.0 / _NOISE,
    )
