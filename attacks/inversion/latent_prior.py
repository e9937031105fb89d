"""Prototype inversion inside a prior of pictures: optimise a latent vector, not pixels.

The prior is learned from public pictures by the adversary itself: whitened principal components,
or a small network trained to undo that compression (an autoencoder whose encoder is linear). The
latent is standard Gaussian under it, so that the search is for the most probable picture given the
noisy prototype: half the squared mismatch in noise units, plus half the squared latent.
Source: Creswell & Bharath, arXiv:1802.05701 (inverting a generator); the posterior mode as in
Bora et al., arXiv:1703.03208.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from .candidates import Candidates, SeenPrototypes
from .identification import Match, pixel_match
from .noisy_decoder import Training, train
from .projection import PublicSpace
from .prototype import Encoder


@dataclass(frozen=True, kw_only=True, eq=False)
class Latent:
    """A prior of pictures: a standard Gaussian latent and a decoder.

    Attributes:
        centre: float64[pixels], the mean public picture.
        axes: float64[pixels, latent]: a latent adds `axes @ z` to it; columns are orthogonal, with
            the spread of the public pictures along them as length.
        shape: of a picture.
        network: latents to pictures, if something better than `axes` was trained.
    """

    centre: Tensor
    axes: Tensor
    shape: tuple[int, ...]
    network: Callable[[Tensor], Tensor] | None = None

    def encode(self, images: Tensor) -> Tensor:
        """float64[n, latent] of float[n, 3, height, width]; least squares."""
        return (images.double().flatten(1) - self.centre) @ (self.axes / self.axes.square().sum(0))

    def decode(self, latents: Tensor) -> Tensor:
        """float[n, 3, height, width] in [0, 1], differentiable."""
        if self.network is not None:
            return self.network(latents)
        flat = self.centre + latents @ self.axes.T
        return flat.reshape(-1, *self.shape).clamp(0.0, 1.0).float()


def principal_latent(images: Tensor, size: int) -> Latent:
    """Whitened principal components of float[n, 3, height, width] public pictures.

    Raises:
        ParameterError: the pictures do not vary in `size` directions.
    """
    check.count(size=size)
    rows = images.double().flatten(1)
    centre = rows.mean(dim=0)
    _, lengths, directions = torch.linalg.svd(rows - centre, full_matrices=False)
    spanned = int((lengths > 1e-6 * lengths[0]).sum()) if bool(lengths[0] > 0.0) else 0
    if size > spanned:
        raise ParameterError(
            f"size is {size}, but {len(rows)} public pictures vary in {spanned} directions"
        )
    spread = lengths[:size] / max(1, len(rows) - 1) ** 0.5
    return Latent(centre=centre, axes=directions[:size].T * spread, shape=tuple(images.shape[1:]))


def trained_latent(images: Tensor, size: int, training: Training) -> Latent:
    """The same latents with a network as decoder, trained on latents with a little noise."""
    linear = principal_latent(images, size)
    latents = linear.encode(images)
    network = train(latents, images, training, noise_stddevs=torch.full((size,), 0.1))
    return Latent(centre=linear.centre, axes=linear.axes, shape=linear.shape, network=network)


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentInversion:
    """The most probable latent whose picture has the features that the prototype shows.

    Attributes:
        encode: what a record adds to a sum of features, differentiable.
        space: of public features; its floor is the least error of the model.
        latent: the prior.
        decoder: float64[n, dim] to pictures, a first guess; None starts at the mean picture.
        steps, learning_rate: of Adam, on the latents.
        match: how a reconstruction is compared with candidates.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = (
        "the encoder with its gradients, projection and clip bounds",
        "noise per group",
        "public pictures like the private ones",
    )
    cost: ClassVar[str] = "`steps` gradients of the encoder per target"
    source: ClassVar[str] = "Creswell & Bharath, arXiv:1802.05701; Bora et al., arXiv:1703.03208"
    encode: Encoder
    space: PublicSpace
    latent: Latent
    decoder: Callable[[Tensor], Tensor] | None = None
    steps: int = 100
    learning_rate: float = 0.05
    match: Match = pixel_match

    def reconstruct(self, view: SeenPrototypes) -> Tensor:
        """float[trials, 3, height, width] in [0, 1]."""
        seen = view.combined()
        stddev = self.space.floored(seen.stddev)
        guess = self.latent.axes.new_zeros(len(seen.mean), self.latent.axes.shape[1])
        if self.decoder is not None:
            guess = self.latent.encode(self.decoder(seen.mean))
        latents = guess.clone().requires_grad_()
        optimiser = torch.optim.Adam([latents], lr=self.learning_rate)
        for _ in range(self.steps):
            gap = (self.encode(self.latent.decode(latents)) - seen.mean) / stddev
            # Trials share no latent, so the sum is each one's own problem.
            loss = 0.5 * gap.square().sum() + 0.5 * latents.square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            return self.latent.decode(latents)

    def score(self, view: SeenPrototypes, candidates: Candidates) -> Tensor:
        """float64[trials, M]; larger means more like the reconstruction."""
        return self.match(self.reconstruct(view), candidates)
