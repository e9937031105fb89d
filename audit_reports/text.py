"""Numbers for readers: a lower bound is never printed larger, an upper bound never smaller."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal


def at_least(value: float, digits: int = 4) -> str:
    """`value` to `digits` significant digits, rounded down.

    >>> at_least(0.123456), at_least(2.0), at_least(float("inf"))
    ('0.1234', '2', 'inf')
    """
    return _rounded(value, digits, ROUND_FLOOR)


def at_most(value: float, digits: int = 4) -> str:
    """`value` to `digits` significant digits, rounded up.

    >>> at_most(0.123456), at_most(1.99999), at_most(0.0)
    ('0.1235', '2', '0')
    """
    return _rounded(value, digits, ROUND_CEILING)


def _rounded(value: float, digits: int, rounding: str) -> str:
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    # repr, not the binary expansion: 1e-05 is a little above 0.00001, but reads as written.
    number = Context(prec=digits, rounding=rounding).create_decimal(Decimal(repr(value)))
    if number and not -4 <= number.adjusted() < 7:
        return f"{number.normalize():e}"
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
