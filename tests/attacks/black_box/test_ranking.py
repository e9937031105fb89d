import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import beta

from privassay.accountant.errors import ParameterError
from privassay.attacks.black_box.ranking import LEVEL, NOTHING, Goal, worth, worth_columns


def naive(inside, outside, goal):
    """Every threshold by itself."""

    def upper(k, n):
        return 1.0 if k == n else beta.ppf(1.0 - LEVEL, k + 1, n - k)

    best = -np.inf
    for cut in np.unique(np.concatenate((inside, outside))):
        fpr = upper(int((outside >= cut).sum()), outside.size)
        fnr = upper(int((inside < cut).sum()), inside.size)
        if goal.criterion == "mu":
            found = -ndtri(fpr) - ndtri(fnr)
        else:
            first = np.log(max(1.0 - fnr - goal.delta, 1e-300) / fpr)
            found = max(first, np.log(max(1.0 - fpr - goal.delta, 1e-300) / fnr))
        best = max(best, found)
    return best


@pytest.mark.parametrize("goal", [Goal(), Goal(criterion="epsilon"),
                                  Goal(criterion="epsilon", delta=0.05)])  # fmt: skip
@pytest.mark.parametrize("ties", [False, True])
def test_all_columns_at_once_are_the_thresholds_one_by_one(goal, ties):
    rng = np.random.default_rng(3)
    a, b = rng.normal([1.5, -1.5, 0.0], 1.0, (90, 3)), rng.normal(0.0, 1.0, (70, 3))
    if ties:
        a, b = np.rint(2.0 * a), np.rint(2.0 * b)
    up, down = worth_columns(a, b, goal)
    for j in range(3):
        assert up[j] == pytest.approx(naive(a[:, j], b[:, j], goal), abs=1e-9)
        if not ties:  # "at most" and "less than" are the same cuts
            backwards = naive(-a[:, j], -b[:, j], goal)
            assert max(down[j], 0.0) == pytest.approx(max(backwards, 0.0), abs=1e-9)
    assert down[1] > 0.1 and up[0] > 0.1


def test_a_rare_certain_event_beats_a_larger_area():
    rng = np.random.default_rng(0)
    shifted, still = rng.normal(0.3, 1.0, 3000), rng.normal(0.0, 1.0, 3000)
    event = (np.arange(3000) < 300).astype(float)  # area .55, against .58 of the shift
    assert worth(event, np.zeros(3000), Goal()) > 2.0 * worth(shifted, still, Goal())


def test_a_constant_is_worth_nothing():
    assert worth(np.ones(50), np.ones(50), Goal()) == NOTHING


def test_goals_are_checked():
    with pytest.raises(ParameterError, match="criterion"):
        Goal(criterion="auc")
    with pytest.raises(ParameterError, match="delta"):
        Goal(delta=1.5)
