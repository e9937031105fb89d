"""Reference numbers of SecFPP: headroom, replies, quantisation, and the account of sound_dp."""

import math

from ..lint.declaration import Mpc
from ..lint.rules.mpc import decoded, largest_square, replies_for_product
from .reference import RefTable, composed_mu, epsilon, mu_of, sigma_exact

SMALL, LARGE = 2**31 - 1, 2**61 - 1


def tables() -> tuple[RefTable, ...]:
    """All of them."""
    return (headroom(), replies(), quantisation(), wrap(), accounts(), golden())


def shape(clients: int, slices: int, colluders: int, *, bits: int = 16, size: int = 16) -> Mpc:
    """A computation with these public numbers."""
    return Mpc(
        clients=clients,
        slices=slices,
        colluders=colluders,
        dropouts=0,
        prime=LARGE,
        fraction_bits=bits,
        coordinate_bound=1.0,
        dimension=size,
    )


def headroom() -> RefTable:
    """Largest number of fraction bits for which no signed distance wraps."""
    rows = []
    for name, prime, clients, size in (
        ("2^31 - 1", SMALL, 10, 32),
        ("2^31 - 1", SMALL, 100, 32),
        ("2^61 - 1", LARGE, 10, 32),
        ("2^61 - 1", LARGE, 100, 32),
        ("2^61 - 1", LARGE, 100, 512),
    ):
        fit = [
            bits
            for bits in range(40)
            if prime > 2 * largest_square(shape(clients, 1, 1, bits=bits, size=size))
        ]
        rows.append((name, float(clients), float(size), float(max(fit))))
    return RefTable(
        key="headroom",
        caption="largest number of fraction bits at coordinate bound 1",
        header=("field", "clients", "dimensions", "bits"),
        rows=tuple(rows),
    )


def replies() -> RefTable:
    """Replies that a product of shares needs, and the dropouts left."""
    rows: list[tuple[str | float, ...]] = []
    for pairs in (
        ((1, 1),),
        ((1, 2), (2, 1)),
        ((2, 2),),
        ((1, 4), (2, 3), (4, 1)),
        ((2, 4), (4, 2)),
    ):
        for slices, colluders in pairs:
            needed = replies_for_product(shape(10, slices, colluders))
            left = [float(n - needed) for n in (10, 20, 50)]
            cells = [value if value >= 0.0 else "refuse" for value in left]
            rows.append((f"K {slices}, t {colluders}", float(needed), *cells))
    return RefTable(
        key="replies",
        caption="replies for a product, and dropouts tolerated",
        header=("sharing", "needed", "N 10", "N 20", "N 50"),
        rows=tuple(rows),
    )


def quantisation() -> RefTable:
    """Gaps of distances below which secure and plaintext clustering may differ."""
    rows = [
        (float(size), float(bits), 2.0 * math.sqrt(size) * 2.0**-bits)
        for size, bits in ((16, 16), (16, 8))
    ]
    return RefTable(
        key="quantisation",
        caption="secure and plaintext clustering differ only below this gap of two distances",
        header=("dimensions", "fraction bits", "gap"),
        rows=tuple(rows),
    )


def wrap() -> RefTable:
    """S7: a worst-case distance in a small field."""
    worst = largest_square(shape(10, 1, 1, size=32))
    return RefTable(
        key="wrap",
        caption="2^31 - 1, 10 clients, 32 dimensions, 16 bits, bound 1",
        header=("worst value", "decodes to"),
        rows=((float(worst), float(decoded(worst, SMALL))),),
        reading="Wrong by nine orders of magnitude, and no error is raised.",
    )


def accounts() -> RefTable:
    """sound_dp: mu and the noise multiplier of 20 equal releases."""
    rows = []
    for target in (1.0, 2.0, 8.0):
        sigma = sigma_exact(target, 20)
        rows.append((target, mu_of(target), sigma, epsilon(composed_mu(sigma, 20))))
    return RefTable(
        key="accounts",
        caption="sound_dp, client level, add-remove: 20 equal releases",
        header=("epsilon", "mu", "noise multiplier", "epsilon, accounted"),
        rows=tuple(rows),
    )


def golden() -> RefTable:
    """A computation to follow by hand: prime 10007, 2 slices, 1 colluder, 6 clients."""
    prime, beta, alpha = 10007, (1, 2, 3), (4, 5, 6, 7, 8, 9)
    first = [lagrange(beta, (3, -4, 17), a, prime) for a in alpha]
    second = [lagrange(beta, (1, 2, 29), a, prime) for a in alpha]
    product = [(2 * x - (x + y)) ** 2 % prime for x, y in zip(first, second, strict=True)]
    zero = [lagrange((1, 2, 3, 10, 11), (123, -123, 456, 789, 1011), a, prime) for a in alpha]
    masked = [(h + z) % prime for h, z in zip(product, zero, strict=True)]
    rows: list[tuple[str | float, ...]] = [
        (name, *map(float, values))
        for name, values in (
            ("shares of (3, -4), mask 17", first),
            ("shares of (1, 2), mask 29", second),
            ("replies for client 1 in cluster {1, 2}", product),
            ("sharing of zero", zero),
            ("masked replies", masked),
        )
    ]
    opened = [[lagrange(alpha[:5], h[:5], b, prime) for b in (1, 2)] for h in (product, masked)]
    for name, values in (("opened", opened[0]), ("opened, masked", opened[1])):
        total = sum(values) % prime
        rows.append((name, *map(float, values), float(total), "", "", ""))
    return RefTable(
        key="golden",
        caption="golden vector; the opened rows hold h(1), h(2) and their sum",
        header=("what", "client 1", "2", "3", "4", "5", "6"),
        rows=tuple(rows),
        reading="Without a sharing of zero the server sees 4 and 36, with it only their sum 40.",
    )


def lagrange(points: tuple[int, ...], values: list[int] | tuple[int, ...], at: int, p: int) -> int:
    """The polynomial through (points, values), modulo the prime p, at `at`.

    >>> lagrange((1, 2, 3), (3, -4, 17), 4, 10007)
    66
    """
    total = 0
    for i, (x, value) in enumerate(zip(points, values, strict=True)):
        top, bottom = 1, 1
        for j, other in enumerate(points):
            if j != i:
                top, bottom = top * (at - other) % p, bottom * (x - other) % p
        total += value * top * pow(bottom, -1, p)
    return total % p
