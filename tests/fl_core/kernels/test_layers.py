"""Hand-written backward passes against autograd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privassay.fl_core.kernels.layers import Linear, Relu, Residual, SoftClip

small = st.integers(1, 5)


def layers(dim, width):
    return [
        Linear("a", dim, width),
        Linear("a", dim, width, bias=False),
        Relu(),
        Residual("a", dim, width),
        SoftClip(1.5),
        SoftClip(0.3, softness=0.0),
        SoftClip(2.0, softness=0.7),
    ]


@settings(deadline=None, max_examples=60)
@given(
    kind=st.integers(0, 6),
    rows=small,
    batch=small,
    dim=small,
    width=small,
    seed=st.integers(0, 2**31),
)
def test_backward_is_autograd(kind, rows, batch, dim, width, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    layer = layers(dim, width)[kind]
    params = {name: draw(rows, *shape) for name, shape in layer.shapes().items()}
    x = draw(rows, batch, dim)
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    at_x = x.clone().requires_grad_()
    y, _ = layer.forward(leaves, at_x)
    gradient = draw(*y.shape)
    wanted = dict(
        zip(["x", *leaves], torch.autograd.grad(y, [at_x, *leaves.values()], gradient), strict=True)
    )
    found = {}
    with torch.no_grad():
        _, saved = layer.forward(params, x)
        below = layer.backward(params, x, saved, gradient, found, needs_input=True)
        alone = layer.backward(params, x, saved, gradient, {}, needs_input=False)
    assert alone is None
    torch.testing.assert_close(below, wanted.pop("x"), rtol=1e-12, atol=1e-12)
    for name, (inputs, output) in found.items():
        torch.testing.assert_close(
            inputs.mT @ output, wanted.pop(f"{name}.weight"), rtol=1e-12, atol=1e-12
        )
        if f"{name}.bias" in wanted:
            torch.testing.assert_close(
                output.sum(dim=1, keepdim=True), wanted.pop(f"{name}.bias"), rtol=1e-12, atol=1e-12
            )
    assert not wanted, f"no gradient for {sorted(wanted)}"


@pytest.mark.parametrize("softness", [0.0, 0.05, 0.5])
def test_soft_clipped_records_are_never_longer_than_the_radius(softness):
    scale = torch.logspace(-3, 6, 50, dtype=torch.float64).view(1, -1, 1)
    x = torch.randn(1, 50, 4, generator=torch.Generator().manual_seed(0)).double() * scale
    y, norms = SoftClip(0.8, softness).forward({}, x)
    lengths = y.norm(dim=-1)
    assert float(lengths.max()) <= 0.8 * (1 + 1e-12)
    inside = norms.squeeze(-1) <= 0.8 * (1 - softness)
    assert inside.any() and torch.equal(y[inside], x[inside])


def test_a_record_of_zeros_passes_the_soft_clip():
    for softness in (0.0, 0.05):
        layer, x = SoftClip(1.0, softness), torch.zeros(1, 1, 3)
        y, saved = layer.forward({}, x)
        gradient = torch.ones(1, 1, 3)
        assert torch.equal(y, x)
        assert torch.equal(layer.backward({}, x, saved, gradient, {}, needs_input=True), gradient)
