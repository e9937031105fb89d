import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privassay.audit_reports.text import at_least, at_most

numbers = st.floats(min_value=1e-300, max_value=1e300)


@given(numbers)
def test_a_lower_bound_is_never_printed_larger_nor_an_upper_bound_smaller(value):
    assert float(at_least(value)) <= value <= float(at_most(value))


@given(numbers)
def test_four_digits_are_kept(value):
    assert math.isclose(float(at_least(value)), value, rel_tol=1.01e-3)
    assert math.isclose(float(at_most(value)), value, rel_tol=1.01e-3)


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [
        (0.0, "0", "0"),
        (2.0, "2", "2"),
        (1.9999999, "1.999", "2"),
        (math.inf, "inf", "inf"),
        (1e-5, "1e-05", "1e-05"),
    ],
)
def test_known_values(value, down, up):
    assert float(at_least(value)) == float(down)
    assert float(at_most(value)) == float(up)
