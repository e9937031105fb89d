"""Who attacks: what each adversary sees, knows and may do. Named in every claim and result."""

from dataclasses import dataclass

from ..accountant import check
from ..accountant.claim import AdversaryName


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """One threat model, in the reader's words.

    Attributes:
        name: as in claims.
        sees: what reaches it.
        knows: what it is granted beyond that.
        may: what it may do.
    """

    name: AdversaryName
    sees: str
    knows: str
    may: str


_PUBLIC = "the encoder, the projection, the clip bounds, the declared noise and the divisor"

ADVERSARIES: dict[str, Adversary] = {
    a.name: a
    for a in (
        Adversary(
            name="server",
            sees="every noisy prototype of every client in every round",
            knows=_PUBLIC,
            may="only look",
        ),
        Adversary(
            name="peer",
            sees="what the server broadcasts in each round",
            knows=_PUBLIC,
            may="only look",
        ),
        Adversary(
            name="outsider",
            sees="the prototypes that are released after the last round",
            knows=_PUBLIC,
            may="only look",
        ),
        Adversary(
            name="querier",
            sees="answers of the deployed model",
            knows="what its attack says that it needs: often data of the same kind, and the recipe",
            may="ask a stated number of queries",
        ),
    )
}


def adversary(name: str) -> Adversary:
    """The adversary called `name`.

    Raises:
        ParameterError: there is none.
    """
    check.one_of(ADVERSARIES, adversary=name)
    return ADVERSARIES[name]
