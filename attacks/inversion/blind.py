"""The best guess of somebody who has seen nothing: kappa, against which every hit is held."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from .candidates import Candidates, SeenPrototypes
from .identification import Match, pixel_match
from .metrics import psnr


@dataclass(frozen=True, eq=False)
class BlindGuess:
    """One picture for every target, or one for each trial's class, whatever was released.

    Attributes:
        guess: float[1 or trials, 3, height, width], such as `best_guess` of the class.
        match: how a picture is compared with candidates.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = ("public pictures of the class",)
    cost: ClassVar[str] = "none"
    source: ClassVar[str] = "Balle, Cherubin & Hayes, arXiv:2201.04845 (kappa)"
    guess: Tensor
    match: Match = pixel_match

    def reconstruct(self, view: SeenPrototypes) -> Tensor:
        """float[trials, 3, height, width], the same whatever `view` holds."""
        return self.guess.expand(len(view.uploads), *self.guess.shape[1:])

    def score(self, view: SeenPrototypes, candidates: Candidates) -> Tensor:
        """float64[trials, M]."""
        return self.match(self.reconstruct(view), candidates)


def best_guess(images: Tensor, *, least_psnr: float) -> Tensor:
    """The picture that is within `least_psnr` dB of most public pictures, float[3, height, width].

    Tried are the public pictures themselves, their mean, and the means with the nearest tenth,
    quarter and half of each; of equals, the one that is nearer to
    those that it hits. Chosen on
    public pictures, so that its hits on private ones are an unbiased measure of it; a better guess
    may exist, so a reported kappa is that of this guess.

    Args:
        images: float[n, 3, height, width], of the class.
        least_psnr: from which a reconstruction counts as a hit, dB.

    Raises:
        ParameterError: there is no picture.
    """
    if images.ndim != 4 or len(images) == 0:
        raise ParameterError(f"images must be float[n, 3, h, w], n >= 1, not {list(images.shape)}")
    order = psnr(images, images).argsort(dim=1, descending=True)
    guesses = [images, images.mean(dim=0, keepdim=True)]
    for part in (10, 4, 2):
        near = order[:, : max(1, len(images) // part)]
        guesses.append(torch.stack([images[rows].mean(dim=0) for rows in near]))
    tried = torch.cat(guesses)
    quality = psnr(tried, images)
    hits = (quality >= least_psnr).double().mean(dim=1)
    # squared errors in 0..1, of misses no more than the limit: they break ties only
    errors = torch.pow(10.0, -quality.clamp(min=least_psnr) / 10.0).mean(dim=1)
    return tried[int((hits - 1e-9 * errors).argmax())]
