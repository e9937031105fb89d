"""Sections that the prompt systems' files have in common; no torch here."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ..config import Count, Section
from .base import Metric

SUBSTITUTE = "substitute"
TEXT_LAYERS = 6  # of MiniLM

_OF_DATA: dict[str, tuple[str, ...]] = {
    "fashion_mnist": ("fashion-mnist",),
    "emoji": ("emoji-noto", "emoji-twemoji"),
    "digit_domains": ("mnist-5k",),
    "optdigits": (),  # comes with scikit-learn
}
_OF_SUBSTITUTE = ("efficientnet-lite0", "efficientnet-lite-code", "minilm", "imagenet-names")

METRICS = (
    Metric(name="local", words="accuracy on test records of a client's own kind"),
    Metric(name="neighbour", words="accuracy on those of all other clients"),
)


class ModelSection(Section):
    """[model]: the frozen dual encoder and the prompts in front of its text half.

    `encoder` is "substitute" (EfficientNet-Lite0 and MiniLM, where no CLIP can be had), or the
    folder of a local CLIP model, or its name on the hub. `text_layers` keeps the first layers of
    MiniLM alone, which are faster and know less.
    """

    encoder: Annotated[str, Field(min_length=1)] = SUBSTITUTE
    image_size: Annotated[int, Field(ge=8, le=512)] = 160
    text_layers: Annotated[int, Field(ge=1, le=TEXT_LAYERS)] = TEXT_LAYERS
    context_length: Annotated[int, Field(ge=1, le=64)] = 4
    template: Annotated[str, Field(min_length=1)] = "a photo of a"

    def label(self) -> str:
        """What results must carry; empty for a real CLIP."""
        if self.encoder != SUBSTITUTE:
            return ""
        if self.text_layers == TEXT_LAYERS:
            return "DeViSE substitute"
        return f"DeViSE substitute with {self.text_layers} of {TEXT_LAYERS} text layers"


class DataSection(Section):
    """[data]: public pictures, dealt out anew by each seed; which client has which is fixed."""

    source: Literal["fashion_mnist", "emoji", "digit_domains", "optdigits"]
    clients: Annotated[int, Field(ge=1, le=10_000)]
    train_per_class: Count
    test_per_class: Count
    class_names: list[str] = []
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("class_names")
    @classmethod
    def _differ(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("must differ")
        return names


class TrainingSection(Section):
    """[training]: what each client does; every step moves by `learning_rate` times a gradient."""

    epochs: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0, le=1e6)]
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 5e-4


def assets(data: DataSection, model: ModelSection) -> tuple[str, ...]:
    """What `privassay assets fetch` must have brought."""
    return _OF_DATA[data.source] + (_OF_SUBSTITUTE if model.encoder == SUBSTITUTE else ())
