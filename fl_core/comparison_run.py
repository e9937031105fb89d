"""Runs of a comparison: a federation per method and variant, whose replicas are the seeds.

A seed deals every client's records anew into training and test, and gives initial models, orders
and noise. All variants share these, so that differences between variants are taken seed by seed.
Noise is the same standard normals at every scale: the runs stand for alternatives, of which one
would be made, and each has a ledger of its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib import import_module
from typing import Any

from torch import Tensor

from ..accountant import check
from ..accountant.event_json import to_dict
from ..accountant.ledger import Ledger
from ..mechanisms.base import SeededKey
from . import checkpoint
from .algorithms.distillation import Distillation
from .algorithms.evaluation import accuracy
from .algorithms.fedavg import FedAvg
from .algorithms.fedproto import FedProto, prototype_accuracy
from .algorithms.method import PrototypeMethod
from .algorithms.personal_model import adam_w, personal_model
from .algorithms.prototypes import PrototypeFederation
from .algorithms.releases import NoisyMeans
from .comparison import (
    DISTILLED,
    FEDAVG,
    LOCAL_ONLY,
    METHODS,
    NEAREST,
    NONE,
    ComparisonFile,
)
from .comparison_records import Dealt, deal
from .comparison_variants import Variant, variants
from .federation import Federation, Outcome, run
from .kernels.base import Params
from .protection import PerUpload, Unprotected
from .simulate import one_thread
from .task import Task


@dataclass(frozen=True, kw_only=True)
class Result:
    """One variant of one method.

    Attributes:
        method: its name, `LOCAL_ONLY` or `NEAREST`.
        name: of the variant.
        asked: epsilon that it was asked to meet; None for a control without.
        accuracy: of each seed, of each client: share of its test records.
        event: what the ledger of one seed's run holds, as JSON; releases: its entries.
        digest: SHA-256 of the tensors that were judged.
    """

    method: str
    name: str
    asked: float | None
    accuracy: tuple[tuple[float, ...], ...]
    event: dict[str, Any]
    releases: int
    digest: str


@dataclass(frozen=True)
class Comparison:
    """A comparison on loaded records.

    Attributes:
        file: what is asked for.
        task: the records, as frozen features.
    """

    file: ComparisonFile
    task: Task

    @property
    def names(self) -> tuple[str, ...]:
        """What `results` takes: training alone, prototypes alone, then the methods."""
        return (LOCAL_ONLY, NEAREST, *self.file.compare.methods)

    @cached_property
    def methods(self) -> dict[str, PrototypeMethod]:
        """The prototype methods, with the numbers of the file.

        Raises:
            ParameterError: a number that the method does not have, or out of its range.
        """
        given, clients = self.file.method, len(self.task.clients)
        names = [name for name in self.file.compare.methods if name != FEDAVG]
        return {name: _method(name, given.get(name, {}), clients) for name in names}

    @cached_property
    def variants(self) -> list[Variant]:
        """Of every prototype method."""
        return variants(self.file, self.task)

    def results(self, name: str, say: Callable[[int, int], None]) -> tuple[Result, ...]:
        """Every variant of a method.

        Args:
            name: one of `names`.
            say: is told how many variants are finished, and of how many.
        """
        with one_thread():
            found = []
            for result in self._runs(name):
                found.append(result)
                say(len(found), self._count(name))
        return tuple(found)

    def _count(self, name: str) -> int:
        return {LOCAL_ONLY: 2, FEDAVG: 1}.get(name, len(self.variants))

    def _runs(self, name: str) -> Iterator[Result]:
        if name == LOCAL_ONLY:
            yield self._alone(LOCAL_ONLY, distilled=False)
            yield self._alone(DISTILLED, distilled=True)
        elif name == FEDAVG:
            yield self._averaged()
        else:
            for variant in self.variants:
                yield self._nearest(variant) if name == NEAREST else self._federated(name, variant)

    def algorithm(
        self, method: PrototypeMethod, release: NoisyMeans, *, distilled: bool
    ) -> PrototypeFederation:
        """A method with one kind of noise, on frozen features: nothing else has to be accounted."""
        training, dim = self.file.training, self.task.train_x.shape[2]
        return PrototypeFederation(
            method=method,
            release=release,
            kernel=personal_model(
                dim,
                self.task.classes,
                adapter_width=training.adapter_width,
                hidden=training.hidden_width,
            ),
            dim=dim,
            classes=self.task.classes,
            epochs=training.local_epochs,
            batch_size=training.batch_size,
            optimizer=adam_w(training.learning_rate, training.weight_decay),
            distillation=Distillation(radius=self.file.release.clip_norm) if distilled else None,
        )

    def _federated(self, name: str, variant: Variant) -> Result:
        algorithm = self.algorithm(
            self.methods[name], variant.release, distilled=self.file.compare.distillation
        )
        ledger = self._ledger()
        outcome = self._released(algorithm, variant, ledger)
        sent = algorithm.broadcast(outcome.state)
        personal = self._train(algorithm, outcome.personal, sent, first=variant.rounds)
        return self._judged(name, variant.name, variant.epsilon, algorithm, personal, ledger)

    def _nearest(self, variant: Variant) -> Result:
        """Test records by the nearest mean (cosine) of what all clients released in all rounds."""
        method = FedProto(average_rounds=True)
        algorithm = replace(
            self.algorithm(method, variant.release, distilled=False), local_training=False
        )
        ledger = self._ledger()
        state = self._released(algorithm, variant, ledger).state
        dealt, means = self._dealt, state["prototypes"].float()
        right = prototype_accuracy(means[dealt.data.replicas], dealt.test_x, dealt.test_y)
        named = {"prototypes": means}
        return self._result(NEAREST, variant.name, variant.epsilon, right, named, ledger)

    def _released(
        self, algorithm: PrototypeFederation, variant: Variant, ledger: Ledger
    ) -> Outcome:
        """The rounds in which prototypes leave; each is in the ledger first."""
        federation = Federation(
            algorithm=algorithm,
            data=self._dealt.data,
            rounds=variant.rounds,
            key=self._key,
            protection=PerUpload(
                mechanism=algorithm.shared,
                release="prototype",
                labels=algorithm.labels(self.task.class_names),
                names=self.task.clients,
            ),
        )
        return run(federation, ledger)

    def _alone(self, name: str, *, distilled: bool) -> Result:
        """The same training without prototypes; nothing is uploaded."""
        nothing = next(v.release for v in self.variants if v.name == NONE)
        algorithm = self.algorithm(FedProto(weight=0.0), nothing, distilled=distilled)
        data = self._dealt.data
        sent = algorithm.broadcast(algorithm.start(data.replicas.unique(), self._key))
        personal = algorithm.personal(data, self._key)
        personal = self._train(algorithm, personal, sent, first=1)
        return self._judged(LOCAL_ONLY, name, None, algorithm, personal, self._ledger())

    def _averaged(self) -> Result:
        """FedAvg of the same model in as many rounds; models leave without noise."""
        training, data = self.file.training, self._dealt.data
        template = next(v.release for v in self.variants if v.name == NONE)
        kernel = self.algorithm(FedProto(), template, distilled=False).kernel
        federation = Federation(
            algorithm=FedAvg(
                kernel=kernel,
                epochs=training.local_epochs,
                batch_size=training.batch_size,
                optimizer=adam_w(training.learning_rate, training.weight_decay),
                divisor=float(len(self.task.clients)),
            ),
            data=data,
            rounds=self.file.release.rounds,
            key=self._key,
            protection=Unprotected(),
        )
        ledger = self._ledger()
        state = run(federation, ledger).state
        rows = {n: v[data.replicas] for n, v in state.items()}
        logits = kernel.outputs(rows, self._dealt.test_x).logits
        right = (logits.argmax(dim=2) == self._dealt.test_y).double().mean(dim=1)
        return self._result(FEDAVG, NONE, None, right, rows, ledger)

    def _train(
        self, algorithm: PrototypeFederation, personal: Params, sent: Params, *, first: int
    ) -> Params:
        """The local training of rounds `first` .. the last one, on the last broadcast."""
        data = self._dealt.data
        received = {name: value[data.replicas] for name, value in sent.items()}
        for round_ in range(first, self.file.release.rounds + 1):
            personal = algorithm.finish(received, personal, data, round=round_, key=self._key)
        return personal

    def _judged(
        self,
        method: str,
        name: str,
        asked: float | None,
        algorithm: PrototypeFederation,
        personal: Params,
        ledger: Ledger,
    ) -> Result:
        dealt = self._dealt
        right = accuracy(algorithm, personal, dealt.data, dealt.test_x, dealt.test_y)
        return self._result(method, name, asked, right, personal, ledger)

    def _result(
        self,
        method: str,
        name: str,
        asked: float | None,
        right: Tensor,
        personal: Params,
        ledger: Ledger,
    ) -> Result:
        by_seed = right.view(self.file.compare.seeds, len(self.task.clients)).tolist()
        return Result(
            method=method,
            name=name,
            asked=asked,
            accuracy=tuple(tuple(row) for row in by_seed),
            event=to_dict(ledger.event()),
            releases=len(ledger.entries),
            digest=checkpoint.digest(personal),
        )

    def _ledger(self) -> Ledger:
        claim = self.file.claim
        return Ledger(adjacency=claim.adjacency, unit=claim.unit)

    @property
    def _key(self) -> SeededKey:
        return SeededKey(self.file.seed).child("comparison")

    @cached_property
    def _dealt(self) -> Dealt:
        return deal(self.task, seeds=self.file.compare.seeds, key=self._key.child("deal"))


def _method(name: str, options: dict[str, int | float | bool], clients: int) -> PrototypeMethod:
    module, _, attribute = METHODS[name].partition(":")
    kind: Any = getattr(import_module(module), attribute)
    known = {field.name for field in fields(kind)}
    fixed: dict[str, Any] = {"clients": clients, "assignment": "broadcast"}
    fixed = {key: value for key, value in fixed.items() if key in known}
    for option in options:
        check.one_of(sorted(known - set(fixed)), **{f"method.{name}": option})
    method: PrototypeMethod = kind(**fixed, **options)
    return method
