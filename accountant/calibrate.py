"""How much noise (or how many rounds) a target allows. Results are on the safe side."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check
from .account import account
from .adjacency import Adjacency, Unit, contribution_factor
from .bounds import ProvenBound
from .errors import ParameterError
from .geometry import root_interval

_TOLERANCE = 3e-12


def calibrate(
    make_event: Callable[[float], dpe.DpEvent],
    *,
    epsilon: float | None = None,
    delta: float | None = None,
    mu: float | None = None,
    advantage: float | None = None,
    tpr: float | None = None,
    fpr: float | None = None,
    adjacency: Adjacency,
    unit: Unit = "example",
    group_size: int = 1,
    bracket: tuple[float, float] = (1e-6, 1e6),
) -> float:
    """The parameter x that just meets one target, to a relative 1e-12 as far as doubles go.

    If the loss falls with x (a noise multiplier), the smallest safe x; if it grows (rounds, a
    sampling rate), the largest. The result itself is always proven, for example
    account(make_event(x)).epsilon(delta).upper <= epsilon, in an account that was asked nothing
    else before; where an engine's enclosure is wide, x is as far on the safe side as it takes. That
    x is the extreme one assumes that the loss is monotone inside the bracket. Where x means a whole
    number, let make_event round it to the safe side:
    `lambda n: SelfComposedDpEvent(step, math.ceil(n))` for rounds, and take int() of the result.

    Args:
        make_event: from x, a float in the bracket, to an event.
        epsilon: target, >= 0, nats; with `delta`.
        delta: in (0, 1).
        mu: target instead, the Gaussian-DP parameter, > 0.
        advantage: target instead, largest TPR - FPR of any attack, in (0, 1).
        tpr: target instead, largest TPR of any attack at `fpr`, in (0, 1).
        fpr: in (0, 1), below tpr.
        adjacency: what a neighbour is.
        unit: whose data one contribution is.
        group_size: how many units change together.
        bracket: 0 < smallest < largest x to try; the target must lie between.

    Raises:
        ParameterError: not exactly one target; both ends of the bracket meet it, or neither does,
            or both leak alike; or a number outside its range.

    >>> z = calibrate(dpe.GaussianDpEvent, epsilon=1.0, delta=1e-5, adjacency="add-remove")
    >>> round(z, 6)
    3.730632
    """
    goal = _Goal.of(epsilon=epsilon, delta=delta, mu=mu, advantage=advantage, tpr=tpr, fpr=fpr)
    first, last = bracket
    check.positive(bracket=first)
    check.positive(bracket=last)
    if not first < last:
        raise ParameterError(f"bracket must be (smaller, larger), but is {bracket}")

    known: dict[float, ProvenBound] = {}

    def fresh(x: float) -> ProvenBound:
        return account(make_event(x), adjacency=adjacency, unit=unit, group_size=group_size)

    def bound(x: float) -> ProvenBound:
        if x not in known:
            known[x] = fresh(x)
        return known[x]

    def miss(x: float) -> float:
        return goal.miss(bound(x))

    asked = f"{goal.text} ({adjacency}, one {unit})"
    # From the middle outwards: the ends of a wide bracket are slow to account, and rarely needed.
    inner = min(max(1.0, first), last)
    other = 2.0 * inner if 2.0 * inner <= last else 0.5 * inner if 0.5 * inner >= first else last
    ends = {x: miss(x) for x in (inner, other)}
    if ends[inner] == ends[other]:
        ends |= {x: miss(x) for x in (first, last)}
        if ends[first] == ends[last] > 0.0:
            raise ParameterError(
                f"{asked} cannot be met by this parameter: {first:g} and {last:g} leak alike.\n"
                "  Make the event depend on it, or change bracket."
            )
        if ends[first] == ends[last]:  # rounded alike, so that they do not tell where noise grows
            raise ParameterError(
                f"{asked} is met by all parameters in [{first:g}, {last:g}], at both ends by far.\n"
                "  Take the end with less noise, or ask for a smaller budget."
            )
        falling = ends[first] > ends[last]
    else:
        falling = (ends[inner] > ends[other]) == (inner < other)
    safe, unsafe = (last, first) if falling else (first, last)
    safe, unsafe = _walk(miss, ends, inner, falling, safe, unsafe)
    for x in (safe, unsafe):
        if x not in ends:
            ends[x] = miss(x)
    if ends[safe] > 0.0:
        raise ParameterError(
            f"{asked} is unreachable for parameters in [{first:g}, {last:g}]: even {safe:g} leaks "
            f"{goal.shown(bound(safe))}.\n  Widen bracket, or change what else the event holds."
        )
    if ends[unsafe] <= 0.0:
        raise ParameterError(
            f"{asked} is met by all parameters in [{first:g}, {last:g}], even by {unsafe:g}.\n"
            f"  Take {unsafe:g}, or widen bracket."
        )
    safe = _narrow(miss, ends, safe, unsafe)
    # A caller's account knows only the one question that it is asked: an account that the search
    # has asked for delta has tables which make its epsilon narrower.
    step, end = (_TOLERANCE, last) if falling else (-_TOLERANCE, first)
    while not goal.is_met(fresh(safe)):
        if safe == end:
            raise ParameterError(
                f"{asked} is met by {end:g}, the end of the bracket, but not provably so.\n"
                "  Widen bracket."
            )
        safe = min(max(safe * (1.0 + step), first), last)
        step *= 4.0
    return safe


@dataclass(frozen=True)
class _Goal:
    """A target: a quantity of a bound and its limit."""

    text: str
    limit: float
    value: Callable[[ProvenBound], float]
    is_met: Callable[[ProvenBound], bool]

    @classmethod
    def of(cls, **given: float | None) -> "_Goal":
        names = tuple(name for name, value in given.items() if value is not None)
        g = {name: value for name, value in given.items() if value is not None}
        if names == ("epsilon", "delta"):
            check.non_negative(epsilon=g["epsilon"])
            check.open_probability(delta=g["delta"])
            return cls(
                f"epsilon = {g['epsilon']:g} at delta = {g['delta']:g}",
                g["delta"],
                lambda b: b.delta(g["epsilon"]).upper,
                lambda b: b.epsilon(g["delta"]).upper <= g["epsilon"],
            )
        if names == ("mu",):
            check.positive(mu=g["mu"])
            return cls(
                f"mu = {g['mu']:g}",
                g["mu"],
                lambda b: b.mu.upper,
                lambda b: b.mu.upper <= g["mu"],
            )
        if names == ("advantage",):
            check.open_probability(advantage=g["advantage"])
            return cls(
                f"advantage = {g['advantage']:g}",
                g["advantage"],
                lambda b: b.advantage().upper,
                lambda b: b.advantage().upper <= g["advantage"],
            )
        if names == ("tpr", "fpr"):
            check.open_probability(tpr=g["tpr"], fpr=g["fpr"])
            if g["tpr"] <= g["fpr"]:
                raise ParameterError(
                    f"tpr must be above fpr, but is {g['tpr']:g} at {g['fpr']:g}: guessing alone "
                    "reaches the FPR"
                )
            return cls(
                f"TPR = {g['tpr']:g} at FPR = {g['fpr']:g}",
                g["tpr"],
                lambda b: b.tpr(g["fpr"]).upper,
                lambda b: b.tpr(g["fpr"]).upper <= g["tpr"],
            )
        raise ParameterError(
            f"give one target, epsilon and delta, or mu, or advantage, or tpr and fpr; "
            f"given: {', '.join(names) or 'none'}"
        )

    def miss(self, bound: ProvenBound) -> float:
        """ln(value / limit): above 0 where the target is missed; never NaN."""
        value = self.value(bound)
        if value == math.inf:
            return 745.0
        return math.log(max(value, 5e-324)) - math.log(self.limit)

    def shown(self, bound: ProvenBound) -> str:
        """The value, for a message."""
        return f"{self.value(bound):g} (allowed: {self.limit:g})"


def _walk(
    miss: Callable[[float], float],
    seen: dict[float, float],
    x: float,
    falling: bool,
    safe: float,
    unsafe: float,
) -> tuple[float, float]:
    """A narrow bracket: from `x`, in growing factors, until the target is crossed."""
    factor = 4.0
    for _ in range(40):
        if seen[x] <= 0.0:
            safe = x
        else:
            unsafe = x
        outward = (seen[x] > 0.0) == falling
        new = x * factor if outward else x / factor
        low, high = min(safe, unsafe), max(safe, unsafe)
        if not low < new < high:
            break
        x, factor = new, factor * factor
        seen[x] = miss(x)
    return safe, unsafe


def _narrow(
    miss: Callable[[float], float], seen: dict[float, float], safe: float, unsafe: float
) -> float:
    """The safe end of a bracket that is as narrow as doubles allow, in ln x (Brent's method)."""
    from scipy.optimize import brentq

    # Ratios, not differences: the bracket may span many orders of magnitude.
    if seen[safe] == 0.0:
        return safe
    logs = {math.log(x): x for x in (safe, unsafe)}

    def at(log: float) -> float:
        x = logs.get(log, math.exp(log))
        if x not in seen:
            seen[x] = miss(x)
        return seen[x]

    brentq(at, math.log(safe), math.log(unsafe), xtol=_TOLERANCE, rtol=1e-15, maxiter=200)
    met = [x for x, value in seen.items() if value <= 0.0 and (x - unsafe) * (safe - unsafe) > 0.0]
    missed = [x for x, value in seen.items() if value > 0.0]
    # the safe point nearest to those that are not, and one more step to make it tight
    best = min(met, key=lambda x: abs(x - unsafe))
    near = min(missed, key=lambda x: abs(x - best))
    step = _TOLERANCE * math.copysign(1.0, best - near)
    while abs(best - near) > 3.0 * _TOLERANCE * best:
        trial = near * (1.0 + step)
        if not min(near, best) < trial < max(near, best):
            break
        seen[trial] = miss(trial)
        if seen[trial] <= 0.0:
            best = trial
        else:
            near, step = trial, 4.0 * step
    return best


def calibrate_gaussian(*, mu: float, rounds: int, adjacency: Adjacency) -> float:
    """Noise multiplier with which `rounds` Gaussian releases are together mu-GDP.

    factor sqrt(rounds)/mu, rounded up, where the factor is 2 under replace-one and 1 otherwise.

    Args:
        mu: > 0, no unit.
        rounds: >= 1.
        adjacency: what a neighbour is.

    Raises:
        ParameterError: a number outside its range.

    >>> calibrate_gaussian(mu=0.5, rounds=100, adjacency="replace-one")
    40.0
    """
    check.positive(mu=mu)
    check.count(rounds=rounds)
    factor = Fraction(contribution_factor(adjacency))
    return root_interval(rounds * factor**2 / Fraction(mu) ** 2)[1]
