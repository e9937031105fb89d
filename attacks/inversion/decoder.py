"""A linear decoder from features to pictures, fitted on public pairs: where inversion starts.

Gradient descent from a grey picture ends in noise with the right features; from the decoder's guess
it stays near natural pictures. Source of the idea: Dosovitskiy & Brox, arXiv:1506.02753 (there a
network, here ridge regression).

A prototype is a noisy mean, and a decoder that was fitted on clean single features is lost there.
For a linear decoder the fit on all possible noisy means is a closed form: noise adds its covariance
to the Gram matrix, and averaging n records of one class leaves the class means as they are and
divides what varies inside a class by n.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from .candidates import Candidates, SeenPrototypes
from .identification import Match, pixel_match


@dataclass(frozen=True)
class LinearDecoder:
    """float[n, dim] features to float[n, 3, height, width] images in [0, 1]."""

    weights: Tensor  # float64[dim + 1, 3 * height * width]
    shape: tuple[int, ...]

    def __call__(self, features: Tensor) -> Tensor:
        """The decoder's guess."""
        flat = _with_one(features) @ self.weights
        return flat.reshape(-1, *self.shape).clamp(0.0, 1.0).float()


def fit(
    features: Tensor,
    images: Tensor,
    *,
    ridge: float = 1.0,
    noise_stddevs: Tensor | None = None,
    labels: Tensor | None = None,
    records: int = 1,
) -> LinearDecoder:
    """Ridge regression of a picture on the noisy mean of its features and n - 1 others'.

    Exactly the limit of a regression on infinitely many draws: a public picture, n - 1 more of its
    class drawn with replacement, and noise; scaled so that every public picture counts once.

    Args:
        features: float64[N, dim], of public pictures.
        images: float[N, 3, height, width], the same pictures.
        ridge: >= 0, added to the Gram matrix.
        noise_stddevs: float64[dim] of the mean; None for none.
        labels: int64[N], the classes of the pictures; None: all of one class.
        records: n, how many records a prototype averages.

    Raises:
        ParameterError: shapes contradict each other, or a number is out of range.
    """
    check.count(records=records)
    check.non_negative(ridge=ridge)
    _check_pairs(features, images, labels)
    inputs, pixels = _with_one(features), images.double().flatten(1)
    gram, cross = inputs.T @ inputs, inputs.T @ pixels
    if records > 1:
        kinds = torch.zeros(len(inputs)).long() if labels is None else labels
        _, group, sizes = kinds.unique(return_inverse=True, return_counts=True)
        # A sum over pictures splits into its class means and the rest; the mean of n keeps 1/n of
        # the rest.
        roots = sizes.double().sqrt()[:, None]
        mean_inputs = _group_sums(inputs, group, len(sizes)) / roots
        mean_pixels = _group_sums(pixels, group, len(sizes)) / roots
        between_gram, between_cross = mean_inputs.T @ mean_inputs, mean_inputs.T @ mean_pixels
        gram = between_gram + (gram - between_gram) / records
        cross = between_cross + (cross - between_cross) / records
    loading = torch.full((inputs.shape[1],), ridge, dtype=torch.float64)
    if noise_stddevs is not None:
        if noise_stddevs.shape != features.shape[1:]:
            raise ParameterError(
                f"noise_stddevs must be float[{features.shape[1]}], but is "
                f"{list(noise_stddevs.shape)}"
            )
        loading[:-1] += len(inputs) * noise_stddevs.double().square()
    weights = torch.linalg.solve(gram + torch.diag(loading), cross)
    return LinearDecoder(weights, tuple(images.shape[1:]))


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearDecoding:
    """The linear decoder's guess from all rounds, as an attack.

    Attributes:
        decoder: fitted for this noise and number of records.
        match: how a reconstruction is compared with candidates.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = (
        "public pictures and the public encoder",
        "noise per group and the number of records, for the noisy form",
    )
    cost: ClassVar[str] = "one ridge regression; nothing per target"
    source: ClassVar[str] = "Dosovitskiy & Brox, arXiv:1506.02753; ridge in closed form"
    decoder: LinearDecoder
    match: Match = pixel_match

    def reconstruct(self, view: SeenPrototypes) -> Tensor:
        """float[trials, 3, height, width] in [0, 1]."""
        return self.decoder(view.combined().mean)

    def score(self, view: SeenPrototypes, candidates: Candidates) -> Tensor:
        """float64[trials, M]; larger means more like the reconstruction."""
        return self.match(self.reconstruct(view), candidates)


def _check_pairs(features: Tensor, images: Tensor, labels: Tensor | None) -> None:
    rows = len(features)
    if features.ndim != 2 or rows == 0 or len(images) != rows:
        raise ParameterError(
            "features must be float[N, dim] and images float[N, ...] of the same N >= 1, but are "
            f"{list(features.shape)} and {list(images.shape)}"
        )
    if labels is not None and labels.shape != (rows,):
        raise ParameterError(f"labels must be int64[{rows}], but are {list(labels.shape)}")


def _group_sums(rows: Tensor, group: Tensor, groups: int) -> Tensor:
    return rows.new_zeros(groups, rows.shape[1]).index_add(0, group, rows)


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features.double(), features.new_ones(len(features), 1).double()], dim=1)
