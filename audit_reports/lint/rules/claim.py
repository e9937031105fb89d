"""D1 and V1: is the claim complete, and is it what exact accounting gives?"""

import math
from collections.abc import Iterator

from ....accountant.digits import at_most
from .. import exact
from ..declaration import NOT_STATED, Declaration
from ..findings import Finding
from .common import finding, quoted


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
        return
    missing = []
    if claim.epsilon is None and claim.mu is None:
        missing.append("epsilon (or mu)")
    if claim.delta is None and claim.mu is None:
        missing.append("delta")
    missing += [name for name in ("unit", "adjacency") if getattr(claim, name) is None]
    if missing:
        text = f"the claim does not state {', '.join(missing)}"
        if "adjacency" in missing:
            text += (
                "; replacing a record moves a clipped sum twice as far as removing it, so that the "
                "same noise gives two different epsilons"
            )
        yield finding(
            "D1",
            "error",
            "claim",
            text,
            f"state {', '.join(missing)} in [claim]",
            exact=exact.account_all(
                d, exact.ACCOUNTED, "the releases that the system accounts, as it counts them"
            )
            if "adjacency" in missing
            else (),
            refs=claim.refs,
        )
    soft = []
    if claim.trust == "not stated":
        soft.append("trust (who adds the noise)")
    if not claim.views:
        soft.append("views (the adversaries that it covers)")
    if claim.covers == NOT_STATED:
        soft.append("covers")
    if soft:
        yield finding(
            "D1",
            "warning",
            "claim",
            f"the claim does not state {', '.join(soft)}",
            f"state {', '.join(soft)} in [claim]",
            refs=claim.refs,
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
    void = [p.name for p in d.parameter if p.source == "private"]
    caution = (
        f".  Even this number is no bound while {quoted(void)} depend on private data (D9)"
        if void
        else ""
    )
    above = [e for e in found if e.epsilon.upper > limit]
    if above:
        count = "is larger than" if any(e.epsilon.lower > limit for e in above) else "may exceed"
        yield finding(
            "V1",
            "error",
            "claim",
            f"with everything that is declared, exact epsilon {count} the claimed "
            f"{at_most(limit, 6)}{caution}",
            "mend what the other findings name, or claim the exact number",
            exact=found,
        )
    else:
        yield finding(
            "V1",
            "info",
            "claim",
            f"the claimed epsilon {at_most(limit, 6)} holds for what is declared{caution}",
            "nothing" if not void else "account for these parameters",
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
