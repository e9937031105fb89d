"""D8, D9 and D10: private data that reaches the outside, or the mechanism, without noise."""

import math
from collections.abc import Iterator

from ....accountant.bounds import Interval
from ....accountant.pairwise import GaussianPair, epsilon_lower
from .. import exact
from ..declaration import Declaration, Parameter
from ..exact import Facts
from ..findings import Exact, Finding
from .common import finding, quoted


def unnoised(d: Declaration) -> Iterator[Finding]:
    """D8: what leaves without noise, and who sees it."""
    for release in d.release:
        if release.kind != "none" or release.public_content:
            continue
        inside = [v for v in release.views if not d.claim.views or v in d.claim.views]
        listed = release.name in d.claim.unprotected
        if listed:
            severity = "info"
        else:
            severity = "error" if inside else "warning"
        text = f"{release.name} reaches {quoted(release.views)} without noise"
        if listed:
            text += "; the claim lists it as unprotected"
        elif not inside:
            text += ": outside the claim, and no bound exists for that view"
        yield finding(
            "D8",
            severity,  # type: ignore[arg-type]
            f"release {release.name}",
            text + (f". {release.note}" if release.note else ""),
            "noise it, compute it from noised values only, or list it in claim.unprotected",
            exact=tuple(
                exact.account_view(d, view, a, exact.DECLARED, "all declared facts")
                for view in release.views
                for a in exact.adjacencies(d)[:1]
            )
            if not listed
            else (),
            refs=release.refs,
        )


def parameters(d: Declaration) -> Iterator[Finding]:
    """D9: groups, counts, clip bounds, weights and divisors must be public or paid for."""
    for parameter in d.parameter:
        if parameter.source in ("public", "noised", "accounted"):
            continue
        stated = parameter.source == "private"
        note = f". {parameter.note}" if parameter.note else ""
        yield finding(
            "D9",
            "error" if stated else "warning",
            f"parameter {parameter.name}",
            (
                f"{parameter.name} depends on private records and no release accounts for it"
                if stated
                else f"where {parameter.name} comes from is not stated"
            )
            + note,
            "take it from public data or from noised releases, or give it a budget of its own",
            exact=_leak(d, parameter) if stated else (),
            refs=parameter.refs,
        )
    for release in d.release:
        if release.divisor_source == "private":
            yield finding(
                "D9",
                "error",
                f"release {release.name}",
                "the sum is divided by the true number of records, which a neighbour changes",
                "divide by a public constant, or release a noisy count",
                refs=release.refs,
            )


def _leak(d: Declaration, parameter: Parameter) -> tuple[Exact, ...]:
    """Noise of scale 1/n against 1/(n - 1), equal means: what the noise alone shows."""
    n, size = parameter.noise_count, parameter.dimension
    if n is None or size is None or n < 2:
        return ()
    low = epsilon_lower(GaussianPair.scaled((n / (n - 1)) ** 2, size), exact.delta(d))
    return (
        Exact(
            facts=f"one release of pure noise scaled by 1/{n} against 1/{n - 1}, {size} dimensions",
            adjacency="add-remove",
            unit=exact.unit(d),
            view=(exact.views(d) or ("server",))[0],
            delta=exact.delta(d),
            mu_upper=math.inf,
            epsilon=Interval(low, math.inf),
        ),
    )


def inputs(d: Declaration) -> Iterator[Finding]:
    """D10: a fixed clip and fixed noise bound a release only if nothing else carries the record."""
    for component in d.component:
        used = [r for r in d.release if component.name in r.inputs]
        if component.trained_on in ("public", "accounted"):
            continue
        if component.trained_on == "noised":
            yield finding(
                "D10",
                "info",
                f"component {component.name}",
                f"{component.name} is free post-processing of accounted releases, as long as no "
                "value without noise reaches it",
                "check in the code that nothing but noised values and public numbers enters it",
                refs=component.refs,
            )
            continue
        names = quoted(r.name for r in used)
        note = f". {component.note}" if component.note else ""
        if component.trained_on == "not stated":
            yield finding(
                "D10",
                "warning",
                f"component {component.name}",
                f"on what {component.name} was trained is not stated{note}",
                "state component.trained_on",
                refs=component.refs,
            )
        elif used:
            yield finding(
                "D10",
                "error",
                f"component {component.name}",
                f"{names} are computed with {component.name}, which was trained on the same "
                "records without noise: one record changes what every other record contributes, "
                f"so that a mean can move across its whole clip set{note}",
                "freeze it, train it on public data or on noised releases, or train it under "
                "differential privacy and add that budget",
                exact=exact.account_all(
                    d,
                    Facts(
                        sensitivity=True, siblings=True, repeats=True, uncharged=True, inputs=True
                    ),
                    "the whole mean may move (worst case)",
                ),
                refs=component.refs,
            )
