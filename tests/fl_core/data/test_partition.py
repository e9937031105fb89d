import hashlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from privassay.accountant.errors import ConfigError, ParameterError
from privassay.fl_core.data.mixtures import dirichlet_mixture
from privassay.fl_core.data.partition import Partition, by_group, dirichlet, iid
from privassay.fl_core.data.pathological import few_classes, shards

LABELS = np.random.default_rng(0).integers(0, 10, 2000)


def every_way(labels, clients, seed):
    return {
        "iid": iid(labels, clients, seed=seed),
        "dirichlet": dirichlet(labels, clients, alpha=1.0, seed=seed),
        "mixture": dirichlet_mixture(labels, clients, alpha=0.5, size=20, seed=seed),
        "shards": shards(labels, clients, per_client=2, seed=seed),
        "few": few_classes(labels, clients, classes_each=3, seed=seed),
        "groups": by_group(labels % clients, labels, seed=seed),
    }


def reference(labels, clients, alpha, rng):
    """The loop of the common workload, as it is published."""
    while True:
        parts = [[] for _ in range(clients)]
        for label in range(10):
            rows = np.flatnonzero(labels == label)
            rng.shuffle(rows)
            share = rng.dirichlet(np.full(clients, alpha))
            cuts = (np.cumsum(share) * len(rows)).astype(int)[:-1]
            for part, piece in zip(parts, np.split(rows, cuts), strict=True):
                part.extend(piece)
        if min(map(len, parts)) >= 1:
            return parts


def test_the_common_workload_is_reproduced():
    labels = load_digits().target.astype(np.int64)
    rng = np.random.default_rng(0)
    labels = labels[rng.permutation(len(labels))][:1500]
    found = dirichlet(labels, 100, alpha=0.3, seed=rng)
    digest = hashlib.sha256(found.sizes.astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "fb11bcb6bbd100ee"
    assert found.sizes[:4].tolist() == [2, 11, 10, 20]
    assert (found.sizes.min(), np.median(found.sizes), found.sizes.max()) == (2, 12.5, 62)


@pytest.mark.parametrize("alpha", [0.1, 0.25])  # at 0.1 several draws are thrown away
def test_dirichlet_equals_the_plain_loop_also_after_redrawing(alpha):
    labels = LABELS[:300]
    found = dirichlet(labels, 20, alpha=alpha, seed=np.random.default_rng(3))
    expected = reference(labels, 20, alpha, np.random.default_rng(3))
    assert [part.tolist() for part in found.parts] == [list(map(int, p)) for p in expected]


@pytest.mark.parametrize("way", ["iid", "dirichlet", "mixture", "shards", "few", "groups"])
def test_nobody_shares_a_record_and_seeds_repeat(way):
    found, again, other = (every_way(LABELS, 10, seed)[way] for seed in (1, 1, 2))
    assert found.sha256 == again.sha256 != other.sha256 or way == "groups"
    assert len(found) == 10
    held = np.concatenate(found.parts)
    assert len(np.unique(held)) == len(held)
    assert len(held) == (200 if way == "mixture" else 2000)
    naive = [np.bincount(LABELS[part], minlength=10).tolist() for part in found.parts]
    assert found.histogram().tolist() == naive
    summary = found.summary()
    assert summary["records_held"] + summary["records_unused"] == 2000
    assert summary["median_classes"] == np.median([np.count_nonzero(row) for row in naive])
    assert summary["smallest"] == min(map(len, found.parts)) >= 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.integers(1, 8),
    st.integers(0, 3),
    st.floats(0.05, 20),
    st.integers(0, 99),
)
def test_min_size_holds_or_the_request_is_refused(labels, clients, min_size, alpha, seed):
    labels = np.array(labels, dtype=np.int64)
    classes = len(np.unique(labels))
    ways = [
        lambda: iid(labels, clients, seed=seed, min_size=min_size),
        lambda: shards(labels, clients, per_client=2, seed=seed, min_size=min_size),
        lambda: few_classes(
            labels, clients, classes_each=min(2, classes), seed=seed, min_size=min_size
        ),
        lambda: dirichlet_mixture(labels, clients, alpha=alpha, size=max(1, min_size), seed=seed),
        lambda: by_group(labels, labels, seed=seed, min_size=min_size, drop_small=True),
    ]
    if clients == 1 or min_size == 0:  # else redrawing may take a second
        ways.append(lambda: dirichlet(labels, clients, alpha=alpha, seed=seed, min_size=min_size))
    for way in ways:
        try:
            found = way()
        except ConfigError as error:
            assert "records" in str(error) or "holder" in str(error)
            continue
        assert found.sizes.min() >= min_size
        assert sorted(np.concatenate(found.parts).tolist()) == sorted(set(found.records.tolist()))


def test_few_classes_are_exact_and_even():
    found = few_classes(LABELS, 25, classes_each=4, seed=0)
    histogram = found.histogram()
    assert ((histogram > 0).sum(axis=1) == 4).all()
    holders = (histogram > 0).sum(axis=0)
    assert holders.sum() == 100 and holders.min() >= 5
    for label in range(10):  # shared out evenly
        counts = histogram[histogram[:, label] > 0, label]
        assert counts.max() - counts.min() <= 1


def test_shards_hold_few_classes():
    found = shards(np.sort(LABELS)[:2000], 50, per_client=2, seed=0)
    assert found.sizes.tolist() == [40] * 50
    # At most one border of a class per shard.
    assert (found.histogram() > 0).sum(axis=1).max() <= 4


def test_the_mixture_has_the_law_that_it_says():
    # Share of one class at one client: Beta(alpha / 10, 9 alpha / 10) over equal classes.
    labels = np.repeat(np.arange(10), 5000)
    alpha, size = 2.0, 5
    found = dirichlet_mixture(labels, 4000, alpha=alpha, size=size, seed=0, with_replacement=True)
    counts = found.histogram()[:, 3]
    p = 0.1
    variance = size * p * (1 - p) * (1 + (size - 1) / (alpha + 1))  # beta-binomial
    assert abs(counts.mean() - size * p) < 4 * np.sqrt(variance / 4000)
    assert abs(counts.var() / variance - 1) < 0.15


def test_the_mixture_uses_up_the_pool_exactly():
    found = dirichlet_mixture(LABELS, 100, alpha=0.1, size=20, seed=0)
    assert sorted(found.records.tolist()) == list(range(2000))
    assert found.sizes.tolist() == [20] * 100
    # Early clients have their own classes; the last take what is left.
    classes = (found.histogram() > 0).sum(axis=1)
    assert classes[:50].mean() < 2.5


def test_a_used_up_class_leaves_the_mixture_as_in_the_plain_loop():
    labels, runs = np.array([0] * 2 + [1] * 4 + [2] * 4), 1500

    def plain(rng, keeps_mixture):
        left, mixture = np.array([2, 4, 4]), rng.dirichlet([0.2, 0.4, 0.4])
        for _ in range(7):
            weights = np.where(left > 0, mixture, 0) if keeps_mixture else left
            left[rng.choice(3, p=weights / weights.sum())] -= 1
        return (*left,)

    def shares(outcomes):
        kinds, counts = np.unique(np.array(outcomes), axis=0, return_counts=True)
        return {tuple(map(int, k)): n / runs for k, n in zip(kinds, counts, strict=True)}

    def apart(a, b):
        return max(abs(a.get(k, 0) - b.get(k, 0)) for k in a | b)

    rng = np.random.default_rng(5)
    expected, other = (shares([plain(rng, keeps) for _ in range(runs)]) for keeps in (True, False))
    ours = shares(
        [
            np.array([2, 4, 4])
            - dirichlet_mixture(labels, 1, alpha=1.0, size=7, seed=seed).histogram()[0]
            for seed in range(runs)
        ]
    )
    slack = 4 * np.sqrt(2 * 0.25 / runs)
    assert apart(ours, expected) < slack, f"{ours} against {expected}"
    assert apart(other, expected) > 1.5 * slack  # drawing from what is left would be seen


def test_virtual_clients_are_made_only_on_demand_and_say_so():
    with pytest.raises(ConfigError, match="need 10000, but the pool has 2000"):
        dirichlet_mixture(LABELS, 1000, alpha=1.0, size=10, seed=0)
    for found in (
        dirichlet_mixture(LABELS, 1000, alpha=1.0, size=10, seed=0, with_replacement=True),
        few_classes(LABELS, 1000, classes_each=3, size=10, seed=0, with_replacement=True),
    ):
        assert found.virtual and found.recipe.startswith("virtual clients: ")
        assert found.sizes.tolist() == [10] * 1000
        assert np.bincount(found.records).max() > 1
        with pytest.raises(ConfigError, match="only virtual clients may share"):
            Partition(records=found.records, sizes=found.sizes, labels=LABELS, recipe="")


def test_a_hundred_thousand_clients_take_seconds():
    large = np.random.default_rng(0).integers(0, 10, 10**6)
    start = time.perf_counter()
    found = dirichlet_mixture(large, 10**5, alpha=0.5, size=10, seed=0)
    assert len(found.parts) == 10**5
    reused = dirichlet_mixture(
        large[: 10**4], 10**5, alpha=0.5, size=10, seed=0, with_replacement=True
    )
    assert reused.sizes.tolist() == [10] * 10**5
    assert time.perf_counter() - start < 20.0  # 2 s on a slow core


def test_groups():
    authors = np.array(["b", "a", "b", "c", "a", "b"])
    labels = np.array([0, 1, 1, 0, 0, 0])
    found = by_group(authors, labels, seed=0)
    assert found.names == ("a", "b", "c")
    assert [sorted(part.tolist()) for part in found.parts] == [[1, 4], [0, 2, 5], [3]]
    with pytest.raises(ConfigError, match="group 'c' has 1 records, too few for 1 clients of at"):
        by_group(authors, labels, seed=0, min_size=2)
    large = by_group(authors, labels, seed=0, min_size=2, drop_small=True)
    assert large.names == ("a", "b") and large.summary()["records_unused"] == 1
    several = by_group(np.array([0] * 7), np.zeros(7, dtype=np.int64), seed=0, clients_per_group=3)
    assert several.names == ("0-0", "0-1", "0-2") and several.sizes.tolist() == [3, 2, 2]
    with pytest.raises(ConfigError, match="groups must be whole numbers or text"):
        by_group(np.array([0.5, np.nan]), labels[:2], seed=0)
    with pytest.raises(ConfigError, match="no group has"):
        by_group(authors, labels, seed=0, min_size=4, drop_small=True)


@pytest.mark.parametrize(
    ("way", "match"),
    [
        (lambda: iid(LABELS, 3000, seed=0), "need 3000, but the pool has 2000"),
        (lambda: iid(LABELS.astype(float), 3, seed=0), "labels must be int64"),
        (lambda: iid(LABELS[:0], 1, seed=0), "the pool has no records"),
        (lambda: dirichlet(LABELS, 500, alpha=0.01, seed=0), "smallest client 0 records at most"),
        (lambda: shards(LABELS, 1500, per_client=2, seed=0), "at least 3000 records"),
        (lambda: few_classes(LABELS, 9, classes_each=11, seed=0), "the pool has 10 classes"),
        (lambda: few_classes(LABELS, 4, classes_each=2, seed=0), "without a holder"),
        (lambda: few_classes(LABELS, 1900, classes_each=2, seed=0), "records for .* holders"),
        (lambda: few_classes(LABELS, 9, classes_each=2, seed=0, size=5), "size goes with"),
    ],
)
def test_impossible_requests_say_why(way, match):
    with pytest.raises(ConfigError, match=match):
        way()


def test_bad_numbers_are_refused():
    for alpha in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ParameterError, match="alpha must be"):
            dirichlet(LABELS, 5, alpha=alpha, seed=0)
    with pytest.raises(ParameterError, match="seed must be"):
        iid(LABELS, 5, seed=-1)
    with pytest.raises(ParameterError, match="clients must be"):
        iid(LABELS, 0, seed=0)


@pytest.mark.parametrize("alpha", [1e-300, 1e-8, 1e12])
def test_extreme_skew_deals_every_record(alpha):
    found = dirichlet(LABELS, 5, alpha=alpha, seed=0, min_size=0)
    mixture = dirichlet_mixture(LABELS, 5, alpha=alpha, size=20, seed=0)
    assert int(found.sizes.sum()) == 2000
    assert mixture.sizes.tolist() == [20] * 5
