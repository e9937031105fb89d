"""Designs of shadow models: a uniform draw for each, and nothing else that gives a member away."""

import numpy as np
import pytest
import torch

from privassay.accountant.errors import DesignError
from privassay.attacks.shadow import held
from privassay.attacks.shadow_design import (
    equal_coins,
    everyone,
    require_same_law,
    require_same_mix,
)
from privassay.fl_core.data.membership import balanced, coins, paired

LABELS = np.arange(400) % 4


def records(count=400):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [None, 150])
def test_equal_coins_are_uniform_draws_of_one_size(size):
    design = equal_coins(LABELS, models=600, seed=1, records=size)
    member = design.member
    assert design.kind == "draws"
    sizes = set(member.sum(axis=1).tolist())
    assert len(sizes) == 1 and (size is None or sizes == {size})
    share = sizes.pop() / 400
    counts = member.sum(axis=0)
    assert (abs(counts - 600 * share) < 5 * np.sqrt(600 * share * (1 - share))).all()
    together = member.astype(float).T @ member  # pairs of records
    pair = share * (400 * share - 1) / 399
    off = together[~np.eye(400, dtype=bool)]
    assert abs(off.mean() - 600 * pair) < 1e-6
    spread = off.std() / np.sqrt(600 * pair * (1 - pair))
    assert abs(spread - 1.0) < 0.115  # five standard deviations, over 30 seeds


def test_without_a_size_it_is_the_fewest_heads():
    draws = np.concatenate(
        [equal_coins(LABELS, models=1, seed=s).member.sum(axis=1) for s in range(300)]
    )
    assert abs(draws.mean() - 200) < 3 and 8 < draws.std() < 12  # of one model: plain coins
    assert equal_coins(LABELS, models=128, seed=0).member[0].sum() < 190  # of many: the minimum


def test_held_counts_records_of_every_run_and_members():
    partition = everyone(LABELS)
    design = coins(partition, range(100), seed=0, replicas=5)
    found = held(design).numpy()
    assert found[:, 100:].all() and np.array_equal(found[:, :100], design.member)
    pairs = held(paired(partition, [3, 9], pairs=2))
    assert pairs[:, [3, 9]].tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]
    half = balanced(partition, range(400), seed=0, replicas=6)
    assert (held(half).sum(dim=0) == 3).all()


@pytest.mark.parametrize("seed", range(20))
def test_fair_draws_pass(seed):
    design = equal_coins(LABELS, models=8, seed=seed)
    require_same_law(held(design), records(), torch.from_numpy(LABELS))
    rare = np.minimum(np.arange(400), 390)  # 391 classes, nearly all of one record
    few = equal_coins(rare, models=8, seed=seed, records=4)
    require_same_law(held(few), records(), torch.from_numpy(rare))


def test_another_class_mix_is_found_in_one_model_and_in_all_together():
    y = torch.from_numpy(LABELS)
    member = held(equal_coins(LABELS, models=8, seed=0))
    one = member.clone()
    one[5] = (y < 2) ^ (torch.arange(400) % 10 == 0)
    with pytest.raises(DesignError, match="of model 5 are of another class mix"):
        require_same_law(one, records(), y)
    rng = np.random.default_rng(0)  # too little to see in one of them
    slight = rng.random((200, 400)) < np.where(LABELS == 0, 0.62, 0.46)
    require_same_law(torch.from_numpy(slight[:1]), records(), y)
    with pytest.raises(DesignError, match="of all models together"):
        require_same_law(torch.from_numpy(slight), records(), y)


def test_copies_in_the_pool_are_found():
    x = records()
    x[17] = x[303]
    member = held(equal_coins(LABELS, models=4, seed=0))
    with pytest.raises(DesignError, match="records 17 and 303 are the same"):
        require_same_law(member, x, torch.from_numpy(LABELS))


@pytest.mark.parametrize("kind", ["numbers", "words", "flags", "images"])
def test_copies_are_found_whatever_a_record_is(kind):
    x = {
        "numbers": torch.arange(400.0),
        "words": torch.arange(400),
        "flags": (torch.arange(400).unsqueeze(1) >> torch.arange(9)) % 2 == 1,
        "images": records().view(400, 1, 3, 1),
    }[kind].clone()
    member, y = held(equal_coins(LABELS, models=4, seed=0)), torch.from_numpy(LABELS)
    require_same_law(member, x, y)
    x[399] = x[2]
    with pytest.raises(DesignError, match="records 2 and 399 are the same"):
        require_same_law(member, x, y)


def test_the_two_zeros_are_the_same_record():
    x = records()
    x[4], x[8] = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([-0.0, 1.0, 0.0])
    with pytest.raises(DesignError, match="records 4 and 8 are the same"):
        require_same_law(held(equal_coins(LABELS, models=4, seed=0)), x, torch.from_numpy(LABELS))


def test_what_does_not_fit_is_an_error():
    member, y = held(equal_coins(LABELS, models=4, seed=0)), torch.from_numpy(LABELS)
    with pytest.raises(DesignError, match="399 records in x, but 400 labels"):
        require_same_law(member, records(399), y)
    for wrong in (member[0], member[:, 1:], member[:0]):
        with pytest.raises(DesignError, match="at least one of each"):
            require_same_mix(wrong, y)
    for labels in (y.double(), y - 1):
        with pytest.raises(DesignError, match="y must be classes"):
            require_same_mix(member, labels)


def test_a_pool_that_is_too_small_is_an_error():
    for size in (0, 5):
        with pytest.raises(DesignError, match="cannot have"):
            equal_coins(np.zeros(4, dtype=np.int64), models=3, seed=0, records=size)
