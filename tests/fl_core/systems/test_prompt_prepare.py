"""What cannot be is found before pictures are encoded, which takes minutes with a real encoder."""

import re
import tomllib

import pytest

from privassay.accountant.errors import AuditError, ConfigError, ParameterError
from privassay.fl_core.systems import base

from .tiny import DP_FPL, SECFPP, WORDS, save_clip

LONG = " ".join(["cat"] * 14)
NAMES = ", ".join(f'"{name}"' for name in (LONG, *"123456789"))
ALIKE = ", ".join(f'"{name}"' for name in ("dog", "bird", *"12345678"))  # both unknown: one token
WRONG = {
    "a budget out of reach": (
        DP_FPL.replace("delta = 1e-5", "delta = 1e-12"), "epsilons = [8.0]", "epsilons = [1e-9]",
        ConfigError, "compare.epsilons holds 1e-09",
    ),
    "a name too long": (
        DP_FPL, "test_per_class = 5", f"test_per_class = 5\nclass_names = [{NAMES}]", ConfigError,
        "takes 16",
    ),
    "names with the same tokens": (
        DP_FPL, "test_per_class = 5", f"test_per_class = 5\nclass_names = [{ALIKE}]", ConfigError,
        "must differ in their tokens",
    ),
    "a folder that is not there": (
        DP_FPL, 'encoder = "clip"', 'encoder = "no/such/clip"', ConfigError, "no such folder",
    ),
    "too few pictures": (
        DP_FPL, "test_per_class = 5", "test_per_class = 5000", ConfigError, "pictures of a class",
    ),
    "a template too long": (
        DP_FPL, 'template = "a photo"', f'template = "{LONG}"', ConfigError, "takes 16",
    ),
    "too many colluders": (
        SECFPP, "period = 2", "period = 2\ncolluders = 4", ParameterError, "fewer than half",
    ),
    "too few clients for the slices": (
        SECFPP, "period = 2", "period = 2\nslices = 7", ParameterError, "slices",
    ),
    "noise out of reach": (
        SECFPP, "epsilons = [8.0]", "epsilons = [1e-7]", ConfigError,
        "compare.epsilons holds 1e-07",
    ),
    "too few pictures of the second part": (
        SECFPP, "train_per_class = 2", "train_per_class = 30", ConfigError, "pictures of a class",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("prepare")
    save_clip(path / "clip", WORDS)
    return path


@pytest.mark.parametrize("case", WRONG)
def test_nothing_is_encoded_for_a_file_that_cannot_be_run(folder, case):
    text, old, new, kind, words = WRONG[case]
    assert text.count(old) == 1
    (folder / "file.toml").write_text(text.replace(old, new))
    file, said = base.load(folder / "file.toml"), []
    with pytest.raises(AuditError, match=words) as caught:
        file.prepare(folder, said.append)
    assert isinstance(caught.value, kind) and said == [], said


def test_a_good_file_is_encoded(folder, tmp_path, monkeypatch):
    """So that the silence above means something."""
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path))
    (folder / "file.toml").write_text(DP_FPL)
    said = []
    base.load(folder / "file.toml").prepare(folder, said.append)
    assert [line.split()[0] for line in said] == ["encoding"], "once, for all looks at a picture"


@pytest.mark.parametrize(
    ("text", "old", "new", "words"),
    [
        (SECFPP, "clusters = 2", "clusters = 100", "at most data.clients"),
        (SECFPP, "period = 2", "period = 200", "at most system.rounds"),
        (SECFPP, "period = 2", "period = 2\nfedpgp_rank = 50", "at most model.context_length"),
        (SECFPP, "clients = 8", "clients = 1000000000", "data.clients"),
        (DP_FPL, "claims = [0.4]", "claims = [2.0, 2.0]", "each once"),
        (DP_FPL, 'template = "a photo"', 'template = ""', "model.template"),
        (DP_FPL, "\nlearning_rate = 1.0", "\nlearning_rate = 1e300", "training.learning_rate"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(text, old, new, words):
    assert text.count(old) == 1
    with pytest.raises(ConfigError, match=words):
        base.parse(tomllib.loads(text.replace(old, new)))


def test_clusters_that_split_are_not_merged_again():
    split = re.search(r"split_above = ([0-9.]+)", SECFPP)
    merged = re.sub(r"merge_below = [0-9.]+", f"merge_below = {10 * float(split[1])}", SECFPP)
    with pytest.raises(ConfigError, match="merged again"):
        base.parse(tomllib.loads(merged))
