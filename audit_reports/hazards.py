"""The hazards checklist: what breaks guarantees in practice, and how each item stands here.

Severity: C breaks the guarantee, T breaks the proof as written, N negligible unless scaled.
"""

from collections.abc import Sequence

from ..accountant.claim import PrivacyClaim
from .results import Hazard, MechanismResult

OK, FAILED, OPEN, NONE = "checked ok", "checked failed", "not checked", "not applicable"


def checklist(
    claim: PrivacyClaim, mechanisms: Sequence[MechanismResult], *, same_encoder: bool
) -> tuple[Hazard, ...]:
    """All items, for a run of noisy prototypes on a frozen encoder.

    Args:
        claim: what is asserted.
        mechanisms: the audited mechanisms.
        same_encoder: whether the encoder's weights were the same after the run as before.
    """
    subjects = [m for m in mechanisms if m.expect is None]
    beaten = [m.name for m in mechanisms if m.verdict.word == "REFUTED"]
    above = [
        f"{m.name}/{a.attack}"
        for m in subjects
        for a in m.attacks
        if a.attainable_mu is not None and (a.bound.mu_lower or 0.0) > a.attainable_mu
    ]
    informed = [a for m in subjects for a in m.attacks if a.attainable_mu is not None]
    public = ", ".join(claim.unprotected)
    return (
        _hazard(
            "H1",
            "the divisor depends on private counts",
            "C",
            OK,
            "class sums are divided by release.public_count",
        ),
        _hazard(
            "H2",
            "noise is scaled to another sensitivity than the clip gives",
            "C",
            FAILED if above else OK if informed else OPEN,
            f"measured separation exceeds the declared one: {', '.join(above)}"
            if above
            else "in no subject does the informed attack separate better than the declared noise "
            "allows" + (f"; it does in {', '.join(beaten)}" if beaten else ""),
        ),
        _hazard(
            "H3",
            "the accounting assumes another sampler than the one that ran",
            "C",
            NONE,
            "every record enters every round; no amplification is claimed",
        ),
        _hazard(
            "H4",
            "adjacency or unit differs between claim, mechanism, accountant and attack",
            "C",
            OK,
            f"all four say {claim.adjacency}, one {claim.unit}; a mismatch raises",
        ),
        _hazard(
            "H5",
            "an empty class or a NaN record changes the path",
            "C",
            OK,
            "both release zero plus noise (conformance tests)",
        ),
        _hazard(
            "H6",
            "sums are clipped instead of records",
            "C",
            OK,
            "each record is clipped by itself before the sum",
        ),
        _hazard(
            "H7",
            "records influence each other's features",
            "C",
            OK if same_encoder else FAILED,
            "the encoder is frozen in evaluation mode; its hash is the same before and after"
            if same_encoder
            else "the encoder's weights changed during the run",
        ),
        _hazard(
            "H8",
            "noise from a seeded, reused or weak generator",
            "C",
            OPEN,
            "this audit uses seeded Philox counters, one key per release, so that it can be "
            "repeated; the deployed system's generator was not seen",
        ),
        _hazard(
            "H9",
            "metadata treated as public",
            "C",
            OK if public else OPEN,
            f"the claim lists: {public}" if public else "the claim does not say",
        ),
        _hazard(
            "H10",
            "tuning, or the choice among several runs, is not accounted",
            "C",
            OPEN,
            f"the claim covers: {claim.covers}",
        ),
        _hazard(
            "H11",
            "auxiliary information, correlated records or clients",
            "T",
            OPEN,
            "differential privacy bounds what one record adds, not what others reveal",
        ),
        _hazard(
            "H12", "floating-point Gaussian noise", "T", OPEN, "double precision; no exact sampler"
        ),
    )


def _hazard(item: str, text: str, severity: str, status: str, evidence: str) -> Hazard:
    return Hazard(item=item, text=text, severity=severity, status=status, evidence=evidence)
