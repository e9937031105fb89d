import itertools
import random
from collections import Counter

import pytest
import torch
from scipy.stats import chi2

from privassay.accountant.errors import LedgerError, ParameterError
from privassay.mechanisms.secret_sharing.field import M61, PrimeField
from privassay.mechanisms.secret_sharing.fixed_point import (
    FixedPoint,
    checked,
    crt_signed,
    distance_limit,
    largest_bits,
    require_headroom,
    sum_limit,
)
from privassay.mechanisms.secret_sharing.lagrange import LagrangeCode, Shamir, lagrange_weights
from privassay.mechanisms.secret_sharing.masks import (
    MaskStore,
    SeededSource,
    SystemSource,
    uniform,
)
from privassay.mechanisms.secret_sharing.reed_solomon import wrong_senders
from privassay.mechanisms.secret_sharing.session import Session, zero_polynomial

SMALL = PrimeField(10007)


def value(nodes, values, x, p):
    """Lagrange interpolation in Python integers, slowly."""
    total = 0
    for i, (a, v) in enumerate(zip(nodes, values, strict=True)):
        for j, b in enumerate(nodes):
            if i != j:
                v = v * (x - b) * pow(a - b, -1, p) % p
        total += v
    return total % p


def golden():
    code = LagrangeCode(clients=6, slices=2, colluders=1, within=SMALL)
    first = code.share(SMALL.from_signed(torch.tensor([3, -4])), torch.tensor([17]))
    second = code.share(torch.tensor([1, 2]), torch.tensor([29]))
    return code, first, second


def test_golden_vector_shares():
    code, first, second = golden()
    assert code.betas == (1, 2, 3) and code.alphas == (4, 5, 6, 7, 8, 9)
    assert first.tolist() == [66, 143, 248, 381, 542, 731]
    assert second.tolist() == [82, 161, 266, 397, 554, 737]


def test_golden_vector_distance_and_zero_sharing():
    code, first, second = golden()
    session = Session(code, MaskStore(SeededSource(0), SMALL))
    # One column per slice: the width of a share is 1.
    points = torch.stack([first, second], dim=1)[..., None]
    replies = session.squares(points, session.total(points, 1)[:, None], [2])[:, 0, 0]
    assert replies.tolist() == [256, 324, 324, 256, 144, 36]
    for senders in itertools.combinations(range(6), 5):
        opened = code.open(replies[list(senders)], senders, product=True)
        assert opened.tolist() == [4, 36]
    # As the client's own distance: n^2 d^2 = 4 * |(3,-4) - (2,-1)|^2 = 40.
    zeros = zero_polynomial(code, "sum", torch.tensor([123, 456, 789, 1011]))
    assert zeros.tolist() == [5817, 4200, 8156, 4512, 4406, 3259]
    masked = SMALL.add(replies, zeros)
    assert masked.tolist() == [6073, 4524, 8480, 4768, 4550, 3295]
    shown = code.open(masked, range(6), product=True)
    assert shown.tolist() == [127, 9920] and int(shown.sum()) % 10007 == 40


def test_an_oracle_in_python_integers_agrees():
    draw = random.Random(5)
    for p, (clients, slices, colluders) in itertools.product(
        (M61, 2147483629, 10007), [(10, 2, 2), (7, 1, 3), (12, 4, 1), (20, 2, 4)]
    ):
        code = LagrangeCode(
            clients=clients, slices=slices, colluders=colluders, within=PrimeField(p)
        )
        secret = [draw.randrange(p) for _ in range(slices)]
        masks = [draw.randrange(p) for _ in range(colluders)]
        shares = code.share(torch.tensor(secret), torch.tensor(masks)).tolist()
        assert shares == [value(code.betas, secret + masks, a, p) for a in code.alphas]


def test_shares_agree_with_galois():
    galois = pytest.importorskip("galois")
    field = galois.GF(10007)
    code = LagrangeCode(clients=8, slices=2, colluders=2, within=SMALL)
    values = [5, 10000, 77, 4321]
    polynomial = galois.lagrange_poly(field(list(code.betas)), field(values))
    expected = polynomial(field(list(code.alphas))).tolist()
    assert code.share(torch.tensor(values[:2]), torch.tensor(values[2:])).tolist() == expected


@pytest.mark.parametrize(("slices", "colluders"), [(1, 1), (2, 2), (3, 1)])
def test_any_replies_of_the_right_number_open_the_same(slices, colluders):
    code = LagrangeCode(clients=9, slices=slices, colluders=colluders)
    field = code.within
    secret = torch.randint(0, M61, (slices, 3))
    other = torch.randint(0, M61, (slices, 3))
    shares = code.share(secret, uniform(SystemSource(), field, colluders, 3))
    product = field.mul(shares, code.share(other, uniform(SystemSource(), field, colluders, 3)))
    for is_product, replies, expected in (
        (False, shares, secret),
        (True, product, field.mul(secret, other)),
    ):
        need = code.needed(product=is_product)
        for senders in itertools.combinations(range(9), need):
            found = code.open(replies[list(senders)], senders, product=is_product)
            assert torch.equal(found, expected)
        with pytest.raises(ParameterError, match=f"{need} replies are needed"):
            code.open(replies[: need - 1], range(need - 1), product=is_product)


def test_linear_sharing_opens_from_t_plus_k_and_shamir_from_t_plus_one():
    scheme = Shamir(clients=10, colluders=4)
    secret = torch.randint(0, M61, (4, 5))
    shares = scheme.share(secret, SystemSource())
    for senders in itertools.combinations(range(10), 5):
        assert torch.equal(scheme.reconstruct(shares[list(senders)], senders), secret)
    with pytest.raises(ParameterError, match="5 replies"):
        scheme.reconstruct(shares[:4], range(4))
    with pytest.raises(ParameterError, match="twice"):
        scheme.reconstruct(shares[:5], [0, 1, 2, 3, 3])
    with pytest.raises(ParameterError, match="0..9"):
        scheme.reconstruct(shares[:5], [0, 1, 2, 3, 10])


@pytest.mark.parametrize(
    ("within", "clients", "slices", "colluders"), [(7, 4, 1, 1), (7, 3, 2, 1), (11, 5, 2, 2)]
)
def test_every_t_shares_are_exactly_uniform_whatever_the_secret(within, clients, slices, colluders):
    # Enumeration of all masks: each value of any t shares appears equally often.
    code = LagrangeCode(
        clients=clients,
        slices=slices,
        colluders=colluders,
        products=False,
        within=PrimeField(within),
    )
    masks = torch.tensor(list(itertools.product(range(within), repeat=colluders))).T
    for secret in itertools.product((0, 1, within - 1), repeat=slices):
        fixed = torch.tensor(secret)[:, None].expand(slices, masks.shape[1])
        shares = code.share(fixed, masks)
        for coalition in itertools.combinations(range(clients), colluders):
            seen = Counter(map(tuple, shares[list(coalition)].T.tolist()))
            assert set(seen.values()) == {1} and len(seen) == within**colluders
        # Power: one share more than t is not uniform, with one slice it is the secret.
        if slices == 1:
            more = code.open(shares[: colluders + 1], range(colluders + 1), product=False)
            assert bool((more[0] == secret[0]).all())


@pytest.mark.parametrize("p", [11, 13, 31])
def test_t_shares_of_two_fixed_inputs_are_uniform_over_a_small_field(p):
    within, runs, cells = PrimeField(p), 40_000, p * p
    code = LagrangeCode(clients=5, slices=1, colluders=2, within=within)
    counts = []
    for secret in (0, 7):
        masks = uniform(SystemSource(), within, 2, runs)
        shares = code.share(torch.full((1, runs), secret), masks)
        seen = shares[1] * p + shares[3]
        counts.append(torch.bincount(seen, minlength=cells).double())
        statistic = float(((counts[-1] - runs / cells) ** 2 / (runs / cells)).sum())
        assert chi2.sf(statistic, cells - 1) > 1e-6, f"chi-square {statistic:.1f} on {cells - 1}"
    pooled = sum(counts) / 2
    gap = float((((counts[0] - pooled) ** 2 + (counts[1] - pooled) ** 2) / pooled).sum())
    assert chi2.sf(gap, cells - 1) > 1e-6


def test_shares_are_uniform_over_the_large_field():
    runs, cells = 50_000, 64
    code = LagrangeCode(clients=10, slices=2, colluders=2)
    secret = torch.tensor([[3], [M61 - 4]]).expand(2, runs)
    shares = code.share(secret, uniform(SystemSource(), code.within, 2, runs))[[2, 7]]
    width = -(-M61 // cells)
    for view in (shares[0] // width, shares[1] // width, shares[0] % cells, shares[1] % cells):
        seen = torch.bincount(view, minlength=cells).double()
        statistic = float(((seen - runs / cells) ** 2 / (runs / cells)).sum())
        assert chi2.sf(statistic, cells - 1) > 1e-6
    joint = (shares[0] // width // 8) * 8 + shares[1] // width // 8
    seen = torch.bincount(joint, minlength=64).double()
    assert chi2.sf(float(((seen - runs / 64) ** 2 / (runs / 64)).sum()), 63) > 1e-6


def test_the_uniformity_test_has_power():
    # Masks one bit too short: the same test must fail.
    runs = 50_000
    short = uniform(SystemSource(), PrimeField(), 2, runs) >> 1
    shares = LagrangeCode(clients=10, colluders=2).share(torch.zeros((1, runs), dtype=int), short)
    width = -(-M61 // 64)
    seen = torch.bincount(torch.cat([short[0] // width, short[1] // width]), minlength=64).double()
    assert chi2.sf(float(((seen - runs / 32) ** 2 / (runs / 32)).sum()), 63) < 1e-6
    assert shares.shape == (10, runs)


@pytest.mark.parametrize("p", [2, 3, 10007, M61])
def test_masks_are_uniform_and_seeded_ones_repeat(p):
    field, runs = PrimeField(p), 30_000
    for source in (SystemSource(), SeededSource(1)):
        drawn = uniform(source, field, runs)
        field.check(drawn, "masks")
        cells = min(p, 50)
        seen = torch.bincount(drawn // (-(-p // cells)), minlength=cells).double()
        expected = torch.tensor([min(p, (i + 1) * -(-p // cells)) - min(p, i * -(-p // cells))
                                 for i in range(cells)]).double() / p * runs  # fmt: skip
        kept = expected > 0
        statistic = float(((seen - expected) ** 2 / expected)[kept].sum())
        assert chi2.sf(statistic, int(kept.sum()) - 1) > 1e-6
    same = [uniform(SeededSource(1).child("a"), field, 8) for _ in range(2)]
    assert torch.equal(*same)
    if p == M61:
        assert not torch.equal(same[0], uniform(SeededSource(1).child("b"), field, 8))
        assert not torch.equal(*[uniform(SystemSource(), field, 8) for _ in range(2)])
    assert SystemSource().fingerprint == "system" != SeededSource(1).fingerprint


def test_masks_are_used_once():
    store = MaskStore(SystemSource(), SMALL)
    store.draw(1, 0, "points", shape=(2,))
    store.draw(2, 0, "points", shape=(2,))
    with pytest.raises(LedgerError, match="drawn before"):
        store.draw(1, 0, "points", shape=(2,))


@pytest.mark.parametrize("kind", ["sum", "each"])
def test_zero_shares_open_to_zero_and_hide_the_rest(kind):
    code = LagrangeCode(clients=10, slices=2, colluders=2)
    session = Session(code, MaskStore(SystemSource(), code.within))
    zeros = session.zero_shares(kind, 1, like=torch.zeros(500))
    opened = code.open(zeros, range(10), product=True)
    if kind == "sum":
        assert not bool(code.within.sum(opened, 0).any()) and bool(opened[0].all())
    else:
        assert not bool(opened.any())
    inner = code.open(zeros, range(10), product=True, at=(3, 4))
    assert len(torch.unique(inner)) > 990  # at the masks' points: fresh field elements


def test_zero_sharing_makes_the_opened_polynomial_exactly_uniform_given_the_sum():
    # p = 11, K = 2, t = 1: all 11^4 free values give each polynomial with that sum once.
    code = LagrangeCode(clients=5, slices=2, colluders=1, within=PrimeField(11))
    free = torch.tensor(list(itertools.product(range(11), repeat=4))).T
    zeros = zero_polynomial(code, "sum", free)
    for replies in (torch.tensor([1, 2, 3, 4, 5]), torch.tensor([7, 0, 0, 9, 1])):
        seen = code.within.add(zeros, replies[:, None])
        assert len(set(map(tuple, seen.T.tolist()))) == 11**4
        sums = code.within.sum(code.open(seen, range(5), product=True), 0)
        assert len(torch.unique(sums)) == 1


# Table of section 3: replies needed, dropouts tolerated.
TABLE = [
    ((1, 1), 3, (7, 17, 47)),
    ((1, 2), 5, (5, 15, 45)),
    ((2, 1), 5, (5, 15, 45)),
    ((2, 2), 7, (3, 13, 43)),
    ((1, 4), 9, (1, 11, 41)),
    ((2, 3), 9, (1, 11, 41)),
    ((4, 1), 9, (1, 11, 41)),
    ((2, 4), 11, (None, 9, 39)),
    ((4, 2), 11, (None, 9, 39)),
]


@pytest.mark.parametrize(("shape", "needed", "dropouts"), TABLE)
def test_table_of_replies_and_dropouts(shape, needed, dropouts):
    slices, colluders = shape
    for clients, most in zip((10, 20, 50), dropouts, strict=True):
        fields = {"clients": clients, "slices": slices, "colluders": colluders}
        if most is None:
            with pytest.raises(ParameterError, match="11 replies are needed"):
                LagrangeCode(**fields)
            continue
        assert LagrangeCode(**fields, dropouts=most).needed() == needed
        with pytest.raises(ParameterError, match="dropouts"):
            LagrangeCode(**fields, dropouts=most + 1)


def test_points_must_be_distinct():
    with pytest.raises(ParameterError, match="distinct"):
        LagrangeCode(clients=3, betas=(1, 2), alphas=(3, 4, 1))
    with pytest.raises(ParameterError, match="distinct"):
        LagrangeCode(clients=10, slices=2, colluders=2, within=PrimeField(13))  # 14 points
    with pytest.raises(ParameterError, match="distinct"):
        lagrange_weights(SMALL, [1, 10008], [0])


# Table of section 3: largest number of fractional bits at B = 1.
@pytest.mark.parametrize(
    ("p", "clients", "dimension", "bits"),
    [
        (2**31 - 1, 10, 32, 8),
        (2**31 - 1, 100, 32, 4),
        (2**61 - 1, 10, 32, 23),
        (2**61 - 1, 100, 32, 19),
        (2**61 - 1, 100, 512, 17),
    ],
)
def test_table_of_largest_bits(p, clients, dimension, bits):
    assert largest_bits(p, clients=clients, dimension=dimension) == bits
    fits = distance_limit(clients=clients, dimension=dimension, magnitude=2**bits)
    require_headroom(p, distances=fits)
    with pytest.raises(ParameterError, match="wrap"):
        require_headroom(
            p,
            distances=distance_limit(
                clients=clients, dimension=dimension, magnitude=2 ** (bits + 1)
            ),
        )


def test_the_headroom_bound_is_attained():
    # All at +B against one at -B: n^2 d^2 comes as near to the limit as (N-1)^2 to N^2.
    n, dimension, magnitude = 10, 4, 2**6
    x = torch.full((n, dimension), magnitude)
    x[0] = -magnitude
    worst = int(((n * x[0] - x.sum(0)) ** 2).sum())
    limit = distance_limit(clients=n, dimension=dimension, magnitude=magnitude)
    assert limit * 0.8 < worst < limit
    assert sum_limit(clients=n, magnitude=magnitude) == 640


def test_fixed_point_errs_by_half_a_unit_and_refuses_what_it_cannot_hold():
    code, field = FixedPoint(bits=8, bound=1.5), PrimeField()
    x = torch.rand(1000, dtype=torch.float64) * 3 - 1.5
    back = code.decode(code.encode(x, field), field, limit=code.magnitude)
    assert float((back - x).abs().max()) <= 2.0**-9
    assert code.magnitude == 384
    for wrong in (1.5001, float("nan"), float("inf")):
        with pytest.raises(ParameterError, match="Clip"):
            code.encode(torch.tensor([0.0, wrong]), field)
    with pytest.raises(ParameterError, match="bits"):
        FixedPoint(bits=41)
    with pytest.raises(ParameterError, match="at most 384"):
        checked(torch.tensor([385]), field, limit=384)


def test_two_primes_of_31_bits_do_what_one_of_61_does():
    primes = (2147483647, 2147483629)
    codes = [LagrangeCode(clients=7, slices=1, colluders=2, within=PrimeField(p)) for p in primes]
    value_ = -(2**29)
    opened = []
    for code in codes:
        secret = code.within.from_signed(torch.tensor([[value_]]))
        shares = code.share(secret, uniform(SystemSource(), code.within, 2, 1))
        opened.append(int(code.open(code.within.mul(shares, shares), range(7), product=True)))
    assert crt_signed(*opened, primes) == 2**58
    assert crt_signed(*(-(2**60) % p for p in primes), primes) == -(2**60)


def test_wrong_shares_are_detected_by_one_spare_and_named_by_two():
    code = LagrangeCode(clients=12, slices=2, colluders=2)
    shares = code.share(torch.randint(0, M61, (2, 6)), uniform(SystemSource(), code.within, 2, 6))
    product = code.within.mul(shares, shares)
    assert wrong_senders(code, product, range(12), product=True) == []
    honest = code.open(product, range(12), product=True)
    product[3, 2] = (product[3, 2] + 1) % M61
    product[8] = 0
    with pytest.raises(ParameterError, match="do not lie on one polynomial"):
        code.open(product, range(12), product=True)
    assert wrong_senders(code, product, range(12), product=True) == [3, 8]
    kept = [i for i in range(12) if i not in (3, 8)]
    assert torch.equal(code.open(product[kept], kept, product=True), honest)
    product[9] = 5
    with pytest.raises(ParameterError, match="cannot be named"):
        wrong_senders(code, product, range(12), product=True)
    # Without a spare a wrong share passes: 7 replies determine a polynomial.
    assert not torch.equal(code.open(product[:7], range(7), product=True), honest)
