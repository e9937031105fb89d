"""What left a run, and who saw it. Attacks get a view of this and nothing else."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ..accountant import check
from ..accountant.claim import ADVERSARIES


@dataclass(frozen=True, kw_only=True)
class View:
    """What one adversary saw. Fields that it did not see are None.

    Attributes:
        adversary: whose view this is.
        uploads: float[..., rounds, clients, classes, dim], the noisy prototypes of each client.
        broadcasts: float[..., rounds, classes, dim], what the server sent to all.
        final: float[..., classes, dim], the prototypes that are released in the end.
    """

    adversary: str
    uploads: Tensor | None
    broadcasts: Tensor | None
    final: Tensor


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """Everything that left its owner during a run; leading axes are replicas of the run.

    Attributes:
        uploads: float[..., rounds, clients, classes, dim].
        broadcasts: float[..., rounds, classes, dim].
    """

    uploads: Tensor
    broadcasts: Tensor

    @property
    def final(self) -> Tensor:
        """The last broadcast, float[..., classes, dim]."""
        return self.broadcasts.select(-3, -1)

    def view(self, adversary: str) -> View:
        """What `adversary` saw.

        server: every upload and broadcast; peer: the broadcasts; outsider: the final prototypes.

        Raises:
            ParameterError: no such adversary, or "querier", who sees no prototype at all.
        """
        check.one_of([a for a in ADVERSARIES if a != "querier"], adversary=adversary)
        return View(
            adversary=adversary,
            uploads=self.uploads if adversary == "server" else None,
            broadcasts=self.broadcasts if adversary in ("server", "peer") else None,
            final=self.final,
        )

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and contiguous float32 array of everything captured."""
        for name in ("uploads", "broadcasts", "final"):
            yield name, np.ascontiguousarray(getattr(self, name).numpy(), dtype=np.float32)

    def save(self, folder: Path) -> dict[str, str]:
        """Write one .npy file per array, atomically; returns {file name: SHA-256}."""
        folder.mkdir(parents=True, exist_ok=True)
        hashes = {}
        for name, array in self.arrays():
            target = folder / f"{name}.npy"
            partial = target.with_suffix(".partial")
            partial.touch(mode=0o600)  # of an audit: noise from a seed protects nobody
            with partial.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            os.replace(partial, target)
            hashes[target.name] = hashlib.sha256(target.read_bytes()).hexdigest()
        return hashes
