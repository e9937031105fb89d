"""`ComparisonRecord`: what a comparison found. comparison.json is its text, sealed like an audit's.

It holds the raw accuracy of every seed and client and the event of every ledger, so that all that
is said about them can be computed again without the data.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ...accountant import jsonio
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.bounds import Interval
from ...accountant.errors import RecordError
from ..record import content_digest, loaded
from ..results import Environment
from .statistics import Contrast, Mean

R = TypeVar("R")
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant of one method.

    Attributes:
        method, name: which; asked: the epsilon that it was calibrated to, None for a control.
        proven: epsilon at the claim's delta that the accountant gives for the ledger.
        event: of the ledger of one seed's run, as JSON; releases: its entries.
        accuracy: of each seed, of each client (fraction of its test records).
        mean: over clients, then seeds; clients: of each client, over seeds.
        run_digest: SHA-256 of the tensors that were judged.
    """

    method: str
    name: str
    asked: float | None
    proven: Interval
    event: dict[str, Any]
    releases: int
    accuracy: tuple[tuple[float, ...], ...]
    mean: Mean
    clients: tuple[Mean, ...]
    run_digest: str


@dataclass(frozen=True, kw_only=True)
class ComparisonRecord:
    """Everything that a comparison found.

    Attributes:
        comparison_version: of this format.
        title: of the comparison.
        adjacency, unit, delta: the terms of every epsilon.
        clients: their names, in the order of every row.
        seeds: how many; seed: root of all random numbers, which is therefore no production seed.
        rows: see `Row`.
        contrasts: differences, paired over seeds.
        reading: what the numbers say, in sentences; limits: what they do not.
        given: the file as it was; changes: options of the command that changed it; resolved:
            what was run, with every default filled in.
        results_sha256: of the raw results alone: equal for equal results.
        environment: where and when.
        digest: SHA-256 of all the rest.
    """

    comparison_version: int
    title: str
    adjacency: Adjacency
    unit: Unit
    delta: float
    clients: tuple[str, ...]
    seeds: int
    seed: int
    rows: tuple[Row, ...]
    contrasts: tuple[Contrast, ...]
    reading: tuple[str, ...]
    limits: tuple[str, ...]
    given: str
    changes: tuple[str, ...]
    resolved: dict[str, Any]
    results_sha256: str
    environment: Environment
    digest: str = ""

    def sealed(self) -> "ComparisonRecord":
        """The same record with its digest filled in."""
        return replace(self, digest=content_digest(jsonio.dump(self)))

    def text(self) -> str:
        """The bytes of comparison.json, as text."""
        return jsonio.canonical(jsonio.dump(self))


def results_sha256(rows: tuple[Row, ...]) -> str:
    """SHA-256 of what was run and what came out, without what is computed from it."""
    raw = [(r.method, r.name, r.asked, r.event, r.releases, r.accuracy, r.run_digest) for r in rows]
    return hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()


def parse(text: str, *, name: str = "the comparison") -> ComparisonRecord:
    """The comparison in `text`, its digest checked; errors as those of `read`."""
    return read(ComparisonRecord, text, version=("comparison_version", VERSION), name=name)


def read(kind: type[R], text: str, *, version: tuple[str, int], name: str) -> R:
    """A sealed record of this kind; `version` is its key and what is read here.

    Raises:
        RecordError: not JSON, another version, not a comparison, or changed since it was sealed.
    """
    key, known = version
    try:
        data = json.loads(text)
        intact = data["digest"] == content_digest(data) and jsonio.canonical(data) == text
        found = data[key]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise RecordError(f"{name} is not a comparison that privassay wrote: {error!r}") from None
    if found != known or isinstance(found, bool):
        raise RecordError(
            f"{name} was written by another version: it has version {found!r}, this privassay "
            f"reads {known}.\n"
            "  Use the version named under environment.packages.privassay."
        )
    if not intact:
        raise RecordError(
            f"{name} was changed after it was written: its content does not give its digest.\n"
            "  Nothing in it can be relied on. Ask for the original, or run the comparison again."
        )
    return loaded(kind, data, name=name)
