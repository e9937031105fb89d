"""S1-S13: computations on secret shares. They protect inputs; what is opened is another matter.

Sharing: polynomials of degree slices + colluders - 1 over a prime field; a product doubles it.
Source: Lagrange coded computing, Yu et al., arXiv:1806.00939.
"""

from collections.abc import Iterator
from fractions import Fraction

from ....accountant.digits import at_most
from ..declaration import Declaration, Mpc
from ..findings import Finding, Severity
from .common import finding


def secret_sharing(d: Declaration) -> Iterator[Finding]:
    """All S patterns."""
    if d.mpc is None:
        return
    yield from _openings(d, d.mpc)
    yield from _clusters(d.mpc)
    yield from _field(d.mpc)
    yield from _parties(d.mpc)


def largest_square(mpc: Mpc) -> int:
    """Largest n_s^2 d(i, s)^2 in units of 2^(-2 fraction_bits), a cluster of all clients.

    >>> from ..declaration import Mpc
    >>> largest_square(Mpc(clients=10, slices=2, colluders=2, dropouts=0, prime=2**31 - 1,
    ...     fraction_bits=16, coordinate_bound=1.0, dimension=32))
    54975581388800
    """
    scaled = round(Fraction(mpc.coordinate_bound) * (1 << mpc.fraction_bits))
    return 4 * mpc.dimension * mpc.clients * mpc.clients * scaled * scaled


def replies_for_product(mpc: Mpc) -> int:
    """Replies that determine a product of two shared polynomials."""
    return 2 * (mpc.slices + mpc.colluders - 1) + 1


def probably_prime(value: int) -> bool:
    """Miller and Rabin to the first 13 primes: no composite below 3.3e24 passes.

    >>> probably_prime(2**61 - 1), probably_prime(2**61), probably_prime(3215031751)
    (True, False, False)
    """
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
    if value < 2 or any(value % p == 0 for p in bases):
        return value in bases
    odd, twos = value - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        x = pow(base, odd, value)
        if x in (1, value - 1):
            continue
        if not any((x := x * x % value) == value - 1 for _ in range(twos - 1)):
            return False
    return True


def decoded(value: int, prime: int) -> int:
    """What a decoder reads where `value` was meant: the residue nearest to zero."""
    residue = value % prime
    return residue - prime if residue > prime // 2 else residue


def _openings(d: Declaration, mpc: Mpc) -> Iterator[Finding]:
    claimed = d.claim.kind == "dp"
    for opened in mpc.opened:
        where = f"mpc.opened {opened.value}"
        if opened.protected or opened.kind == "schedule":
            continue
        listed = opened.value in d.claim.unprotected
        severity: Severity = "error" if claimed and not listed else "info" if listed else "warning"
        code = "S11" if opened.kind == "served" else "S1"
        yield finding(
            code,
            severity,
            where,
            f"{opened.value} is opened to {_reader(opened.to)} and no guarantee bounds what it "
            "says about a client" + ("; listed as unprotected" if listed else ""),
            "add noise to it under a client-level account, or list it in claim.unprotected",
            refs=opened.refs,
        )
        if opened.kind == "distance" and not mpc.zero_sharing:
            yield finding(
                "S13",
                "error",
                where,
                "the whole product polynomial is opened: it shows each slice's distance and "
                "products of slices with masks, not only the sum",
                "add a random sharing of zero (values that sum to zero) before opening",
                refs=opened.refs,
            )
        if opened.kind == "distance" and opened.to != "client":
            slices = mpc.slices if opened.per_slice and not mpc.zero_sharing else 1
            needed = mpc.dimension // slices + 1
            enough = opened.per_client >= needed
            yield finding(
                "S2",
                "error" if enough else "warning",
                where,
                f"{opened.per_client} distances per client to known points are opened to "
                f"{_reader(opened.to)}; {needed} determine {mpc.dimension} coordinates"
                + (f" cut in {slices} slices" if slices > 1 else ""),
                "send each distance to its own client only, or open noisy centres instead",
                refs=opened.refs,
            )
        if opened.kind == "assignment" and opened.to != "client":
            yield finding(
                "S3",
                "error",
                where,
                f"assignments are opened to {_reader(opened.to)}: they show which clients are "
                "alike, for instance their domain",
                "let each client compute its own assignment",
                refs=opened.refs,
            )
    if mpc.compared_with_dp:
        yield finding(
            "S12",
            "warning",
            "mpc",
            "secret sharing protects inputs against the aggregator, differential privacy protects "
            "outputs against any reader: they are not points of one trade-off",
            "report confidentiality in transit, membership and theft apart",
        )


def _reader(to: str) -> str:
    return {"all": "everyone", "client": "its own client"}.get(to, f"the {to}")


def _clusters(mpc: Mpc) -> Iterator[Finding]:
    if mpc.min_cluster < 2:
        yield finding(
            "S3",
            "error",
            "mpc.min_cluster",
            "a cluster may hold one client, whose 'average' is its own input",
            f"dissolve clusters below {max(3, mpc.colluders + 2)} before anything is opened",
        )
    if mpc.min_cluster < mpc.colluders + 2:
        yield finding(
            "S4",
            "error",
            "mpc.min_cluster",
            f"clusters of {max(2, mpc.min_cluster)} are opened to their members although "
            f"{mpc.colluders} may collude: all but one member subtract their own inputs",
            f"set min_cluster to colluders + 2 = {mpc.colluders + 2} or more",
        )
    sums = [o for o in mpc.opened if o.kind == "aggregate" and not o.protected]
    if mpc.membership_changes and sums:
        known = any(o.kind == "assignment" and o.to != "client" for o in mpc.opened)
        yield finding(
            "S5",
            "error" if known else "info",
            "mpc.membership_changes",
            "sums over clusters that differ by one member show that member"
            + ("; the assignments that tell which are opened too" if known else ""),
            "open noised sums, or keep the membership fixed and secret",
        )


def _field(mpc: Mpc) -> Iterator[Finding]:
    if mpc.basis != "public":
        yield finding(
            "S6",
            "warning" if mpc.basis == "not stated" else "error",
            "mpc.basis",
            {
                "pooled": "the basis is fitted to pooled private inputs, and shows them",
                "per-client": "each client uses its own basis, so that distances mean nothing",
            }.get(mpc.basis, "where the basis of the dimension reduction comes from is not stated"),
            "use a public seeded projection, or a basis of public data",
        )
    if not probably_prime(mpc.prime):
        yield finding(
            "S7",
            "error",
            "mpc.prime",
            f"{mpc.prime:,} is not prime, so that shares have no inverses and may show the secret",
            "take a prime, such as 2^61 - 1",
        )
    worst = largest_square(mpc)
    if 2 * worst >= mpc.prime:
        yield finding(
            "S7",
            "error",
            "mpc.prime",
            f"a signed distance can reach {worst:,}, which the field of {mpc.prime:,} decodes to "
            f"{decoded(worst, mpc.prime):,} without any error",
            f"take a prime above {2 * worst:,}, or fewer fraction bits",
        )
    elif not mpc.headroom_checked:
        yield finding(
            "S7",
            "warning",
            "mpc.headroom_checked",
            "the field is large enough for the declared bound, but the code does not check it: "
            "an input beyond the bound gives wrong distances silently",
            "refuse to start unless the inequalities hold, and check every decoded value",
        )
    if mpc.bound_source not in ("public", "accounted"):
        yield finding(
            "S7",
            "error" if mpc.bound_source == "private" else "warning",
            "mpc.bound_source",
            f"the coordinate bound comes from: {mpc.bound_source}; a bound taken from the data "
            "shows its maximum",
            "clip to a public bound",
        )
    if mpc.masks in ("reused", "real", "not stated"):
        code = "S7" if mpc.masks == "reused" else "S8"
        yield finding(
            code,
            "warning" if mpc.masks == "not stated" else "error",
            "mpc.masks",
            {
                "reused": "masks are used twice: the difference of two shares is free of them",
                "real": "masks are real numbers: no distribution on the reals hides its argument",
            }.get(mpc.masks, "how masks are drawn is not stated"),
            "draw fresh masks uniformly from the field, from a cryptographic generator",
        )


def _parties(mpc: Mpc) -> Iterator[Finding]:
    needed = replies_for_product(mpc)
    left = mpc.clients - needed
    if left < mpc.dropouts or 2 * mpc.colluders >= mpc.clients:
        why = (
            f"{needed} of {mpc.clients} replies are needed for a product, which leaves {left} "
            f"dropouts, not {mpc.dropouts}"
            if left < mpc.dropouts
            else f"{mpc.colluders} colluders of {mpc.clients} are no minority"
        )
        yield finding(
            "S9",
            "error",
            "mpc",
            why,
            "lower slices, colluders or dropouts, or take more clients",
        )
    if mpc.byzantine != "checked":
        stated = mpc.byzantine == "out-of-model"
        yield finding(
            "S10",
            "info" if stated else "warning",
            "mpc.byzantine",
            "wrong shares and invented clients are out of model"
            if stated
            else "what wrong shares or invented clients do is not stated",
            "check replies with a Reed-Solomon code; two more replies for each wrong share",
        )
    error = 2.0 * mpc.dimension**0.5 * 2.0**-mpc.fraction_bits
    yield finding(
        "S7",
        "info",
        "mpc.fraction_bits",
        f"secure and plaintext clustering can differ only where two distances differ by less than "
        f"{at_most(error, 3)}",
        "nothing; more fraction bits if that gap occurs",
    )
