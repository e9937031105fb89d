"""What leaves a prototype federation besides noisy prototypes, said so that an audit can refuse.

A claim that covers everything that leaves must fail if models are averaged in the clear, if
prototypes are means of features of adapters that were trained on the same records, or if the
records decide how they are grouped. The accounted event of the upload is then that of a release
without privacy; the event of the noise alone is that of the inner release.
"""

from dataclasses import dataclass
from typing import ClassVar

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant.adjacency import Unit
from ...accountant.assumption import Assumption
from ...mechanisms.base import Key, Point
from .method import PrototypeMethod
from .releases import PrototypeRelease


@dataclass(frozen=True, kw_only=True, eq=False)
class Shared:
    """The upload of a prototype federation as one mechanism, made and accounted in one place.

    Attributes:
        release: noise of the prototypes.
        method: whose prototypes they are.
        adapted: whether they are means of adapted features.
        shape: labels and width of the prototypes.
        model_size: parameters that are uploaded after the prototypes, 0 if none are.
        training: cost of a round's local training, if it is private.
    """

    point: ClassVar[Point] = "per_upload"
    unit: ClassVar[Unit] = "example"
    release: PrototypeRelease
    method: PrototypeMethod
    adapted: bool
    shape: tuple[int, int]
    model_size: int
    training: dpe.DpEvent | None = None

    @property
    def upload_shape(self) -> tuple[int, ...]:
        """[labels, width], or one vector of prototypes and parameters."""
        labels, width = self.shape
        return self.shape if not self.model_size else (labels * width + self.model_size,)

    def join(self, statistic: Tensor, model: Tensor | None) -> Tensor:
        """One upload of float64[rows, labels, width] and float[rows, parameters]."""
        if model is None:
            return statistic
        return torch.cat([statistic.flatten(1), model.to(statistic)], dim=1)

    def split(self, uploads: Tensor) -> tuple[Tensor, Tensor | None]:
        """The inverse of `join`, whatever the leading axes."""
        if not self.model_size:
            return uploads, None
        flat, model = uploads.tensor_split([uploads.shape[-1] - self.model_size], dim=-1)
        return flat.unflatten(-1, self.shape), model

    def perturb(self, uploads: Tensor, key: Key) -> Tensor:
        """Uploads, float64[rows, *upload_shape], as they leave; models leave as they are."""
        statistic, model = self.split(uploads)
        return self.join(self.release.perturb(statistic, key), model)

    def event(self) -> dpe.DpEvent:
        """Cost of one label of one upload, or of a release without privacy.

        What was trained on the records costs a round of private training more. Round 0 pays for
        one, too, though none came before: so the model that is left after the last is paid for.
        """
        if self.unprotected():
            return dpe.NonPrivateDpEvent()
        if self.training is None or not (self.adapted or self.model_size):
            return self.release.event()
        return dpe.ComposedDpEvent([self.release.event(), self.training])

    def unprotected(self) -> tuple[str, ...]:
        """What leaves without a bound, one sentence each; empty if all is accounted."""
        found = []
        if self.model_size and self.training is None:
            found.append("Every client's model leaves in every round, without noise.")
        if self.adapted and self.training is None:
            found.append(
                "From round 1 on prototypes are means of features of adapters that were trained "
                "on the same records without differential privacy."
            )
        if self.method.assignment == "finch":
            found.append(
                "The records themselves decide into which centres of a class they are averaged; "
                "one record can move others, and no bound of that is known."
            )
        if isinstance(self.release.event(), dpe.NonPrivateDpEvent):
            found.append("Prototypes leave without noise.")
        return tuple(found)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What a claim that covers everything that leaves needs."""
        published = (
            f"{self.method.title} as published averages models, too; "
            if self.method.averages_models
            else ""
        )
        return (
            *self.release.assumptions(),
            Assumption(
                text="Nothing but noisy prototypes, and what private training made, leaves.",
                how=f"{published}models {'are' if self.model_size else 'are not'} uploaded here, "
                f"and are trained {'with' if self.training else 'without'} DP-SGD",
                holds=not self.model_size or self.training is not None,
            ),
            Assumption(
                text="What is averaged was not computed by a model that saw the records in clear.",
                how="means of frozen features"
                if not self.adapted
                else f"adapters are trained {'with' if self.training else 'without'} DP-SGD",
                holds=not self.adapted or self.training is not None,
            ),
            Assumption(
                text="Each record enters one sum, whatever the other records are.",
                how={
                    "class": "one sum per class",
                    "broadcast": "the sum of the nearest centre that the server sent",
                    "finch": "clusters of the client's own records",
                }[self.method.assignment],
                holds=self.method.assignment != "finch",
            ),
            Assumption(
                text="The frozen encoder does not depend on private records.",
                how="declared: it was trained on public data",
                holds=None,
            ),
        )
