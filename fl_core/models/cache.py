"""Features on disk, keyed by content: the same pictures are encoded once.

The folder is ``$PRIVASSAY_CACHE``, else ``$XDG_CACHE_HOME/privassay``, else
``~/.cache/privassay``; files lie in ``features/`` below it, readable by their owner only, since
features of private pictures are private. A file is named after the hash of what went in and the
hash of what it holds: one that does not fit its name is computed again.
"""

import hashlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .backbone import Backbone

CODE_VERSION = "features-2"
"""Change it whenever `Backbone` would give other numbers for the same weights."""

PIECE = 4096
"""Pictures in one file; a multiple of the batch, so that pieces do not change the numbers."""

_HEX = 32  # 128 bits of each hash: short enough for any file system
_STALE = 86_400  # seconds after which an unfinished file is that of a killed process


def cache_folder() -> Path:
    """The folder of all caches but the assets; it need not exist."""
    chosen = os.environ.get("PRIVASSAY_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "privassay"


def cached_features(
    backbone: Backbone, images: NDArray[np.uint8], say: Callable[[str], None] | None = None
) -> NDArray[np.float32]:
    """`backbone.features(images)`, from disk if the very same was asked before.

    A cache that cannot be read or written changes the time taken, never the result. Many pictures
    are kept in pieces, so that work that was killed goes on where it stopped.

    Args:
        backbone: a frozen encoder.
        images: uint8[n, h, w, 3].
        say: gets one line of progress at a time.

    Returns:
        float32[n, dimension].
    """
    say = say if say is not None else _silent
    encoder = _encoder_key(backbone)
    if len(images) <= PIECE:
        return _piece(backbone, encoder, images, say)
    starts = range(0, len(images), PIECE)
    found = [_piece(backbone, encoder, images[first : first + PIECE], say) for first in starts]
    return np.concatenate(found)


def _piece(
    backbone: Backbone, encoder: str, images: NDArray[np.uint8], say: Callable[[str], None]
) -> NDArray[np.float32]:
    folder = cache_folder() / "features"
    key = _key(encoder, images)
    shape = (len(images), backbone.dimension)
    for file in sorted(folder.glob(f"{key}-*.npy")):
        found = _read(file, shape)
        if found is not None:
            say(f"{len(images)} features from the cache")
            return found
        say("a cached file is damaged; computing it again")
        _remove(file)
    say(f"encoding {len(images)} pictures with {backbone.name} at {backbone.image_size} px")
    computed = backbone.features(images)
    try:
        _write(folder, key, computed)
    except OSError as error:
        say(f"features could not be kept in the cache ({type(error).__name__})")
    return computed


def _encoder_key(backbone: Backbone) -> str:
    """All that the features depend on but the pictures, as JSON."""
    import torch

    # The weights as they are now, not as they were in a file. The last bits differ between
    # devices and versions.
    settings = [
        CODE_VERSION,
        backbone.name,
        backbone.code,
        backbone.sha256,
        backbone.fingerprint(),
        backbone.pooling,
        asdict(backbone.preprocess),
        torch.device(backbone.device).type,
        torch.get_float32_matmul_precision(),
        str(torch.__version__),
    ]
    return json.dumps(settings)


def _key(encoder: str, images: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(encoder.encode())
    digest.update(json.dumps([str(images.dtype), images.shape]).encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    return digest.hexdigest()[:_HEX]


def _read(file: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """The array, or None if the file does not hold what its name says."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest()[:_HEX] != file.stem.rpartition("-")[2]:
        return None
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except ValueError:
        return None
    return found if found.dtype == np.float32 and found.shape == shape else None


def _write(folder: Path, key: str, features: NDArray[np.float32]) -> None:
    stream = io.BytesIO()
    np.save(stream, features, allow_pickle=False)
    data = stream.getvalue()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(folder)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        content = hashlib.sha256(data).hexdigest()[:_HEX]
        os.replace(temporary, folder / f"{key}-{content}.npy")
    except BaseException:
        _remove(Path(temporary))
        raise


def _sweep(folder: Path) -> None:
    """Remove what processes left behind that were killed while they wrote."""
    for file in folder.glob(".new-*"):
        try:
            old = time.time() - file.stat().st_mtime > _STALE
        except OSError:  # another process has just finished it
            continue
        if old:
            _remove(file)


def _remove(file: Path) -> None:
    try:
        file.unlink()
    except OSError:
        pass


def _silent(line: str) -> None:
    pass
