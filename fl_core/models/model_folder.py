"""Folders that hold a Hugging Face model: fetching one, and keeping out what must not be loaded."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...accountant.errors import AssetError, ConfigError

_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+))?")
_WANTED = ["config.json", "preprocessor_config.json", "processor_config.json"]
_WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]


def is_hub_name(name: str) -> bool:
    """Whether `name` looks like ``owner/model`` or ``owner/model@revision``.

    >>> is_hub_name("google/vit-base-patch16-224@main"), is_hub_name("../vit"), is_hub_name("vit")
    (True, False, False)
    """
    return not name.startswith(".") and ".." not in name and _HUB.fullmatch(name) is not None


def download(name: str) -> Path:
    """Local folder of a model of the Hugging Face hub; its last part is the commit.

    Args:
        name: ``owner/model``, or ``owner/model@revision``; a full commit hash pins the bytes.

    Raises:
        AssetError: it is not in the hub's cache and cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    found = _HUB.fullmatch(name)
    if found is None:
        raise ConfigError(f"a hub name must be owner/model or owner/model@revision, but is {name}")
    try:
        folder = snapshot_download(
            found["repo"], revision=found["revision"], allow_patterns=[*_WANTED, *_WEIGHTS]
        )
    except Exception as error:  # the hub lets errors of its HTTP library through
        raise AssetError(
            f"model {name!r} is not in the Hugging Face cache and could not be fetched "
            f"({type(error).__name__}). Connect to the network once, or give a local folder with "
            "config.json, preprocessor_config.json and *.safetensors."
        ) from error
    return Path(folder)


def checked_files(folder: Path) -> list[Path]:
    """What loading the image encoder of a folder will read; errors as those of `model_files`."""
    found = model_files(folder, _WANTED[1:])
    if not any(file.name in _WANTED[1:] for file in found):
        raise ConfigError(
            f"folder {folder.name!r} must hold preprocessor_config.json, which states how pictures "
            "are scaled. Save the image processor there with save_pretrained(folder)"
        )
    return found


def model_files(folder: Path, others: Sequence[str]) -> list[Path]:
    """What loading the model of a folder will read: its configuration, `others`, its weights.

    Args:
        folder: that holds it.
        others: names of files beside the configuration; those that are there count.

    Raises:
        ConfigError: a part is missing, or transformers would read or run something else.
    """
    weights = sorted(folder.glob("*.safetensors"))
    config = folder / "config.json"
    if not config.is_file() or not weights:
        raise ConfigError(
            f"folder {folder.name!r} must hold config.json and *.safetensors, but does not. Save "
            "the model there with save_pretrained(folder, safe_serialization=True)"
        )
    # transformers would load the adapter's base model from wherever the adapter says.
    if (folder / "adapter_config.json").exists():
        raise ConfigError(
            f"folder {folder.name!r} holds an adapter; merge it into the model and save that"
        )
    settings = json_object(config)
    if "quantization_config" in settings:
        raise ConfigError(
            f"the model in {folder.name!r} is quantised; frozen models are used in float32 only"
        )
    if "auto_map" in settings:
        raise ConfigError(
            f"the model in {folder.name!r} comes with code of its own, which is never run; "
            "use a model that transformers itself implements"
        )
    indices = sorted(folder.glob("*.safetensors.index.json"))
    for index in indices:
        named = set(json_object(index).get("weight_map", {}).values())
        outside = named - {file.name for file in weights}
        if outside:
            raise ConfigError(
                f"{index.name} names {sorted(map(str, outside))[0]!r}, which is no safetensors "
                "file of its own folder"
            )
    there = [folder / name for name in others if (folder / name).is_file()]
    return [config, *there, *indices, *weights]


def json_object(file: Path) -> dict[str, Any]:
    """What a JSON file holds.

    Raises:
        ConfigError: it is not JSON, or not an object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file.name} is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{file.name} must hold an object, but holds a {type(found).__name__}")
    return found
