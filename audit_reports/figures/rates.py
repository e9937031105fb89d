"""Rates of attacks: counted, certified, allowed by the claim, and proven."""

import math

import numpy as np

from ...accountant import gaussian
from ...accountant.claim import PrivacyClaim
from ..estimators.bound import EmpiricalBound
from ..estimators.clopper_pearson import Floats, upper_limit
from ..estimators.guess_bound import GuessBound
from ..estimators.tradeoff import TradeOff
from ..render.reading import proven_bound
from ..results import MechanismResult

FEWEST = 10  # false positives that a point of the raw ROC needs: fewer are noise


def certified_curve(bound: EmpiricalBound | GuessBound) -> tuple[Floats, Floats]:
    """(FPR upper limits, TPR lower limits): what the trials certify, all thresholds together.

    Only the band's limits hold at all thresholds at once; other methods certify one point.
    """
    if isinstance(bound, GuessBound):  # right guesses say nothing about the two rates
        return np.empty(0), np.empty(0)
    if bound.method != "band" or not bound.roc:
        return np.array([bound.fpr_upper]), np.array([1.0 - bound.fnr_upper])
    counts = np.asarray(bound.roc, dtype=np.int64)
    fpr = upper_limit(counts[:, 0], bound.n_out, bound.rate_level)
    tpr = 1.0 - upper_limit(bound.n_in - counts[:, 1], bound.n_in, bound.rate_level)
    order = np.argsort(fpr, kind="stable")
    return fpr[order], np.maximum.accumulate(tpr[order])


def raw_curve(bound: EmpiricalBound | GuessBound) -> tuple[Floats, Floats]:
    """(FPR, TPR) as counted, only where at least 10 false positives carry the point."""
    if isinstance(bound, GuessBound):
        return np.empty(0), np.empty(0)
    points = [(fp, tp) for fp, tp in bound.roc if fp >= FEWEST and tp > 0]
    counts = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return counts[:, 0] / bound.n_out, counts[:, 1] / bound.n_in


def raw_tpr(bound: EmpiricalBound, fpr: float) -> float | None:
    """TPR as counted at the last recorded point up to `fpr`; None where counts cannot carry it."""
    if fpr * bound.n_out < FEWEST:
        return None
    hits = [tp for fp, tp in bound.roc if fp <= fpr * bound.n_out]
    return max(hits) / bound.n_in if hits else None


def allowed_tpr(claim: PrivacyClaim, fpr: float) -> float:
    """Largest TPR that the claim allows at `fpr`; rounded in favour of the claim."""
    if claim.is_curve:
        return gaussian.tpr_interval(fpr, mu=claim.gaussian_mu().upper)[1]
    if claim.epsilon is None or claim.delta is None:
        return float(TradeOff.of_claim(claim).tpr(fpr)[0])
    return point_tpr(claim.epsilon, claim.delta, fpr)


def proven_tpr(mechanism: MechanismResult, fpr: Floats) -> Floats:
    """Largest TPR of any attack at each of `fpr`, as proven; rounded up."""
    bound = proven_bound(mechanism)
    if math.isinf(bound.mu.upper):
        return np.ones(len(fpr))
    if bound.method == "gaussian":
        return np.array([bound.tpr(float(x)).upper for x in fpr])
    return TradeOff.of(bound).tpr(fpr)


def point_tpr(epsilon: float, delta: float, fpr: float) -> float:
    """Largest TPR of any attack on an (epsilon, delta)-DP mechanism at `fpr`."""
    high = math.exp(min(epsilon, 700.0))
    return min(1.0, high * fpr + delta, 1.0 - max(0.0, 1.0 - delta - fpr) / high)
