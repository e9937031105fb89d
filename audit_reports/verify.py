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
from ..accountant.errors import ConfigError, RecordError
from ..accountant.event_json import from_dict, to_dict
from ..accountant.gaussian import epsilon_interval
from ..accountant.ledger import Ledger
from ..fl_core.config import parse as parse_file
from . import verify_black_box
from .estimators.band import miss_probability
from .estimators.bound import Counts, EmpiricalBound
from .estimators.clopper_pearson import epsilon_from_limits, mu_from_limits, upper_limit
from .estimators.estimate import METHODS
from .estimators.power import in_these_worlds, smallest_refutable
from .record import AuditRecord, content_digest, parse
from .results import AttackResult, MechanismResult
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
    comparison = path / "comparison.json" if path.is_dir() else path
    if comparison.name == "comparison.json" and comparison.is_file():
        from .comparison.verify import verify as verify_comparison

        return verify_comparison(comparison)
    done = []
    if path.is_dir():
        done.append(f"{check_sums(path)} files have the hashes in SHA256SUMS")
    record = load(path)
    done.append("the record's content gives its digest")
    if record.digest != content_digest(jsonio.dump(record)):
        raise RecordError("the record holds numbers that do not survive a round trip")
    if record.resolved.get("made_by") in verify_black_box.MAKERS:
        for row in record.mechanisms:
            verify_black_box.check_row(record, row)
            done.append(f"{row.name}: {len(row.attacks)} measured bounds, power, verdict")
        done.append(f"overall verdict: {record.verdict.word}")
        return done
    _check_against_file(record)
    for row in record.mechanisms:
        _check_mechanism(record, row)
        if path.is_dir():
            _check_ledger(record, row, path / "ledger" / f"{row.name}.jsonl")
        done.append(f"{row.name}: proven bound, {len(row.attacks)} measured bounds, verdict")
    again = overall([(r.name, r.verdict.word, r.expect) for r in record.mechanisms])
    same("the overall verdict", record.verdict, again)
    done.append(f"overall verdict: {again.word}")
    return done


def _check_mechanism(record: AuditRecord, row: MechanismResult) -> None:
    claim = record.claim
    proven = account(from_dict(row.event), adjacency=claim.adjacency, unit=claim.unit)
    close(f"{row.name}: proven mu", row.proven.mu, proven.mu)
    same(f"{row.name}: adjacency", row.proven.adjacency, proven.adjacency)
    same(f"{row.name}: unit", row.proven.unit, proven.unit)
    delta = 1e-5 if claim.delta is None else claim.delta
    close(f"{row.name}: proven epsilon", row.proven_epsilon, proven.epsilon(delta))
    for epsilon, largest in row.profile:
        near(f"{row.name}: delta({epsilon:g})", largest, proven.delta(epsilon).upper)
    same(f"{row.name}: group size", row.proven.group_size, proven.group_size)
    same(f"{row.name}: method", row.proven.method, proven.method)
    spent = math.fsum(1.0 - a.bound.confidence for a in row.attacks)
    if spent > (1.0 - record.confidence) * (1.0 + TOLERANCE):
        raise RecordError(
            f"{row.name}: the attacks spend {spent:g} of an allowed error of "
            f"{1.0 - record.confidence:g}"
        )
    for attack in row.attacks:
        if not isinstance(attack.bound, EmpiricalBound):
            raise RecordError(f"{row.name}: a run with an audit file has bounds of counts only")
        check_bound(f"{row.name}/{attack.attack}", attack.bound)
        _check_power(record, row, attack)
    again = judge(
        claim,
        proven=proven,
        assumptions=row.assumptions,
        measured=row.attacks,
        releases=row.releases,
        power_multiple=record.power_multiple,
    )
    same(f"{row.name}: verdict", row.verdict, again)


def _check_against_file(record: AuditRecord) -> None:
    """What the resolved audit file says must be what the record says."""
    file = record.resolved
    try:
        wanted = {
            "claim": jsonio.dump(parse_file(file).claim.claim()),
            "seed": file["seed"],
            "title": file["title"],
            "confidence": file["estimate"]["confidence"],
            "power multiple": file["gate"]["power_multiple"],
            "mechanisms": [(m["name"], m["kind"], m["expect"]) for m in file["mechanism"]],
            "attacks": [(a["name"], a["adversary"], a["trials"]) for a in file["attack"]],
            "method": file["estimate"]["method"],
        }
    except (KeyError, TypeError, ConfigError) as error:
        raise RecordError(f"the resolved audit file in the record is damaged: {error}") from None
    methods = {a.bound.method for m in record.mechanisms for a in m.attacks}
    found = {
        "claim": jsonio.dump(record.claim),
        "seed": record.seed,
        "title": record.title,
        "confidence": record.confidence,
        "power multiple": record.power_multiple,
        "mechanisms": [(m.name, m.kind, m.expect) for m in record.mechanisms],
        "method": methods.pop() if len(methods) == 1 else sorted(methods),
    }
    for key, value in found.items():
        same(f"{key} (audit file against record)", value, wanted[key])
    for row in record.mechanisms:
        made = [(a.attack, a.adversary, a.trials) for a in row.attacks]
        same(f"{row.name}: attacks (audit file against record)", made, wanted["attacks"])
    claimed = record.claim.gaussian_mu() if record.claim.is_curve else None
    if claimed is not None and record.claimed_mu is not None:
        close("claimed mu", record.claimed_mu, claimed)
    else:
        same("claimed mu", record.claimed_mu, claimed)


def _check_ledger(record: AuditRecord, row: MechanismResult, path: Path) -> None:
    """The ledger on disk must give the recorded event."""
    if not path.is_file():
        raise RecordError(f"the run has no ledger for {row.name} ({path.name} is missing)")
    claim = record.claim
    with Ledger(adjacency=claim.adjacency, unit=claim.unit, path=path) as ledger:
        same(f"{row.name}: releases", row.releases, len(ledger.entries))
        same(f"{row.name}: event", row.event, to_dict(ledger.event()))


def _check_power(record: AuditRecord, row: MechanismResult, attack: AttackResult) -> None:
    name, attainable = f"{row.name}/{attack.attack}", attack.attainable_mu
    if attainable is not None and attainable > row.proven.mu.upper * (1.0 + TOLERANCE):
        raise RecordError(f"{name}: the tested worlds are farther apart than any may be")
    at_best = smallest_refutable(
        attack.trials,
        attack.trials,
        record.claim,
        confidence=attack.bound.confidence,
        method=attack.bound.method,  # type: ignore[arg-type]  # one of METHODS, checked before
        probability=attack.power.probability,
    )
    again = in_these_worlds(
        at_best, record.claim, proven_mu=row.proven.mu.upper, attainable_mu=attainable
    )
    if not math.isclose(attack.power.mu, again.mu, rel_tol=0.01):
        raise RecordError(
            f"{name}: power: the record says mu {attack.power.mu}, recomputing gives {again.mu}"
        )
    if attack.power.probability < 0.9:
        raise RecordError(f"{name}: power is stated at probability {attack.power.probability}")
    claimed, multiple = record.claimed_mu, attack.power.multiple
    if claimed is not None and multiple is not None and not math.isinf(multiple):
        near(f"{name}: power multiple", multiple, attack.power.mu / claimed.lower)
    if not math.isinf(attack.power.mu):
        largest = epsilon_interval(attack.power.delta, mu=attack.power.mu)[1]
        near(f"{name}: power epsilon", attack.power.epsilon, largest)


def check_bound(name: str, bound: EmpiricalBound) -> None:
    """The bound must follow from its counts."""
    risk = (1.0 - bound.confidence) / 2.0
    if bound.method not in METHODS:
        raise RecordError(f"{name}: no estimator is called {bound.method!r}")
    points = sorted({*bound.roc, *((c.fp, c.tp) for c in (bound.counts_mu, bound.counts_epsilon))})
    hits = [tp for _, tp in points]
    if bound.method == "band" and hits != sorted(hits):  # the curve is thinned, but only rises
        raise RecordError(f"{name}: the counts behind the bound are not on the recorded curve")
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
    near(f"{name}: FPR limit", bound.fpr_upper, fpr)
    near(f"{name}: FNR limit", bound.fnr_upper, fnr)
    near(f"{name}: mu", bound.mu_lower, max(0.0, float(mu_from_limits(fpr, fnr))))
    fpr, fnr = _limits(bound, bound.counts_epsilon)
    epsilon = max(0.0, float(epsilon_from_limits(fpr, fnr, bound.delta)))
    near(f"{name}: epsilon", bound.epsilon_lower, epsilon)
    converted = epsilon_interval(bound.delta, mu=bound.mu_lower)[0]
    near(f"{name}: epsilon by the Gaussian curve", bound.epsilon_lower_gaussian, converted)


def _limits(bound: EmpiricalBound, counts: Counts) -> tuple[float, float]:
    return (
        float(upper_limit(counts.fp, bound.n_out, bound.rate_level)),
        float(upper_limit(counts.fn, bound.n_in, bound.rate_level)),
    )


def close(what: str, found: Interval, again: Interval) -> None:
    """Both ends must be near."""
    near(f"{what} (lower end)", found.lower, again.lower)
    near(f"{what} (upper end)", found.upper, again.upper)


def near(what: str, found: float, again: float) -> None:
    """Equal but for the last digits, in which platforms differ."""
    if not (found == again or math.isclose(found, again, rel_tol=TOLERANCE, abs_tol=1e-12)):
        raise RecordError(f"{what}: the record says {found!r}, but recomputing gives {again!r}")


def same(what: str, found: object, again: object) -> None:
    """Equal."""
    if found != again:
        raise RecordError(f"{what}: the record says {found!r}, but recomputing gives {again!r}")
