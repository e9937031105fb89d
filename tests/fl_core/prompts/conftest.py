"""A tiny random CLIP in double precision, and clients with records in its space."""

import pytest
import torch

from privassay.fl_core.clients import ClientData
from privassay.fl_core.models.dual_encoder import clip_text

WIDTH, DIM, LENGTH, CLASSES = 16, 12, 4, 5
NAMES = ("cat", "dog", "red bag", "shoe", "tall ship")
BEGIN, END = 1, 62


def tiny_clip():
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=64, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=24, bos_token_id=BEGIN, eos_token_id=END,
        pad_token_id=0,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=16, patch_size=8,
    )  # fmt: skip
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=DIM
    )
    model = CLIPModel(config).eval().requires_grad_(False)
    with torch.no_grad():  # as far apart as the words of a trained model
        model.text_model.embeddings.token_embedding.weight.normal_()
    return model


def letters(text):
    """One token per letter."""
    return [BEGIN, *(3 + ord(letter) % 57 for letter in text), END]


@pytest.fixture(scope="session")
def clip():
    return tiny_clip().double()


@pytest.fixture(scope="session")
def text(clip):
    return clip_text(clip, letters).classes(NAMES, length=LENGTH)


@pytest.fixture(scope="session")
def centres(text):
    """A direction for each class, which the prompt "abcd" would classify best."""
    features = text.features(text.tower.words("abcd")[None])[0]
    return torch.nn.functional.normalize(features - features.mean(dim=0), dim=-1)


def some_clients(sizes, *, centres=None, spread=0.5, seed=0):
    """Records around a direction of their class."""
    generator = torch.Generator().manual_seed(seed)
    if centres is None:
        centres = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64)
    count = sum(sizes)
    y = torch.randint(0, CLASSES, (count,), generator=generator)
    noise = torch.randn(count, DIM, generator=generator, dtype=torch.float64)
    x = centres[y] + spread * noise
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    parts = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
    return ClientData.of(x, y, parts)
