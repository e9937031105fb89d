"""What a probed program gives and what is said about it, checked: given, expected, what to do."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from .finding import Finding

CONVERT = "wrap arrays with torch.from_numpy, numbers and lists with torch.tensor"


def named_tensors(value: object, who: str) -> dict[str, Tensor]:
    """What `who` gave, as {name: tensor}.

    Raises:
        ParameterError: it is something else.

    >>> named_tensors([1.0], "step")
    Traceback (most recent call last):
        ...
    privassay.accountant.errors.ParameterError: step must give {name: tensor}, but gives a list.
      Return a dict with a name for each thing that leaves: {"out": ...}.
    """
    if not isinstance(value, Mapping):
        raise ParameterError(
            f"{who} must give {{name: tensor}}, but gives a {type(value).__name__}.\n  Return a "
            'dict with a name for each thing that leaves: {"out": ...}.'
        )
    for name, inside in value.items():
        if not isinstance(name, str) or not isinstance(inside, Tensor):
            raise ParameterError(
                f"{who} must give {{name: tensor}}, but {name!r} is a {type(inside).__name__}.\n"
                f"  Names are text; {CONVERT}."
            )
    return dict(value)


def noise_scale(name: str, value: object) -> Tensor:
    """The declared standard deviation of the noise of `name`, float64[...], each >= 0.

    Raises:
        ParameterError: it is no number or tensor, or one entry is negative, NaN or infinite.
    """
    wanted = "a number or tensor, finite and >= 0 (0: a public value)"
    try:
        scale = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ParameterError(
            f"the noise stddev of {name!r} must be {wanted}, but is {value!r}.\n  State it in the "
            "units of what leaves."
        ) from None
    if not bool((torch.isfinite(scale) & (scale >= 0.0)).all()):
        worst = float(scale.flatten()[int((~(scale >= 0.0)).flatten().int().argmax())])
        worst = worst if not worst >= 0.0 else math.inf
        raise ParameterError(
            f"the noise stddev of {name!r} must be {wanted}, but holds {worst:g}.\n  A standard "
            "deviation is the root of a variance; where there is no noise write 0."
        )
    return scale


def fitting(stddevs: Mapping[str, Any], sent: Mapping[str, Tensor]) -> None:
    """Refuse a stddev of something that does not leave, or that does not broadcast to it."""
    unknown = sorted(set(stddevs) - set(sent))
    if unknown:
        raise ParameterError(
            f"stddevs names {', '.join(map(repr, unknown))}, but step gives "
            f"{', '.join(map(repr, sorted(sent)))}.\n  Use the names under which things leave."
        )
    for name, value in stddevs.items():
        shape, wanted = noise_scale(name, value).shape, sent[name].shape
        fits = len(shape) <= len(wanted) and all(
            a in (1, b) for a, b in zip(reversed(shape), reversed(wanted), strict=False)
        )
        if not fits:
            raise ParameterError(
                f"the noise stddev of {name!r} has shape {list(shape)}, which does not broadcast "
                f"to {list(wanted)}.\n  Give one number, or one for each entry of {name!r}."
            )


def same_data(one: object, other: object) -> bool:
    """Whether two data sets hold the same; False where that cannot be told."""
    if one is other:
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape:
            return False
        return bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_data(one[k], other[k]) for k in one)
    if isinstance(one, str | int | float | bool) and isinstance(other, type(one)):
        return one == other
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(same_data, one, other))
    if hasattr(one, "__array__") and hasattr(other, "__array__"):
        import numpy as np

        left, right = np.asarray(one), np.asarray(other)
        return left.dtype.kind not in "OV" and bool(np.array_equal(left, right))
    return False


def no_neighbour(probe: str) -> Finding:
    """What a probe says that was given the same data twice."""
    return Finding(
        probe=probe,
        fired=True,
        text="data and neighbour are equal; nothing differed: the probe proves nothing",
        fix="give a neighbour that moves every statistic, such as the data with a record replaced",
        severity="warning",
    )
