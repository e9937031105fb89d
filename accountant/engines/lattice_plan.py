"""Where the lattice engine puts its grid: tilt, spacing and window, from coarse masses.

Nothing here is proven and nothing needs to be: whatever is chosen, the bounds made with it hold,
and a poor choice only makes them wide. The laws of the losses are replaced by some thousand atoms,
dense near 0, so that all scales of loss are seen. With K the log moment function of the sum, the
saddle point of its contour integral gives tilt, epsilon and delta that belong together; splitting
the mass of a cell of width h between its ends adds E[(L - a)(b - L)], at most h^2/4 and h^2/6 for a
smooth density, to the variance of each loss, and (tilt + 1)/2 times the sum of that to epsilon.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pairs.base import Step

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Pair = tuple[float, float]
MOST_POINTS = 1 << 22
_BUDGET = 1.2e9  # about nanoseconds
_SCALES = np.geomspace(1e-10, 4e3, 640)
_LOOSE = 10.0
_LEAST = 0.02  # tilt
_FAR = 36.0  # what lies outside the window weighs about e^-_FAR


class Coarse(NamedTuple):
    """Atoms of one step; cells are (bottom, edge], `outer` is the mass of P above each."""

    count: int  # type: ignore[assignment]
    highest: float
    loss: Array
    log_mass: Array
    bottom: Array
    edge: Array
    outer: Array
    is_edge_atom: NDArray[np.bool_]


class Plan(NamedTuple):
    """All in units of the loss, except `tilt`, which is per unit of loss.

    `knots` are the indices at which the losses of each step are cut, `window` that of the sum.
    """

    tilt: float
    spacing: float
    epsilon: float
    knots: tuple[Indices, ...]
    window: tuple[float, float]
    tail_powers: tuple[float, float]


def coarse(step: Step) -> Coarse:
    """Some thousand atoms in place of the loss of one step."""
    pair = step.pair
    low, high = pair.lowest, pair.highest
    cuts = np.concatenate([-_SCALES[::-1], [0.0], _SCALES])
    cuts = cuts[(cuts > low) & (cuts < high)]
    tight = [
        end * (1.0 + side)
        for end in (low, high)
        if math.isfinite(end)
        for side in (-1e-9, 1e-12 if (end > 0) == (end == high) else -1e-12)
    ]
    tight += [end * (1.0 + 1e-9) for end in (low, high) if math.isfinite(end)]
    cuts = np.unique(np.concatenate([cuts, tight]))
    found = pair.masses(cuts)
    with np.errstate(all="ignore"):
        loss = np.log(found.p) - np.log(found.q)
        log_mass = np.log(found.p)
    bottom = np.concatenate([[max(low, 2.0 * cuts[0] - 1.0)], cuts])
    top = np.concatenate([cuts, [min(max(high, cuts[-1]), cuts[-1] + 1.0)]])
    loss = np.clip(np.where(np.isnan(loss), top, loss), bottom, top)
    outer = np.concatenate([np.cumsum(found.p[::-1])[::-1][1:], [0.0]])
    width = top - bottom
    atoms = np.array([low, high])[:, None]
    with np.errstate(invalid="ignore"):
        is_edge = (np.abs(loss - atoms) <= 1e-8 * np.abs(atoms)).any(axis=0)
    is_edge &= (width <= 1e-8 * np.abs(loss)) & (found.p > 1e-6)
    keep = found.p > 0.0
    columns = (loss, log_mass, bottom, top, outer, is_edge)
    return Coarse(step.count, high, *(column[keep] for column in columns))


class Model:
    """K and its derivatives for the sum of some coarse losses."""

    def __init__(self, terms: Sequence[Coarse]) -> None:
        self.terms = terms

    def cut(self, log_delta: float, tolerance: float) -> "Model":
        """Without losses so large that they are rarer than delta by far."""
        total = sum(term.count for term in self.terms)
        rare = math.exp(max(-690.0, log_delta + math.log(tolerance) - math.log(total)))
        kept = []
        for term in self.terms:
            inside = np.concatenate([[True], term.outer[:-1] > rare])
            kept.append(Coarse(term.count, term.highest, *(column[inside] for column in term[2:])))
        return Model(kept)

    def log_moment(self, power: float) -> float:
        """K(power)."""
        return math.fsum(term.count * _log_sum(term, power)[0] for term in self.terms)

    def cumulants(self, power: float) -> tuple[float, float, float]:
        """K, K' and K''."""
        log, mean, variance = 0.0, 0.0, 0.0
        for term in self.terms:
            value, weights = _log_sum(term, power)
            first = float(weights @ term.loss)
            log += term.count * value
            mean += term.count * first
            variance += term.count * float(weights @ (term.loss - first) ** 2)
        return log, mean, variance

    def saddle(self, power: float) -> tuple[float, float]:
        """The (epsilon, ln delta) for which `power` is the saddle point."""
        log, mean, variance = self.cumulants(power)
        epsilon = mean - 1.0 / power - 1.0 / (power + 1.0)
        spread = variance + power**-2.0 + (power + 1.0) ** -2.0
        log -= power * epsilon + math.log(power) + math.log1p(power)
        return epsilon, log - 0.5 * math.log(2.0 * math.pi * spread)

    def excess(self, power: float, spacing: float, cap: float, aligned: bool) -> float:
        """What the upper bound loses in epsilon.

        Losses beyond `cap` = epsilon decide alone: their tilted mass says nothing.
        """
        total = spacing**2 / 6.0  # of a single large loss, however rare
        for term in self.terms:
            size = np.abs(term.loss)
            loss = np.where(size < spacing, size * (spacing - size), spacing**2 / 6.0)
            atom = 0.0 if aligned else spacing**2 / 4.0
            loss = np.where(term.is_edge_atom & (size >= spacing), atom, loss)
            total += term.count * float(_log_sum(term, power, cap)[1] @ loss)
        return 0.5 * (power + 1.0) * total


def _log_sum(term: Coarse, power: float, cap: float = math.inf) -> tuple[float, Array]:
    logs = term.log_mass + power * np.minimum(term.loss, cap)
    top = float(logs.max())
    weights = np.exp(logs - top)
    total = float(weights.sum())
    return top + math.log(total), weights / total


def _root(miss: Callable[[float], float], low: float, high: float) -> float:
    # of a decreasing function, in ln x
    for _ in range(22):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if miss(middle) > 0.0 else (low, middle)
    return math.sqrt(low * high)


class Target(NamedTuple):
    """A point of the curve, and -d ln delta / d epsilon there."""

    epsilon: float
    log_delta: float
    slope: float


def make_plan(
    terms: Sequence[Coarse], tolerance: float, target: Target, *, spacing: float | None = None
) -> Plan:
    """Choose everything for one target; `spacing` is kept if given."""
    model = Model(terms).cut(target.log_delta, min(1e-3, tolerance * 1e-2))
    slope = min(max(target.slope, _LEAST), 1e7)
    tilt, far = _relax(model, target)
    window = _window(model, tilt, far)[1]
    unit_is_kept = True
    cap = max(0.0, target.epsilon)
    shapes = [_widths(term, slope, cap) for term in model.terms]
    if spacing is None:
        sizes = [float(np.abs(t.loss[t.is_edge_atom]).max(initial=0.0)) for t in model.terms]
        unit = max(sizes)
        spacing = _spacing(model, slope, tolerance, cap, is_aligned=unit > 0.0)
        length = (window[1] - window[0]) * len(terms) * 80.0
        length += sum(float(shape.rank[-1]) for shape in shapes) * 1000.0
        length += sum(float(shape.edge[-1] - shape.edge[0]) for shape in shapes) * 60.0
        spacing = max(spacing, length / _BUDGET, (window[1] - window[0]) / (0.9 * MOST_POINTS))
        if spacing < unit:
            spacing = unit / math.floor(unit / spacing)
        else:
            # few digits, so that the knots are exact
            exponent = 2.0 ** (math.floor(math.log2(spacing)) - 20)
            spacing = math.ceil(spacing / exponent) * exponent
    widest = math.sqrt(12.0 * tolerance / (slope + 1.0))
    knots = tuple(
        _knots(shape, spacing, widest, term.highest)
        for shape, term in zip(shapes, model.terms, strict=True)
    )
    # once more, with the variance that the lattice adds
    added = 2.0 * model.excess(slope, spacing, cap, unit_is_kept) / (slope + 1.0)
    powers, window = _window(model, tilt, far, spacing, added)
    # beyond these there is nothing
    least = sum(term.count * int(k[0]) for term, k in zip(terms, knots, strict=True))
    most = sum(term.count * int(k[-1]) for term, k in zip(terms, knots, strict=True))
    window = max(window[0], least * spacing), min(window[1], most * spacing)
    return Plan(tilt, spacing, target.epsilon, knots, window, powers)


def first_target(
    terms: Sequence[Coarse], tolerance: float, epsilon: float | None, log_delta: float | None
) -> Target:
    """A rough target by the saddle-point method, or by Chernoff's bound if that is lower."""
    goal = log_delta if log_delta is not None else 0.0
    while True:
        model = Model(terms).cut(goal, min(1e-3, tolerance * 1e-2))
        powers = np.geomspace(_LEAST, 1e5, 60)
        moments = [model.log_moment(float(power)) for power in powers]
        if log_delta is not None:
            slope = _root(lambda power: model.saddle(power)[1] - goal, _LEAST, 1e7)  # noqa: B023
            at = model.saddle(slope)[0]
            ends = (np.array(moments) - goal) / powers
            if at > ends.min():
                at, slope = float(ends.min()), float(powers[ends.argmin()])
            if at >= 0.0:
                return Target(at, goal, slope)
        at = epsilon if epsilon is not None else 0.0
        slope = _root(lambda power: at - model.saddle(power)[0], _LEAST, 1e7)  # noqa: B023
        log = min(0.0, model.saddle(slope)[1] + slope * (model.saddle(slope)[0] - at))
        log = min(log, float((np.array(moments) - powers * at).min()))
        if log_delta is not None or log > goal - 3.0 or goal < -650.0:
            return Target(at, log, slope)
        goal = max(log, goal - 14.0)


def slope_at(terms: Sequence[Coarse], epsilon: float, log_delta: float) -> float:
    """Saddle point for this epsilon."""
    model = Model(terms).cut(log_delta, 1e-6)
    return _root(lambda power: epsilon - model.saddle(power)[0], _LEAST, 1e7)


class Shape(NamedTuple):
    """How wide cells may be: `rank` cells lie below each `edge` if the spacing is 1."""

    edge: Array
    rank: Array
    width: Array


def _widths(term: Coarse, tilt: float, cap: float) -> Shape:
    """Cells where the tilted density f is small are wider, as f^(-1/3), at little cost.

    At a given sum of f width^2 that is the smallest number of cells; the sum is what equal cells of
    width 1 give.
    """
    weights = _log_sum(term, tilt, cap)[1]
    first = int(np.count_nonzero(np.cumsum(weights) * term.count < 1e-10))
    first = max(0, first - 1)
    bottom = term.bottom[first]
    edge = np.concatenate([[bottom], term.edge[first:]])
    gap = np.maximum(np.diff(edge), 1e-300)
    root = np.cbrt(weights[first:] / gap)
    scale = 1.0 / math.sqrt(float(root @ gap))
    width = np.maximum(1.0, scale / np.maximum(root, 1e-100))
    rank = np.concatenate([[0.0], np.cumsum(gap / width)])
    return Shape(edge, rank, width)


def _knots(shape: Shape, spacing: float, widest: float, highest: float) -> Indices:
    # a single large loss that decides counts in full, however rare
    width = np.maximum(1.0, np.minimum(shape.width, widest / spacing))
    rank = np.concatenate([[0.0], np.cumsum(np.diff(shape.edge) / width)])
    bottom, top = round(shape.edge[0] / spacing - 0.499), round(shape.edge[-1] / spacing + 0.499)
    if top * spacing < highest <= (top + 2) * spacing:
        top += math.ceil(highest / spacing - top)  # else an atom there might be cut off
        top += top * spacing < highest
    count = math.ceil(rank[-1] / spacing) + 1
    ranks = np.linspace(0.0, rank[-1], min(2 * count, 2 * MOST_POINTS))
    inner = np.rint(np.interp(ranks, rank, shape.edge) / spacing).astype(np.int64)
    found = np.unique(np.concatenate([[bottom], inner, [top]]))
    return np.asarray(found[(found >= bottom) & (found <= top)])


def _relax(model: Model, target: Target) -> Pair:
    """(tilt, far): rounding relative to delta is of order e^(K - tilt epsilon)/delta.

    That is least where K' = epsilon; but there a heavy tail may dominate, which makes the window
    long, so smaller tilts are tried.
    """
    epsilon = target.epsilon
    tilt = _root(lambda power: epsilon - model.cumulants(power)[1], _LEAST, 1e7)
    best, found = math.inf, (tilt, _FAR)
    lost = math.inf
    for _ in range(70):
        before = lost
        lost = model.log_moment(tilt) - tilt * epsilon - target.log_delta
        if best == math.inf or lost < _LOOSE or (lost < before + 5.0 and lost < best + 5.0):
            far = _FAR + max(0.0, lost - _LOOSE)
            window = _window(model, tilt, far)[1]
            score = max(lost, _LOOSE) + 3.0 * math.log(window[1] - window[0] + 1e-300)
            if score < best - 0.1 or (lost < _LOOSE and score < best + 0.1):
                best, found = score, (tilt, far)
        if tilt <= _LEAST or lost > before > _LOOSE + 5.0:
            break
        tilt *= 0.75
    return found


def _spacing(
    model: Model, power: float, tolerance: float, cap: float, *, is_aligned: bool
) -> float:
    return _root(lambda h: tolerance - model.excess(power, h, cap, is_aligned), 1e-13, 1.0)


def _window(
    model: Model, tilt: float, far: float, spacing: float = 1.0, added: float = 0.0
) -> tuple[Pair, Pair]:
    """(powers, ends): outside the ends the tilted sum has weight about e^-far, by Chernoff.

    `added` is a variance in steps of +-spacing.
    """
    log, mean, variance = model.cumulants(tilt)
    least = sum(term.count * float(term.loss.min()) for term in model.terms)
    most = sum(term.count * float(term.edge[-1]) for term in model.terms)
    base = math.sqrt(2.0 * far / max(variance + added, 1e-12))
    room = 1e-3 * (most - least) + 1e-9 * (abs(most) + abs(least))
    found = []
    for sign, limit in ((-1.0, least), (1.0, most)):
        tries = []
        for factor in np.geomspace(2e-3, 4.0, 14):
            power = base * float(factor)
            spread = (math.cosh(min(power * spacing, 60.0)) - 1.0) * added / spacing**2
            move = model.log_moment(tilt + sign * power) - log + spread + far
            tries.append((move / power, power))
        end, power = min(tries)
        found.append((sign * power, sign * min(end, sign * limit + room)))
    (first, low), (last, high) = found
    return (first, last), (low, high)
