"""What every attack says about itself, and the one thing it does: score candidates."""

from typing import ClassVar, Protocol, TypeVar

from torch import Tensor

View_contra = TypeVar("View_contra", contravariant=True)
Candidates_contra = TypeVar("Candidates_contra", contravariant=True)


class Attack(Protocol[View_contra, Candidates_contra]):
    """A frozen object: its fields are what the adversary brings along, besides what it sees.

    An attack never chooses a threshold and never says epsilon; estimators do, from its scores.
    One that reconstructs something also has `reconstruct(view)`, and scores candidates by how well
    they match the reconstruction.

    Attributes:
        adversaries: who can run it: "server", "peer", "outsider", "querier".
        needs: what the adversary must have or may do, in words, one entry each.
        cost: in trainings of the target, queries or gradients, in words.
        source: publication, with arXiv number or section.
    """

    adversaries: ClassVar[tuple[str, ...]]
    needs: ClassVar[tuple[str, ...]]
    cost: ClassVar[str]
    source: ClassVar[str]

    def score(self, view: View_contra, candidates: Candidates_contra) -> Tensor:
        """float64[...], one score per candidate or trial; larger means more likely a member."""
