"""A record of `privassay run` must follow from its audit file, its events and its counts."""

import hashlib
import math
from pathlib import Path

from ..accountant import jsonio
from ..accountant.account import account
from ..accountant.errors import ConfigError, LedgerError, RecordError
from ..accountant.event_json import from_dict, to_dict
from ..accountant.gaussian import epsilon_interval
from ..accountant.ledger import Ledger
from ..attacks.adversary import adversary
from ..fl_core.config import RESERVED, AuditFile
from ..fl_core.config import parse as parse_file
from ..mechanisms.catalog import MECHANISMS
from .estimators.bound import EmpiricalBound
from .estimators.power import in_these_worlds, smallest_refutable
from .hazards import checklist
from .limits import limits
from .record import AuditRecord
from .results import AttackResult, MechanismResult
from .run_assumptions import LABELS, encoder
from .verdict import judge, overall
from .verify_bound import check_auc, check_bound
from .verify_checks import TOLERANCE, close, near, same, same_list
from .verify_given import check_given

UNCHECKED = (
    "that counts and accuracies came from the run (run the file again and compare)",
    "scores_sha256, since scores of attacks are not kept",
    "accuracies beyond their ranges and means; reconstructions, shares of clipped records, the "
    "table of equal noise power, and texts of attacks' questions",
    "whether assumptions hold; how many a mechanism has, and their words",
    "environment: where and when it ran",
)


def check_run(record: AuditRecord) -> tuple[list[str], AuditFile]:
    """What was checked, a line each, and the file.

    Raises:
        RecordError: something does not fit.
    """
    file = _check_against_file(record)
    done = ["it is what its audit file asks for, changes included"]
    for row in record.mechanisms:
        _check_mechanism(record, row)
        _check_parameters(file, row)
        done.append(f"{row.name}: proven bound, {len(row.attacks)} measured bounds, verdict")
    _check_utility(record, file)
    again = overall([(r.name, r.verdict.word, r.expect) for r in record.mechanisms])
    same("the overall verdict", record.verdict, again)
    return [*done, f"overall verdict: {again.word}"], file


def check_words(record: AuditRecord, file: AuditFile) -> None:
    """Limits, hazards and a run's own assumptions follow from the file and the results.

    Raises:
        RecordError: they are others.
    """
    same_list("the limits", record.limits, limits(file))
    for row in record.mechanisms:
        if row.assumptions[:2] not in [(encoder(holds), LABELS) for holds in (True, None, False)]:
            raise RecordError(
                f"{row.name}: the assumptions about the encoder and the labels are not those of "
                "a run"
            )
    intact = all(a.holds is not False for m in record.mechanisms for a in m.assumptions)
    # The encoder is looked at once more at the end, so that it may also have changed since.
    states = (True, False) if intact else (False,)
    lists = [checklist(record.claim, record.mechanisms, same_encoder=state) for state in states]
    if record.hazards not in lists:
        same_list("the hazards", record.hazards, lists[0])


def check_ledger(record: AuditRecord, row: MechanismResult, path: Path) -> None:
    """The ledger on the disk must be the one that the record names, and give its event.

    Raises:
        RecordError: it does not, or it is damaged; nothing is written.
    """
    if not path.is_file():
        raise RecordError(f"the run has no ledger for {row.name} ({path.name} is missing)")
    claim = record.claim
    try:
        ledger = Ledger.finished(path, adjacency=claim.adjacency, unit=claim.unit)
        event = to_dict(ledger.event())
        content = path.read_bytes()
    except (LedgerError, OSError) as error:
        raise RecordError(f"ledger/{path.name}: {error}") from None
    same(f"{row.name}: releases", row.releases, len(ledger.entries))
    same(f"{row.name}: event", row.event, event)
    same(f"{row.name}: ledger_sha256", row.ledger_sha256, hashlib.sha256(content).hexdigest())


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
        name = f"{row.name}/{attack.attack}"
        check_bound(name, attack.bound)
        check_auc(name, attack.bound, attack.auc)
        same(f"{name}: what the adversary sees", attack.sees, adversary(attack.adversary).sees)
        same(f"{name}: seed", attack.seed, record.seed)
        informed = (attack.attack, attack.adversary) == ("informed_linear", "server")
        if row.kind in MECHANISMS or attack.optimal:  # of other kinds it may be less than optimal
            same(f"{name}: optimal", attack.optimal, informed)
        share = (1.0 - attack.bound.confidence) / (1.0 - record.confidence)
        near(f"{name}: share of the error", attack.error_share, share)
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


def _check_against_file(record: AuditRecord) -> AuditFile:
    """What the resolved audit file says must be what the record says."""
    try:
        file = parse_file(record.resolved)
    except ConfigError as error:
        raise RecordError(f"the resolved audit file in the record is damaged: {error}") from None
    check_given(
        record.given,
        record.changes,
        record.resolved,
        lambda data: parse_file(data).model_dump(mode="json"),
    )
    methods = {a.bound.method for m in record.mechanisms for a in m.attacks}
    for what, found, wanted in (
        ("claim", jsonio.dump(record.claim), jsonio.dump(file.claim.claim())),
        ("seed", record.seed, file.seed),
        ("title", record.title, file.title),
        ("confidence", record.confidence, file.estimate.confidence),
        ("power multiple", record.power_multiple, file.gate.power_multiple),
        ("method", methods.pop() if len(methods) == 1 else sorted(methods), file.estimate.method),
    ):
        same(f"{what} (audit file against record)", found, wanted)
    same_list(
        "mechanisms (audit file against record)",
        [(m.name, m.kind, m.expect, m.description) for m in record.mechanisms],
        [(m.name, m.kind, m.expect, m.description) for m in file.mechanism],
    )
    for row in record.mechanisms:
        same_list(
            f"{row.name}: attacks (audit file against record)",
            [(a.attack, a.adversary, a.trials) for a in row.attacks],
            [(a.name, a.adversary, a.trials) for a in file.attack],
        )
    claimed = record.claim.gaussian_mu() if record.claim.is_curve else None
    if claimed is not None and record.claimed_mu is not None:
        close("claimed mu", record.claimed_mu, claimed)
    else:
        same("claimed mu", record.claimed_mu, claimed)
    return file


def _check_parameters(file: AuditFile, row: MechanismResult) -> None:
    """Public parameters, as far as the file alone says them."""
    release, name = file.release, f"{row.name}: parameters"
    told = {
        "dimensions": file.model.dimensions,
        "public_count (records)": release.public_count,
        "rounds": release.rounds,
        "clip_norm (feature units)": release.clip_norm,
    }
    sizes_key, noise_key = "group_sizes", "declared noise_stddevs (prototype units)"
    power_key = "declared noise power (sum of variances)"
    same(name, set(row.parameters), {*told, sizes_key, noise_key, power_key})
    for key, value in told.items():
        same(f"{name}: {key}", row.parameters[key], value)
    sizes, noise, power = (row.parameters[key] for key in (sizes_key, noise_key, power_key))
    if not isinstance(sizes, list) or not isinstance(noise, list) or len(sizes) != len(noise):
        raise RecordError(f"{name}: {sizes_key} and {noise_key} must be lists of equal length")
    same(f"{name}: sum of {sizes_key}", math.fsum(sizes), float(file.model.dimensions))
    spent = math.fsum(d * s * s for d, s in zip(sizes, noise, strict=True))
    if isinstance(power, str | list):
        raise RecordError(f"{name}: {power_key} is no number")
    near(f"{name}: {power_key}", power, spent)


def _check_utility(record: AuditRecord, file: AuditFile) -> None:
    """Accuracies have no raw values; that none is missing or impossible can be seen."""
    names = {row.variant for row in record.utility}
    same("the variants of the utility table", names, {*(m.name for m in file.mechanism), *RESERVED})
    equal = {
        m.name
        for m in record.mechanisms
        if m.expect is None and record.claim.is_proven_by(m.proven)
    }
    for row in record.utility:
        name = f"utility of {row.variant}, {row.client}"
        same(f"{name}: seeds", row.seeds, file.training.seeds)
        same(f"{name}: at equal budget", row.equal_budget, row.variant in equal)
        if not 0.0 <= row.lower <= row.mean <= row.upper <= 1.0:
            raise RecordError(
                f"{name}: {row.lower!r} <= {row.mean!r} <= {row.upper!r} is no interval in [0, 1]"
            )
    for variant, metric in {(row.variant, row.metric) for row in record.utility}:
        own = [r for r in record.utility if (r.variant, r.metric) == (variant, metric)]
        clients = [r.mean for r in own if r.client != "mean"]
        means = [r.mean for r in own if r.client == "mean"]
        name = f"utility of {variant} ({metric})"
        everyone = {r.client for r in record.utility}
        same(f"{name}: clients", (len(own), {r.client for r in own}), (len(everyone), everyone))
        near(f"{name}: mean over clients", means[0], math.fsum(clients) / len(clients))


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
