import numpy as np
import pytest

from privassay.accountant.errors import DesignError
from privassay.audit_reports.neighbours import Pair, adversarial_pairs, search_neighbours

CLAIM = {"mu": 1.0, "adjacency": "add-remove", "unit": "example"}


def clipped_mean(data, n, seed):
    """Clips each entry instead of the whole record: only corners show it."""
    total = np.clip(data, -1.0, 1.0).sum(axis=0)
    return np.random.default_rng(seed).normal(total, 1.0, size=(n, total.size))


def test_the_worst_pair_is_found_and_refutes():
    data = np.random.default_rng(0).normal(0.0, 0.1, size=(20, 9))
    pairs = list(adversarial_pairs(data, adjacency="add-remove", low=-1.0, high=1.0, count=8))
    found = search_neighbours(clipped_mean, pairs, CLAIM, budget=12_000, trials=4000)
    assert found.record.verdict.word == "REFUTED"
    assert np.linalg.norm(found.pair.with_it[-1]) == pytest.approx(3.0)
    assert len(found.table) == 8 and found.table[-1][0] == found.pair.name
    assert "worst of 8 pairs" in found.record.mechanisms[0].name
    # a typical record shows nothing
    plain = Pair("typical", data, np.concatenate([data, data[:1]]))
    alone = search_neighbours(clipped_mean, [plain], CLAIM, budget=1000, trials=2000)
    assert alone.record.verdict.word == "INCONCLUSIVE"


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one", "zero-out"])
def test_pairs_are_neighbours(adjacency):
    data = np.random.default_rng(0).uniform(-1, 1, size=(6, 3))
    for pair in adversarial_pairs(data, adjacency=adjacency, low=-1.0, high=1.0, count=9):
        if adjacency == "add-remove":
            assert np.array_equal(pair.with_it[:-1], pair.without)
        else:
            assert (pair.with_it != pair.without).any(axis=1).sum() == 1
        assert np.abs(pair.with_it).max() <= 1.0 and np.abs(pair.without).max() <= 1.0


def test_what_is_refused():
    with pytest.raises(DesignError, match="no pair"):
        search_neighbours(clipped_mean, [], CLAIM)
    with pytest.raises(DesignError, match="fewer than 60"):
        pairs = [Pair("x", np.zeros((2, 1)), np.zeros((3, 1)))] * 10
        search_neighbours(clipped_mean, pairs, CLAIM, budget=100)
    with pytest.raises(DesignError, match="low must be below high"):
        list(adversarial_pairs(np.zeros((2, 1)), adjacency="add-remove", low=1.0, high=1.0))
