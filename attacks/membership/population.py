"""Ranks among records that are known not to be the target's: a null that costs no training."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...accountant.errors import DesignError
from .signals import require_records

Floats = NDArray[np.float64]


def population_of(
    population: Tensor, targets: int, records: int, *, candidates: Tensor | None, may_score: bool
) -> list[Tensor]:
    """The known non-members of each target, int64[z] each, on the processor.

    Args:
        population: int64[z], the same records for every target; or bool[targets, records].
        targets: how many.
        records: how many were asked about.
        candidates: int64[m], or None for all.
        may_score: whether a candidate may be in the population.

    Raises:
        DesignError: another shape, a target without population, or a candidate in it that may not.
    """
    population = population.cpu()
    if population.dtype == torch.bool:
        if population.shape != (targets, records):
            raise DesignError(
                f"population must be bool[{targets}, {records}] or int64[z], but has shape "
                f"{tuple(population.shape)}"
            )
        found = [row.nonzero().squeeze(1) for row in population]
        if any(len(rows) == 0 for rows in found):
            raise DesignError("a target has no population; give each at least one known non-member")
    else:
        require_records(records, population=population)
        found = [population] * targets
    if candidates is not None:
        candidates = candidates.cpu()
        require_records(records, candidates=candidates)
    if not may_score:
        scored = torch.zeros(records, dtype=torch.bool)
        scored[slice(None) if candidates is None else candidates] = True
        both = max(int(scored[rows].sum()) for rows in found)
        if both:
            raise DesignError(
                f"up to {both} known non-members of a target are also candidates: an attack that "
                "is told who is out looks better than it is.\n  Give other candidates or another "
                "population; where the attack has may_score_population, set it and report it."
            )
    return found


def sizes_of(populations: list[Tensor], *, like: Tensor) -> Tensor:
    """float64[targets, 1]: number of records in each population, where `like` is."""
    sizes = [[float(len(rows))] for rows in populations]
    return torch.tensor(sizes, dtype=torch.float64, device=like.device)


def count_at_most(values: Tensor, populations: list[Tensor], *, shift: float = 0.0) -> Tensor:
    """int64[targets, records]: of how many of a target's population value + shift <= the record's.

    By rank, O((records + population) ln population), and equal to comparing each with each, ties
    included.

    Args:
        values: float64[targets, records], finite.
        populations: the records that are each target's population, int64[z] each.
        shift: added to the population's values.
    """
    rows = values.cpu().numpy()
    found = [
        ranks(row, row[some.numpy()] + shift) for row, some in zip(rows, populations, strict=True)
    ]
    return torch.from_numpy(np.stack(found)).to(values.device)


def ranks(values: Floats, population: Floats) -> NDArray[np.int64]:
    """int64[n]: how many of float64[z] are <= each of float64[n]; all finite.

    A search is three times as fast for keys that are nearly in order, and the upper half of a
    float32 is put in order at once, by radix. What the order is does not matter for the result.
    """
    with np.errstate(over="ignore"):
        nearly = values.astype(np.float32).view(np.uint16)[1::2].argsort(kind="stable")
    found = np.empty(len(values), dtype=np.int64)
    found[nearly] = np.searchsorted(np.sort(population), values[nearly], side="right")
    return found
