"""The "DeViSE substitute": a dual encoder from packaged models, where no CLIP can be had.

The rows of an ImageNet classifier are points of the image encoder's space, and have English names.
One ridge regression from the text encoder's features of those names to those rows puts any text
into the space of images. It is fitted on the 1000 public pairs alone, whoever uses it. Idea: Frome
et al., "DeViSE", NeurIPS 2013. Good enough to exercise prompt learning, private training and
attacks end to end; it says nothing about CLIP, and results made with it must carry `LABEL`.
"""

import ast
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from ...accountant import check
from ...accountant.errors import ConfigError
from ..data import assets
from .backbone import Backbone, load_backbone
from .dual_encoder import DualEncoder
from .language import LanguageModel, load_language_model
from .text_tower import TextTower

LABEL = "DeViSE substitute"
NAMES = "imagenet-names"  # asset
SCALE = 20.0
_TOKENS, _BATCH, _CLASSES = 32, 128, 1000


class RidgeMap(NamedTuple):
    """From unit text features to the space of images: (t - centre) @ matrix.

    Attributes:
        centre: float32[text dim].
        matrix: float32[text dim, image dim].
    """

    centre: Tensor
    matrix: Tensor


def ridge_map(texts: Tensor, points: Tensor, *, ridge: float = 1.0) -> RidgeMap:
    """The least squares map with penalty `ridge` on the squared matrix.

    Args:
        texts: float[n, text dim], of length 1.
        points: float[n, image dim], their public points in the space of images.
        ridge: > 0.
    """
    check.positive(ridge=ridge)
    centre = texts.double().mean(dim=0)
    apart = texts.double() - centre
    gram = apart.T @ apart + ridge * torch.eye(apart.shape[1], dtype=torch.float64)
    matrix = torch.linalg.solve(gram, apart.T @ points.double())
    return RidgeMap(centre.float(), matrix.float())


def substitute(
    public_images: NDArray[np.uint8],
    *,
    names: Sequence[str] | None = None,
    image_size: int | None = None,
    text_layers: int | None = None,
    device: str = "cpu",
) -> DualEncoder:
    """EfficientNet-Lite0 and MiniLM in one space; assets efficientnet-lite0 and minilm.

    Args:
        public_images: uint8[n, h, w, 3] whose mean feature is subtracted from every picture's. It
            is part of the model, so take pictures of the same kind that nobody needs protected,
            never the clients' own.
        names: the 1000 ImageNet classes in order; from the asset imagenet-names if not given.
        image_size: pixels a side.
        text_layers: how many of MiniLM's first layers are used; all if not given. Fewer are faster
            and know less about words, and the label says so.
        device: a torch device.

    Raises:
        AssetError: an asset is missing.
        ConfigError: another number of names, no public picture, or more layers than there are.
    """
    if not len(public_images):
        raise ConfigError("give at least one public picture; their mean centres the features")
    images = load_backbone("efficientnet-lite0", image_size=image_size, device=device)
    language, label = load_language_model("minilm", device=device), LABEL
    if text_layers is not None:
        label = f"{LABEL} with {_cut(language, text_layers)} text layers"
    known = list(_names() if names is None else names)
    if len(known) != _CLASSES:
        raise ConfigError(f"there are {_CLASSES} classes of ImageNet, but {len(known)} names")
    rows = images.state()["_fc.weight"].detach().cpu()
    texts = normalize(
        _features(language, known) + _features(language, [f"a photo of a {n}." for n in known])
    )
    found = ridge_map(texts, normalize(rows - rows.mean(dim=0)))
    centre = torch.from_numpy(images.features(public_images)).mean(dim=0).to(device)
    images = replace(
        images, origin=f"{images.origin}, centred on {len(public_images)} public pictures"
    )
    pooled, both, places = _centred(images, centre)
    return DualEncoder(
        label=label,
        images=pooled,
        text=_tower(language, RidgeMap(found.centre.to(device), found.matrix.to(device))),
        scale=SCALE,
        both=both,
        places=places,
    )


def _centred(images: Backbone, centre: Tensor) -> tuple[Backbone, Backbone, int]:
    """Pooled features, these and those of each place, and how many places a picture has.

    Only texts are mapped, and one centre is subtracted from all features of pictures: the mean of a
    picture's places is its pooled feature.
    """
    maps = images.maps
    if maps is None:
        raise ConfigError(f"encoder {images.name} has no maps, and so no features of single places")
    with torch.no_grad():
        size = images.image_size
        found = maps(torch.zeros(1, 3, size, size, device=images.device))
    places = found.shape[2] * found.shape[3]
    pooled = replace(
        images,
        pooling=f"{images.pooling}, centred",
        network=lambda x: maps(x).mean(dim=(2, 3)) - centre,
        state=lambda: images.state() | {"centre": centre},
        maps=lambda x: maps(x) - centre[:, None, None],
    )

    def network(x: Tensor) -> Tensor:
        found = maps(x)
        at_places = found.flatten(2).mT - centre
        return torch.cat([found.mean(dim=(2, 3)) - centre, at_places.flatten(1)], dim=1)

    both = replace(
        pooled,
        dimension=(1 + places) * images.dimension,
        pooling=f"{pooled.pooling}; then each position, centred",
        network=network,
        maps=None,
    )
    return pooled, both, places


def _cut(language: LanguageModel, layers: int) -> str:
    """Keep the first layers alone; how many of how many, in words."""
    encoder: Any = language.module.encoder
    known = len(encoder.layer)
    check.count(text_layers=layers)
    if layers > known:
        raise ConfigError(f"text_layers is {layers}, but the text encoder has {known}")
    encoder.layer = encoder.layer[:layers].eval()  # a new list is in training mode by itself
    return f"{layers} of {known}"


def _names() -> list[str]:
    """From the source text of the package that carries them; nothing of it is run."""
    source = ast.parse(assets.path(NAMES).read_text(encoding="utf-8"))
    found = source.body[0]
    if not isinstance(found, ast.Assign):
        raise ConfigError(f"asset {NAMES!r} does not begin with a list of names")
    return [str(name) for name in ast.literal_eval(found.value)]


def _features(language: LanguageModel, texts: Sequence[str]) -> Tensor:
    """float32[n, dim], unit sentence features of the plain text encoder."""
    ids = language.tokenizer.encode(texts, _TOKENS)
    device = next(language.module.parameters()).device
    found = []
    with torch.no_grad():
        for part in ids.split(_BATCH):
            real = part != language.tokenizer.padding
            width = int(real.sum(dim=1).max())
            part, real = part[:, :width].to(device), real[:, :width].to(device)
            hidden = language.module(input_ids=part, attention_mask=real.long()).last_hidden_state
            found.append(_mean(hidden, real).cpu())
    return torch.cat(found)


def _mean(hidden: Tensor, real: Tensor) -> Tensor:
    inside = real.unsqueeze(-1).to(hidden)
    return normalize((hidden * inside).sum(dim=1) / inside.sum(dim=1), dim=-1)


def _tower(language: LanguageModel, into: RidgeMap) -> TextTower:
    module = language.module

    def encode(embeds: Tensor, real: Tensor) -> Tensor:
        hidden = module(inputs_embeds=embeds, attention_mask=real.long()).last_hidden_state
        return (_mean(hidden, real) - into.centre) @ into.matrix

    embedding: Tensor = module.get_input_embeddings().weight  # type: ignore[operator]
    return TextTower(
        module=module,
        embedding=embedding.detach(),
        encode=encode,
        tokens=lambda text: language.tokenizer.split([text], _TOKENS)[0],
        dimension=into.matrix.shape[1],
    )
