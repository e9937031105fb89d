"""`MembershipDesign`: which candidate record is in which run, and at which client.

The design is fixed before anything is trained, and everything else in a run is the same whatever
it says. Its hash belongs into the record of the audit.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from ..clients import ClientData
from .partition import Indices, Partition, said
from .streams import Seed, stream

Kind = Literal["coins", "draws", "balanced", "paired"]


@dataclass(frozen=True, kw_only=True, eq=False)
class MembershipDesign:
    """Candidates, their clients, and the runs in which each is a member.

    - ``coins``: each candidate is in each replica by its own fair coin. One replica of it is what
      the one-run estimators ask for;
    - ``draws``: each replica has its own uniform draw of the candidates, of a size that is the same
      for all. Replicas are independent, the candidates of one replica are not;
    - ``balanced``: each candidate is in exactly half of the replicas, as for shadow models; the
      coins of a candidate depend on each other;
    - ``paired``: replicas 2r and 2r + 1 are two neighbouring worlds, with and without candidate
      `targets[r]`; the other candidates are in neither.

    Attributes:
        kind: see above.
        base: the records of every client without any candidate.
        candidates: int64[m], distinct record numbers.
        holders: int64[m], the client that holds each candidate where it is a member.
        member: bool[replicas, m].
        targets: int64[replicas / 2], column of `member` that a pair is about; paired only.
        recipe: how it was drawn, in words.
        sha256: of all that, hex; computed here.

    Raises:
        DesignError: the parts contradict each other.
    """

    kind: Kind
    base: Partition
    candidates: Indices
    holders: Indices
    member: NDArray[np.bool_]
    targets: Indices
    recipe: str
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        count, pool = len(self.candidates), len(self.base.labels)
        if count == 0 or len(np.unique(self.candidates)) != count:
            raise DesignError("candidates must be distinct records, at least one")
        if not 0 <= self.candidates.min() <= self.candidates.max() < pool:
            raise DesignError(f"a candidate is outside the pool of {pool} records")
        if np.isin(self.base.records, self.candidates).any():
            raise DesignError("a candidate is also among the records that every run holds")
        if self.holders.shape != (count,) or self.member.shape[1:] != (count,):
            raise DesignError("holders and member must have one entry per candidate")
        if not 0 <= self.holders.min() <= self.holders.max() < len(self.base):
            raise DesignError(f"holders must be clients 0 .. {len(self.base) - 1}")
        if self.kind == "balanced" and (2 * self.member.sum(0) != len(self.member)).any():
            raise DesignError("a balanced design has each candidate in half of the replicas")
        pairs = len(self.targets)
        if self.kind == "paired":
            expected = np.zeros((2 * pairs, count), dtype=bool)
            expected[2 * np.arange(pairs), self.targets] = True
            if not np.array_equal(self.member, expected):
                raise DesignError("a pair must differ by its target, and hold no other candidate")
        elif pairs:
            raise DesignError(f"targets go with a paired design, not with {self.kind!r}")
        head = [self.kind, self.base.sha256, list(self.member.shape)]
        digest = hashlib.sha256(json.dumps(head).encode())
        for numbers in (self.candidates, self.holders, self.targets):
            digest.update(numbers.astype("<i8").tobytes())
        digest.update(np.packbits(self.member).tobytes())
        object.__setattr__(self, "sha256", digest.hexdigest())

    @property
    def replicas(self) -> int:
        """Number of runs."""
        return len(self.member)

    def parts(self, replica: int) -> list[Indices]:
        """The records of each client in a replica: those of every run, then its members."""
        inside = self.member[replica]
        owner = np.concatenate([self.base.owners, self.holders[inside]])
        records = np.concatenate([self.base.records, self.candidates[inside]])
        ends = np.cumsum(np.bincount(owner, minlength=len(self.base)))[:-1]
        return np.split(records[np.argsort(owner, kind="stable")], ends)

    def client_data(self, x: Tensor, y: Tensor) -> ClientData:
        """The rows of all replicas, replica by replica, client by client.

        Args:
            x: float[records, ...], the pool.
            y: int64[records].

        Raises:
            DesignError: the pool is not the one that was designed for.
        """
        if len(x) != len(self.base.labels):
            raise DesignError(
                f"the design is for {len(self.base.labels)} records, but the pool has {len(x)}"
            )
        clients = len(self.base)
        data = ClientData.of(
            x,
            y,
            [part for replica in range(self.replicas) for part in self.parts(replica)],
            clients=np.tile(np.arange(clients), self.replicas).tolist(),
            replicas=np.repeat(np.arange(self.replicas), clients).tolist(),
            virtual=self.base.virtual,
        )
        self.check_data(data)
        return data

    def check_data(self, data: ClientData) -> None:
        """Count every candidate in `data`, whoever made it.

        Raises:
            DesignError: in some replica a member is not held exactly once, by its holder, or a
                non-member is held at all; or a replica or client is missing.
        """
        clients, count = len(self.base), len(self.candidates)
        rows = (data.replicas * clients + data.clients).cpu().numpy()
        every = np.arange(self.replicas * clients)
        if not np.array_equal(np.sort(rows), every) or int(data.clients.max()) >= clients:
            raise DesignError(
                f"the data must have {self.replicas} replicas of {clients} clients, each once"
            )
        column = np.full(len(self.base.labels), -1)
        column[self.candidates] = np.arange(count)
        index, lengths = data.index.cpu().numpy(), data.lengths.cpu().numpy()
        columns = column[index]
        columns[np.arange(index.shape[1]) >= lengths[:, None]] = -1  # padding
        row, place = np.nonzero(columns >= 0)
        # One number per (replica, client, candidate): held, and as designed.
        held = np.sort(rows[row] * count + columns[row, place])
        replica, which = np.nonzero(self.member)
        designed = np.sort((replica * clients + self.holders[which]) * count + which)
        if np.array_equal(held, designed):
            return
        numbers, times = np.unique(held, return_counts=True)
        wrong = np.concatenate([np.setxor1d(numbers, designed), numbers[times > 1]])[0]
        found = int((held == wrong).sum())
        raise DesignError(
            f"in replica {wrong // count // clients}, client {wrong // count % clients} holds "
            f"record {self.candidates[wrong % count]} {found} times, but the design says "
            f"{int(wrong in designed)}"
        )


def coins(
    partition: Partition,
    candidates: Sequence[int] | Indices,
    *,
    seed: Seed,
    replicas: int = 1,
    holders: Sequence[int] | Indices | None = None,
) -> MembershipDesign:
    """Each candidate is in each replica by its own fair coin.

    Args:
        partition: who holds what when every candidate is in, or none.
        candidates: distinct record numbers.
        seed: >= 0, or a generator.
        replicas: >= 1.
        holders: the client of each candidate; None is the client that holds it in `partition`.

    Raises:
        DesignError: a candidate has no single client, or is unfit.
    """
    check.count(replicas=replicas)
    shape = (replicas, len(candidates))
    member = stream("membership coins", seed).integers(0, 2, shape).astype(bool)
    return _design("coins", partition, candidates, holders, member, said(seed))


def balanced(
    partition: Partition,
    candidates: Sequence[int] | Indices,
    *,
    seed: Seed,
    replicas: int,
    holders: Sequence[int] | Indices | None = None,
) -> MembershipDesign:
    """Each candidate is in a random half of the replicas; arguments as for `coins`.

    Raises:
        DesignError: `replicas` is odd, or a candidate is unfit.
    """
    check.count(replicas=replicas)
    if replicas % 2:
        raise DesignError(f"a balanced design needs an even number of replicas, not {replicas}")
    half = np.arange(replicas) < replicas // 2
    column = np.repeat(half[:, None], len(candidates), axis=1)
    member = stream("membership balanced", seed).permuted(column, axis=0)
    return _design("balanced", partition, candidates, holders, member, said(seed))


def paired(
    partition: Partition,
    candidates: Sequence[int] | Indices,
    *,
    pairs: int,
    holders: Sequence[int] | Indices | None = None,
) -> MembershipDesign:
    """Pairs of worlds with and without one candidate, which take turns; the rest as for `coins`.

    Raises:
        DesignError: a candidate is unfit.

    >>> from .partition import iid
    >>> design = paired(iid(np.zeros(6, dtype=np.int64), 2, seed=0), [1, 4], pairs=2)
    >>> design.member.astype(int).tolist()
    [[1, 0], [0, 0], [0, 1], [0, 0]]
    """
    check.count(pairs=pairs)
    targets = np.arange(pairs, dtype=np.int64) % max(len(candidates), 1)
    member = np.zeros((2 * pairs, len(candidates)), dtype=bool)
    if len(candidates):
        member[2 * np.arange(pairs), targets] = True
    return _design("paired", partition, candidates, holders, member, "in turn", targets)


def _design(
    kind: Kind,
    partition: Partition,
    candidates: Sequence[int] | Indices,
    holders: Sequence[int] | Indices | None,
    member: NDArray[np.bool_],
    drawn: str,
    targets: Indices | None = None,
) -> MembershipDesign:
    chosen = np.asarray(candidates, dtype=np.int64)
    among = np.isin(partition.records, chosen)
    if holders is None:
        holders = _holders(partition, chosen, among)
    kept = partition.owners[~among]
    base = Partition(
        records=partition.records[~among],
        sizes=np.bincount(kept, minlength=len(partition)).astype(np.int64),
        labels=partition.labels,
        recipe=f"{partition.recipe}, without {len(chosen)} candidates",
        names=partition.names,
        virtual=partition.virtual,
    )
    return MembershipDesign(
        kind=kind,
        base=base,
        candidates=chosen,
        holders=np.asarray(holders, dtype=np.int64),
        member=member,
        targets=np.zeros(0, dtype=np.int64) if targets is None else targets,
        recipe=f"{kind} of {len(chosen)} candidates in {len(member)} replicas, {drawn}",
    )


def _holders(partition: Partition, chosen: Indices, among: NDArray[np.bool_]) -> Indices:
    records, owners = partition.records[among], partition.owners[among]
    times = np.bincount(records, minlength=len(partition.labels))
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(times):
        raise DesignError(f"a candidate is outside the pool of {len(times)} records")
    unfit = chosen[times[chosen] != 1]
    if len(unfit):
        raise DesignError(
            f"record {unfit[0]} is held {times[unfit[0]]} times in the partition, so its client is "
            "not known; give `holders`"
        )
    found = np.zeros(len(times), dtype=np.int64)
    found[records] = owners
    return found[chosen]
