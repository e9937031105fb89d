"""A membership experiment: worlds, an adversary's view, an attack, scores."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..accountant.claim import PrivacyClaim
from ..accountant.errors import ConfigError, DesignError
from ..attacks.adversary import adversary
from ..attacks.membership.informed_linear import InformedLinear
from ..attacks.membership.prototype_distance import PrototypeDistance
from ..attacks.scores import Scores
from ..fl_core import worlds
from ..fl_core.config import AttackSection, AuditFile, InversionSection
from ..fl_core.task import Task
from ..mechanisms.base import Key, Mechanism
from ..mechanisms.broken import NoiseHalved
from ..mechanisms.prototypes import NoisyPrototypes
from .estimators.alpha_ledger import AlphaLedger
from .estimators.auc import auc
from .estimators.estimate import estimate_scores
from .estimators.power import in_these_worlds, smallest_refutable
from .results import AttackResult
from .stages import array_hash

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Experiment:
    """Scores and what is known about the two worlds.

    Attributes:
        scores: of all trials.
        attainable_mu: separation of the two worlds under the declared noise; None if it varies.
        question: how the worlds differ, in words.
        optimal: whether no attack on these worlds is stronger.
        sees: what the adversary saw.
    """

    scores: Scores
    attainable_mu: float | None
    question: str
    optimal: bool
    sees: str


def measure(
    task: Task,
    mechanism: Mechanism,
    audit: AuditFile,
    attack: AttackSection,
    claim: PrivacyClaim,
    *,
    key: Key,
    confidence: float,
    proven_mu: float,
    progress: Progress,
) -> AttackResult:
    """Run the attack's trials and turn its scores into a bound.

    Args:
        task: the records.
        mechanism: what is attacked.
        audit: the audit file.
        attack: the section of it to run.
        claim: what is to be refuted.
        key: root of the trials' noise.
        confidence: 1 minus the error that this attack may spend.
        proven_mu: upper end of the proven bound, for the power in the worlds that are tested.
        progress: called with (trials done, all trials).
    """
    start = time.monotonic()
    experiment = run_trials(task, mechanism, audit, attack, key=key, progress=progress)
    scores = experiment.scores
    method = audit.estimate.method
    bound = estimate_scores(scores, claim, confidence=confidence, method=method, seed=audit.seed)
    at_best = smallest_refutable(
        scores.values_in.size, scores.values_out.size, claim, confidence=confidence, method=method
    )
    power = in_these_worlds(
        at_best, claim, proven_mu=proven_mu, attainable_mu=experiment.attainable_mu
    )
    return AttackResult(
        attack=attack.name,
        adversary=attack.adversary,
        sees=experiment.sees,
        design=scores.design,
        seed=audit.seed,
        trials=attack.trials,
        question=experiment.question,
        optimal=experiment.optimal,
        attainable_mu=experiment.attainable_mu,
        error_share=(1.0 - confidence) / (1.0 - audit.estimate.confidence),
        auc=auc(scores.values_in, scores.values_out),
        scores_sha256=array_hash(scores.values_in, scores.values_out),
        seconds=round(time.monotonic() - start, 3),
        bound=bound,
        power=power,
    )


def run_trials(
    task: Task,
    mechanism: Mechanism,
    audit: AuditFile,
    attack: AttackSection,
    *,
    key: Key,
    progress: Progress,
) -> Experiment:
    """The scores of all trials of one attack."""
    name = audit.estimate.target_client or task.clients[0]
    client = task.client_index(name, key="estimate.target_client")
    target = worlds.choose_target(task, mechanism, client=client, label=audit.estimate.target_class)
    informed = attack.name == "informed_linear"
    if informed:
        indices = torch.full((attack.trials,), target.strongest)
    else:
        draw = key.child("targets").generator().integers(len(target.records), size=attack.trials)
        indices = torch.from_numpy(draw)
    shift, background = _worlds(task, mechanism, target, audit, attack.adversary)
    values: dict[str, list[Tensor]] = {"in": [], "out": []}
    method: InformedLinear | PrototypeDistance = PrototypeDistance()
    if informed:
        method = InformedLinear(background=background, noise_scale=worlds.noise_scale(mechanism))
    for block, present, absent in worlds.trials(
        task,
        mechanism,
        target,
        indices=indices,
        adjacency=audit.claim.adjacency,
        rounds=audit.release.rounds,
        with_peers=attack.adversary != "server",
        key=key,
    ):
        candidates = shift if informed else target.records[block]
        for world, transcript in (("in", present), ("out", absent)):
            values[world].append(method.score(transcript.view(attack.adversary), candidates))
        progress(sum(map(len, values["in"])), attack.trials)
    label = task.class_names[target.label]
    return Experiment(
        scores=Scores(
            values_in=_array(values["in"]),
            values_out=_array(values["out"]),
            design="many_runs",
            adversary=attack.adversary,
            attack=attack.name,
            adjacency=audit.claim.adjacency,
            unit=audit.claim.unit,
            seed=audit.seed,
        ),
        attainable_mu=_attainable(task, mechanism, audit, attack.adversary, shift)
        if informed
        else None,
        question=_question(audit, name, label, len(target.records), informed),
        # Neyman-Pearson for Gaussian noise of equal size in all rounds, which these two add.
        optimal=informed
        and attack.adversary == "server"
        and isinstance(mechanism, NoisyPrototypes | NoiseHalved),
        sees=adversary(attack.adversary).sees,
    )


def _worlds(
    task: Task, mechanism: Mechanism, target: worlds.Target, audit: AuditFile, adversary_name: str
) -> tuple[Tensor, Tensor]:
    """(shift, background) of what the adversary averages: float64[dim] each."""

    def prototype(records: Tensor) -> Tensor:
        return mechanism.statistic(records, torch.zeros(len(records), dtype=torch.int64), 1)[0]

    absent = prototype(worlds.neighbour(target.records, target.strongest, audit.claim.adjacency))
    shift = prototype(target.records) - absent
    if adversary_name == "server":
        return shift, absent
    others = [
        prototype(task.train_x[c][task.train_y[c] == target.label])
        for c in range(len(task.clients))
        if c != target.client
    ]
    background = torch.stack([absent, *others]).mean(dim=0)
    return shift / len(task.clients), background


def _attainable(
    task: Task, mechanism: Mechanism, audit: AuditFile, adversary_name: str, shift: Tensor
) -> float | None:
    if not any(mechanism.noise_stddevs):
        return None
    senders = 1 if adversary_name == "server" else len(task.clients)
    noise = worlds.noise_scale(mechanism) / senders**0.5
    distance = float((shift / noise).norm().item())
    return distance * math.sqrt(audit.release.rounds)


def _question(audit: AuditFile, client: str, label: str, count: int, informed: bool) -> str:
    which = (
        "the one that moves the noise-scaled class sum most, the same in every trial"
        if informed
        else "drawn anew in every trial"
    )
    other = {
        "add-remove": "absent",
        "zero-out": "replaced by zeros",
        "replace-one": "replaced by its antipode in feature space",
    }[audit.claim.adjacency]
    return (
        f"is one of the {count} records of class {label} of client {client} ({which}) "
        f"present, or is it {other}?"
    )


def _array(parts: list[Tensor]) -> NDArray[np.float64]:
    if not parts:
        raise DesignError("no trial was run")
    result: NDArray[np.float64] = torch.cat(parts).numpy()
    return result


def allowed_errors(audit: AuditFile) -> list[float]:
    """The error that each attack may spend: as given, or equal parts of 1 - confidence.

    Raises:
        DesignError: the parts exceed the whole.
    """
    ledger = AlphaLedger(1.0 - audit.estimate.confidence)
    for number, attack in enumerate(audit.attack):
        share = 1.0 / len(audit.attack) if attack.error_share is None else attack.error_share
        ledger.spend(f"{number}: {attack.name} by the {attack.adversary}", share * ledger.total)
    return list(ledger.entries.values())


def check_file(audit: AuditFile, task: Task) -> None:
    """Raise `ConfigError` for a client or class that does not exist, before minutes are spent."""
    task.client_index(audit.estimate.target_client or task.clients[0], key="estimate.target_client")
    labels = {"estimate.target_class": [audit.estimate.target_class]}
    if audit.inversion is not None:
        task.client_index(audit.inversion.client, key="inversion.client")
        labels["inversion.classes"] = audit.inversion.classes
        _check_inversion(audit.inversion, task)
    for key, values in labels.items():
        for label in values:
            if not 0 <= label < task.classes:
                raise ConfigError(f"{key} = {label}, but the classes are 0..{task.classes - 1}")


def _check_inversion(section: InversionSection, task: Task) -> None:
    client = task.client_index(section.client, key="inversion.client")
    for label in section.classes:
        for name, labels in (("train", task.train_y[client]), ("test", task.test_y[client])):
            if not (labels == label).any():
                raise ConfigError(
                    f"inversion: client {section.client!r} has no {name} record of class {label}; "
                    "the reconstruction needs some, and its control needs others"
                )
