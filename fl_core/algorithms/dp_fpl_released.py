"""DP-FPL as released: the public program, which simulates all clients with one model.

It is not a federation of clients that compute alone: they share gradients, momentum and, with a
switch, one list of uploads. So it runs as it is, `mechanisms.released.dp_fpl` round by round, on
the gradients of real prompts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.adjacency import Adjacency
from ...accountant.errors import ConfigError
from ...accountant.event_json import to_dict
from ...accountant.ledger import EVERYONE, Ledger, LedgerEntry
from ...mechanisms.base import Key
from ...mechanisms.released.dp_fpl import AsReleasedDpFpl
from ...mechanisms.released.dp_fpl_training import Training, start
from ..clients import ClientData
from ..counters import Counter
from ..kernels.base import Params, cross_entropy
from ..kernels.prompts import Prompts, one_context
from ..models.text_tower import ClassText
from .fedavg import local_order


@dataclass(frozen=True, kw_only=True, eq=False)
class ReleasedDpFpl:
    """The program with its switches.

    Attributes:
        text: the classes.
        scale: of the cosines.
        system: the mechanism: clip, noise, shared state, aliasing, sign, seed.
        rank: of the refactoring.
        view: whose account goes into the ledger; "server" has none. A peer sees no more than the
            broadcast only where nothing is shared but that: with shared state its own prompt is
            moved by the others' noisy factors.
        stddev: of the first prompts.
        records: False makes every gradient zero: the program's noise alone, a control. What the
            ledger gets then bounds nothing.

    Raises:
        ConfigError: the view of a peer, with shared state.
    """

    text: ClassText
    scale: float
    system: AsReleasedDpFpl
    rank: int = 8
    view: Literal["server", "peer", "outsider"] = "outsider"
    stddev: float = 0.02
    records: bool = True

    def __post_init__(self) -> None:
        check.count(rank=self.rank)
        if self.view == "peer" and "shared" in (self.system.state, self.system.buffer):
            raise ConfigError(
                "with shared state a peer's own prompt holds what the others released: it sees as "
                "much as an outsider.\n  Account for view='outsider'."
            )

    @property
    def kernel(self) -> Prompts:
        """The whole context as one parameter."""
        form = one_context(self.text.length, self.text.tower.width)
        return Prompts(text=self.text, form=form, scale=self.scale, stddev=self.stddev)

    def run(
        self, data: ClientData, ledger: Ledger, key: Key, *, name: str = ""
    ) -> Iterator[Training]:
        """The program's state after each of `system.rounds` rounds.

        Each client is cut to the size of the smallest, and only full batches are used.

        Args:
            data: one replica, all clients in the order of the program.
            ledger: gets the account of `view` for all rounds before the first one.
            key: of first prompts, orders, refactoring and, unless the system has a public seed,
                of the noise.
            name: hash of what determines the run, needed for a ledger that holds releases already.

        Raises:
            ConfigError: several replicas, a client without a full batch, virtual clients, a ledger
                of another unit than the example, or a name is missing.
        """
        if ledger.unit != "example" or data.virtual:
            raise ConfigError(
                "the program bounds one example that one client holds, but the ledger is for one "
                f"{ledger.unit}, and the clients are {'virtual' if data.virtual else 'real'}.\n"
                "  Use a ledger for one example, and deal records out once."
            )
        if not name and ledger.entries:
            raise ConfigError("give the run a name: the ledger holds releases of another already")
        size, least = self.system.batch, int(data.lengths.min()) if len(data) else 0
        if least < size or len(data.replicas.unique()) != 1:
            raise ConfigError(
                f"the program needs one replica and at least a batch of {size} records from each "
                f"client, but the smallest of {len(data)} has {least}"
            )
        ledger.write([self._entry(key, name, ledger.adjacency)])
        nobody = torch.zeros(1, dtype=torch.int64, device=data.clients.device)
        shared = self._drawn(key, "shared prompt", nobody, nobody)[0]
        now = start(shared, self._drawn(key, "personal prompt", data.clients, data.replicas))
        batches = least // size
        for round in range(self.system.rounds):
            turn = local_order(key, round)(data, 0)
            own = [data.index.gather(1, turn[:, i * size : (i + 1) * size]) for i in range(batches)]
            steps = [self._gradients(data, records) for records in own]
            now = self.system.train_round(
                now, steps, key.child("program"), rank=self.rank, earlier=round * batches
            )
            yield now

    def prompts(self, now: Training) -> Params:
        """What each client would be served with: parameters of `kernel`, for evaluation."""
        return {"context": now.shared + now.personal}

    def _gradients(self, data: ClientData, records: Tensor) -> Callable[[Tensor], Tensor]:
        """Contexts -> gradient of each record of one batch of everybody."""
        x, y = data.x[records], data.y[records]

        def found(contexts: Tensor) -> Tensor:
            weights = contexts.new_full(records.shape, float(self.records))
            each = self.kernel.record_gradients(
                {"context": contexts}, x, y, weights, cross_entropy, {}
            )
            return each["context"]

        return found

    def _drawn(self, key: Key, purpose: str, clients: Tensor, replicas: Tensor) -> Tensor:
        return self.kernel.initial(Counter.of(key, purpose), clients, replicas)["context"]

    def _entry(self, key: Key, name: str, adjacency: Adjacency) -> LedgerEntry:
        run = f" of run {name[:16]}" if name else ""
        return LedgerEntry(
            release=f"DP-FPL as released, all rounds, as seen by: {self.view}{run}",
            client=EVERYONE,
            label="",
            round=0,
            event=to_dict(self.system.event(self.view, adjacency=adjacency)),
            noise=key.child("program").fingerprint,
        )
