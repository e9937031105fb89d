"""Where a language model's files are: an asset, a folder, a GGUF file, or the hub; what is refused.

Only safetensors, GGUF and JSON are read. No pickle, no code of a checkpoint, no adapter.
"""

from pathlib import Path
from typing import NamedTuple

from ...accountant.errors import AssetError, ConfigError
from ..data import assets
from .model_folder import is_hub_name, json_object, model_files

ASSETS = {"minilm": "encoder", "smollm2-135m": "causal"}
"""Packaged models, and what they are."""

_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
_READ = ["config.json", *_TOKENIZER, "*.safetensors", "*.safetensors.index.json"]


class Files(NamedTuple):
    """What loading a model reads.

    Attributes:
        folder: that holds it.
        gguf: name of the GGUF file that holds everything, or None.
        files: all of them, for the hash.
        origin: in words, without a path.
    """

    folder: Path
    gguf: str | None
    files: tuple[Path, ...]
    origin: str


def locate(source: str | Path) -> Files:
    """The files of a model.

    Args:
        source: a name of `ASSETS`, a folder, a .gguf file, or ``owner/model[@revision]``.

    Raises:
        AssetError: an asset is missing or wrong, or the hub cannot be reached.
        ConfigError: there is no such model, or it holds what must not be loaded.
    """
    if isinstance(source, str) and source in ASSETS:
        entry = assets.asset(source)
        files = tuple(assets.path(source, member.name) for member in entry.members)
        origin = f"asset {source}: {entry.package} {entry.version}"
        gguf = files[0].name if files[0].suffix == ".gguf" else None
        return Files(files[0].parent, gguf, files, origin)
    path = Path(source)
    if path.suffix == ".gguf" and path.is_file():
        return Files(path.parent, path.name, (path,), f"GGUF file {path.name}")
    if path.is_dir():
        return Files(path, None, _checked(path), f"folder {path.name}")
    if isinstance(source, str) and is_hub_name(source):
        folder = _download(source)
        return Files(folder, None, _checked(folder), f"Hugging Face {source}")
    raise ConfigError(
        f"a language model must be one of {sorted(ASSETS)}, a folder, a .gguf file or owner/model "
        f"of the Hugging Face hub, but is {str(source)!r}"
    )


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=_READ))
    except Exception as error:  # the hub lets errors of its HTTP library through
        raise AssetError(
            f"model {name!r} is not in the Hugging Face cache and could not be fetched "
            f"({type(error).__name__}). Connect to the network once, or give a local folder."
        ) from error


def _checked(folder: Path) -> tuple[Path, ...]:
    found = model_files(folder, _TOKENIZER)
    for file in found:
        if file.name in _TOKENIZER and file.suffix == ".json" and "auto_map" in json_object(file):
            raise ConfigError(f"{file.name} of {folder.name!r} names code, which is never run")
    return tuple(found)
