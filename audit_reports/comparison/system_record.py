"""`SystemRecord`: what a comparison of a whole system found; the text of its comparison.json.

Like `ComparisonRecord` it holds raw values and events, so that all that is said about them can be
computed again without torch and without the data.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from ...accountant import jsonio
from ...accountant.account import account
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.bounds import Interval
from ...accountant.event_json import from_dict
from ...fl_core.systems.base import DpLine, Metric, Outcome, Part, RowPlan, SystemFile
from ..record import content_digest
from ..results import Environment
from .record import read
from .statistics import Mean, by_seed, mean

VERSION = 1
Values = tuple[tuple[float, ...], ...]
_DIGITS = 12  # of a difference; what is left is rounding
KEY = "system_version"  # by which the file is told from another comparison's


@dataclass(frozen=True, kw_only=True)
class SystemRow:
    """One row.

    Attributes:
        part, name, asked, released, protection, control, dp, unit, adjacency, view: as `RowPlan`.
        proven: epsilon at the claim's delta that the accountant gives for the ledger; None exactly
            where the row makes no DP claim.
        event: of the ledger of one seed's run, as JSON; releases: its entries.
        values: metric -> of each seed, of each client.
        means: metric -> over clients, then seeds.
        groups: metric -> group of clients -> likewise.
        gap: difference of the file's two metrics, seed by seed; None if it names none.
        notes: what else was measured.
        run_digest: SHA-256 of the tensors that were judged.
    """

    part: str
    name: str
    asked: float | None
    released: bool
    protection: str
    control: bool
    dp: DpLine
    unit: Unit
    adjacency: Adjacency
    view: str
    proven: Interval | None
    event: dict[str, Any] | None
    releases: int
    values: dict[str, tuple[tuple[float, ...], ...]]
    means: dict[str, Mean]
    groups: dict[str, dict[str, Mean]]
    gap: Mean | None
    notes: tuple[str, ...]
    run_digest: str

    @property
    def key(self) -> tuple[str, str, float | None]:
        """What tells rows apart."""
        return (self.part, self.name, self.asked)


@dataclass(frozen=True, kw_only=True)
class SystemContrast:
    """A metric of one row less that of another, seed by seed, mean over clients.

    Attributes:
        part, name, asked: the row; metric: which.
        against: the other row, of the same epsilon where that has one.
        difference: mean over seeds.
    """

    part: str
    name: str
    asked: float | None
    metric: str
    against: str
    difference: Mean


@dataclass(frozen=True, kw_only=True)
class SystemRecord:
    """Everything that a comparison of a system found.

    Attributes:
        system_version: of this format.
        system: its name; label: what every page says about models that stand in for others.
        title, delta, seeds, seed: as in `ComparisonRecord`.
        rows: see `SystemRow`.
        contrasts: differences, paired over seeds.
        reading: what the numbers say, in sentences; limits: what they do not.
        given, changes, resolved, results_sha256, environment, digest: as in `ComparisonRecord`,
            but of an absolute path only its last part is kept, which names nobody's folders.
    """

    system_version: int
    system: str
    label: str
    title: str
    delta: float
    seeds: int
    seed: int
    rows: tuple[SystemRow, ...]
    contrasts: tuple[SystemContrast, ...]
    reading: tuple[str, ...]
    limits: tuple[str, ...]
    given: str
    changes: tuple[str, ...]
    resolved: dict[str, Any]
    results_sha256: str
    environment: Environment
    digest: str = ""

    def sealed(self) -> "SystemRecord":
        """The same record with its digest filled in."""
        return replace(self, digest=content_digest(jsonio.dump(self)))

    def text(self) -> str:
        """The bytes of comparison.json, as text."""
        return jsonio.canonical(jsonio.dump(self))


def parse(text: str, *, name: str = "the comparison") -> SystemRecord:
    """The comparison in `text`, its digest checked; errors as those of `record.parse`."""
    return read(SystemRecord, text, version=(KEY, VERSION), name=name)


def results_sha256(rows: tuple[SystemRow, ...]) -> str:
    """SHA-256 of what was run and what came out, without what is computed from it."""
    raw = [(r.key, r.event, r.releases, r.values, r.notes, r.run_digest) for r in rows]
    return hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()


def row_of(file: SystemFile, plan: RowPlan, outcome: Outcome) -> SystemRow:
    """The row of an outcome, with everything that follows from it."""
    part = next(part for part in file.parts() if part.name == plan.part)
    proven = None
    if plan.dp == "accounted":
        bound = account(from_dict(outcome.event), adjacency=plan.adjacency, unit=plan.unit)
        proven = bound.epsilon(file.claim.delta)
    return SystemRow(
        part=plan.part,
        name=plan.name,
        asked=plan.asked,
        released=plan.released,
        protection=plan.protection,
        control=plan.control,
        dp=plan.dp,
        unit=plan.unit,
        adjacency=plan.adjacency,
        view=plan.view,
        proven=proven,
        event=outcome.event,
        releases=outcome.releases,
        values=outcome.values,
        means={name: mean(by_seed(values)) for name, values in outcome.values.items()},
        groups={name: _groups(part, values) for name, values in outcome.values.items()},
        gap=_gap(file, outcome),
        notes=outcome.notes,
        run_digest=outcome.digest,
    )


def contrasts(
    metrics: tuple[Metric, ...], plans: tuple[RowPlan, ...], rows: tuple[SystemRow, ...]
) -> tuple[SystemContrast, ...]:
    """Every difference that the plan asks for."""
    known = {row.key: row for row in rows}
    found = []
    for plan in plans:
        row = known[plan.key]
        for against in plan.against:
            other = known.get((plan.part, against, plan.asked))
            if other is None:
                other = known.get((plan.part, against, None))
            if other is None:
                continue
            for metric in metrics:
                found.append(
                    SystemContrast(
                        part=plan.part,
                        name=plan.name,
                        asked=plan.asked,
                        metric=metric.name,
                        against=against,
                        difference=_less(row.values[metric.name], other.values[metric.name]),
                    )
                )
    return tuple(found)


def _groups(part: Part, values: Values) -> dict[str, Mean]:
    return {
        name: mean(by_seed([[row[client] for client in clients] for row in values]))
        for name, clients in part.groups.items()
    }


def _gap(file: SystemFile, outcome: Outcome) -> Mean | None:
    names = file.gap()
    if names is None:
        return None
    first, second = (outcome.values[name] for name in names)
    return _less(first, second)


def _less(values: Values, other: Values) -> Mean:
    """Paired over seeds; sums of the same numbers in another order differ by rounding alone."""
    pairs = zip(by_seed(values), by_seed(other), strict=True)
    return mean([round(a - b, _DIGITS) for a, b in pairs])
