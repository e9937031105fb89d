"""What a broken program and its twin are, and the records that they share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..base import SeededKey
from ..clipping import Clip
from ..probes.finding import Finding

System = Literal["general", "vpdr", "dp-fpl", "dp-fedlora"]
Draw = Callable[[int, int, SeededKey], Tensor]


@dataclass(frozen=True)
class Sample:
    """sample(world, n, seed) for `pa.audit_mechanism`: n outputs; world 1 has the target.

    Attributes:
        draw: (world, n, key) -> tensor[n, ...].
    """

    draw: Draw

    def __call__(self, world: int, n: int, seed: int) -> NDArray[Any]:
        """array[n, ...]."""
        found: NDArray[Any] = self.draw(world, n, SeededKey(seed)).numpy()
        return found


@dataclass(frozen=True, kw_only=True)
class SamplerTwin:
    """A broken sampler and its correct twin under one claim.

    Attributes:
        name: of the bug.
        system: whose.
        bad: breaks the claim; good: keeps it.
        claim: fields of a `PrivacyClaim`.
        reason: what is wrong with the broken one.
        trials: in each world, with which it is refuted reliably.
    """

    name: str
    system: System
    bad: Sample
    good: Sample
    claim: dict[str, Any]
    reason: str
    trials: int = 4_000


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A numbered defect: a small program, its correct twin, and the probe that tells them apart.

    Attributes:
        code: F, P or L and a number.
        system: whose.
        reason: what is wrong.
        bad: the program with the defect; good: its twin, of the same type.
        check: runs a probe on a program; must fire on `bad` and be silent on `good`.
    """

    code: str
    system: System
    reason: str
    bad: Any
    good: Any
    check: Callable[[Any], Finding]


DIM = 6
_generator = torch.Generator().manual_seed(20_261_121)
OTHERS = Clip(joint_norm=1.0).apply(
    0.5 * torch.randn(20, DIM, generator=_generator, dtype=torch.float64), (DIM,)
)
"""float64[20, 6]: records that are always there, of norm at most 1."""
_direction = torch.randn(DIM, generator=_generator, dtype=torch.float64)
TARGET = 3.0 * _direction / _direction.norm()
"""float64[6]: the record in question, of norm 3: every clip matters to it."""


def people(world: int) -> Tensor:
    """float64[20 or 21, 6]: the records, the target last in world 1."""
    return torch.cat([OTHERS, TARGET.unsqueeze(0)]) if world else OTHERS


def copies(rows: Tensor, n: int) -> Tensor:
    """The same rows for n independent runs, float64[n, *rows.shape]; not copied in memory."""
    return rows.expand(n, *rows.shape)


def mu_claim(mu: float = 1.0, adjacency: str = "add-remove", unit: str = "example"
             ) -> dict[str, Any]:  # fmt: skip
    """A claim of the whole Gaussian curve."""
    return {"mu": mu, "adjacency": adjacency, "unit": unit}
