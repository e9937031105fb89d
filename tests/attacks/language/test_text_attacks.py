"""Each attack against a plain loop over texts, on random log probabilities."""

import math
import zlib

import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.language.loss import TextLoss
from privassay.attacks.language.min_k import MinK, MinKPlusPlus
from privassay.attacks.language.neighbourhood import Neighbourhood, neighbours
from privassay.attacks.language.new_token_canary import (
    NewTokenCanary,
    new_token_canaries,
    unused_tokens,
)
from privassay.attacks.language.recall import Recall
from privassay.attacks.language.reference import ReferenceDifference, as_answers
from privassay.attacks.language.token_scores import base_model, text_scores
from privassay.attacks.language.view import TokenScores
from privassay.attacks.language.zlib_ratio import ZlibRatio
from privassay.attacks.membership.lira import Lira
from privassay.attacks.membership.outputs import References
from privassay.attacks.membership.signals import margin

from .conftest import LENGTH, TEXTS

LENGTHS = (7, 1, 12, 5, 10)


def random_view(seed=0, *, models=3, lengths=LENGTHS, outside=math.nan, shift=0.0):
    """What lies outside the texts is NaN: an attack that reads it shows."""
    generator = torch.Generator().manual_seed(seed)
    inside = torch.arange(12) < torch.tensor(lengths)[:, None]
    draw = [
        torch.rand(models, len(lengths), 12, generator=generator).double().masked_fill(
            ~inside, outside
        )
        for _ in range(3)
    ]  # fmt: skip
    return TokenScores(
        logp=-4.0 * draw[0] - shift,
        mean=-2.0 - draw[1],
        sd=0.1 + draw[2],
        inside=inside,
        texts=tuple(f"{number} " * (3 + number) for number in range(len(lengths))),
    )


def rows(view, model, text):
    count = int(view.lengths[text])
    return [
        [float(v) for v in part[model, text, :count]] for part in (view.logp, view.mean, view.sd)
    ]


def mean(values):
    return sum(values) / len(values)


def min_k(values, share):
    return mean(sorted(values)[: max(1, int(len(values) * share))])


REFERENCE = random_view(1, models=2)
PREFIXED = random_view(2)
NEIGHBOURS = random_view(3, lengths=tuple(n for n in LENGTHS for _ in range(2)))


def base_mean(text):
    return mean([mean(rows(REFERENCE, model, text)[0]) for model in range(2)])


def nearby(model, text):
    return mean([mean(rows(NEIGHBOURS, model, 2 * text + k)[0]) for k in range(2)])


NAIVE = {
    "loss": (TextLoss(), lambda v, m, t: mean(rows(v, m, t)[0])),
    "zlib": (
        ZlibRatio(),
        lambda v, m, t: mean(rows(v, m, t)[0]) / (8 * len(zlib.compress(v.texts[t].encode(), 9))),
    ),
    "min-k": (MinK(share=0.3), lambda v, m, t: min_k(rows(v, m, t)[0], 0.3)),
    "min-k++": (
        MinKPlusPlus(share=0.3),
        lambda v, m, t: min_k([(a - b) / c for a, b, c in zip(*rows(v, m, t), strict=True)], 0.3),
    ),
    "reference": (
        ReferenceDifference(reference=REFERENCE),
        lambda v, m, t: mean(rows(v, m, t)[0]) - base_mean(t),
    ),
    "neighbourhood": (
        Neighbourhood(neighbours=NEIGHBOURS),
        lambda v, m, t: mean(rows(v, m, t)[0]) - nearby(m, t),
    ),
    "recall": (
        Recall(prefixed=PREFIXED),
        lambda v, m, t: sum(rows(PREFIXED, m, t)[0]) / sum(rows(v, m, t)[0]),
    ),
    "canary": (NewTokenCanary(), lambda v, m, t: rows(v, m, t)[0][-1]),
    "canary, referenced": (
        NewTokenCanary(reference=REFERENCE),
        lambda v, m, t: (
            rows(v, m, t)[0][-1] - mean([rows(REFERENCE, k, t)[0][-1] for k in range(2)])
        ),
    ),
}


@pytest.mark.parametrize("name", NAIVE)
def test_scores_are_those_of_a_loop_over_texts(name):
    attack, naive = NAIVE[name]
    view = random_view()
    found = attack.score(view)
    assert found.dtype == torch.float64 and found.shape == (3, len(LENGTHS))
    for model in range(3):
        for text in range(len(LENGTHS)):
            assert float(found[model, text]) == pytest.approx(naive(view, model, text), rel=1e-12)
    some = torch.tensor([4, 1])
    assert torch.equal(attack.score(view, some), found[:, some])
    with pytest.raises(DesignError, match="must lie in 0 .. 4"):
        attack.score(view, torch.tensor([5]))
    for attribute in ("adversaries", "needs", "cost", "source"):
        assert getattr(attack, attribute)


def test_a_likelier_text_is_a_likelier_member():
    view, better = random_view(shift=1.0), random_view()
    for name in ("loss", "zlib", "min-k", "min-k++", "reference", "neighbourhood", "recall"):
        attack = NAIVE[name][0]
        assert bool((attack.score(better) > attack.score(view)).all()), name


def test_all_tokens_are_the_loss_and_one_token_is_the_least_likely():
    view = random_view()
    torch.testing.assert_close(MinK(share=1.0).score(view), TextLoss().score(view))
    least = view.logp.masked_fill(~view.inside, 0.0).amin(dim=2)
    torch.testing.assert_close(MinK(share=1e-9).score(view), least)
    for share in (0.0, 1.5, math.nan):
        with pytest.raises(ParameterError, match="share"):
            MinK(share=share)
        with pytest.raises(ParameterError, match="share"):
            MinKPlusPlus(share=share)


def test_a_model_that_knows_nothing_gives_no_score_at_all():
    flat = torch.full((1, 2, 4), -math.log(257.0), dtype=torch.float64)
    inside = torch.ones(2, 4, dtype=torch.bool)
    view = TokenScores(logp=flat, mean=flat, sd=torch.zeros_like(flat), inside=inside)
    assert torch.equal(MinKPlusPlus().score(view), torch.zeros(1, 2, dtype=torch.float64))


def test_a_text_that_is_certain_has_a_finite_recall():
    view = random_view()
    sure = TokenScores(logp=torch.zeros_like(view.logp), inside=view.inside)
    assert bool(torch.isfinite(Recall(prefixed=view).score(sure)).all())


def test_what_an_attack_needs_and_does_not_get_is_named():
    view = random_view()
    bare = TokenScores(logp=view.logp, inside=view.inside)
    with pytest.raises(DesignError, match="text_scores"):
        ZlibRatio().score(bare)
    with pytest.raises(DesignError, match="moments=True"):
        MinKPlusPlus().score(bare)
    other = random_view(lengths=(3, 1, 12, 5, 10))
    for attack in (
        ReferenceDifference(reference=other),
        Recall(prefixed=other),
        NewTokenCanary(reference=other),
    ):
        with pytest.raises(DesignError, match="same texts"):
            attack.score(view)
    with pytest.raises(DesignError, match="same texts"):
        renamed = TokenScores(logp=view.logp, inside=view.inside, texts=("x",) * 5)
        ReferenceDifference(reference=renamed).score(view)
    with pytest.raises(DesignError, match="2 with it"):
        Recall(prefixed=REFERENCE).score(view)
    with pytest.raises(DesignError, match="the same number of each text"):
        Neighbourhood(neighbours=random_view(lengths=(3,) * 6)).score(view)
    with pytest.raises(DesignError, match="length of their text"):
        Neighbourhood(neighbours=random_view(lengths=LENGTHS[::-1])).score(view)


def test_lira_on_texts_fits_its_gaussians_to_the_loss():
    view, shadows = random_view(), random_view(5, models=8)
    torch.testing.assert_close(margin(as_answers(view)), TextLoss().score(view))
    member = torch.rand(8, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    member[:2] = torch.tensor([[True], [False]])
    shifted = TokenScores(logp=shadows.logp - 3.0 * ~member[..., None], inside=shadows.inside)
    references = References(
        answers=as_answers(shifted), member=member, allowed=torch.ones(3, 8, dtype=torch.bool)
    )
    attack = Lira(references=references)
    high = attack.score(as_answers(view))
    low = attack.score(as_answers(random_view(shift=3.0)))
    assert bool((high > low).all()) and float((high > 0).double().mean()) > 0.9


def test_neighbours_differ_where_they_should_and_are_likely(model, kernel):
    x = model.tokenizer.encode(TEXTS, LENGTH)
    base = base_model(kernel)
    found = neighbours(model, kernel, base, x, count=6, share=0.2, choices=5, seed=3)
    assert found.shape == (len(TEXTS), 6, LENGTH) and found.dtype == torch.int64
    assert torch.equal(found, neighbours(model, kernel, base, x, count=6, share=0.2, choices=5,
                                         seed=3))  # fmt: skip
    other = neighbours(model, kernel, base, x, count=6, share=0.2, choices=5, seed=4)
    assert not torch.equal(found, other)
    places = set()
    for number, text in enumerate(TEXTS):
        size = len(text)
        with torch.no_grad():
            logits = model.module(input_ids=x[number : number + 1, :size]).logits[0]
        for changed in found[number]:
            assert int(changed[0]) == int(x[number, 0])
            assert torch.equal(changed[size:], x[number, size:])
            where = torch.nonzero(changed != x[number]).flatten()
            assert len(where) == max(1, round(0.2 * (size - 1))), (text, where)
            for place in where.tolist():
                likely = logits[place - 1].clone()
                likely[[0, int(x[number, place])]] = -torch.inf
                assert int(changed[place]) in likely.topk(5).indices
                places.add((number, place))
    assert len(places) > 30  # not always the same ones
    with pytest.raises(DesignError, match="one model proposes"):
        twice = {name: value.repeat(2, 1, 1) for name, value in base.items()}
        neighbours(model, kernel, twice, x, count=1, seed=0)
    with pytest.raises(DesignError, match="no neighbours"):
        short = model.tokenizer.encode(["a", "bc"], 4)
        neighbours(model, kernel, base, short, count=1, seed=0)
    with pytest.raises(DesignError, match="choices"):
        neighbours(model, kernel, base, x, count=1, choices=256, seed=0)


def test_the_score_of_neighbours_is_that_of_real_models(model, kernel, params):
    x = model.tokenizer.encode(TEXTS, LENGTH)
    from privassay.attacks.language.token_scores import token_scores

    around = neighbours(model, kernel, base_model(kernel), x, count=3, seed=0)
    near = token_scores(model, kernel, params, around.flatten(0, 1))
    view = text_scores(model, kernel, params, TEXTS, length=LENGTH)
    found = Neighbourhood(neighbours=near).score(view)
    for number in range(len(TEXTS)):
        each = token_scores(model, kernel, params, around[number])
        expected = view.average()[:, number] - each.average().mean(dim=1)
        torch.testing.assert_close(found[:, number], expected, rtol=1e-4, atol=1e-5)


def test_canaries_end_in_tokens_of_their_own(model):
    x = model.tokenizer.encode(TEXTS, LENGTH)
    free = unused_tokens(x, vocabulary=257, padding=0)
    assert 0 not in free and not torch.isin(free, x).any()
    assert len(free) + len(x.unique()) == 257  # padding is among the texts' numbers
    tokens = free[: len(TEXTS)]
    found = new_token_canaries(x, tokens, padding=0)
    for number, text in enumerate(TEXTS):
        assert found[number, : len(text)].tolist() == x[number, : len(text)].tolist()
        assert int(found[number, len(text)]) == int(tokens[number])
        assert int((found[number] != 0).sum()) == len(text) + 1
    for wrong, message in (
        (tokens[:2], "one token each"),
        (tokens[[0, 0, 1, 2, 3]], "of its own"),
        (torch.cat([tokens[:4], torch.tensor([0])]), "of its own"),
        (torch.cat([tokens[:4], x[0, :1]]), "not new"),
    ):
        with pytest.raises(DesignError, match=message):
            new_token_canaries(x, wrong, padding=0)
