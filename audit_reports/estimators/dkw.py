"""The Dvoretzky-Kiefer-Wolfowitz band: every threshold at once, one formula, blind at low rates."""

import math

import numpy as np

from ...accountant import check, gaussian
from ...attacks.scores import Scores
from .bound import Counts, EmpiricalBound, require_independent
from .clopper_pearson import distinct_counts, epsilon_from_limits, mu_from_limits, risk, thin


def half_width(n: int, level: float) -> float:
    """How far an empirical distribution function falls short anywhere, but for `level`; one-sided.

    Source: Massart, 1990, doi:10.1214/aop/1176990746 (the constant is 1 for level <= 1/2).

    >>> round(half_width(2000, 0.025), 4)
    0.0304
    """
    check.count(n=n)
    check.open_probability(level=level)
    return math.sqrt(-math.log(min(level, 0.5)) / (2.0 * n)) * (1.0 + 1e-14)


def dkw_bound(scores: Scores, *, confidence: float, delta: float) -> EmpiricalBound:
    """The best mu and epsilon over all thresholds, by a band of constant width.

    Exact, but the band of exact binomials (`band_bound`) is narrower wherever it matters: this one
    never sees a false-positive rate below its half width. `rate_level` is the level of each side.
    Source: Massart, 1990, doi:10.1214/aop/1176990746.

    Args:
        scores: design "many_runs"; ties allowed.
        confidence: in (0, 1).
        delta: in [0, 1), where epsilon is stated.

    Raises:
        DesignError: the trials are not independent runs.
    """
    require_independent(scores, "dkw")
    check.probability(delta=delta)
    level = risk(confidence) / 2.0
    n_in, n_out = scores.values_in.size, scores.values_out.size
    _, tp, fp = distinct_counts(scores.values_in, scores.values_out)
    up = 1.0 + 4e-16
    fpr = np.minimum(1.0, (fp / n_out + half_width(n_out, level)) * up)
    fnr = np.minimum(1.0, ((n_in - tp) / n_in + half_width(n_in, level)) * up)
    mu, epsilon = mu_from_limits(fpr, fnr), epsilon_from_limits(fpr, fnr, delta)
    best_mu, best_epsilon = int(np.argmax(mu)), int(np.argmax(epsilon))
    ends = min(1.0, half_width(n_out, level)), min(1.0, half_width(n_in, level))

    def counts(at: int) -> Counts:
        hits, falses = int(tp[at]), int(fp[at])
        return Counts(tp=hits, fn=n_in - hits, fp=falses, tn=n_out - falses)

    mu_lower = max(0.0, float(mu[best_mu]))
    return EmpiricalBound(
        method="dkw",
        guarantee="exact",
        confidence=confidence,
        adjacency=scores.adjacency,
        unit=scores.unit,
        delta=delta,
        epsilon_lower=max(0.0, float(epsilon[best_epsilon])),
        mu_lower=mu_lower,
        epsilon_lower_gaussian=(
            gaussian.epsilon_interval(delta, mu=mu_lower)[0] if mu_lower > 0.0 else 0.0
        ),
        n_in=n_in,
        n_out=n_out,
        counts_mu=counts(best_mu),
        counts_epsilon=counts(best_epsilon),
        fpr_upper=float(fpr[best_mu]),
        fnr_upper=float(fnr[best_mu]),
        rate_level=level,
        ceiling_mu=max(0.0, float(mu_from_limits(*ends))),
        ceiling_epsilon=max(0.0, float(epsilon_from_limits(*ends, delta))),
        threshold_from=f"best of all {tp.size} distinct scores; the band pays for the choice",
        roc=thin(tp, fp),
    )
