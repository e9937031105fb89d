"""D6: a noise formula used outside the range in which it is proven, or looser than it need be."""

from collections.abc import Iterator

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from ....accountant.account import account
from ....accountant.digits import at_least, at_most
from .. import exact, formulas
from ..declaration import Declaration
from ..findings import Exact, Finding, Severity
from ..release import Release
from .common import finding

_RANGE = {
    "classical": "sqrt(2 ln(1.25/delta))/epsilon is proven for epsilon at most 1",
    "moments": "sqrt(T ln(1/delta))/epsilon is the asymptotic form of the moments accountant "
    "without its constant; it is proven for small sampling rates only, and here every record "
    "enters every release",
    "rdp": "the classic conversion from Renyi DP is valid and not tight",
}


def exactness(d: Declaration) -> Iterator[Finding]:
    """The epsilon of each formula's own noise, for the releases that it was computed for."""
    seen = set()
    for release in d.release:
        key = (release.formula, release.formula_epsilon, release.formula_releases)
        if release.kind != "gaussian" or release.formula not in _RANGE or key in seen:
            continue
        seen.add(key)
        number, target = _alone(d, release), float(release.formula_epsilon or 0.0)
        sigma = formulas.sigma(release, exact.delta(d))
        best = formulas.exact(target, exact.delta(d), release.formula_releases)
        severity: Severity = "info"
        if number.epsilon.lower > target:
            severity = "error"
            text = (
                f"its exact epsilon is {at_least(number.epsilon.lower, 4)}, above the "
                f"{target:g} that it was computed for"
            )
        else:
            severity = "info" if _in_range(release) else "warning"
            text = (
                f"its exact epsilon is {at_most(number.epsilon.upper, 4)} for {target:g}; "
                f"{at_least(sigma / best, 3)} times less noise would do"
            )
        yield finding(
            "D6",
            severity,
            f"release {release.name}",
            f"sigma {at_least(sigma, 6)} comes from a formula: {_RANGE[release.formula]}; {text}",
            f"calibrate exactly: sigma {at_most(best, 6)} in units of the true sensitivity",
            exact=(number,),
            refs=release.refs,
        )


def _in_range(release: Release) -> bool:
    if release.formula == "classical":
        return float(release.formula_epsilon or 0.0) <= 1.0 and release.formula_releases == 1
    return release.formula == "rdp"


def _alone(d: Declaration, release: Release) -> Exact:
    noise = dpe.GaussianDpEvent(formulas.sigma(release, exact.delta(d)))
    whole = dpe.SelfComposedDpEvent(noise, release.formula_releases)
    bound = account(whole, adjacency="zero-out", unit=exact.unit(d))
    return Exact(
        facts="the formula's noise at the sensitivity and the number of releases it assumes",
        adjacency="any",
        unit=exact.unit(d),
        view=release.views[0],
        delta=exact.delta(d),
        mu_upper=bound.mu.upper,
        epsilon=bound.epsilon(exact.delta(d)),
    )
