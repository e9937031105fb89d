"""Any module as a kernel: stacked, vmap and loop agree."""

import math

import pytest
import torch
from torch import nn

from privassay.accountant.errors import ConfigError, ParameterError
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.base import cross_entropy, flatten
from privassay.fl_core.kernels.functional import Functional
from privassay.fl_core.kernels.stacked import mlp
from privassay.mechanisms.base import SeededKey

ROWS, BATCH, SIZES = 3, 5, (6, 4, 3)


class Net(nn.Module):
    """The twin of `mlp`; returns features too."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(SIZES[0], SIZES[1])
        self.second = nn.Linear(SIZES[1], SIZES[2])

    def forward(self, x):
        features = self.first(x).relu()
        return features, self.second(features)


def prototypes(outputs, y, context):
    away = outputs.features - context["target"].unsqueeze(1)
    return cross_entropy(outputs, y, {}) + 0.3 * away.square().sum(dim=-1)


def case(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    params = {name: draw(ROWS, *shape) for name, shape in mlp(SIZES).shapes().items()}
    x, y = draw(ROWS, BATCH, SIZES[0]), torch.randint(0, 3, (ROWS, BATCH), generator=generator)
    weights = draw(ROWS, BATCH).abs()
    weights[2, 3:] = 0.0
    return params, x, y, weights, {"target": draw(ROWS, SIZES[1])}


def as_torch(params):
    names = ("first.weight", "first.bias", "second.weight", "second.bias")
    values = [v.mT if v.shape[1] > 1 else v[:, 0] for v in params.values()]
    return dict(zip(names, values, strict=True))


KERNELS = {
    "vmap": lambda module: Functional(module),
    "vmap, small chunks": lambda module: Functional(module, chunk_size=2),
    "vmap, two rows a chunk": lambda module: Functional(module, chunk_size=10),
    "loop": lambda module: Functional(module, method="loop"),
    "loop, small chunks": lambda module: Functional(module, chunk_size=3, method="loop"),
}


@pytest.mark.parametrize("loss", [cross_entropy, prototypes])
@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_three_ways_to_the_same_numbers(make, loss):
    params, x, y, weights, context = case()
    stacked, kernel = mlp(SIZES), make(Net().double().eval())
    twin = as_torch(params)
    assert kernel.shapes() == {name: tuple(value.shape[1:]) for name, value in twin.items()}
    torch.testing.assert_close(kernel.outputs(twin, x).logits, stacked.outputs(params, x).logits)
    torch.testing.assert_close(
        kernel.outputs(twin, x).features, stacked.outputs(params, x).features
    )
    found = kernel.gradients(twin, x, y, weights, loss, context)
    wanted = as_torch(stacked.gradients(params, x, y, weights, loss, context))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    for clip_norm in (0.4, 5.0):
        found = kernel.clipped_sums(twin, x, y, weights, loss, context, clip_norm=clip_norm)
        wanted = as_torch(
            stacked.clipped_sums(params, x, y, weights, loss, context, clip_norm=clip_norm)
        )
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    before = {name: value.clone() for name, value in twin.items()}
    gradients = kernel.gradients(twin, x, y, weights, loss, context)
    own = {name: value.clone() for name, value in twin.items()}
    kernel.descend(own, x, y, weights, loss, context, learning_rate=0.5)
    for name in own:
        torch.testing.assert_close(own[name], before[name] - 0.5 * gradients[name])


@pytest.mark.parametrize("method", ["vmap", "loop"])
def test_a_record_that_is_not_finite_adds_nothing(method):
    params, x, y, weights, context = case(torch.float32)
    kernel, twin = Functional(Net().eval(), method=method), as_torch(params)
    for value in (math.nan, math.inf, 3e38):
        spoiled = x.clone()
        spoiled[0, 1, 2] = value
        sums = kernel.clipped_sums(twin, spoiled, y, weights, prototypes, context, clip_norm=0.5)
        without = weights.clone()
        without[0, 1] = 0.0
        wanted = kernel.clipped_sums(twin, x, y, without, prototypes, context, clip_norm=0.5)
        torch.testing.assert_close(sums, wanted, rtol=1e-5, atol=1e-6)


def test_no_record_adds_more_than_the_bound():
    params, x, y, _, _ = case(torch.float32)
    kernel, twin = Functional(Net().eval()), as_torch(params)
    one = torch.zeros(ROWS, BATCH)
    one[:, 1] = 1.0
    for scale in (1e-25, 1.0, 1e12, 1e30):
        steep = lambda outputs, y, c, scale=scale: scale * cross_entropy(outputs, y, {})  # noqa: E731
        for clip_norm in (1e-8, 0.5):
            sums = kernel.clipped_sums(twin, x, y, one, steep, {}, clip_norm=clip_norm)
            lengths = flatten(sums).double().norm(dim=1)
            assert float(lengths.max()) <= clip_norm


def test_a_convolution_with_group_norm_and_frozen_parts():
    """What has no hand-written form: vmap against loop; the frozen layer is shared."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 3)
    ).eval()
    module[0].requires_grad_(False)
    x, y = torch.randn(2, 4, 1, 5, 5), torch.randint(0, 3, (2, 4))
    weights = torch.full((2, 4), 0.25)
    found = []
    for method in ("vmap", "loop"):
        kernel = Functional(module, method=method)
        assert list(kernel.shapes()) == ["1.weight", "1.bias", "4.weight", "4.bias"]
        rows = torch.arange(2)
        params = kernel.initial(Counter.of(SeededKey(0), "model"), rows, rows)
        assert all(torch.equal(params[n][1], module.get_parameter(n)) for n in params)
        kernel.descend(params, x, y, weights, cross_entropy, {}, learning_rate=0.1)
        sums = kernel.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=0.3)
        found.append(flatten(params | {"sum" + n: v for n, v in sums.items()}))
        assert kernel.outputs(params, x).features.shape == (2, 4, 0)
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_a_branch_on_data_needs_the_loop():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(6, 3)

        def forward(self, x):
            return self.linear(x) if float(x.sum()) > 0 else 2 * self.linear(x)

    _, x, y, weights, _ = case(torch.float32)
    module = Branch().eval()
    loop = Functional(module, method="loop")
    params = loop.initial(Counter.of(SeededKey(0), "m"), torch.arange(3), torch.arange(3))
    ones = torch.ones_like(weights)
    sums = loop.clipped_sums(params, x, y, ones, cross_entropy, {}, clip_norm=0.2)
    lengths = flatten(sums).norm(dim=1)
    assert (lengths > 0).all() and (lengths <= BATCH * 0.2).all()
    with pytest.raises(RuntimeError, match="vmap"):
        Functional(module).gradients(params, x, y, weights, cross_entropy, {})


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), "training mode"),
        (nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.1)), "training mode"),
        (nn.Linear(6, 3), "training mode"),
        (
            nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval(),
            "normalises over the batch",
        ),
        (nn.Linear(6, 3).eval().requires_grad_(False), "nothing to train"),
    ],
)
def test_modules_that_mix_or_draw_are_refused(module, message):
    with pytest.raises(ConfigError, match=message):
        Functional(module)


def test_a_module_switched_back_to_training_is_refused():
    params, x, y, weights, _ = case(torch.float32)
    module = Net().eval()
    kernel, twin = Functional(module), as_torch(params)
    module.train()
    with pytest.raises(ConfigError, match="training mode"):
        kernel.gradients(twin, x, y, weights, cross_entropy, {})
    with pytest.raises(ConfigError, match="training mode"):
        kernel.clipped_sums(twin, x, y, weights, cross_entropy, {}, clip_norm=1.0)
    with pytest.raises(ConfigError, match="training mode"):
        kernel.outputs(twin, x)


def test_running_statistics_in_evaluation_mode_are_constants():
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval()
    module[1].running_mean += 0.5
    _, x, y, weights, _ = case(torch.float32)
    kernel = Functional(module)
    params = kernel.initial(Counter.of(SeededKey(0), "m"), torch.arange(3), torch.arange(3))
    torch.testing.assert_close(kernel.outputs(params, x).logits[1], module(x[1]).detach())
    kernel.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=1.0)
    assert torch.equal(module[1].running_mean, torch.full((4,), 0.5))


def test_what_is_no_output_is_refused():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(6, 3)

        def forward(self, x):
            return {"logits": self.linear(x)}

    _, x, y, weights, _ = case(torch.float32)
    kernel = Functional(Wrapped().eval())
    params = kernel.initial(Counter.of(SeededKey(0), "m"), torch.arange(3), torch.arange(3))
    with pytest.raises(ConfigError, match="returns dict"):
        kernel.outputs(params, x)


@pytest.mark.parametrize("wrong", [{"chunk_size": 0}, {"method": "fast"}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        Functional(Net().eval(), **wrong)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_is_the_cpu():
    params, x, y, weights, context = case(torch.float32)
    twin, found = as_torch(params), []
    for device in ("cpu", "cuda"):
        kernel = Functional(Net().eval().to(device))
        own = {name: value.to(device) for name, value in twin.items()}
        batch = (x.to(device), y.to(device), weights.to(device))
        target = {"target": context["target"].to(device)}
        sums = kernel.clipped_sums(own, *batch, prototypes, target, clip_norm=0.5)
        gradients = kernel.gradients(own, *batch, prototypes, target)
        found.append(torch.cat([flatten(sums), flatten(gradients)]).cpu())
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
