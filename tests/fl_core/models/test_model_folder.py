import json
import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from privassay.accountant.errors import AssetError, ConfigError
from privassay.fl_core.models.backbone import load_backbone


class Payload:
    """Unpickling it would write a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_pickles_are_never_opened(folders, tmp_path):
    folder, trace = tmp_path / "model", tmp_path / "trace"
    shutil.copytree(folders / "vit", folder)
    torch.save(Payload(trace), folder / "pytorch_model.bin")
    load_backbone(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"must hold config.json and \*.safetensors"):
        load_backbone(str(folder))
    # An index that leads to it, or out of the folder.
    for target in ("pytorch_model.bin", "../outside.safetensors"):
        save_file({"x": torch.zeros(1)}, folder / "a.safetensors", metadata={"format": "pt"})
        index = {"metadata": {}, "weight_map": {"embeddings.cls_token": target}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ConfigError, match="which is no safetensors file of its own folder"):
            load_backbone(str(folder))
    assert not trace.exists()


def test_code_of_a_model_is_never_run(folders, changed, tmp_path):
    trace = tmp_path / "trace"
    code = f"import os\nos.mkdir({str(trace)!r})\n"
    auto = {"AutoConfig": "own.C", "AutoModel": "own.M", "AutoImageProcessor": "own.P"}
    folder = changed("vit", "config.json", auto_map=auto)
    (tmp_path / "copy" / "own.py").write_text(code)
    with pytest.raises(ConfigError, match="comes with code of its own, which is never run"):
        load_backbone(folder)
    shutil.copy(folders / "vit" / "config.json", tmp_path / "copy")
    file = tmp_path / "copy" / "preprocessor_config.json"
    settings = json.loads(file.read_text()) | {"auto_map": {"AutoImageProcessor": "own.P"}}
    settings["image_processor_type"] = "Own"
    file.write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="image processor in 'copy' does not load"):
        load_backbone(folder)
    assert not trace.exists()


def test_missing_parts_are_named(folders, tmp_path):
    folder = tmp_path / "vit"
    shutil.copytree(folders / "vit", folder)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds an adapter; merge it"):
        load_backbone(str(folder))
    (folder / "adapter_config.json").unlink()
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match="must hold preprocessor_config.json"):
        load_backbone(str(folder))
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ConfigError, match="config.json must hold an object"):
        load_backbone(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="config.json is not JSON"):
        load_backbone(str(folder))


def test_a_name_of_the_hub_is_read_from_its_cache(folders, tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"  # the layout of the hub's own cache
    home = tmp_path / "models--someone--tiny-vit"
    shutil.copytree(folders / "vit", home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    expected = load_backbone(str(folders / "vit"))
    for name in ("someone/tiny-vit", "someone/tiny-vit@main", f"someone/tiny-vit@{commit}"):
        found = load_backbone(name)
        assert found.origin == f"someone/tiny-vit at commit {commit}"
        assert found.sha256 == expected.sha256
        assert found.fingerprint() == expected.fingerprint()
    with pytest.raises(AssetError, match="someone/tiny-vit@other"):
        load_backbone("someone/tiny-vit@other")


def test_a_name_that_cannot_be_fetched_says_what_to_do(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(AssetError, match="'nobody/nothing' is not in the Hugging Face cache"):
        load_backbone("nobody/nothing")
    with pytest.raises(ConfigError, match="backbone must be one of .*owner/model"):
        load_backbone("../nothing")
    with pytest.raises(ConfigError, match="pooling goes with Hugging Face models"):
        load_backbone("pixels", pooling="pooled")
