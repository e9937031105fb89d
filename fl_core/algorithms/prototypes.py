"""Prototype federations: clients share noisy class prototypes and keep their models.

What all methods have in common. A round: train on what was broadcast last (not in round 0, when
nothing was), then upload one statistic per class; the loop adds the noise. A `method` brings the
loss, the server's step and what it broadcasts. Models are a residual adapter and a head on frozen
features, rows of (replica, client), and all clients of a replica start from the same one.

Prototypes of the *frozen* features depend on no training, so that their noise is all that has to
be accounted. Prototypes of *adapted* features, as in the published programs, contain whatever the
adapter learnt from the same records: from round 1 on nothing is proven about them unless the
adapters are trained with DP-SGD, whose cost is then part of every upload's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ..clients import ClientData
from ..counters import Counter
from ..kernels.base import Kernel, Params, flatten, unflatten
from ..kernels.stacked import Stacked
from ..optimizers import Optimizer
from ..plan import steps
from .base import Received, State
from .distillation import Distillation
from .fedavg import local_order
from .method import PrototypeMethod, Uploads, kept
from .personal_model import adam_w
from .personal_training import PrivateTraining, train_personal
from .releases import PrototypeRelease, PublicChoice
from .sharing import Shared
from .statistics import check_records, class_statistic

_STATISTIC, _REPLICAS, _MODEL = "statistic", "replicas", "model."


@dataclass(frozen=True, kw_only=True, eq=False)
class PrototypeFederation:
    """One prototype method with one kind of noise.

    Attributes:
        method: loss and server.
        release: what is uploaded per class, and its noise.
        kernel: the clients' model, from frozen features to logits, without soft clip.
        dim: size of a feature; classes: number of classes.
        features: whose means are uploaded.
        epochs, batch_size: local training, >= 1.
        optimizer: makes the optimiser of one local training.
        distillation: DCR, or None.
        local_training: False leaves out the personal models. What leaves is the same, so an audit
            of frozen features need not pay for training.
        average_models: also upload and average the models, as some methods do in their published
            form. Nothing but private training protects those.
        private: train with DP-SGD, instead of epochs and batches.
        order: order of a row's records instead of the run's own (round is the third argument).
    """

    method: PrototypeMethod
    release: PrototypeRelease
    kernel: Kernel
    dim: int
    classes: int
    features: Literal["frozen", "adapted"] = "frozen"
    epochs: int = 2
    batch_size: int = 256
    optimizer: Callable[[Params], Optimizer] = adam_w()
    distillation: Distillation | None = None
    local_training: bool = True
    average_models: bool = False
    private: PrivateTraining | None = None
    order: Callable[[ClientData, int, int], Tensor] | None = None

    def __post_init__(self) -> None:
        check.one_of(("frozen", "adapted"), features=self.features)
        check.count(
            dim=self.dim, classes=self.classes, epochs=self.epochs, batch_size=self.batch_size
        )
        if self.distillation is not None:
            self.distillation.student(self.kernel)  # checks what it is made of
        _ = self.shared  # likewise
        if isinstance(self.release, PublicChoice) and self.method.centres > 1:
            raise ConfigError(
                f"{self.method.title} uploads {self.method.centres} centres per class, but one "
                "public candidate is chosen per class.\n  Use a release of sums."
            )
        if self.private is not None and (self.distillation is not None or self.method.guided):
            raise ConfigError(
                "a teacher sees the records of every batch, which private training does not offer."
                "\n  Leave out distillation, and take a method without a teacher."
            )
        if not self.local_training and (self.features == "adapted" or self.average_models):
            raise ConfigError(
                "local_training = False leaves out what is uploaded here: adapted features or "
                "models depend on training.\n  Use features = 'frozen' and average_models = False."
            )

    @property
    def shared(self) -> Shared:
        """The upload as a mechanism: its noise, its event, its assumptions, what it leaves open."""
        shapes = self.kernel.shapes() if self.average_models else {}
        return Shared(
            release=self.release,
            method=self.method,
            adapted=self.features == "adapted",
            training=None if self.private is None else self.private.event(),
            shape=(self.classes * self.method.centres, self.release.width(self.dim)),
            model_size=sum(torch.Size(shape).numel() for shape in shapes.values()),
        )

    @property
    def upload_shape(self) -> tuple[int, ...]:
        """See `Shared`."""
        return self.shared.upload_shape

    @property
    def keeps_rows(self) -> bool:
        """Whether the mean of the uploads is not enough."""
        return self.method.keeps_rows or not self.release.linear

    @property
    def weights_are_public(self) -> bool:
        """Every client counts the same, whatever it holds."""
        return True

    @property
    def takes_noisy_sums(self) -> bool:
        """No: clients noise what they upload, and means are over those who were heard."""
        return False

    def start(self, replicas: Tensor, key: Key) -> State:
        """The method's tensors, the replicas' numbers, and the model if models are averaged."""
        state = self.method.start(replicas, classes=self.classes, dim=self.dim, key=key)
        if self.average_models:
            model = self._initial(replicas, key)
            state |= {f"{_MODEL}{name}": value for name, value in model.items()}
        return state | {_REPLICAS: replicas}

    def personal(self, data: ClientData, key: Key) -> Params:
        """Model, teacher, and the statistic if it is the same in every round."""
        check_records(data, dim=self.dim, classes=self.classes)
        found: Params = {}
        if self.local_training:
            numbers, place = data.replicas.unique(return_inverse=True)
            models = self._initial(numbers, key)
            found = {name: value[place].to(data.x.dtype) for name, value in models.items()}
            if self.distillation is not None and isinstance(self.kernel, Stacked):
                found |= self.distillation.personal(found, self.kernel)
        if self._same_every_round:
            found[_STATISTIC] = self._statistic(found, {}, data)
        return found

    def broadcast(self, state: State) -> State:
        """What the method sends, and the averaged model."""
        names = [name for name in state if name.startswith(_MODEL)]
        return {name: state[name] for name in (*self.method.sends, *names)}

    def weights(self, data: ClientData) -> Tensor:
        """All equal: sizes are private."""
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
        """Train on the broadcast of the round before, if there is one; then upload."""
        if round > 0 and self.local_training:
            personal = self.finish(received, personal, data, round=round, key=key)
        cached = personal.get(_STATISTIC)
        statistic = self._statistic(personal, received, data) if cached is None else cached
        model = None
        if self.average_models:
            model = flatten({name: personal[name] for name in self.kernel.shapes()})
        return self.shared.join(statistic, model), personal

    def finish(
        self,
        received: Mapping[str, Tensor],
        personal: Params,
        data: ClientData,
        *,
        round: int,
        key: Key,
    ) -> Params:
        """The local training of a round alone; after the last broadcast, with the next round.

        Args:
            received: the broadcast of each row's replica, float[rows, ...].
            personal: the rows' own state.
            data: the rows, longest first.
            round: which random numbers are used.
            key: root of the run.

        Returns:
            The rows' new state.

        Raises:
            ConfigError: there are no personal models.
        """
        if not self.local_training:
            raise ConfigError("local_training = False: there are no personal models to train")
        received = {name: value.to(data.x.dtype) for name, value in received.items()}
        new = {n: v if n == _STATISTIC else v.clone() for n, v in personal.items()}
        for name in self.kernel.shapes() if self.average_models else ():
            new[name] = received[f"{_MODEL}{name}"].clone()
        context = self.method.context(received)
        if self.private is not None:
            self.private.train(
                self.kernel,
                new,
                data,
                method=self.method,
                context=context,
                optimizer=self.optimizer,
                round=round,
                key=key,
            )
            return new
        plan = steps(
            data,
            epochs=self.epochs,
            batch_size=self.batch_size,
            order=local_order(key, round, self.order),
        )
        train_personal(
            self.kernel,
            new,
            data,
            plan,
            method=self.method,
            context=context,
            optimizer=self.optimizer,
            distillation=self.distillation,
        )
        return new

    def serve(self, state: State, received: Received, *, round: int, key: Key) -> State:
        """The method's step on what arrived, and the mean of the models."""
        replicas = state[_REPLICAS]
        if received.rows is not None:
            rows, arrived = received.rows.double(), received.arrived
        elif received.total is not None:
            weight = received.weight.clamp(min=1.0).unsqueeze(1)
            rows = (received.total.flatten(1) / weight).view(-1, 1, *self.upload_shape)
            arrived = (received.weight > 0).unsqueeze(1)
        else:
            raise ConfigError("neither uploads nor their sum were handed to the server")
        statistic, models = self.shared.split(rows)
        prototypes = self.release.prototypes(statistic)
        prototypes = torch.where(arrived.view(*arrived.shape, 1, 1), prototypes, 0.0)
        each = prototypes.unflatten(2, (self.classes, self.method.centres))
        uploads = Uploads(each, arrived, replicas)
        state = self.method.serve(state, uploads, round=round, key=key)
        if models is None:
            return state
        heard = arrived.sum(dim=1, keepdim=True).clamp(min=1)
        mean = unflatten((models * arrived.unsqueeze(2)).sum(dim=1) / heard, self.kernel.shapes())
        return state | {
            f"{_MODEL}{n}": kept(state[f"{_MODEL}{n}"], v, uploads) for n, v in mean.items()
        }

    def labels(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Names of the rows of an upload, for the ledger; a record enters one of them.

        Empty if models are uploaded: a record enters all of those.
        """
        if self.average_models:
            return ()
        if self.method.centres == 1:
            return tuple(class_names)
        return tuple(f"{n}/{k}" for n in class_names for k in range(self.method.centres))

    @property
    def _same_every_round(self) -> bool:
        return self.features == "frozen" and self.method.assignment != "broadcast"

    def _initial(self, replicas: Tensor, key: Key) -> Params:
        """One model per replica."""
        return self.kernel.initial(Counter.of(key, "model"), torch.zeros_like(replicas), replicas)

    def _statistic(
        self, personal: Params, received: Mapping[str, Tensor], data: ClientData
    ) -> Tensor:
        """float64[rows, labels, width] before noise."""
        return class_statistic(
            self.release,
            self.method,
            data,
            classes=self.classes,
            received=received,
            kernel=self.kernel if self.features == "adapted" else None,
            personal=personal,
        )
