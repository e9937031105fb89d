"""Low-rank adapters on frozen encoders, against one record at a time and plain autograd."""

import math
from dataclasses import replace

import pytest
import torch

from privassay.accountant.errors import ConfigError
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.base import Outputs, cross_entropy, flatten
from privassay.mechanisms.base import SeededKey

from .adapter_cases import BATCH, DIM, ENCODERS, ROWS, bert, case, llama, towers, vit


def prototypes(outputs, y, context):
    away = outputs.features - context["target"].unsqueeze(1)
    return cross_entropy(outputs, y, {}) + 0.3 * away.square().sum(dim=-1)


def one_record(kernel, params, x, y, loss, context, row, record):
    """The naive twin: one record, one row, the plain low-rank layer, autograd."""
    own = {n: v[row].clone().requires_grad_() for n, v in params.items()}
    handles = []
    for name in kernel.layers:

        def hook(
            module, inputs, output, a=own[f"{name}.lora_A.weight"], b=own[f"{name}.lora_B.weight"]
        ):
            return output + kernel.alpha / kernel.rank * (inputs[0] @ a.T) @ b.T

        handles.append(kernel.encoder.get_submodule(name).register_forward_hook(hook))
    hidden = kernel.encode(kernel.encoder, x[row, record : record + 1]).unsqueeze(0)
    for handle in handles:
        handle.remove()
    stacked = {n: v.unsqueeze(0) for n, v in own.items()}
    for layer in kernel.head.body:
        hidden = layer.forward(stacked, hidden)[0]
    logits = hidden
    for layer in kernel.head.head:
        logits = layer.forward(stacked, logits)[0]
    some = {n: v[row : row + 1] for n, v in context.items()}
    value = loss(Outputs(hidden, logits), y[row : row + 1, record : record + 1], some).sum()
    found = torch.autograd.grad(value, list(own.values()))
    return torch.cat([g.flatten() for g in found]), hidden.detach(), logits.detach()


def looped(kernel, params, x, y, weights, loss, context, clip_norm=math.inf):
    rows = []
    for row in range(len(x)):
        total = 0.0
        for record in range(x.shape[1]):
            gradient, *_ = one_record(kernel, params, x, y, loss, context, row, record)
            if weights[row, record] > 0 and torch.isfinite(gradient).all():
                factor = min(1.0, clip_norm / float(gradient.norm()))
                total = total + weights[row, record] * factor * gradient
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.parametrize("max_records", [256, 9, 3])
@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
def test_gradients_and_clipped_sums_are_those_of_one_record_at_a_time(make, max_records):
    kernel, params, x, y, weights, context = case(make, "residual", max_records=max_records)
    found = kernel.gradients(params, x, y, weights, prototypes, context)
    wanted = looped(kernel, params, x, y, weights, prototypes, context)
    assert list(found) == list(params)
    close = 1e-5 if make is llama else 1e-9  # its norms are computed in single precision
    torch.testing.assert_close(flatten(found), wanted, rtol=close, atol=close)
    assert all(bool(value.any()) for value in found.values())
    norms = wanted.norm(dim=1)
    for clip_norm in (0.2 * float(norms.min()), 1e6):
        sums = kernel.clipped_sums(params, x, y, weights, prototypes, context, clip_norm=clip_norm)
        wanted = looped(kernel, params, x, y, weights, prototypes, context, clip_norm)
        torch.testing.assert_close(flatten(sums), wanted, rtol=close, atol=close)


@pytest.mark.parametrize("trained", [("A",), ("B",)])
def test_the_clip_is_spent_on_the_trained_factors_alone(trained):
    kernel, params, x, y, weights, _ = case(towers)
    part = replace(kernel, trained=trained)
    every = kernel.gradients(params, x, y, weights, cross_entropy, {})
    frozen = {n for n in params if "lora" in n and f"lora_{trained[0]}" not in n}
    assert len(frozen) == 3
    found = part.gradients(params, x, y, weights, cross_entropy, {})
    for name in params:
        wanted = torch.zeros_like(every[name]) if name in frozen else every[name]
        torch.testing.assert_close(found[name], wanted)
    # One record at a time: the sum is its gradient, scaled to the bound without the frozen factor.
    for record in range(BATCH):
        some = (x[:, record : record + 1], y[:, record : record + 1])
        ones = torch.ones(ROWS, 1, dtype=torch.float64)
        raw = part.gradients(params, *some, ones, cross_entropy, {})
        bound = 0.5 * float(flatten(raw).norm(dim=1).min())
        sums = part.clipped_sums(params, *some, ones, cross_entropy, {}, clip_norm=bound)
        norms = flatten(sums).norm(dim=1)
        torch.testing.assert_close(norms, torch.full_like(norms, bound))
        assert not any(sums[name].any() for name in frozen)


def test_the_trained_factors_must_be_known():
    with pytest.raises(ConfigError, match="trained must be"):
        case(towers, trained=("B", "A"))


@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
def test_outputs_are_those_of_one_record_at_a_time(make):
    kernel, params, x, y, _, context = case(make, "residual", max_records=5)
    found = kernel.outputs(params, x)
    for row in range(ROWS):
        for record in range(BATCH):
            _, hidden, logits = one_record(kernel, params, x, y, prototypes, context, row, record)
            torch.testing.assert_close(found.features[row, record], hidden[0, 0])
            torch.testing.assert_close(found.logits[row, record], logits[0, 0])


def test_single_precision_is_close_too():
    kernel, params, x, y, weights, _ = case(bert, dtype=torch.float32)
    sums = kernel.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=0.3)
    wanted = looped(kernel, params, x, y, weights, cross_entropy, {}, 0.3)
    torch.testing.assert_close(flatten(sums), wanted, rtol=1e-5, atol=1e-5)


def test_one_row_does_not_see_another():
    kernel, params, x, y, weights, _ = case(bert)
    whole = kernel.gradients(params, x, y, weights, cross_entropy, {})
    for row in range(ROWS):
        own = {n: v[row : row + 1] for n, v in params.items()}
        at = slice(row, row + 1)
        alone = kernel.gradients(own, x[at], y[at], weights[at], cross_entropy, {})
        for name in params:
            torch.testing.assert_close(alone[name][0], whole[name][row], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_a_record_that_is_not_finite_adds_nothing(value):
    kernel, params, x, y, weights, _ = case(vit, dtype=torch.float32)
    spoiled = x.clone()
    spoiled[0, 1, 2, 3, 3] = value
    sums = kernel.clipped_sums(params, spoiled, y, weights, cross_entropy, {}, clip_norm=0.3)
    without = weights.clone()
    without[0, 1] = 0.0
    wanted = kernel.clipped_sums(params, x, y, without, cross_entropy, {}, clip_norm=0.3)
    torch.testing.assert_close(sums, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e12, 1e30])
def test_no_record_adds_more_than_the_bound(scale):
    kernel, params, x, y, _, _ = case(towers, dtype=torch.float32)
    one = torch.zeros(ROWS, BATCH)
    one[:, 1] = 1.0
    steep = lambda outputs, y, context: scale * cross_entropy(outputs, y, {})  # noqa: E731
    for clip_norm in (1e-8, 0.3):
        sums = kernel.clipped_sums(params, x, y, one, steep, {}, clip_norm=clip_norm)
        assert float(flatten(sums).double().norm(dim=1).max()) <= clip_norm


def test_descend_is_a_step_along_the_gradient():
    kernel, params, x, y, weights, _ = case(towers)
    gradients = kernel.gradients(params, x, y, weights, cross_entropy, {})
    wanted = {name: value - 0.3 * gradients[name] for name, value in params.items()}
    kernel.descend(params, x, y, weights, cross_entropy, {}, learning_rate=0.3)
    torch.testing.assert_close(params, wanted)


def test_initial_adapters_change_nothing_and_depend_on_the_row_alone():
    kernel, _, x, *_ = case(bert, dtype=torch.float32)
    counter = Counter.of(SeededKey(0), "model")
    rows = torch.tensor([5, 1, 3])
    params = kernel.initial(counter, rows, rows * 0)
    assert {n: tuple(v.shape[1:]) for n, v in params.items()} == kernel.shapes()
    for name, value in params.items():
        reach = 1 / math.sqrt(value.shape[-1] if "lora_A" in name else DIM)
        assert bool(value.any()) != ("lora_B" in name)
        assert float(value.abs().max()) <= reach
        assert float(value.abs().max()) > 0.7 * reach or "lora_B" in name
    drawn = torch.cat([v.flatten() for n, v in params.items() if "lora_B" not in n])
    assert len(torch.unique(drawn)) == len(drawn)  # factors and head share no number
    plain = kernel.encode(kernel.encoder, x.flatten(0, 1)).view(ROWS, BATCH, DIM)
    torch.testing.assert_close(kernel.outputs(params, x).features, plain, rtol=1e-5, atol=1e-5)
    back = kernel.initial(counter, rows[[2, 0]], rows[[2, 0]] * 0)
    assert all(torch.equal(back[n], params[n][[2, 0]]) for n in params)
