"""Runs the rows of a DP-FPL comparison; seeds are replicas of one federated run."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import dp_accounting.dp_event as dpe
import torch

from ...accountant.event_json import to_dict
from ...accountant.ledger import Ledger
from ...mechanisms.base import SeededKey
from ...mechanisms.dpsgd import DpSgd
from ...mechanisms.prompt import PromptGradients
from ...mechanisms.released.dp_fpl import AsReleasedDpFpl
from .. import checkpoint
from ..algorithms.dp_fpl import DpFpl, without_records
from ..algorithms.dp_fpl_released import ReleasedDpFpl
from ..algorithms.fed_pgp import low_rank_form
from ..algorithms.prompt_federation import (
    LocalTraining,
    PrivateSteps,
    PromptFederation,
)
from ..clients import ClientData
from ..data.pathological import few_classes
from ..federation import Federation, run
from ..kernels.base import Params
from ..kernels.prompts import Form, Prompts, one_context, shared_and_own
from ..models.dual_encoder import DualEncoder
from ..models.text_tower import ClassText
from ..optimizers import Optimizer, Sgd
from ..protection import Protection, Unprotected
from ..simulate import one_thread
from .base import NO_RECORDS, Bar, Outcome, RowPlan, Say
from .dp_fpl import JOINT, LOCAL, RELEASED, ZERO_SHOT, DpFplFile
from .dp_fpl_noise import Unnoised, calibrated
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

_SHARED: dict[str, tuple[str, ...]] = {
    "promptfl": ("context",),
    "fedotp-as-in-code": ("shared",),
    "fedpgp-as-in-code": ("shared",),
}


def prepare(file: DpFplFile, folder: Path, say: Say) -> "DpFplRows":
    """Load models and data; errors as those of `SystemFile.prepare`."""
    pool, public = load_pool(file.data)
    dual = load_encoder(file.model, public, folder)
    held = few_classes(
        pool.y, file.data.clients, classes_each=file.data.classes_each, seed=file.data.seed
    )
    dealt = deal(pool, held.parts, dual, file.data, seeds=file.compare.seeds, say=say)
    hashes = {"pictures": pool.sha256, "image encoder": dual.images.fingerprint()}
    hashes["text encoder"] = checkpoint.digest(dict(dual.text.module.named_parameters()))
    return DpFplRows(file=file, dual=dual, dealt=dealt, hashes=hashes)


@dataclass(frozen=True, kw_only=True, eq=False)
class DpFplRows:
    """A prepared comparison; see `base.Prepared`."""

    file: DpFplFile
    dual: DualEncoder
    dealt: Dealt
    hashes: dict[str, str]

    def run(self, row: RowPlan, bar: Bar) -> Outcome:
        """One row, all seeds."""
        with one_thread():
            if row.name == ZERO_SHOT:
                kernel, prompts = by_hand(self.dual, self.dealt, self.file.model.template)
                return self._outcome(kernel, prompts)
            if row.name == RELEASED:
                return self._released(row, bar)
            if _method(row) in ("dpfpl", "dplora"):
                return self._dp_fpl(row, bar)
            return self._federated(row, bar)

    def _dp_fpl(self, row: RowPlan, bar: Bar) -> Outcome:
        """Dpfpl and dplora."""
        algorithm, data, ledger = self._dp_fpl_of(row), self._train(row), self._ledger()
        state, own = self._trained(algorithm, data, ledger, bar)
        prompts = algorithm.prompts(state, own, data)
        paid = ledger if row.records else None
        return self._outcome(algorithm.kernel, prompts, paid, notes=self._noise(row))

    def _federated(self, row: RowPlan, bar: Bar) -> Outcome:
        """The methods whose clients sample; and prompts that are not shared, or of one client."""
        alone = row.name in (LOCAL, JOINT)
        data = merged(self.dealt.train) if row.name == JOINT else self._train(row)
        clients = self.file.data.clients
        kernel = self._kernel("promptfl" if alone else _method(row))
        size = self.file.training.batch_size * (clients if row.name == JOINT else 1)
        algorithm = PromptFederation(
            kernel=kernel,
            shared=() if alone else _SHARED[_method(row)],
            divisor=float(clients),
            training=LocalTraining(
                optimizer=self._descent,
                private=PrivateSteps(mechanism=self._sampled(row, size), steps=1),
            ),
        )
        ledger = self._ledger()
        state, own = self._trained(algorithm, data, ledger, bar)
        prompts = algorithm.prompts(state, own, data)
        prompts = everybody(prompts, self.dealt.test) if row.name == JOINT else prompts
        paid = ledger if row.records else None
        return self._outcome(kernel, prompts, paid, notes=self._noise(row))

    def _train(self, row: RowPlan) -> ClientData:
        """The clients' records, or for a twin the same clients holding none."""
        return self.dealt.train if row.records else without_records(self.dealt.train)

    def _released(self, row: RowPlan, bar: Bar) -> Outcome:
        """The public program, once for each seed."""
        file, found, book = self.file, [], self._ledger()
        rounds, seeds = file.training.epochs, file.compare.seeds
        assert row.asked is not None  # a claim
        system = AsReleasedDpFpl(
            epsilon=row.asked,
            delta=file.claim.delta,
            rounds=rounds,
            batch=file.training.batch_size,
            clip_norm=file.system.released_clip_norm,
            lr=file.system.released_learning_rate,
        )
        program = ReleasedDpFpl(
            text=self._text, scale=self.dual.scale, system=system, rank=file.system.rank
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
        notes = (*self._law(system.sigma), worst)
        return self._outcome(program.kernel, {"context": torch.cat(found)}, book, notes=notes)

    def _dp_fpl_of(self, row: RowPlan) -> DpFpl:
        """dpfpl, or dplora, at the row's budget."""
        file, training = self.file, self.file.training
        return DpFpl(
            text=self._text,
            scale=self.dual.scale,
            mechanism=self._gradients(self._multiplier(row)),
            batches=file.batches,
            clients=file.data.clients,
            rank=file.system.rank,
            residual=_method(row) != "dplora",
            noise=row.asked is not None,
            learning_rate=training.learning_rate,
            momentum=0.0,
            weight_decay=training.weight_decay,
        )

    def _gradients(self, multiplier: float) -> PromptGradients:
        return PromptGradients(
            clip_norm=self.file.system.clip_norm,
            noise_multiplier=multiplier,
            batch=self.file.training.batch_size,
        )

    def _sampled(self, row: RowPlan, size: int) -> DpSgd:
        kind = Unnoised if row.asked is None else DpSgd
        return kind(
            clip_norm=self.file.system.clip_norm,
            noise_multiplier=self._multiplier(row),
            sampling_rate=1.0 / self.file.batches,
            expected_batch=size,
        )

    def _multiplier(self, row: RowPlan) -> float:
        """Noise of the sum over the clip bound that just meets the row's budget."""
        if row.asked is None:
            return 1.0  # not used

        file, sampled = self.file, _method(row) in _SHARED
        return calibrated(
            epsilon=row.asked,
            delta=file.claim.delta,
            adjacency=row.adjacency,
            sampling_rate=1.0 / file.batches if sampled else 1.0,
            rounds=self._steps if sampled else file.training.epochs,
        )

    def _kernel(self, name: str) -> Prompts:
        length, width = self._text.length, self._text.tower.width
        forms: dict[str, Form] = {
            "promptfl": one_context(length, width),
            "fedotp-as-in-code": shared_and_own(length, width),
            "fedpgp-as-in-code": low_rank_form(length, width, self.file.system.rank),
        }
        return Prompts(text=self._text, form=forms[name], scale=self.dual.scale)

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
                rounds=self._steps,
                key=self._key,
                protection=protection,
            ),
            ledger,
            say=lambda done: bar(done, self._steps),
        )
        return dict(found.state), found.personal

    def _outcome(
        self,
        kernel: Prompts,
        prompts: Params,
        ledger: Ledger | None = None,
        *,
        notes: tuple[str, ...] = (),
    ) -> Outcome:
        """Without a ledger no record has had any influence."""
        event = dpe.NoOpDpEvent() if ledger is None else ledger.event()
        return Outcome(
            values=self.dealt.values(kernel, prompts),
            event=to_dict(event),
            releases=0 if ledger is None else len(ledger.entries),
            notes=notes,
            digest=checkpoint.digest(prompts),
        )

    def _noise(self, row: RowPlan) -> tuple[str, ...]:
        return () if row.asked is None else self._law(self._multiplier(row))

    def _law(self, multiplier: float) -> tuple[str, ...]:
        """How long the noise of a step is, over the longest mean gradient there may be."""
        dim = self._text.length * self._text.tower.width
        times = multiplier * dim**0.5 / self.file.training.batch_size
        return (
            f"noise multiplier {multiplier:.3g}: on a context of {dim} numbers the noise of a step "
            f"is {times:.2g} times as long as the longest mean gradient there may be",
        )

    def _descent(self, params: Params) -> Optimizer:
        training = self.file.training
        return Sgd(training.learning_rate, 0.0, training.weight_decay, params)

    def _ledger(self) -> Ledger:
        claim = self.file.claim
        return Ledger(adjacency=claim.adjacency, unit=claim.unit)

    @property
    def _steps(self) -> int:
        return self.file.training.epochs * self.file.batches

    @cached_property
    def _text(self) -> ClassText:
        return class_text(self.dual, self.dealt.classes, self.file.model.context_length)

    @property
    def _key(self) -> SeededKey:
        return SeededKey(self.file.seed).child("dp_fpl")


def _method(row: RowPlan) -> str:
    """What a row runs, with or without records."""
    return row.name.removesuffix(NO_RECORDS)
