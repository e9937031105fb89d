"""How close a reconstruction comes to the records, and how much of that is leakage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from .similarity import ssim


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, float64[n, m], between float[n, ...] and float[m, ...]."""
    first, second = images.double().flatten(1), others.double().flatten(1)
    # pair by pair: no n x m x pixels array, and no difference of large squares
    lengths = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
    return _decibels(lengths.square() / first.shape[1])


class Quality(NamedTuple):
    """How like its record each reconstruction is, float64[n] each.

    Attributes:
        psnr: in dB, at most 100.
        ssim: structural similarity, 1 for equal pictures.
        cosine: of the features. An optimiser that looked for it reaches it with noise as well.
    """

    psnr: Tensor
    ssim: Tensor
    cosine: Tensor


def quality(images: Tensor, records: Tensor, encode: Callable[[Tensor], Tensor]) -> Quality:
    """Compare float[n, 3, height, width] reconstructions with their records, pair by pair.

    Means little without the same for a control: a class-typical picture is like every record.

    Raises:
        ParameterError: shapes differ, or pictures are too small for SSIM.
    """
    if images.shape != records.shape:
        raise ParameterError(
            f"one record per reconstruction is needed, but shapes are {list(images.shape)} and "
            f"{list(records.shape)}"
        )
    gaps = (images.double() - records.double()).flatten(1)
    with torch.no_grad():
        cosine = torch.cosine_similarity(encode(images), encode(records), dim=1).double()
    return Quality(_decibels(gaps.square().mean(dim=1)), ssim(images, records), cosine)


@dataclass(frozen=True)
class LeakageGap:
    """PSNR in dB of the nearest record, from the attacked prototype and from the control.

    Attributes:
        attacked: the reconstruction from the prototype of these records.
        control: the same attack on a prototype of disjoint records of the same class.
        nearest: index of the record nearest to the reconstruction.
    """

    attacked: float
    control: float
    nearest: int

    @property
    def gap(self) -> float:
        """What knowing *these* records' prototype added, in dB."""
        return self.attacked - self.control


def leakage_gap(reconstruction: Tensor, control: Tensor, records: Tensor) -> LeakageGap:
    """Compare two reconstructions, float[3, h, w], with the records, float[n, 3, h, w]."""
    scores = psnr(torch.stack([reconstruction, control]), records)
    best, index = scores.max(dim=1)
    return LeakageGap(float(best[0]), float(best[1]), int(index[0]))


def _decibels(squares: Tensor) -> Tensor:
    return -10.0 * torch.log10(squares.clamp(min=1e-10))
