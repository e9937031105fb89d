"""D9 and D10: what shapes a release, or what it is computed with, depends on private records."""

import math
from collections.abc import Iterator

from ....accountant.bounds import Interval
from ....accountant.pairwise import GaussianPair, epsilon_lower
from .. import exact
from ..declaration import Declaration
from ..exact import Facts
from ..findings import Exact, Finding, Severity
from ..release import Release
from ..sections import Parameter
from .common import PAY, finding, only_itself, quoted, unpaid

_DIVISORS: dict[str, tuple[Severity, str]] = {
    "private": (
        "error",
        "the sum is divided by the true number of records, which a neighbour changes",
    ),
    "not stated": (
        "warning",
        "where the divisor of the sum comes from is not stated; the true number of records is one "
        "that a neighbour changes",
    ),
    "noised": (
        "info",
        "the divisor is a noised number: the sensitivity is that at its least value, which must be "
        "what is declared",
    ),
}


NAME_PAYERS = "name the noised [[release]]s that it is computed from in paid_by"


def _gap(d: Declaration, source: str, paid_by: tuple[str, ...], shaped: list[Release]) -> str:
    """Why nothing pays for what shapes these releases and has this source; empty if it is paid."""
    if source == "public":
        return ""
    own = source == "accounted"
    return unpaid(d, paid_by, own=own) or ("" if own else only_itself(d, shaped, paid_by))


def parameters(d: Declaration) -> Iterator[Finding]:
    """D9: groups, counts, clip bounds, weights and divisors must be public or paid for."""
    for parameter in d.parameter:
        if parameter.source in ("public", "noised", "accounted"):
            noised = [r for r in d.release if r.kind != "none"]
            if gap := _gap(d, parameter.source, parameter.paid_by, noised):
                yield finding(
                    "D9",
                    "warning",
                    f"parameter {parameter.name}",
                    f"{parameter.name} is declared as {parameter.source}, but {gap}",
                    PAY if parameter.source == "accounted" else NAME_PAYERS,
                    refs=parameter.refs,
                )
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
    for parameter in d.parameter:
        counted = parameter.noise_count is not None and parameter.source == "public"
        if counted and d.claim.adjacency == "add-remove":
            yield finding(
                "D9",
                "warning",
                f"parameter {parameter.name}",
                f"the noise shows {parameter.name}, which is declared as public, but under "
                '"add-remove" it is a count in which neighbours differ',
                'scale the noise by a public constant, or claim "replace-one" with public counts',
                exact=_leak(d, parameter),
                refs=parameter.refs,
            )
    for release in d.release:
        if release.divisor_source != "public" and release.bound == "clip":
            severity, text = _DIVISORS[release.divisor_source]
            yield finding(
                "D9",
                severity,
                f"release {release.name}",
                text,
                "divide by a public constant, or by a noisy count with a public least value, and "
                "write that value as divisor",
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
        if component.trained_on == "public":
            continue
        if component.trained_on in ("noised", "accounted"):
            gap = _gap(d, component.trained_on, component.paid_by, used)
            own = component.trained_on == "accounted"
            yield finding(
                "D10",
                "warning" if gap else "info",
                f"component {component.name}",
                f"{component.name} is declared as {component.trained_on}, but {gap}"
                if gap
                else f"{component.name} is a mechanism of its own, counted as the releases that it "
                "names"
                if own
                else f"{component.name} is free post-processing of accounted releases, as long as "
                "no value without noise reaches it",
                (PAY if own else NAME_PAYERS)
                if gap
                else "check in the code that nothing but noised values and public numbers enters "
                "it",
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
