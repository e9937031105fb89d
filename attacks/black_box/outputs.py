"""Outputs of any type and shape as rows of real numbers, nothing lost that could tell them apart.

NaN and infinity stay what they are. Complex numbers become two columns, integers beyond 2^53 two
halves, texts a code, and outputs of different lengths are filled with NaN and followed by their
length.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...accountant.errors import DesignError

Rows = NDArray[Any]  # [n, d] of a real number type

_EXACT = 2**53  # integers up to here are float64 numbers
_PIECE = 1 << 20


@dataclass(frozen=True)
class Layout:
    """How outputs become rows; learnt on the training outputs.

    Attributes:
        shape: of one output; (longest,) where lengths differ.
        ragged: lengths differ, or the outputs are objects.
        halves: integers too large for float64, split in two.
        exponent: numbers are divided by this power of two; 0 unless squares would leave float64.
    """

    shape: tuple[int, ...]
    ragged: bool
    halves: bool
    exponent: int = 0

    def rows(self, outputs: ArrayLike) -> Rows:
        """[n, d], n outputs as rows.

        Raises:
            DesignError: outputs of another shape than those that were learnt from.
        """
        array = _array(outputs)
        if self.ragged:
            return self._scaled(_padded(array, self.shape[0]))
        if array.shape[1:] != self.shape or array.dtype == object:
            raise DesignError(
                f"the attack was learnt on outputs of shape {self.shape}, but these have "
                f"{array.shape[1:]}; score outputs of the same mechanism"
            )
        return self._scaled(_real(array, halves=self.halves))

    def _scaled(self, rows: Rows) -> Rows:
        if self.exponent == 0:
            return rows
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(np.ldexp(rows.astype(np.float64), -self.exponent))


def layout_of(outputs_in: ArrayLike, outputs_out: ArrayLike) -> Layout:
    """The layout that fits both.

    Raises:
        DesignError: fewer than 2 outputs in a world, empty outputs, or shapes that differ.

    >>> layout_of(np.zeros((4, 2, 3)), np.zeros((5, 2, 3))).shape
    (2, 3)
    """
    both = (_array(outputs_in), _array(outputs_out))
    for name, array in zip(("outputs_in", "outputs_out"), both, strict=True):
        if array.shape[0] < 2:
            raise DesignError(
                f"{name} must be at least 2 outputs, one a row, but has shape {array.shape}"
            )
    if any(array.dtype == object for array in both):
        longest = max(_flat(entry).size for array in both for entry in array)
        plain = Layout(shape=(max(longest, 1),), ragged=True, halves=False)
        return replace(plain, exponent=_exponent([plain.rows(array) for array in both]))
    if both[0].shape[1:] != both[1].shape[1:]:
        raise DesignError(
            f"outputs_in have shape {both[0].shape[1:]} each but outputs_out "
            f"{both[1].shape[1:]}.\n  The shape alone shows the "
            "record; to have it scored as a length, give both as arrays of objects."
        )
    if both[0][0].size == 0:
        raise DesignError(f"an output must have at least one entry, but has {both[0].shape[1:]}")
    halves = any(
        a.dtype.kind in "iu" and a.dtype.itemsize == 8 and (a.max() > _EXACT or a.min() < -_EXACT)
        for a in both
    )
    plain = Layout(shape=both[0].shape[1:], ragged=False, halves=halves)
    return replace(plain, exponent=_exponent([plain.rows(array) for array in both]))


def _exponent(worlds: list[Rows]) -> int:
    """0, or the binary exponent of the largest number if it is beyond 1e100 or below 1e-100."""
    if all(rows.dtype != np.float64 for rows in worlds):
        return 0
    largest = max(
        float(np.max(np.abs(row), initial=0.0, where=np.isfinite(row)))
        for rows in worlds
        for row in np.array_split(rows, max(1, rows.size // _PIECE))
    )
    return 0 if largest == 0.0 or 1e-100 <= largest <= 1e100 else math.frexp(largest)[1]


def _array(outputs: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(outputs)
    except ValueError:  # lengths differ
        entries: list[Any] = list(outputs)  # type: ignore[arg-type]
        array = np.empty(len(entries), dtype=object)
        array[:] = entries
    if array.ndim == 0:
        raise DesignError(f"outputs must be an array with one output a row, but is {outputs!r}")
    return array if array.ndim > 1 or array.dtype == object else array[:, None]


def _real(array: NDArray[Any], *, halves: bool) -> Rows:
    """[n, d] of a real type; a copy only where the type has to change."""
    flat = array.reshape(array.shape[0], -1)
    kind = flat.dtype.kind
    if kind == "c":
        return np.concatenate((flat.real, flat.imag), axis=1)
    if halves:
        return np.concatenate((flat >> 32, flat & 0xFFFFFFFF), axis=1).astype(np.float64)
    if kind in "US":
        return _codes(flat)
    if kind in "biu" or flat.dtype in (np.float16, np.float32, np.float64):
        return flat
    try:
        return flat.astype(np.float64)
    except (TypeError, ValueError):
        raise DesignError(f"outputs must be numbers or texts, but have type {flat.dtype}") from None


def _codes(texts: NDArray[Any]) -> Rows:
    """A whole number for each text; equal texts, equal numbers."""
    distinct, where = np.unique(texts, return_inverse=True)
    numbers = np.array([zlib.crc32(str(text).encode()) for text in distinct], dtype=np.float64)
    return numbers[where].reshape(texts.shape)


def _flat(entry: object) -> NDArray[Any]:
    try:
        array = np.asarray(entry).reshape(-1)
    except ValueError:  # a ragged entry: only its text can be compared
        array = np.asarray([repr(entry)])
    return array


def _padded(array: NDArray[Any], width: int) -> Rows:
    """float64[n, width + 1]: entries, then NaN, then how many entries there were."""
    rows = np.full((array.shape[0], width + 1), np.nan)
    number: Callable[[object], float]
    for i, entry in enumerate(array):
        flat = _flat(entry)
        rows[i, width] = flat.size
        if flat.dtype.kind in "biuf":
            rows[i, : min(flat.size, width)] = flat[:width]
        else:
            number = _number
            rows[i, : min(flat.size, width)] = [number(x) for x in flat[:width]]
    return rows


def _number(value: object) -> float:
    if isinstance(value, (bool, int, float, np.number)) and not np.iscomplexobj(value):
        return float(value)
    return float(zlib.crc32(repr(value).encode()))
