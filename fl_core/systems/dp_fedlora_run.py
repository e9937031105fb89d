"""Runs the rows of a DP-FedLoRA comparison; seeds are replicas of one federated run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant.event_json import to_dict
from ...accountant.ledger import Ledger
from ...mechanisms.base import Key, SeededKey
from ...mechanisms.lora import JointDeltaSum
from ...mechanisms.released.dp_fedlora import clients_of_round
from .. import checkpoint
from ..algorithms.base import State
from ..algorithms.dp_fpl import without_records
from ..algorithms.fed_lora import FedLora
from ..algorithms.fed_lora_clients import PrivateDescent
from ..algorithms.fed_lora_systems import System
from ..algorithms.fedavg import FedAvg
from ..algorithms.server_optimizers import Mean
from ..clients import ClientData
from ..cohort import Cohort, Everyone, Scheduled
from ..federation import Federation, run
from ..kernels.base import Kernel, Params
from ..kernels.stacked import mlp
from ..models.language import LanguageModel, load_language_model
from ..models.language_top import states_below
from ..models.language_top_causal import causal_states_below
from ..protection import Aggregate, PerUpload, Protection, Unprotected
from ..simulate import one_thread
from . import dp_fedlora_data as mails
from . import dp_fedlora_lines as lines
from .base import NO_RECORDS, Bar, Outcome, RowPlan, Say
from .dp_fedlora import DpFedLoraFile
from .dp_fedlora_laws import aggregation_gap, factors, norms
from .dp_fedlora_plan import (
    BASE,
    CENTRAL,
    FFA,
    HEAD,
    LEAK,
    LOCAL,
    LOCALLY,
    RELEASED_ALL,
    RELEASED_TWO,
    RULES,
)
from .dp_fedlora_records import Records, Values
from .dp_fedlora_rows import CLASSES, Clipped, Systems


def prepare(file: DpFedLoraFile, say: Say) -> "DpFedLoraRows":
    """Load model and texts; errors as those of `SystemFile.prepare`.

    What can be wrong is found before texts pass the frozen layers, which takes longest.
    """
    model = load_language_model(file.model.source)
    systems = Systems(file=file, model=model)
    systems.check(file.rows())
    key = SeededKey(file.seed).child("deal")
    prepared = _lines if file.causal else _mails
    records, hashes = prepared(file, model, key, say)
    return DpFedLoraRows(
        file=file,
        model=model,
        records=records,
        hashes=hashes | {"language model": model.sha256},
    )


def _mails(
    file: DpFedLoraFile, model: LanguageModel, key: Key, say: Say
) -> tuple[Records, dict[str, str]]:
    """Mails of two classes, and the hash of their texts."""
    pool = mails.load(file.data, lambda texts: model.tokenizer.encode(texts, file.model.length))
    split = mails.deal(pool, file.data, seeds=file.compare.seeds, key=key)
    say(f"{len(pool)} mails pass the frozen layers of {file.model.source} once")
    with one_thread():
        states = states_below(model, model.tokenizer.encode(pool.texts, file.model.length))
    y = torch.from_numpy(pool.y.copy())
    found = Records.of(states, y, split, judge=mails.judge, reported=mails.REPORTED)
    return found, {"mails": pool.sha256}


def _lines(
    file: DpFedLoraFile, model: LanguageModel, key: Key, say: Say
) -> tuple[Records, dict[str, str]]:
    """Pieces of speakers' lines, and the hash of the plays."""
    pool = lines.load(file.data, model.tokenizer, file.model.length)
    split = lines.deal(file.data, seeds=file.compare.seeds, key=key)
    say(f"{len(pool)} pieces of lines pass the frozen layers of {file.model.source} once")
    with one_thread():
        states = causal_states_below(model, pool.tokens)
    found = Records.of(states, pool.speaker, split, judge=lines.judge, reported=lines.REPORTED)
    return found, {"plays": pool.sha256}


@dataclass(frozen=True, kw_only=True, eq=False)
class DpFedLoraRows:
    """A prepared comparison; see `base.Prepared`."""

    file: DpFedLoraFile
    model: LanguageModel
    records: Records
    hashes: dict[str, str]

    def run(self, row: RowPlan, bar: Bar) -> Outcome:
        """One row, all seeds."""
        with one_thread():
            name = row.name.removesuffix(NO_RECORDS)
            if name == HEAD:
                return self._head(row, bar)
            if name in (LOCAL, CENTRAL):
                return self._alone(row, bar)
            if name == BASE:
                start = self.systems.noise_free("ffa").algorithm
                replicas = self.records.train.replicas.unique()
                return self._outcome(start, start.start(replicas, self._key), None, ())
            if name in (RELEASED_TWO, RELEASED_ALL, LEAK):
                return self._released(row, bar)
            system, ledger = self.systems.of(row), self._ledger(row)
            state = self._trained(row, system, self.file.training.rounds, ledger, bar)
            notes = self._notes(row, system, state)
            return self._outcome(system.algorithm, state, ledger if row.records else None, notes)

    def _head(self, row: RowPlan, bar: Bar) -> Outcome:
        """The head on frozen features, which pass the encoder once."""
        file, training = self.file, self.file.training
        algorithm = FedAvg(
            kernel=mlp((self.model.dimension, CLASSES)),
            epochs=training.epochs,
            batch_size=training.batch_size,
            optimizer=self.systems.descent,
            divisor=float(file.data.clients),
        )
        protection: Protection = Clipped(clip_norm=file.system.clip_norm)
        if row.asked is not None:
            mechanism = JointDeltaSum(
                clip_norm=file.system.clip_norm,
                noise_multiplier=self.systems.multiplier(row),
                sampling_rate=1.0,
                cohort=float(file.data.clients),
            )
            protection = Aggregate(mechanism=mechanism)
        records, ledger = self.records.described_by(self._features), self._ledger(row)
        train = _held(row, records.train)
        state = self._run(algorithm, protection, train, training.rounds, ledger, bar)
        models: list[tuple[Kernel, Params]] = [
            (algorithm.kernel, {name: value[seed : seed + 1] for name, value in state.items()})
            for seed in range(records.seeds)
        ]
        return self._judged(records.shared(models), state, ledger if row.records else None)

    def _alone(self, row: RowPlan, bar: Bar) -> Outcome:
        """Federations of one client: each by itself, or one with everything."""
        training, alone = self.file.training, row.name == LOCAL
        algorithm = replace(
            self.systems.unclipped(training.alone_rate),
            divisor=1.0,
            batch_size=training.batch_size if alone else training.central_batch_size,
        )
        records, ledger = self.records, self._ledger(row)
        data = records.alone() if alone else records.merged()
        state = self._run(algorithm, Unprotected(), data, training.rounds, ledger, bar)
        if not alone:
            return self._outcome(algorithm, state, ledger, ())
        params = {name: state[name] for name in self.systems.kernel.shapes()}
        sample = self.file.data.neighbour_sample
        values = self.records.personal(
            self.systems.kernel, params, self._key.child("neighbours"), sample
        )
        return self._judged(values, state, ledger)

    def _released(self, row: RowPlan, bar: Bar) -> Outcome:
        """The public program at its claim."""
        file, data = self.file, self.file.data
        few = row.name.removesuffix(NO_RECORDS) == RELEASED_TWO
        cohort = file.system.released_cohort if few else data.clients
        found, stddev = self.systems.released(row, cohort)
        who: Cohort = Everyone()
        if few:
            who = Scheduled(lambda round_: clients_of_round(round_, data.clients, cohort))
        rounds = file.system.released_rounds if few else file.training.rounds
        ledger = self._ledger(row)
        state = self._trained(row, found, rounds, ledger, bar, who)
        law = norms(
            state, stddev=stddev, weights=(1.0 / cohort,) * cohort,
            names=factors(found.algorithm, "AB"), seeds=file.compare.seeds,
        )  # fmt: skip
        return self._outcome(found.algorithm, state, ledger if row.records else None, (law,))

    def _trained(
        self,
        row: RowPlan,
        system: System,
        rounds: int,
        ledger: Ledger,
        bar: Bar,
        cohort: Cohort | None = None,
    ) -> State:
        """All rounds of all seeds."""
        train = _held(row, self.records.train)
        return self._run(system.algorithm, system.protection, train, rounds, ledger, bar, cohort)

    def _run(
        self,
        algorithm: FedLora | FedAvg,
        protection: Protection,
        data: ClientData,
        rounds: int,
        ledger: Ledger,
        bar: Bar,
        cohort: Cohort | None = None,
    ) -> State:
        federation = Federation(
            algorithm=algorithm,
            data=data,
            rounds=rounds,
            key=self._key,
            protection=protection,
            cohort=cohort or Everyone(),
        )
        return run(federation, ledger, say=lambda done: bar(done, rounds)).state

    def _notes(self, row: RowPlan, system: System, state: State) -> tuple[str, ...]:
        """The norm law where noise adds up in a factor; the gap of a rule without noise."""
        file, algorithm = self.file, system.algorithm
        if row.asked is None:
            if row.name not in RULES:
                return ()
            first = self.records.train.take((self.records.train.replicas == 0).nonzero()[:, 0])
            gap = aggregation_gap(algorithm, first, self._key)
            return (f"first round, distance from the mean of the clients' products: {gap:.2g}",)
        if isinstance(algorithm.client, PrivateDescent):
            return (f"noise multiplier {algorithm.client.mechanism.noise_multiplier:.3g}",)
        assert isinstance(system.protection, Aggregate | PerUpload)  # as the row has a budget
        multiplier = float(system.protection.mechanism.noise_multiplier)
        said = f"noise multiplier {multiplier:.3g}"
        if algorithm.aggregation != FFA or algorithm.server != Mean():  # noise does not add up
            return (said,)
        local = row.name.removesuffix(NO_RECORDS).endswith(LOCALLY)
        share, uploads = 1.0 / file.data.clients, file.data.clients if local else 1
        law = norms(
            state,
            stddev=multiplier * file.system.clip_norm,
            weights=(share,) * (uploads * file.training.rounds),
            names=factors(algorithm, "B"),
            seeds=file.compare.seeds,
        )
        return (said, law)

    def _outcome(
        self, algorithm: FedLora, state: State, ledger: Ledger | None, notes: tuple[str, ...]
    ) -> Outcome:
        models: list[tuple[Kernel, Params]] = [
            algorithm.model(state, seed) for seed in range(self.records.seeds)
        ]
        return self._judged(self.records.shared(models), state, ledger, notes)

    def _judged(
        self,
        values: Values,
        state: Mapping[str, Tensor],
        ledger: Ledger | None,
        notes: tuple[str, ...] = (),
    ) -> Outcome:
        """Without a ledger no record has had any influence."""
        event = dpe.NoOpDpEvent() if ledger is None else ledger.event()
        return Outcome(
            values=values,
            event=to_dict(event),
            releases=0 if ledger is None else len(ledger.entries),
            notes=notes,
            digest=checkpoint.digest(state),
        )

    def _ledger(self, row: RowPlan) -> Ledger:
        return Ledger(adjacency=row.adjacency, unit=row.unit)

    @cached_property
    def systems(self) -> Systems:
        """What the rows train."""
        return Systems(file=self.file, model=self.model)

    @cached_property
    def _features(self) -> Tensor:
        """float[records, dim]: of the whole frozen encoder."""
        with torch.no_grad():
            parts = [self.systems.kernel.encoder(part) for part in self.records.train.x.split(256)]
        return torch.cat(parts)

    @property
    def _key(self) -> SeededKey:
        return SeededKey(self.file.seed).child("dp_fedlora")


def _held(row: RowPlan, train: ClientData) -> ClientData:
    """What the clients hold; nothing in a twin."""
    return train if row.records else without_records(train)
