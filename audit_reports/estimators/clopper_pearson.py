"""Exact limits of a rate, and what two limits say about epsilon and mu; one fixed threshold.

Every number is rounded to its safe side: limits up, epsilon and mu down.
"""

from decimal import Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincc, betainccinv, ndtri

from ...accountant import check, gaussian
from ...accountant.errors import ParameterError
from ...attacks.scores import Scores
from .bound import Counts, EmpiricalBound, require_independent

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROC_POINTS = 200
_ULP = 2.0**-52


def risk(confidence: float) -> float:
    """1 - confidence in decimal, so that 0.95 gives 0.05 and not 0.050000000000000044.

    >>> risk(0.95)
    0.05
    """
    check.open_probability(confidence=confidence)
    return float(1 - Decimal(repr(float(confidence))))


def upper_limit(k: ArrayLike, n: int, level: float) -> Floats:
    """One-sided upper limit of a rate after `k` of `n`; too low with probability <= `level`.

    The rate at which P(Bin(n, rate) <= k) = level; 1 where k = n. Rounded up.
    Source: Clopper & Pearson, 1934, doi:10.1093/biomet/26.4.404.

    Args:
        k: int[...], each in 0..n.
        n: number of trials, >= 1.
        level: in (0, 1).

    Raises:
        ParameterError: a number outside its range.

    >>> upper_limit([0, 10], 10, 0.05).round(6)
    array([0.258866, 1.      ])
    """
    hits = _hits(k, n)
    check.open_probability(level=level)
    inside = np.minimum(hits, n - 1)  # keeps the beta parameters positive where k = n
    limit = betainccinv(inside + 1.0, n - inside, level)
    # The inverse may be off in its last digits: go up until the forward function agrees.
    step = 1e-13
    low = np.ones(hits.shape, dtype=bool)
    while low.any() and step < 1.0:
        limit = np.where(low, np.minimum(1.0, limit * (1.0 + step)), limit)
        low = (betaincc(inside + 1.0, n - inside, limit) > level) & (limit < 1.0)
        step *= 4.0
    return np.where((hits == n) | low, 1.0, limit)


def lower_limit(k: ArrayLike, n: int, level: float) -> Floats:
    """One-sided lower limit of a rate after `k` of `n`; too high with probability <= `level`.

    The mirror image of `upper_limit`; 0 where k = 0. Rounded down.

    >>> lower_limit([0, 10], 10, 0.05).round(6)
    array([0.      , 0.741134])
    """
    hits = _hits(k, n)
    return np.maximum(0.0, np.nextafter(1.0 - upper_limit(n - hits, n, level), -1.0))


def _hits(k: ArrayLike, n: int) -> Ints:
    check.count(n=n)
    hits = np.asarray(k)
    if not np.issubdtype(hits.dtype, np.integer) or np.any(hits < 0) or np.any(hits > n):
        raise ParameterError(f"k must be whole numbers in 0..{n}, but is {k!r}")
    return hits.astype(np.int64)


@lru_cache(maxsize=16)
def limit_table(n: int, level: float) -> Floats:
    """`upper_limit` for k = 0..n, float[n + 1], read-only; kept, because audits repeat n."""
    table = upper_limit(np.arange(n + 1), n, level)
    # Larger counts never have smaller limits; the running maximum undoes last-digit noise.
    table = np.maximum.accumulate(table)
    table.flags.writeable = False
    return table


def epsilon_from_limits(fpr_upper: ArrayLike, fnr_upper: ArrayLike, delta: float) -> Floats:
    """Smallest epsilon that an (epsilon, delta)-DP mechanism needs to have such error rates.

    The better of both directions: ln((1 - FNR - delta)/FPR) and ln((1 - FPR - delta)/FNR). Not
    clipped at 0, so that thresholds can be ranked. Rounded down.
    Source: Kairouz, Oh & Viswanath, arXiv:1311.0776, Theorem 2.1.

    >>> float(epsilon_from_limits(0.1, 0.5, 0.0).round(6))
    1.609438
    """
    fpr, fnr = np.asarray(fpr_upper, dtype=np.float64), np.asarray(fnr_upper, dtype=np.float64)

    def one_way(miss: Floats, alarm: Floats) -> Floats:
        # 1 - miss - delta cancels: what it may lose in absolute terms is taken off first.
        gain = np.maximum(1.0 - miss - delta - 4.0 * _ULP, 1e-300)
        value = np.log(gain / alarm)
        return np.asarray(value - 8.0 * _ULP * (1.0 + np.abs(value)))

    return np.maximum(one_way(fnr, fpr), one_way(fpr, fnr))


def mu_from_limits(fpr_upper: ArrayLike, fnr_upper: ArrayLike) -> Floats:
    """Smallest mu that a mu-GDP mechanism needs to have such error rates.

    The mu at which the curve Phi(Phi^-1(1 - FPR) - mu) meets the point; -inf where a limit is 1.
    Not clipped at 0, so that thresholds can be ranked. Rounded down.
    Source: Dong, Roth & Su, arXiv:1905.02383, Definition 2.6; Nasr et al., arXiv:2302.07956.

    >>> float(mu_from_limits(0.1, 0.5).round(6))
    1.281552
    """
    # -Phi^-1(FPR) and not Phi^-1(1 - FPR): the latter loses all digits at small rates.
    a, b = -ndtri(np.asarray(fpr_upper, dtype=float)), -ndtri(np.asarray(fnr_upper, dtype=float))
    return np.asarray(a + b - 1e-13 * (np.abs(a) + np.abs(b)))


def above(values: Floats, thresholds: Floats) -> Ints:
    """How many of `values` are >= each of `thresholds`, int[len(thresholds)]."""
    ordered = np.sort(values)
    return (ordered.size - np.searchsorted(ordered, thresholds, side="left")).astype(np.int64)


def distinct_counts(scores_in: Floats, scores_out: Floats) -> tuple[Floats, Ints, Ints]:
    """(thresholds, tp, fp) at every distinct score, highest threshold first.

    Only distinct values are thresholds: between tied scores there is no rule.
    """
    thresholds = np.unique(np.concatenate((scores_in, scores_out)))[::-1]
    return thresholds, above(scores_in, thresholds), above(scores_out, thresholds)


def thin(tp: Ints, fp: Ints) -> tuple[tuple[int, int], ...]:
    """At most 200 of the (fp, tp) points, in order, denser towards low fp."""
    size = tp.size
    index = np.arange(size)
    if size > ROC_POINTS:
        dense = np.geomspace(1.0, size, ROC_POINTS // 2) - 1.0
        even = np.linspace(0.0, size - 1.0, ROC_POINTS // 2)
        index = np.unique(np.rint(np.concatenate((dense, even))).astype(np.int64))
    return tuple(zip(fp[index].tolist(), tp[index].tolist(), strict=True))


def bound_from_counts(
    at_mu: tuple[int, int],
    at_epsilon: tuple[int, int],
    *,
    scores: Scores,
    n_in: int,
    n_out: int,
    level: float,
    confidence: float,
    delta: float,
    method: str,
    threshold_from: str,
    roc: tuple[tuple[int, int], ...],
) -> EmpiricalBound:
    """The bound from (tp, fp) at the two thresholds, each rate limited at error `level`.

    Who calls it answers for `level`: the limits used must hold together with `confidence`.
    """
    fnr, fpr = limit_table(n_in, level), limit_table(n_out, level)

    def rates(tp: int, fp: int) -> tuple[float, float]:
        return float(fpr[fp]), float(fnr[n_in - tp])

    def counts(tp: int, fp: int) -> Counts:
        return Counts(tp=tp, fn=n_in - tp, fp=fp, tn=n_out - fp)

    # max(0.0, x) and not np.maximum: -inf and tiny negatives both become the plain 0.0
    mu = max(0.0, float(mu_from_limits(*rates(*at_mu))))
    return EmpiricalBound(
        method=method,
        guarantee="exact",
        confidence=confidence,
        adjacency=scores.adjacency,
        unit=scores.unit,
        delta=delta,
        epsilon_lower=max(0.0, float(epsilon_from_limits(*rates(*at_epsilon), delta))),
        mu_lower=mu,
        epsilon_lower_gaussian=gaussian.epsilon_interval(delta, mu=mu)[0] if mu > 0.0 else 0.0,
        n_in=n_in,
        n_out=n_out,
        counts_mu=counts(*at_mu),
        counts_epsilon=counts(*at_epsilon),
        fpr_upper=rates(*at_mu)[0],
        fnr_upper=rates(*at_mu)[1],
        rate_level=level,
        ceiling_mu=max(0.0, float(mu_from_limits(*rates(n_in, 0)))),
        ceiling_epsilon=max(0.0, float(epsilon_from_limits(*rates(n_in, 0), delta))),
        threshold_from=threshold_from,
        roc=roc,
    )


def fixed_threshold(
    scores: Scores, *, threshold: float, confidence: float, delta: float
) -> EmpiricalBound:
    """The bound at one threshold that was fixed before the scores were seen.

    Exact: both limits hold together with probability >= confidence, by the union bound over the
    two rates. A threshold that was picked on these scores makes the bound wrong far too often;
    use the band or the split for that.
    Source: Nasr et al., arXiv:2101.04535, with the level halved per rate.

    Args:
        scores: design "many_runs".
        threshold: "score >= threshold" says member; finite.
        confidence: in (0, 1).
        delta: in [0, 1), where epsilon is stated.

    Raises:
        DesignError: the trials are not independent runs.

    >>> scores = Scores(values_in=np.arange(400) % 20 + 8.0, values_out=np.arange(400) % 20,
    ...                 design="many_runs", adversary="server", attack="none",
    ...                 adjacency="add-remove")
    >>> found = fixed_threshold(scores, threshold=14.0, confidence=0.95, delta=1e-5)
    >>> print(f"{found.mu_lower:.4f} {found.epsilon_lower:.4f}")
    0.7840 0.6299
    """
    require_independent(scores, "clopper_pearson")
    if not np.isfinite(threshold):
        raise ParameterError(f"threshold must be a finite number, but is {threshold!r}")
    cut = np.array([threshold], dtype=np.float64)
    found = (int(above(scores.values_in, cut)[0]), int(above(scores.values_out, cut)[0]))
    _, tp, fp = distinct_counts(scores.values_in, scores.values_out)
    return bound_from_counts(
        found,
        found,
        scores=scores,
        n_in=scores.values_in.size,
        n_out=scores.values_out.size,
        level=risk(confidence) / 2.0,
        confidence=confidence,
        delta=delta,
        method="clopper_pearson",
        threshold_from=f"fixed beforehand at {threshold!r}",
        roc=thin(tp, fp),
    )
