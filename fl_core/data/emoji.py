"""Emoji in two drawing styles: the same things, drawn by different people. A real domain shift."""

import json

import numpy as np
from numpy.typing import NDArray

from . import assets
from .images import ImageSet

STYLES = ("noto", "twemoji")
CLASSES = ("Activities", "Animals & Nature", "Food & Drink", "Objects", "Travel & Places")
"""Groups of the Unicode list that can be told apart by sight."""

_SIDE, _CELL = 64, 66  # pixels of a picture, and of its cell with one pixel of border
_WHITE = 255


def load_emoji() -> tuple[ImageSet, ImageSet]:
    """Noto's and Twemoji's pictures of the same emoji in the same order, on white.

    Raises:
        AssetError: emoji-noto or emoji-twemoji is missing or has a wrong hash.
    """
    first, second = (_load(style) for style in STYLES)
    return first, second


def _load(style: str) -> ImageSet:
    from PIL import Image

    asset = f"emoji-{style}"
    entries = json.loads(assets.path(asset, "emoji.json").read_text(encoding="utf-8"))
    chosen = [entry for entry in entries if entry["category"] in CLASSES]
    with Image.open(assets.path(asset)) as opened:
        sheet = np.asarray(opened.convert("RGBA"))

    def picture(entry: dict[str, int]) -> NDArray[np.uint8]:
        top, left = (entry[key] * _CELL + 1 for key in ("sheet_y", "sheet_x"))
        return sheet[top : top + _SIDE, left : left + _SIDE]

    cut = np.stack([picture(entry) for entry in chosen]).astype(np.uint16)
    colour, opaque = cut[..., :3], cut[..., 3:]
    flat = (colour * opaque + _WHITE * (_WHITE - opaque) + _WHITE // 2) // _WHITE
    return ImageSet(
        name=style,
        images=flat.astype(np.uint8),
        labels=np.array([CLASSES.index(entry["category"]) for entry in chosen], dtype=np.int64),
        classes=CLASSES,
        provenance=f"{len(chosen)} emoji of asset {asset}, 64x64 on white",
    )
