import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privassay.accountant.errors import ParameterError
from privassay.mechanisms.secret_sharing.field import M31, M61, PrimeField

PRIMES = (M61, M31, 2147483629, 10007, 257, 5, 3, 2)


def corners(p):
    edges = {0, 1, 2, p - 1, p - 2, p // 2, p // 2 + 1, 2**21 - 1, 2**21, 2**31 - 1, 2**31, 2**42}
    return sorted(v for v in edges if 0 <= v < p)


@pytest.mark.parametrize("p", PRIMES)
def test_arithmetic_is_that_of_python_integers(p):
    field, draw = PrimeField(p), random.Random(p)
    some = corners(p) + [draw.randrange(p) for _ in range(300)]
    xs = [x for x in some for _ in corners(p)]
    ys = [y for _ in some for y in corners(p)]
    a, b = torch.tensor(xs), torch.tensor(ys)
    pairs = list(zip(xs, ys, strict=True))
    assert field.mul(a, b).tolist() == [x * y % p for x, y in pairs]
    assert field.add(a, b).tolist() == [(x + y) % p for x, y in pairs]
    assert field.sub(a, b).tolist() == [(x - y) % p for x, y in pairs]
    assert field.neg(a).tolist() == [-x % p for x in xs]
    assert int(field.sum(a, 0)) == sum(xs) % p
    assert field.scale(a, -3).tolist() == [-3 * x % p for x in xs]
    assert field.from_signed(field.to_signed(a)).tolist() == xs
    assert a.tolist() == xs and b.tolist() == ys  # inputs are not overwritten


@pytest.mark.parametrize("p", PRIMES)
@pytest.mark.parametrize("terms", [1, 5, 64, 65, 512])
def test_matrix_products_are_exact_at_the_extremes(p, terms):
    field, draw = PrimeField(p), random.Random(terms)
    weights = [[draw.randrange(p) for _ in range(terms)], [p - 1] * terms, [p // 2] * terms]
    weights += [[p // 2 + 1] * terms, [draw.randrange(-9, 9) for _ in range(terms)]]
    rows = [[draw.randrange(p), p - 1, p // 2, p // 2 + 1, 0] for _ in range(terms)]
    found = field.combine(weights, torch.tensor(rows)).tolist()
    expected = [
        [sum(w * row[j] for w, row in zip(line, rows, strict=True)) % p for j in range(5)]
        for line in weights
    ]
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, M61 - 1), st.integers(0, M61 - 1)), min_size=1))
def test_large_products(pairs):
    a, b = (torch.tensor(side) for side in zip(*pairs, strict=True))
    assert PrimeField().mul(a, b).tolist() == [x * y % M61 for x, y in pairs]


def test_long_tensors_are_cut_in_blocks_without_a_seam():
    field, p = PrimeField(), M61
    a = torch.arange(100_003) * 23058430092 % p
    b = (torch.arange(100_003) * 987654321987) % p
    found = field.mul(a, b)
    for i in (0, 1, 32767, 32768, 65535, 65536, 100_002):
        assert int(found[i]) == int(a[i]) * int(b[i]) % p
    both = field.combine([[3, p - 5]], torch.stack([a, b]))[0]
    assert torch.equal(both, field.sub(field.scale(a, 3), field.scale(b, 5)))


@pytest.mark.parametrize("p", [0, 1, 4, 9, 91, 2047, 3215031751, 2**61, 2**61 + 1, 2**31 + 11])
def test_composites_and_middle_sizes_are_refused(p):
    with pytest.raises(ParameterError):
        PrimeField(p)


def test_products_agree_with_galois():
    galois = pytest.importorskip("galois")
    p = 10007
    reference, field = galois.GF(p), PrimeField(p)
    a, b = torch.randint(0, p, (6, 4)), torch.randint(0, p, (4, 50))
    expected = reference(a.numpy()) @ reference(b.numpy())
    assert field.combine(a.tolist(), b).tolist() == expected.tolist()
    assert field.mul(b, b).tolist() == (reference(b.numpy()) ** 2).tolist()


def test_elements_are_checked():
    field = PrimeField(7)
    with pytest.raises(ParameterError, match="0..6"):
        field.check(torch.tensor([7]), "secrets")
    with pytest.raises(ParameterError, match="int64"):
        field.check(torch.tensor([0.5]), "secrets")
    with pytest.raises(ParameterError, match=r"within \+-3"):
        field.from_signed(torch.tensor([4]))
    with pytest.raises(ParameterError, match="inverse"):
        field.inverse(14)


@pytest.mark.gpu
def test_the_same_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for p in PRIMES:
        field = PrimeField(p)
        values, weights = torch.randint(0, p, (7, 20_011)), torch.randint(0, p, (4, 7)).tolist()
        there = values.cuda()
        assert torch.equal(field.combine(weights, there).cpu(), field.combine(weights, values))
        assert torch.equal(field.mul(there[0], there[1]).cpu(), field.mul(values[0], values[1]))
        assert torch.equal(field.sum(there, 1).cpu(), field.sum(values, 1))
