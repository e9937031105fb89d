"""The best score that a table of feature columns gives: one column, or the sum of all.

Most families only differ in their features; this is what they share. Tried for each column: its
value, its distance from the middle, and its binned log ratio, all with both signs; and the sum of
the log ratios of those columns that predict (naive Bayes). Tables are learnt on one part and
compared on another, so that a table does not win by heart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .binned import Binned, learn_binned
from .ranking import Floats, Goal, worth, worth_columns

_TABLES = 48  # most columns that get a table


@dataclass(frozen=True)
class Filling:
    """Turns NaN and infinity into numbers just outside what was seen, so that ranks make sense."""

    low: Floats
    high: Floats
    missing: Floats

    def __call__(self, columns: Floats) -> Floats:
        """float[n, k], finite."""
        cut = np.clip(columns, self.low, self.high)
        return np.where(np.isnan(columns), self.missing, cut)


def _learn_filling(columns: Floats) -> Filling:
    finite = np.where(np.isfinite(columns), columns, np.nan)
    some = np.isfinite(finite).any(axis=0)
    finite[:, ~some] = 0.0
    low, high = np.nanmin(finite, axis=0), np.nanmax(finite, axis=0)
    room = 1.0 + (high - low)
    return Filling(low - room, high + room, low - 2.0 * room)


@dataclass(frozen=True)
class ColumnScore:
    """One rule on feature columns.

    Attributes:
        kind: "value", "distance" from `centre`, or "table": the sum over `columns` of their tables.
        columns: which ones.
        sign: 1.0 or -1.0.
        centre: of the distance.
        tables: one per column for "table".
        filling: of the columns, for "value" and "distance".
        what: the rule in words.
    """

    kind: Literal["value", "distance", "table"]
    columns: tuple[int, ...]
    sign: float
    centre: float
    tables: tuple[Binned, ...]
    filling: Filling
    what: str

    def __call__(self, features: Floats) -> Floats:
        """float[n] from float[n, k]."""
        if self.kind == "table":
            total = np.zeros(features.shape[0])
            for j, table in zip(self.columns, self.tables, strict=True):
                total += table.score(features[:, j])
            return self.sign * total
        return self.of_column(features[:, self.columns[0]])

    def of_column(self, column: Floats) -> Floats:
        """float[n], of a rule on a single column, for "value" and "distance"."""
        value = self.filling(column)
        if self.kind == "distance":
            value = np.abs(value - self.centre)
        return np.asarray(self.sign * value)


def learn_columns(
    inside: Floats,
    outside: Floats,
    goal: Goal,
    rng: np.random.Generator,
    names: Sequence[str],
    *,
    straight: bool = True,
) -> ColumnScore | None:
    """The best rule on these features; None if no column varies.

    Args:
        inside: float[n_in, k], features of outputs with the record; NaN and infinity allowed.
        outside: float[n_out, k], without it.
        goal: what the score is to show.
        rng: splits the data.
        names: k column names, for the description.
        straight: also try plain values and distances, and not only tables.
    """
    both = np.concatenate((inside, outside))
    varies = ((both != both[:1]) & ~(np.isnan(both) & np.isnan(both[:1]))).any(axis=0)
    index = np.flatnonzero(varies)
    if index.size == 0:
        return None
    inside, outside, both = inside[:, index], outside[:, index], both[:, index]
    filling = _learn_filling(both)
    found: list[tuple[float, ColumnScore]] = []

    def single(kind: Literal["value", "distance"], j: int, sign: float, at: float) -> ColumnScore:
        part = Filling(filling.low[j], filling.high[j], filling.missing[j])
        name = names[index[j]]
        words = f"{name}" if kind == "value" else f"distance of {name} from {at:.6g}"
        size = "large" if sign > 0.0 else "small"
        return ColumnScore(kind, (int(index[j]),), sign, at, (), part, f"{words}, {size}")

    parts = (_halves(inside, rng), _halves(outside, rng))
    tested = (parts[0][1], parts[1][1])
    interest = np.zeros(index.size)
    if straight:
        a, b = filling(inside), filling(outside)
        middle = np.median(np.concatenate((a, b)), axis=0)
        for kind, x, y, centre in (
            ("value", a, b, np.zeros(index.size)),
            ("distance", np.abs(a - middle), np.abs(b - middle), middle),
        ):
            for sign, value in zip((1.0, -1.0), worth_columns(x, y, goal), strict=True):
                j = int(np.argmax(value))
                score = single(kind, j, sign, float(centre[j]))  # type: ignore[arg-type]
                # Chosen on everything, but compared with the tables where these are tested.
                there, here = (score.of_column(part[:, j]) for part in tested)
                found.append((worth(there, here, goal), score))
                interest = np.maximum(interest, value)
    table = _learn_tables(parts, goal, interest)
    if table is not None:
        gain, chosen = table
        tables = tuple(learn_binned(inside[:, j], outside[:, j]) for j in chosen)
        columns = tuple(int(index[j]) for j in chosen)
        words = ", ".join(names[c] for c in columns[:4]) + (", ..." if len(columns) > 4 else "")
        what = f"log ratio of counts over {words}"
        found.append((gain, ColumnScore("table", columns, 1.0, 0.0, tables, filling, what)))
    return max(found, key=lambda pair: pair[0])[1] if found else None


Halves = tuple[Floats, Floats]


def _learn_tables(
    parts: tuple[Halves, Halves], goal: Goal, interest: Floats
) -> tuple[float, list[int]] | None:
    """Worth on the second parts, and the columns whose tables have it."""
    (a1, a2), (b1, b2) = parts
    if min(len(a1), len(a2), len(b1), len(b2)) < 3:
        return None
    order = np.argsort(-interest, kind="stable")[:_TABLES]
    scores_in, scores_out = np.empty((a2.shape[0], order.size)), np.empty((b2.shape[0], order.size))
    for place, j in enumerate(order):
        table = learn_binned(a1[:, j], b1[:, j])
        scores_in[:, place], scores_out[:, place] = table.score(a2[:, j]), table.score(b2[:, j])
    alone = worth_columns(scores_in, scores_out, goal)[0]
    best = int(np.argmax(alone))
    gain, chosen = float(alone[best]), [int(order[best])]
    # Columns whose table predicts new outputs: mean log ratio with the record above that without.
    apart = scores_in.mean(axis=0) - scores_out.mean(axis=0)
    noise = np.sqrt(scores_in.var(axis=0) / len(a2) + scores_out.var(axis=0) / len(b2))
    telling = np.flatnonzero(apart > 2.0 * noise)
    if telling.size > 1:
        together = worth(
            scores_in[:, telling].sum(axis=1), scores_out[:, telling].sum(axis=1), goal
        )
        if together > gain:
            gain, chosen = together, [int(order[t]) for t in telling]
    return gain, chosen


def _halves(rows: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    mixed = rng.permutation(rows.shape[0])
    cut = min((rows.shape[0] * 3) // 5, rows.shape[0] - 1)
    return rows[mixed[:cut]], rows[mixed[cut:]]
