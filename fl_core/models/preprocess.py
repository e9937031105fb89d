"""`Preprocess`: what a vision model does to a picture before its first layer, differentiably."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...accountant.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

Triple = tuple[float, float, float]
Interpolation = Literal["nearest-exact", "bilinear", "bicubic"]

# Pillow's numbers of the filters.
_FILTERS: dict[int, Interpolation] = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
_CONVNEXT_CROPS_BELOW = 384


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Resize, crop, scale and normalise.

    Attributes:
        resize: (height, width); a number is the shorter edge, proportions kept; None keeps.
        crop: (height, width) of the centre that is kept after the resizing, or None.
        interpolation: filter of the resizing; antialiased, so that shrinking a photograph does
            not drop pixels.
        scale: pixels in [0, 1] are multiplied by it; 1 is the usual.
        mean: subtracted from each channel after that.
        std: each channel is divided by it.

    >>> import torch
    >>> half = Preprocess(resize=4, crop=(4, 4), mean=(0.5,) * 3, std=(0.5,) * 3)
    >>> half(torch.ones(1, 3, 8, 16)).shape, float(half(torch.ones(1, 3, 8, 16)).max())
    (torch.Size([1, 3, 4, 4]), 1.0)
    """

    resize: tuple[int, int] | int | None
    crop: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    scale: float = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)

    def __call__(self, pixels: "Tensor") -> "Tensor":
        """float[n, 3, h', w'] of `pixels`, float[n, 3, h, w] in [0, 1].

        Raises:
            ConfigError: the picture is smaller than the crop.
        """
        mean, std = pixels.new_tensor(self.mean), pixels.new_tensor(self.std)
        sized = self._cropped(self._resized(pixels)) * self.scale
        return (sized - mean[:, None, None]) / std[:, None, None]

    def _resized(self, pixels: "Tensor") -> "Tensor":
        from torch.nn.functional import interpolate

        if self.resize is None:
            return pixels
        height, width = pixels.shape[-2:]
        if isinstance(self.resize, int):
            short, long = min(height, width), max(height, width)
            longer = int(self.resize * long / short)
            size = [self.resize, longer] if height <= width else [longer, self.resize]
        else:
            size = list(self.resize)
        if size == [height, width]:
            return pixels
        if self.interpolation == "nearest-exact":
            return interpolate(pixels, size=size, mode=self.interpolation)
        smooth: dict[str, Any] = {
            "mode": self.interpolation,
            "align_corners": False,
            "antialias": True,
        }
        if self.interpolation == "bilinear":
            return interpolate(pixels, size=size, **smooth)
        # A cubic overshoots, but Pillow stores each pass as a picture: first along the rows.
        rows = interpolate(pixels, size=[height, size[1]], **smooth).clamp(0.0, 1.0)
        return interpolate(rows, size=size, **smooth).clamp(0.0, 1.0)

    def _cropped(self, pixels: "Tensor") -> "Tensor":
        if self.crop is None:
            return pixels
        (height, width), (rows, columns) = pixels.shape[-2:], self.crop
        if height < rows or width < columns:
            raise ConfigError(
                f"pictures of {height}x{width} are smaller than the crop of {rows}x{columns} that "
                "this model takes; give larger ones"
            )
        top, left = (height - rows) // 2, (width - columns) // 2
        return pixels[..., top : top + rows, left : left + columns]


def of_processor(settings: dict[str, Any]) -> Preprocess:
    """The steps of a transformers image processor, from its `to_dict()`.

    Equal to the processor up to its rounding of resized pixels to whole numbers of 0 .. 255.

    Raises:
        ConfigError: it does something that is not reproduced here; the message says what.
    """
    unknown = [
        key
        for key, value in settings.items()
        if key.startswith("do_") and key not in _KNOWN_STEPS and value
    ]
    if unknown:
        raise ConfigError(
            f"the model's image processor also does {', '.join(unknown)}, which is not reproduced "
            "here; use a model without it"
        )
    kind = settings.get("image_processor_type")
    crop_pct = settings.get("crop_pct") if kind == "ConvNextImageProcessor" else None
    resize = _size(settings["size"], "size") if settings.get("do_resize") else None
    crop = None
    if crop_pct is not None and isinstance(resize, int):  # ConvNeXt's own rule
        side = resize
        small = side < _CONVNEXT_CROPS_BELOW
        resize, crop = (int(side / crop_pct), (side, side)) if small else ((side, side), None)
    elif settings.get("do_center_crop"):
        stated = _size(settings["crop_size"], "crop_size")
        crop = (stated, stated) if isinstance(stated, int) else stated
    rescale = settings.get("rescale_factor") if settings.get("do_rescale") else 1.0
    if not isinstance(rescale, int | float):
        raise ConfigError(f"rescale_factor of the image processor must be a number, not {rescale}")
    normalised = bool(settings.get("do_normalize"))
    return Preprocess(
        resize=resize,
        crop=crop,
        interpolation=_filter(settings.get("resample")) if resize is not None else "bilinear",
        scale=255.0 * rescale,
        mean=_triple(settings, "image_mean") if normalised else (0.0, 0.0, 0.0),
        std=_triple(settings, "image_std") if normalised else (1.0, 1.0, 1.0),
    )


_KNOWN_STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")


def _filter(number: Any) -> Interpolation:
    if number not in _FILTERS:
        raise ConfigError(
            f"resample = {number} of the image processor is not reproduced here; "
            "0 (nearest), 2 (bilinear) and 3 (bicubic) are"
        )
    return _FILTERS[number]


def _size(stated: Any, key: str) -> tuple[int, int] | int:
    if isinstance(stated, int):
        return (stated, stated)
    found = dict(stated or {})
    if set(found) == {"height", "width"}:
        return int(found["height"]), int(found["width"])
    if set(found) == {"shortest_edge"}:
        return int(found["shortest_edge"])
    raise ConfigError(
        f"{key} of the image processor must give height and width, or shortest_edge, but is {found}"
    )


def _triple(settings: dict[str, Any], key: str) -> Triple:
    stated = settings.get(key)
    if not isinstance(stated, list | tuple) or len(stated) != 3:
        raise ConfigError(f"{key} of the image processor must be three numbers, but is {stated}")
    if key == "image_std" and not all(value > 0 for value in stated):
        raise ConfigError(f"{key} of the image processor must be > 0, but is {stated}")
    return (float(stated[0]), float(stated[1]), float(stated[2]))
