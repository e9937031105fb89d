import math

import pytest


def agrees(value, text):
    """Whether `text` is `value` rounded to the digits that `text` shows."""
    digits = text.replace(",", "")
    places = len(digits.partition(".")[2])
    if "e" in digits:
        mantissa, _, power = digits.partition("e")
        unit = 10.0 ** (int(power) - len(mantissa.partition(".")[2]))
    else:
        unit = 10.0**-places
    return math.isfinite(value) and abs(value - float(digits)) <= 0.5 * unit * (1.0 + 1e-9)


@pytest.fixture
def check_rows():
    """Compare the numbers of a table with printed text, "" for cells that are not compared."""

    def check(table, printed):
        wrong = []
        assert len(table.rows) == len(printed), [row[0] for row in table.rows]
        for row, texts in zip(table.rows, printed, strict=True):
            cells = [cell for cell in row if not isinstance(cell, str)]
            assert len(cells) == len(texts), (row, texts)
            wrong += [
                (row[0], cell, text)
                for cell, text in zip(cells, texts, strict=True)
                if text and not agrees(cell, text)
            ]
        assert not wrong, wrong

    return check
