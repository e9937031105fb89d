"""The prompts of the other members of a cluster: its average times its size, minus one's own.

Adversary: peers, members of the cluster that collude and pool what they put in. One other member
is recovered whole (a cluster of two and one colluder); of several, their sum (S4).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .openings import ClusterPrompts


def subtract(means: Tensor, sizes: Tensor | int, own: Tensor) -> Tensor:
    """float[..., dim]: the sum of the other members' prompts.

    Args:
        means: float[..., dim], the cluster prompts.
        sizes: int64[...], members.
        own: float[..., colluders, dim], prompts of the colluding members.

    >>> subtract(torch.tensor([2.0]), 2, torch.tensor([[1.5]])).tolist()
    [2.5]
    """
    total = means * (sizes if isinstance(sizes, int) else sizes.unsqueeze(-1))
    rest: Tensor = total - own.sum(dim=-2)
    return rest


@dataclass(frozen=True)
class Subtraction:
    """Prompts of the other members of a cluster: its average times its size, less one's own."""

    adversaries: ClassVar[tuple[str, ...]] = ("peer",)
    needs: ClassVar[tuple[str, ...]] = ("its cluster's prompt and size", "the colluders' prompts")
    cost: ClassVar[str] = "one subtraction"
    source: ClassVar[str] = "subtraction in a sum; arXiv:2505.22447 gives members its mean"

    def reconstruct(self, view: ClusterPrompts) -> Tensor:
        """float[trials, dim]: the mean of the other members; one other member's prompt itself."""
        others = (view.sizes - view.own.shape[1]).unsqueeze(-1)
        return subtract(view.means, view.sizes, view.own) / others

    def score(self, view: ClusterPrompts, candidates: Tensor) -> Tensor:
        """float64[trials, M]: minus the squared distance of float[trials, M, dim] to it."""
        found = self.reconstruct(view).to(torch.float64)
        return -(candidates.to(torch.float64) - found.unsqueeze(1)).square().sum(dim=-1)
