"""Pictures from a folder ``root/domain/class/*.png``, the layout of PACS and DomainNet."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import ConfigError
from .images import ImageSet

ENDINGS = (".png", ".jpg", ".jpeg")


def load_folder(path: str | Path, *, size: int = 96) -> dict[str, ImageSet]:
    """One `ImageSet` per domain; a domain is a folder of class folders.

    Labels are the sorted class names of all domains together, so they mean the same in each; a
    domain may lack a class. Other files, and names that start with a dot, are passed over.

    Args:
        path: the root folder. It is not kept in the result.
        size: pictures become RGB of size x size pixels, bilinear, without keeping the proportions.

    Raises:
        ConfigError: no such folder, no domain, a domain without pictures, an unreadable picture.
    """
    check.count(size=size)
    root = Path(path)
    if not root.is_dir():
        raise ConfigError(
            f"no folder {str(path)!r}; expected a folder laid out as DOMAIN/CLASS/PICTURE.png"
        )
    domains = _folders(root)
    if not domains:
        raise ConfigError(f"folder {str(path)!r} has no folders in it; expected one per domain")
    found = {domain.name: _pictures(domain) for domain in domains}
    for name, pictures in found.items():
        if not pictures:
            raise ConfigError(
                f"domain {name!r} has no pictures; expected {name}/CLASS/*{', *'.join(ENDINGS)}"
            )
    classes = sorted({file.parent.name for files in found.values() for file in files})
    return {
        name: ImageSet(
            name=name,
            images=np.stack([_read(file, root, size) for file in files]),
            labels=np.array([classes.index(file.parent.name) for file in files], dtype=np.int64),
            classes=tuple(classes),
            provenance=f"folder of {len(files)} pictures, resized to {size}x{size}",
        )
        for name, files in found.items()
    }


def _folders(parent: Path) -> list[Path]:
    inside = (entry for entry in parent.iterdir() if not entry.name.startswith("."))
    return sorted((entry for entry in inside if entry.is_dir()), key=lambda entry: entry.name)


def _pictures(domain: Path) -> list[Path]:
    """Sorted by class, then by file name: the order does not depend on the file system."""
    return [
        file
        for folder in _folders(domain)
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".") and file.is_file()
    ]


def _read(file: Path, root: Path, size: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    shown = file.relative_to(root).as_posix()
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith(("I", "F")):  # conversion would clip, not scale
                raise ConfigError(
                    f"picture {shown} has more than 8 bits per channel; save it with 8 bits"
                )
            if "transparency" in image.info:
                image = image.convert("RGBA")
            image = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, ConfigError):
            raise
        # Pillow's own text may hold the full path.
        raise ConfigError(
            f"picture {shown} cannot be read ({type(error).__name__}); replace or remove it"
        ) from None
    return np.asarray(image)
