"""A CLIP model from a folder: text, pictures and places in one space."""

import numpy as np
import pytest
import torch

from privassay.accountant.errors import ConfigError
from privassay.fl_core.data.features import client_data, feature_pool
from privassay.fl_core.data.pool import Pool
from privassay.fl_core.models.dual_encoder import DualEncoder, load_clip

from .conftest import BEGIN, DIM, END, WIDTH, tiny_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model with a tokenizer of words and an image processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast
    from transformers.models.clip import CLIPImageProcessorPil
    from transformers.utils import logging

    logging.disable_progress_bar()
    path = tmp_path_factory.mktemp("clip")
    tiny_clip().save_pretrained(path)
    words = {"<s>": BEGIN, "</s>": END, ".": 3, "a": 4, "photo": 5, "cat": 6, "red": 7, "bag": 8}
    tokenizer = Tokenizer(models.WordLevel(words | {"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BEGIN), ("</s>", END)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(path)
    square = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=square).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def dual(folder):
    return load_clip(str(folder))


def test_words_and_pictures_are_the_models_own(dual, folder):
    model = tiny_clip()
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    found = torch.from_numpy(dual.images.features(pictures))
    pixels = dual.images.preprocess(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255.0)
    wanted = model.get_image_features(pixel_values=pixels).pooler_output
    assert torch.allclose(found, wanted, atol=1e-5)
    text = dual.text.classes(("cat", "red bag"), length=2)
    features = text.features(dual.text.words("a photo")[None])[0]
    for number, ids in enumerate(([BEGIN, 4, 5, 6, 3, END], [BEGIN, 4, 5, 7, 8, 3, END])):
        own = model.get_text_features(input_ids=torch.tensor([ids])).pooler_output[0]
        assert torch.allclose(features[number], own / own.norm(), atol=1e-5), number
    assert dual.scale == pytest.approx(float(model.logit_scale.exp()))
    assert (dual.text.width, dual.text.dimension, dual.label) == (WIDTH, DIM, "")


def test_places_are_projected_patches(dual):
    places = dual.place_features()
    assert (dual.places, places.dimension) == (4, 4 * DIM)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    found = torch.from_numpy(places.features(pictures)).unflatten(1, (4, DIM))
    model = tiny_clip().vision_model
    whole = tiny_clip()
    pixels = places.preprocess(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255.0)
    hidden = model(pixel_values=pixels).last_hidden_state
    for place in range(4):
        wanted = whole.visual_projection(model.post_layernorm(hidden[:, 1 + place]))
        assert torch.allclose(found[:, place], wanted, atol=1e-5)
    both = torch.from_numpy(dual.whole_and_places().features(pictures))
    whole = torch.from_numpy(dual.images.features(pictures))
    assert torch.equal(both[:, DIM:].unflatten(1, (4, DIM)), found)
    assert torch.allclose(both[:, :DIM], whole, atol=1e-6)


def test_pictures_become_client_data(dual, tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path))
    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    pool = Pool(
        name="p", x=pictures, y=np.array([0, 1, 0, 1]), classes=("cat", "red bag"),
        domain=np.zeros(4, dtype=np.int64), domains=("d",), provenance="made up",
    )  # fmt: skip
    pooled, placed = feature_pool(pool, dual.images), feature_pool(pool, dual.place_features())
    assert pooled.x.shape == (4, DIM) and placed.x.shape == (4, 4 * DIM)
    again = feature_pool(pool, dual.images)
    assert np.array_equal(pooled.x, again.x), "the cache must not mix the two"
    assert client_data(pooled, [np.array([0, 1]), np.array([2, 3])]).x.shape == (4, DIM)


def test_refusals(dual, folder, tmp_path):
    with pytest.raises(ConfigError, match="owner/model"):
        load_clip("nothing here")
    with pytest.raises(ConfigError, match="has no tokens"):
        dual.text.words("")
    without = DualEncoder(label="x", images=dual.images, text=dual.text, scale=1.0)
    with pytest.raises(ConfigError, match="gives no features of single places"):
        without.place_features()
    with pytest.raises(ConfigError, match="one space"):
        DualEncoder(label="x", images=dual.place_features(), text=dual.text, scale=1.0)
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    for file in bare.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ConfigError, match="does not know words"):
        load_clip(str(bare))
