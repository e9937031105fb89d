"""The parts of a record: what each attack, mechanism, control and check gave."""

from dataclasses import dataclass
from typing import Any

from ..accountant.assumption import Assumption
from ..accountant.bounds import Interval, ProvenBound
from .estimators.bound import EmpiricalBound
from .estimators.guess_bound import GuessBound
from .estimators.power import RefutablePower
from .verdict import Verdict, Word

PROFILE = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Epsilons at which a record holds the largest delta."""


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """One membership attack on one mechanism.

    Attributes:
        attack: its name; adversary: who made it; sees: what that adversary saw.
        design: of the experiment, see `Scores`; seed: root of its trials; trials: in each world.
        question: how the two worlds differ, in words.
        optimal: whether theory says that no attack on these two worlds is stronger.
        attainable_mu: the mu that separates these two worlds under the declared noise; None if
            the worlds differ from trial to trial. An upper limit for a correct mechanism.
        error_share: part of 1 - confidence that this attack may spend.
        auc: area under the curve of the scores, a description without interval.
        scores_sha256: of both score arrays, float64, in-scores first.
        seconds: wall time.
        bound: what the scores show.
        power: what they could have shown.
    """

    attack: str
    adversary: str
    sees: str
    design: str
    seed: int
    trials: int
    question: str
    optimal: bool
    attainable_mu: float | None
    error_share: float
    auc: float
    scores_sha256: str
    seconds: float
    bound: EmpiricalBound | GuessBound
    power: RefutablePower


@dataclass(frozen=True, kw_only=True)
class MechanismResult:
    """One row of the audit.

    Attributes:
        name, kind, description: from the audit file.
        expect: the verdict that this control should get; None for a subject.
        parameters: public parameters, with units in the key.
        event: what everything in the ledger costs together, as JSON.
        assumptions: of the proof.
        proven: the accountant's bound.
        proven_epsilon: at the claim's delta.
        profile: (epsilon, largest delta) pairs.
        releases: entries in the ledger; ledger_sha256: of its file.
        clipped: share of the private records that each clip bound shortened: a diagnostic of this
            audit, not a released value.
        attacks: the results.
        verdict: on the claim.
    """

    name: str
    kind: str
    description: str
    expect: Word | None
    parameters: dict[str, float | int | str | list[float]]
    event: dict[str, Any]
    assumptions: tuple[Assumption, ...]
    proven: ProvenBound
    proven_epsilon: Interval
    profile: tuple[tuple[float, float], ...]
    releases: int
    ledger_sha256: str
    clipped: tuple[float, ...]
    attacks: tuple[AttackResult, ...]
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class UtilityRow:
    """Accuracy of one variant at one client, over seeds.

    Attributes:
        variant: a mechanism or a control; client: whose test set, or "mean".
        metric: "head" (the client's own model) or "prototype" (nearest global prototype).
        mean: over seeds; lower, upper: 95 % Student t interval of the mean.
        seeds: number of seeds.
        equal_budget: whether the variant is at the claimed budget, and so part of the comparison.
    """

    variant: str
    client: str
    metric: str
    mean: float
    lower: float
    upper: float
    seeds: int
    equal_budget: bool


@dataclass(frozen=True, kw_only=True)
class InversionRow:
    """Reconstruction from one prototype, beside its control.

    Attributes:
        case: which prototype, in words; label: its class; adversary: who held it.
        cosine: between the features of the reconstruction and the prototype.
        psnr: in dB, of the nearest record; control_psnr: of the nearest record, from a prototype
            of disjoint records of the class.
        pictures: PNG as base64: nearest record, reconstruction, reconstruction of the control.
            Only where the records are synthetic.
    """

    case: str
    label: str
    adversary: str
    cosine: float
    psnr: float
    control_psnr: float
    pictures: tuple[str, str, str] | None


@dataclass(frozen=True, kw_only=True)
class EqualPowerRow:
    """What groupwise noise with only a global clip costs, at the noise power of isotropic noise.

    Attributes:
        quiet_fraction: share of quiet dimensions; noise_ratio: loud over quiet.
        isotropic_epsilon: of isotropic noise of this power; epsilon: exact, of the groupwise noise.
        delta: of both.
    """

    quiet_fraction: float
    noise_ratio: float
    isotropic_epsilon: float
    epsilon: Interval
    delta: float


@dataclass(frozen=True, kw_only=True)
class Hazard:
    """One item of the checklist.

    Attributes:
        item: its number; text: the hazard.
        severity: "C" breaks the guarantee, "T" breaks the proof as written, "N" negligible.
        status: the outcome; evidence: what shows it.
    """

    item: str
    text: str
    severity: str
    status: str
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where and when it ran. No names, no paths.

    Attributes:
        created: UTC, ISO 8601; seconds: wall time of the whole run.
        python, platform: versions; packages: version of each.
        source_sha256: of privassay's own source; git_revision: or "not a checkout".
        config_sha256: of the audit file's bytes; data_sha256: of each set of records.
    """

    created: str
    seconds: float
    python: str
    platform: str
    packages: dict[str, str]
    source_sha256: str
    git_revision: str
    config_sha256: str
    data_sha256: dict[str, str]
