"""S1, S2, S3, S11, S13: what a computation on secret shares opens, and what stands before it."""

from collections.abc import Iterator

from ..declaration import Declaration
from ..findings import Finding, Severity
from ..sharing import Mpc, Opening
from .common import finding, quoted


def openings(d: Declaration) -> Iterator[Finding]:
    """S1, S2, S3, S11 and S13: each opened value by itself."""
    mpc, claimed = d.mpc, d.claim.kind == "dp"
    if mpc is None:
        return
    for opened in mpc.opened:
        where = f"mpc.opened {opened.value}"
        if opened.kind in ("distance", "aggregate"):
            yield from _product(mpc, opened)
        if opened.kind == "schedule":
            yield from _schedule(d, opened)
            continue
        if opened.protected_by is not None:
            yield from _protection(d, opened)
            continue
        listed = opened.value in d.claim.unprotected
        severity: Severity = "error" if claimed and not listed else "info" if listed else "warning"
        code = "S11" if opened.kind == "served" else "S1"
        yield finding(
            code,
            severity,
            where,
            f"{opened.value} is opened to {_reader(opened.to)} and no guarantee bounds what it "
            "says about a client" + ("; listed as unprotected" if listed else ""),
            "add noise to it under a client-level account, or list it in claim.unprotected",
            refs=opened.refs,
        )
        if opened.kind == "distance" and opened.to != "client":
            slices = mpc.slices if opened.per_slice and not mpc.zero_sharing else 1
            needed = mpc.dimension // slices + 1
            enough = opened.per_client >= needed
            yield finding(
                "S2",
                "error" if enough else "warning",
                where,
                f"{opened.per_client} distances per client to known points are opened to "
                f"{_reader(opened.to)}; {needed} determine {mpc.dimension} coordinates"
                + (f" cut in {slices} slices" if slices > 1 else ""),
                "send each distance to its own client only, or open noisy centres instead",
                refs=opened.refs,
            )
        if opened.kind == "assignment" and opened.to != "client":
            yield finding(
                "S3",
                "error",
                where,
                f"assignments are opened to {_reader(opened.to)}: they show which clients are "
                "alike, for instance their domain",
                "let each client compute its own assignment",
                refs=opened.refs,
            )


def _product(mpc: Mpc, opened: Opening) -> Iterator[Finding]:
    """S13: distances, and sums that members get by their secret assignment, are products."""
    product = opened.kind == "distance" or opened.to == "members"
    if product and not mpc.zero_sharing:
        yield finding(
            "S13",
            "error",
            f"mpc.opened {opened.value}",
            "the whole product polynomial is opened: it shows what each slice gives and products "
            "of slices with masks, not only the sum",
            "add a random sharing of zero (values that sum to zero) before opening",
            refs=opened.refs,
        )
    elif opened.per_slice:
        yield finding(
            "S13",
            "warning",
            f"mpc.opened {opened.value}",
            "one value a slice is opened although zeros are shared, which hide the slices",
            "open the sum of the slices alone, and drop per_slice; or zero_sharing is not so",
            refs=opened.refs,
        )


def _schedule(d: Declaration, opened: Opening) -> Iterator[Finding]:
    """S1: a number of iterations or clusters says nothing only if it is fixed beforehand."""
    if opened.source in ("fixed", "noised"):
        return
    listed = opened.value in d.claim.unprotected
    if opened.source == "not stated":
        severity: Severity = "warning"
    else:
        severity = "info" if listed else "error" if d.claim.kind == "dp" else "warning"
    yield finding(
        "S1",
        severity,
        f"mpc.opened {opened.value}",
        f"who decides on {opened.value} is not stated"
        if opened.source == "not stated"
        else f"{opened.value} depends on the inputs, is opened to {_reader(opened.to)}, and no "
        "guarantee bounds what it says" + ("; listed as unprotected" if listed else ""),
        'fix it beforehand and write source = "fixed"; or decide by noised values ("noised")',
        refs=opened.refs,
    )


def _protection(d: Declaration, opened: Opening) -> Iterator[Finding]:
    """S1: the release that protects an opening has noise, is counted, and counts its readers."""
    (release,) = (r for r in d.release if r.name == opened.protected_by)
    unseen = [v for v in opened.readers if v not in release.views]
    wrong = []
    if release.kind == "none":
        wrong.append("which carries no noise")
    if not release.charged:
        wrong.append("which no account counts")
    if unseen:
        wrong.append(f"which is not declared as seen by {quoted(unseen)}")
    if wrong:
        yield finding(
            "S1",
            "error",
            f"mpc.opened {opened.value}",
            f"{opened.value} is opened to {_reader(opened.to)} and declared as protected by "
            f"{release.name!r}, {', '.join(wrong)}",
            "noise that release, count it, and name all readers in its views",
            refs=opened.refs,
        )


def noise(d: Declaration) -> Iterator[Finding]:
    """S1: whether an adversary knows the noise of what is opened, or can leave it out."""
    mpc = d.mpc
    if mpc is None or all(o.protected_by is None for o in mpc.opened):
        return
    honest = mpc.clients - mpc.colluders - mpc.dropouts
    found: tuple[Severity, str] | None = None
    if mpc.noise_from == "not stated":
        found = "warning", "who adds the noise of what is opened is not stated"
    elif mpc.noise_from == "server" and ("server" in d.claim.views or not d.claim.views):
        found = "error", "the server adds the noise, and the claim names it as an adversary"
    elif mpc.noise_from == "clients" and mpc.noise_shares is None:
        found = "warning", "how many clients' noise makes up the declared noise is not stated"
    elif mpc.noise_shares is not None and mpc.noise_shares > honest:
        found = (
            "error",
            f"the noise of {mpc.noise_shares} clients makes up the declared noise, but only "
            f"{honest} of {mpc.clients} are sure to add it unknown to the rest: "
            f"{mpc.colluders} may collude and {mpc.dropouts} drop out",
        )
    if found is not None:
        yield finding(
            "S1",
            found[0],
            "mpc.noise_from",
            f"{found[1]}: whoever knows noise subtracts it",
            "let each client add its part, so that clients - colluders - dropouts = "
            f'{max(1, honest)} parts are enough: noise_from = "clients", noise_shares',
        )


def _reader(to: str) -> str:
    return {"all": "everyone", "client": "its own client"}.get(to, f"the {to}")
