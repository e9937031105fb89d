"""What counts as a neighbouring data set, and whose data the guarantee is about.

Adjacency:

- ``add-remove``: the neighbour has one record more or one less;
- ``replace-one``: one record is exchanged for another;
- ``zero-out``: one record's contribution is replaced by zero.

Unit: ``example``, ``user`` or ``client``. Bounds with different adjacency or unit are never
compared; `same_terms` raises. There is no silent conversion.
"""

from typing import Literal, Protocol, get_args

from . import check
from .errors import ClaimError

Adjacency = Literal["add-remove", "replace-one", "zero-out"]
Unit = Literal["example", "user", "client"]

ADJACENCIES: tuple[str, ...] = get_args(Adjacency)
FIXED_SIZE: tuple[Adjacency, ...] = ("replace-one", "zero-out")
"""The adjacencies under which no record comes or goes: sizes, batches and cohorts stay."""
UNITS: tuple[str, ...] = get_args(Unit)


class HasTerms(Protocol):
    """Anything stated under an adjacency and a unit: a claim, a bound."""

    @property
    def adjacency(self) -> Adjacency: ...  # noqa: D102

    @property
    def unit(self) -> Unit: ...  # noqa: D102


def contribution_factor(adjacency: Adjacency) -> float:
    """How far a sum can move, in units of one record's norm bound.

    A record's contribution lies in a set K that is symmetric about zero. Adding, removing or
    zeroing a record moves the sum by an element of K (factor 1); replacing it by an element of
    K - K = 2 K (factor 2).
    """
    check.one_of(ADJACENCIES, adjacency=adjacency)
    return 2.0 if adjacency == "replace-one" else 1.0


def same_terms(claim: HasTerms, other: HasTerms, what: str) -> None:
    """Raise `ClaimError` unless both are stated for the same adjacency and unit."""
    if claim.adjacency != other.adjacency:
        raise ClaimError(
            f'claim is for adjacency "{claim.adjacency}" but {what} is for "{other.adjacency}".\n'
            "  These differ by up to a factor 2 in sensitivity. Set adjacency in [claim], or "
            "account and audit under the claim's adjacency."
        )
    if claim.unit != other.unit:
        raise ClaimError(
            f'claim protects one "{claim.unit}" but {what} protects one "{other.unit}".\n'
            "  Set unit in [claim], or account for groups with group_size."
        )
