import numpy as np
import pytest

from privassay.accountant.errors import DesignError
from privassay.attacks.black_box.outputs import layout_of


def rows(outputs):
    return layout_of(outputs, outputs).rows(outputs)


def test_numbers_keep_their_values():
    x = np.array([[1.0, np.nan], [np.inf, -0.0], [2.5, 1e-30]])
    assert np.array_equal(rows(x), x, equal_nan=True)
    assert rows(np.zeros((4, 2, 3))).shape == (4, 6)
    assert rows(np.arange(5)).shape == (5, 1)
    assert rows(np.array([True, False])).tolist() == [[True], [False]]


def test_complex_numbers_become_two_columns():
    assert rows(np.array([[1 + 2j], [3 - 4j]])).tolist() == [[1, 2], [3, -4]]


def test_large_integers_lose_no_bit():
    x = np.array([[2**63 + 1], [2**63], [2**64 - 1]], dtype=np.uint64)
    assert len({tuple(row) for row in rows(x).tolist()}) == 3
    y = np.array([[-(2**62) - 1], [-(2**62)]])
    assert len({tuple(row) for row in rows(y).tolist()}) == 2


def test_texts_are_coded_alike_everywhere():
    layout = layout_of(np.array(["yes", "no"]), np.array(["no", "no"]))
    first, second = layout.rows(np.array(["yes", "no"])), layout.rows(np.array(["no", "maybe"]))
    assert first[1] == second[0] and first[0] != first[1]


def test_lengths_that_differ_become_a_column():
    x = np.array([[1.0], [1.0, 2.0], []], dtype=object)
    found = rows(x)
    assert found.shape == (3, 3)
    assert found[:, 2].tolist() == [1, 2, 0]
    assert np.isnan(found[0, 1]) and np.isnan(found[2, :2]).all()
    assert layout_of(x, x).rows([[1.0, 2.0, 3.0]])[0, 2] == 3


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_extreme_sizes_are_scaled_by_a_power_of_two(size):
    x = np.array([[size], [-0.75 * size]])
    found = rows(x)
    assert 0.4 < np.abs(found).max() <= 1.0
    assert found[1, 0] / found[0, 0] == -0.75


@pytest.mark.parametrize(
    ("inside", "outside", "message"),
    [
        (np.zeros((1, 2)), np.zeros((5, 2)), "at least 2"),
        (np.zeros((5, 2)), np.zeros((5, 3)), "arrays of objects"),
        (np.zeros((5, 0)), np.zeros((5, 0)), "at least one entry"),
        (3.0, np.zeros((5, 2)), "one output a row"),
        (np.array([["2020-01-01"]] * 3, dtype="M8[D]").view("V8"), np.zeros((5, 2)), "shape|type"),
    ],
)
def test_what_cannot_be_read_is_refused(inside, outside, message):
    with pytest.raises(DesignError, match=message):
        layout_of(inside, outside)


def test_other_shapes_are_refused_when_scoring():
    layout = layout_of(np.zeros((5, 2)), np.ones((5, 2)))
    with pytest.raises(DesignError, match="same mechanism"):
        layout.rows(np.zeros((5, 3)))
