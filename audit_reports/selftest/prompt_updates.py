"""Controls of the attacks on uploads and broadcasts, and on planted words, stand-in encoder."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ...attacks.prompts.nearest_tokens import NearestTokens
from ...attacks.prompts.peer_prompt import Broadcasts, PeerPrompt
from ...attacks.prompts.update_reconstruction import UpdateReconstruction, Updates
from ...fl_core.algorithms.prompt_federation import LocalTraining, published_sgd
from ...fl_core.algorithms.prompt_fl import prompt_fl
from ...fl_core.clients import ClientData
from ...mechanisms.base import SeededKey
from .control import Found
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

_CLIENTS, _TRIALS, _RECORDS = 40, 16, 16
_NOISE = 1.0  # over the clip norm, in the bounded runs


@cache
def _uploads(seed: int) -> tuple[Tensor, Tensor]:
    """float64[1, dim] sent out and float64[_CLIENTS, dim] uploaded by clients of PromptFL."""
    world, draw = stand_in(), drawn(seed, 5)
    algorithm = prompt_fl(
        world.kernel.text,
        scale=SCALE,
        clients=_CLIENTS,
        training=LocalTraining(optimizer=published_sgd(0.05), batch_size=_RECORDS, epochs=4),
        words="a photo of a",
    )
    order = torch.randperm(len(world.y), generator=draw)[: _CLIENTS * _RECORDS]
    data = ClientData.of(world.x, world.y, order.view(_CLIENTS, _RECORDS).tolist())
    start = untouched().prompts["context"]
    received = {"context": start.expand(_CLIENTS, *start.shape[1:])}
    found, _ = algorithm.update(received, {}, data, round=0, key=SeededKey(seed))
    return start.flatten(1).double(), found.double()


def _noisy(rows: Tensor, seed: int) -> Tensor:
    """Each row clipped, with Gaussian noise of as much: 1-GDP if one is zeroed out."""
    noise = SeededKey(seed).child("uploads").normal(*rows.shape)
    return clipped(rows) + _NOISE * REACH * noise


class _Sums(NamedTuple):
    """Trials of one attacked client in a sum with two known ones.

    Attributes:
        start: float64[1, dim], sent out.
        totals: float64[trials, dim]. known: float64[trials, 2, dim].
        candidates: float64[trials, M, dim], prompts; place: int64[trials], the attacked client's.
        mu: of zeroing it out; None without noise.
    """

    start: Tensor
    totals: Tensor
    known: Tensor
    candidates: Tensor
    place: Tensor
    mu: float | None


def _sums(seed: int, protection: str) -> _Sums:
    start, uploads = _uploads(seed)
    draw = drawn(seed, 6)
    who = torch.rand(_TRIALS, _CLIENTS, generator=draw).argsort(dim=1)
    known, among = uploads[who[:, :2]], who[:, 2:]
    place = torch.randint(among.shape[1], (_TRIALS,), generator=draw)
    candidates, mu = uploads[among], None
    mine = candidates[torch.arange(_TRIALS), place]
    if protection == "noise":
        mine = torch.randn(mine.shape, generator=draw, dtype=torch.float64)
    elif protection == "gaussian":
        candidates, mine, mu = clipped(candidates), _noisy(mine, seed), 1.0 / _NOISE
    return _Sums(start, mine + known.sum(dim=1), known, start + candidates, place, mu)


def _hits(scores: Tensor, sums: _Sums) -> Found:
    return Found(
        hits=int((scores.argmax(dim=1) == sums.place).sum()),
        trials=len(sums.place),
        chance=1.0 / scores.shape[1],
        mu=sums.mu,
    )


def update_reconstruction(seed: int, protection: str) -> Found:
    """Whose tuned prompt is in the sum?"""
    sums = _sums(seed, protection)
    view = Updates(received=sums.start.expand_as(sums.totals), totals=sums.totals, known=sums.known)
    return _hits(UpdateReconstruction().score(view, sums.candidates), sums)


def peer_prompt(seed: int, protection: str) -> Found:
    """The same from the prompt before and after the round; the known ones are the peers' own."""
    sums = _sums(seed, protection)
    clients = sums.known.shape[1] + 1
    after = sums.start + sums.totals / clients
    view = Broadcasts(
        prompts=torch.stack([sums.start.expand_as(after), after], dim=1),
        own=sums.known.unsqueeze(1),
    )
    attack = PeerPrompt(clients=clients, divisor=float(clients))
    return _hits(attack.score(view, sums.candidates.unsqueeze(2)), sums)


def nearest_tokens(seed: int, protection: str) -> Found:
    """Words that a prompt was begun with, after some steps; or other words; or with noise."""
    world, draw = stand_in(), drawn(seed, 7)
    vocabulary = len(world.tower.embedding)
    words = torch.randint(vocabulary, (_TRIALS, LENGTH), generator=draw)
    begun = torch.randint(vocabulary, words.shape, generator=draw)
    table, mu = world.tower.embedding, None
    if protection == "gaussian":
        table, mu = clipped(table), 1.0 / _NOISE
        contexts = table[words] + _NOISE * REACH * SeededKey(seed).child("words").normal(
            *words.shape, WIDTH
        )
    else:
        first = table[words if protection == "none" else begun]
        index = torch.randint(len(world.y), (_TRIALS, _RECORDS), generator=draw)
        contexts = tuned(
            world.kernel, world.x, world.y, index, epochs=10, rate=0.05, key=SeededKey(seed),
            first=first,
        )["context"]  # fmt: skip
    hits = int((NearestTokens(embedding=table).reconstruct(contexts) == words).sum())
    return Found(hits=hits, trials=words.numel(), chance=1.0 / vocabulary, mu=mu)
