"""`verify`: recompute a record's bounds and verdicts from the record alone.

Needs neither the data nor torch. What it shows: the record is the one that was written, its proven
bounds follow from its events, its measured bounds from its counts, its verdicts from both. What it
cannot show: that the counts came from the run that the record describes.
"""

import math
from pathlib import Path

from ..accountant import jsonio
from ..accountant.account import account
from ..accountant.bounds import Interval
from ..accountant.errors import RecordError
from ..accountant.events import from_dict
from .estimators.band import miss_probability
from .estimators.bound import Counts, EmpiricalBound
from .estimators.clopper_pearson import epsilon_from_limits, mu_from_limits, upper_limit
from .record import AuditRecord, content_digest, parse
from .results import MechanismResult
from .sums import check_sums
from .verdict import judge, overall

TOLERANCE = 1e-9  # relative: special functions differ in their last digits between platforms


def load(path: Path) -> AuditRecord:
    """The record of a run folder, a record.json or a report.html; its digest is checked.

    Raises:
        RecordError: there is none, or it is damaged.
    """
    file = path / "record.json" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecordError(f"there is no record at {file}; `privassay run` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{file} cannot be read: {error.__class__.__name__}") from None
    if file.suffix == ".html":
        from .render.html import extract_record

        text = extract_record(text)
    return parse(text, name=str(file))


def verify(path: str | Path) -> list[str]:
    """What was checked, a line each.

    Raises:
        RecordError: something does not fit; the message says what.
    """
    path = Path(path)
    done = []
    if path.is_dir():
        done.append(f"{check_sums(path)} files have the hashes in SHA256SUMS")
    record = load(path)
    done.append("the record's content gives its digest")
    if record.digest != content_digest(jsonio.dump(record)):
        raise RecordError("the record holds numbers that do not survive a round trip")
    for row in record.mechanisms:
        _check_mechanism(record, row)
        done.append(f"{row.name}: proven bound, {len(row.attacks)} measured bounds, verdict")
    again = overall([(r.name, r.verdict.word, r.expect) for r in record.mechanisms])
    _same("the overall verdict", record.verdict, again)
    done.append(f"overall verdict: {again.word}")
    return done


def _check_mechanism(record: AuditRecord, row: MechanismResult) -> None:
    claim = record.claim
    proven = account(from_dict(row.event), adjacency=claim.adjacency, unit=claim.unit)
    _close(f"{row.name}: proven mu", row.proven.mu, proven.mu)
    _same(f"{row.name}: adjacency", row.proven.adjacency, proven.adjacency)
    _same(f"{row.name}: unit", row.proven.unit, proven.unit)
    delta = 1e-5 if claim.delta is None else claim.delta
    _close(f"{row.name}: proven epsilon", row.proven_epsilon, proven.epsilon(delta))
    for epsilon, largest in row.profile:
        _near(f"{row.name}: delta({epsilon:g})", largest, proven.delta(epsilon).upper)
    for attack in row.attacks:
        _check_bound(f"{row.name}/{attack.attack}", attack.bound)
    spent = math.fsum(1.0 - a.bound.confidence for a in row.attacks)
    if spent > (1.0 - record.confidence) * (1.0 + TOLERANCE):
        raise RecordError(
            f"{row.name}: the attacks spend {spent:g} of an allowed error of "
            f"{1.0 - record.confidence:g}"
        )
    again = judge(
        claim,
        proven=proven,
        assumptions=row.assumptions,
        measured=row.attacks,
        releases=row.releases,
        power_multiple=record.power_multiple,
    )
    _same(f"{row.name}: verdict", row.verdict.word, again.word)
    _same(f"{row.name}: exit code", row.verdict.exit_code, again.exit_code)


def _check_bound(name: str, bound: EmpiricalBound) -> None:
    risk = (1.0 - bound.confidence) / 2.0
    if bound.method == "band":
        sides = {bound.n_in, bound.n_out}
        spent = max(miss_probability(n, bound.rate_level) for n in sides)
    else:
        spent = bound.rate_level
    if spent > risk * (1.0 + TOLERANCE):
        raise RecordError(
            f"{name}: the limits may each miss with probability {risk:g}, but at level "
            f"{bound.rate_level:g} they miss with probability {spent:g}"
        )
    fpr, fnr = _limits(bound, bound.counts_mu)
    _near(f"{name}: FPR limit", bound.fpr_upper, fpr)
    _near(f"{name}: FNR limit", bound.fnr_upper, fnr)
    _near(f"{name}: mu", bound.mu_lower, float(mu_from_limits(fpr, fnr)))
    fpr, fnr = _limits(bound, bound.counts_epsilon)
    epsilon = float(epsilon_from_limits(fpr, fnr, bound.delta))
    _near(f"{name}: epsilon", bound.epsilon_lower, epsilon)
    from ..accountant.gaussian import epsilon_interval

    converted = epsilon_interval(bound.delta, mu=bound.mu_lower)[0]
    _near(f"{name}: epsilon by the Gaussian curve", bound.epsilon_lower_gaussian, converted)


def _limits(bound: EmpiricalBound, counts: Counts) -> tuple[float, float]:
    return (
        float(upper_limit(counts.fp, bound.n_out, bound.rate_level)),
        float(upper_limit(counts.fn, bound.n_in, bound.rate_level)),
    )


def _close(what: str, found: Interval, again: Interval) -> None:
    _near(f"{what} (lower end)", found.lower, again.lower)
    _near(f"{what} (upper end)", found.upper, again.upper)


def _near(what: str, found: float, again: float) -> None:
    if not (found == again or math.isclose(found, again, rel_tol=TOLERANCE, abs_tol=1e-12)):
        raise RecordError(f"{what}: the record says {found!r}, but recomputing gives {again!r}")


def _same(what: str, found: object, again: object) -> None:
    if found != again:
        raise RecordError(f"{what}: the record says {found!r}, but recomputing gives {again!r}")
