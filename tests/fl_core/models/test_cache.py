import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from privassay.fl_core.models import cache
from privassay.fl_core.models.backbone import load_backbone
from privassay.fl_core.models.cache import cached_features

NOISE = np.random.default_rng(0).integers(0, 256, (9, 12, 12, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def toy():
    """An encoder with one weight."""
    weight = torch.tensor([2.0])
    pixels = load_backbone("pixels", image_size=4)

    def network(x):
        return pixels.network(x) * weight

    return replace(pixels, network=network, state=lambda: {"weight": weight}), weight


def test_weights_that_change_in_memory_are_another_encoder(folder):
    backbone, weight = toy()
    first = cached_features(backbone, NOISE)
    weight.mul_(2)  # the file's hash stays
    assert np.allclose(cached_features(backbone, NOISE), 2 * first)
    weight.div_(2)
    assert np.array_equal(cached_features(backbone, NOISE), first)
    assert len(list(folder.glob("*.npy"))) == 2


def test_every_setting_is_part_of_the_key(folder, monkeypatch):
    backbone, _ = toy()
    steps = backbone.preprocess
    variants = [
        backbone,
        replace(backbone, name="other"),
        replace(backbone, code="other 2"),
        replace(backbone, sha256="0" * 64),
        replace(backbone, pooling="pooled"),
        replace(backbone, preprocess=replace(steps, mean=(0.1, 0.1, 0.1))),
        replace(backbone, preprocess=replace(steps, std=(2.0, 2.0, 2.0))),
        replace(backbone, preprocess=replace(steps, scale=2.0)),
        replace(backbone, preprocess=replace(steps, interpolation="bicubic")),
        replace(backbone, preprocess=replace(steps, resize=None, crop=(4, 4))),
    ]
    for each in variants:
        found = cached_features(each, NOISE)
        assert np.array_equal(found, each.features(NOISE))
    assert len(list(folder.glob("*.npy"))) == len(variants)
    monkeypatch.setattr(cache, "CODE_VERSION", "later")
    cached_features(backbone, NOISE)
    monkeypatch.setattr(torch, "__version__", "99.0")
    cached_features(backbone, NOISE)
    assert len(list(folder.glob("*.npy"))) == len(variants) + 2


def test_pieces_give_the_same_bytes(folder, monkeypatch):
    backbone, _ = toy()
    many = np.random.default_rng(1).integers(0, 256, (300, 6, 6, 3), dtype=np.uint8)
    whole = cached_features(backbone, many)
    monkeypatch.setattr(cache, "PIECE", 128)
    said = []
    pieces = cached_features(backbone, many, said.append)
    assert pieces.tobytes() == whole.tobytes()
    assert [line.split()[:2] for line in said] == [["encoding", n] for n in ("128", "128", "44")]
    assert cached_features(backbone, many, said.append).tobytes() == whole.tobytes()
    assert all("from the cache" in line for line in said[3:])


WORKER = """
import os, signal, sys
import numpy as np
from privassay.fl_core.models import cache
from privassay.fl_core.models.backbone import load_backbone

cache.PIECE = 64
images = np.random.default_rng(1).integers(0, 256, (192, 6, 6, 3), dtype=np.uint8)
real = os.replace

def replace(source, target):
    if sys.argv[1] == "kill" and len(list(target.parent.glob("*.npy"))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)  # the second file is written, but not in place
    real(source, target)

os.replace = replace
found = cache.cached_features(load_backbone("pixels", image_size=4), images, print)
print(np.array_equal(found, load_backbone("pixels", image_size=4).features(images)))
"""


def test_work_that_was_killed_goes_on_where_it_stopped(folder):
    def run(how):
        return subprocess.run(
            [sys.executable, "-c", WORKER, how], capture_output=True, text=True, check=False
        )

    assert run("kill").returncode == -signal.SIGKILL
    (left,) = folder.glob(".new-*")
    assert len(list(folder.glob("*.npy"))) == 1
    done = run("go on")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "from the cache" in lines[0] and "encoding 64" in lines[1] and "encoding 64" in lines[2]
    assert lines[-1] == "True"
    # What the killed process left is swept up a day later, and not while it might be alive.
    assert left.exists()
    past = time.time() - 2 * 86_400
    os.utime(left, (past, past))
    cached_features(load_backbone("pixels", image_size=5), NOISE)
    assert not left.exists()


def test_features_are_readable_by_their_owner_only(folder):
    cached_features(load_backbone("pixels"), NOISE)
    (file,) = folder.glob("*.npy")
    assert file.stat().st_mode & 0o077 == 0 == folder.stat().st_mode & 0o077


def test_an_autocast_of_the_caller_does_not_reach_the_features(folder):
    vit_like = torch.nn.Linear(16, 8).eval().requires_grad_(False)
    pixels = load_backbone("pixels", image_size=4)
    backbone = replace(
        pixels,
        dimension=8,
        network=lambda x: vit_like(pixels.network(x)),
        state=vit_like.state_dict,
    )
    plain = backbone.features(NOISE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(backbone.features(NOISE), plain)
