"""Stacked models: initial law, gradients and clipped sums against a plain loop and Opacus."""

import math

import pytest
import torch
from scipy import stats

from privassay.accountant.errors import ParameterError
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.base import Outputs, cross_entropy, flatten, unflatten
from privassay.fl_core.kernels.layers import Linear, Relu, Residual, SoftClip
from privassay.fl_core.kernels.stacked import Stacked, mlp, squares
from privassay.mechanisms.base import SeededKey

KEY = SeededKey(2)
ROWS, BATCH, CLASSES = 3, 6, 4
NETS = {
    "mlp": mlp((5, 7, CLASSES)),
    "deep": mlp((5, 7, 6, CLASSES)),
    "linear": mlp((5, CLASSES)),
    "adapter": Stacked((Residual("a", 5, 3), SoftClip(1.2)), (Linear("head", 5, CLASSES),)),
    "two-layer head": Stacked(
        (Linear("a", 5, 6), Relu()),
        (Linear("b", 6, 6, bias=False), Relu(), Linear("c", 6, CLASSES)),
    ),
}


def by_distance(outputs, y, context):
    """Cross-entropy and distance to prototypes: features, logits and context take part."""
    away = outputs.features - context["target"].unsqueeze(1)
    return cross_entropy(outputs, y, {}) + 0.3 * away.square().sum(dim=-1)


LOSSES = {"cross_entropy": cross_entropy, "by_distance": by_distance}


def as_torch(value):
    """A matrix or a bias as torch.nn.Linear keeps it."""
    return value.mT if len(value) > 1 else value[0]


def case(net, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    params = {
        name: torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64).to(dtype) * 0.6
        for name, shape in net.shapes().items()
    }
    x = torch.randn(ROWS, BATCH, 5, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randint(0, CLASSES, (ROWS, BATCH), generator=generator)
    dim = net.outputs(params, x).features.shape[-1]
    context = {"target": torch.randn(ROWS, dim, generator=generator, dtype=torch.float64).to(dtype)}
    weights = torch.rand(ROWS, BATCH, generator=generator, dtype=torch.float64).to(dtype)
    weights[1, 4:] = 0.0
    return params, x, y, weights, context


def one_gradient(net, params, x, y, loss, context, row, record):
    """Gradient of one record's loss by autograd: the naive twin."""
    own = {n: v[row : row + 1].clone().requires_grad_() for n, v in params.items()}
    hidden = x[row : row + 1, record : record + 1]
    for layer in net.body:
        hidden = layer.forward(own, hidden)[0]
    logits = hidden
    for layer in net.head:
        logits = layer.forward(own, logits)[0]
    some = {n: v[row : row + 1] for n, v in context.items()}
    value = loss(Outputs(hidden, logits), y[row : row + 1, record : record + 1], some).sum()
    found = torch.autograd.grad(value, list(own.values()))
    return torch.cat([g.flatten() for g in found])


def looped(net, params, x, y, weights, loss, context, clip_norm=math.inf):
    rows = []
    for row in range(ROWS):
        total = torch.zeros(sum(math.prod(s) for s in net.shapes().values()), dtype=x.dtype)
        for record in range(BATCH):
            if weights[row, record] > 0:
                gradient = one_gradient(net, params, x, y, loss, context, row, record)
                if torch.isfinite(gradient).all():
                    factor = min(1.0, clip_norm / float(gradient.norm()))
                    total += weights[row, record] * factor * gradient
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_gradients_and_clipped_sums_are_those_of_a_loop(net, loss):
    params, x, y, weights, context = case(net)
    found = net.gradients(params, x, y, weights, loss, context)
    assert list(found) == list(params)
    wanted = looped(net, params, x, y, weights, loss, context)
    torch.testing.assert_close(flatten(found), wanted, rtol=1e-12, atol=1e-12)
    for clip_norm in (0.5, 3.0, 1e6):
        sums = net.clipped_sums(params, x, y, weights, loss, context, clip_norm=clip_norm)
        wanted = looped(net, params, x, y, weights, loss, context, clip_norm)
        torch.testing.assert_close(flatten(sums), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_descend_is_a_step_along_the_gradient(net):
    params, x, y, weights, _ = case(net)
    gradients = net.gradients(params, x, y, weights, cross_entropy, {})
    wanted = {name: value - 0.3 * gradients[name] for name, value in params.items()}
    net.descend(params, x, y, weights, cross_entropy, {}, learning_rate=0.3)
    torch.testing.assert_close(params, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-25, 1e-6, 1.0, 1e8, 1e30])
def test_no_record_adds_more_than_the_bound(scale):
    """Also where single-precision squares vanish or overflow."""
    net = mlp((5, 7, CLASSES))
    params, x, y, _, _ = case(net, torch.float32)
    weights = torch.zeros(ROWS, BATCH)
    weights[:, 2] = 1.0
    steep = lambda outputs, y, context: scale * cross_entropy(outputs, y, {})  # noqa: E731
    for inputs in (x, x * 1e-22, x * 1e15, x * 1e30):
        for clip_norm in (1e-15, 1e-12, 1e-8, 0.5, 40.0):
            sums = net.clipped_sums(params, inputs, y, weights, steep, {}, clip_norm=clip_norm)
            lengths = flatten(sums).double().norm(dim=1)
            assert torch.isfinite(lengths).all()
            assert float(lengths.max()) <= clip_norm, f"{lengths} exceed {clip_norm}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_a_record_that_is_not_finite_adds_nothing(value):
    net = NETS["mlp"]
    params, x, y, weights, _ = case(net, torch.float32)
    spoiled = x.clone()
    spoiled[0, 1, 3] = value
    sums = net.clipped_sums(params, spoiled, y, weights, cross_entropy, {}, clip_norm=0.5)
    without = weights.clone()
    without[0, 1] = 0.0
    wanted = net.clipped_sums(params, x, y, without, cross_entropy, {}, clip_norm=0.5)
    torch.testing.assert_close(sums, wanted, rtol=1e-6, atol=1e-7)
    assert not torch.equal(flatten(wanted)[0], torch.zeros_like(flatten(wanted)[0]))


def test_a_clip_norm_that_is_none_is_refused():
    net = NETS["mlp"]
    params, x, y, weights, _ = case(net)
    for clip_norm in (0.0, -1.0, math.nan, math.inf, 1e-16):
        with pytest.raises(ParameterError, match="clip_norm"):
            net.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=clip_norm)


def test_clipped_sums_are_those_of_opacus():
    grad_sample = pytest.importorskip("opacus.grad_sample", reason="opacus is not installed")
    net = mlp((64, 128, 10))
    rows = torch.arange(1)
    params = net.initial(Counter.of(KEY, "model"), rows, rows)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 32, 64, generator=generator)
    y = torch.randint(0, 10, (1, 32), generator=generator)
    plain = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    for twin, value in zip(plain.parameters(), params.values(), strict=True):
        twin.data = as_torch(value[0]).clone()
    module = grad_sample.GradSampleModule(plain, loss_reduction="sum")
    inputs = x[0].clone().requires_grad_()  # Opacus' hooks warn without
    torch.nn.functional.cross_entropy(module(inputs), y[0], reduction="sum").backward()
    samples = [p.grad_sample for p in module.parameters()]
    norms = torch.stack([s.flatten(1).norm(dim=1) for s in samples]).norm(dim=0)
    clip_norm = float(norms.median())
    factor = (clip_norm / norms).clamp(max=1.0)
    sums = net.clipped_sums(params, x, y, torch.ones(1, 32), cross_entropy, {}, clip_norm=clip_norm)
    for sample, found in zip(samples, sums.values(), strict=True):
        wanted = torch.einsum("n,n...->...", factor, sample)
        torch.testing.assert_close(as_torch(found[0]), wanted, rtol=1e-5, atol=1e-5)
    module.remove_hooks()


def test_initial_parameters_follow_the_law_of_torch():
    """Uniform in +-1/sqrt(fan_in), as torch.nn.Linear draws."""
    net = Stacked(
        (Residual("r", 16, 4), Linear("a", 16, 9), Relu()), (Linear("b", 9, 5, bias=False),)
    )
    rows = torch.arange(300)
    found = net.initial(Counter.of(KEY, "model"), rows, rows * 0)
    assert {n: tuple(v.shape[1:]) for n, v in found.items()} == net.shapes()
    assert not found.pop("r.up.weight").any()
    fan_in = {"r.down.weight": 16, "a.weight": 16, "a.bias": 16, "b.weight": 9}
    assert set(found) == set(fan_in)
    for name, value in found.items():
        reach = 1 / math.sqrt(fan_in[name])
        law = stats.uniform(-reach, 2 * reach).cdf
        assert stats.kstest(value.flatten().numpy(), law).pvalue > 1e-3, name
    for theirs in torch.nn.Linear(16, 9).parameters():
        assert float(theirs.detach().abs().max()) <= 0.25
    every = torch.cat([v.flatten(1) for v in found.values()], dim=1)
    assert len(torch.unique(every)) > 0.99 * every.numel()  # no two parameters share a number


def test_initial_parameters_depend_on_the_row_alone():
    net = NETS["deep"]
    counter = Counter.of(KEY, "model")
    rows, replicas = torch.tensor([4, 1, 9]), torch.tensor([0, 0, 2])
    whole = net.initial(counter, rows, replicas)
    back = torch.tensor([2, 0])
    some = net.initial(counter, rows[back], replicas[back])
    for name in whole:
        assert torch.equal(some[name], whole[name][back])


def test_flatten_and_back():
    net = NETS["two-layer head"]
    params, *_ = case(net)
    flat = flatten(params)
    again = unflatten(flat, net.shapes())
    assert list(again) == list(params)
    for name in params:
        assert torch.equal(again[name], params[name])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_is_the_cpu():
    net = NETS["adapter"]
    params, x, y, weights, context = case(net, torch.float32)
    sent = {n: v.cuda() for n, v in params.items()}
    there = (sent, x.cuda(), y.cuda(), weights.cuda())
    target = {"target": context["target"].cuda()}
    here = (params, x, y, weights)
    found = net.gradients(*there, by_distance, target)
    wanted = net.gradients(*here, by_distance, context)
    torch.testing.assert_close({n: v.cpu() for n, v in found.items()}, wanted, rtol=1e-4, atol=1e-4)
    found = net.clipped_sums(*there, by_distance, target, clip_norm=0.5)
    wanted = net.clipped_sums(*here, by_distance, context, clip_norm=0.5)
    torch.testing.assert_close({n: v.cpu() for n, v in found.items()}, wanted, rtol=1e-4, atol=1e-4)


def test_a_network_without_parameters_has_nothing_to_clip():
    class Same:
        shapes = staticmethod(dict)

        def forward(self, params, x):
            return x, x

        def backward(self, params, x, saved, gradient, found, *, needs_input):
            return gradient if needs_input else None

    net = Stacked((), (Same(),))
    x, y = torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64)
    assert net.clipped_sums({}, x, y, torch.ones(2, 3), cross_entropy, {}, clip_norm=1.0) == {}
    none = squares({}, {}, torch.ones(2, 3))
    assert none.dtype == torch.float64 and torch.equal(none, torch.zeros_like(none))
