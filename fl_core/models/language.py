"""Frozen language models with their tokenizers.

- ``minilm``: all-MiniLM-L6-v2, a BERT encoder of 22.7 million parameters (asset);
- ``smollm2-135m``: SmolLM2-135M-Instruct, a LlamaForCausalLM (asset). Its weights went through
  4-bit quantisation: real, but not the original ones;
- a folder, a GGUF file, or a name of the Hugging Face hub.

All clients share one frozen model; `language_kernels` puts their adapters on it.
"""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ...accountant import check
from ...accountant.errors import ConfigError
from .hugging_face import _quiet, _why
from .language_folder import ASSETS, Files, locate
from .language_tokens import Tokenizer, byte_tokenizer, own_tokenizer

Kind = Literal["encoder", "causal"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """A frozen model and its tokenizer.

    Attributes:
        kind: "encoder" (hidden states) or "causal" (next tokens).
        family: transformers' model type.
        module: frozen, in evaluation mode, float32.
        tokenizer: texts to tokens.
        dimension: of a hidden state.
        origin: where the weights are from, in words; never a path.
        sha256: of the files that were read, hex.
    """

    kind: Kind
    family: str
    module: nn.Module
    tokenizer: Tokenizer
    dimension: int
    origin: str
    sha256: str


def load_language_model(
    source: str | Path,
    *,
    kind: Kind | None = None,
    tokenizer: Literal["own", "bytes"] = "own",
    device: str = "cpu",
) -> LanguageModel:
    """A frozen language model.

    Args:
        source: see `language_folder.locate`.
        kind: needed unless `source` is an asset.
        tokenizer: the model's own, or bytes.
        device: a torch device.

    Raises:
        AssetError: an asset is missing, or the hub cannot be reached.
        ConfigError: the model cannot be used; the message says why.
    """
    check.one_of(("own", "bytes"), tokenizer=tokenizer)
    known: Any = ASSETS.get(str(source))
    chosen = known if kind is None else kind
    if chosen is None or (known is not None and chosen != known):
        raise ConfigError(
            f"kind of {Path(source).name!r} must be {known or 'encoder or causal'}, but is {kind!r}"
        )
    check.one_of(("encoder", "causal"), kind=chosen)
    files = locate(source)
    module = _module(files, chosen)
    split = byte_tokenizer() if tokenizer == "bytes" else own_tokenizer(_tokenizer(files))
    vocabulary = int(module.config.vocab_size)
    if split.size > vocabulary:
        raise ConfigError(
            f"the tokenizer gives numbers up to {split.size - 1}, but the model knows {vocabulary} "
            "tokens. Use the tokenizer that it was trained with."
        )
    return LanguageModel(
        kind=chosen,
        family=str(module.config.model_type),
        module=module.eval().requires_grad_(False).to(device),
        tokenizer=split,
        dimension=int(module.config.hidden_size),
        origin=files.origin,
        sha256=_sha256(files),
    )


def _module(files: Files, kind: Kind) -> Any:
    from transformers import AutoModel, AutoModelForCausalLM

    auto: Any = AutoModel if kind == "encoder" else AutoModelForCausalLM
    how: dict[str, Any] = {"use_safetensors": True} if files.gguf is None else {}
    if files.gguf is not None:
        _require_gguf()
        how["gguf_file"] = files.gguf
    try:
        with _quiet():
            module, report = auto.from_pretrained(
                str(files.folder),
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **how,
            )
    except Exception as error:  # transformers lets the errors of a dozen libraries through
        raise ConfigError(
            f"{files.origin} does not load as a transformers {kind}: {_why(error, files.folder)}"
        ) from error
    # transformers fills what a file lacks with random numbers: each load would differ.
    absent = sorted(key for key in report["missing_keys"] if "pooler." not in key)
    if absent:
        raise ConfigError(
            f"{files.origin} lacks weights, among them {absent[0]}; random ones are not used"
        )
    other = {str(value.dtype) for value in module.parameters()} - {"torch.float32"}
    if other:
        raise ConfigError(f"{files.origin} must load in float32, but has weights of {other}")
    return module


def _tokenizer(files: Files) -> Any:
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer  # has no annotations
    how = {} if files.gguf is None else {"gguf_file": files.gguf}
    try:
        with _quiet():
            return auto.from_pretrained(
                str(files.folder), local_files_only=True, trust_remote_code=False, **how
            )
    except Exception as error:  # as above
        raise ConfigError(
            f"the tokenizer of {files.origin} does not load: {_why(error, files.folder)}. A model "
            "that was trained on bytes takes tokenizer='bytes'."
        ) from error


def _require_gguf() -> None:
    missing = [name for name in ("gguf", "accelerate") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"GGUF files need packages that are not installed: pip install {' '.join(missing)}"
        )


def _sha256(files: Files) -> str:
    digest = hashlib.sha256()
    for file in files.files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
