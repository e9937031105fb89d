from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privassay.accountant.errors import ConfigError, DesignError
from privassay.fl_core.clients import ClientData
from privassay.fl_core.data.membership import balanced, coins, paired
from privassay.fl_core.data.mixtures import dirichlet_mixture
from privassay.fl_core.data.partition import Partition, iid

LABELS = np.arange(60) % 3
POOL = torch.arange(60.0).unsqueeze(1), torch.from_numpy(LABELS)


def made(kind, partition, candidates, seed=0, replicas=4, holders=None):
    if kind == "coins":
        return coins(partition, candidates, seed=seed, replicas=replicas, holders=holders)
    if kind == "balanced":
        return balanced(partition, candidates, seed=seed, replicas=replicas, holders=holders)
    return paired(partition, candidates, pairs=replicas // 2, holders=holders)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["coins", "balanced", "paired"]),
    st.integers(1, 8),
    st.sets(st.integers(0, 59), min_size=1, max_size=20),
    st.integers(1, 4).map(lambda n: 2 * n),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_members_are_held_once_by_their_holder_and_others_by_nobody(
    kind, clients, chosen, replicas, seed, assigned
):
    candidates = sorted(chosen)
    partition = iid(LABELS, clients, seed=seed)
    rng = np.random.default_rng(seed)
    holders = rng.integers(0, clients, len(candidates)) if assigned else None
    design = made(kind, partition, candidates, seed, replicas, holders)
    data = design.client_data(*POOL)
    assert len(data) == replicas * clients
    for replica in range(replicas):
        rows = (data.replicas == replica).nonzero().flatten().tolist()
        held = {
            int(data.clients[row]): data.index[row, : data.lengths[row]].tolist() for row in rows
        }
        everything = sum(held.values(), [])
        for column, record in enumerate(candidates):
            inside = bool(design.member[replica, column])
            assert everything.count(record) == int(inside)
            if inside:
                assert record in held[int(design.holders[column])]
                if not assigned:
                    assert record in partition.parts[int(design.holders[column])]
        # The others are where they always are, in the same order.
        for client, part in enumerate(partition.parts):
            others = [r for r in part.tolist() if r not in chosen]
            assert [r for r in held[client] if r not in chosen] == others


def test_kinds_have_the_membership_that_they_promise():
    partition, many = iid(LABELS, 4, seed=0), list(range(40))
    half = balanced(partition, many, seed=0, replicas=10).member
    assert (half.sum(axis=0) == 5).all()
    assert len({tuple(column) for column in half.T.tolist()}) > 20
    with pytest.raises(DesignError, match="even number of replicas, not 3"):
        balanced(partition, many, seed=0, replicas=3)
    pairs = paired(partition, [7, 8, 9], pairs=5)
    assert pairs.targets.tolist() == [0, 1, 2, 0, 1]
    for pair, target in enumerate(pairs.targets):
        inside, outside = pairs.member[2 * pair : 2 * pair + 2]
        assert not outside.any() and np.flatnonzero(inside).tolist() == [target]


def test_coins_are_fair_and_independent():
    member = coins(iid(LABELS, 4, seed=0), list(range(50)), seed=3, replicas=2000).member
    # 100,000 fair coins: 5 standard deviations.
    assert abs(member.mean() - 0.5) < 5 * 0.5 / np.sqrt(member.size)
    correlation = np.corrcoef(member.T)[~np.eye(50, dtype=bool)]
    assert np.abs(correlation).max() < 5.5 / np.sqrt(2000)
    assert member.sum(axis=1).std() == pytest.approx(np.sqrt(12.5), rel=0.1)  # not balanced


def test_equal_seeds_of_partition_and_design_are_independent():
    # Philox keyed by the seed alone would give a client's records and their coins together.
    agree = []
    for seed in range(200):
        partition = iid(LABELS, 2, seed=seed)
        member = coins(partition, list(range(60)), seed=seed).member[0]
        first = np.isin(np.arange(60), partition.parts[0])
        agree.append((member == first).mean())
    assert abs(np.mean(agree) - 0.5) < 5 * 0.5 / np.sqrt(200 * 60)


def test_the_hash_covers_the_design():
    partition = iid(LABELS, 4, seed=0)
    base = coins(partition, [1, 2, 3, 4, 5, 6, 7, 8], seed=0)
    same = coins(partition, [1, 2, 3, 4, 5, 6, 7, 8], seed=0)
    others = [
        coins(partition, [1, 2, 3, 4, 5, 6, 7, 8], seed=1),
        coins(partition, [1, 2, 3, 4, 5, 6, 7, 9], seed=0),
        coins(partition, [1, 2, 3, 4, 5, 6, 7, 8], seed=0, holders=[0] * 8),
        coins(iid(LABELS, 4, seed=1), [1, 2, 3, 4, 5, 6, 7, 8], seed=0),
    ]
    assert base.sha256 == same.sha256
    assert len({design.sha256 for design in (base, *others)}) == 5


@pytest.mark.parametrize("fault", ["absent", "twice", "elsewhere", "planted", "row"])
def test_data_that_break_the_design_are_caught(fault):
    design = paired(iid(LABELS, 3, seed=0), [5, 6], pairs=1, holders=[0, 1])
    parts = [design.parts(replica)[client] for replica in range(2) for client in range(3)]
    if fault == "absent":
        parts[0] = parts[0][parts[0] != 5]
    elif fault == "twice":
        parts[0] = np.append(parts[0], 5)
    elif fault == "elsewhere":
        parts[0], parts[1] = parts[0][parts[0] != 5], np.append(parts[1], 5)
    elif fault == "planted":
        parts[4] = np.append(parts[4], 6)
    clients, replicas = [0, 1, 2] * 2, [0] * 3 + [1] * 3
    right = ClientData.of(*POOL, parts, clients=clients, replicas=replicas, virtual=True)
    data = right.take(torch.arange(5)) if fault == "row" else right
    with pytest.raises(DesignError, match="the design says|each once"):
        design.check_data(data)
    # Power and validity: the untouched data pass, also in another order.
    design.check_data(design.client_data(*POOL).take(torch.tensor([5, 0, 3, 1, 4, 2])))


def test_candidates_that_are_held_by_nobody_need_holders():
    partition = iid(LABELS[:50], 5, seed=0)
    wide = Partition(
        records=partition.records, sizes=partition.sizes, labels=LABELS, recipe="first 50"
    )
    with pytest.raises(DesignError, match="record 55 is held 0 times .* give `holders`"):
        coins(wide, [3, 55], seed=0)
    assert coins(wide, [3, 55], seed=0, holders=[4, 4]).holders.tolist() == [4, 4]
    virtual = dirichlet_mixture(LABELS, 50, alpha=1.0, size=9, seed=0, with_replacement=True)
    record = int(np.bincount(virtual.records).argmax())
    with pytest.raises(DesignError, match=f"record {record} is held"):
        coins(virtual, [record], seed=0)
    design = coins(virtual, [record], seed=0, holders=[7])
    assert record not in design.base.records
    design.client_data(*POOL)


def test_contradictions_are_refused():
    partition = iid(LABELS, 4, seed=0)
    for candidates, match in (([], "at least one"), ([1, 1], "distinct"), ([60], "outside")):
        with pytest.raises(DesignError, match=match):
            coins(partition, candidates, seed=0)
        with pytest.raises(DesignError, match=match):
            paired(partition, candidates, pairs=2, holders=[0] * len(candidates))
    with pytest.raises(DesignError, match=r"holders must be clients 0 .. 3"):
        coins(partition, [1], seed=0, holders=[4])
    good = paired(partition, [1, 2], pairs=2)
    flipped = good.member.copy()
    flipped[1, 1] = True
    with pytest.raises(DesignError, match="differ by its target"):
        replace(good, member=flipped)
    with pytest.raises(DesignError, match="also among the records"):
        replace(good, base=partition)
    with pytest.raises(DesignError, match="half of the replicas"):
        replace(balanced(partition, [1, 2], seed=0, replicas=4), member=good.member)
    with pytest.raises((DesignError, ConfigError), match="is for 60 records, but the pool has 59"):
        good.client_data(POOL[0][:59], POOL[1][:59])
