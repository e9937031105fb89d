"""What a published or sound mechanism object costs, and the verdict on its claim without a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from ...accountant.account import account
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.assumption import Assumption
from ...accountant.bounds import Interval, ProvenBound
from ...accountant.claim import PrivacyClaim
from ...accountant.event_json import from_dict, to_dict
from ..verdict import Word, judge

WITHIN = (
    "the bound is within the claim; CONSISTENT also needs attacks with known power, and a dossier "
    "runs none"
)


@dataclass(frozen=True, kw_only=True)
class Account:
    """One mechanism object, accounted exactly under one complete claim.

    Attributes:
        mode: "released" or "sound".
        what: the object and its switches, in words.
        view: who looks.
        claimed: epsilon that is claimed; delta: at which.
        mu: the object is mu-GDP for this mu, rounded up; infinite where nothing is proven.
        epsilon: enclosure at delta; (inf, inf) where no bound exists.
        word: the verdict on that claim with no attack run; reason: why.
        in_claim: whether the claim covers this view and these releases.
    """

    mode: Literal["released", "sound"]
    what: str
    view: str
    unit: Unit
    adjacency: Adjacency
    claimed: float
    delta: float
    mu: float
    epsilon: Interval
    word: Word
    reason: str
    in_claim: bool = True


def bound_of(event: dpe.DpEvent, adjacency: Adjacency, unit: Unit = "example") -> ProvenBound:
    """The proven bound of `event`. Tables repeat the accounts, and an engine may take a second."""
    return _bound(json.dumps(to_dict(event)), adjacency, unit)


@lru_cache(maxsize=64)
def _bound(text: str, adjacency: Adjacency, unit: Unit) -> ProvenBound:
    return account(from_dict(json.loads(text)), adjacency=adjacency, unit=unit)


def accounted(
    mode: Literal["released", "sound"],
    what: str,
    event: dpe.DpEvent,
    *,
    view: str,
    unit: Unit,
    adjacency: Adjacency,
    claimed: float,
    delta: float,
    assumptions: Sequence[Assumption] = (),
    in_claim: bool = True,
) -> Account:
    """Account `event`, and judge the claim (claimed, delta) that is completed by the rest.

    The verdict is that of an audit without attacks: UNSUPPORTED where the bound or one of
    `assumptions` fails, else INCONCLUSIVE, because CONSISTENT needs an attack with known power.
    """
    bound = bound_of(event, adjacency, unit)
    claim = PrivacyClaim(epsilon=claimed, delta=delta, adjacency=adjacency, unit=unit)
    found = judge(
        claim, proven=bound, assumptions=assumptions, measured=(), releases=1, power_multiple=4.0
    )
    return Account(
        mode=mode,
        what=what,
        view=view,
        unit=unit,
        adjacency=adjacency,
        claimed=claimed,
        delta=delta,
        mu=bound.mu.upper,
        epsilon=bound.epsilon(delta),
        word=found.word,
        reason=WITHIN if found.word == "INCONCLUSIVE" else found.reasons[0],
        in_claim=in_claim,
    )
