"""D1: who is trusted, against who sees what without noise."""

from collections.abc import Iterator

from ..declaration import Declaration
from ..findings import Finding, Severity
from .common import finding, quoted


def trust(d: Declaration) -> Iterator[Finding]:
    """The trust that is claimed, against the declared flows of data without noise."""
    if d.claim.kind == "none" and d.mpc is None:
        return
    match d.claim.trust:
        case "local-noise":
            yield from _local(d)
        case "secure-sum":
            yield from _secure_sum(d)
        case "trusted-server":
            yield from _trusted_server(d)


def _bare(d: Declaration) -> tuple[str, ...]:
    """What the server sees without noise, and what is opened so; listed or public things aside."""
    listed = d.claim.unprotected
    released = [
        r.name
        for r in d.release
        if r.kind == "none" and "server" in r.views and not r.public_content
    ]
    opened = [
        o.value
        for o in (() if d.mpc is None else d.mpc.opened)
        if o.readers and o.protected_by is None and o.kind != "schedule"
    ]
    return tuple(name for name in (*released, *opened) if name not in listed)


def _finding(severity: Severity, text: str, fix: str, d: Declaration) -> Finding:
    return finding("D1", severity, "claim.trust", text, fix, refs=d.claim.refs)


def _local(d: Declaration) -> Iterator[Finding]:
    if bare := _bare(d):
        yield _finding(
            "error",
            'trust = "local-noise" says that noise is added before anything leaves a client, but '
            f"{quoted(bare)} {_leave(bare)} without noise",
            "noise it at the client, or claim the trust that is really needed",
            d,
        )
    elif d.mpc is not None:
        yield _finding(
            "warning",
            'trust = "local-noise" says that each client noises what it sends, but [mpc] computes '
            "on inputs without noise and relies on at most "
            f"{d.mpc.colluders} colluders",
            'write trust = "secure-sum"',
            d,
        )
    if _whole(d) and d.claim.adjacency == "add-remove":
        yield _finding(
            "warning",
            f'with trust = "local-noise" a {d.claim.unit} that takes no part sends nothing, and '
            'that is seen: noise on what is sent does not hide it under "add-remove"',
            'claim "zero-out" or "replace-one" with a public list of participants, or let absent '
            "ones send noise",
            d,
        )


def _secure_sum(d: Declaration) -> Iterator[Finding]:
    bare = _bare(d)
    if bare and "server" in d.claim.views:
        yield _finding(
            "error",
            'the claim covers the server, and trust = "secure-sum" says that it sees noised sums '
            f"alone, but {quoted(bare)} {_leave(bare)} without noise",
            "noise the sums before they are opened, or drop the server from claim.views",
            d,
        )
    adds = d.claim.noise_from if d.mpc is None else d.mpc.noise_from
    if adds == "clients" and _whole(d) and d.claim.adjacency == "add-remove":
        yield _finding(
            "warning",
            f"the clients add the noise, so that a {d.claim.unit} that is away takes its share "
            'along: under "add-remove" neighbours differ in their noise too',
            'claim "zero-out" or "replace-one" with a public list of participants',
            d,
        )
    if d.mpc is None:
        yield _finding(
            "info",
            'trust = "secure-sum" rests on a protocol that is not declared: what it opens, and how '
            "many colluders it stands, is not checked here",
            "declare [mpc] where it computes on polynomial shares",
            d,
        )
    # an empty claim.views means every view
    named = "server" in d.claim.views or not d.claim.views
    if d.mpc is None and named and d.claim.noise_from != "clients":
        known = d.claim.noise_from == "server"
        yield _finding(
            "error" if known else "warning",
            "the server adds the noise to the sum, and the claim names it as an adversary: whoever "
            "adds noise subtracts it"
            if known
            else "who adds the noise to the sum is not stated, and the claim names the server as "
            "an adversary: if the server adds it, it subtracts it",
            'let the clients add it, and write claim.noise_from = "clients"; or drop the server '
            "from claim.views",
            d,
        )


def _trusted_server(d: Declaration) -> Iterator[Finding]:
    if "server" not in d.claim.views:
        return
    bare = _bare(d)
    yield _finding(
        "error" if bare else "warning",
        'trust = "trusted-server" says that the server sees data without noise, and claim.views '
        "names it as an adversary"
        + (f": {quoted(bare)} {_leave(bare)} without noise" if bare else ""),
        'drop "server" from claim.views, or write the trust that keeps such data from it',
        d,
    )


def _whole(d: Declaration) -> bool:
    """Whether the unit is one that takes part, or not, with all of its data."""
    return d.claim.unit in ("client", "user")


def _leave(names: tuple[str, ...]) -> str:
    return "leaves" if len(names) == 1 else "leave"
