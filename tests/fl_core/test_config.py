import tomllib

import pytest

from privassay.accountant.errors import ConfigError
from privassay.fl_core import config

GOOD = """
title = "t"

[claim]
epsilon = 2.0
delta = 1e-5
curve = "gaussian"
adjacency = "add-remove"
unit = "example"

[data]
source = "optdigits"

[release]
clip_norm = 1
public_count = 60

[[mechanism]]
name = "one"
kind = "igpp"

[[mechanism]]
name = "two"
kind = "vpp"

[[attack]]
name = "informed_linear"
adversary = "server"
"""


def load(tmp_path, text, overrides=None):
    path = tmp_path / "audit.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, overrides)


def refused(tmp_path, text, overrides=None):
    """The message; checked to be one for a reader of the file, not of this code."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, overrides)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    text = str(caught.value)
    for word in ("pydantic", "http", "Section", "Traceback", "type=", "<class", "dictionary"):
        assert word not in text, f"{word!r} in: {text}"
    assert len(text) < 2000
    for line in text.splitlines():
        assert line.count("but is") <= 1, f"what was given is said twice: {line}"
    return text


def changed(old, new):
    assert GOOD.count(old) >= 1, old
    return GOOD.replace(old, new, 1)


def test_a_good_file_and_its_defaults(tmp_path):
    audit = load(tmp_path, GOOD)
    assert audit.release.clip_norm == 1.0 and audit.release.rounds == 5
    assert audit.claim.claim().gaussian_mu().lower == pytest.approx(0.5016, abs=5e-5)
    assert audit.claim.adversaries == ["server"]
    assert audit.estimate.confidence == 0.95 and audit.inversion is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "t"', 'title = "t"\ntitel = "u"', ["titel: unknown key", "mean 'title'?"]),
        ('title = "t"', 'title = "t"\nzzzzz = 1', ["zzzzz: unknown key; known: title, seed, cla"]),
        ("[claim]", "[claim]\nepsilonn = 1", ["claim.epsilonn: unknown key", "'epsilon'?"]),
        ("[release]", "[release]\nround = 1", ["release.round: unknown key", "'rounds'?"]),
        (
            'kind = "igpp"',
            'kind = "igpp"\nnoise_ration = 2.0',
            ["mechanism[1].noise_ration: unknown key", "'noise_ratio'?"],
        ),
        ('adversary = "server"', 'adversary = "server"\ntrial = 9', ["attack[1].trial", "trials"]),
        ("epsilon = 2.0", "epsilon = -2.0", ["claim: epsilon must be", "-2.0"]),
        ("epsilon = 2.0", "epsilon = nan", ["claim: epsilon must be", "NaN"]),
        ("epsilon = 2.0", "epsilon = inf", ["claim: epsilon = inf claims nothing"]),
        ("epsilon = 2.0", 'epsilon = "2"', ["claim.epsilon: ", "valid number, but is '2'"]),
        ("epsilon = 2.0", "epsilon = true", ["claim.epsilon: ", "valid number"]),
        ("epsilon = 2.0", "", ["claim: a claim has exactly one of", "none is given"]),
        ("epsilon = 2.0", "epsilon = 2.0\nmu = 1.0", ["claim: ", "exactly one of"]),
        ("delta = 1e-5", "delta = 0.0", ["claim: delta must be", "between 0 and 1", "0.0"]),
        ("delta = 1e-5", "delta = 1.0", ["claim: delta must be", "1.0"]),
        ("delta = 1e-5", "delta = nan", ["claim: delta must be", "NaN"]),
        ("delta = 1e-5", "", ["claim: a claim of epsilon needs delta"]),
        (
            'delta = 1e-5\ncurve = "gaussian"',
            "delta = 0.0",
            ["claim: delta must be", "but is 0.0: Gaussian noise gives no pure"],
        ),
        (
            'delta = 1e-5\ncurve = "gaussian"',
            "delta = 1.0",
            ["claim: delta must be", "delta = 1 claims nothing"],
        ),
        ("epsilon = 2.0", "epsilon = 1e300", ["claim: epsilon = 1e+300 claims nothing"]),
        (
            'epsilon = 2.0\ndelta = 1e-5\ncurve = "gaussian"',
            "mu = 1e7",
            ["claim: mu = 1e+07 claims nothing"],
        ),
        (
            'adjacency = "add-remove"',
            "",
            ["claim.adjacency: missing; give one of 'add-remove', 'replace-one', 'zero-out'\n"],
        ),
        ('"add-remove"', '"add-remov"', ["claim.adjacency: ", "mean 'add-remove'?"]),
        ('unit = "example"', "", ["claim.unit: missing", "'client'"]),
        ('unit = "example"', 'unit = "record"', ["claim.unit: ", "'record'"]),
        ('unit = "example"', 'unit = "example"\nadversaries = []', ["claim.adversaries"]),
        (
            'unit = "example"',
            'unit = "example"\nadversaries = ["servr"]',
            ["claim.adversaries[1]: ", "'server'", "'servr'"],
        ),
        ('kind = "vpp"', 'kind = "vp"', ["mechanism[2].kind: ", "'igpp'", "mean 'vpp'?"]),
        ('kind = "vpp"', "", ["mechanism[2].kind: missing; give one of", "'igpp'"]),
        ('kind = "vpp"', "kind = 3", ["mechanism[2].kind: "]),
        ('name = "two"', 'name = "one"', ["two mechanisms are named 'one'"]),
        ('name = "two"', 'name = "../x"', ["mechanism[2].name: ", "'../x'"]),
        ('name = "two"', 'name = "local-only"', ["mechanism[2]: name 'local-only'", "control"]),
        (
            'kind = "igpp"',
            'kind = "igpp"\nnoise_ratio = 2.0',
            ["mechanism[1]: noise_ratio goes with"],
        ),
        (
            'kind = "vpp"',
            'kind = "vpp"\ngroup_norm_share = [0.5, nan]',
            ["mechanism[2]: group_norm_share must lie in (0, 1]"],
        ),
        ('kind = "vpp"', 'kind = "vpp"\ngroup_norm_share = [0.5]', ["mechanism[2].group_norm"]),
        (
            'name = "informed_linear"',
            'name = "lira"',
            ["attack[1].name: must be one of 'informed_linear', 'prototype_distance', but is 'lir"],
        ),
        ('name = "informed_linear"', 'name = "informed_linea"', ["mean 'informed_linear'?"]),
        ('name = "informed_linear"', "name = [3]", ["attack[1].name: ", "but is [3]"]),
        ('name = "informed_linear"', "", ["attack[1].name: missing; give one of 'informed_line"]),
        ('adversary = "server"', 'adversary = "sever"', ["attack[1].adversary", "mean 'server'?"]),
        (
            "[[attack]]",
            '[[attack]]\nname = "informed_linear"\nadversary = "server"\ntrials = 500\n[[attack]]',
            ["two attacks are 'informed_linear by the server'"],
        ),
        (
            "[[attack]]",
            '[[attack]]\nname = "informed_linear"\nadversary = "peer"\nerror_share=0.5\n[[attack]]',
            ["error_share: give it to every attack"],
        ),
        ("clip_norm = 1", "clip_norm = 0", ["release.clip_norm: ", "greater than 0"]),
        ("clip_norm = 1", "clip_norm = inf", ["release.clip_norm: ", "finite"]),
        ("clip_norm = 1", "clip_norm = nan", ["release.clip_norm: "]),
        ("clip_norm = 1", "clip_norm = 1e300", ["release.clip_norm: must lie in [1e-15, 1e+15]"]),
        ("clip_norm = 1", "clip_norm = 1e-300", ["release.clip_norm: must lie in [1e-15, 1e+15]"]),
        ("public_count = 60", "public_count = 0", ["release.public_count: "]),
        ("public_count = 60", "public_count = 60.5", ["release.public_count: ", "60.5"]),
        ("public_count = 60", "public_count = 1" + "0" * 400, ["release.public_count: ", "..."]),
        ('source = "optdigits"', 'source = "optdigit"', ["data.source", "mean 'optdigits'?"]),
        ('source = "optdigits"', 'source = "folder"', ['data: path goes with source = "folder"']),
        (
            'source = "optdigits"',
            'source = "optdigits"\npath = "x"',
            ["data: path goes with source"],
        ),
        ('title = "t"', "title = 3", ["title: ", "string, but is 3"]),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, old, new, said):
    text = refused(tmp_path, changed(old, new) + "\n")
    for part in said:
        assert part in text + "\n", f"{part!r} is not in: {text}"
    assert "audit.toml" in text.splitlines()[0]


def test_all_that_is_wrong_is_listed(tmp_path):
    text = changed("epsilon = 2.0", "epsilon = -1.0")
    text = text.replace("clip_norm = 1", "clip_norm = -1").replace('"igpp"', '"igp"')
    text = text.replace('title = "t"', 'titel = "t"')
    lines = refused(tmp_path, text).splitlines()[1:]
    places = sorted(line.strip().split(":")[0] for line in lines)
    assert places == ["claim", "mechanism[1].kind", "release.clip_norm", "titel", "title"]


def test_an_empty_file_says_what_a_file_has(tmp_path):
    text = refused(tmp_path, "")
    for section in ("[claim]", "[data]", "[release]", "[[mechanism]]", "[[attack]]"):
        assert f"missing; write a section {section}" in text
    assert "title: missing" in text


@pytest.mark.parametrize("text", ["[[mechanism]]", "[mechanism]\nname = 'a'", "mechanism = 3"])
def test_a_section_in_the_wrong_form(tmp_path, text):
    head, _, _ = GOOD.partition("[[mechanism]]")
    top = f"{text}\n{head}" if "=" in text and "[" not in text else f"{head}\n{text}\n"
    said = refused(tmp_path, top)
    if text == "[[mechanism]]":
        assert "mechanism[1].name: missing" in said
    else:
        assert "mechanism: has the wrong form; write a section [[mechanism]]" in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"title.x": 1}, "--set title.x: title is not a section"),
        ({"release.rounds.x": 1}, "release.rounds: "),
        ({"mechanism.noise_ratio": 2.0}, "--set mechanism.noise_ratio: mechanism is not a section"),
        ({"claim": 5}, "claim: has the wrong form; write a section [claim]"),
        ({"relase.rounds": 2}, "relase: unknown key; did you mean 'release'?"),
        ({"release.round": 2}, "release.round: unknown key; did you mean 'rounds'?"),
        ({"release.rounds": "2"}, "release.rounds: "),
        ({"": 5}, "'': unknown key"),
        ({"claim.": 5}, "claim.: unknown key"),
    ],
)
def test_overrides_that_do_not_fit(tmp_path, overrides, said):
    assert said in refused(tmp_path, GOOD, overrides)


def test_overrides_replace_and_add(tmp_path):
    audit = load(tmp_path, GOOD, {"release.rounds": 9, "gate.power_multiple": 2.5, "seed": 3})
    assert (audit.release.rounds, audit.gate.power_multiple, audit.seed) == (9, 2.5, 3)


def test_files_that_are_no_audit_file(tmp_path):
    def message(path):
        with pytest.raises(ConfigError) as caught:
            config.load(path)
        assert caught.value.__suppress_context__
        return str(caught.value)

    assert "there is no file" in message(tmp_path / "absent.toml")
    assert "is a folder" in message(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\x89PNG\r\n\xff\xfe\x00")
    assert "is not UTF-8 text" in message(binary)
    broken = tmp_path / "broken.toml"
    broken.write_text("title = \n")
    assert "is not valid TOML" in message(broken) and "line 1" in message(broken)
    broken.write_text("seed = 1\nseed = 2\n")
    assert "is not valid TOML" in message(broken)
    broken.write_text("a = " + "[" * 20_000 + "]" * 20_000)
    assert "nested too deeply" in message(broken)
    locked = tmp_path / "loop.toml"
    locked.symlink_to(locked)
    assert "cannot be read" in message(locked)


def test_the_inversion_section_names_mechanisms_that_exist(tmp_path):
    more = '\n[inversion]\nclient = "a"\nclasses = [1]\nmechanisms = ["three"]\n'
    assert "inversion.mechanisms names 'three'" in refused(tmp_path, GOOD + more)
    assert load(tmp_path, GOOD + more.replace("three", "two")).inversion is not None


def test_the_content_can_be_parsed_without_a_file():
    assert config.parse(tomllib.loads(GOOD)).title == "t"
    with pytest.raises(ConfigError, match="the audit file is not valid|title: missing"):
        config.parse({})


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ("seed", 2**63 - 1),
        ("data.clients", 100_000),
        ("data.train_per_class", 1_000_000),
        ("data.seed", 2**63 - 1),
        ("release.rounds", 100_000),
        ("release.public_count", 1_000_000_000),
        ("model.public_images", 100_000),
        ("training.local_epochs", 100_000),
        ("training.batch_size", 1_000_000),
        ("training.adapter_width", 16_384),
        ("training.seeds", 1_000),
        ("estimate.target_class", 999_999),
    ],
)
def test_sizes_have_a_limit(tmp_path, key, most):
    """Beyond it a run dies for lack of memory, or never ends, after minutes of work."""
    load(tmp_path, GOOD, {key: most})
    for more in (most + 1, 10**400, 1 << 20_000):  # Python cannot even write the last one out
        assert f"{key}: Input should be less than" in refused(tmp_path, GOOD, {key: more})


def test_dimensions_stay_below_the_public_images_that_span_them(tmp_path):
    sizes = {"model.public_images": 64}
    assert load(tmp_path, GOOD, sizes | {"model.dimensions": 63}).model.dimensions == 63
    said = refused(tmp_path, GOOD, sizes | {"model.dimensions": 64})
    assert "model: dimensions must be below public_images, but is 64" in said


def test_a_byte_order_mark_and_long_numbers(tmp_path):
    path = tmp_path / "audit.toml"
    path.write_text(GOOD, encoding="utf-8-sig")
    assert config.load(path).title == "t"
    path.write_text("seed = " + 5000 * "9" + GOOD)
    with pytest.raises(ConfigError, match="audit.toml cannot be used: it holds a number of thous"):
        config.load(path)
