"""Which of M candidates is it? From a reconstruction, or (the informed bound) from the prototype.

Three ways to compare, not to be mixed:

- `pixel_match`: the reconstructed *picture* against the candidates' pictures;
- `FeatureMatch`: the reconstructed picture, encoded again, against the candidates' features. An
  inversion that reaches the target's features scores as the prototype does, whatever it looks like;
- `PrototypeMatch`: the prototype against the candidates' features, without any reconstruction: the
  most that can be known by one who knows the candidates. It bounds the other two, it is no
  reconstruction.

With candidates of one class, drawn together with the record, a blind guess is right once in M: the
trials are exchangeable (`blind.BlindGuess` measures it).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from .candidates import Candidates, SeenPrototypes
from .projection import PublicSpace

Match = Callable[[Tensor, Candidates], Tensor]
"""(float[trials, 3, h, w] reconstructions, candidates) to float64[trials, M] scores."""


def pixel_match(images: Tensor, candidates: Candidates) -> Tensor:
    """Correlation of each reconstruction with its candidates, float64[trials, M], in [-1, 1].

    About the mean of the candidates: what all of them share identifies nobody, and the contrast
    that a smoothing prior takes away does not matter.
    """
    pool = candidates.images.double().flatten(1)
    found = [
        _cosines(image.double().flatten(), pool[rows])
        for image, rows in zip(images, candidates.rows, strict=True)
    ]
    return torch.stack(found)


@dataclass(frozen=True, eq=False)
class FeatureMatch:
    """The same, of the features of the reconstruction with those of the candidates.

    Attributes:
        encode: float[n, 3, height, width] to float64[n, dim]: what a record adds to the sum.
    """

    encode: Callable[[Tensor], Tensor]

    def __call__(self, images: Tensor, candidates: Candidates) -> Tensor:
        """float64[trials, M]."""
        with torch.no_grad():
            features = self.encode(images)
        found = [
            _cosines(feature, candidates.features[rows])
            for feature, rows in zip(features, candidates.rows, strict=True)
        ]
        return torch.stack(found)


def _cosines(target: Tensor, rows: Tensor) -> Tensor:
    centre = rows.mean(dim=0)
    return torch.cosine_similarity((target - centre)[None], rows - centre, dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class PrototypeMatch:
    """Log likelihood of the prototype if the candidate is one of its records: no reconstruction.

    The other records are taken for draws from the public Gaussian. For one record and Gaussian
    noise this is the posterior order of equally likely candidates: no reconstruction identifies
    more often.

    Attributes:
        space: of public features, of the class if it is known.
        records: n, how many the prototype is a mean of.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = (
        "the candidates' pictures",
        "encoder, projection, clip bounds and noise",
        "the number of records",
    )
    cost: ClassVar[str] = "one encoding of each candidate"
    source: ClassVar[str] = "the Gaussian likelihood; Dong, Roth & Su, arXiv:1905.02383, section 2"
    space: PublicSpace
    records: int = 1

    def __post_init__(self) -> None:
        check.count(records=self.records)

    def score(self, view: SeenPrototypes, candidates: Candidates) -> Tensor:
        """float64[trials, M]."""
        seen, n = view.combined(), self.records
        covariance = torch.diag(self.space.floored(seen.stddev).square())
        covariance = covariance + (n - 1) / n**2 * self.space.covariance()
        factor = torch.linalg.cholesky(covariance)
        background = (n - 1) / n * self.space.centre

        def white(rows: Tensor) -> Tensor:
            solved: Tensor = torch.linalg.solve_triangular(factor, rows.T, upper=False)
            return solved.T

        targets, shifts = white(seen.mean - background), white(candidates.features / n)
        found = [
            (shifts[rows] * (target - shifts[rows] / 2)).sum(dim=1)
            for target, rows in zip(targets, candidates.rows, strict=True)
        ]
        return torch.stack(found)


def identified(scores: Tensor, truth: Tensor) -> Tensor:
    """bool[trials]: whether the true candidate has the strictly highest score.

    A tie counts as a miss: constant scores identify nobody.

    Args:
        scores: float[trials, M].
        truth: int64[trials], column of the true candidate.

    >>> identified(torch.tensor([[0.0, 2.0], [1.0, 1.0]]), torch.tensor([1, 0])).tolist()
    [True, False]
    """
    own = scores.gather(1, truth[:, None])
    others = scores.scatter(1, truth[:, None], -torch.inf)
    return own[:, 0] > others.amax(dim=1)
