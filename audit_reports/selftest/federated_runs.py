"""Federations that the controls of federated attacks look at; imported when one is run."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from ...accountant.account import account
from ...accountant.claim import AdversaryName
from ...accountant.ledger import Ledger
from ...attacks.membership.gradient_ascent import GradientAscent
from ...attacks.membership.planted_prompt import PlantedPrompt
from ...attacks.membership.updates import Records, Updates, recorded
from ...fl_core.algorithms.fedavg import FedAvg, plain_sgd
from ...fl_core.algorithms.personal_training import PrivateTraining
from ...fl_core.clients import ClientData
from ...fl_core.data import membership, partition
from ...fl_core.data.tables import digits_table
from ...fl_core.federation import Federation, layout, run
from ...fl_core.kernels.base import Kernel
from ...fl_core.kernels.functional import Functional
from ...fl_core.kernels.stacked import mlp
from ...fl_core.protection import Aggregate, Protection, Unprotected
from ...fl_core.recorder import Recorder, Recording
from ...mechanisms.base import Key, SeededKey
from ...mechanisms.dpsgd import DpSgd
from ...mechanisms.lora import JointDeltaSum
from .federated_algorithms import Ascending, PromptPool, WithCanary

CLIENTS, ROUNDS, TARGET = 6, 8, 0
NET = mlp((64, 8, 10))
_CANDIDATES = 20  # of a run in which each record has its own coin
_CANARY_RUNS, _CANARY_ROUNDS = 3000, 2  # in each world
# Private runs: 200 in each world refute mu = 2 with probability 0.98 if it is 4 and the attack the
# best one; all_rounds calibrates on the first half of them.
_AVERAGED, _ASCENDED, _PLANTED = 800, 400, 400


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What the server saw, and what is true.

    Attributes:
        view: of the server.
        records: the candidates.
        member: bool[replicas, m], drawn; in a control without data nothing depends on it.
        mu: of one record, where training is private.
    """

    view: Updates
    records: Records
    member: Tensor
    mu: float | None = None

    @property
    def peer(self) -> Updates:
        """What a client saw: the models."""
        return Updates(adversary="peer", models=self.view.models)


def _digits(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """float32[count, 64] with the mean of all digits taken off, and labels."""
    pool = digits_table()
    some = np.random.default_rng((seed, 3)).permutation(len(pool))[:count]
    return torch.from_numpy((pool.x - pool.x.mean(axis=0))[some]), torch.from_numpy(pool.y[some])


def _record(
    algorithm: FedAvg,
    data: ClientData,
    key: Key,
    *,
    rounds: int = ROUNDS,
    protection: Protection | None = None,
    who: AdversaryName = "server",
) -> Updates:
    """Run it, and give the view of who looks: server or peer."""
    used = protection or Unprotected()
    federation = Federation(
        algorithm=algorithm, data=data, rounds=rounds, key=key, protection=used, chunk=2048
    )
    ledger = Ledger(adjacency="add-remove", unit=used.unit or "example")
    initial = algorithm.start(data.replicas.unique(), key)
    with TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), layout(federation))
        run(federation, ledger, recorder=recorder)
        seen = Recording.load(Path(folder)).view(who)
        return recorded(seen, who, initial=initial, data=data)


@dataclass(frozen=True, kw_only=True, eq=False)
class _World:
    """Who holds what.

    Attributes:
        data: all replicas.
        records: the candidates, all of them the target client's where they are members.
        member: bool[replicas, m].
        public: float32[k, 64], records that nobody holds.
    """

    data: ClientData
    records: Records
    member: Tensor
    public: Tensor


def _world(seed: int, *, private: bool, used: bool, runs: int) -> _World:
    """Coins for 20 candidates, or pairs with and without one; nobody holds them if not `used`.

    Candidates are mislabelled, so that a model that knows one was trained on it.
    """
    held, candidates = (4, 1) if private else (8, _CANDIDATES)
    x, y = _digits(seed, candidates + CLIENTS * held + 40)
    rng = np.random.default_rng((seed, 4))
    y[:candidates] = (y[:candidates] + torch.from_numpy(rng.integers(1, 10, candidates))) % 10
    inside = candidates + CLIENTS * held
    dealt = partition.iid(y[candidates:inside].numpy(), CLIENTS, seed=seed)
    base = partition.Partition(
        records=dealt.records + candidates, sizes=dealt.sizes, labels=y.numpy(), recipe="IID"
    )
    chosen, holders = list(range(candidates)), [TARGET] * candidates
    if private:
        design = membership.paired(base, chosen, pairs=runs // 2, holders=holders)
    else:
        design = membership.coins(base, chosen, seed=seed, replicas=runs, holders=holders)
    data = design.client_data(x, y)
    if not used:
        data = ClientData.of(x, y, base.parts).replicate(design.replicas)
    return _World(
        data=data,
        records=Records(x=x[:candidates], y=y[:candidates]),
        member=torch.from_numpy(design.member),
        public=x[inside:],
    )


def _training(kernel: Kernel, private: bool) -> tuple[FedAvg, Protection, float | None]:
    """Five local epochs, or one private step a round with mu = 2 for all of them."""
    if not private:
        plain = FedAvg(
            kernel=kernel, epochs=5, batch_size=8, optimizer=plain_sgd(0.5), divisor=float(CLIENTS)
        )
        return plain, Unprotected(), None
    mechanism = DpSgd(
        clip_norm=1.0, noise_multiplier=ROUNDS**0.5 / 2.0, sampling_rate=1.0, expected_batch=4.0
    )
    algorithm = FedAvg(
        kernel=kernel,
        optimizer=plain_sgd(0.3),
        divisor=float(CLIENTS),
        private=PrivateTraining(mechanism=mechanism, steps=1),
    )
    mu = account(mechanism.event(ROUNDS), adjacency="add-remove").mu.upper
    return algorithm, algorithm.protection(), mu


@lru_cache(maxsize=3)
def averaging(seed: int, *, private: bool = False, used: bool = True) -> Seen:
    """FedAvg of small networks on digits; an honest server."""
    world = _world(seed, private=private, used=used, runs=_AVERAGED if private else 120)
    algorithm, protection, mu = _training(NET, private)
    view = _record(algorithm, world.data, SeededKey(seed), protection=protection)
    return Seen(view=view, records=world.records, member=world.member, mu=mu)


def ascent() -> GradientAscent:
    """The attack, and what its server does."""
    return GradientAscent(kernel=NET, client=TARGET, rate=0.5)


def ascended(seed: int, *, private: bool = False, used: bool = True) -> tuple[Seen, Tensor]:
    """The same with a server that ascends on one candidate, int64[replicas], in each replica."""
    world = _world(seed, private=private, used=used, runs=_ASCENDED if private else 200)
    target = torch.arange(len(world.member)) % len(world.records)
    plain, protection, mu = _training(NET, private)
    algorithm = Ascending(
        **{name: getattr(plain, name) for name in plain.__dataclass_fields__},
        attack=ascent(),
        records=Records(x=world.records.x[target], y=world.records.y[target]),
    )
    view = _record(algorithm, world.data, SeededKey(seed), protection=protection)
    return Seen(view=view, records=world.records, member=world.member, mu=mu), target


def planted(seed: int, *, private: bool = False, used: bool = True) -> tuple[Seen, PlantedPrompt]:
    """A federation that tunes a pool of prompts, with a key for each candidate, and the attack."""
    world = _world(seed, private=private, used=used, runs=_PLANTED if private else 40)
    keys = PlantedPrompt.plant(world.records.x, world.public[: 8 if private else 40])
    kernel = Functional(PromptPool(keys, 10, seed))
    algorithm, protection, mu = _training(kernel, private)
    view = _record(algorithm, world.data, SeededKey(seed), protection=protection)
    seen = Seen(view=view, records=world.records, member=world.member, mu=mu)
    return seen, PlantedPrompt(kernel=kernel, prompts="prompts", client=TARGET)


def with_canary(
    seed: int, *, private: bool = False, used: bool = True
) -> tuple[Updates, Tensor, float | None]:
    """A peer's view of runs with a canary client (first half) and without, its direction, mu."""
    runs = _CANARY_RUNS if private else 300
    x, y = _digits(seed, 8)
    small = torch.nn.functional.avg_pool2d(x.view(-1, 1, 8, 8), 2).flatten(1)
    data = ClientData.of(small, y, [range(8), []]).replicate(2 * runs)
    kernel = mlp((16, 10))
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(16 * 10 + 10, generator=generator, dtype=torch.float64)
    direction = direction / direction.norm()
    mechanism = JointDeltaSum(
        clip_norm=1.0, noise_multiplier=_CANARY_ROUNDS**0.5 / 2.0, sampling_rate=1.0, cohort=2.0
    )
    algorithm = WithCanary(
        kernel=kernel,
        batch_size=8,
        optimizer=plain_sgd(0.3),
        divisor=mechanism.cohort,
        canary=1,
        direction=direction,
        present=(torch.arange(2 * runs) < runs) & used,
    )
    view = _record(
        algorithm,
        data,
        SeededKey(seed),
        rounds=_CANARY_ROUNDS,
        protection=Aggregate(mechanism=mechanism) if private else Unprotected(),
        who="peer",
    )
    mu = account(mechanism.event(_CANARY_ROUNDS), adjacency="add-remove").mu.upper
    return view, direction, mu if private else None
