"""What the families look at: the telling columns, their clean form, summaries of whole outputs.

With many coordinates (up to 1e5) nothing but a chunk of rows is ever copied: the columns that
differ most between the worlds in mean, variance or special values are kept, the rest is seen
through the summaries only.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .outputs import Layout, Rows
from .ranking import Floats, Goal

_SORTED = 4096  # coordinates among which repeated values are counted
_CHUNK = 1 << 20  # entries worked on at a time
_FAR = 1e4  # standardised values are cut here; what lies beyond is for the other families
_HUGE = 1e140  # sums of its squares are still finite


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much work is done.

    Attributes:
        columns: most columns that are kept.
        rows: most outputs of a world that are learnt from; the others still judge.
        trees: how many are boosted.
        neighbours: most points of a world in the nearest-neighbour family.
        pairs: most pairs of coordinates that are subtracted.
        rounds: how often the families compete, each time before other judges.
    """

    columns: int
    rows: int
    trees: int
    neighbours: int
    pairs: int
    rounds: int


BUDGETS = {
    "fast": Budget(columns=48, rows=12_000, trees=25, neighbours=1_000, pairs=45, rounds=2),
    "full": Budget(columns=192, rows=60_000, trees=100, neighbours=4_000, pairs=300, rounds=4),
}


@dataclass(frozen=True)
class Moments:
    """Of every column in one world; entries that are not finite are left out.

    Attributes:
        mean: float[d].
        variance: float[d].
        special: float[d], share of entries that are NaN, infinite or exactly 0.
        n: outputs.
    """

    mean: Floats
    variance: Floats
    special: Floats
    n: int


def moments(rows: Rows) -> Moments:
    """The moments of `rows`, chunk by chunk, about the first row so that nothing cancels."""
    n, d = rows.shape
    origin = _finite(rows[:1])[0]
    count, total, square, special = (np.zeros(d) for _ in range(4))
    for chunk in chunks(rows):
        finite = np.isfinite(chunk)
        moved = np.where(finite, chunk, origin) - origin
        count += finite.sum(axis=0)
        total += moved.sum(axis=0)
        square += np.einsum("ij,ij->j", moved, moved)
        special += (~finite | (chunk == 0.0)).sum(axis=0)
    count = np.maximum(count, 1.0)
    shift = total / count
    variance = np.maximum(square / count - shift**2, 0.0)
    return Moments(mean=origin + shift, variance=variance, special=special / n, n=n)


def chunks(rows: Rows) -> list[Floats]:
    """`rows` in float64 pieces of about a million entries; a view where that is possible."""
    step = max(1, _CHUNK // max(1, rows.shape[1]))
    return [_float(rows[i : i + step]) for i in range(0, len(rows), step)]


def _float(rows: Rows) -> Floats:
    """float64; what lies far beyond the training outputs is infinite, so that squares are not."""
    values = rows.astype(np.float64, copy=False)
    far = np.abs(values) > _HUGE
    return np.where(far, np.copysign(np.inf, values), values) if far.any() else values


def _finite(rows: Rows) -> Floats:
    return np.nan_to_num(_float(rows), nan=0.0, posinf=_HUGE, neginf=-_HUGE)


@dataclass(frozen=True)
class View:
    """Learnt on training outputs, applied to any.

    Attributes:
        layout: of one output.
        kept: int[k], the columns that are looked at one by one.
        centre: float[d], mean of both worlds.
        scale: float[d], spread within a world, > 0.
        direction: float[d], difference of the standardised means: the diagonal linear score.
        curvature: float[d], difference of the inverse variances, standardised.
    """

    layout: Layout
    kept: NDArray[np.int64]
    centre: Floats
    scale: Floats
    direction: Floats
    curvature: Floats

    def batch(self, rows: Rows) -> "Batch":
        """These rows through this view."""
        return Batch(rows=rows, view=self)


def learn_view(layout: Layout, inside: Rows, outside: Rows, columns: int) -> View:
    """The view of at most `columns` columns."""
    a, b = moments(inside), moments(outside)
    within = 0.5 * (a.variance + b.variance)
    gap = a.mean - b.mean
    centre = 0.5 * (a.mean + b.mean)
    # A column without noise is measured by the gap; a constant one by anything.
    scale = np.sqrt(np.where(within > 0.0, within, gap**2))
    scale = np.where(scale > 0.0, scale, 1.0)
    floor = 1e-3 * scale**2
    curvature = 1.0 / np.maximum(b.variance, floor) - 1.0 / np.maximum(a.variance, floor)
    kept = _screen(a, b, columns)
    return View(layout, kept, centre, scale, gap / scale, 0.5 * scale**2 * curvature)


def _screen(a: Moments, b: Moments, columns: int) -> NDArray[np.int64]:
    """The columns that differ most in mean, variance or special values, in their own order."""
    d = a.mean.size
    if d <= columns:
        return np.arange(d)
    tiny = 1e-300
    error = np.sqrt(a.variance / a.n + b.variance / b.n)
    by_mean = np.abs(a.mean - b.mean) / (error + tiny)
    by_variance = np.abs(np.log((a.variance + tiny) / (b.variance + tiny)))
    by_special = np.abs(a.special - b.special)
    third = max(1, columns // 3)
    best = [np.argsort(-s, kind="stable")[:third] for s in (by_mean, by_variance, by_special)]
    return np.unique(np.concatenate(best))


@dataclass(frozen=True)
class Batch:
    """Some outputs, seen through a view; everything below is computed once, when asked for."""

    rows: Rows
    view: View

    @property
    def n(self) -> int:
        """How many outputs."""
        return int(self.rows.shape[0])

    @cached_property
    def values(self) -> Floats:
        """float64[n, k]: the kept columns as they are, NaN and infinity included."""
        return np.ascontiguousarray(_float(self.rows[:, self.view.kept]))

    @cached_property
    def clean(self) -> Floats:
        """float64[n, k]: the kept columns standardised, NaN as the centre, cut far out."""
        kept = self.view.kept
        moved = (_finite(self.values) - self.view.centre[kept]) / self.view.scale[kept]
        return np.where(np.isnan(self.values), 0.0, np.clip(moved, -_FAR, _FAR))

    @cached_property
    def summary(self) -> dict[str, Floats]:
        """float64[n] each: one number about all coordinates of an output."""
        parts = [_summary(chunk, self.view) for chunk in chunks(self.rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _summary(chunk: Floats, view: View) -> dict[str, Floats]:
    nan = np.isnan(chunk)
    filled = _finite(chunk)
    z = np.where(nan, 0.0, np.clip((filled - view.centre) / view.scale, -_FAR, _FAR))
    ordered = np.sort(chunk[:, :_SORTED], axis=1)
    return {
        "sum": z.sum(axis=1),
        "mean": filled.mean(axis=1),
        "largest": filled.max(axis=1),
        "smallest": filled.min(axis=1),
        "range": filled.max(axis=1) - filled.min(axis=1),
        "where the largest is": filled.argmax(axis=1).astype(np.float64),
        "largest standardised": z.max(axis=1),
        "smallest standardised": z.min(axis=1),
        "L2 norm, centred": np.sqrt(np.einsum("ij,ij->i", z, z)),
        "L1 norm, centred": np.abs(z).sum(axis=1),
        "L-infinity norm, centred": np.abs(z).max(axis=1),
        "L2 norm": np.sqrt(np.einsum("ij,ij->i", filled, filled)),
        "L1 norm": np.abs(filled).sum(axis=1),
        "spread of neighbours": np.abs(np.diff(filled, axis=1)).sum(axis=1),
        "NaNs": nan.sum(axis=1).astype(np.float64),
        "+infinities": np.isposinf(chunk).sum(axis=1).astype(np.float64),
        "-infinities": np.isneginf(chunk).sum(axis=1).astype(np.float64),
        "zeros": (chunk == 0.0).sum(axis=1).astype(np.float64),
        "whole numbers": (chunk == np.floor(chunk)).sum(axis=1).astype(np.float64),
        "repeated values": (ordered[:, 1:] == ordered[:, :-1]).sum(axis=1).astype(np.float64),
        "diagonal linear": np.einsum("ij,j->i", z, view.direction),
        "diagonal quadratic": np.einsum("ij,ij,j->i", z, z, view.curvature),
    }


@dataclass(frozen=True)
class Training:
    """What a family learns from.

    Attributes:
        inside: outputs with the record.
        outside: outputs without it.
        goal: what the score is to show.
        budget: how much work.
        rng: all randomness.
    """

    inside: Batch
    outside: Batch
    goal: Goal
    budget: Budget
    rng: np.random.Generator
