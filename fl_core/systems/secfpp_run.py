"""Runs the rows of a SecFPP comparison: the real protocol, its plaintext twins, and controls."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dp_accounting.dp_event as dpe
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...accountant.event_json import to_dict
from ...accountant.ledger import Ledger
from ...mechanisms.base import SeededKey
from ...mechanisms.secret_sharing.masks import SeededSource
from .. import checkpoint
from ..algorithms.dp_fpl import without_records
from ..algorithms.fed_pgp import fed_pgp
from ..algorithms.prompt_clusters import Clusters, PlainClusters, SecretClusters, plaintext_twin
from ..algorithms.prompt_federation import LocalTraining, PromptFederation
from ..algorithms.prompt_fl import prompt_fl
from ..algorithms.secfpp import SecFppLearning
from ..clients import ClientData
from ..data.pathological import few_classes
from ..data.pool import Pool
from ..federation import Federation, run
from ..federation import Outcome as Ran
from ..kernels.base import Params
from ..kernels.prompts import Prompts
from ..models.dual_encoder import DualEncoder
from ..models.text_tower import ClassText
from ..optimizers import Optimizer, Sgd
from ..protection import Protection, Unprotected
from ..simulate import one_thread
from .base import NO_RECORDS, Bar, Outcome, RowPlan, Say
from .prompt_data import Dealt, by_hand, class_text, deal, load_encoder, load_pool
from .secfpp import (
    DESCRIBED,
    DP,
    FED_PGP,
    LOCAL,
    MPC,
    ONE,
    ORACLE,
    RANDOM,
    SEVERAL,
    SINGLE,
    TWIN,
    ZERO_SHOT,
    SecFppFile,
)
from .secfpp_noise import Protocol


def prepare(file: SecFppFile, folder: Path, say: Say) -> "SecFppRows":
    """Load models and data; errors as those of `SystemFile.prepare`.

    What cannot be is found before pictures are encoded, which takes minutes.
    """
    pool, public = load_pool(file.data)
    each = file.data.clients // len(file.domains)
    several = [part for d in file.domains for part in _shares(pool, d, each, file.data.seed)]
    alike = _shares(pool, file.domains[0], file.data.clients, file.data.seed)
    hands = {
        name: deal(pool, held, file.data, seeds=file.compare.seeds)
        for name, held in ((SEVERAL, several), (SINGLE, alike))
    }
    dual = load_encoder(file.model, pool.classes, public, folder)
    text = class_text(dual, pool.classes, file.model.context_length)
    protocol = Protocol(file=file, prompt_dimension=text.length * text.tower.width)
    protocol.check()
    hashes = {"pictures": pool.sha256, "image encoder": dual.images.fingerprint()}
    hashes["text encoder"] = checkpoint.digest(dict(dual.text.module.named_parameters()))
    return SecFppRows(
        file=file,
        dual=dual,
        text=text,
        protocol=protocol,
        dealt={name: some.encoded(dual.images, say) for name, some in hands.items()},
        hashes=hashes,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class SecFppRows:
    """A prepared comparison; see `base.Prepared`.

    Attributes:
        file: what was asked for.
        dual: the encoder.
        text: the classes, with room for what is learned.
        protocol: of the rows on secret shares.
        dealt: records by part.
        hashes: as in `base.Prepared`.
    """

    file: SecFppFile
    dual: DualEncoder
    text: ClassText
    protocol: Protocol
    dealt: dict[str, Dealt]
    hashes: dict[str, str]

    def run(self, row: RowPlan, bar: Bar) -> Outcome:
        """One row, all seeds."""
        with one_thread():
            if row.name == ZERO_SHOT:
                kernel, prompts = by_hand(self.dual, self.dealt[row.part], self.file.model.template)
                return self._outcome(row, kernel, prompts, to_dict(dpe.NoOpDpEvent()), 0)
            if row.name in (LOCAL, FED_PGP):
                return self._stacked(row, bar)
            return self._clustered(row, bar)

    def _stacked(self, row: RowPlan, bar: Bar) -> Outcome:
        """Methods without clusters: all seeds at once."""
        clients, data, ledger = self.file.data.clients, self.dealt[row.part].train, self._ledger()
        algorithm: PromptFederation
        if row.name == LOCAL:
            algorithm = prompt_fl(
                self.text, scale=self.dual.scale, clients=clients, training=self._training,
                local_only=True,
            )  # fmt: skip
        else:
            algorithm = fed_pgp(
                self.text, scale=self.dual.scale, clients=clients, training=self._training,
                anchor=self.file.model.template, rank=self.file.system.fedpgp_rank,
            )  # fmt: skip
        ran = self._federate(algorithm, data, Unprotected(), ledger, bar, 0, 1)
        prompts = algorithm.prompts(ran.state, ran.personal, data)
        return self._outcome(
            row, algorithm.kernel, prompts, to_dict(ledger.event()), len(ledger.entries)
        )

    def _clustered(self, row: RowPlan, bar: Bar) -> Outcome:
        """SecFPP's learning with one kind of clusters, seed by seed."""
        train, seeds = self.dealt[row.part].train, self.file.compare.seeds
        train = train if row.records else without_records(train)
        prompts, sizes, book = [], [], self._ledger()
        for seed in range(seeds):
            data = train.take((train.replicas == seed).nonzero()[:, 0])
            ledger = book if seed == 0 else self._ledger()
            clusters = self._clusters(row, seed, ledger)
            algorithm = SecFppLearning(
                text=self.text, scale=self.dual.scale, clusters=clusters, training=self._training
            )
            kernel = algorithm.kernel
            protection = clusters if isinstance(clusters, SecretClusters) else Unprotected()
            ran = self._federate(algorithm, data, protection, ledger, bar, seed, seeds)
            prompts.append(algorithm.prompts(ran.state, ran.personal, data))
            sizes.append(self._described(row.part, ran.state["assignment"][0]))
        joined = {name: torch.cat([each[name] for each in prompts]) for name in prompts[0]}
        notes = (f"clusters of the seeds: {'; '.join(sizes)}",)
        if not row.records:
            return self._outcome(row, kernel, joined, to_dict(dpe.NoOpDpEvent()), 0, notes)
        event = None if row.dp == "no DP claim" else to_dict(book.event())
        return self._outcome(row, kernel, joined, event, len(book.entries), notes)

    def _federate(
        self,
        algorithm: SecFppLearning | PromptFederation,
        data: ClientData,
        protection: Protection,
        ledger: Ledger,
        bar: Bar,
        before: int,
        of: int,
    ) -> Ran:
        rounds = self.file.system.rounds
        return run(
            Federation(
                algorithm=algorithm, data=data, rounds=rounds, key=self._key, protection=protection
            ),
            ledger,
            say=lambda done: bar(before * rounds + done, of * rounds),
        )

    def _clusters(self, row: RowPlan, seed: int, ledger: Ledger) -> Clusters:
        mode = row.name.removesuffix(NO_RECORDS)
        if mode in (DESCRIBED, MPC, DP):
            named = (row.part, mode, str(row.asked), seed)
            source = SeededSource(self.file.seed).child("secfpp", *named)
            system = self.protocol.system(mode, row.asked)
            return SecretClusters(system=system, source=source, ledger=ledger)
        if row.name.endswith(TWIN):
            return plaintext_twin(self.protocol.system(row.name.removesuffix(TWIN), row.asked))
        return PlainClusters(
            setting=self.protocol.setting,
            assign=self._known(row, seed),
            period=self.file.system.period,
        )

    def _known(self, row: RowPlan, seed: int) -> Callable[[Tensor], Tensor]:
        """Clusters that nobody has to find: one, by domain, or equal groups by chance."""
        clients, count = self.file.data.clients, len(self.file.domains)
        by_domain = torch.arange(clients) // (clients // count)
        if row.name == ONE:
            found = torch.zeros_like(by_domain)
        elif row.name == ORACLE:
            found = by_domain
        else:
            order = self._key.child(RANDOM, seed).generator().permutation(clients)
            found = by_domain[torch.from_numpy(order)]
        return lambda points: found

    def _described(self, part: str, assignment: Tensor) -> str:
        """Sizes of clusters, and how many clients are among a majority of their domain."""
        found = next(each for each in self.file.parts() if each.name == part)
        domain = torch.empty(len(found.clients), dtype=torch.int64)
        for number, members in enumerate(found.groups.values()):
            domain[list(members)] = number
        table = torch.zeros(int(assignment.max()) + 1, int(domain.max()) + 1, dtype=torch.int64)
        for cluster, own in zip(assignment.tolist(), domain.tolist(), strict=True):
            table[cluster, own] += 1
        purity = float(table.max(dim=1).values.sum()) / len(domain)
        sizes = "+".join(str(n) for n in table.sum(dim=1).tolist() if n)
        return f"{sizes} (purity {purity:.2f})"

    def _outcome(
        self,
        row: RowPlan,
        kernel: Prompts,
        prompts: Params,
        event: dict[str, object] | None,
        releases: int,
        notes: tuple[str, ...] = (),
    ) -> Outcome:
        return Outcome(
            values=self.dealt[row.part].values(kernel, prompts),
            event=event,
            releases=releases,
            notes=notes,
            digest=checkpoint.digest(prompts),
        )

    @property
    def _training(self) -> LocalTraining:
        how = self.file.training

        def descent(params: Params) -> Optimizer:
            return Sgd(how.learning_rate, 0.9, how.weight_decay, params)

        return LocalTraining(optimizer=descent, epochs=how.epochs, batch_size=how.batch_size)

    def _ledger(self) -> Ledger:
        return Ledger(adjacency=self.file.claim.adjacency, unit="client")

    @property
    def _key(self) -> SeededKey:
        return SeededKey(self.file.seed).child("secfpp")


def _shares(pool: Pool, domain: str, clients: int, seed: int) -> list[NDArray[np.int64]]:
    """The records of a domain, each class dealt evenly to its clients."""
    rows = np.flatnonzero(pool.domain == pool.domains.index(domain))
    found = few_classes(pool.y[rows], clients, classes_each=len(pool.classes), seed=seed)
    return [rows[part] for part in found.parts]
