"""D7 and D5: when there is a release, who decides on it, and whether the counts fit."""

from collections.abc import Iterator

from .. import exact
from ..declaration import Declaration
from ..findings import Finding
from .common import finding, in_rounds


def schedule(d: Declaration) -> Iterator[Finding]:
    """D7: a number of rounds, or an end, that depends on private records is a release itself."""
    s = d.sampling
    if d.claim.kind == "none":
        return
    missing = [
        name
        for name, is_missing in (
            ("schedule", s.schedule == "not stated"),
            ("rounds", s.rounds is None),
            ("participations", s.used == "public-schedule" and s.participations is None),
        )
        if is_missing
    ]
    if missing:
        yield finding(
            "D7",
            "warning",
            "sampling.schedule",
            f"sampling.{', sampling.'.join(missing)} not stated: who decides on rounds, "
            "participants and the end, and whether the number of releases fits, is open",
            f"state {', '.join(missing)} in [sampling]",
            refs=s.refs,
        )
    if s.schedule == "private":
        yield finding(
            "D7",
            "error",
            "sampling.schedule",
            "rounds, participants or the end depend on private records or clients: when something "
            "is released shows them, and no release accounts for that",
            "fix the schedule beforehand, or let it read noised releases only",
            refs=s.refs,
        )
    if s.schedule == "noised":
        yield finding(
            "D7",
            "info",
            "sampling.schedule",
            "the schedule reads noised releases: an early end is free, while noise or clip bounds "
            "that adapt need an account of their own",
            "count the largest number of rounds, and keep noise and clip bounds fixed",
            refs=s.refs,
        )


def counts(d: Declaration) -> Iterator[Finding]:
    """D5: the rounds of the schedule against the number of releases."""
    if d.claim.kind == "none":
        return
    for release in d.release:
        rounds = d.sampling.rounds if release.rounds is None else release.rounds
        if rounds is None or release.kind == "none":
            continue
        where = f"release {release.name}"
        if release.rounds == 0:
            if release.name not in _payers(d):
                yield finding(
                    "D5",
                    "warning",
                    where,
                    "rounds = 0: it is made outside the rounds, but nothing names it in paid_by, "
                    "so that what it is made for, and how often, is open",
                    "name it in paid_by of what it pays for, or state its rounds",
                    refs=release.refs,
                )
            continue
        most = int(in_rounds(d, release))
        rounds = most // release.per_round
        times = f" {release.per_round} times a round" if release.per_round > 1 else ""
        # of a public schedule without participations only the upper end is known
        public = d.sampling.used == "public-schedule" and d.sampling.participations is None
        least = release.per_round if public else most
        who = exact.unit(d)
        if release.releases < least:
            yield finding(
                "D5",
                "error",
                where,
                f"it is made in {least // release.per_round} rounds{times}, so that one {who} may "
                f"take part in {least} releases, but releases = {release.releases}",
                "count all participations of one contributor; if it is made in fewer rounds, "
                "state its rounds",
                refs=release.refs,
            )
        elif release.releases > most:
            yield finding(
                "D5",
                "warning",
                where,
                f"releases = {release.releases}, but it is made in {rounds} rounds{times}: at most "
                f"{most} releases",
                "state per_round if one round holds several releases; else correct the numbers",
                refs=release.refs,
            )


def _payers(d: Declaration) -> set[str]:
    """Releases that something names in paid_by."""
    lists = [p.paid_by for p in d.parameter] + [c.paid_by for c in d.component] + [d.tuning.paid_by]
    return {name for names in lists for name in names}
