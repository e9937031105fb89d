"""FPL: clusters of the clients' prototypes, so that frequent domains do not outvote rare ones.

Source: Huang et al., "Rethinking Federated Learning with Domain Shift: A Prototype View", CVPR
2023, and the form of arXiv:2604.27833. The server clusters the prototypes of each class (FINCH,
cosine, coarsest partition); "unbiased" is the mean of the clusters' means. Clients add to the
cross-entropy a contrast (InfoNCE of cosines) with all clusters, and the squared distance to the
unbiased prototype. As published it also averages models; in arXiv:2604.27833 it does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...mechanisms.base import Key
from ..kernels.base import Context, Outputs, Params, cross_entropy
from . import finch, losses
from .base import State
from .method import PrototypeMethod, Uploads, check_clients, directions, kept


@dataclass(frozen=True, kw_only=True)
class Fpl(PrototypeMethod):
    """Weights are those of arXiv:2604.27833; the authors use 1 and 1, SGD .01, 10 epochs.

    Attributes:
        clients: how many upload, >= 1, public.
        temperature: > 0; the authors' programs have .02 and .2.
        contrast_weight, distance_weight: >= 0.
    """

    title: ClassVar[str] = "FPL"
    sends: ClassVar[tuple[str, ...]] = ("prototypes", "clusters", "known")
    averages_models: ClassVar[bool] = True
    clients: int
    temperature: float = 0.02
    contrast_weight: float = 0.5
    distance_weight: float = 0.5

    def __post_init__(self) -> None:
        check.count(clients=self.clients)
        check.positive(temperature=self.temperature)
        check.non_negative(
            contrast_weight=self.contrast_weight, distance_weight=self.distance_weight
        )

    def start(self, replicas: Tensor, *, classes: int, dim: int, key: Key) -> State:
        """No clusters, and room for as many as there can be: each has two members at least."""
        shape = (len(replicas), classes, max(1, self.clients // 2), dim)
        clusters = torch.zeros(shape, dtype=torch.float64, device=replicas.device)
        return {
            "prototypes": clusters[:, :, 0].clone(),
            "clusters": clusters,
            "known": clusters[..., 0].clone(),
        }

    def serve(self, state: State, uploads: Uploads, *, round: int, key: Key) -> State:
        """Cluster each class."""
        check_clients(uploads, self.clients, self.title)
        rows, known = uploads.by_class()
        found = finch.centres(rows, finch.coarsest(rows, known), known)
        clusters, _ = finch.largest(found, state["clusters"].shape[2])
        held = (clusters.sizes > 0).to(rows)
        count = held.sum(dim=-1, keepdim=True).clamp(min=1.0)
        new = {
            "prototypes": clusters.means.sum(dim=2) / count,
            "clusters": clusters.means,
            "known": held,
        }
        return state | {name: kept(state[name], value, uploads) for name, value in new.items()}

    def context(self, received: Mapping[str, Tensor]) -> Params:
        """Directions of the clusters, and the unbiased prototypes."""
        unbiased = received["prototypes"]
        return directions(received["clusters"], received["known"]) | {
            "prototypes": unbiased,
            "held": losses.held(unbiased),
        }

    def loss(self, outputs: Outputs, y: Tensor, context: Context) -> Tensor:
        """See the top."""
        known = context["known"]
        near = losses.unit(outputs.features) @ context["directions"] / self.temperature
        own = losses.own_columns(y, context["held"].shape[-1], known)
        apart = losses.contrast(near, own, known)
        away = losses.own_distance(outputs.features, y, context["prototypes"], context["held"])
        entropy = cross_entropy(outputs, y, context)
        return entropy + self.contrast_weight * apart + self.distance_weight * away
