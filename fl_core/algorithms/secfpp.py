"""SecFPP's learning: a cluster's prompt for the domain plus the client's own for its classes.

A client's context is P_G + P_L. Both are trained on its records; P_L never leaves the device, P_G
is averaged inside the client's cluster. Prompts are shared as differences from the public first
one, so that the public bounds are spent on what was learned. Source: Hou, Li & Buyukates,
arXiv:2505.22447.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ...mechanisms.secret_sharing.clusterer import Clustered
from ..clients import ClientData
from ..counters import Counter
from ..kernels.base import Params, cross_entropy
from ..kernels.prompts import Prompts, shared_and_own
from ..models.text_tower import ClassText
from ..plan import steps
from ..training import train
from .base import Received, State
from .fedavg import local_order
from .prompt_clusters import Clusters
from .prompt_federation import LocalTraining


@dataclass(frozen=True, kw_only=True, eq=False)
class SecFppLearning:
    """The algorithm, for one replica whose clients are numbered from 0.

    What a served prompt says about the records of P_L is bounded by nothing here: local training
    has no noise.

    Attributes:
        text: the classes; its length times its width is the setting's prompt_dimension.
        scale: of the cosines.
        clusters: how prompts are grouped and averaged.
        training: of the clients, without noise.
        stddev: of the first prompts.
    """

    text: ClassText
    scale: float
    clusters: Clusters
    training: LocalTraining = LocalTraining()
    stddev: float = 0.02

    def __post_init__(self) -> None:
        if self.training.private is not None:
            raise ConfigError(
                "SecFPP trains without noise; its account is that of what clusters open.\n"
                "  Leave private training out."
            )

    @property
    def kernel(self) -> Prompts:
        """Context = shared + own."""
        form = shared_and_own(self.text.length, self.text.tower.width)
        return Prompts(text=self.text, form=form, scale=self.scale, stddev=self.stddev)

    @property
    def upload_shape(self) -> tuple[int, ...]:
        """A prompt in one vector."""
        return (self.text.length * self.text.tower.width,)

    @property
    def keeps_rows(self) -> bool:
        """Clusters are sums of some of them."""
        return True

    @property
    def weights_are_public(self) -> bool:
        """Every client counts the same."""
        return True

    @property
    def takes_noisy_sums(self) -> bool:
        """Clusters need each prompt."""
        return False

    def start(self, replicas: Tensor, key: Key) -> State:
        """The first prompt, everybody's cluster prompt, and no clusters yet."""
        if len(replicas) != 1:
            raise ConfigError(
                f"SecFPP runs one replica, but was given {len(replicas)}.\n  Run them one by one."
            )
        first = self._drawn(key, "first prompt", torch.zeros_like(replicas), replicas)["shared"]
        clients = self.clusters.clients
        assignment = torch.full((1, clients), -1, dtype=torch.int64, device=replicas.device)
        sizes = torch.zeros(1, self.clusters.most, dtype=torch.float64, device=replicas.device)
        return {
            "first": first,
            "prompts": first.unsqueeze(1).repeat(1, clients, 1, 1),
            "assignment": assignment,
            "sizes": sizes,
        }

    def personal(self, data: ClientData, key: Key) -> Params:
        """P_L."""
        return {"own": self._drawn(key, "own prompt", data.clients, data.replicas)["own"]}

    def broadcast(self, state: State) -> State:
        """Each client takes its own cluster's prompt."""
        return {"first": state["first"], "prompts": state["prompts"]}

    def weights(self, data: ClientData) -> Tensor:
        """All equal."""
        return torch.ones_like(data.lengths, dtype=torch.float64)

    def update(
        self,
        received: Mapping[str, Tensor],
        personal: Params,
        data: ClientData,
        *,
        round: int,
        key: Key,
    ) -> tuple[Tensor, Params]:
        """Train both prompts; share what P_G is away from the first one."""
        params = {"shared": self._mine(received["prompts"], data), "own": personal["own"].clone()}
        how = self.training
        order = local_order(key, round)
        plan = steps(data, epochs=how.epochs, batch_size=how.batch_size, order=order)
        optimizer = how.optimizer(params)
        train(self.kernel, params, data, plan, loss=cross_entropy, optimizer=optimizer)
        away = (params["shared"] - received["first"]).flatten(1)
        # The client's own doing: a row that is not finite would end the protocol for everybody.
        finite = torch.isfinite(away).all(dim=1, keepdim=True)
        return torch.where(finite, away, 0.0), {"own": params["own"]}

    def serve(self, state: State, received: Received, *, round: int, key: Key) -> State:
        """Cluster in the rounds that do, average in all."""
        assert received.rows is not None  # keeps_rows is True
        rows, arrived = received.rows[0], received.arrived[0]
        if len(rows) != self.clusters.clients:
            raise ConfigError(
                f"the clusters are declared for {self.clusters.clients} clients, but {len(rows)} "
                "take part"
            )
        kept = None
        if int(state["assignment"][0, 0]) >= 0:
            sizes = state["sizes"][0].cpu()
            kept = Clustered(state["assignment"][0].cpu(), sizes[: int(sizes.count_nonzero())])
        senders = None if bool(arrived.all()) else arrived.nonzero()[:, 0].tolist()
        served, found = self.clusters.serve(rows, kept, number=round + 1, senders=senders)
        prompts = state["first"].double().flatten(1) + served.to(rows.device)
        padded = torch.zeros_like(state["sizes"][0])
        padded[: len(found.sizes)] = found.sizes.to(padded)
        return {
            "first": state["first"],
            "prompts": prompts.to(state["first"]).view_as(state["prompts"]),
            "assignment": found.assignment.to(state["assignment"])[None],
            "sizes": padded[None],
        }

    def prompts(self, state: Mapping[str, Tensor], personal: Params, data: ClientData) -> Params:
        """What each row would be served with: parameters of `kernel`, for evaluation."""
        everybody = state["prompts"].expand(len(data), -1, -1, -1)
        return {"shared": self._mine(everybody, data), "own": personal["own"]}

    def _mine(self, prompts: Tensor, data: ClientData) -> Tensor:
        """float[rows, length, width]: each row's own of float[rows, clients, length, width]."""
        if len(data) and int(data.clients.max()) >= prompts.shape[1]:
            raise ConfigError(
                f"clients must be numbered 0 .. {prompts.shape[1] - 1}, but one has number "
                f"{int(data.clients.max())}"
            )
        return prompts[torch.arange(len(data), device=prompts.device), data.clients].contiguous()

    def _drawn(self, key: Key, purpose: str, clients: Tensor, replicas: Tensor) -> Params:
        return self.kernel.initial(Counter.of(key, purpose), clients, replicas)
