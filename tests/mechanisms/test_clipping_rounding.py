"""No rounding, of any type and scale, leaves a clipped row outside its set."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privassay.mechanisms.clipping import Clip

TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
PRECISION = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.02, torch.float16: 0.01}
# powers of ten; the third exponent tilts the row, so that some entries vanish beside others
scales = st.floats(-30.0, 30.0)


def squared(row):
    """The exact square of the norm of a row of floating-point numbers."""
    return sum(Fraction(float(x)) ** 2 for x in row)


def rows_of(seed, power, tilt, kind, size=9):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(3, size, generator=generator, dtype=torch.float64)
    rows = rows * 10.0 ** (power + torch.linspace(0.0, tilt, size, dtype=torch.float64))
    most = torch.finfo(kind).max
    return rows.clamp(-most, most).to(kind)


@pytest.mark.parametrize("kind", TYPES, ids=str)
@given(st.integers(0, 10**6), scales, scales, st.floats(-8.0, 8.0))
@settings(max_examples=120, deadline=None)
def test_a_ball(kind, seed, power, bound_power, tilt):
    bound = 10.0**bound_power
    rows = rows_of(seed, power, tilt, kind)
    clipped = Clip(joint_norm=bound).apply(rows, (9,))
    assert clipped.dtype == kind
    for before, after in zip(rows, clipped, strict=True):
        assert squared(after) <= Fraction(bound) ** 2
        inside = squared(before) <= Fraction(bound * (1 - PRECISION[kind])) ** 2
        if inside:
            assert torch.equal(before, after)


@pytest.mark.parametrize("kind", TYPES, ids=str)
@given(st.integers(0, 10**6), scales, scales, scales)
@settings(max_examples=60, deadline=None)
def test_groups_a_ball_over_them_and_an_ellipsoid(kind, seed, power, one, other):
    bounds = 10.0**one, 10.0**other
    rows = rows_of(seed, power, 0.0, kind)
    both = Clip(group_norms=bounds, joint_norm=min(bounds) * 1.3).apply(rows, (4, 5))
    oval = Clip(ellipsoid_radii=bounds).apply(rows, (4, 5))
    for row in both:
        for part, bound in zip(row.split((4, 5)), bounds, strict=True):
            assert squared(part) <= Fraction(bound) ** 2
        assert squared(row) <= Fraction(min(bounds) * 1.3) ** 2
    for row in oval:
        parts = zip(row.split((4, 5)), bounds, strict=True)
        assert sum(squared(part) / Fraction(radius) ** 2 for part, radius in parts) <= 1


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("bound", [1e-4, 1.0, 30.0])
def test_what_is_clipped_keeps_nearly_the_whole_bound_and_its_direction(kind, bound):
    rows = rows_of(1, 2.0, 0.0, kind, size=64)
    clipped = Clip(joint_norm=bound).apply(rows, (64,)).double()
    lost = 1.0 - clipped.norm(dim=1) / bound
    limit = PRECISION[kind] if bound >= 1.0 or kind != torch.float16 else 0.2  # of subnormals
    assert 0.0 <= float(lost.min()) and float(lost.max()) < limit, lost
    cosine = torch.nn.functional.cosine_similarity(clipped, rows.double())
    assert float(cosine.min()) > 1.0 - limit


def test_long_rows_just_outside():
    """Rows whose norm is the bound up to a few roundings, where a naive factor overshoots."""
    for size in (3, 1000, 100_000):
        rows = torch.full((1, size), 1.0 / 3.0, dtype=torch.float64)
        for step in range(-8, 9):
            bound = math.sqrt(size) / 3.0 * (1.0 + step * 2.0**-52)
            row = Clip(joint_norm=bound).apply(rows, (size,))[0]
            values, counts = row.unique(return_counts=True)
            exact = sum(
                Fraction(v) ** 2 * n for v, n in zip(values.tolist(), counts.tolist(), strict=True)
            )
            assert exact <= Fraction(bound) ** 2, (size, step)


def test_a_unit_vector_at_the_bound_is_left_alone():
    for kind in TYPES:
        row = torch.tensor([[0.0, -2.0, 0.0]], dtype=kind)
        assert torch.equal(Clip(joint_norm=2.0).apply(row, (3,)), row)
        assert torch.equal(Clip(group_norms=(2.0,)).apply(row, (3,)), row)
        assert torch.equal(Clip(ellipsoid_radii=(2.0,)).apply(row, (3,)), row)


def test_whole_numbers_are_clipped_as_doubles():
    clipped = Clip(joint_norm=1.0).apply(torch.tensor([[3, 4]]), (2,))
    assert clipped.dtype == torch.float64
    torch.testing.assert_close(clipped, torch.tensor([[0.6, 0.8]], dtype=torch.float64))
