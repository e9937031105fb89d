"""Frozen public encoders: pictures in, feature vectors out.

- ``efficientnet-lite0``: ImageNet weights (assets efficientnet-lite0 and efficientnet-lite-code);
- ``pixels``: grey pixels in a row, needs nothing;
- a folder that holds a Hugging Face vision model as safetensors.

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

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("efficientnet-lite0", "pixels")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A frozen encoder.

    Attributes:
        name: one of `NAMES`, or "huggingface:" and the model type; never a path.
        dimension: length of a feature vector.
        image_size: pictures are resized to this many pixels a side.
        sha256: of the weights (and of the configuration, where there is one), hex.
        network: float[n, 3, image_size, image_size], normalised, to float[n, dimension].
        mean: subtracted from each channel.
        std: each channel is divided by it.
        state: gives every parameter and buffer as it is now, to show that none has changed.
        device: where it runs.
    """

    name: str
    dimension: int
    image_size: int
    sha256: str
    network: "Callable[[Tensor], Tensor]"
    mean: Triple
    std: Triple
    state: "Callable[[], dict[str, Tensor]]"
    device: str = "cpu"

    def encode(self, pixels: "Tensor") -> "Tensor":
        """float[n, dimension] of `pixels`, float[n, 3, h, w] in [0, 1]; differentiable."""
        import torch

        size = [self.image_size, self.image_size]
        if list(pixels.shape[-2:]) != size:
            # Antialiased, so that shrinking a photograph does not drop pixels; the same as plain
            # bilinear when it grows.
            pixels = torch.nn.functional.interpolate(
                pixels, size=size, mode="bilinear", align_corners=False, antialias=True
            )
        mean, std = pixels.new_tensor(self.mean), pixels.new_tensor(self.std)
        return self.network((pixels - mean[:, None, None]) / std[:, None, None])

    def features(self, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
        """float32[n, dimension] of `images`, uint8[n, h, w, 3]; no gradient is kept.

        Raises:
            ParameterError: `images` has another type or shape.
        """
        import torch

        check.count(batch=batch)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ParameterError(
                f"images must be uint8[n, h, w, 3], but are {images.dtype}{list(images.shape)}"
            )
        found = np.zeros((len(images), self.dimension), dtype=np.float32)
        with torch.no_grad():
            for start in range(0, len(images), batch):
                part = torch.tensor(images[start : start + batch], device=self.device)
                pixels = part.permute(0, 3, 1, 2).contiguous().float() / 255.0
                found[start : start + batch] = self.encode(pixels).cpu().numpy()
        return found


def load_backbone(name: str, *, image_size: int | None = None, device: str = "cpu") -> Backbone:
    """The encoder of that name, frozen and in evaluation mode.

    Args:
        name: one of `NAMES`, or the folder of a local Hugging Face vision model.
        image_size: pixels a side; None is 96 for efficientnet-lite0, 28 for pixels. A Hugging
            Face model has one size of its own, and no other is accepted.
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
    if name == "efficientnet-lite0":
        return _efficientnet(96 if image_size is None else image_size, device)
    if name == "pixels":
        return _pixels(28 if image_size is None else image_size, device)
    if Path(name).is_dir():
        return _hugging_face(Path(name), image_size, device)
    raise ConfigError(
        f"backbone must be {check.suggest(name, NAMES)}; or give the folder of a local Hugging "
        "Face vision model"
    )


def _pixels(image_size: int, device: str) -> Backbone:
    def network(x: "Tensor") -> "Tensor":
        grey = x.new_tensor([0.299, 0.587, 0.114])  # ITU-R BT.601
        return (x * grey[:, None, None]).sum(dim=1).flatten(1)

    return Backbone(
        name="pixels",
        dimension=image_size * image_size,
        image_size=image_size,
        sha256=hashlib.sha256(b"pixels: 0.299 R + 0.587 G + 0.114 B").hexdigest(),
        network=network,
        mean=_RAW[0],
        std=_RAW[1],
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

    def network(x: "Tensor") -> "Tensor":
        maps: Tensor = net.extract_features(x)
        return maps.mean(dim=(2, 3))

    return Backbone(
        name="efficientnet-lite0",
        dimension=1280,
        image_size=image_size,
        sha256=hashlib.sha256(data).hexdigest(),
        network=network,
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
        state=net.state_dict,
        device=device,
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


def _hugging_face(folder: Path, image_size: int | None, device: str) -> Backbone:
    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file() or not weights:
        raise ConfigError(
            f"folder {folder.name!r} must hold config.json and *.safetensors, but does not. Save "
            "the model there with save_pretrained(folder, safe_serialization=True)"
        )
    model, missing = _load_hugging_face(folder)
    kind = str(model.config.model_type)
    # A dual encoder such as CLIP: its image half alone.
    config = getattr(model.config, "vision_config", model.config)
    model = getattr(model, "vision_model", model)
    own = _one_size(getattr(config, "image_size", None))
    if image_size is not None and own is not None and image_size != own:
        raise ConfigError(
            f"image_size is {image_size}, but this {kind} model takes {own}. Leave it out."
        )
    size = own if own is not None else image_size
    if size is None:
        raise ConfigError(f"this {kind} model does not state its image_size; give one")
    # transformers fills a missing pooler with random numbers: each load would differ.
    absent = [key for key in missing if "pooler." not in key]
    if absent:
        raise ConfigError(
            f"this {kind} model lacks weights, among them {absent[0]}; random ones are not used"
        )
    pooled = not missing

    def network(x: "Tensor") -> "Tensor":
        out = model(pixel_values=x)
        found: Tensor | None = getattr(out, "pooler_output", None) if pooled else None
        if found is not None:
            return found.flatten(1)
        last: Tensor = out.last_hidden_state
        return last.mean(dim=1) if last.ndim == 3 else last.mean(dim=(2, 3))

    import torch

    model = model.float().eval().requires_grad_(False).to(device)
    try:
        with torch.no_grad():
            probe = network(torch.zeros(1, 3, size, size, device=device))
    except Exception as error:  # whatever a model that takes no pictures may raise
        raise ConfigError(
            f"this {kind} model does not take pictures of {size}x{size} ({type(error).__name__}); "
            "give the folder of a vision model"
        ) from error
    mean, std, settings = _normalisation(folder)
    digest = hashlib.sha256()
    for file in (*weights, folder / "config.json", *settings):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return Backbone(
        name=f"huggingface:{kind}",
        dimension=int(probe.shape[1]),
        image_size=size,
        sha256=digest.hexdigest(),
        network=network,
        mean=mean,
        std=std,
        state=model.state_dict,
        device=device,
    )


def _load_hugging_face(folder: Path) -> tuple[Any, list[str]]:
    """The model, and the keys that its file lacks (they hold random numbers now)."""
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # half of it has no annotations
    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model, report = AutoModel.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # transformers lets the errors of a dozen libraries through
        reason = (str(error).splitlines() or [""])[0].replace(str(folder), folder.name)
        raise ConfigError(
            f"folder {folder.name!r} does not load as a transformers model: {reason}"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
    return model, sorted(report["missing_keys"])


def _one_size(stated: Any) -> int | None:
    """A configuration states one number, or height and width."""
    if stated is None or isinstance(stated, int):
        return stated
    height, width = stated
    if height != width:
        raise ConfigError(f"the model takes pictures of {height}x{width}; only squares are used")
    return int(height)


def _normalisation(folder: Path) -> tuple[Triple, Triple, list[Path]]:
    """The model's own mean and std if it states them, else ImageNet's; and the file they are in."""
    import json

    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return (*_IMAGENET, [])
    stated = json.loads(file.read_text(encoding="utf-8"))
    mean, std = (
        stated.get(key, usual)
        for key, usual in zip(("image_mean", "image_std"), _IMAGENET, strict=True)
    )
    if len(mean) != 3 or len(std) != 3:
        raise ConfigError(f"preprocessor_config.json must give three channels, but gives {mean}")
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), [file]
