"""A small network that maps noisy means of features to pictures, trained on public pictures.

It sees in training what it will see in the attack: the mean of n records of one class, with the
noise of each group, drawn afresh in every step; so it learns the mean picture given the prototype,
not the inverse of a clean feature. Source: Dosovitskiy & Brox, arXiv:1506.02753 (the network);
training on the noisy statistic, as in the shadow releases of Balle, Cherubin & Hayes,
arXiv:2201.04845.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, linear, relu

from ...accountant import check
from ...accountant.errors import ParameterError
from .candidates import Candidates, SeenPrototypes
from .identification import Match, pixel_match

Kind = Literal["mlp", "conv"]
_KINDS = ("mlp", "conv")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a decoder is trained.

    Attributes:
        kind: "mlp" has two layers; "conv" a layer of (height/4) x (width/4) maps and two
            convolutions, each after doubling the size.
        width: hidden units, or maps.
        steps, batch, learning_rate: of Adam, on the squared error; the rate falls to 0 linearly.
        seed: of first weights, draws and noise.
    """

    kind: Kind = "mlp"
    width: int = 256
    steps: int = 400
    batch: int = 64
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check.one_of(_KINDS, kind=self.kind)
        check.count(width=self.width, steps=self.steps, batch=self.batch)
        check.positive(learning_rate=self.learning_rate)
        check.whole(seed=self.seed)


@dataclass(frozen=True, eq=False)
class NeuralDecoder:
    """float[n, dim] features to float[n, channels, height, width] pictures in [0, 1].

    Attributes:
        weights: the trained tensors by name, and "centre" and "scale" of the input.
        shape: of a picture.
        kind: as in `Training`.
    """

    weights: dict[str, Tensor] = field(repr=False)
    shape: tuple[int, ...]
    kind: Kind

    def __call__(self, features: Tensor) -> Tensor:
        """The decoder's guess; differentiable."""
        w = self.weights
        hidden = relu(linear((features.float() - w["centre"]) / w["scale"], w["w1"], w["b1"]))
        if self.kind == "mlp":
            return linear(hidden, w["w2"], w["b2"]).sigmoid().reshape(-1, *self.shape)
        height, width = self.shape[1:]
        maps = hidden.reshape(len(hidden), -1, -(-height // 4), -(-width // 4))
        half = [-(-height // 2), -(-width // 2)]
        maps = relu(conv2d(interpolate(maps, size=half), w["w2"], w["b2"], padding=1))
        maps = interpolate(maps, size=[height, width])
        return conv2d(maps, w["w3"], w["b3"], padding=1).sigmoid()


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuralDecoding:
    """The trained decoder's guess from all rounds, as an attack.

    Attributes:
        decoder: trained for this noise and number of records.
        match: how a reconstruction is compared with candidates.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = (
        "public pictures and the public encoder",
        "noise per group and the number of records",
    )
    cost: ClassVar[str] = "one training of a small network; nothing per target"
    source: ClassVar[str] = "Dosovitskiy & Brox, arXiv:1506.02753; arXiv:2201.04845"
    decoder: NeuralDecoder
    match: Match = pixel_match

    def reconstruct(self, view: SeenPrototypes) -> Tensor:
        """float[trials, 3, height, width] in [0, 1]."""
        with torch.no_grad():
            return self.decoder(view.combined().mean)

    def score(self, view: SeenPrototypes, candidates: Candidates) -> Tensor:
        """float64[trials, M]; larger means more like the reconstruction."""
        return self.match(self.reconstruct(view), candidates)


def train(
    features: Tensor,
    images: Tensor,
    training: Training,
    *,
    noise_stddevs: Tensor | None = None,
    labels: Tensor | None = None,
    records: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> NeuralDecoder:
    """A decoder of noisy means of `records` features; `cached_decoder` keeps it on disk.

    Args:
        features: float64[N, dim], of public pictures.
        images: float[N, channels, height, width] in [0, 1], the same pictures.
        training: the network and how it is trained.
        noise_stddevs: float64[dim] of the mean; None for none.
        labels: int64[N], the classes of the pictures; None: all of one class.
        records: n, how many records a prototype averages.
        progress: called with (done, steps).

    Raises:
        ParameterError: shapes contradict each other, or training diverged.
    """
    check.count(records=records)
    if features.ndim != 2 or images.ndim != 4 or not 0 < len(features) == len(images):
        raise ParameterError(
            "features must be float[N, dim] and images float[N, channels, height, width], but are "
            f"{list(features.shape)} and {list(images.shape)}"
        )
    generator = torch.Generator().manual_seed(training.seed)
    inputs = features.float()
    noise = torch.zeros(inputs.shape[1]) if noise_stddevs is None else noise_stddevs.float()
    kinds = torch.zeros(len(inputs), dtype=torch.int64) if labels is None else labels
    _, group, sizes = kinds.unique(return_inverse=True, return_counts=True)
    order = group.argsort(stable=True)  # pictures of one class in a row
    first = sizes.cumsum(0) - sizes
    weights = _first_weights(training, inputs, noise, records, tuple(images.shape[1:]), generator)
    fixed = ("centre", "scale")
    trained = [w.requires_grad_() for name, w in weights.items() if name not in fixed]
    decoder = NeuralDecoder(weights, tuple(images.shape[1:]), training.kind)
    optimiser = torch.optim.Adam(trained, lr=training.learning_rate)
    for step in range(training.steps):
        rows = torch.randint(len(inputs), (training.batch,), generator=generator)
        means = inputs[rows]
        if records > 1:
            draws = torch.rand(training.batch, records - 1, generator=generator)
            own = group[rows][:, None]
            places = first[own] + (draws * sizes[own]).long().clamp(max=sizes[own] - 1)
            means = (means + inputs[order[places]].sum(dim=1)) / records
        means = means + noise * torch.randn(means.shape, generator=generator)
        loss = (decoder(means) - images[rows]).square().mean()
        for group_ in optimiser.param_groups:
            group_["lr"] = training.learning_rate * (1.0 - step / training.steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if progress is not None:
            progress(step + 1, training.steps)
    frozen = {name: w.detach().requires_grad_(False) for name, w in weights.items()}
    if not all(bool(torch.isfinite(w).all()) for w in frozen.values()):
        raise ParameterError(
            "training the decoder diverged: a weight is not finite. Lower learning_rate, "
            f"which is {training.learning_rate}"
        )
    return NeuralDecoder(frozen, decoder.shape, decoder.kind)


def _first_weights(
    training: Training,
    inputs: Tensor,
    noise: Tensor,
    records: int,
    shape: tuple[int, ...],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    channels, height, width = shape
    dim, wide = inputs.shape[1], training.width
    # Spread of a noisy input: at most that of single features, so that nothing saturates.
    spread = (inputs.var(dim=0, unbiased=False) + noise.square()).sqrt()
    found = {"centre": inputs.mean(dim=0), "scale": spread.clamp(min=1e-6)}
    sizes: list[tuple[int, ...]]
    if training.kind == "mlp":
        sizes = [(wide, dim), (channels * height * width, wide)]
    else:
        spots = -(-height // 4) * -(-width // 4)
        sizes = [(wide * spots, dim), (wide, wide, 3, 3), (channels, wide, 3, 3)]
    for i, size in enumerate(sizes, start=1):
        fan_in = torch.Size(size[1:]).numel()
        found[f"w{i}"] = torch.randn(size, generator=generator) * (2.0 / fan_in) ** 0.5
        found[f"b{i}"] = torch.zeros(size[0])
    return found
