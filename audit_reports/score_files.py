"""Scores that somebody already has: a table with columns score, member, and maybe group and run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ..accountant.claim import PrivacyClaim
from ..accountant.errors import DesignError
from ..attacks.scores import Design, Scores
from .blackbox_record import adversary
from .estimators.alpha_ledger import AlphaLedger
from .estimators.bayesian import CredibleInterval
from .estimators.clopper_pearson import risk
from .estimators.estimate import Bound, claim_delta, estimate_scores
from .text import at_least, at_most

_COLUMNS = ("score", "member", "group", "run")
_WORDS = {"1": True, "0": False, "true": True, "false": False, "in": True, "out": False,
          "member": True, "nonmember": False, "yes": True, "no": False}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Columns of equal length, in the order of the file.

    Attributes:
        score: float[n].
        member: bool[n].
        group, run: str[n], empty where the file has no such column.
    """

    score: NDArray[np.float64]
    member: NDArray[np.bool_]
    group: NDArray[np.str_]
    run: NDArray[np.str_]


@dataclass(frozen=True)
class Found:
    """The bound of one group of one run."""

    group: str
    run: str
    bound: Bound

    def text(self) -> str:
        """One line for the terminal."""
        bound, parts = self.bound, []
        if isinstance(bound, CredibleInterval):
            parts.append(f"posterior: epsilon of this attack <= {at_most(bound.epsilon_upper)}")
        elif bound.mu_lower is not None:
            parts.append(f"mu >= {at_least(bound.mu_lower)}")
            parts.append(f"epsilon >= {at_least(bound.epsilon_lower_gaussian or 0.0)} if Gaussian")
        parts.append(f"epsilon >= {at_least(bound.epsilon_lower)} at delta {bound.delta:g}")
        named = [f"{k} {v}" for k, v in (("group", self.group), ("run", self.run)) if v]
        most = "" if isinstance(bound, CredibleInterval) else (
            f"; so many trials could have shown epsilon {at_most(bound.ceiling_epsilon)} at most"
        )  # fmt: skip
        return (
            f"{', '.join([*named, 'bound'])}    {'; '.join(parts)} "
            f"({bound.method}, {bound.guarantee}, confidence {bound.confidence:.6g}{most})"
        )


def read_scores(path: Path) -> Table:
    """The table in a CSV, Parquet or npz file. Nothing in it is executed.

    Raises:
        DesignError: another format, missing columns, or values that are no scores or labels.
    """
    kind = path.suffix.lower()
    if not path.is_file():
        raise DesignError(f"there is no file {path}")
    try:
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                columns: dict[str, Any] = {name: arrays[name] for name in arrays.files}
        elif kind in (".csv", ".parquet"):
            import pandas

            read = pandas.read_csv if kind == ".csv" else pandas.read_parquet
            frame = read(path)
            columns = {str(name).strip(): frame[name].to_numpy() for name in frame.columns}
        else:
            raise DesignError(f"scores are read from .csv, .parquet or .npz, not from {path.name}")
    except (ValueError, OSError, ImportError, BadZipFile, EOFError) as error:
        raise DesignError(f"{path.name} cannot be read: {error}") from None
    missing = [name for name in _COLUMNS[:2] if name not in columns]
    if missing:
        raise DesignError(
            f"{path.name} must have columns score and member (and may have group and run), but "
            f"{' and '.join(missing)} is missing; it has {', '.join(columns) or 'none'}"
        )
    size = np.size(columns["score"])
    for name in _COLUMNS:
        shape = np.shape(columns.get(name, np.empty(size)))
        if shape != (size,):
            raise DesignError(
                f"the columns of {path.name} must be equally long, but {name} has shape {shape} "
                f"and score {np.shape(columns['score'])}"
            )
    texts = {name: _texts(columns.get(name), size) for name in _COLUMNS[2:]}
    return Table(_numbers(columns["score"]), _labels(columns["member"]), **texts)


def estimate_table(
    table: Table,
    claim: PrivacyClaim,
    *,
    design: str,
    method: str | None,
    confidence: float,
    seed: int | None,
    delta: float | None = None,
    threshold: float | None = None,
) -> list[Found]:
    """A bound for each group, and for each run if the design is one of one run.

    They share the allowed error equally, so that with probability `confidence` none is too high.

    Raises:
        DesignError: the design does not fit the table, or does not allow the method.
    """
    keys = sorted(set(zip(table.group.tolist(), table.run.tolist(), strict=True)))
    if design == "many_runs":
        repeated = any(
            np.unique(table.run[table.group == g], return_counts=True)[1].max() > 1
            for g in np.unique(table.group)
        )
        if repeated and np.any(table.run != ""):
            raise DesignError(
                "several rows of a group come from one run: they are not independent, as "
                "--design many_runs needs.\n  Use --design one_run: each run is then tested alone."
            )
        keys = [(group, "") for group in sorted(set(table.group.tolist()))]
    ledger, found = AlphaLedger(risk(confidence)), []
    for group, run in keys:
        rows = table.group == group
        if design != "many_runs":
            rows &= table.run == run
        share = risk(confidence) / len(keys)
        ledger.spend(f"group {group!r}, run {run!r}", share)
        bound = estimate_scores(
            _scores(table, rows, claim, design),
            claim,
            confidence=1.0 - share,
            method=method,
            seed=seed,
            delta=claim_delta(claim) if delta is None else delta,
            threshold=threshold,
        )
        found.append(Found(group, run, bound))
    return found


def _scores(table: Table, rows: NDArray[np.bool_], claim: PrivacyClaim, design: str) -> Scores:
    inside, outside = rows & table.member, rows & ~table.member
    # files are often sorted by member, so their order is no order of candidates under one_run
    timed = design in ("per_round", "sequential")
    order = np.concatenate([np.flatnonzero(inside), np.flatnonzero(outside)]) if timed else None
    kind: Design = design  # type: ignore[assignment]  # Scores refuses any other
    return Scores(
        values_in=table.score[inside],
        values_out=table.score[outside],
        design=kind,
        adversary=adversary(claim),
        attack="given scores",
        adjacency=claim.adjacency,
        unit=claim.unit,
        order=order,
    )


def _numbers(column: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        raise DesignError("the column score must hold numbers") from None


def _texts(column: Any, size: int) -> NDArray[np.str_]:
    if column is None:
        return np.full(size, "")
    values = ["" if v is None or v != v else str(v) for v in np.asarray(column).tolist()]
    return np.array(values, dtype=str)


def _labels(column: Any) -> NDArray[np.bool_]:
    found = []
    for value in np.asarray(column).tolist():
        text = str(value).strip().lower().removesuffix(".0")
        if text not in _WORDS:
            raise DesignError(
                f"the column member must hold 0 or 1 (or true and false), but has {value!r}"
            )
        found.append(_WORDS[text])
    return np.array(found, dtype=bool)
