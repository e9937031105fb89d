"""FedPLVM: several prototypes per class, from clusters at the clients and at the server.

Source: Wang et al., arXiv:2403.09048, with the loss of arXiv:2604.27833: cosines are flattened to
sign(c)|c|^alpha; a record's own prototypes are contrasted with all (mean over the own ones), and
the sum of the own values is driven to their number. As published it also averages models.

Which records belong to a cluster depends on all records of the class: exchanging one can move
others, so that 2R/n per centre bounds nothing. With `assignment` "broadcast" a record goes to the
nearest of the centres that the *server* sent, which is post-processing, and every record is in
exactly one sum. Exchanging one then moves one sum by 2R or two by R each, which is less: the noise
is accounted like that of one prototype per class.
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
from .method import Assignment, PrototypeMethod, Uploads, check_clients, directions, kept


@dataclass(frozen=True, kw_only=True)
class FedPlvm(PrototypeMethod):
    """Numbers of arXiv:2604.27833; the authors weigh 100, SGD .01 momentum .5, 50 rounds.

    Attributes:
        clients: how many upload, >= 1, public.
        centres: room for clusters per class in an upload, >= 1; smaller clusters are left out.
        assignment: "finch" as published, or "broadcast"; see the top.
        alpha: sparsity, in (0, 1]; temperature: > 0.
        weight: of contrast and correction, >= 0.
    """

    title: ClassVar[str] = "FedPLVM"
    sends: ClassVar[tuple[str, ...]] = ("clusters", "known")
    averages_models: ClassVar[bool] = True
    clients: int
    centres: int = 3
    assignment: Assignment = "finch"
    alpha: float = 0.25
    temperature: float = 0.07
    weight: float = 0.5

    def __post_init__(self) -> None:
        check.count(clients=self.clients, centres=self.centres)
        check.one_of(("finch", "broadcast"), assignment=self.assignment)
        check.positive(alpha=self.alpha, temperature=self.temperature)
        check.probability(alpha=self.alpha)
        check.non_negative(weight=self.weight)

    def start(self, replicas: Tensor, *, classes: int, dim: int, key: Key) -> State:
        """No clusters, and room for as many as there can be."""
        shape = (len(replicas), classes, max(1, self.clients * self.centres // 2), dim)
        clusters = torch.zeros(shape, dtype=torch.float64, device=replicas.device)
        return {"clusters": clusters, "known": clusters[..., 0].clone()}

    def serve(self, state: State, uploads: Uploads, *, round: int, key: Key) -> State:
        """Cluster the centres of each class."""
        check_clients(uploads, self.clients, self.title)
        rows, known = uploads.by_class()
        found = finch.centres(rows, finch.coarsest(rows, known), known)
        clusters, _ = finch.largest(found, state["clusters"].shape[2])
        new = {"clusters": clusters.means, "known": (clusters.sizes > 0).to(rows)}
        return state | {name: kept(state[name], value, uploads) for name, value in new.items()}

    def assign(self, x: Tensor, y: Tensor, received: Mapping[str, Tensor], classes: int) -> Tensor:
        """Each record's centre, in the first `centres` places of its class."""
        if self.assignment == "broadcast":
            return self._to_nearest(x, y, received)
        finite = torch.isfinite(x).all(dim=2)  # others count nowhere
        where, valid = _members(torch.where(finite, y, -1), classes)
        rows = x.unsqueeze(1).expand(-1, classes, -1, -1)
        rows = rows.gather(2, where.unsqueeze(3).expand(*where.shape, x.shape[2]))
        cluster = finch.coarsest(rows, valid)
        _, place = finch.largest(finch.centres(rows, cluster, valid), self.centres)
        slot = place.gather(2, cluster)
        label = torch.arange(classes, device=y.device).view(-1, 1) * self.centres + slot
        label = torch.where(valid & (slot < self.centres), label, -1)
        # Each record is a member of one class at most; -1 elsewhere loses against its label.
        found = torch.full_like(y, -1)
        return found.scatter_reduce(1, where.flatten(1), label.flatten(1), reduce="amax")

    def _to_nearest(self, x: Tensor, y: Tensor, received: Mapping[str, Tensor]) -> Tensor:
        places = min(self.centres, received["known"].shape[2])
        clusters = losses.unit(received["clusters"][:, :, :places].to(x))
        known = received["known"][:, :, :places].to(x)
        own = y.clamp(min=0)
        near = losses.unit(x) @ clusters.flatten(1, 2).mT
        near = near.unflatten(2, clusters.shape[1:3])
        near = near.masked_fill((known == 0).unsqueeze(1), -2.0)
        at = own.view(*own.shape, 1, 1).expand(-1, -1, 1, places)
        slot = near.gather(2, at)[:, :, 0].argmax(dim=-1)  # the first if nothing is known yet
        return torch.where(y >= 0, own * self.centres + slot, -1)

    def context(self, received: Mapping[str, Tensor]) -> Params:
        """Directions of the clusters."""
        return directions(received["clusters"], received["known"])

    def loss(self, outputs: Outputs, y: Tensor, context: Context) -> Tensor:
        """See the top."""
        known = context["known"]
        cosine = losses.unit(outputs.features) @ context["directions"]
        value = losses.sparse_power(cosine, self.alpha)
        own = losses.own_columns(y, outputs.logits.shape[-1], known)
        number = own.sum(dim=-1)
        apart = losses.mean_contrast(value / self.temperature, own, known)
        missing = ((value * own).sum(dim=-1) - number).abs()
        return cross_entropy(outputs, y, context) + self.weight * (apart + missing)


def _members(y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Positions of each class's records, int64[rows, classes, most], and which of them exist."""
    member = y.unsqueeze(1) == torch.arange(classes, device=y.device).view(-1, 1)
    counts = member.sum(dim=2, keepdim=True)
    most = int(counts.max()) if counts.numel() else 0
    first = (~member).to(torch.int8).argsort(dim=2, stable=True)[..., :most]
    return first, torch.arange(most, device=y.device) < counts
