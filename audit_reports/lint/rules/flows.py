"""D8: private data that reaches the outside without noise, whatever it is called."""

import re
from collections.abc import Iterator

from .. import exact
from ..declaration import Declaration
from ..findings import Finding, Severity
from ..release import PUBLIC, Release
from .common import finding, quoted


def unnoised(d: Declaration) -> Iterator[Finding]:
    """D8: what leaves without noise, and who sees it."""
    for release in d.release:
        if release.kind != "none" or release.public_content:
            continue
        inside = [v for v in release.views if not d.claim.views or v in d.claim.views]
        listed = release.name in d.claim.unprotected
        beside = [r.name for r in d.release if r.data == release.data and r.kind != "none"]
        trusted = d.claim.trust == "trusted-server" and release.views == ("server",)
        severity: Severity = "error" if inside else "info" if trusted else "warning"
        text = f"{release.name} reaches {quoted(release.views)} without noise"
        if listed:
            severity = "warning" if beside else "info"
            text += "; the claim lists it as unprotected"
            if beside:
                text += (
                    f", and it is computed from the same records as {quoted(beside)}: whoever sees "
                    "it is bound by no guarantee about these records"
                )
        elif not inside and trusted:
            text += ": the server is trusted with it, and no bound exists for that view"
        elif not inside:
            text += ": outside the claim, and no bound exists for that view"
        yield finding(
            "D8",
            severity,
            f"release {release.name}",
            text + (f". {release.note}" if release.note else ""),
            "noise it, compute it from noised values only, or list it in claim.unprotected"
            if not listed
            else "noise it or do not publish it; say beside the epsilon that it is published",
            exact=tuple(
                exact.account_view(d, view, a, exact.DECLARED, "all declared facts")
                for view in release.views
                for a in exact.adjacencies(d)[:1]
            )
            if not listed
            else (),
            refs=release.refs,
        )


def public_content(d: Declaration) -> Iterator[Finding]:
    """D8: what is declared to hold nothing private, against what else is declared about it."""
    for release in d.release:
        why = exact.private_sources(d, release)
        if release.public_content and why:
            yield finding(
                "D8",
                "error",
                f"release {release.name}",
                f"{release.name} is declared as public content, but {' and '.join(why)}; it is "
                "counted as private",
                "drop public_content, and noise it or keep it; or declare what it really reads",
                refs=release.refs,
            )
        elif doubts := [*_doubts(release), *_suspicious(release)]:
            yield finding(
                "D8",
                "warning",
                f"release {release.name}",
                f"{release.name}: {'; '.join(doubts)}",
                f'write public_content = true and data = "{PUBLIC}" for what reads no private '
                "record, and neither for anything else",
                refs=release.refs,
            )
        elif release.public_content:
            yield finding(
                "D8",
                "info",
                f"release {release.name}",
                f"that {release.name} holds nothing private is taken on trust: nothing else in the "
                "declaration shows it",
                "check in the code what it is computed from",
                refs=release.refs,
            )


def _doubts(release: Release) -> list[str]:
    found = []
    if release.public_content and release.kind != "none":
        found.append("it is declared as public content, and yet noise is added to it")
    if release.public_content and release.data != PUBLIC:
        found.append(f"it is declared as public content, but it reads {release.data!r}")
    if release.data == PUBLIC and not release.public_content:
        found.append("its data is public, but it is not declared as public content")
    return found


# What is usually computed from records, whatever it is called besides.
_OF_RECORDS = (
    *("accuracy", "activation", "count", "embedding", "error", "feature", "gradient", "histogram"),
    *("label", "logit", "loss", "metric", "norm", "score", "statistic", "update", "upload"),
)


def _suspicious(release: Release) -> list[str]:
    """A name that contradicts public content. A word list misses much, and proves nothing."""
    if not release.public_content or release.kind != "none":
        return []
    words = re.findall(r"[a-z]+", release.name.casefold())
    found = [w for w in _OF_RECORDS if any(x in (w, w + "s", w + "es") for x in words)]
    if not found:
        return []
    return [
        f"it is declared as public content, but its name says {', '.join(found)}, which are "
        "usually computed from records (rename it if they are not)"
    ]
