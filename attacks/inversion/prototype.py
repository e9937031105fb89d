"""Prototype inversion: look for a picture whose features are the prototype.

Gradient descent on pixels through the frozen encoder, from the guess of a public decoder, with
total variation as prior. Source: Mahendran & Vedaldi, arXiv:1412.0035; as an attack on prototypes,
arXiv:2410.07738.

The adaptive attacker knows the noise of each group, so it does not chase noise: its target is the
posterior mean inside the column space of public features, and distances are whitened by the
posterior (`projection`). Small random shifts and mirror images of the picture must match as well
(augmentation consistency), which speaks against patterns that only this encoder sees.

A mean of many features is no picture's feature: what comes out is typical of the class. So the
result means nothing without its control, the same attack on a prototype of *other* pictures of the
class (`metrics.leakage_gap`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from ...accountant import check
from .candidates import Candidates, SeenPrototypes
from .identification import Match, pixel_match
from .projection import PublicSpace

Encoder = Callable[[Tensor], Tensor]
"""float[n, 3, height, width] in [0, 1] to float64[n, dim], differentiable."""


@dataclass(frozen=True, kw_only=True)
class Variation:
    """Changes of a picture under which its features should stay: augmentation consistency.

    Attributes:
        shift: pixels in each direction, at most.
        flip: whether mirror images count as well; not for digits or letters.
        copies: changed pictures in each step, besides the picture itself.
        seed: of the shifts.
    """

    shift: int = 1
    flip: bool = False
    copies: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check.whole(shift=self.shift, seed=self.seed)
        check.count(copies=self.copies)

    def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One random change of all pictures, float[n, 3, height, width]."""
        span = 2 * self.shift + 1
        down, right, mirror = (
            int(torch.randint(high, (1,), generator=generator)) for high in (span, span, 2)
        )
        height, width = images.shape[2:]
        wide = pad(images, (self.shift,) * 4, mode="replicate")
        moved = wide[..., down : down + height, right : right + width]
        return moved.flip(-1) if self.flip and mirror else moved


def invert(
    targets: Tensor,
    encode: Encoder,
    *,
    start: Tensor,
    steps: int,
    learning_rate: float = 0.02,
    smoothness: float = 6.0,
    root: Tensor | None = None,
    variation: Variation | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Pictures whose features point where `targets` point.

    Args:
        targets: float64[n, dim] prototypes.
        encode: see `Encoder`.
        start: float[n, 3, height, width] in [0, 1], where the search starts.
        steps: Adam steps.
        learning_rate: of Adam, on the logits of the pixels.
        smoothness: weight of the total variation (mean over the pixels).
        root: float64[dim, rank]: match by |(features - target) @ root|^2, relative to its value at
            the start, instead of by direction.
        variation: changed pictures whose mismatch counts as much as that of the picture.
        progress: called with (done, steps).

    Returns:
        float[n, 3, height, width] in [0, 1], and float[n], the cosine reached.
    """

    def mismatch(images: Tensor) -> Tensor:
        features = encode(images)
        if root is None:
            return 1.0 - cosine_similarity(features, targets, dim=1)
        return ((features - targets) @ root).square().sum(dim=1)

    scale: Tensor | float = 1.0
    if root is not None:
        with torch.no_grad():
            scale = mismatch(start).clamp(min=1e-12)
    generator = torch.Generator().manual_seed(0 if variation is None else variation.seed)
    logits = torch.logit(start.clamp(0.02, 0.98)).clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=learning_rate)
    for step in range(steps):
        images = torch.sigmoid(logits)
        found = mismatch(images)
        if variation is not None:
            for _ in range(variation.copies):
                found = found + mismatch(variation.apply(images, generator))
            found = found / (1 + variation.copies)
        loss = (found / scale).sum() + smoothness * _total_variation(images).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if progress is not None:
            progress(step + 1, steps)
    with torch.no_grad():
        images = torch.sigmoid(logits)
        return images, cosine_similarity(encode(images), targets, dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class PrototypeInversion:
    """Gradient descent on pixels towards what the prototype says about the features.

    Attributes:
        encode: what a record of float[n, 3, h, w] adds to a sum of features: backbone, projection
            and clip, all of them public.
        space: of public features.
        decoder: float64[n, dim] to float[n, 3, h, w]: the guess at which the search starts.
        steps, learning_rate, smoothness, variation: as in `invert`.
        match: how a reconstruction is compared with candidates.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = (
        "the encoder with its gradients, projection and clip bounds",
        "noise per group",
        "public pictures",
    )
    cost: ClassVar[str] = "`steps` gradients of the encoder per target"
    source: ClassVar[str] = "Mahendran & Vedaldi, arXiv:1412.0035; arXiv:2410.07738"
    encode: Encoder
    space: PublicSpace
    decoder: Callable[[Tensor], Tensor]
    steps: int = 100
    learning_rate: float = 0.05
    smoothness: float = 0.1
    variation: Variation | None = None
    match: Match = pixel_match

    def reconstruct(self, view: SeenPrototypes) -> Tensor:
        """float[trials, 3, height, width] in [0, 1]."""
        seen = view.combined()
        belief = self.space.posterior(seen)
        images, _ = invert(
            belief.mean,
            self.encode,
            start=self.decoder(seen.mean),
            steps=self.steps,
            learning_rate=self.learning_rate,
            smoothness=self.smoothness,
            root=belief.root,
            variation=self.variation,
        )
        return images

    def score(self, view: SeenPrototypes, candidates: Candidates) -> Tensor:
        """float64[trials, M]; larger means more like the reconstruction."""
        return self.match(self.reconstruct(view), candidates)


def _total_variation(images: Tensor) -> Tensor:
    """float[n]: mean absolute difference of neighbouring pixels."""
    across = (images[..., 1:] - images[..., :-1]).abs().mean(dim=(1, 2, 3))
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    return across + down
