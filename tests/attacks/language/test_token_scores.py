"""The view against transformers, one text at a time; what must not matter does not."""

from dataclasses import replace

import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.language.recall import with_prefix
from privassay.attacks.language.token_scores import base_model, text_scores, token_scores
from privassay.attacks.language.view import TokenScores
from privassay.fl_core.models.language_kernels import causal

from .conftest import LENGTH, TEXTS


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_view_is_that_of_one_text_and_one_model_at_a_time(model, kernel, params, adapted):
    view = text_scores(model, kernel, params, TEXTS, length=LENGTH, moments=True)
    assert view.logp.shape == (3, len(TEXTS), LENGTH - 1)
    assert view.lengths.tolist() == [len(text) - 1 for text in TEXTS]
    assert view.texts == TEXTS
    varied = set()
    for row in range(3):
        for number, text in enumerate(TEXTS):
            tokens = model.tokenizer.encode([text], len(text))[0]
            each = adapted(row, tokens)[:-1].log_softmax(dim=-1)
            count, chance = len(text) - 1, each.exp()
            mean = (chance * each).sum(dim=-1)
            own = each.gather(1, tokens[1:, None])[:, 0]
            close(view.logp[row, number, :count], own)
            close(view.mean[row, number, :count], mean)
            variance = (chance * (each - mean[:, None]) ** 2).sum(dim=-1)
            close(view.sd[row, number, :count], variance.sqrt())
            greedy = each.argmax(dim=-1) == tokens[1:]
            assert torch.equal(view.greedy[row, number, :count], greedy)
            varied |= set(greedy.tolist())
            close(view.total()[row, number], own.sum())
            close(view.average()[row, number], own.mean())
    assert varied == {True, False}  # so that a constant would have failed
    assert not view.logp.requires_grad and view.logp.dtype == torch.float64


def test_padding_blocks_and_the_order_of_rows_do_not_matter(model, kernel, params):
    view = text_scores(model, kernel, params, TEXTS, length=LENGTH, moments=True)
    longer = text_scores(model, kernel, params, TEXTS, length=2 * LENGTH, moments=True)
    one = replace(kernel, max_records=1)
    alone = text_scores(model, one, params, TEXTS, length=LENGTH, moments=True)
    turned = {name: value.flip(0) for name, value in params.items()}
    swapped = text_scores(model, kernel, turned, TEXTS[::-1], length=LENGTH, moments=True)
    for name in ("logp", "mean", "sd"):
        inside, value = view.inside, getattr(view, name)
        close(getattr(longer, name)[:, longer.inside], value[:, inside])
        close(getattr(alone, name)[:, inside], value[:, inside])
        back = getattr(swapped, name).flip(0, 1)
        close(back[:, inside], value[:, inside])


def test_after_a_prefix_the_positions_are_those_of_the_text(model, kernel, params, adapted):
    x = model.tokenizer.encode(TEXTS, LENGTH)
    prefix = model.tokenizer.encode(["now is"], 6)[0]
    longer = with_prefix(x, prefix, padding=0)
    view = token_scores(model, kernel, params, longer, prefix=6)
    assert torch.equal(view.inside, token_scores(model, kernel, params, x).inside)
    for number, text in enumerate(TEXTS):
        tokens = longer[number, : 6 + len(text)]
        each = adapted(1, tokens)[:-1].log_softmax(dim=-1)
        own = each.gather(1, tokens[1:, None])[6:, 0]
        close(view.logp[1, number, : len(text) - 1], own)
    with pytest.raises(DesignError, match="none of them padding"):
        with_prefix(x, torch.tensor([3, 0]), padding=0)
    with pytest.raises(DesignError, match="n >= 1"):
        with_prefix(x, prefix[:0], padding=0)


def test_the_base_model_is_the_model_without_adapters(model, kernel):
    view = text_scores(model, kernel, base_model(kernel), TEXTS, length=LENGTH)
    for number, text in enumerate(TEXTS):
        x = model.tokenizer.encode([text], len(text))
        with torch.no_grad():
            loss = float(model.module(input_ids=x, labels=x, use_cache=False).loss)
        assert float(view.average()[0, number]) == pytest.approx(-loss, rel=1e-5)


def test_what_does_not_belong_together_is_refused(model, kernel, params):
    x = model.tokenizer.encode(TEXTS, LENGTH)
    with pytest.raises(DesignError, match="text 3 has more than 20 tokens"):
        text_scores(model, kernel, params, TEXTS, length=20)
    with pytest.raises(DesignError, match="text 1 has no predicted token"):
        text_scores(model, kernel, params, ["ab", "a"], length=4)
    with pytest.raises(DesignError, match="padded at the end"):
        token_scores(model, kernel, params, x.flip(1))
    with pytest.raises(DesignError, match="int64"):
        token_scores(model, kernel, params, x.float())
    with pytest.raises(ParameterError, match="prefix"):
        token_scores(model, kernel, params, x, prefix=-1)
    other = replace(model, module=torch.nn.Linear(2, 2))
    with pytest.raises(DesignError, match="made for this causal model"):
        token_scores(other, kernel, params, x)
    assert causal(model, rank=2, alpha=4.0).encoder is model.module


def views(**changes):
    found = {
        "logp": torch.tensor([[[-1.0, -2.0], [-3.0, 0.0]]], dtype=torch.float64),
        "inside": torch.tensor([[True, True], [True, False]]),
    }
    return TokenScores(**(found | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logp": torch.zeros(2, 2).double()}, "logp must be float64"),
        ({"logp": torch.zeros(1, 2, 2)}, "logp must be float64"),
        ({"inside": torch.ones(2, 2)}, "inside must be bool"),
        ({"inside": torch.tensor([[True, True], [False, False]])}, "text 1 has no predicted"),
        ({"logp": torch.full((1, 2, 2), torch.nan).double()}, "NaN or infinity"),
        ({"logp": torch.full((1, 2, 2), 0.1).double()}, "above 0"),
        ({"mean": torch.full((1, 2, 2), -torch.inf).double()}, "mean holds NaN or infinity"),
        ({"sd": torch.full((1, 2, 2), -1.0).double()}, "sd holds values below 0"),
        ({"greedy": torch.zeros(1, 2, 2)}, "greedy must be bool"),
        ({"texts": ("a",)}, "1 texts, but scores of 2"),
    ],
)
def test_views_that_make_no_sense_are_refused(changes, message):
    views()
    with pytest.raises(DesignError, match=message):
        views(**changes)
