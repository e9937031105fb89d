"""Random numbers by counter: known answers, laws, and independence of everything else."""

import math

import pytest
import torch
from scipy import stats

from privassay.accountant.errors import ParameterError
from privassay.fl_core.counters import Counter, philox
from privassay.mechanisms.base import SeededKey, SystemKey

KEY = SeededKey(3)
ROWS = torch.arange(6)
ZEROS = torch.zeros(6, dtype=torch.int64)

# Random123's known-answer file (kat_vectors): philox4x32-10, counter, key, answer.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter, key, answer):
    words = philox(key, *(torch.tensor(c) for c in counter))
    assert tuple(int(w) for w in words) == answer


def test_philox_against_whole_number_arithmetic():
    drawn = torch.randint(0, 2**32, (4, 200), generator=torch.Generator().manual_seed(0))
    k0, k1 = 0xDEADBEEF, 0x01234567
    found = philox((k0, k1), *drawn)
    for i in range(200):
        c, a, b = [int(v) for v in drawn[:, i]], k0, k1
        for _ in range(10):
            p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
            c = [(p1 >> 32) ^ c[1] ^ a, p1 % 2**32, (p0 >> 32) ^ c[3] ^ b, p0 % 2**32]
            a, b = (a + 0x9E3779B9) % 2**32, (b + 0xBB67AE85) % 2**32
        assert [int(w[i]) for w in found] == c


@pytest.mark.parametrize("draw", ["uniform", "normal"])
def test_a_number_depends_on_its_coordinates_alone(draw):
    counter = Counter.of(KEY, "test", round=5)
    ask = getattr(counter, draw)
    whole = ask(ROWS, ZEROS, 40)
    chunks = torch.cat([ask(ROWS[a : a + 2], ZEROS[:2], 40) for a in (0, 2, 4)])
    assert torch.equal(whole, chunks)
    back = torch.tensor([4, 0, 5, 2, 1, 3])
    assert torch.equal(ask(ROWS[back], ZEROS, 40), whole[back])
    assert torch.equal(ask(ROWS, ZEROS, 12), whole[:, :12])
    per_position = 2 if draw == "normal" else 1
    assert torch.equal(ask(ROWS, ZEROS, 10, first=7), whole[:, 7 * per_position :][:, :10])
    for other in (
        ask(ROWS, ZEROS + 1, 40),
        ask(ROWS + 6, ZEROS, 40),
        getattr(Counter.of(KEY, "test", round=6), draw)(ROWS, ZEROS, 40),
        getattr(Counter.of(KEY, "other", round=5), draw)(ROWS, ZEROS, 40),
        getattr(Counter.of(SeededKey(4), "test", round=5), draw)(ROWS, ZEROS, 40),
    ):
        assert not torch.isin(other, whole).any()


def test_a_system_key_is_fresh_at_every_call():
    draws = [Counter.of(SystemKey(), "test").uniform(ROWS, ZEROS, 4) for _ in range(2)]
    assert not torch.isin(draws[0], draws[1]).any()


def test_uniform_numbers_are_uniform():
    values = Counter.of(KEY, "uniform").uniform(torch.arange(200), torch.zeros(200).long(), 500)
    assert values.dtype == torch.float64
    assert 0.0 <= float(values.min()) and float(values.max()) < 1.0
    assert stats.kstest(values.flatten().numpy(), "uniform").pvalue > 1e-3
    low = ((values * 2**53) % 2**20) / 2**20  # the last bits too
    assert stats.kstest(low.flatten().numpy(), "uniform").pvalue > 1e-3


def test_normal_numbers_are_normal_and_independent():
    values = Counter.of(KEY, "normal").normal(torch.arange(400), torch.zeros(400).long(), 501)
    flat = values.flatten()
    n = flat.numel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        found = float(flat.pow(power).mean())
        assert abs(found - moment) < 4.5 * math.sqrt(variance / n), f"moment {power}: {found}"
    assert stats.kstest(flat.numpy(), "norm").pvalue > 1e-3
    for a, b in (
        (values[:, 0:500:2], values[:, 1:501:2]),  # the two of one position
        (values[:, :-2], values[:, 2:]),
        (values[:-1], values[1:]),
    ):
        assert abs(float((a * b).mean())) < 4.5 / math.sqrt(a.numel())
        assert abs(float((a.square() * b.square()).mean()) - 1) < 4.5 * math.sqrt(8 / a.numel())


def test_an_order_is_a_permutation_with_the_padding_last():
    lengths = torch.tensor([7, 0, 1, 5, 7, 3])
    order = Counter.of(KEY, "order").order(ROWS, ZEROS, lengths)
    assert order.shape == (6, 7)
    for row, length in zip(order.tolist(), lengths.tolist(), strict=True):
        assert sorted(row[:length]) == list(range(length))
        assert row[length:] == list(range(length, 7))
    # A row's order does not depend on how long the longest row is.
    alone = Counter.of(KEY, "order").order(ROWS[3:4], ZEROS[:1], lengths[3:4])
    assert torch.equal(alone[0], order[3, :5])
    other = Counter.of(KEY, "order").order(ROWS, ZEROS, lengths, epoch=1)
    assert not torch.equal(order, other)


def test_orders_are_uniform():
    """All 24 orders of four records, over clients and over epochs."""
    rows = torch.arange(2400)
    four = torch.full((2400,), 4)
    zeros = torch.zeros(2400).long()
    counter = Counter.of(KEY, "law")
    over_rows = counter.order(rows, zeros, four)
    over_epochs = torch.cat(
        [counter.order(rows[:10], zeros[:10], four[:10], epoch=e) for e in range(240)]
    )
    for orders in (over_rows, over_epochs):
        code = (orders * torch.tensor([64, 16, 4, 1])).sum(dim=1)
        _, counts = torch.unique(code, return_counts=True)
        assert len(counts) == 24
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_the_orders_of_two_epochs_are_independent():
    """All 576 pairs of orders of four records: epochs must not share positions."""
    rows = torch.arange(20_000)
    four, zeros = torch.full((20_000,), 4), torch.zeros(20_000).long()
    counter = Counter.of(KEY, "pairs")
    codes = []
    for epoch in (0, 1):
        orders = counter.order(rows, zeros, four, epoch=epoch)
        code = (orders * torch.tensor([64, 16, 4, 1])).sum(dim=1)
        codes.append(torch.unique(code, return_inverse=True)[1])
    counts = torch.bincount(codes[0] * 24 + codes[1], minlength=576)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_no_rows_and_no_records():
    counter = Counter.of(KEY, "empty")
    none = torch.zeros(0, dtype=torch.int64)
    assert counter.order(none, none, none).shape == (0, 0)
    assert counter.order(ROWS, ZEROS, ZEROS).shape == (6, 0)
    assert counter.normal(ROWS, ZEROS, 0).shape == (6, 0)


def test_coordinates_that_would_wrap_are_refused():
    counter = Counter.of(KEY, "wrap")
    five = torch.full((6,), 5)
    assert counter.order(ROWS, ZEROS, five, epoch=255).shape == (6, 5)
    for epoch in (256, -1):
        with pytest.raises(ParameterError, match="epoch"):
            counter.order(ROWS, ZEROS, five, epoch=epoch)
    counter.uniform(ROWS, ZEROS, 5, first=2**32 - 5)
    with pytest.raises(ParameterError, match="positions"):
        counter.uniform(ROWS, ZEROS, 5, first=2**32 - 4)
    with pytest.raises(ParameterError, match="round"):
        Counter.of(KEY, "wrap", round=2**32)
    with pytest.raises(ParameterError, match="round"):
        Counter.of(KEY, "wrap", round=-1)
