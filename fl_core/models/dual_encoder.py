"""Dual encoders: frozen images and class prompts in one space; logits are scaled cosines.

- `load_clip`: a CLIP model of transformers, from a local folder or the hub;
- `devise.substitute`: a stand-in from packaged models, where no CLIP can be had.

Images are encoded once and cached (`feature_pool(pool, dual.images)`); text is encoded in every
step, since its prompts are learned. Only safetensors are read, and no code of a checkpoint is run.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...accountant.errors import ConfigError
from . import hugging_face, model_folder
from .backbone import Backbone, load_backbone
from .text_tower import TextTower


@dataclass(frozen=True, kw_only=True, eq=False)
class DualEncoder:
    """An image encoder and a text encoder with a common space.

    Attributes:
        label: what a report must say about results made with it; empty for a real CLIP.
        images: pictures to float[n, dim], not of length 1.
        text: the text encoder, to float[n, dim].
        scale: of the cosines; public and fixed.
        both: pictures to float[n, (1 + places) * dim]: what `images` gives, then features of
            places, for methods that match places with prompts; None where the model gives none.
        places: of a picture.
    """

    label: str
    images: Backbone
    text: TextTower
    scale: float
    both: Backbone | None = None
    places: int = 0

    def __post_init__(self) -> None:
        if self.images.dimension != self.text.dimension:
            raise ConfigError(
                f"images have {self.images.dimension} dimensions, but texts have "
                f"{self.text.dimension}; both must lie in one space"
            )

    def whole_and_places(self) -> Backbone:
        """`both`, in one pass.

        Raises:
            ConfigError: the model gives no features of places.
        """
        if self.both is None:
            raise ConfigError(
                "this dual encoder gives no features of single places, which optimal transport "
                "matches with prompts.\n  Use a CLIP model with a vision transformer."
            )
        return self.both

    def place_features(self) -> Backbone:
        """Pictures to float[n, places * dim]; errors as those of `whole_and_places`."""
        both, whole = self.whole_and_places(), self.images.dimension
        return replace(
            both,
            dimension=both.dimension - whole,
            pooling=f"{both.pooling}; places alone",
            network=lambda x: both.network(x)[:, whole:],
        )


def load_clip(name: str, *, device: str = "cpu") -> DualEncoder:
    """A CLIP model with a vision transformer, frozen and in float32.

    Args:
        name: the folder of a local model with its tokenizer and image processor; or its name on
            the hub, ``owner/model`` or ``owner/model@revision``.
        device: a torch device.

    Raises:
        ConfigError: the folder does not hold a usable CLIP model.
        AssetError: a model of the hub cannot be fetched.
    """
    local = Path(name).is_dir()
    if not local and not model_folder.is_hub_name(name):
        raise ConfigError(
            f"a dual encoder is the folder of a local CLIP model, or its name on the hub as "
            f"owner/model, but is {name!r}"
        )
    folder = Path(name) if local else model_folder.download(name)
    images = load_backbone(str(folder), pooling="pooled", device=device)  # checks files and steps
    model = _clip_model(folder).to(device)
    source, _, revision = name.partition("@")
    vocabulary = len(model.text_model.embeddings.token_embedding.weight)
    tokens = _tokenizer(str(folder) if local else source, revision or None, vocabulary)
    images = replace(
        images,
        origin="a local folder" if local else f"{source} at commit {folder.name}",
        dimension=int(model.config.projection_dim),
        pooling="pooled, projected",
        network=lambda x: _projected(model, _vision(model, x).pooler_output),
        state=lambda: dict(model.named_parameters()) | dict(model.named_buffers()),
    )
    both, places = _places(model, images)
    return DualEncoder(
        label="",
        images=images,
        text=clip_text(model, tokens),
        scale=float(model.logit_scale.exp()),
        both=both,
        places=places,
    )


def clip_text(model: nn.Module, tokens: Callable[[str], list[int]]) -> TextTower:
    """The text half of a `transformers.CLIPModel`, frozen and in evaluation mode.

    Args:
        model: the whole model.
        tokens: text -> token numbers, with those that begin and end.
    """
    half: Any = model.text_model
    project: Any = model.text_projection

    def encode(embeds: Tensor, real: Tensor) -> Tensor:
        hidden = half.embeddings(inputs_embeds=embeds)
        length = hidden.shape[1]
        # Each token sees those before it. Padding comes last, so nothing sees it.
        later = torch.ones(length, length, dtype=torch.bool, device=hidden.device).triu(1)
        mask = hidden.new_zeros(length, length).masked_fill(later, float("-inf"))
        encoded = half.encoder(
            inputs_embeds=hidden, attention_mask=mask.expand(len(hidden), 1, -1, -1)
        )
        last = half.final_layer_norm(encoded.last_hidden_state)
        end = real.sum(dim=1) - 1
        found: Tensor = project(last[torch.arange(len(last), device=last.device), end])
        return found

    weight: Tensor = half.embeddings.token_embedding.weight
    return TextTower(
        module=half,
        embedding=weight.detach(),
        encode=encode,
        tokens=tokens,
        dimension=project.out_features,
    )


def _clip_model(folder: Path) -> Any:
    from transformers import CLIPModel

    clip: Any = CLIPModel
    try:
        model, report = clip.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # transformers lets the errors of a dozen libraries through
        raise ConfigError(
            f"folder {folder.name!r} does not load as a CLIP model ({type(error).__name__})"
        ) from error
    if report["missing_keys"]:
        raise ConfigError(
            f"this CLIP model lacks weights, among them {sorted(report['missing_keys'])[0]}; "
            "random ones are not used"
        )
    return model.float().eval().requires_grad_(False)


def _tokenizer(source: str, revision: str | None, vocabulary: int) -> Callable[[str], list[int]]:
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    more = {} if revision is None else {"revision": revision}
    try:
        tokenizer = auto.from_pretrained(source, trust_remote_code=False, **more)
    except Exception as error:  # as above
        raise ConfigError(
            f"the model's tokenizer does not load ({type(error).__name__}). Save it beside the "
            "model with save_pretrained(folder)."
        ) from error

    def tokens(text: str) -> list[int]:
        return [int(token) for token in tokenizer(text)["input_ids"]]

    # transformers makes an empty tokenizer up where the files are missing.
    if len(tokenizer) > vocabulary or tokens("cat") == tokens("dog"):
        raise ConfigError(
            f"the model's tokenizer has {len(tokenizer)} tokens for {vocabulary} embeddings, or "
            "does not know words: it is missing or another model's. Save the right one beside the "
            "model with save_pretrained(folder)."
        )
    return tokens


def _vision(model: Any, x: Tensor) -> Any:
    hugging_face.check_evaluating(model)
    return model.vision_model(pixel_values=x)


def _projected(model: Any, hidden: Tensor) -> Tensor:
    found: Tensor = model.visual_projection(hidden)
    return found


def _places(model: Any, images: Backbone) -> tuple[Backbone, int]:
    """Features of the class token and of the patches, normalised and projected alike."""
    side = int(model.config.vision_config.image_size) // int(model.config.vision_config.patch_size)

    def network(x: Tensor) -> Tensor:
        seen = _vision(model, x)
        hidden = model.vision_model.post_layernorm(seen.last_hidden_state[:, 1:])
        whole, places = _projected(model, seen.pooler_output), _projected(model, hidden)
        return torch.cat([whole, places.flatten(1)], dim=1)

    count = side * side
    return (
        replace(
            images,
            dimension=(1 + count) * images.dimension,
            pooling="pooled, projected; then each patch, projected",
            network=network,
        ),
        count,
    )
