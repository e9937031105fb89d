"""What the controls of the attacks on language models look at; each made once per seed.

- tuned: adapters that overfit, each text or canary in or out of each by a fair coin;
- untouched: the same, but other texts were put in the place of those that attacks are asked about,
  before the tuning: the coins go the same way through everything, and no model knows the texts;
- uploaded: adapters after one private upload of a client with one text or none;
- secrets: adapters with a key of their own among their texts.
"""

import math
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...attacks.language.neighbourhood import neighbours
from ...attacks.language.recall import with_prefix
from ...attacks.language.reference import as_answers
from ...attacks.language.token_scores import base_model, text_scores, token_scores
from ...attacks.language.view import TokenScores
from ...attacks.membership.outputs import References
from ...fl_core.data.streams import stream
from ...fl_core.kernels.base import Params
from ...mechanisms.base import SeededKey
from .language_stand_in import (
    LENGTH,
    draw_canaries,
    draw_texts,
    stand_in,
    tuned,
    uploads,
    uploads_without_noise,
)

MU, SECRET_MU = 2.0, 1.0
_MODELS, _TEXTS, _STEPS = 8, 32, 20
_UNTOUCHED = 64  # texts, so that chance is told from small leaks; tuned on for fewer steps
_CANARY_MODELS, _CANARIES, _CANARY_LENGTH = 4, 24, 12
_TRIALS, _SHADOWS = 400, 64  # of uploads; with 64 LiRA takes each text's own variance
_UPLOADED, _KEYS_UPLOADED = 4, 600
_SHOTS = 2  # texts that are no members, before one that is asked about
_PREFIX = "my key is "
_LETTERS = "aehilnorst"


class Texts(NamedTuple):
    """What attacks see of some texts, and what adversaries bring along.

    Attributes:
        view: of the models under attack. base: of the base model.
        prefixed: of the models under attack, after texts that are no members.
        neighbours: of the models under attack, of neighbours of the texts.
        references: models of the adversary's own.
        member: bool[models, texts], the truth.
    """

    view: TokenScores
    base: TokenScores
    prefixed: TokenScores
    neighbours: TokenScores
    references: References
    member: Tensor

    @property
    def outside(self) -> Tensor:
        """bool[models, texts]: asked about, and no member."""
        return ~self.member


class Uploads(NamedTuple):
    """As `Texts`, of uploads, each of which is asked about one text.

    Attributes:
        view, base, references: as there.
        member: bool[trials, texts]: the text asked about, and it was there.
        outside: bool[trials, texts]: the text asked about, and it was not there.
    """

    view: TokenScores
    base: TokenScores
    references: References
    member: Tensor
    outside: Tensor


class Canaries(NamedTuple):
    """Scores of canaries by the models under attack and the base; bool[models, canaries]."""

    view: TokenScores
    base: TokenScores
    member: Tensor

    @property
    def outside(self) -> Tensor:
        """bool[models, canaries]: no member."""
        return ~self.member


class Secrets(NamedTuple):
    """Scores of all possible keys, and which are the models' own.

    Attributes:
        view: of the models under attack. base: of the base model.
        secret: int64[models], the truth.
        alone: of models of the adversary's own, each after the upload of one key without noise;
            None where there is no upload.
    """

    view: TokenScores
    base: TokenScores
    secret: Tensor
    alone: TokenScores | None = None


@cache
def tuned_texts(seed: int) -> Texts:
    """Eight models about 32 texts; the others are each one's references."""
    drawn = draw_texts(_TEXTS + _SHOTS, stream("language texts", seed))
    texts, before = drawn[:_TEXTS], " ".join(drawn[_TEXTS:])
    member = coins(seed, "language members", _MODELS, _TEXTS)
    params = _overfit(stand_in().model.tokenizer.encode(texts, LENGTH), member, seed)
    return _asked(params, texts, before, member, seed)


@cache
def untouched_texts(seed: int) -> Texts:
    """Four models about 64 texts that they were not tuned on; four others are the references.

    Four others: were each the others' reference, coins of one would be labels in the score of the
    next, and scores and coins together no longer independent.
    """
    drawn = draw_texts(3 * _UNTOUCHED + _SHOTS, stream("language untouched texts", seed))
    texts, before = drawn[:_UNTOUCHED], " ".join(drawn[_UNTOUCHED : _UNTOUCHED + _SHOTS])
    others = stand_in().model.tokenizer.encode(drawn[_UNTOUCHED + _SHOTS :], LENGTH)
    member = coins(seed, "language untouched members", _MODELS, _UNTOUCHED)
    params = _overfit_in_place(others, member, seed, steps=_STEPS // 5)
    return _asked(params, texts, before, member, seed, shadows=_MODELS // 2)


@cache
def uploaded_texts(seed: int) -> Uploads:
    """Each trial is asked about one of four texts, which is in the client's data or not in turn."""
    draw = stream("language uploads", seed)
    x = stand_in().model.tokenizer.encode(draw_texts(_UPLOADED, draw), LENGTH)
    about = torch.from_numpy(draw.integers(0, _UPLOADED, _TRIALS + _SHADOWS))
    there = (torch.arange(len(about)) % 2 == 0).unsqueeze(1)
    which = torch.where(there.squeeze(1), about, -1)
    params = uploads(x, which, mu=MU, key=SeededKey(seed).child("language upload"))
    asked = about.unsqueeze(1) == torch.arange(_UPLOADED)
    view, base = _seen(params, x)
    references = References(
        answers=as_answers(_rows(view, slice(_TRIALS, None))),
        member=(asked & there)[_TRIALS:],
        allowed=torch.ones(_TRIALS, _SHADOWS, dtype=torch.bool),
    )
    target = slice(_TRIALS)
    return Uploads(
        _rows(view, target), base, references, (asked & there)[target], (asked & ~there)[target]
    )


@cache
def tuned_canaries(seed: int) -> Canaries:
    """Four models about 24 canaries."""
    x = draw_canaries(_CANARIES, _CANARY_LENGTH, stream("language canaries", seed))
    member = coins(seed, "language canary members", _CANARY_MODELS, _CANARIES)
    return Canaries(*_seen(_overfit(x, member, seed, steps=2 * _STEPS), x), member)


@cache
def untouched_canaries(seed: int) -> Canaries:
    """Four models about 24 canaries that they were not tuned on."""
    draw = stream("language untouched canaries", seed)
    x, others = draw_canaries(3 * _CANARIES, _CANARY_LENGTH, draw).tensor_split([_CANARIES])
    member = coins(seed, "language untouched canary members", _CANARY_MODELS, _CANARIES)
    params = _overfit_in_place(others, member, seed, steps=_STEPS // 2)
    return Canaries(*_seen(params, x), member)


@cache
def uploaded_canaries(seed: int) -> Canaries:
    """One canary, in a client's data in every other trial; so short that all of it is its end.

    More before it would use up the clip bound.
    """
    x = draw_canaries(1, 1, stream("language canary uploads", seed))
    which = torch.tensor([0, -1]).repeat(_TRIALS // 2)
    params = uploads(x, which, mu=MU, key=SeededKey(seed).child("canary upload"))
    return Canaries(*_seen(params, x), (which >= 0).unsqueeze(1))


@cache
def tuned_secrets(seed: int) -> Secrets:
    """Each of 12 models has a key of three letters among its five texts, with half the weight."""
    draw = stream("language secrets", seed)
    keys = _keys(_PREFIX, 3)
    secret = torch.from_numpy(draw.integers(0, len(keys), 12))
    others = stand_in().model.tokenizer.encode(draw_texts(4, draw), keys.shape[1])
    x = torch.cat([keys[secret].unsqueeze(1), others.expand(12, -1, -1)], dim=1)
    weights = torch.full(x.shape[:2], 0.5 / 4)
    weights[:, 0] = 0.5
    params = tuned(x, weights, steps=2 * _STEPS, key=SeededKey(seed))
    return Secrets(*_seen(params, keys), secret)


@cache
def uploaded_secrets(seed: int) -> Secrets:
    """The only text of each of 600 clients is a key of one letter, with nothing but a t before.

    More before it would use up the clip bound on what all keys share. Keys have more in common than
    their number says, so mu is small: with less noise than stated, more than allowed must be found.
    """
    keys, key = _keys("t", 1), SeededKey(seed).child("secret upload")
    draw = stream("language secret uploads", seed)
    secret = torch.from_numpy(draw.integers(0, len(keys), _KEYS_UPLOADED))
    alone, _ = _seen(uploads_without_noise(keys, key=key), keys)
    params = uploads(keys, secret, mu=SECRET_MU, key=key)
    return Secrets(*_seen(params, keys), secret, alone)


def length_given(secrets: Secrets) -> int:
    """Number of tokens before the keys, which the adversary knows."""
    count = len(secrets.view.inside)
    return secrets.view.inside.shape[1] + 1 - round(math.log(count, len(_LETTERS)))


def coins(seed: int, purpose: str, *shape: int) -> Tensor:
    """bool[shape] of fair coins."""
    return torch.from_numpy(stream(purpose, seed).random(shape) < 0.5)


def _asked(
    params: Params, texts: list[str], before: str, member: Tensor, seed: int, *, shadows: int = 0
) -> Texts:
    """The last `shadows` rows are the references; without any, all rows but a model's own are."""
    model, kernel, _ = stand_in()
    padding, base = model.tokenizer.padding, base_model(kernel)
    x = model.tokenizer.encode(texts, LENGTH)
    prefix = model.tokenizer.encode([before], len(before))[0]
    around = neighbours(model, kernel, base, x, count=6, seed=seed).flatten(0, 1)
    longer = with_prefix(x, prefix, padding=padding)
    last = len(member) - shadows
    targets = {name: value[:last] for name, value in params.items()}
    own = {name: value[last:] for name, value in params.items()} if shadows else params
    allowed = ~torch.eye(last, dtype=torch.bool)
    references = References(
        answers=as_answers(text_scores(model, kernel, own, texts, length=LENGTH)),
        member=member[last:] if shadows else member,
        allowed=torch.ones(last, shadows, dtype=torch.bool) if shadows else allowed,
    )
    return Texts(
        text_scores(model, kernel, targets, texts, length=LENGTH, moments=True),
        text_scores(model, kernel, base, texts, length=LENGTH),
        token_scores(model, kernel, targets, longer, prefix=len(prefix)),
        token_scores(model, kernel, targets, around),
        references,
        member[:last],
    )


def _seen(params: Params, x: Tensor) -> tuple[TokenScores, TokenScores]:
    model, kernel, _ = stand_in()
    base = token_scores(model, kernel, base_model(kernel), x)
    return token_scores(model, kernel, params, x), base


def _rows(view: TokenScores, which: slice) -> TokenScores:
    return TokenScores(logp=view.logp[which], inside=view.inside)


def _overfit(x: Tensor, member: Tensor, seed: int, *, steps: int = _STEPS) -> Params:
    """Adapters tuned on the members, bool[rows, texts], of int64[texts, tokens] or each row's own.

    Each row's own are int64[rows, texts, tokens].
    """
    first = torch.argsort(~member, dim=1, stable=True)[:, : int(member.sum(dim=1).max())]
    weights = (member / member.sum(dim=1, keepdim=True).clamp(min=1)).float()
    inside = x.expand(len(member), *x.shape[-2:])[torch.arange(len(member)).unsqueeze(1), first]
    return tuned(inside, weights.gather(1, first), steps=steps, key=SeededKey(seed))


def _overfit_in_place(others: Tensor, member: Tensor, seed: int, *, steps: int) -> Params:
    """Adapters tuned on one of two stand-ins for each text: which one is decided by its coin.

    Each row has the stand-ins, int64[2 texts, tokens], in an order of its own, at random. So the
    models have the same law whatever the coins are, and members are independent of all that is
    seen: the test of chance is exact.
    """
    order = np.tile(np.arange(len(others)), (len(member), 1))
    own = torch.from_numpy(stream("language stand-ins", seed).permuted(order, axis=1))
    return _overfit(others[own], torch.cat([member, ~member], dim=1), seed, steps=steps)


def _keys(prefix: str, letters: int) -> Tensor:
    """int64[keys, tokens]: the prefix and each key of so many letters."""
    texts = [prefix + "".join(key) for key in product(_LETTERS, repeat=letters)]
    return stand_in().model.tokenizer.encode(texts, len(prefix) + letters)
