import math

import dp_accounting.dp_event as dpe
import numpy as np
import pytest

from privassay.accountant import check
from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError

GOOD = [
    (check.positive, [1, 0.5, 1e-300, np.float64(2.0)]),
    (check.non_negative, [0, 0.0, 3, math.inf]),
    (check.probability, [0, 1, 0.5]),
    (check.open_probability, [0.5, 1e-300]),
    (check.count, [1, 10**30]),
]
BAD = [
    (check.positive, [0, 0.0, -1, math.inf, math.nan, "1", None, True, [1.0]]),
    (check.non_negative, [-1e-300, -math.inf, math.nan, None, True]),
    (check.probability, [-1e-300, 1.0000001, math.nan, "0.5", False]),
    (check.open_probability, [0, 1, 0.0, 1.0, math.nan]),
    (check.count, [0, -1, 1.0, math.nan, True, "1", None]),
]


@pytest.mark.parametrize("validator, value", [(v, x) for v, values in GOOD for x in values])
def test_accepted(validator, value):
    assert validator(clip_norm=value) is None  # it returns nothing, and above all does not raise


@pytest.mark.parametrize("validator, value", [(v, x) for v, values in BAD for x in values])
def test_refused_by_name(validator, value):
    with pytest.raises(ParameterError, match="clip_norm must be"):
        validator(other=GOOD_FOR[validator], clip_norm=value)


GOOD_FOR = {validator: values[-1] for validator, values in GOOD}


def test_same_length():
    check.same_length(a=[1, 2], b=(3, 4))
    for wrong in (dict(a=[1], b=[1, 2]), dict(a=[], b=[])):
        with pytest.raises(ParameterError, match="a has"):
            check.same_length(**wrong)


def test_one_of_names_the_closest():
    check.one_of(("server", "peer"), adversary="peer")
    with pytest.raises(ParameterError, match=r"adversary must be .*did you mean 'server'"):
        check.one_of(("server", "peer"), adversary="sever")
    with pytest.raises(ParameterError) as caught:
        check.one_of(("server", "peer"), adversary="xyz")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("value", [True, np.True_, np.False_])
def test_a_truth_value_is_no_number(value):
    for validator, _ in BAD:
        with pytest.raises(ParameterError, match="clip_norm must be"):
            validator(clip_norm=value)


def test_bounds_take_no_truth_value():
    for event in (dpe.GaussianDpEvent(1.0), dpe.LaplaceDpEvent(1.0)):
        bound = account(event, adjacency="add-remove")
        for ask in (bound.epsilon, bound.delta, bound.tpr):
            for value in (True, np.True_):
                with pytest.raises(ParameterError, match="must be"):
                    ask(value)
