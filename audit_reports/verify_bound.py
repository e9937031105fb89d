"""A measured bound must follow from its counts, and fit its curve."""

from itertools import pairwise

from ..accountant.errors import RecordError
from ..accountant.gaussian import epsilon_interval
from .estimators.band import miss_probability
from .estimators.bound import Counts, EmpiricalBound
from .estimators.clopper_pearson import epsilon_from_limits, mu_from_limits, upper_limit
from .estimators.estimate import METHODS
from .verify_checks import TOLERANCE, near, same


def check_bound(name: str, bound: EmpiricalBound) -> None:
    """The bound must follow from its counts.

    Raises:
        RecordError: something does not fit.
    """
    risk = (1.0 - bound.confidence) / 2.0
    if bound.method not in METHODS:
        raise RecordError(f"{name}: no estimator is called {bound.method!r}")
    same(f"{name}: guarantee", bound.guarantee, "exact")  # of every method that a record holds
    if bound.method == "band":
        sides = {bound.n_in, bound.n_out}
        spent = max(miss_probability(n, bound.rate_level) for n in sides)
    else:
        spent = bound.rate_level
    if spent > risk * (1.0 + TOLERANCE):
        raise RecordError(
            f"{name}: the limits may each miss with probability {risk:g}, but at level "
            f"{bound.rate_level:g} they miss with probability {spent:g}"
        )
    fpr, fnr = _limits(bound, bound.counts_mu)
    near(f"{name}: FPR limit", bound.fpr_upper, fpr)
    near(f"{name}: FNR limit", bound.fnr_upper, fnr)
    near(f"{name}: mu", bound.mu_lower, _mu(fpr, fnr))
    near(f"{name}: epsilon", bound.epsilon_lower, _epsilon(bound, bound.counts_epsilon))
    converted = epsilon_interval(bound.delta, mu=bound.mu_lower)[0]
    near(f"{name}: epsilon by the Gaussian curve", bound.epsilon_lower_gaussian, converted)
    perfect = Counts(tp=bound.n_in, fn=0, fp=0, tn=bound.n_out)
    near(f"{name}: mu without any error", bound.ceiling_mu, _mu(*_limits(bound, perfect)))
    near(f"{name}: epsilon without any error", bound.ceiling_epsilon, _epsilon(bound, perfect))
    _check_curve(name, bound)


def check_auc(name: str, bound: EmpiricalBound, auc: float) -> None:
    """The area must be one that a curve through the recorded points can have.

    Between two points the curve only rises, so the area lies between those of the two staircases.

    Raises:
        RecordError: it does not.
    """
    if not bound.roc or bound.method != "band":  # of other methods the points are of one half
        if not 0.0 <= auc <= 1.0:
            raise RecordError(f"{name}: an area of {auc!r} lies outside [0, 1]")
        return
    steps = list(pairwise([(0, 0), *bound.roc]))
    cells = bound.n_in * bound.n_out
    least = sum((b[0] - a[0]) * a[1] for a, b in steps) / cells
    most = sum((b[0] - a[0]) * b[1] for a, b in steps) / cells
    if not least - TOLERANCE <= auc <= most + TOLERANCE:
        raise RecordError(
            f"{name}: the record says an area of {auc!r} under the curve, but through its points "
            f"it lies in [{least:.6f}, {most:.6f}]"
        )


def _check_curve(name: str, bound: EmpiricalBound) -> None:
    """The thinned curve only rises, ends where all are said to be members, and has the counts."""
    if bound.method != "band":
        return
    if not bound.roc or tuple(bound.roc[-1]) != (bound.n_out, bound.n_in):
        raise RecordError(f"{name}: the recorded curve is missing or does not end at (1, 1)")
    points = sorted({*bound.roc, *((c.fp, c.tp) for c in (bound.counts_mu, bound.counts_epsilon))})
    hits = [tp for _, tp in points]
    if hits != sorted(hits) or list(bound.roc) != sorted(bound.roc):
        raise RecordError(f"{name}: the counts behind the bound are not on the recorded curve")
    # The band takes the best of all thresholds: no recorded one may be better.
    for fp, tp in bound.roc:
        if not (0 <= fp <= bound.n_out and 0 <= tp <= bound.n_in):
            raise RecordError(f"{name}: the recorded curve has more trials than were made")
        counts = Counts(tp=tp, fn=bound.n_in - tp, fp=fp, tn=bound.n_out - fp)
        for what, best, here in (
            ("mu", bound.mu_lower, _mu(*_limits(bound, counts))),
            ("epsilon", bound.epsilon_lower, _epsilon(bound, counts)),
        ):
            if here > best * (1.0 + TOLERANCE) + 1e-12:
                raise RecordError(
                    f"{name}: the record says {what} {best!r}, but recomputing gives {here!r} at "
                    f"{tp} true and {fp} false positives of its own curve"
                )


def _mu(fpr: float, fnr: float) -> float:
    return max(0.0, float(mu_from_limits(fpr, fnr)))


def _epsilon(bound: EmpiricalBound, counts: Counts) -> float:
    return max(0.0, float(epsilon_from_limits(*_limits(bound, counts), bound.delta)))


def _limits(bound: EmpiricalBound, counts: Counts) -> tuple[float, float]:
    return (
        float(upper_limit(counts.fp, bound.n_out, bound.rate_level)),
        float(upper_limit(counts.fn, bound.n_in, bound.rate_level)),
    )
