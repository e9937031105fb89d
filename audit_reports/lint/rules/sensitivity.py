"""D2 and D3: what is clipped, and whether the noise fits it."""

import math
from collections.abc import Iterator

from ....accountant.digits import at_most
from .. import exact
from ..declaration import Declaration
from ..exact import Facts
from ..findings import Finding
from ..release import Release
from .common import finding

_COSTS = {
    "clip": "in units of the noise, what is released can move further than the sensitivity that "
    "the noise is scaled to: ",
    "choice": "the noise on the scores is too small for the stated pure_epsilon: scores move ",
    "answers": "the true answer is kept too often for the stated pure_epsilon: it costs ",
}
_ALONE = "true sensitivity, the rest as the system accounts it"


def scaled(d: Declaration) -> Iterator[Finding]:
    """D2: the assumed sensitivity against how far the clipped value can move."""
    alike: dict[str, list[Release]] = {}
    for release in d.release:
        if release.bound == "nothing" or (release.bound == "clip" and release.clip == "none"):
            continue
        # mu over the accounted mu; what private models add is left to D10
        ratios = {a: exact.excess(d, release, a) for a in exact.adjacencies(d)}
        wrong = {a: r for a, r in ratios.items() if r > 1.0 + 1e-9}  # numbers of a file
        if wrong:
            text = ", ".join(
                f"without limit under {adjacency}"
                if ratio == math.inf
                else f"{ratio:.4g} times as far under {adjacency}"
                if release.bound != "answers"
                else f"epsilon {at_most(ratio * float(release.pure_epsilon or 1.0), 6)} under "
                f"{adjacency}"
                for adjacency, ratio in wrong.items()
            )
            alike.setdefault(_COSTS[release.bound] + text, []).append(release)
    for text, releases in alike.items():
        shared = d.claim.unit == "user" and any(r.clip == "upload" for r in releases)
        batch = any(r.clip == "batch" for r in releases if r.bound == "clip")
        yield finding(
            "D2",
            "error",
            _where(releases),
            f"for one {exact.unit(d)}, {text}",
            "scale the noise to the clip bound and the relation of the claim"
            + (", or clip each record before the mean" if batch else "")
            + ('; if each user is one client, claim unit = "client"' if shared else ""),
            exact=exact.account_all(d, Facts(sensitivity=True), _ALONE),
            refs=_refs(releases),
        )


def unstated(d: Declaration) -> Iterator[Finding]:
    """D2: a pure epsilon that is said and not derived from anything declared."""
    for release in d.release:
        if release.kind == "pure" and release.bound == "nothing":
            yield finding(
                "D2",
                "warning",
                f"release {release.name}",
                f"pure_epsilon = {release.pure_epsilon:g} is taken on trust: no sensitivity, range "
                "of scores or probability of the true answer is stated that it follows from",
                "state assumed_sensitivity with clip_norm (L1), or score_range with chosen, or "
                "answers with keep_probability",
                refs=release.refs,
            )


def clip_point(d: Declaration) -> Iterator[Finding]:
    """D3: a clip protects what it is applied to, and nothing smaller."""
    who = exact.unit(d)
    alike: dict[str, list[Release]] = {}
    for release in d.release:
        if release.bound == "clip" and (reason := _unclipped(d, release, who)):
            alike.setdefault(reason, []).append(release)
    for reason, releases in alike.items():
        yield finding(
            "D3",
            "error",
            _where(releases),
            reason,
            f"clip the contribution of one {who} before it is summed",
            exact=exact.account_all(d, Facts(sensitivity=True), _ALONE),
            refs=_refs(releases),
        )
    weights = [r for r in d.release if r.kind == "gaussian" and r.clips_weights]
    if weights:
        yield finding(
            "D3",
            "warning",
            _where(weights),
            "the weights themselves are clipped, not their change since the broadcast: the clip "
            "removes what was learned before it bounds what was learned now",
            "clip the difference to the broadcast values",
            refs=_refs(weights),
        )


def _unclipped(d: Declaration, release: Release, who: str) -> str:
    """Why the clip does not protect one unit; empty if it does."""
    if release.clip == "none":
        return "nothing is clipped, so that noise of any size has no guarantee"
    if release.clip == "batch":
        return (
            "the mean over a batch is clipped, not the single records: one record can turn the "
            "whole clipped mean, by up to twice the bound"
        )
    if release.clip == "upload" and who == "example":
        return (
            "the whole upload is clipped, so that one example can turn all of it; nothing is "
            "bounded for a single example"
        )
    if release.clip == "upload" and d.claim.unit is None:
        return (
            "the whole upload of a client is clipped; the claim names no unit, and nothing is "
            "bounded for a single example"
        )
    if release.clip == "record" and who != "example" and release.records_per_unit is None:
        return f"records are clipped, but one {who} holds unboundedly many of them"
    return ""


def _where(releases: list[Release]) -> str:
    names = ", ".join(r.name for r in releases)
    return f"release {names}" if len(releases) == 1 else f"releases {names}"


def _refs(releases: list[Release]) -> list[str]:
    return list(dict.fromkeys(ref for r in releases for ref in r.refs))
