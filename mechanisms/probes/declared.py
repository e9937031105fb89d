"""Declaration checks: a quoted number, formula, sampler or choice against what it would need."""

import math
from collections.abc import Mapping

import dp_accounting.dp_event as dpe

from ...accountant import check
from ...accountant.account import account
from ...accountant.adjacency import Adjacency
from .finding import Finding

PROBE = "declaration"
TERMS = ("unit", "adjacency", "view", "delta", "rounds", "sampling_rate", "sampler")


def quoted(
    event: dpe.DpEvent, *, adjacency: Adjacency, epsilon: float, delta: float, what: str = "event"
) -> Finding:
    """Fires where the exact epsilon of everything released is above the one that is quoted."""
    check.non_negative(epsilon=epsilon)
    exact = account(event, adjacency=adjacency).epsilon(delta)
    return Finding(
        probe=PROBE,
        fired=exact.lower > epsilon,
        text=f"{what}: epsilon {exact.upper:.6g} exactly, {epsilon:.6g} quoted, at delta {delta:g}",
        measured=exact.upper,
        declared=epsilon,
    )


def complete(declaration: Mapping[str, object]) -> Finding:
    """Fires where something that a number needs is not declared: no epsilon may be printed."""
    missing = [term for term in TERMS if declaration.get(term) is None]
    return Finding(
        probe=PROBE,
        fired=bool(missing),
        text=f"not declared: {', '.join(missing)}" if missing else "everything is declared",
        measured=float(len(missing)),
        declared=0.0,
    )


def classical_gaussian(epsilon: float, delta: float) -> Finding:
    """Fires outside epsilon <= 1, where sigma = Delta sqrt(2 ln(1.25/delta))/epsilon is not proven.

    Source: Dwork & Roth, 2014, Theorem A.1.
    """
    check.positive(epsilon=epsilon)
    multiplier = math.sqrt(2.0 * math.log(1.25 / delta)) / epsilon
    exact = account(dpe.GaussianDpEvent(multiplier), adjacency="add-remove").epsilon(delta).upper
    return Finding(
        probe=PROBE,
        fired=epsilon > 1.0,
        text=f"the classical formula at epsilon {epsilon:g} gives {exact:.6g} exactly",
        measured=exact,
        declared=epsilon,
    )


def amplification(*, sampler: str, secret: bool, rate: float) -> Finding:
    """Fires where amplification by sampling is claimed and there is none to claim.

    Args:
        sampler: "poisson", or the name of any other.
        secret: whether who takes part cannot be computed by the adversary.
        rate: the sampling rate of the account; 1 claims nothing.
    """
    check.probability(rate=rate)
    claimed = rate < 1.0
    fired = claimed and not (sampler == "poisson" and secret)
    kind = f"{'secret' if secret else 'public'} {sampler} sampling"
    return Finding(
        probe=PROBE,
        fired=fired,
        text=f"rate {rate:g} accounted for {kind}",
        measured=1.0 if fired else rate,
        declared=rate,
    )


def choices(made_on: Mapping[str, str]) -> Finding:
    """Fires where something was chosen on private data and neither charged nor public.

    Args:
        made_on: what was chosen -> "public", "charged", or the name of the data.
    """
    wrong = [f"{name} on {data}" for name, data in made_on.items()
             if data not in ("public", "charged")]  # fmt: skip
    return Finding(
        probe=PROBE,
        fired=bool(wrong),
        text=f"chosen without charge: {', '.join(wrong)}" if wrong else "every choice is covered",
        measured=float(len(wrong)),
        declared=0.0,
    )


def members(
    members: Mapping[int, int], non_members: Mapping[int, int], trained_on: set[int]
) -> Finding:
    """Fires where a membership attack is not one: wrong members, or another mix of classes.

    Args:
        members: record -> class, called members.
        non_members: record -> class.
        trained_on: records in the log of the training.
    """
    outside = sum(record not in trained_on for record in members)
    inside = sum(record in trained_on for record in non_members)
    mixes = [sorted(group.values()) for group in (members, non_members)]
    fired = bool(outside or inside or mixes[0] != mixes[1])
    return Finding(
        probe="audit validity",
        fired=fired,
        text=f"{outside} of {len(members)} members were not trained on, {inside} of "
        f"{len(non_members)} non-members were; class mixes are "
        f"{'equal' if mixes[0] == mixes[1] else 'different'}",
        measured=float(outside + inside),
        declared=0.0,
    )
