"""What a design can find out: the chance that it refutes a claim, before any trial is run.

The truth is taken to be mu-GDP and the attack to be the best there is: scores N(0, 1) without the
record and N(mu, 1) with it. A real attack is weaker, so the numbers are for a good audit.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from ...accountant import check, gaussian
from ...accountant.claim import PrivacyClaim
from ...accountant.errors import ClaimError
from .band import pair_level
from .clopper_pearson import Ints, limit_table, risk
from .estimate import METHODS, Method, claim_delta
from .power_at import power_at, power_at_rates
from .tradeoff import TradeOff

LARGEST_MU = 50.0
_MARGIN = 1e-11  # counts that refute by less than this are taken not to


def power(
    n_in: int,
    n_out: int,
    claim: PrivacyClaim,
    *,
    confidence: float = 0.95,
    method: Method = "band",
    mu: float,
) -> float:
    """Probability that n_in + n_out trials refute `claim` when the truth is mu-GDP.

    For "band" a lower bound: whenever the counts at any of a row of fixed thresholds refute, the
    best of all thresholds does too; the probability of that is summed over exact binomials. For
    "clopper_pearson" and "split" it is the power at the best threshold, which the user, or the
    first half of the trials, has yet to find: about right for "split", not a bound.
    Source: exact; the two counts are independent binomials.

    Args:
        n_in: trials with the record.
        n_out: trials without it.
        claim: what is to be refuted.
        confidence: in (0, 1).
        method: as in `estimate`.
        mu: the truth, >= 0.

    Raises:
        ParameterError: a number outside its range, or an unknown method.

    >>> claim = PrivacyClaim(mu=0.5, adjacency="add-remove", unit="example")
    >>> power(2000, 2000, claim, mu=0.5) < 0.05 < 0.99 < power(2000, 2000, claim, mu=1.0)
    True
    """
    check.non_negative(mu=mu)
    design = _refuting(n_in, n_out, claim, confidence, method)
    with _one_thread():
        return power_at(mu, *design, every=method == "band")


@dataclass(frozen=True, kw_only=True)
class RefutablePower:
    """The smallest truth that a design refutes reliably.

    Attributes:
        mu: refuted with probability >= `probability` if this is the truth; infinite if not even
            mu = 50 is.
        multiple: mu over the claimed mu; for a point claim with delta = 0, which no mu has, the
            multiple of epsilon at which randomised response is refuted; None without either.
        epsilon: of `mu` at delta, rounded up; nats.
        delta: where epsilon is stated.
        probability: of refuting.
        how: "lower bound" or "at the best threshold", see `power`.
    """

    mu: float
    multiple: float | None
    epsilon: float
    delta: float
    probability: float
    how: str


def smallest_refutable(
    n_in: int,
    n_out: int,
    claim: PrivacyClaim,
    *,
    confidence: float = 0.95,
    method: Method = "band",
    probability: float = 0.9,
) -> RefutablePower:
    """The smallest mu that n_in + n_out trials refute with `probability`, by false position.

    Source: `power`. Accurate to a relative 1e-3, on the larger side.

    Raises:
        ParameterError: a number outside its range, or an unknown method.

    >>> claim = PrivacyClaim(mu=0.5, adjacency="add-remove", unit="example")
    >>> found = smallest_refutable(2000, 2000, claim)
    >>> 1.3 < found.multiple < 1.5, found.how
    (True, 'lower bound')
    """
    check.open_probability(probability=probability)
    design = _refuting(n_in, n_out, claim, confidence, method)
    with _one_thread():
        # The best fixed threshold is quick; the row of thresholds then works in a small bracket.
        high = _search(0.0, LARGEST_MU, design, probability, every=False)
        if method == "band" and high < math.inf:
            high = _search(0.7 * high, high, design, probability, every=True)
    claimed, delta = claim_mu(claim), claim_delta(claim)
    return RefutablePower(
        mu=high,
        multiple=high / claimed if claimed > 0.0 else _pure_multiple(claim, design, probability),
        epsilon=math.inf if high == math.inf else gaussian.epsilon_interval(delta, mu=high)[1],
        delta=delta,
        probability=probability,
        how="lower bound" if method == "band" else "at the best threshold",
    )


def _pure_multiple(
    claim: PrivacyClaim, design: tuple[int, int, Ints], probability: float
) -> float | None:
    """Of a claim of delta = 0: the multiple of epsilon at which randomised response is refuted."""
    if claim.epsilon is None or claim.epsilon <= 0.0 or claim.delta != 0.0:
        return None
    n_in, n_out, most = design
    most = most[most >= 0]

    def refuted(multiple: float) -> bool:
        rate = 1.0 / (1.0 + math.exp(min(700.0, multiple * float(claim.epsilon or 0.0))))
        found = power_at_rates(rate, rate, n_in, n_out, most) if most.size else 0.0
        return found >= probability

    low, high = 1.0, 2.0
    while not refuted(high):
        low, high = high, 2.0 * high
        if high * claim.epsilon > 60.0:
            return math.inf
    while high - low > 1e-3 * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if refuted(middle) else (middle, high)
    return high


def in_these_worlds(
    power: RefutablePower, claim: PrivacyClaim, *, proven_mu: float, attainable_mu: float | None
) -> RefutablePower:
    """`power` for the two worlds that were tested, which may be closer than the worst two.

    A mechanism with c times the declared leakage (mu = c * proven_mu) separates these worlds by
    c * attainable_mu, so it is refuted reliably from c = power.mu / attainable_mu on.

    Args:
        power: for worlds as far apart as the mechanism allows.
        claim: what is to be refuted.
        proven_mu: of the mechanism as declared.
        attainable_mu: what separates the tested worlds under the declared noise; None if that is
            unknown, and then nothing is promised (infinite).
    """
    if attainable_mu is None or attainable_mu <= 0.0 or math.isinf(proven_mu):
        factor = math.inf
    else:
        factor = max(1.0, proven_mu / attainable_mu)
    if factor <= 1.0 + 1e-9:  # the worst two worlds, up to rounding
        return power
    mu = power.mu * factor
    epsilon = math.inf if math.isinf(mu) else gaussian.epsilon_interval(power.delta, mu=mu)[1]
    claimed = claim_mu(claim)
    return replace(power, mu=mu, epsilon=epsilon, multiple=mu / claimed if claimed > 0.0 else None)


def _search(
    low: float, high: float, design: tuple[int, int, Ints], probability: float, *, every: bool
) -> float:
    """The smallest mu in low..high whose power reaches `probability`; inf if `high` does not."""

    def excess(mu: float) -> float:
        # On the normal scale power is nearly a straight line in mu.
        found = min(max(power_at(mu, *design, every=every), 1e-12), 1.0 - 1e-12)
        return float(ndtri(found) - ndtri(probability))

    f_high = excess(high)
    if f_high < 0.0:
        return math.inf
    f_low = -8.0  # not worth an evaluation: it only steers
    for turn in range(60):
        if (width := high - low) <= 1e-3 * high:
            break
        middle = 0.5 * (low + high)
        if turn % 3 < 2:
            # The straight line, then a little to the side of it that closes the bracket.
            line = low - f_low * width / (f_high - f_low)
            aside = 4e-4 * high
            middle = line + aside if high - line > 2.0 * aside else line - aside
            middle = min(max(middle, low + 0.02 * width), high - 0.02 * width)
        f_middle = excess(middle)
        if f_middle >= 0.0:
            high, f_high = middle, max(f_middle, 1e-12)
        else:
            low, f_low = middle, f_middle
    return high


def claim_mu(claim: PrivacyClaim) -> float:
    """The mu that multiples of a claim refer to: the largest whose curve meets the claim.

    0 where no Gaussian curve does (a claim of delta = 0).

    Raises:
        ClaimError: the claimed event protects nothing.

    >>> claim = PrivacyClaim(epsilon=1.0, delta=1e-5, adjacency="add-remove", unit="example")
    >>> round(claim_mu(claim), 6)
    0.268051
    """
    if claim.is_curve:
        return claim.gaussian_mu().upper
    if claim.rho is not None:
        return math.sqrt(2.0 * claim.rho)
    curve = TradeOff.of_claim(claim)
    if curve.mu == math.inf:
        raise ClaimError("the claimed event has no privacy guarantee, so the claim claims nothing")
    if curve.mu is not None:
        return curve.mu
    largest = math.inf
    deltas = np.minimum(curve.delta_remove, curve.delta_add)
    for epsilon, delta in zip(curve.epsilon.tolist(), deltas.tolist(), strict=True):
        if delta <= 0.0:
            return 0.0
        if delta < 1.0:
            largest = min(largest, gaussian.mu_interval(epsilon, delta)[1])
    return 0.0 if largest == math.inf else largest


def _one_thread() -> AbstractContextManager[object]:
    """Products this small gain nothing from threads, and lose a factor 8 on a busy machine."""
    try:
        import threadpoolctl  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:  # it comes with scikit-learn, which the core does not need
        return nullcontext()
    limits: AbstractContextManager[object] = threadpoolctl.threadpool_limits(1, "blas")
    return limits


def _refuting(
    n_in: int, n_out: int, claim: PrivacyClaim, confidence: float, method: str
) -> tuple[int, int, Ints]:
    """(n_in, n_out, most): with fp false positives, at most most[fp] misses refute; -1 if none."""
    check.one_of(METHODS, method=method)
    check.count(n_in=n_in, n_out=n_out)
    alpha = risk(confidence)
    if method == "split":  # the bound rests on the second half
        n_in, n_out = n_in - n_in // 2, n_out - n_out // 2
    level = pair_level(n_in, n_out, alpha) if method == "band" else alpha / 2.0
    fnr, fpr = limit_table(n_in, level), limit_table(n_out, level)
    if claim.is_curve:
        # mu_lower > mu0 iff -ndtri(FNR) > mu0 + ndtri(FPR); the left side falls with the misses
        needed = claim.gaussian_mu().upper + ndtri(fpr) + _MARGIN
        most = np.searchsorted(ndtri(fnr), -needed, side="left") - 1
    else:
        allowed = TradeOff.of_claim(claim).fnr(fpr)
        most = np.searchsorted(fnr, allowed * (1.0 - _MARGIN) - 1e-15, side="left") - 1
    return n_in, n_out, np.asarray(most, dtype=np.int64)
