"""Soft prompts of many rows against one record at a time and the model's own tokens."""

import pytest
import torch

from privassay.accountant.errors import ConfigError
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.base import cross_entropy, flatten
from privassay.fl_core.kernels.prompts import (
    Form,
    Prompts,
    cosine,
    one_context,
    shared_and_own,
)
from privassay.mechanisms.base import SeededKey

from .conftest import CLASSES, DIM, LENGTH, NAMES, WIDTH, letters

ROWS, BATCH, RANK = 3, 4, 2


def low_rank():
    return Form(
        shapes={"shared": (LENGTH, WIDTH), "left": (LENGTH, RANK), "right": (RANK, WIDTH)},
        contexts=lambda p: (p["shared"] + p["left"] @ p["right"]).unsqueeze(1),
    )


FORMS = {
    "one": one_context(LENGTH, WIDTH),
    "two": shared_and_own(LENGTH, WIDTH),
    "low rank": low_rank(),
}


def case(text, form="one", **settings):
    kernel = Prompts(text=text, form=FORMS[form], scale=20.0, stddev=0.5, **settings)
    rows = torch.arange(ROWS)
    params = kernel.initial(Counter.of(SeededKey(1), "model"), rows, rows * 0)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(ROWS, BATCH, DIM, generator=generator, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (ROWS, BATCH), generator=generator)
    weights = torch.rand(ROWS, BATCH, generator=generator, dtype=torch.float64)
    weights[1, 3] = 0.0
    return kernel, params, x, y, weights


def slow_gradient(kernel, params, row, x, y):
    """Of one record, through the whole encoder."""
    own = {n: v[row : row + 1].clone().requires_grad_() for n, v in params.items()}
    features = kernel.class_features(own)[0, 0]
    logits = kernel.scale * torch.nn.functional.normalize(x, dim=0) @ features.T
    loss = torch.nn.functional.cross_entropy(logits, y)
    return dict(zip(own, torch.autograd.grad(loss, list(own.values())), strict=True))


def test_class_features_are_the_models_own_when_the_context_is_words(clip, text):
    words = "abcd"
    tower = text.tower
    assert text.tower.words(words).shape == (LENGTH, WIDTH)
    kernel = Prompts(text=text, form=FORMS["one"], scale=1.0, start={"context": tower.words(words)})
    params = kernel.initial(Counter.of(SeededKey(1), "m"), torch.arange(2), torch.zeros(2).long())
    found = kernel.class_features(params)[:, 0]
    for number, name in enumerate(NAMES):
        ids = torch.tensor([letters(f"{words}{name}.")])
        wanted = clip.get_text_features(input_ids=ids).pooler_output
        wanted = torch.nn.functional.normalize(wanted, dim=-1)
        assert torch.allclose(found[:, number], wanted.expand(2, -1), atol=1e-10), name


@pytest.mark.parametrize("form", FORMS)
def test_gradients_equal_one_record_at_a_time(text, form):
    kernel, params, x, y, weights = case(text, form)
    found = kernel.gradients(params, x, y, weights, cross_entropy, {})
    for row in range(ROWS):
        wanted = {name: torch.zeros(1, *shape) for name, shape in kernel.shapes().items()}
        for record in range(BATCH):
            one = slow_gradient(kernel, params, row, x[row, record], y[row, record])
            wanted = {n: wanted[n] + weights[row, record] * one[n] for n in one}
        for name in wanted:
            assert torch.allclose(found[name][row], wanted[name][0], atol=1e-10), (form, row, name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("clip_norm", [0.3, 1e6])
def test_clipped_sums_equal_a_loop(text, form, clip_norm):
    kernel, params, x, y, weights = case(text, form)
    found = kernel.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=clip_norm)
    clipped = 0
    for row in range(ROWS):
        wanted = {name: torch.zeros(1, *shape) for name, shape in kernel.shapes().items()}
        for record in range(BATCH):
            one = slow_gradient(kernel, params, row, x[row, record], y[row, record])
            norm = float(flatten(one).norm())
            clipped += norm > clip_norm
            factor = weights[row, record] * min(1.0, clip_norm / norm)
            wanted = {n: wanted[n] + factor * one[n] for n in one}
        for name in wanted:
            assert torch.allclose(found[name][row], wanted[name][0], atol=1e-10), (form, row, name)
    assert (clipped > 0) == (clip_norm < 1.0), f"{clipped} clipped"


def test_memory_limit_changes_nothing(text):
    kernel, params, x, y, weights = case(text, "two")
    small = Prompts(text=text, form=FORMS["two"], scale=20.0, stddev=0.5, max_sequences=2 * CLASSES)
    for name in params:
        for call in (
            lambda k: k.gradients(params, x, y, weights, cross_entropy, {}),
            lambda k: k.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=0.3),
        ):
            assert torch.allclose(call(kernel)[name], call(small)[name], atol=1e-12)
    assert torch.allclose(kernel.outputs(params, x).logits, small.outputs(params, x).logits)


def test_a_record_that_is_not_finite_adds_nothing_and_spoils_no_other(text):
    kernel, params, x, y, weights = case(text)
    good = kernel.clipped_sums(params, x[:, 1:], y[:, 1:], weights[:, 1:], cross_entropy, {},
                               clip_norm=0.3)  # fmt: skip
    x[:, 0] = float("nan")
    found = kernel.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=0.3)
    assert torch.allclose(found["context"], good["context"], atol=1e-12)


def test_cosine_with_a_text_of_each_records_own_is_the_same():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, BATCH, DIM, generator=generator)
    text = torch.randn(ROWS, 1, 1, CLASSES, DIM, generator=generator)
    assert torch.allclose(cosine(x, text), cosine(x, text.expand(-1, BATCH, -1, -1, -1)), atol=1e-6)


def test_single_precision_agrees_to_five_digits(text):
    import copy

    from privassay.fl_core.models.dual_encoder import clip_text

    from .conftest import tiny_clip

    kernel, params, x, y, weights = case(text)
    single = clip_text(copy.deepcopy(tiny_clip()).float(), letters).classes(NAMES, length=LENGTH)
    other = Prompts(text=single, form=FORMS["one"], scale=20.0, stddev=0.5)
    wanted = kernel.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=0.3)
    found = other.clipped_sums(
        {n: v.float() for n, v in params.items()}, x.float(), y, weights.float(), cross_entropy,
        {}, clip_norm=0.3,
    )  # fmt: skip
    assert torch.allclose(found["context"].double(), wanted["context"], atol=1e-5)


def test_refusals(clip, text):
    with pytest.raises(ConfigError, match="start 'context' of shape"):
        Prompts(text=text, form=FORMS["two"], scale=1.0, start={"context": torch.zeros(1, 1)})
    with pytest.raises(ConfigError, match="must differ"):
        text.tower.classes(("a", "a"), length=2)
    from privassay.fl_core.models.dual_encoder import clip_text

    clip.train()
    try:
        with pytest.raises(ConfigError, match="training mode"):
            clip_text(clip, letters)
    finally:
        clip.eval()
