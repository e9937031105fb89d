"""Vision models of transformers as frozen encoders: ViT, DeiT, ResNet, ConvNeXt, CLIP's image half.

Only safetensors are read. No pickle, no code of a checkpoint, no adapter and no quantised weights
are ever loaded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ...accountant import check
from ...accountant.errors import ConfigError
from .model_folder import checked_files
from .preprocess import Preprocess, of_processor

if TYPE_CHECKING:
    from torch import Tensor

Pooling = Literal["patch_mean", "pooled"]
POOLINGS = ("patch_mean", "pooled")

_MOST_PREFIX_TOKENS = 64  # class, distillation and register tokens; real models have 0 to 17


class VisionModel(NamedTuple):
    """A loaded model, before it becomes a `Backbone`."""

    kind: str
    """transformers' model type."""
    network: Any
    """float[n, 3, h, w], preprocessed, to float[n, dimension]."""
    module: Any
    preprocess: Preprocess
    image_size: int
    dimension: int
    pooling: Pooling
    files: list[Path]
    """Everything that was read, for the hash."""


def load(
    folder: Path, *, image_size: int | None, pooling: Pooling | None, device: str
) -> VisionModel:
    """The vision model of a folder in float32, evaluation mode, without gradients.

    Args:
        folder: holds config.json, preprocessor_config.json and safetensors.
        image_size: pixels a side; None is the model's own. A model with position embeddings
            takes no other.
        pooling: "patch_mean" is the mean over patch tokens, without class, distillation and
            register tokens (or over the positions of a convolutional map); "pooled" is what the
            model's own pooler gives. None is "patch_mean" for tokens, "pooled" for maps.
        device: a torch device.

    Raises:
        ConfigError: the folder does not hold a usable model; the message says why.
    """
    import torch

    if pooling is not None:
        check.one_of(POOLINGS, pooling=pooling)
    files = checked_files(folder)
    model, missing = _model(folder)
    kind = str(model.config.model_type)
    # A dual encoder such as CLIP: its image half alone.
    config = getattr(model.config, "vision_config", model.config)
    model = getattr(model, "vision_model", model)
    # transformers fills what a file lacks with random numbers: each load would differ.
    absent = [key for key in missing if "pooler." not in key]
    if absent:
        raise ConfigError(
            f"this {kind} model lacks weights, among them {absent[0]}; random ones are not used"
        )
    processor = _processor(folder)
    preprocess = of_processor(processor.to_dict())
    _same_as(processor, preprocess)
    model = model.float().eval().requires_grad_(False).to(device)
    own = _side(getattr(config, "image_size", None))
    size = own if own is not None else _taken(preprocess)
    if image_size is not None and image_size != size:
        if own is not None:
            raise ConfigError(
                f"image_size is {image_size}, but this {kind} model takes {own}. Leave it out."
            )
        resized = {"resize": (image_size, image_size), "crop": None}
        preprocess = Preprocess(**{**vars(preprocess), **resized})
        size = image_size
    if size is None:
        raise ConfigError(f"this {kind} model does not state its image_size; give one")
    try:
        with torch.no_grad():
            x = preprocess(torch.zeros(1, 3, size, size, device=device))
            out = model(pixel_values=x)
            last: Tensor = out.last_hidden_state
    except ConfigError:
        raise
    except Exception as error:  # whatever a model that takes no pictures may raise
        raise ConfigError(
            f"this {kind} model does not take pictures of {size}x{size} ({type(error).__name__}); "
            "give the folder of a vision model"
        ) from error
    has_pooler = getattr(out, "pooler_output", None) is not None and not missing
    chosen = pooling or ("pooled" if last.ndim == 4 and has_pooler else "patch_mean")
    if chosen == "pooled" and not has_pooler:
        raise ConfigError(f"this {kind} model has no pooler weights; use pooling = 'patch_mean'")
    maps = last.ndim == 4
    prefix = 0 if maps or chosen == "pooled" else _prefix_tokens(config, kind, last.shape[1], size)

    def network(x: "Tensor") -> "Tensor":
        check_evaluating(model)
        out = model(pixel_values=x)
        if chosen == "pooled":
            found: Tensor = out.pooler_output
            return found.flatten(1)
        last: Tensor = out.last_hidden_state
        return last.mean(dim=(2, 3)) if maps else last[:, prefix:].mean(dim=1)

    with torch.no_grad():
        dimension = int(network(x).shape[1])
    return VisionModel(kind, network, model, preprocess, size, dimension, chosen, files)


def check_evaluating(module: Any) -> None:
    """Raise `ConfigError` if a part is in training mode: batch normalisation would learn."""
    if any(part.training for part in module.modules()):
        raise ConfigError("the encoder is in training mode; call eval() on it")


def _model(folder: Path) -> tuple[Any, list[str]]:
    """The model, and the keys that its file lacks (they hold random numbers now)."""
    from transformers import AutoModel

    try:
        with _quiet():
            model, report = AutoModel.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # transformers lets the errors of a dozen libraries through
        raise ConfigError(
            f"folder {folder.name!r} does not load as a transformers model: {_why(error, folder)}"
        ) from error
    return model, sorted(report["missing_keys"])


def _processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    auto: Any = AutoImageProcessor  # has no annotations
    try:
        with _quiet():
            return auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise ConfigError(
            f"the image processor in {folder.name!r} does not load: {_why(error, folder)}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice of transformers."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # half of it has no annotations
    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _why(error: Exception, folder: Path) -> str:
    return (str(error).splitlines() or [""])[0].replace(str(folder), folder.name)


def _same_as(processor: Any, preprocess: Preprocess) -> None:
    """Compare with the processor itself: it may do more than its settings tell.

    Raises:
        ConfigError: they differ by more than the processor's rounding to 0 .. 255.
    """
    import torch

    rows, columns = preprocess.crop or (8, 8)
    shape = (2 * rows + 3, 2 * columns + 11, 3)
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = torch.as_tensor(np.asarray(processor(images=[picture])["pixel_values"][0]))
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255.0
    found = preprocess(pixels)[0]
    slack = 3.0 / 255.0 * preprocess.scale / min(preprocess.std)
    if found.shape != expected.shape or float((found - expected).abs().max()) > slack:
        raise ConfigError(
            f"the image processor {type(processor).__name__} does more than resizing, cropping and "
            "normalising, which is not reproduced here; use a model without it"
        )


def _side(stated: Any) -> int | None:
    """A configuration states one number, or height and width."""
    if stated is None or isinstance(stated, int):
        return stated
    height, width = stated
    if height != width:
        raise ConfigError(f"the model takes pictures of {height}x{width}; only squares are used")
    return int(height)


def _taken(preprocess: Preprocess) -> int | None:
    """Pixels a side after preprocessing, where the steps tell."""
    taken = preprocess.crop or preprocess.resize
    return taken if isinstance(taken, int) else _side(taken)


def _prefix_tokens(config: Any, kind: str, tokens: int, size: int) -> int:
    """Tokens before those of the patches: class, distillation, registers."""
    patch = _side(getattr(config, "patch_size", None))
    if patch:
        prefix = tokens - (size // patch) ** 2
        if 0 <= prefix <= _MOST_PREFIX_TOKENS:
            return prefix
    raise ConfigError(
        f"which of the {tokens} tokens of this {kind} model are patches is not known here; "
        "use pooling = 'pooled'"
    )
