"""The run that is audited, and what its prototypes are good for; both are federations.

Clients upload noisy class means of frozen features and train an adapter and a linear head, pulled
towards what the server sent. The encoder is frozen, so that nothing that leaves depends on local
training: the audited run goes without, and accuracies come from runs of their own, one for each
variant, whose replicas are the seeds.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ..accountant.ledger import Ledger
from ..mechanisms.base import Key, Mechanism
from .algorithms import losses
from .algorithms.base import State
from .algorithms.evaluation import accuracy
from .algorithms.fedavg import plain_sgd
from .algorithms.fedproto import FedProto, prototype_accuracy
from .algorithms.method import Uploads
from .algorithms.prototypes import PrototypeFederation
from .algorithms.releases import NoisyMeans
from .clients import ClientData
from .config import RESERVED, AuditFile
from .counters import Counter
from .federation import Federation, layout, run
from .kernels.base import Params
from .kernels.layers import Linear, Residual
from .kernels.stacked import Stacked
from .protection import PerUpload
from .recorder import INDEX, Recorder
from .task import Task
from .transcript import Transcript

LOCAL_ONLY, RANDOM = RESERVED
SERVER = FedProto(average_rounds=True)  # of every audited run and of its trials (`worlds.py`)


@contextmanager
def one_thread() -> Iterator[None]:
    """Small tensors: a second thread gains nothing and loses a lot on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def release(
    task: Task,
    mechanism: Mechanism,
    audit: AuditFile,
    *,
    key: Key,
    ledger: Ledger,
    folder: Path,
    name: str,
) -> Transcript:
    """All uploads and broadcasts of one run; each upload is in the ledger before it is made.

    Args:
        task: the records.
        mechanism: makes and noises the uploads.
        audit: the audit file.
        key: root of the noise.
        ledger: gets an entry for each client, class and round.
        folder: where the transcript is written.
        name: hash of everything that determines the run, so that its releases are repeated, and not
            counted again, only where they are the same.

    Raises:
        ConfigError: the ledger is for another unit than one example.
        LedgerError: the noise was used for another release, or the ledger cannot be written.
    """
    algorithm = replace(_algorithm(task, mechanism, SERVER, audit), local_training=False)
    federation = _federation(task, algorithm, _rows(task), audit, key)
    # A run is repeated from its first round on, so an older transcript here is written anew.
    (folder / INDEX).unlink(missing_ok=True)
    recorder = Recorder(folder, layout(federation), name=name)
    run(federation, ledger, recorder=recorder, name=name)
    return Transcript.load(folder)


@dataclass(frozen=True)
class Utility:
    """Accuracies of one variant, float64[seeds, clients].

    Attributes:
        head: each client's own model on its own domain's test set.
        prototype: nearest global prototype on the same test set.
    """

    head: Tensor
    prototype: Tensor


def utility(
    task: Task, mechanisms: Mapping[str, Mechanism], audit: AuditFile, *, key: Key
) -> dict[str, Utility]:
    """Run and train the clients with every mechanism and with the two controls.

    Training alone is a run whose clients ignore what they receive. Initial models, orders of
    records and standard normals are those of the seed in every variant, so that variants differ
    by what is done with them: the runs stand for alternatives, of which one would be made. Each
    variant has a ledger of its own.

    Args:
        task: the records.
        mechanisms: variant -> its mechanism; the controls are built on the first one.
        audit: the audit file.
        key: root of all random numbers.
    """
    first = next(iter(mechanisms.values()))
    # `FedProto` takes the mean over dimensions where the audit file weighs their sum.
    weight = audit.training.prototype_weight * task.train_x.shape[2]
    pulled = replace(SERVER, weight=weight)
    controls = {
        RANDOM: (first, RandomDirections(weight=weight, average_rounds=True)),
        LOCAL_ONLY: (first, replace(SERVER, weight=0.0)),
    }
    variants = {name: (mechanism, pulled) for name, mechanism in mechanisms.items()} | controls
    data = _rows(task).replicate(audit.training.seeds)
    data = replace(data, x=data.x.float())  # models are trained in single precision
    with one_thread():
        return {
            name: _trained(task, _algorithm(task, mechanism, method, audit), data, audit, key)
            for name, (mechanism, method) in variants.items()
        }


def _trained(
    task: Task, algorithm: PrototypeFederation, data: ClientData, audit: AuditFile, key: Key
) -> Utility:
    """All rounds, and the training on the last broadcast."""
    claim, rounds, seeds = audit.claim, audit.release.rounds, audit.training.seeds
    federation = _federation(task, algorithm, data, audit, key)
    outcome = run(federation, Ledger(adjacency=claim.adjacency, unit=claim.unit))
    sent = {n: v[data.replicas] for n, v in algorithm.broadcast(outcome.state).items()}
    personal = algorithm.finish(sent, outcome.personal, data, round=rounds, key=key)
    test_x, test_y = task.test_x.float().repeat(seeds, 1, 1), task.test_y.repeat(seeds, 1)
    (prototypes,) = sent.values()
    head = accuracy(algorithm, personal, data, test_x, test_y)
    near = prototype_accuracy(prototypes.float(), test_x, test_y)
    shape = (seeds, len(task.clients))
    return Utility(head.view(shape), near.view(shape))


@dataclass(frozen=True, kw_only=True)
class RandomDirections(FedProto):
    """A control: the server sends prototypes of the right lengths without any information."""

    title: ClassVar[str] = "FedProto with random prototypes"
    sends: ClassVar[tuple[str, ...]] = ("random",)

    def start(self, replicas: Tensor, *, classes: int, dim: int, key: Key) -> State:
        """No prototypes."""
        state = super().start(replicas, classes=classes, dim=dim, key=key)
        return state | {"random": torch.zeros_like(state["prototypes"])}

    def serve(self, state: State, uploads: Uploads, *, round: int, key: Key) -> State:
        """As `FedProto`, and directions that are drawn anew in every round."""
        state = super().serve(state, uploads, round=round, key=key)
        lengths = state["prototypes"].norm(dim=-1, keepdim=True)
        counter = Counter.of(key, "random prototypes", round=round)
        nobody = torch.zeros_like(uploads.replicas)
        count = math.prod(state["prototypes"].shape[1:])
        drawn = counter.normal(nobody, uploads.replicas, count).view_as(state["prototypes"])
        return state | {"random": lengths * losses.unit(drawn)}

    def context(self, received: Mapping[str, Tensor]) -> Params:
        """As `FedProto`, of what was sent."""
        return super().context({"prototypes": received["random"]})


def _rows(task: Task) -> ClientData:
    """The training records, one row per client, all in replica 0."""
    clients, count = task.train_y.shape
    parts = [range(count * client, count * (client + 1)) for client in range(clients)]
    return ClientData.of(task.train_x.flatten(0, 1), task.train_y.flatten(), parts)


def _algorithm(
    task: Task, mechanism: Mechanism, method: FedProto, audit: AuditFile
) -> PrototypeFederation:
    training, dim = audit.training, task.train_x.shape[2]
    adapter = Residual("adapter", dim, training.adapter_width)
    return PrototypeFederation(
        method=method,
        release=NoisyMeans(mechanism),
        kernel=Stacked((adapter,), (Linear("head", dim, task.classes),)),
        dim=dim,
        classes=task.classes,
        epochs=training.local_epochs,
        batch_size=training.batch_size,
        optimizer=plain_sgd(training.learning_rate),
    )


def _federation(
    task: Task, algorithm: PrototypeFederation, data: ClientData, audit: AuditFile, key: Key
) -> Federation:
    protection = PerUpload(
        mechanism=algorithm.shared,
        release="prototype",
        labels=algorithm.labels(task.class_names),
        names=task.clients,
    )
    return Federation(
        algorithm=algorithm,
        data=data,
        rounds=audit.release.rounds,
        key=key,
        protection=protection,
    )
