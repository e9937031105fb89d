"""Assumptions that several mechanisms share."""

from ..accountant.assumption import Assumption

DOUBLE_PRECISION = Assumption(
    text="Arithmetic is exact.",
    how="not checked: noise and sums are double-precision numbers",
    holds=None,
)
WHOLE_NUMBERS = Assumption(
    text="Arithmetic is exact.",
    how="clipped values and noise are whole numbers; the noise is drawn without rounding",
    holds=True,
)
NAN_IS_ZERO = Assumption(
    text="A record that is not finite cannot be told from an absent one.",
    how="such a row is set to zero before anything is computed from it",
    holds=True,
)

ONE_KEY = Assumption(
    text="A key is used for one release.",
    how="the caller gives each release a key of its own: from one seeded key a mechanism draws the "
    "same noise at every call",
    holds=None,
)


def public(what: str) -> Assumption:
    """`what` ("The clip bound, ...") does not depend on private records."""
    return Assumption(
        text=f"{what} does not depend on private records.",
        how="declared: it is a number of the configuration",
        holds=None,
    )


def fixed_divisor(divisor: object) -> Assumption:
    """Sums are divided by a number that is not counted from the data."""
    return Assumption(
        text="The divisor of the sums is public.",
        how=f"every sum is divided by {divisor}, whatever the true count is",
        holds=True,
    )


def fails(code: str, text: str, how: str) -> Assumption:
    """Something that the claim needs and the published program does not do."""
    return Assumption(text=f"{code}: {text}", how=how, holds=False)
