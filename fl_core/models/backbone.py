"""Frozen public encoders: pictures in, feature vectors out.

- ``efficientnet-lite0``: ImageNet weights (assets efficientnet-lite0 and efficientnet-lite-code);
- ``pixels``: grey pixels in a row, needs nothing;
- a folder that holds a Hugging Face vision model as safetensors, or its name on the hub.

Weights are read as tensors only; no code of a checkpoint is ever run.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import ConfigError, ParameterError
from ..data import assets
from . import hugging_face, model_folder
from .hugging_face import Pooling
from .preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("efficientnet-lite0", "pixels")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A frozen encoder.

    Attributes:
        name: one of `NAMES`, or "huggingface:" and the model type; never a path.
        origin: where the weights are from, in words; never a path.
        code: what computes the features, with its version.
        dimension: length of a feature vector.
        image_size: pixels a side that the network takes.
        sha256: of the weights (and of the configuration, where there is one), hex.
        pooling: how a vector is made of the last layer, in words.
        preprocess: pictures in [0, 1] to what the network takes.
        network: preprocessed pictures to float[n, dimension].
        state: gives every parameter and buffer as it is now, to show that none has changed.
        device: where it runs.
        maps: preprocessed pictures to float[n, dimension, h, w], whose mean over positions is what
            `network` gives; None where vectors are made in another way.
    """

    name: str
    origin: str
    code: str
    dimension: int
    image_size: int
    sha256: str
    pooling: str
    preprocess: Preprocess
    network: "Callable[[Tensor], Tensor]"
    state: "Callable[[], dict[str, Tensor]]"
    device: str = "cpu"
    maps: "Callable[[Tensor], Tensor] | None" = None

    def encode(self, pixels: "Tensor") -> "Tensor":
        """float[n, dimension] of `pixels`, float[n, 3, h, w] in [0, 1]; differentiable."""
        return self.network(self.preprocess(pixels))

    def features(self, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
        """float32[n, dimension] of `images`, uint8[n, h, w, 3]; no gradient is kept.

        Raises:
            ParameterError: `images` has another type or shape.
            ConfigError: a feature is not finite, or encoding changed the encoder.
        """
        import torch

        check.count(batch=batch)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ParameterError(
                f"images must be uint8[n, h, w, 3], but are {images.dtype}{list(images.shape)}"
            )
        before = self.fingerprint()
        found = np.zeros((len(images), self.dimension), dtype=np.float32)
        kind = torch.device(self.device).type
        with torch.no_grad(), torch.autocast(kind, enabled=False):  # float32, whoever calls
            for start in range(0, len(images), batch):
                part = torch.tensor(images[start : start + batch], device=self.device)
                pixels = part.permute(0, 3, 1, 2).contiguous().float() / 255.0
                found[start : start + batch] = self.encode(pixels).cpu().numpy()
        if not np.isfinite(found).all():
            raise ConfigError(f"encoder {self.name} gives features that are not finite")
        if self.fingerprint() != before:
            # Statistics of batch normalisation would carry private pictures into the encoder.
            raise ConfigError(f"encoder {self.name} changed while it encoded; it is not frozen")
        return found

    def fingerprint(self) -> str:
        """SHA-256, hex, of every parameter and buffer in memory, with its name, type and shape."""
        digest = hashlib.sha256()
        for name, value in self.state().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def load_backbone(
    name: str,
    *,
    image_size: int | None = None,
    pooling: Pooling | None = None,
    device: str = "cpu",
) -> Backbone:
    """The encoder of that name, frozen and in evaluation mode.

    Args:
        name: one of `NAMES`; the folder of a local Hugging Face vision model; or its name on the
            hub, ``owner/model`` or ``owner/model@revision``, fetched where it is not cached.
        image_size: pixels a side; None is 96 for efficientnet-lite0, 28 for pixels, a Hugging
            Face model's own.
        pooling: for Hugging Face models only: "patch_mean" or "pooled", see `hugging_face.load`.
        device: a torch device.

    Raises:
        ConfigError: no such encoder, or a folder that does not hold a usable model.
        AssetError: the weights have not been fetched, or have the wrong hash.

    >>> pixels = load_backbone("pixels", image_size=8)
    >>> pixels.features(np.zeros((2, 28, 28, 3), dtype=np.uint8)).shape
    (2, 64)
    """
    if image_size is not None:
        check.count(image_size=image_size)
    if name in NAMES and pooling is not None:
        raise ConfigError(f"pooling goes with Hugging Face models, but the backbone is {name!r}")
    if name == "efficientnet-lite0":
        return _efficientnet(96 if image_size is None else image_size, device)
    if name == "pixels":
        return _pixels(28 if image_size is None else image_size, device)
    if Path(name).is_dir():
        return _hugging_face(Path(name), "a local folder", image_size, pooling, device)
    if model_folder.is_hub_name(name):
        folder = model_folder.download(name)
        origin = f"{name.partition('@')[0]} at commit {folder.name}"
        return _hugging_face(folder, origin, image_size, pooling, device)
    raise ConfigError(
        f"backbone must be {check.suggest(name, NAMES)}; or give the folder of a local Hugging "
        "Face vision model, or its name on the hub as owner/model"
    )


def _pixels(image_size: int, device: str) -> Backbone:
    def network(x: "Tensor") -> "Tensor":
        grey = x.new_tensor([0.299, 0.587, 0.114])  # ITU-R BT.601
        return (x * grey[:, None, None]).sum(dim=1).flatten(1)

    return Backbone(
        name="pixels",
        origin="no weights",
        code="privassay",
        dimension=image_size * image_size,
        image_size=image_size,
        sha256=hashlib.sha256(b"pixels: 0.299 R + 0.587 G + 0.114 B").hexdigest(),
        pooling="none",
        preprocess=Preprocess(resize=(image_size, image_size)),
        network=network,
        state=dict,
        device=device,
    )


def _efficientnet(image_size: int, device: str) -> Backbone:
    import io

    import torch

    data = assets.path("efficientnet-lite0").read_bytes()
    net = _efficientnet_class().from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(io.BytesIO(data), weights_only=True, map_location="cpu"))
    net = net.eval().requires_grad_(False).to(device)

    def maps(x: "Tensor") -> "Tensor":
        hugging_face.check_evaluating(net)
        found: Tensor = net.extract_features(x)
        return found

    code = assets.asset("efficientnet-lite-code")
    return Backbone(
        name="efficientnet-lite0",
        origin="asset efficientnet-lite0",
        code=f"{code.package} {code.version}",
        dimension=1280,
        image_size=image_size,
        sha256=hashlib.sha256(data).hexdigest(),
        pooling="mean over positions",
        preprocess=Preprocess(resize=(image_size, image_size), mean=_IMAGENET[0], std=_IMAGENET[1]),
        network=lambda x: maps(x).mean(dim=(2, 3)),
        state=lambda: _state(net),
        device=device,
        maps=maps,
    )


def _efficientnet_class() -> Any:
    """`EfficientNet`, imported from the checked zip file; nothing is installed."""
    import importlib
    import sys

    place = str(assets.path("efficientnet-lite-code"))
    sys.path.insert(0, place)
    try:
        return importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    finally:
        sys.path.remove(place)


def _hugging_face(
    folder: Path, origin: str, image_size: int | None, pooling: Pooling | None, device: str
) -> Backbone:
    from importlib.metadata import version

    loaded = hugging_face.load(folder, image_size=image_size, pooling=pooling, device=device)
    digest = hashlib.sha256()
    for file in loaded.files:
        digest.update(file.name.encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return Backbone(
        name=f"huggingface:{loaded.kind}",
        origin=origin,
        code=f"transformers {version('transformers')}",
        dimension=loaded.dimension,
        image_size=loaded.image_size,
        sha256=digest.hexdigest(),
        pooling=loaded.pooling,
        preprocess=loaded.preprocess,
        network=loaded.network,
        state=lambda: _state(loaded.module),
        device=device,
    )


def _state(module: Any) -> "dict[str, Tensor]":
    """All parameters and buffers, also the buffers that a state dict leaves out."""
    return dict(module.named_parameters()) | dict(module.named_buffers())
