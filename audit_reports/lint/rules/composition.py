"""D4 and D5: how many releases of the same records there are, and how many are counted."""

from collections.abc import Iterator
from itertools import groupby

from .. import exact
from ..declaration import Declaration
from ..exact import Facts
from ..findings import Finding
from .common import finding, quoted


def shared_budget(d: Declaration) -> Iterator[Finding]:
    """D4: releases of the same records at the same time are one release of a longer vector."""
    numbers = exact.account_all(
        d, Facts(siblings=True), "all releases of the same records, the rest as accounted"
    )
    for release in d.release:
        counted = release.accounted_tensors
        if counted is not None and counted < release.tensors:
            yield finding(
                "D4",
                "error",
                f"release {release.name}",
                f"{release.tensors} tensors of the same records are released, but the accounting "
                f"counts {counted}: together they move sqrt({release.tensors}) times as far",
                "clip all tensors of one contribution jointly, or count every tensor",
                exact=numbers,
                refs=release.refs,
            )
    noised = sorted((r for r in d.release if r.kind != "none"), key=lambda r: r.data)
    for data, group in groupby(noised, key=lambda r: r.data):
        releases = list(group)
        apart = [r for r in releases if not r.joint]
        if len(releases) > 1 and apart:
            yield finding(
                "D4",
                "error",
                "releases " + ", ".join(r.name for r in releases),
                f"{len(releases)} mechanisms read the same records ({data}), and each is given the "
                "whole budget",
                "account for them together: their squared mu add up",
                exact=numbers,
                refs=dict.fromkeys(ref for r in releases for ref in r.refs),
            )


def uncounted(d: Declaration) -> Iterator[Finding]:
    """D5: participations and mechanisms that the accounting leaves out."""
    for release in d.release:
        counted = release.accounted_releases
        if counted is not None and counted < release.releases:
            yield finding(
                "D5",
                "error",
                f"release {release.name}",
                f"one {exact.unit(d)} takes part in up to {release.releases} releases, but the "
                f"accounting counts {counted}",
                "compose all participations of one contributor, and claim the total",
                exact=exact.account_all(
                    d, Facts(repeats=True), "all participations, the rest as accounted"
                )
                + exact.account_all(
                    d,
                    Facts(repeats=True, siblings=True),
                    "all participations and all releases of the same records",
                ),
                refs=release.refs,
            )
    for release in d.release:
        counted = (release.accounted_releases or release.releases) * (
            release.accounted_tensors or release.tensors
        )
        if release.formula != "given" and release.formula_releases < counted:
            yield finding(
                "D5",
                "warning",
                f"release {release.name}",
                f"sigma is computed for {release.formula_releases} releases, but {counted} are "
                "accounted for",
                "compute sigma for all releases: formula_releases",
                refs=release.refs,
            )
    free = [r for r in d.release if not r.charged and r.kind != "none"]
    if free:
        yield finding(
            "D5",
            "error",
            "releases " + ", ".join(r.name for r in free),
            f"{quoted(r.name for r in free)} read private records and are not paid for",
            "count them, or do not run them",
            exact=exact.account_all(
                d, Facts(uncharged=True, repeats=True), "these counted, the rest as accounted"
            ),
            refs=dict.fromkeys(ref for r in free for ref in r.refs),
        )
