"""Outputs of a mechanism that is only known as a function: `sample(world, n, seed)`.

World 0 is the mechanism on a data set D, world 1 on its neighbour D'. Every block is drawn with a
seed of its own; the blocks of the two worlds, and those for learning and for the bound, never share
one, so that common random numbers cannot make the worlds look alike.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accountant import check
from ..accountant.errors import DesignError

Sample = Callable[[int, int, int], Any]
Progress = Callable[[int, int], None]
_BLOCK = 2_000  # outputs drawn by one call
_FEWEST = 100  # outputs that must not all be alike in two calls, unless they are within one


def seed_of(root: int, *name: object) -> int:
    """A seed for any generator, in 0..2^32 - 1; two names share one with probability 2^-32.

    >>> seed_of(0, "learn", 1) != seed_of(0, "bound", 1)
    True
    """
    text = "/".join(map(str, (root, *name)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class Sampler:
    """Draws outputs and looks for what would make trials worthless.

    Args:
        sample: sample(world, n, seed) gives n outputs, array[n, ...]; world is 0 or 1. Outputs of
            one call must be independent, and so must those of calls with different seeds.
        seed: root of all seeds, >= 0. The seeds that `sample` gets are in 0..2^32 - 1.
    """

    def __init__(self, sample: Sample, *, seed: int) -> None:
        check.whole(seed=seed)
        if not callable(sample):
            raise DesignError(
                f"sample must be a function sample(world, n, seed), but is {type(sample).__name__}"
            )
        self._sample, self._seed = sample, seed

    def draw(
        self, purpose: str, world: int, n: int, *, progress: Callable[[int], None] | None = None
    ) -> NDArray[Any]:
        """`n` outputs for one purpose ("learn", "bound"), array[n, ...]; blocks of 2,000.

        Raises:
            DesignError: not n outputs, or two calls with different seeds gave the same ones.
        """
        blocks: list[NDArray[Any]] = []
        for start in range(0, n, _BLOCK):
            size = min(_BLOCK, n - start)
            seed = seed_of(self._seed, purpose, world, start)
            blocks.append(_outputs(self._sample(world, size, seed), size, world))
            if len(blocks) == 2:
                _require_fresh(blocks[0], blocks[1], world)
            if progress is not None:
                progress(size)
        return join(blocks) if blocks else np.empty((0, 1))

    def check_seeds(self) -> None:
        """Raise `DesignError` if the seed has no influence on outputs that vary within a call."""
        for world in (0, 1):
            one, other = (
                _outputs(self._sample(world, _FEWEST, seed_of(self._seed, "check", world, k)),
                         _FEWEST, world)
                for k in (0, 1)
            )  # fmt: skip
            _require_fresh(one, other, world)


def _outputs(found: Any, n: int, world: int) -> NDArray[Any]:
    if isinstance(found, np.ma.MaskedArray):
        raise DesignError(
            "sample gave a masked array, whose hidden values would be scored; give NaN instead"
        )
    if hasattr(found, "detach"):  # a torch tensor
        found = found.detach().cpu()
        if str(found.dtype) == "torch.bfloat16":  # which numpy does not know
            found = found.float()
    try:
        outputs = np.asarray(found)
    except ValueError:  # outputs of different lengths
        outputs = np.empty(len(found), dtype=object)
        outputs[:] = list(found)
    except (TypeError, RuntimeError, OverflowError) as error:
        raise DesignError(
            f"sample({world}, {n}, seed) must give an array of {n} outputs, but gave "
            f"{type(found).__name__}, which is none: {error}"
        ) from None
    if outputs.ndim == 0 or len(outputs) != n:
        raise DesignError(
            f"sample({world}, {n}, seed) must give {n} outputs, array[{n}, ...], but gave "
            f"{'a single value' if outputs.ndim == 0 else f'shape {outputs.shape}'}"
        )
    return outputs


def _require_fresh(one: NDArray[Any], other: NDArray[Any], world: int) -> None:
    size = min(len(one), len(other))
    if size < _FEWEST or one.dtype == object or one.shape[1:] != other.shape[1:]:
        return
    a, b = (x[:size].reshape(size, -1) for x in (one, other))
    if not _alike(a, b):
        return
    # rows that are nearly always the same say nothing: two calls may agree by chance
    if a.dtype.kind in "OV":
        return
    commonest = np.unique(a, axis=0, return_counts=True, equal_nan=True)[1].max() / size
    if commonest**size < 1e-12:
        raise DesignError(
            f"sample({world}, n, seed) gave the same {size} outputs for two different seeds.\n"
            "  Trials that repeat each other are no evidence: let all noise depend on the seed, or "
            "draw it afresh in every call."
        )


def _alike(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(np.all((a == b) | ((a != a) & (b != b))))


def join(blocks: list[NDArray[Any]]) -> NDArray[Any]:
    """Outputs one after the other; an array of objects where their shapes differ."""
    shapes = {block.shape[1:] for block in blocks}
    if len(shapes) == 1 and all(block.dtype != object for block in blocks):
        return np.concatenate(blocks)
    rows = [row for block in blocks for row in block]
    joined = np.empty(len(rows), dtype=object)
    joined[:] = rows
    return joined
