"""A credible interval of epsilon from the four counts at one threshold; no frequentist guarantee.

FNR ~ Beta(1/2 + FN, 1/2 + TP) and FPR ~ Beta(1/2 + FP, 1/2 + TN), independent. R(epsilon) is the
set of rates that (epsilon, delta)-DP allows, F(epsilon) its posterior probability:

    F(eps) = integral of pdf_FNR(x) (I(y_high(x)) - I(y_low(x))) dx,

I the distribution function of FPR. Source: Zanella-Beguelin et al., arXiv:2206.05199.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaincinv, betaln

from ...accountant import check
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.claim import PrivacyClaim
from ...accountant.errors import ClaimError
from ...attacks.scores import Scores
from .bound import Counts, Guarantee, require_independent
from .clopper_pearson import Floats, above, risk

_NODES = 48
_TAIL = 1e-13  # posterior mass of FNR that is left out on either side


@dataclass(frozen=True, kw_only=True)
class CredibleInterval:
    """What the posterior says about the epsilon that the attack shows.

    Attributes:
        method: "bayesian".
        guarantee: "Bayesian": a statement about the posterior, not about repeated audits.
        confidence: posterior mass of the interval.
        adjacency: how the two worlds of the trials differ.
        unit: whose data differs.
        delta: where the epsilons are stated.
        epsilon_lower: posterior quantile (1 - confidence)/2; nats.
        epsilon_upper: posterior quantile (1 + confidence)/2; nats, of this attack only.
        counts: outcomes at the threshold.
        threshold_from: where the threshold came from, in words.
    """

    method: str
    guarantee: Guarantee
    confidence: float
    adjacency: Adjacency
    unit: Unit
    delta: float
    epsilon_lower: float
    epsilon_upper: float
    counts: Counts
    threshold_from: str

    def refutes(self, claim: PrivacyClaim) -> bool:
        """Raise: a posterior does not refute anything."""
        raise ClaimError(
            f'a Bayesian interval cannot refute the claim "{claim.text()}": its error rate over '
            'repeated audits is not known.\n  Use method "clopper_pearson" at this threshold.'
        )


def posterior_mass(epsilon: float, counts: Counts, delta: float) -> float:
    """F(epsilon): posterior probability that the rates are allowed by (epsilon, delta)-DP.

    One-dimensional Gauss-Legendre between the kinks of the region and the quantiles of the
    posterior; relative error about 1e-10.
    """
    a, b = 0.5 + counts.fn, 0.5 + counts.tp
    c, d = 0.5 + counts.fp, 0.5 + counts.tn
    grown = math.exp(min(epsilon, 700.0))

    def other(x: Floats) -> tuple[Floats, Floats]:
        low = np.maximum(1.0 - delta - x * grown, (1.0 - delta - x) / grown)
        high = np.minimum(1.0 + (delta - x) / grown, delta + (1.0 - x) * grown)
        return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)

    ends = [float(betaincinv(a, b, _TAIL)), float(1.0 - betaincinv(b, a, _TAIL))]
    marks = [float(betaincinv(a, b, p)) for p in (1e-6, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)]
    marks.append(float(1.0 - betaincinv(b, a, 1e-6)))
    # where a boundary leaves [0, 1] or two boundaries cross, and where FPR's quantiles lie on it
    marks += [(1.0 - delta) / grown, 1.0 - delta, delta, 1.0 - (1.0 - delta) / grown]
    marks += [(1.0 - delta) / (1.0 + grown), 1.0 - (1.0 - delta) / (1.0 + grown)]
    levels = betaincinv(c, d, np.array([1e-9, 1e-4, 0.05, 0.3, 0.5, 0.7, 0.95, 1.0 - 1e-4]))
    for y in levels.tolist():
        marks += [(1.0 - delta - y) / grown, 1.0 - delta - grown * y]
        marks += [delta - (y - 1.0) * grown, 1.0 - (y - delta) / grown]
    cuts = np.unique(np.clip([*ends, *marks], ends[0], ends[1]))
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    left, right = cuts[:-1, None], cuts[1:, None]
    # x = left + (right - left) sin^2: takes the square-root ends of the densities
    angle = 0.25 * math.pi * (nodes + 1.0)
    x = np.clip(left + (right - left) * np.sin(angle) ** 2, 1e-300, 1.0 - 1e-16)
    jacobian = (right - left) * np.sin(2.0 * angle) * 0.25 * math.pi * weights
    density = np.exp((a - 1.0) * np.log(x) + (b - 1.0) * np.log1p(-x) - betaln(a, b))
    low, high = other(x)
    inside = np.maximum(0.0, betainc(c, d, high) - betainc(c, d, low))
    return float(min(1.0, (jacobian * density * inside).sum()))


def credible_epsilon(counts: Counts, *, delta: float, confidence: float) -> tuple[float, float]:
    """The two posterior quantiles of epsilon; 0 where F(0) exceeds the level.

    Args:
        counts: at a threshold that was fixed beforehand.
        delta: in [0, 1).
        confidence: in (0, 1).

    Raises:
        ParameterError: a number outside its range.

    >>> counts = Counts(tp=300, fn=200, fp=20, tn=480)
    >>> [round(e, 5) for e in credible_epsilon(counts, delta=1e-5, confidence=0.9)]
    [2.35746, 3.08676]
    """
    from scipy.optimize import brentq

    check.probability(delta=delta)
    alpha = risk(confidence)

    def quantile(level: float) -> float:
        def excess(epsilon: float) -> float:
            return posterior_mass(epsilon, counts, delta) - level

        if excess(0.0) >= 0.0:
            return 0.0
        high = 1.0
        while excess(high) < 0.0:
            if high > 500.0:
                return math.inf
            high *= 2.0
        return float(brentq(excess, 0.0, high, xtol=1e-10))

    return quantile(alpha / 2.0), quantile(1.0 - alpha / 2.0)


def bayesian_interval(
    scores: Scores, *, threshold: float, confidence: float, delta: float
) -> CredibleInterval:
    """The credible interval at one threshold that was fixed before the scores were seen.

    Source: Zanella-Beguelin et al., arXiv:2206.05199.

    Raises:
        DesignError: the trials are not independent runs.
    """
    require_independent(scores, "bayesian")
    cut = np.array([threshold], dtype=np.float64)
    tp, fp = int(above(scores.values_in, cut)[0]), int(above(scores.values_out, cut)[0])
    counts = Counts(tp=tp, fn=scores.values_in.size - tp, fp=fp, tn=scores.values_out.size - fp)
    low, high = credible_epsilon(counts, delta=delta, confidence=confidence)
    return CredibleInterval(
        method="bayesian",
        guarantee="Bayesian",
        confidence=confidence,
        adjacency=scores.adjacency,
        unit=scores.unit,
        delta=delta,
        epsilon_lower=low,
        epsilon_upper=high,
        counts=counts,
        threshold_from=f"fixed beforehand at {threshold!r}",
    )
