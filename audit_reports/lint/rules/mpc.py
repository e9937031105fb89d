"""S3-S10: computations on secret shares. They protect inputs; `openings` are another matter.

Sharing: polynomials of degree slices + colluders - 1 over a prime field; a product doubles it.
Source: Lagrange coded computing, Yu et al., arXiv:1806.00939.
"""

from collections.abc import Iterator
from fractions import Fraction

from ....accountant.digits import at_most
from ..declaration import Declaration
from ..findings import Finding
from ..sharing import Mpc
from .common import finding


def secret_sharing(d: Declaration) -> Iterator[Finding]:
    """S3-S10 and S12: clusters, field, parties."""
    if d.mpc is None:
        return
    yield from _compared(d.mpc)
    yield from _clusters(d.mpc)
    yield from _field(d.mpc)
    yield from _parties(d.mpc)


def largest_square(mpc: Mpc) -> int:
    """Largest n_s^2 d(i, s)^2 in units of 2^(-2 fraction_bits), a cluster of all clients.

    >>> from privassay.audit_reports.lint.sharing import Mpc
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


def _compared(mpc: Mpc) -> Iterator[Finding]:
    if mpc.compared_with_dp:
        yield finding(
            "S12",
            "warning",
            "mpc",
            "secret sharing protects inputs against the aggregator, differential privacy protects "
            "outputs against any reader: they are not points of one trade-off",
            "report confidentiality in transit, membership and theft apart",
        )


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
    sums = [o for o in mpc.opened if o.kind == "aggregate" and o.protected_by is None]
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
    if mpc.bound_source not in ("public", "noised"):
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
    spare = left - mpc.dropouts
    if mpc.byzantine == "checked" and spare < 2 * mpc.colluders:
        yield finding(
            "S10",
            "warning",
            "mpc.byzantine",
            f"replies are said to be checked, but {max(0, spare)} are left over, and "
            f"{mpc.colluders} wrong shares need {2 * mpc.colluders}",
            "take more clients, or fewer slices, colluders or dropouts",
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
