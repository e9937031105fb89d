"""What left a run, and who saw it. Attacks get a view of this and nothing else."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..accountant import check
from ..accountant.claim import ADVERSARIES
from .recorder import Recording, tensors


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

    @classmethod
    def load(cls, folder: Path) -> "Transcript":
        """The recording of a run with one replica that broadcasts prototypes; single precision.

        Raises:
            RecordError: there is none, or an array does not have the shape of its index.
        """
        found = tensors(Recording.load(folder).view("server"))
        return cls(uploads=found["uploads"], broadcasts=found["broadcast-prototypes"][:, 0])
