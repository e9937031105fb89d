import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from privassay.accountant.errors import ConfigError
from privassay.fl_core.models import hugging_face
from privassay.fl_core.models.backbone import load_backbone

KINDS = ("vit", "deit", "resnet", "convnext", "clip", "clip_vision_model")
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 40, 52, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_transformers_itself(folders, processors, kind):
    from transformers import AutoModel

    processor = processors[kind]
    model = AutoModel.from_pretrained(folders / kind).eval()
    model = getattr(model, "vision_model", model)
    x = torch.tensor(np.array(processor(images=list(PICTURES))["pixel_values"]))
    with torch.no_grad():
        out = model(pixel_values=x)
    maps = out.last_hidden_state.ndim == 4
    first = {"deit": 2}.get(kind, 1)  # class and distillation tokens
    mean = (
        out.last_hidden_state.mean(dim=(2, 3)) if maps else out.last_hidden_state[:, first:].mean(1)
    )
    pooled = out.pooler_output.flatten(1)
    backbone = load_backbone(str(folders / kind))
    assert backbone.name == f"huggingface:{kind}"
    assert backbone.code.startswith("transformers ") and backbone.origin == "a local folder"
    assert backbone.pooling == ("pooled" if maps else "patch_mean")
    for pooling, expected in (("patch_mean", mean), ("pooled", pooled)):
        found = load_backbone(str(folders / kind), pooling=pooling)
        # Differences: the processor rounds resized pixels to whole numbers.
        scale = float(expected.abs().max())
        assert np.allclose(found.features(PICTURES), expected.numpy(), atol=0.05 * scale), kind
        # Exactly, where nothing is resized.
        side = found.image_size
        exact = torch.rand(2, 3, side, side)
        raw = found.network(exact)
        with torch.no_grad():
            out = model(pixel_values=exact)
        last = out.last_hidden_state
        again = last.mean(dim=(2, 3)) if maps else last[:, first:].mean(1)
        again = out.pooler_output.flatten(1) if pooling == "pooled" else again
        assert torch.allclose(raw, again, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_preprocessing_is_that_of_the_models_own_processor(folders, processors, kind):
    processor = processors[kind]
    steps = load_backbone(str(folders / kind)).preprocess
    for shape in ((40, 52), (64, 33), (200, 180), (16, 16)):
        picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
        expected = torch.tensor(np.array(processor(images=[picture])["pixel_values"][0]))
        found = steps(torch.tensor(picture).permute(2, 0, 1)[None].float() / 255)[0]
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) < 2.2 / 255 / min(steps.std)


def test_everything_is_float32_frozen_and_in_evaluation_mode(folders, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(folders / "resnet", half)
    weights = load_file(half / "model.safetensors")
    low = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    save_file(low, half / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps(config | {"dtype": "float16"}))
    backbone = load_backbone(str(half))
    state = backbone.state()
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {torch.float32}
    assert not any(value.requires_grad for value in state.values())
    assert any("running_mean" in name for name in state)  # buffers are watched too
    before = backbone.fingerprint()
    # A picture's features do not depend on its neighbours, nor change the encoder.
    together, alone = backbone.features(PICTURES), backbone.features(PICTURES[:1])
    assert np.allclose(together[:1], alone, atol=1e-5)
    assert backbone.fingerprint() == before


def test_training_mode_and_changed_buffers_are_caught(folders):
    loaded = hugging_face.load(folders / "resnet", image_size=None, pooling=None, device="cpu")
    backbone = load_backbone(str(folders / "resnet"))
    x = torch.zeros(2, 3, 32, 32)
    loaded.network(x)
    part = next(m for m in loaded.module.modules() if isinstance(m, torch.nn.BatchNorm2d))
    part.train()  # one layer alone
    with pytest.raises(ConfigError, match="training mode"):
        loaded.network(x)
    before = backbone.fingerprint()
    name, buffer = next((n, b) for n, b in backbone.state().items() if "running_var" in n)
    buffer[0] += 1e-3
    assert backbone.fingerprint() != before, name


def test_an_encoder_that_learns_while_it_encodes_is_refused():
    from dataclasses import replace

    pixels = load_backbone("pixels", image_size=4)
    seen = torch.zeros(1)

    def learns(x):
        seen.add_(x.mean())
        return pixels.network(x)

    learning = replace(pixels, network=learns, state=lambda: {"seen": seen})
    with pytest.raises(ConfigError, match="changed while it encoded"):
        learning.features(PICTURES)
    broken = replace(pixels, network=lambda x: pixels.network(x) / 0.0)
    with pytest.raises(ConfigError, match="not finite"):
        broken.features(PICTURES)


def test_only_models_of_positions_take_another_size(folders):
    assert load_backbone(str(folders / "resnet"), image_size=64).image_size == 64
    larger = load_backbone(str(folders / "resnet"), image_size=64)
    assert not np.allclose(
        larger.features(PICTURES), load_backbone(str(folders / "resnet")).features(PICTURES)
    )
    with pytest.raises(ConfigError, match="image_size is 32, but this deit model takes 16"):
        load_backbone(str(folders / "deit"), image_size=32)


@pytest.mark.parametrize(
    ("kind", "file", "settings", "match"),
    [
        ("vit", "config.json", {"quantization_config": {"bits": 4}}, "is quantised"),
        ("vit", "config.json", {"num_channels": 1}, "does not (load|take)"),
        ("vit", "preprocessor_config.json", {"resample": 1}, "resample = 1 .* not reproduced"),
        ("vit", "preprocessor_config.json", {"image_std": [0.5, 0.0, 0.5]}, "must be > 0"),
        ("vit", "preprocessor_config.json", {"size": {"longest_edge": 9}}, "does not load|size of"),
    ],
)
def test_what_cannot_be_reproduced_is_refused(changed, kind, file, settings, match):
    with pytest.raises(ConfigError, match=match):
        load_backbone(changed(kind, file, **settings))


def test_a_processor_that_does_more_than_it_says_is_caught(processors):
    processor = processors["vit"]
    from privassay.fl_core.models.preprocess import of_processor

    steps = of_processor(processor.to_dict())
    hugging_face._same_as(processor, steps)

    class Flips:
        def __call__(self, images):
            return processor(images=[image[::-1].copy() for image in images])

    with pytest.raises(ConfigError, match="Flips does more than resizing"):
        hugging_face._same_as(Flips(), steps)
    with pytest.raises(ConfigError, match="also does do_flip"):
        of_processor(processor.to_dict() | {"do_flip": True})


def test_the_hash_covers_every_file_that_is_read(folders, changed, tmp_path):
    found = {load_backbone(str(folders / "vit")).sha256}
    found.add(
        load_backbone(changed("vit", "preprocessor_config.json", image_mean=[0.4] * 3)).sha256
    )
    shutil.rmtree(tmp_path / "copy")
    found.add(load_backbone(changed("vit", "config.json", layer_norm_eps=1e-3)).sha256)
    assert len(found) == 3
