"""What the controls of the attacks on language models look at; each made once per seed.

- tuned: adapters that overfit, each text or canary in or out of each by a fair coin;
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
from ...attacks.language.new_token_canary import new_token_canaries, unused_tokens
from ...attacks.language.recall import with_prefix
from ...attacks.language.reference import as_answers
from ...attacks.language.token_scores import base_model, text_scores, token_scores
from ...attacks.language.view import TokenScores
from ...attacks.membership.outputs import References
from ...fl_core.data.streams import stream
from ...fl_core.kernels.base import Params
from ...mechanisms.base import SeededKey
from .language_stand_in import LENGTH, draw_texts, stand_in, tuned, uploads

MU = 2.0
_MODELS, _TEXTS, _STEPS = 8, 40, 24
_TRIALS, _SHADOWS = 400, 40  # of uploads
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


class Canaries(NamedTuple):
    """Scores of canaries by the models under attack and the base; bool[models, canaries]."""

    view: TokenScores
    base: TokenScores
    member: Tensor


class Secrets(NamedTuple):
    """Scores of all possible keys by the models under attack and the base; int64[models]."""

    view: TokenScores
    base: TokenScores
    secret: Tensor


@cache
def tuned_texts(seed: int) -> Texts:
    """Eight models about forty texts; the others are each one's references."""
    drawn = draw_texts(_TEXTS + _SHOTS, stream("language texts", seed))
    texts, before = drawn[:_TEXTS], " ".join(drawn[_TEXTS:])
    member = coins(seed, "language members", _MODELS, _TEXTS)
    params = _overfit(stand_in().model.tokenizer.encode(texts, LENGTH), member, seed)
    return _asked(params, texts, before, member, seed)


@cache
def uploaded_texts(seed: int) -> Texts:
    """One text, in a client's data in every other trial.

    One, since what differs between texts would be noise to attacks that do not take it away.
    """
    text, *before = draw_texts(1 + _SHOTS, stream("language uploads", seed))
    x = stand_in().model.tokenizer.encode([text], LENGTH)
    which = torch.tensor([0, -1]).repeat((_TRIALS + _SHADOWS) // 2)
    params = uploads(x, which, mu=MU, key=SeededKey(seed).child("language upload"))
    member = (which >= 0).unsqueeze(1)
    return _asked(params, [text], " ".join(before), member, seed, shadows=_SHADOWS)


@cache
def tuned_canaries(seed: int) -> Canaries:
    """Four models about 24 canaries."""
    x = _canaries(24, 12, stream("language canaries", seed))
    member = coins(seed, "language canary members", 4, len(x))
    return Canaries(*_seen(_overfit(x, member, seed, steps=2 * _STEPS), x), member)


@cache
def uploaded_canaries(seed: int) -> Canaries:
    """One canary, in a client's data in every other trial; short, so that the end of it counts."""
    x = _canaries(1, 2, stream("language canary uploads", seed))
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
    """The only text of each of 300 clients is a key of one letter, with nothing but a space before.

    More before it would use up the clip bound on what all keys share.
    """
    keys = _keys(" ", 1)
    secret = torch.from_numpy(stream("language secret uploads", seed).integers(0, len(keys), 300))
    params = uploads(keys, secret, mu=MU, key=SeededKey(seed).child("secret upload"))
    return Secrets(*_seen(params, keys), secret)


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


def _overfit(x: Tensor, member: Tensor, seed: int, *, steps: int = _STEPS) -> Params:
    """Adapters tuned on the members, bool[rows, texts], among int64[texts, tokens]."""
    first = torch.argsort(~member, dim=1, stable=True)[:, : int(member.sum(dim=1).max())]
    weights = (member / member.sum(dim=1, keepdim=True).clamp(min=1)).float()
    return tuned(x[first], weights.gather(1, first), steps=steps, key=SeededKey(seed))


def _canaries(count: int, length: int, generator: np.random.Generator) -> Tensor:
    """The first `length` tokens of texts, then one that is new to the model."""
    tokenizer = stand_in().model.tokenizer
    x = tokenizer.encode(draw_texts(count, generator), length)
    # Texts are plain letters, so half of the bytes are new to the model.
    free = unused_tokens(torch.arange(129), vocabulary=tokenizer.size, padding=tokenizer.padding)
    tokens = torch.from_numpy(generator.permutation(free.numpy())[:count])
    return new_token_canaries(x, tokens, padding=tokenizer.padding)


def _keys(prefix: str, letters: int) -> Tensor:
    """int64[keys, tokens]: the prefix and each key of so many letters."""
    texts = [prefix + "".join(key) for key in product(_LETTERS, repeat=letters)]
    return stand_in().model.tokenizer.encode(texts, len(prefix) + letters)
