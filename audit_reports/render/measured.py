"""Sections 5 to 7 of the report: attacks, what they measured, and the gap to the proof."""

import math

from ..estimators.bound import EmpiricalBound
from ..estimators.guess_bound import GuessBound
from ..figures import Drawing, raw_tpr
from ..record import AuditRecord
from ..results import AttackResult, MechanismResult
from ..text import at_least, at_most
from .blocks import Block, Cell, Figures, Section, Table, Text
from .reading import by, delta_of, trials_text

_RATES = (0.1, 0.01, 0.001)


def attacks(record: AuditRecord) -> Section:
    """Section 5."""
    pairs = [(m, a) for m in record.mechanisms for a in m.attacks]
    rows = tuple(
        (
            m.name,
            by(a),
            trials_text(a),
            *(_counted(a, rate) for rate in _RATES),
            f"{a.auc:.3f}",
            f"{a.seconds:.1f}",
            str(a.seed),
        )
        for m, a in pairs
    )
    questions = tuple(
        (
            f"{m.name}, {by(a)}",
            a.question,
            a.design,
            "yes" if a.optimal else "no",
            "varies" if a.attainable_mu is None else f"{a.attainable_mu:.4g}",
            a.scores_sha256,
        )
        for m, a in pairs
    )
    blocks = (
        Text(
            "Rates as counted, at the recorded threshold nearest below each false-positive rate; "
            "they are descriptions, the certified numbers follow below. A rate is left out where "
            "fewer than 10 false positives carry it."
        ),
        Table(
            caption="Attacks: true-positive rate (TPR) at three false-positive rates, as counted.",
            header=(
                "mechanism",
                "attack",
                "trials with + without",
                *(f"TPR at FPR {rate:g}" for rate in _RATES),
                "AUC (no interval)",
                "time (s)",
                "seed",
            ),
            rows=rows,
            numeric=(2, 3, 4, 5, 6, 7, 8),
        ),
        Table(
            caption="What was asked in the trials, and the hash of the scores",
            header=(
                "attack",
                "question",
                "design",
                "strongest possible on these worlds",
                "separation of the worlds under the declared noise (mu)",
                "SHA-256 of the scores",
            ),
            rows=questions,
            folded=True,
        ),
    )
    return Section("attacks", "Attacks", blocks)


def _counted(attack: AttackResult, rate: float) -> str:
    bound = attack.bound
    found = raw_tpr(bound, rate) if isinstance(bound, EmpiricalBound) else None
    return "too few" if found is None else f"{found:.4f}"


def measurement(record: AuditRecord, drawings: dict[str, Drawing]) -> Section:
    """Section 6."""
    pairs = [(m, a) for m in record.mechanisms for a in m.attacks]
    delta = delta_of(record)
    rows = tuple(
        (
            m.name,
            by(a),
            "not by this method" if a.bound.mu_lower is None else at_least(a.bound.mu_lower),
            at_least(a.bound.epsilon_lower_gaussian or 0.0),
            at_least(a.bound.epsilon_lower),
            f"{a.bound.confidence:g}",
            "unknown: not the best attack on these worlds"
            if math.isinf(a.power.epsilon)
            else f"epsilon {at_most(a.power.epsilon)} with probability {a.power.probability:g}",
            at_least(a.bound.ceiling_mu or 0.0),
        )
        for m, a in pairs
    )
    details = tuple(
        (
            f"{m.name}, {by(a)}",
            a.bound.method,
            a.bound.guarantee,
            _chosen(a.bound),
            f"{a.error_share:.3g} of {1.0 - record.confidence:.3g}",
            *_outcomes(a.bound),
            a.power.how,
        )
        for m, a in pairs
    )
    curves = tuple(
        (name, drawing, "Bold: certified, both rates limited, all thresholds at once. Thin: as "
         "counted, drawn only where at least 10 false positives carry it. Rates are fractions; "
         "both axes are logarithmic.")
        for name, drawing in drawings.items()
        if name.startswith("tradeoff-")
    )  # fmt: skip
    blocks: list[Block] = [
        Text(
            "Lower bounds from finitely many trials, one-sided: the true leakage to this adversary "
            "in these worlds is at least this, at the stated confidence. Finding little is no "
            "evidence of privacy by itself; read it together with the power."
        ),
        Table(
            caption=f"Measured lower bounds; epsilon in nats at delta = {delta:g}.",
            header=(
                "mechanism",
                "attack",
                "mu at least",
                "epsilon at least, on the Gaussian curve",
                "epsilon at least, no curve assumed",
                "confidence of this attack alone",
                "power: would have refuted",
                "largest mu these trials could show",
            ),
            rows=rows,
            numeric=(2, 3, 4, 5, 7),
        ),
        Table(
            caption="How each bound was computed",
            header=(
                "attack",
                "estimator",
                "guarantee",
                "threshold",
                "share of the allowed error",
                "with: said member / not",
                "without: said member / not",
                "FPR at most",
                "FNR at most",
                "power is",
            ),
            rows=details,
            folded=True,
        ),
    ]
    if curves:
        blocks.append(Figures(figures=curves))
    return Section("measured", "Measured bound", tuple(blocks))


def gap(record: AuditRecord, drawings: dict[str, Drawing]) -> Section:
    """Section 7."""
    rows = tuple(_gap_row(m, a) for m in record.mechanisms for a in m.attacks)
    table = Table(
        caption="Proven minus measured, in mu (no unit), per threat.",
        header=("mechanism", "threat", "proven at most", "measured at least", "gap", "reading"),
        rows=rows,
        numeric=(2, 3, 4),
    )
    blocks: list[Block] = []
    if "bounds" in drawings:
        caption = (
            "Bars: measured, one-sided. Diamond: proven, upper end. Dashed rule: the claim. "
            "An arrow at the edge: the value lies beyond it and is printed."
        )
        blocks.append(Figures(figures=(("bounds", drawings["bounds"], caption),)))
    return Section("gap", "Gap between proof and measurement", (*blocks, table))


def _chosen(bound: EmpiricalBound | GuessBound) -> str:
    return bound.threshold_from if isinstance(bound, EmpiricalBound) else bound.k_from


def _outcomes(bound: EmpiricalBound | GuessBound) -> tuple[str, str, str, str]:
    """Hits / misses, false alarms / rejections, and the limits of the two error rates."""
    if isinstance(bound, GuessBound):
        return f"{bound.correct} of {bound.guesses} right", "", "", ""
    counts = bound.counts_mu
    return (
        f"{counts.tp} / {counts.fn}",
        f"{counts.fp} / {counts.tn}",
        at_most(bound.fpr_upper),
        at_most(bound.fnr_upper),
    )


def _gap_row(mechanism: MechanismResult, attack: AttackResult) -> tuple[Cell, ...]:
    upper, lower = mechanism.proven.mu.upper, attack.bound.mu_lower or 0.0
    difference = upper - lower
    reachable = attack.attainable_mu
    if math.isinf(upper):
        reading = "nothing is proven, so the gap says nothing"
    elif difference < 0:
        reading = "measured above proven: the code does not do what it declares"
    elif reachable is None:
        reading = "open: stronger attacks or worse neighbours may lie between"
    else:
        worlds = upper - reachable
        first = f"up to {at_most(worlds, 3)} for worse neighbours or a stronger adversary"
        if worlds < 1e-9 * upper:
            first = "no neighbours and no adversary are worse"
        reading = f"{first}; up to {at_most(max(0.0, reachable - lower), 3)} for more trials"
    return (
        mechanism.name,
        by(attack),
        at_most(upper),
        at_least(lower),
        at_most(difference),
        reading,
    )
