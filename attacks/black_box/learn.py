"""`learn`: from outputs of two worlds to an `Attack` that scores other outputs."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...accountant import check
from ...accountant.errors import ParameterError
from .families.base import Family, Fitted
from .families.catalog import FAMILIES, NEEDS
from .families.combined import Weighed, weigh
from .outputs import Layout, Rows, layout_of
from .ranking import NOTHING, Criterion, Floats, Goal, worth
from .threads import one_thread
from .view import BUDGETS, Batch, Budget, Training, View, learn_view

COMBINED = "combined"
_FIT, _MIX = 0.5, 0.7  # shares: up to here the families are fitted, up to there weighed together
_LARGE = 20_000_000
_BLOCK = 8192  # outputs that are scored at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Attack:
    """A score that was learnt from outputs, for other outputs of the same mechanism.

    Never score the outputs that it was learnt from: a bound on these would be worthless.

    Attributes:
        name: of the family that won, "combined" for several.
        description: what it looks at, in words.
        ranking: (family, what its best threshold seemed to show on the validation part), best
            first; not a bound.
        skipped: families that could not be used, with the reason.
        trained_on: outputs learnt from, with and without the record.
        criterion: "mu" or "epsilon": what the family was chosen for.
        fitted: the score itself.
        view: how outputs are read.
    """

    name: str
    description: str
    ranking: tuple[tuple[str, float], ...]
    skipped: tuple[tuple[str, str], ...]
    trained_on: tuple[int, int]
    criterion: Criterion
    fitted: Fitted = field(repr=False)
    view: View = field(repr=False)

    def score(self, outputs: ArrayLike) -> NDArray[np.float64]:
        """float64[n], always finite; larger means more likely with the record.

        Each score depends on its own output only.

        Raises:
            DesignError: the outputs have another shape than those that were learnt from.
        """
        rows = self.view.layout.rows(outputs)
        with one_thread():
            blocks = [
                _finite(self.fitted.score(self.view.batch(rows[i : i + _BLOCK])))
                for i in range(0, len(rows), _BLOCK)
            ]
        return np.concatenate(blocks) if blocks else np.empty(0)


def learn(
    outputs_in: ArrayLike,
    outputs_out: ArrayLike,
    *,
    rng: np.random.Generator,
    budget: Literal["fast", "full"] = "fast",
    families: Sequence[str] | None = None,
    criterion: Criterion = "mu",
    delta: float = 0.0,
) -> Attack:
    """The best of a pool of scores that tell outputs with the record from outputs without it.

    Half of the outputs fit each family, a fifth weighs them together, the rest judges; this is
    repeated with other judges, and the family that was best on average is fitted again to all.
    Nothing is paid for the choice, so the bound must rest on outputs that were never passed here.

    Args:
        outputs_in: array[n_in, ...], outputs with the record; NaN and infinity allowed.
        outputs_out: array[n_out, ...], outputs without it.
        rng: decides who is in which part.
        budget: "fast" (about a second for 2 x 5,000 x 10) or "full" (about ten times that).
        families: names from `FAMILIES` and "combined"; None for all. "bits" finds leaks of the
            number format, which say nothing about the size of the noise.
        criterion: "mu" if a curve is to be tested, "epsilon" for one point.
        delta: of that point.

    Raises:
        DesignError: fewer than 2 outputs in a world, or shapes that differ.
        ParameterError: an unknown family, or one whose package is missing.

    >>> rng = np.random.default_rng(0)
    >>> attack = learn(rng.normal(1, 1, (600, 2)), rng.normal(0, 1, (600, 2)), rng=rng)
    >>> inside, outside = rng.normal(1, 1, (500, 2)), rng.normal(0, 1, (500, 2))
    >>> bool(attack.score(inside).mean() > attack.score(outside).mean())
    True
    """
    check.one_of(BUDGETS, budget=budget)
    work = BUDGETS[budget]
    setting = _Setting(Goal(criterion=criterion, delta=delta), work, rng)
    layout = layout_of(outputs_in, outputs_out)
    inside, outside = (_World(_mixed(layout.rows(x), rng)) for x in (outputs_in, outputs_out))
    pool, skipped = _pool(families)
    combine = families is None or COMBINED in families
    # A second round costs as much as the first; with very long outputs one has to do.
    turns = 1 if inside.rows.size + outside.rows.size > _LARGE else work.rounds
    with one_thread():
        rounds = [
            _compete(pool, combine, layout, inside.turned(r), outside.turned(r), setting)
            for r in np.arange(turns) / turns
        ]
        values = _average(rounds)
        places = [*FAMILIES, COMBINED]
        order = sorted(values, key=lambda n: (-values[n], places.index(n)))
        name, fitted, view = _final(order, pool, layout, inside, outside, setting)
    return Attack(
        name=name,
        description=fitted.what,
        ranking=tuple((n, round(values[n], 4)) for n in order),
        skipped=skipped,
        trained_on=(inside.n, outside.n),
        criterion=criterion,
        fitted=fitted,
        view=view,
    )


@dataclass(frozen=True)
class _Setting:
    """What stays the same through all rounds."""

    goal: Goal
    budget: Budget
    rng: np.random.Generator

    def training(self, layout: Layout, inside: Rows, outside: Rows) -> Training:
        """These rows, seen through a view that was learnt from them alone."""
        inside, outside = inside[: self.budget.rows], outside[: self.budget.rows]
        view = learn_view(layout, inside, outside, self.budget.columns)
        return Training(view.batch(inside), view.batch(outside), self.goal, self.budget, self.rng)


@dataclass(frozen=True)
class _World:
    """The outputs of one world in random order, and their parts."""

    rows: Rows

    @property
    def n(self) -> int:
        return int(self.rows.shape[0])

    def turned(self, share: float) -> "_World":
        """The same, starting elsewhere: other outputs judge."""
        start = int(share * self.n)
        return (
            self if start == 0 else _World(np.concatenate((self.rows[start:], self.rows[:start])))
        )

    def part(self, first: float, last: float) -> Rows:
        """From one share to another, at least one row."""
        start = min(int(first * self.n), self.n - 1)
        return self.rows[start : max(int(last * self.n), start + 1)]


def _mixed(rows: Rows, rng: np.random.Generator) -> Rows:
    """Random, because trials may come in an order that has to do with their value."""
    return rows[rng.permutation(len(rows))]


def _compete(
    pool: Sequence[Family],
    combine: bool,
    layout: Layout,
    inside: _World,
    outside: _World,
    setting: _Setting,
) -> dict[str, float]:
    """What each family's score is worth on outputs that nothing was fitted to."""
    training = setting.training(layout, inside.part(0.0, _FIT), outside.part(0.0, _FIT))
    fitted = _fit_all(pool, training)
    if not fitted:
        return {}
    view = training.inside.view
    judges = (view.batch(inside.part(_MIX, 1.0)), view.batch(outside.part(_MIX, 1.0)))
    a, b = (_all_scores(fitted, judge) for judge in judges)
    values = {n: worth(a[:, i], b[:, i], setting.goal) for i, n in enumerate(fitted)}
    if combine and len(fitted) > 1:
        weighed = _weighed(fitted, view, inside.part(_FIT, _MIX), outside.part(_FIT, _MIX))
        values[COMBINED] = worth(weighed.weigh(a), weighed.weigh(b), setting.goal)
    return values


def _average(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean value of each family; one that had nothing to say in some round gained nothing there."""
    found = {}
    for name in {name for values in rounds for name in values}:
        said = [values[name] for values in rounds if name in values]
        if max(said) > NOTHING:
            found[name] = min(float(np.mean(said)), sum(said) / len(rounds))
    return found


def _final(
    order: Sequence[str],
    pool: Sequence[Family],
    layout: Layout,
    inside: _World,
    outside: _World,
    setting: _Setting,
) -> tuple[str, Fitted, View]:
    """The best family, fitted again to all outputs; the next one if it has nothing to say."""
    everything = setting.training(layout, inside.rows, outside.rows)
    for name in order:
        if name == COMBINED:
            training = setting.training(layout, inside.part(0.0, _MIX), outside.part(0.0, _MIX))
            fitted = _fit_all(pool, training)
            if len(fitted) > 1:
                view = training.inside.view
                rest = (inside.part(_MIX, 1.0), outside.part(_MIX, 1.0))
                return name, _weighed(fitted, view, *rest), view
        else:
            found = _fit_all([family for family in pool if family.name == name], everything)
            if found:
                return name, found[name], everything.inside.view
    return "constant", _Constant(), everything.inside.view


def _fit_all(pool: Sequence[Family], training: Training) -> dict[str, Fitted]:
    found = {family.name: family.learn(training) for family in pool}
    return {name: fitted for name, fitted in found.items() if fitted is not None}


def _weighed(fitted: dict[str, Fitted], view: View, inside: Rows, outside: Rows) -> Weighed:
    a, b = (_all_scores(fitted, view.batch(rows)) for rows in (inside, outside))
    return weigh(tuple(fitted.values()), tuple(fitted), a, b)


def _pool(names: Sequence[str] | None) -> tuple[list[Family], tuple[tuple[str, str], ...]]:
    """The families that were asked for and can be used, and why others cannot."""
    for name in names or ():
        check.one_of((*FAMILIES, COMBINED), families=name)
    wanted = [name for name in FAMILIES if names is None or name in names]
    if not wanted:
        raise ParameterError(
            f"families must name at least one of {', '.join(FAMILIES)}, but is {names!r}"
        )
    lacking = {n: NEEDS[n] for n in wanted if n in NEEDS and not _installed(NEEDS[n])}
    if lacking and names is not None:
        raise ParameterError(
            f"families {', '.join(lacking)} need {', '.join(lacking.values())}, which is not "
            "installed; install privassay[run] or leave them out"
        )
    pool = [_load(FAMILIES[name]) for name in wanted if name not in lacking]
    return pool, tuple((name, f"{package} is not installed") for name, package in lacking.items())


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:
        return False


def _load(place: str) -> Family:
    module, _, name = place.partition(":")
    found: Family = getattr(importlib.import_module(module), name)()
    return found


@dataclass(frozen=True)
class _Constant:
    what: str = "nothing: all training outputs look alike"

    def score(self, batch: Batch) -> Floats:
        return np.zeros(batch.n)


def _all_scores(fitted: dict[str, Fitted], batch: Batch) -> Floats:
    return np.column_stack([_finite(part.score(batch)) for part in fitted.values()])


def _finite(scores: Floats) -> Floats:
    """Finite, and without the last digits, which may depend on the place in a batch."""
    cut = np.nan_to_num(scores, nan=0.0, posinf=1e300, neginf=-1e300)
    fraction, exponent = np.frexp(cut)
    return np.asarray(np.ldexp(np.rint(fraction * 2.0**40), exponent - 40))
