"""Validators with one form of message: the caller's own name, the value, the range.

>>> positive(clip_norm=1.0)
>>> positive(clip_norm=-1.0)
Traceback (most recent call last):
    ...
privassay.accountant.errors.ParameterError: clip_norm must be a finite number > 0, but is -1.0
"""

import math
from collections.abc import Iterable

from .errors import ParameterError


def _number(name: str, value: object, wanted: str) -> float:
    is_truth = getattr(getattr(value, "dtype", None), "kind", "") == "b"  # of numpy
    if isinstance(value, bool) or is_truth or not hasattr(value, "__float__"):
        raise ParameterError(f"{name} must be {wanted}, but is {value!r}")
    number = float(value)
    if math.isnan(number):
        raise ParameterError(f"{name} must be {wanted}, but is NaN")
    return number


def positive(**values: object) -> None:
    """Raise `ParameterError` unless every value is finite and > 0."""
    for name, value in values.items():
        number = _number(name, value, "a finite number > 0")
        if not 0.0 < number < math.inf:
            raise ParameterError(f"{name} must be a finite number > 0, but is {value!r}")


def non_negative(**values: object) -> None:
    """Raise `ParameterError` unless every value is >= 0; infinity is allowed."""
    for name, value in values.items():
        if _number(name, value, "a number >= 0") < 0.0:
            raise ParameterError(f"{name} must be a number >= 0, but is {value!r}")


def probability(**values: object) -> None:
    """Raise `ParameterError` unless every value lies in [0, 1]."""
    for name, value in values.items():
        if not 0.0 <= _number(name, value, "a number in [0, 1]") <= 1.0:
            raise ParameterError(f"{name} must be a number in [0, 1], but is {value!r}")


def open_probability(**values: object) -> None:
    """Raise `ParameterError` unless every value lies strictly between 0 and 1."""
    for name, value in values.items():
        if not 0.0 < _number(name, value, "a number strictly between 0 and 1") < 1.0:
            raise ParameterError(
                f"{name} must be a number strictly between 0 and 1, but is {value!r}"
            )


def count(**values: object) -> None:
    """Raise `ParameterError` unless every value is an integer >= 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ParameterError(f"{name} must be a whole number >= 1, but is {value!r}")


def whole(**values: object) -> None:
    """Raise `ParameterError` unless each value is a whole number >= 0; a bool is none."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ParameterError(f"{name} must be a whole number >= 0, but is {value!r}")


def same_length(**values: Iterable[object]) -> None:
    """Raise `ParameterError` unless all sequences have the same, non-zero, length."""
    sizes = {name: len(tuple(value)) for name, value in values.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        found = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ParameterError(f"one entry per group is needed, the same number in each: {found}")


def one_of(choices: Iterable[str], **values: object) -> None:
    """Raise `ParameterError`, naming the closest choice, unless every value is a choice."""
    allowed = tuple(choices)
    for name, value in values.items():
        if value not in allowed:
            raise ParameterError(f"{name} must be {suggest(value, allowed)}")


def suggest(value: object, allowed: Iterable[str]) -> str:
    """'one of a, b, c, but is X (did you mean a?)', for use after 'must be'."""
    import difflib

    names = tuple(allowed)
    close = difflib.get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"one of {', '.join(map(repr, names))}, but is {value!r}{hint}"
