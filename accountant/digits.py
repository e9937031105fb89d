"""Numbers for readers: an upper limit is never printed smaller, a lower one never larger."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal


def at_least(value: float, digits: int = 4) -> str:
    """`value` to `digits` significant digits, rounded down.

    >>> at_least(0.123456), at_least(2.0), at_least(float("inf"))
    ('0.1234', '2', 'inf')
    """
    return "inf" if value == math.inf else _text(Decimal(repr(float(value))), digits, ROUND_FLOOR)


def at_most(value: float, digits: int = 4) -> str:
    """`value` to `digits` significant digits, rounded up.

    >>> at_most(0.123456), at_most(1.99999), at_most(0.0), at_most(1.23e-9)
    ('0.1235', '2', '0', '1.23e-9')
    """
    return "inf" if value == math.inf else _text(Decimal(repr(float(value))), digits, ROUND_CEILING)


def percent_at_most(share: float, digits: int = 3) -> str:
    """A share as a percentage, rounded up.

    >>> percent_at_most(0.0923622), percent_at_most(1e-3), percent_at_most(1.0)
    ('9.24 %', '0.1 %', '100 %')
    """
    return f"{_text(Decimal(repr(float(share))).scaleb(2), digits, ROUND_CEILING)} %"


def _text(number: Decimal, digits: int, rounding: str) -> str:
    # repr, not the binary expansion: 1e-05 is a little above 0.00001, but reads as written
    number = Context(prec=digits, rounding=rounding).create_decimal(number)
    if number and not -4 <= number.adjusted() < 7:
        return f"{number.normalize():e}"
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
