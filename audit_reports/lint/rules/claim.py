"""D1 and V1: is the claim complete, and is it what exact accounting gives?"""

import math
from collections.abc import Iterator
from statistics import NormalDist

from ....accountant.digits import at_least, at_most
from .. import exact
from ..declaration import Declaration
from ..exact import Facts
from ..findings import Exact, Finding
from ..sections import NOT_STATED
from .common import finding, quoted

_LARGE_DELTA = 1e-3
# An attack with this false-positive rate and this share of missed members is as good as perfect.
_FALSE_ALARMS, _FEWEST_MISSED = 1e-3, 1e-6


def complete(d: Declaration) -> Iterator[Finding]:
    """D1: without unit, relation and delta an epsilon means nothing."""
    claim = d.claim
    if claim.kind == "none":
        yield finding(
            "D1",
            "info",
            "claim",
            "no differential privacy is claimed; a line for it in a report reads 'no DP claim'",
            "nothing, unless a guarantee about the outputs is wanted",
            refs=claim.refs,
        )
        if d.mpc is not None:
            yield from _unstated(d, ("trust", "views"))
        return
    missing = []
    if claim.epsilon is None and claim.mu is None:
        missing.append("epsilon (or mu)")
    if claim.delta is None and claim.mu is None:
        missing.append("delta")
    missing += [name for name in ("unit", "adjacency") if getattr(claim, name) is None]
    if missing:
        text = f"the claim does not state {', '.join(missing)}"
        numbers: tuple[Exact, ...] = ()
        if "adjacency" in missing:
            numbers = exact.account_all(
                d, Facts(sensitivity=True), "true sensitivity, the rest as the system accounts it"
            )
            text += "; replacing a record moves a clipped sum twice as far as removing it"
            if len({at_most(e.epsilon.upper, 5) for e in numbers}) > 1:
                text += ", so that the same noise gives two different epsilons"
        yield finding(
            "D1",
            "error",
            "claim",
            text,
            f"state {', '.join(missing)} in [claim]",
            exact=numbers,
            refs=claim.refs,
        )
    if claim.delta is not None and claim.delta > _LARGE_DELTA:
        yield finding(
            "D1",
            "warning",
            "claim.delta",
            f"delta is {claim.delta:g}: a mechanism that publishes each record with that "
            "probability satisfies the claim",
            "claim a delta far below one over the number of records",
            refs=claim.refs,
        )
    yield from _empty(d)
    yield from _unstated(d, ("trust", "views", "covers"))


def _empty(d: Declaration) -> Iterator[Finding]:
    """D1: from some epsilon on the best attack that the claim allows is as good as perfect.

    At false-positive rate a an (epsilon, delta)-DP claim allows false-negative rates down to
    max(1 - delta - e^epsilon a, e^-epsilon (1 - delta - a)) (Kairouz, Oh & Viswanath,
    arXiv:1311.0776, Theorem 2.1), and mu-GDP down to Phi(Phi^-1(1 - a) - mu). The second term of
    the maximum decides here.
    """
    claim, limit, allowed = d.claim, _FEWEST_MISSED, []
    if claim.epsilon is not None:
        from_epsilon = math.log((1.0 - exact.delta(d) - _FALSE_ALARMS) / limit)
        allowed.append(("epsilon", claim.epsilon, from_epsilon))
    if claim.mu is not None:
        normal = NormalDist()
        from_mu = normal.inv_cdf(1.0 - _FALSE_ALARMS) - normal.inv_cdf(limit)
        allowed.append(("mu", claim.mu, from_mu))
    if allowed and all(value >= least for _, value, least in allowed):
        shown = " and ".join(f"{name} {value:g}" for name, value, _ in allowed)
        least = " and ".join(f"{name} {at_least(value, 3)}" for name, _, value in allowed)
        yield finding(
            "D1",
            "warning",
            "claim",
            f"{shown} says nothing: from {least} on, an attack that wrongly names "
            f"{_FALSE_ALARMS:g} of the non-members may name all members but {_FEWEST_MISSED:g} of "
            "them (TPR 1 at that FPR, to six digits)",
            "claim an epsilon of order 1, or say that there is no guarantee",
            refs=claim.refs,
        )


def _unstated(d: Declaration, names: tuple[str, ...]) -> Iterator[Finding]:
    words = {
        "trust": "trust (who adds the noise, or who sees what)",
        "views": "views (the adversaries that it covers)",
        "covers": "covers",
    }
    soft = [words[name] for name in names if getattr(d.claim, name) in (NOT_STATED, ())]
    if soft:
        yield finding(
            "D1",
            "warning",
            "claim",
            f"the claim does not state {', '.join(soft)}",
            f"state {', '.join(soft)} in [claim]",
            refs=d.claim.refs,
        )


def holds(d: Declaration) -> Iterator[Finding]:
    """V1: the claimed epsilon against everything that is declared, for each covered adversary."""
    limit = exact.claimed_epsilon(d)
    if d.claim.kind == "none" or limit is None:
        return
    found = exact.account_each(d, exact.DECLARED, "all declared facts")
    if any(e.epsilon.upper == math.inf for e in found):
        found = (
            exact.account_each(d, exact.NOISED, "all that is noised; the rest has no bound") + found
        )
    if not found:
        yield finding(
            "V1",
            "warning",
            "claim",
            f"no [[release]] is seen by {quoted(d.claim.views)}: the claim is about nothing",
            "declare what these adversaries see, or name others in claim.views",
        )
        return
    unseen = [v for v in d.claim.views if v not in exact.views(d) and not _less_than_seen(d, v)]
    if unseen:
        yield finding(
            "V1",
            "warning",
            "claim.views",
            f"the claim covers {quoted(unseen)}, but no [[release]] says what is seen there",
            "declare what these adversaries see, or drop them from claim.views",
            refs=d.claim.refs,
        )
    void = [p.name for p in d.parameter if p.source == "private"]
    void += ["rounds or participants"] if d.sampling.schedule == "private" else []
    caution = (
        f".  Even this number is no bound while {quoted(void)} depend on private data (D9, D7)"
        if void
        else ""
    )
    aside = [r.name for r in d.release if r.kind == "none" and r.name in d.claim.unprotected]
    caution += f".  {quoted(aside)} is listed as unprotected and not counted" if aside else ""
    mu = math.inf if d.claim.mu is None else d.claim.mu  # the whole curve, not one point of it
    above = [e for e in found if e.epsilon.upper > limit or e.mu_upper > mu]
    if above:
        count = "is larger than" if any(e.epsilon.lower > limit for e in above) else "may exceed"
        yield finding(
            "V1",
            "error",
            "claim",
            f"with everything that is declared, exact epsilon {count} the claimed "
            f"{at_most(limit, 6)}"
            + ("" if mu == math.inf else f", or mu may exceed the claimed {mu:g}")
            + caution,
            "mend what the other findings name, or claim the exact number",
            exact=found,
        )
    else:
        yield finding(
            "V1",
            "info",
            "claim",
            f"the claimed epsilon {at_most(limit, 6)} holds for what is declared{caution}",
            "nothing" if not void else "account for them",
            exact=found,
        )
    outside = [
        view
        for view in {v for r in d.release for v in r.views}
        if d.claim.views and view not in d.claim.views
    ]
    for view in sorted(outside):
        seen = tuple(
            exact.account_view(d, view, a, exact.DECLARED, "all declared facts")
            for a in exact.adjacencies(d)
        )
        yield finding(
            "V1",
            "info",
            f"view {view}",
            f"the claim is silent on the {view}; this is what holds there",
            "name it in claim.views if it should be covered",
            exact=seen,
        )


def _less_than_seen(d: Declaration, view: str) -> bool:
    """Who queries a model sees a function of what its holder sees."""
    return view == "querier" and "outsider" in {v for r in d.release for v in r.views}
