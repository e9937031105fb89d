"""Trained decoders on disk, as safetensors, keyed by everything that they depend on."""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from .noisy_decoder import NeuralDecoder, Training, train

CODE_VERSION = "decoder-1"
"""Change it whenever `train` would give other weights for the same arguments."""

_HEX = 32


def cached_decoder(
    folder: Path,
    features: Tensor,
    images: Tensor,
    training: Training,
    *,
    noise_stddevs: Tensor | None = None,
    labels: Tensor | None = None,
    records: int = 1,
) -> NeuralDecoder:
    """`noisy_decoder.train`, from disk if the very same was trained before.

    A file is named after the hash of what went in and the hash of what it holds: one that does
    not fit its name is removed and trained again. Public data only go in, so nothing private is
    kept.

    Args:
        folder: such as `fl_core.models.cache.cache_folder() / "decoders"`; made if it is missing.
        features: as in `train`, and so are the others.
        images: float[N, channels, height, width].
        training: part of the name.
        noise_stddevs: float64[dim] or None.
        labels: int64[N] or None.
        records: in a mean.

    Raises:
        ParameterError: as `train`, or a tensor is not on the CPU.
    """
    from safetensors.torch import load, save

    key = _key(features, images, training, noise_stddevs, labels, records)
    for file in sorted(folder.glob(f"{key}-*.safetensors")):
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest()[:_HEX] == file.stem.rpartition("-")[2]:
            return NeuralDecoder(load(data), tuple(images.shape[1:]), training.kind)
        file.unlink(missing_ok=True)
    decoder = train(
        features,
        images,
        training,
        noise_stddevs=noise_stddevs,
        labels=labels,
        records=records,
    )
    data = save({name: w.contiguous() for name, w in decoder.weights.items()})
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
    content = hashlib.sha256(data).hexdigest()[:_HEX]
    os.replace(temporary, folder / f"{key}-{content}.safetensors")  # all or nothing
    return decoder


def _key(
    features: Tensor,
    images: Tensor,
    training: Training,
    noise_stddevs: Tensor | None,
    labels: Tensor | None,
    records: int,
) -> str:
    settings: list[Any] = [CODE_VERSION, str(torch.__version__), asdict(training), records]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for part in (features, images, noise_stddevs, labels):
        if part is None:
            digest.update(b"none;")
            continue
        if part.is_cuda:
            raise ParameterError("decoders are trained and kept on the CPU; give .cpu() tensors")
        digest.update(f"{part.dtype} {tuple(part.shape)};".encode())
        digest.update(part.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:_HEX]
