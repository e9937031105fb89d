"""Part of a data set, and two of them joined, whatever kind of container it is in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accountant.errors import DesignError

_KINDS = (
    "an array, a tuple of arrays, a list, a pandas DataFrame, a torch Tensor or Dataset, or a "
    "Hugging Face Dataset"
)


def size_of(data: Any) -> int:
    """Number of records.

    >>> size_of((np.zeros((5, 2)), np.zeros(5)))
    5
    """
    if isinstance(data, dict | str | bytes):
        raise DesignError(f"data must be {_KINDS}, but is {type(data).__name__}")
    if isinstance(data, tuple):
        sizes = {size_of(part) for part in data}
        if len(sizes) != 1:
            raise DesignError(f"the arrays of a tuple must be equally long, but are {sizes}")
        return sizes.pop()
    try:
        return len(data)
    except TypeError:
        raise DesignError(f"data must be {_KINDS}, but is {type(data).__name__}") from None


def taken(data: Any, index: NDArray[np.intp]) -> Any:
    """The records at `index`, in a container of the same kind.

    >>> taken(["a", "b", "c"], np.array([0, 2]))
    ['a', 'c']
    """
    if isinstance(data, tuple):
        return tuple(taken(part, index) for part in data)
    if isinstance(data, list):
        return [data[i] for i in index]
    if isinstance(data, np.ndarray):
        return data[index]
    kind = _kind(data)
    if kind == "pandas":
        return data.iloc[index]
    if kind == "hugging face":
        return data.select(index)
    import torch

    if isinstance(data, torch.Tensor):
        return data[torch.from_numpy(index).to(data.device)]
    return torch.utils.data.Subset(data, [int(i) for i in index])


def joined(first: Any, second: Any) -> Any:
    """Both, one after the other; the second alone if the first is None.

    Raises:
        DesignError: two kinds of containers.
    """
    if first is None:
        return second
    if isinstance(second, tuple):
        if not isinstance(first, tuple) or len(first) != len(second):
            raise DesignError("data and candidates must be tuples of equally many arrays")
        return tuple(joined(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(second, list) and isinstance(first, Sequence):
        return [*first, *second]
    if isinstance(second, np.ndarray) and isinstance(first, np.ndarray):
        return np.concatenate([first, second])
    kinds = _kind(first), _kind(second)
    if kinds[0] != kinds[1] or kinds[0] == "plain":
        raise DesignError(
            f"data and candidates must be of one kind, but are {type(first).__name__} and "
            f"{type(second).__name__}"
        )
    if kinds[0] == "pandas":
        import pandas

        return pandas.concat([first, second])
    if kinds[0] == "hugging face":
        from datasets import concatenate_datasets  # type: ignore[import-not-found,unused-ignore]

        return concatenate_datasets([first, second])
    import torch

    if isinstance(first, torch.Tensor):
        return torch.cat([first, second])
    return torch.utils.data.ConcatDataset([first, second])


def _kind(data: Any) -> str:
    if hasattr(data, "iloc"):
        return "pandas"
    if hasattr(data, "select") and hasattr(data, "features"):
        return "hugging face"
    if isinstance(data, list | np.ndarray):
        return "plain"
    if type(data).__module__.startswith("torch") or hasattr(data, "__getitem__"):
        return "torch"
    raise DesignError(f"data must be {_KINDS}, but is {type(data).__name__}")
