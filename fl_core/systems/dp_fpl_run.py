"""Runs the rows of a DP-FPL comparison; seeds are replicas of one federated run."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import dp_accounting.dp_event as dpe
import torch

from ...accountant.event_json import to_dict
from ...accountant.ledger import EVERYONE, Ledger, LedgerEntry
from ...mechanisms.base import SeededKey
from .. import checkpoint
from ..algorithms.dp_fpl import DpFpl, without_records
from ..algorithms.dp_fpl_released import ReleasedDpFpl
from ..algorithms.pfed_prompt import memory
from ..algorithms.prompt_federation import (
    LocalTraining,
    PrivateSteps,
    PromptFederation,
)
from ..clients import ClientData
from ..data.pathological import few_classes
from ..federation import Federation, run
from ..kernels.base import Params
from ..kernels.prompts import Prompts
from ..models.dual_encoder import DualEncoder
from ..models.text_tower import ClassText
from ..optimizers import Optimizer, Sgd
from ..protection import Protection, Unprotected
from ..simulate import one_thread
from .base import NO_RECORDS, Bar, Outcome, RowPlan, Say
from .dp_fpl import (
    FED_OTP,
    JOINT,
    LOCAL,
    MEMORY,
    PFED_PROMPT,
    RELEASED,
    ZERO_SHOT,
    DpFplFile,
)
from .dp_fpl_methods import (
    SHARED,
    in_batches,
    kernel,
    method,
    multiplier,
    released,
    sampled,
)
from .prompt_data import (
    Dealt,
    by_hand,
    class_text,
    deal,
    everybody,
    load_encoder,
    load_pool,
    merged,
)


def prepare(file: DpFplFile, folder: Path, say: Say) -> "DpFplRows":
    """Load models and data; errors as those of `SystemFile.prepare`.

    What cannot be is found before pictures are encoded, which takes minutes.
    """
    for row in file.rows():
        if method(row) == RELEASED and row.asked is not None:
            released(file, row.asked)
        else:
            multiplier(file, row)
    pool, public = load_pool(file.data)
    held = few_classes(
        pool.y, file.data.clients, classes_each=file.data.classes_each, seed=file.data.seed
    )
    hands = deal(pool, held.parts, file.data, seeds=file.compare.seeds)
    dual = load_encoder(file.model, pool.classes, public, folder)
    text = class_text(dual, pool.classes, file.model.context_length)
    for name in SHARED:
        kernel(name, file.system, dual, text)
    hashes = {"pictures": pool.sha256, "image encoder": dual.images.fingerprint()}
    hashes["text encoder"] = checkpoint.digest(dict(dual.text.module.named_parameters()))
    dealt, placed = hands.by_places(dual, say)
    return DpFplRows(file=file, dual=dual, text=text, dealt=dealt, placed=placed, hashes=hashes)


@dataclass(frozen=True, kw_only=True, eq=False)
class DpFplRows:
    """A prepared comparison; see `base.Prepared`.

    Attributes:
        file: what was asked for.
        dual: the encoder.
        text: the classes, with room for what is learned.
        dealt: records as features of whole pictures.
        placed: the same records as features of each place.
        hashes: as in `base.Prepared`.
    """

    file: DpFplFile
    dual: DualEncoder
    text: ClassText
    dealt: Dealt
    placed: Dealt
    hashes: dict[str, str]
    _contexts: dict[tuple[float | None, bool], tuple[Params, Ledger]] = field(
        default_factory=dict, init=False, repr=False
    )

    def run(self, row: RowPlan, bar: Bar) -> Outcome:
        """One row, all seeds."""
        with one_thread():
            if row.name in (ZERO_SHOT, MEMORY):
                return self._untrained(row)
            if method(row) == RELEASED:
                return self._released(row, bar)
            if method(row) in ("dpfpl", "dplora"):
                return self._dp_fpl(row, bar)
            if method(row) == PFED_PROMPT:
                return self._remembering(row, bar)
            return self._federated(row, bar)

    def _untrained(self, row: RowPlan) -> Outcome:
        """The hand-written prompt: alone, or beside what each client holds."""
        plain, prompts = by_hand(self.dual, self.dealt, self.file.model.template)
        if row.name == ZERO_SHOT:
            return self._outcome(row, plain, prompts)
        ledger = self._ledger()
        given = LedgerEntry(
            release="records in memory",
            client=EVERYONE,
            label="",
            round=0,
            event=to_dict(dpe.NonPrivateDpEvent()),
            noise=self._key.fingerprint,
        )
        ledger.write([given])
        served_by = self._kernel(PFED_PROMPT, plain.text)
        return self._outcome(row, served_by, prompts | self._memory(row), ledger)

    def _kernel(self, name: str, text: ClassText) -> Prompts:
        return kernel(name, self.file.system, self.dual, text)

    def _memory(self, row: RowPlan) -> Params:
        return memory(self._train(row), len(self.dealt.classes))

    def _dp_fpl(self, row: RowPlan, bar: Bar) -> Outcome:
        """Dpfpl and dplora."""
        algorithm, data, ledger = self._dp_fpl_of(row), self._train(row), self._ledger()
        state, own = self._trained(algorithm, data, ledger, bar)
        prompts = algorithm.prompts(state, own, data)
        return self._outcome(row, algorithm.kernel, prompts, ledger, notes=self._noise(row))

    def _federated(self, row: RowPlan, bar: Bar) -> Outcome:
        """The methods whose clients sample; and prompts that are not shared, or of one client."""
        alone, name = row.name in (LOCAL, JOINT), method(row)
        data = merged(self.dealt.train) if row.name == JOINT else self._train(row)
        clients = self.file.data.clients
        learned = self._kernel("promptfl" if alone else name, self.text)
        size = self.file.training.batch_size * (clients if row.name == JOINT else 1)
        algorithm = PromptFederation(
            kernel=learned,
            shared=() if alone else SHARED[name],
            divisor=float(clients),
            training=LocalTraining(
                optimizer=self._descent,
                private=PrivateSteps(mechanism=sampled(self.file, row, size), steps=1),
            ),
        )
        ledger = self._ledger()
        state, own = self._trained(algorithm, data, ledger, bar)
        prompts = algorithm.prompts(state, own, data)
        if row.name == JOINT:
            prompts = everybody(prompts, self.dealt.test)
        if name == "promptfl":
            self._contexts[row.asked, row.records] = prompts, ledger
        return self._outcome(row, learned, prompts, ledger, notes=self._noise(row))

    def _remembering(self, row: RowPlan, bar: Bar) -> Outcome:
        """The context of promptfl under the same noise, and each client's records beside it."""
        known = row.asked, row.records
        if known not in self._contexts:
            name = "promptfl" if row.records else "promptfl" + NO_RECORDS
            self._federated(replace(row, name=name), bar)
        prompts, ledger = self._contexts[known]
        served_by = self._kernel(PFED_PROMPT, self.text)
        both = prompts | self._memory(row)
        return self._outcome(row, served_by, both, ledger, notes=self._noise(row))

    def _of(self, row: RowPlan) -> Dealt:
        """Records as the row's method looks at them."""
        return self.placed if method(row) == FED_OTP else self.dealt

    def _train(self, row: RowPlan) -> ClientData:
        """The clients' records, or for a twin the same clients holding none."""
        train = self._of(row).train
        return train if row.records else without_records(train)

    def _released(self, row: RowPlan, bar: Bar) -> Outcome:
        """The public program, once for each seed."""
        file, found, book = self.file, [], self._ledger()
        rounds, seeds = file.training.epochs, file.compare.seeds
        assert row.asked is not None  # a claim
        system = released(file, row.asked)
        program = ReleasedDpFpl(
            text=self.text,
            scale=self.dual.scale,
            system=system,
            rank=file.system.rank,
            records=row.records,
        )
        for seed in range(seeds):
            rows = (self.dealt.train.replicas == seed).nonzero()[:, 0]
            ledger = book if seed == 0 else self._ledger()
            key = self._key.child("released", seed)
            states = program.run(self.dealt.train.take(rows), ledger, key)
            for done, now in enumerate(states, start=1):
                served = program.prompts(now)["context"]
                bar(seed * rounds + done, seeds * rounds)
            found.append(served)
        worst = (
            f"one record can move a clipped gradient {system.worst_move:g} times as far as is "
            "counted, and three tensors are made of it"
        )
        notes = (*self._law(system.sigma, self._numbers), worst)
        return self._outcome(row, program.kernel, {"context": torch.cat(found)}, book, notes=notes)

    def _dp_fpl_of(self, row: RowPlan) -> DpFpl:
        """dpfpl, or dplora, at the row's budget."""
        file, training = self.file, self.file.training
        return DpFpl(
            text=self.text,
            scale=self.dual.scale,
            mechanism=in_batches(file, row),
            batches=file.batches,
            clients=file.data.clients,
            rank=file.system.rank,
            residual=method(row) != "dplora",
            noise=row.asked is not None,
            learning_rate=training.learning_rate,
            momentum=0.0,
            weight_decay=training.weight_decay,
        )

    def _trained(
        self, algorithm: DpFpl | PromptFederation, data: ClientData, ledger: Ledger, bar: Bar
    ) -> tuple[Params, Params]:
        """All steps; server's and clients' tensors."""
        silent = isinstance(algorithm, DpFpl) and not (algorithm.noise and int(data.lengths.max()))
        protection: Protection = Unprotected() if silent else algorithm.protection()
        found = run(
            Federation(
                algorithm=algorithm,
                data=data,
                rounds=self.file.steps,
                key=self._key,
                protection=protection,
            ),
            ledger,
            say=lambda done: bar(done, self.file.steps),
        )
        return dict(found.state), found.personal

    def _outcome(
        self,
        row: RowPlan,
        kernel: Prompts,
        prompts: Params,
        ledger: Ledger | None = None,
        *,
        notes: tuple[str, ...] = (),
    ) -> Outcome:
        """What was served, judged; where no record has an influence, nothing was spent."""
        ledger = ledger if row.records else None
        event = dpe.NoOpDpEvent() if ledger is None else ledger.event()
        return Outcome(
            values=self._of(row).values(kernel, prompts),
            event=to_dict(event),
            releases=0 if ledger is None else len(ledger.entries),
            notes=notes,
            digest=checkpoint.digest(prompts),
        )

    def _noise(self, row: RowPlan) -> tuple[str, ...]:
        if row.asked is None:
            return ()
        name, numbers = method(row), self._numbers
        if name in SHARED:  # all that a record moves is clipped and noised as one vector
            shapes = self._kernel(name, self.text).shapes().values()
            numbers = sum(math.prod(shape) for shape in shapes)
        return self._law(multiplier(self.file, row), numbers)

    @property
    def _numbers(self) -> int:
        """Of a context."""
        return self.text.length * self.text.tower.width

    def _law(self, noise: float, numbers: int) -> tuple[str, ...]:
        """How long the noise of a step is, beside what the records of a step can say."""
        times = noise * numbers**0.5 / self.file.training.batch_size
        return (
            f"noise multiplier {noise:.3g}: on {numbers} numbers the noise of a step's mean is "
            f"{times:.2g} times as long as the bound to which each record is clipped",
        )

    def _descent(self, params: Params) -> Optimizer:
        training = self.file.training
        return Sgd(training.learning_rate, 0.0, training.weight_decay, params)

    def _ledger(self) -> Ledger:
        claim = self.file.claim
        return Ledger(adjacency=claim.adjacency, unit=claim.unit)

    @property
    def _key(self) -> SeededKey:
        return SeededKey(self.file.seed).child("dp_fpl")
