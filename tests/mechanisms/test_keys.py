import numpy as np
import pytest
import torch

from privassay.mechanisms.base import SeededKey, SystemKey


def test_equal_names_give_equal_numbers_however_they_were_built():
    one = SeededKey(7).child("noise", 3, "alice")
    two = SeededKey(7).child("noise").child(3).child("alice")
    assert one == two and one.fingerprint == two.fingerprint
    assert torch.equal(one.normal(2, 5), two.normal(2, 5))
    assert torch.equal(one.normal(2, 5), one.normal(2, 5))  # counters, not state
    assert one.normal(2, 5).dtype == torch.float64


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a", "b"), ("b", "a")),
        (("ab",), ("a", "b")),
        (("a", ""), ("a",)),
        ((1,), ("1",)),
        ((1, 2), (12,)),
        (("a', 'b",), ("a", "b")),
        ((), ("",)),
        ((-1,), (1,)),
    ],
)
def test_different_names_give_other_numbers(first, second):
    keys = [SeededKey(0, names) for names in (first, second)]
    assert keys[0].fingerprint != keys[1].fingerprint
    assert not torch.equal(keys[0].normal(4), keys[1].normal(4))
    assert not torch.equal(SeededKey(1, first).normal(4), keys[0].normal(4))


def test_numpy_numbers_name_the_same_key():
    plain = SeededKey(3).child("noise", 5, "a")
    numpy = SeededKey(np.int64(3)).child(np.str_("noise"), np.int32(5), "a")
    assert numpy.fingerprint == plain.fingerprint
    assert torch.equal(numpy.normal(4), plain.normal(4))


def test_a_fraction_is_no_name():
    with pytest.raises(TypeError):
        SeededKey(3).child(1.5).normal(1)


def test_twenty_thousand_children_share_neither_fingerprint_nor_noise():
    root = SeededKey(1)
    keys = [root.child("noise", i, c) for i in range(5000) for c in "abcd"]
    assert len({k.fingerprint for k in keys}) == 20_000
    firsts = torch.stack([k.normal(2) for k in keys])
    assert len(torch.unique(firsts, dim=0)) == 20_000
    # Across keys the numbers are standard normal too: 40,000 of them, 5 standard errors.
    assert abs(float(firsts.mean())) < 5 / 40_000**0.5
    assert abs(float(firsts.square().mean()) - 1) < 5 * (2 / 40_000) ** 0.5
    neighbours = float((firsts[1:] * firsts[:-1]).mean())
    assert abs(neighbours) < 5 / 40_000**0.5, f"neighbouring keys correlate: {neighbours}"


def test_a_shorter_draw_is_the_beginning_of_a_longer_one():
    # The worlds of an audit rely on it: fewer trials are the first of more trials.
    key = SeededKey(1).child("block")
    assert torch.equal(key.normal(3, 4), key.normal(9, 4)[:3])


def test_the_system_key_differs_at_every_draw():
    key = SystemKey()
    draws = torch.stack([key.normal(2) for _ in range(500)])
    assert len(torch.unique(draws)) == 1000
    assert key.child("a").fingerprint == key.fingerprint == "system"
    assert not torch.equal(key.child("a").normal(3), key.child("a").normal(3))
    first, second = (key.generator().integers(2**62) for _ in range(2))
    assert first != second
