"""A guarantee in words, for readers who will not look at a curve."""

import math
from collections.abc import Sequence

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check
from .assumption import Assumption
from .bounds import ProvenBound
from .digits import at_least, at_most, percent_at_most
from .releases import Releases, releases

_MOST_KINDS = 4
_RATES = (1e-3, 1e-2)


def statement(
    bound: ProvenBound,
    *,
    delta: float = 1e-5,
    event: dpe.DpEvent | None = None,
    assumptions: Sequence[Assumption | str] = (),
) -> str:
    """What `bound` promises, in plain English, and what must be true for that.

    A few sentences, then the assumptions, one line each. Upper limits are rounded up and lower
    ones down.

    Args:
        bound: what is proven.
        delta: where epsilon is stated, in (0, 1).
        event: what was released; then its releases and the assumptions that they carry are named.
        assumptions: further ones.

    Raises:
        ParameterError: delta outside its range.

    >>> from .account import account
    >>> event = dpe.GaussianDpEvent(1.0)
    >>> statement(account(event, adjacency="add-remove"), event=event).split(". ")[1]
    'At delta 1e-5, epsilon is at most 4.378, and it is not below 4.377'
    """
    check.open_probability(delta=delta)
    found = None if event is None else releases(event, bound.unit)
    sentences = [_protected(bound), _epsilon(bound, delta), *_attacker(bound), _covers(found)]
    if found is None or found.counts:
        sentences.append(
            "A later release may depend on earlier ones, but the noise, the sampling and the "
            "number of releases may not."
        )
    return "\n".join([" ".join(sentences), *_conditions(bound, found, assumptions)])


def _protected(bound: ProvenBound) -> str:
    one = bound.group_size == 1
    whom = f"one {bound.unit}" if one else f"any {bound.group_size} {bound.unit}s together"
    who = f"one {bound.unit} is" if one else f"up to {bound.group_size} {bound.unit}s are"
    change = {
        "add-remove": f"{who} added or removed",
        "replace-one": f"{who} replaced by any other" + ("" if one else "s"),
        "zero-out": f"the contribution of {whom.replace('any ', 'up to ')} is replaced by zero",
    }[bound.adjacency]
    return f"The guarantee protects {whom}: it compares the data with the same data where {change}."


def _epsilon(bound: ProvenBound, delta: float) -> str:
    ends, at = bound.epsilon(delta), at_most(delta, 17)
    if ends.upper == math.inf:
        least = (
            f", and it is not below {at_least(ends.lower)}" if 0 < ends.lower < ends.upper else ""
        )
        return f"At delta {at} no finite epsilon is proven{least}: there may be no protection."
    if ends.upper == 0.0:
        return f"At delta {at}, epsilon is 0."
    text = f"At delta {at}, epsilon is at most {at_most(ends.upper)}"
    if ends.lower > 0.0:
        return f"{text}, and it is not below {at_least(ends.lower)}."
    return f"{text}; how far below that it is, is not known."


def _attacker(bound: ProvenBound) -> list[str]:
    rates = [percent_at_most(bound.tpr(rate).upper) for rate in _RATES]
    plain = [percent_at_most(rate) for rate in _RATES]
    advantage = bound.advantage().upper
    # right half of the time by guessing, and by half the advantage more
    right = 0.5 + 0.5 * advantage
    if 0.0 < advantage < 1.0:
        right = math.nextafter(right, 1.0)
    return [
        "An attacker, whatever else it knows, that raises a false alarm in at most "
        f"{plain[0]} of cases detects the change in at most {rates[0]} of cases, and with "
        f"{plain[1]} false alarms in at most {rates[1]}; guessing detects {plain[0]} and "
        f"{plain[1]}.",
        "Asked which of two equally likely data sets was used, it is right at most "
        f"{percent_at_most(right)} of the time.",
    ]


def _covers(found: Releases | None) -> str:
    if found is None:
        return "Which releases it covers is not stated here."
    if not found.counts:
        return "It covers no release at all."
    kinds = list(found.counts.items())
    shown = [_counted(count, words) for words, count in kinds[:_MOST_KINDS]]
    rest = sum(count for _, count in kinds[_MOST_KINDS:])
    if rest:
        shown.append(f"{_number(rest)} more releases of {len(kinds) - _MOST_KINDS:,} other kinds")
    if not found.is_whole:
        shown.append("further ones, too many to list")
    return f"It covers {'; '.join(shown)}."


def _counted(count: int, words: str) -> str:
    return f"one release with {words}" if count == 1 else f"{_number(count)} releases with {words}"


def _number(count: int) -> str:
    return f"{count:,}" if count < 10**15 else "more than 10^15"


def _conditions(
    bound: ProvenBound, found: Releases | None, assumptions: Sequence[Assumption | str]
) -> list[str]:
    lines = [] if found is None else list(found.assumptions)
    if found is None or not any("search" in words for words in found.counts):
        lines.append(
            "Nothing else that was computed from the data is released: choosing hyper-parameters "
            "by trial on the same data is not covered."
        )
    if found is not None and not found.is_whole:
        lines.append("The event is too large to be read whole: further assumptions may apply.")
    for each in assumptions:
        if isinstance(each, Assumption):
            state = {True: "checked", False: "does NOT hold", None: "not checked"}[each.holds]
            lines.append(f"{each.text} ({state})")
        else:
            lines.append(each)
    return ["It holds only if:", *(f"- {line}" for line in lines)]
