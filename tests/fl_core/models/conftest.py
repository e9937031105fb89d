"""Folders of tiny random vision models with their image processors."""

import json
import shutil

import pytest
import torch

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
}
STAGES = {"hidden_sizes": [4, 4, 8, 8], "depths": [1, 1, 1, 1]}
KINDS = ("vit", "deit", "resnet", "convnext", "clip", "clip_vision_model")


def tiny(kind):
    """A random model of the kind, and its image processor."""
    import transformers as t
    from transformers.models.clip import CLIPImageProcessorPil
    from transformers.models.convnext import ConvNextImageProcessorPil
    from transformers.models.deit import DeiTImageProcessorPil
    from transformers.models.vit import ViTImageProcessorPil

    torch.manual_seed(0)
    square, edge = {"height": 16, "width": 16}, {"shortest_edge": 32}
    if kind == "vit":
        return t.ViTModel(t.ViTConfig(**TINY)), ViTImageProcessorPil(size=square)
    if kind == "deit":
        larger = {"height": 18, "width": 18}
        processor = DeiTImageProcessorPil(size=larger, crop_size=square)
        return t.DeiTModel(t.DeiTConfig(**TINY)), processor
    if kind == "convnext":
        config = t.ConvNextConfig(**STAGES, image_size=32)
        return t.ConvNextModel(config), ConvNextImageProcessorPil(size=edge)
    if kind == "resnet":
        config = t.ResNetConfig(embedding_size=4, **STAGES)
        return t.ResNetModel(config), ConvNextImageProcessorPil(size=edge)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=square)
    vision = t.CLIPVisionConfig(**TINY)
    if kind == "clip_vision_model":
        return t.CLIPVisionModel(vision), processor
    text = {key: TINY[key] for key in list(TINY)[:4]} | {"vocab_size": 50}
    return t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision.to_dict())), processor


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    from transformers.utils import logging

    root = tmp_path_factory.mktemp("models")
    logging.disable_progress_bar()
    for kind in KINDS:
        model, processor = tiny(kind)
        if kind == "resnet":  # statistics that are not those of a fresh layer
            model.train()(pixel_values=torch.randn(8, 3, 32, 32))
        model.save_pretrained(root / kind)
        processor.save_pretrained(root / kind)
    logging.enable_progress_bar()
    return root


@pytest.fixture
def changed(folders, tmp_path):
    """Makes a copy of a folder with other settings in one of its files."""

    def change(kind, file, **settings):
        copy = tmp_path / "copy"
        shutil.copytree(folders / kind, copy)
        old = json.loads((copy / file).read_text())
        (copy / file).write_text(json.dumps(old | settings))
        return str(copy)

    return change


@pytest.fixture(scope="session")
def processors():
    return {kind: tiny(kind)[1] for kind in KINDS}
