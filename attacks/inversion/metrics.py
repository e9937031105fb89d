"""How close a reconstruction comes to the records, and how much of that is leakage."""

from dataclasses import dataclass

import torch
from torch import Tensor


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, float[n, m], between float[n, ...] and float[m, ...]."""
    gaps = images.flatten(1).unsqueeze(1) - others.flatten(1).unsqueeze(0)
    return -10.0 * torch.log10(gaps.square().mean(dim=2).clamp(min=1e-10))


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
