"""Controls of the attacks on uploads and broadcasts, and on planted words, stand-in encoder.

In the bounded runs everything is granted but whether the one client took part; `share` is how much
of the noise is really added: 1, but in the test that these controls can fail.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ...attacks.prompts.nearest_tokens import NearestTokens
from ...attacks.prompts.peer_prompt import Broadcasts, PeerPrompt
from ...attacks.prompts.update_reconstruction import UpdateReconstruction, Updates
from ...fl_core.algorithms.base import Received
from ...fl_core.algorithms.prompt_federation import (
    LocalTraining,
    PromptFederation,
    published_sgd,
)
from ...fl_core.algorithms.prompt_fl import prompt_fl
from ...fl_core.algorithms.server_optimizers import Momentum
from ...fl_core.clients import ClientData
from ...mechanisms.base import SeededKey
from ...mechanisms.clipping import Clip
from .control import Found, Separated
from .prompt_stand_in import (
    LENGTH,
    REACH,
    SCALE,
    WIDTH,
    clipped,
    drawn,
    stand_in,
    tuned,
    untouched,
)

_RECORDS = 16  # of a client
_MEMBERS = 3  # of a round, two of which the adversary knows
_CLIP = 0.03  # below the norm of an upload, so that a client counts in full
_NOISE = 0.8  # over the clip norm, in the bounded runs
_RUNS = 300  # with the client and as many without it, where a run is one sum
_PRECISE = 1e-3  # relative error of what is recovered


def _prompt_fl(clients: int, seed: int, replicas: int) -> tuple[PromptFederation, ClientData]:
    """The system, averaging over `_MEMBERS`, and the same clients in every replica."""
    world, draw = stand_in(), drawn(seed, 5)
    algorithm = prompt_fl(
        world.kernel.text,
        scale=SCALE,
        clients=_MEMBERS,
        training=LocalTraining(optimizer=published_sgd(0.05), batch_size=_RECORDS, epochs=2),
        words="a photo of a",
    )
    order = torch.randperm(len(world.y), generator=draw)[: clients * _RECORDS]
    rows = torch.arange(clients).repeat(replicas)
    data = ClientData.of(
        world.x,
        world.y,
        order.view(clients, _RECORDS)[rows].tolist(),
        clients=rows.tolist(),
        replicas=torch.arange(replicas).repeat_interleave(clients).tolist(),
        virtual=True,
    )
    return algorithm, data


def _uploads(
    algorithm: PromptFederation, data: ClientData, sent: Tensor, *, round: int, key: SeededKey
) -> Tensor:
    """float64[replicas, clients, dim] of clients that all get float[replicas, LENGTH, WIDTH]."""
    clients = len(data) // len(sent)
    received = {"context": sent.repeat_interleave(clients, dim=0)}
    found, _ = algorithm.update(received, {}, data, round=round, key=key)
    return found.double().view(len(sent), clients, -1)


_CLIENTS, _SUMS = 22, 1000


@cache
def _first_uploads(seed: int) -> tuple[Tensor, Tensor]:
    """float64[1, dim] sent out, and float64[_CLIENTS, dim] uploaded."""
    algorithm, data = _prompt_fl(_CLIENTS, seed, 1)
    start = untouched().prompts["context"]
    found = _uploads(algorithm, data, start, round=0, key=SeededKey(seed))[0]
    return start.flatten(1).double(), found


def update_reconstruction(seed: int, told: bool) -> Found:
    """Whose tuned prompt is in the sum? Exactly, where it is; without data a random one is."""
    start, uploads = _first_uploads(seed)
    draw = drawn(seed, 6)
    who = torch.rand(_SUMS, _CLIENTS, generator=draw).argsort(dim=1)
    known, candidates = uploads[who[:, : _MEMBERS - 1]], uploads[who[:, _MEMBERS - 1 :]]
    place = torch.randint(candidates.shape[1], (_SUMS,), generator=draw)
    mine = candidates[torch.arange(_SUMS), place]
    if not told:
        mine = mine.std() * torch.randn(mine.shape, generator=draw, dtype=torch.float64)
    view = Updates(received=start.expand(_SUMS, -1), totals=mine + known.sum(dim=1), known=known)
    attack = UpdateReconstruction()
    hit = attack.score(view, start + candidates).argmax(dim=1) == place
    if told:
        gap = (attack.reconstruct(view) - start - mine).norm(dim=1)
        hit = hit & (gap < _PRECISE * mine.norm(dim=1))
    return Found(hits=int(hit.sum()), trials=_SUMS, chance=1.0 / candidates.shape[1])


def update_bounded(seed: int, *, share: float = 1.0) -> Separated:
    """Is the client's clipped upload in the noisy sum, or nothing?"""
    start, uploads = _first_uploads(seed)
    mine, known = Clip(joint_norm=_CLIP).apply(uploads[:1]), uploads[None, 1:_MEMBERS]
    noise = SeededKey(seed).child("sum").normal(2 * _RUNS, mine.shape[1])
    totals = known.sum(dim=1) + share * _NOISE * _CLIP * noise
    totals[:_RUNS] += mine
    view = Updates(
        received=start.expand_as(totals), totals=totals, known=known.expand(2 * _RUNS, -1, -1)
    )
    both = torch.stack([start + mine, start], dim=1).expand(2 * _RUNS, -1, -1)
    return _apart(UpdateReconstruction().score(view, both), mu=1.0 / _NOISE)


def _apart(scores: Tensor, *, mu: float) -> Separated:
    """Of float64[runs, 2], the client's prompt and none: the first half of the runs have it."""
    inside, outside = (scores[:, 0] - scores[:, 1]).chunk(2)
    return Separated(values_in=inside.numpy(), values_out=outside.numpy(), independent=True, mu=mu)


class _Seen(NamedTuple):
    """Some rounds of one cohort per trial.

    Attributes:
        view: of two of its members.
        candidates: float64[trials, M, rounds, dim]: what other clients' prompts would have been.
        place: int64[trials], of the third member among them.
        exact: float64[trials, rounds, dim], its prompts.
    """

    view: Broadcasts
    candidates: Tensor
    place: Tensor
    exact: Tensor


_ROUNDS, _COHORTS, _POOL = 2, 30, 12


def _rounds(
    seed: int,
    protection: str,
    *,
    rule: Momentum | None,
    trials: int,
    pool: int,
    share: float = 1.0,
) -> _Seen:
    """Real rounds: clients train on what the server's rule sends, PromptFL's own if none is given.

    Protection "none"; "silent": a random upload instead of the third member's; "gaussian": its
    upload clipped and noised, and zeros in place of it in the second half of the trials.
    """
    algorithm, data = _prompt_fl(pool, seed, trials)
    draw, key = drawn(seed, 9), SeededKey(seed).child("rounds")
    who = torch.rand(trials, pool, generator=draw).argsort(dim=1)
    place = torch.randint(pool - _MEMBERS + 1, (trials,), generator=draw)
    every = torch.arange(trials)
    start = untouched().prompts["context"]
    state = {"context": start.expand(trials, *start.shape[1:]).clone()}
    kept = {} if rule is None else rule.start(state)
    prompts, own, candidates = [state["context"].flatten(1).double()], [], []
    for round in range(_ROUNDS):
        uploads = _uploads(algorithm, data, state["context"], round=round, key=key)
        uploads = uploads.gather(1, who.unsqueeze(-1).expand_as(uploads))
        known, among = uploads[:, : _MEMBERS - 1], uploads[:, _MEMBERS - 1 :]
        if protection == "gaussian":
            among = Clip(joint_norm=_CLIP).apply(among)
        mine = among[every, place]
        candidates.append(prompts[-1].unsqueeze(1) + among)
        if protection == "silent":
            mine = mine.std() * torch.randn(mine.shape, generator=draw, dtype=torch.float64)
        elif protection == "gaussian":
            mine = torch.where(every.unsqueeze(1) < trials // 2, mine, 0.0)
            mine = mine + share * _NOISE * _CLIP * key.child("noise", round).normal(*mine.shape)
        total = known.sum(dim=1) + mine
        if rule is None:
            received = Received(
                total=total,
                rows=None,
                arrived=torch.ones(trials, _MEMBERS, dtype=torch.bool),
                weight=torch.full((trials,), float(_MEMBERS), dtype=torch.float64),
            )
            state = algorithm.serve(state, received, round=round, key=key)
        else:
            mean = (total / _MEMBERS).view(trials, *start.shape[1:])
            state, kept = rule.step(kept, state, {"context": mean})
        prompts.append(state["context"].flatten(1).double())
        own.append(known)
    listed = torch.stack(candidates, dim=2)
    view = Broadcasts(prompts=torch.stack(prompts, dim=1), own=torch.stack(own, dim=1))
    return _Seen(view, listed, place, listed[every, place])


def _peer(rule: Momentum | None) -> PeerPrompt:
    return PeerPrompt(
        clients=_MEMBERS,
        divisor=float(_MEMBERS),
        learning_rate=1.0 if rule is None else rule.learning_rate,
        momentum=0.0 if rule is None else rule.momentum,
    )


def peer_prompt(seed: int, told: bool) -> Found:
    """The third member's prompts of all rounds, under the mean and under the server's momentum."""
    hits = 0
    for rule in (None, Momentum(learning_rate=0.7)):
        seen = _rounds(seed, "none" if told else "silent", rule=rule, trials=_COHORTS, pool=_POOL)
        attack = _peer(rule)
        hit = attack.score(seen.view, seen.candidates).argmax(dim=1) == seen.place
        if told:
            before = seen.view.prompts[:, :-1]
            gap = (attack.reconstruct(seen.view) - seen.exact).norm(dim=2)
            hit = hit & (gap < _PRECISE * (seen.exact - before).norm(dim=2)).all(dim=1)
        hits += int(hit.sum())
    return Found(hits=hits, trials=2 * _COHORTS, chance=1.0 / (_POOL - _MEMBERS + 1))


def peer_bounded(seed: int, *, share: float = 1.0) -> Separated:
    """Did the third member upload anything, in rounds of a server with momentum?"""
    rule = Momentum(learning_rate=0.7)
    seen = _rounds(seed, "gaussian", rule=rule, trials=_RUNS, pool=_MEMBERS, share=share)
    nothing = seen.view.prompts[:, None, :-1]
    scores = _peer(rule).score(seen.view, torch.cat([seen.candidates, nothing], dim=1))
    return _apart(scores, mu=_ROUNDS**0.5 / _NOISE)


_PROMPTS, _NOISY = 200, 2000


def _one_word(found: Tensor, words: Tensor, mu: float | None = None) -> Found:
    """Of int64[prompts, LENGTH]: one place of each prompt, since words of one are dependent."""
    rows = torch.arange(len(words))
    hits = found[rows, rows % LENGTH] == words[rows, rows % LENGTH]
    vocabulary = len(stand_in().tower.embedding)
    return Found(hits=int(hits.sum()), trials=len(words), chance=1.0 / vocabulary, mu=mu)


def nearest_tokens(seed: int, told: bool) -> Found:
    """A word that a prompt was begun with, after some steps; or it was begun with other words."""
    world, draw = stand_in(), drawn(seed, 7)
    table = world.tower.embedding
    words = torch.randint(len(table), (_PROMPTS, LENGTH), generator=draw)
    other = torch.randint(len(table), words.shape, generator=draw)
    index = torch.randint(len(world.y), (_PROMPTS, _RECORDS), generator=draw)
    contexts = tuned(
        world.kernel, world.x, world.y, index, epochs=10, rate=0.05, key=SeededKey(seed),
        first=table[words if told else other],
    )["context"]  # fmt: skip
    return _one_word(NearestTokens(embedding=table).reconstruct(contexts), words)


def tokens_bounded(seed: int, *, share: float = 1.0) -> Found:
    """Words clipped and noised."""
    table = clipped(stand_in().tower.embedding)
    words = torch.randint(len(table), (_NOISY, LENGTH), generator=drawn(seed, 10))
    noise = SeededKey(seed).child("words").normal(*words.shape, WIDTH)
    contexts = table[words] + share * _NOISE * REACH * noise
    found = NearestTokens(embedding=table).reconstruct(contexts)
    return _one_word(found, words, mu=1.0 / _NOISE)
