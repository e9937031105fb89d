"""What a published program declares comes from the object that runs it, numbers included."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from privassay.accountant.account import account
from privassay.audit_reports.lint import generate, reader
from privassay.audit_reports.lint.run import lint
from privassay.mechanisms.released.dp_fedlora import AsReleasedDpFedLora
from privassay.mechanisms.released.dp_fpl import AsReleasedDpFpl
from privassay.mechanisms.released.vpdr import AsReleasedVpdr

FOLDER = Path(generate.__file__).parent / "systems"
VPDR, FPL, LORA = AsReleasedVpdr(epsilon=1.0), AsReleasedDpFpl(), AsReleasedDpFedLora()
LEGACY = replace(VPDR, generation="legacy")


def found(system):
    return lint(reader.parse(system.declaration()))


def numbers(system, **terms):
    """Upper ends of epsilon of the whole claim that fit `terms`, rounded to a tenth."""
    exact = next(f for f in found(system) if f.code == "V1" and f.where == "claim").exact
    return [
        round(e.epsilon.upper, 1)
        for e in exact
        if all(getattr(e, name) == value for name, value in terms.items())
    ]


def texts(system):
    return {a.text.partition(":")[0]: a.how for a in system.assumptions()}


# ------------------------------------------------------------------ the files
@pytest.mark.parametrize("name", generate.SYSTEMS)
def test_the_shipped_file_is_what_the_object_declares(name):
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text) == generate.SYSTEMS[name].declaration()
    assert reader.system(name) == reader.parse(generate.SYSTEMS[name].declaration())


def test_every_shipped_file_of_a_published_program_is_written(tmp_path):
    generate.write(tmp_path)
    for path in FOLDER.glob("*as_released.toml"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert len(list(tmp_path.iterdir())) == len(list(FOLDER.glob("*as_released.toml"))) == 5


def test_text_with_quotes_survives():
    data = {"title": 'a "b" \\ c\n\t\u00e9', "claim": {"views": [], "delta": 1e-300}}
    assert tomllib.loads(generate.toml(data)) == data


# -------------------------------------------------- parameters reach the lint
@pytest.mark.parametrize(
    "system, change",
    [
        (VPDR, {"epsilon": 2.0}),
        (VPDR, {"delta": 1e-6}),
        (VPDR, {"rounds": 5}),
        (VPDR, {"radius": 1.0}),
        (VPDR, {"fraction": 0.5}),
        (VPDR, {"cap": 0.2}),
        (VPDR, {"scheme": "igpp"}),
        (VPDR, {"generation": "legacy"}),
        (VPDR, {"conversion": "exact"}),
        (VPDR, {"frozen_encoder": True}),
        (FPL, {"epsilon": 1.0}),
        (FPL, {"delta": 1e-6}),
        (FPL, {"rounds": 10}),
        (FPL, {"batch": 8}),
        (FPL, {"clip_norm": 1.0}),
        (FPL, {"clip": "example"}),
        (FPL, {"state": "per_client"}),
        (FPL, {"buffer": "per_client"}),
        (FPL, {"reload": False}),
        (FPL, {"aliasing": True}),
        (FPL, {"seed": 2}),
        (LORA, {"epsilon": 5.0}),
        (LORA, {"delta": 1e-6}),
        (LORA, {"clip_norm": 1.0}),
        (LORA, {"clip": "joint_delta"}),
        (LORA, {"tensors": 64}),
        (LORA, {"use_dp": False}),
        (LORA, {"scaffold_leak": True}),
        (LORA, {"reseeded": True}),
        (LORA, {"use_dp": False, "flag_reaches_noise": False}),
    ],
    ids=str,
)
def test_another_parameter_is_another_declaration(system, change):
    changed = replace(system, **change)
    assert changed.declaration() != system.declaration()
    # whatever the parameters, it is a declaration
    assert reader.parse(changed.declaration()).system == system.declaration()["system"]
    assert tomllib.loads(generate.toml(changed.declaration())) == changed.declaration()


def test_the_lint_of_an_object_gives_the_numbers_of_its_page():
    relation = {"adjacency": "replace-one"}
    assert numbers(FPL, view="peer", **relation) == [59.8]
    assert numbers(FPL, view="outsider", **relation) == [140.3]
    assert numbers(replace(FPL, epsilon=0.1), view="peer", **relation) == [9.3]
    assert numbers(LORA, adjacency="zero-out", view="peer") == [49032.7]  # printed 49,033
    alone = replace(LORA, tensors=1)
    event = alone.event(participations=28, moved=1.0)  # uploads of the most used client
    own = account(event, adjacency="zero-out").epsilon(1e-5).upper
    assert numbers(alone, adjacency="zero-out", view="peer") == [round(own, 1)] == [488.3]
    frozen = replace(VPDR, frozen_encoder=True)
    (total,) = numbers(frozen)
    assert 0.7 <= total <= 0.8
    assert numbers(replace(frozen, epsilon=8.0))[0] > 6.0


@pytest.mark.parametrize("view", ["peer", "outsider"])
@pytest.mark.parametrize(
    "change", [{}, {"rounds": 7}, {"clip": "example"}, {"epsilon": 3.0}], ids=str
)
def test_declaration_and_event_of_an_object_agree(view, change):
    system = replace(FPL, **change)
    adjacency = "zero-out"
    own = account(system.event(view), adjacency=adjacency).epsilon(system.delta).upper
    assert numbers(system, view=view, adjacency=adjacency) == [round(own, 1)]


# ------------------------------------------------------------------- defects
def test_every_defect_of_the_pages_is_named():
    systems = {
        "F": (VPDR, LEGACY, replace(VPDR, scheme="igpp")),
        "P": (FPL, replace(FPL, aliasing=True)),
        "L": (LORA, replace(LORA, scaffold_leak=True, reseeded=True, use_dp=False)),
    }
    for letter, last in (("F", 16), ("P", 17), ("L", 15)):
        named = {code for system in systems[letter] for code in texts(system)}
        assert named == {f"{letter}{i}" for i in range(1, last + 1)}


@pytest.mark.parametrize(
    "name",
    [name for name, made in generate.SYSTEMS.items() if not getattr(made, "frozen_encoder", False)],
)
def test_what_an_object_says_it_also_declares(name):
    """A defect of the object is cited by a finding about its declaration."""
    system = generate.SYSTEMS[name]
    cited = {ref for f in lint(name) for ref in f.refs}
    free = {"F2", "F9", "F5"} if name.startswith("vpdr") else {"L14"}
    assert texts(system) and set(texts(system)) - cited <= free


@pytest.mark.parametrize(
    "code, system, shown",
    [
        ("F1", VPDR, "scale 6160 "),
        ("F1", replace(VPDR, rounds=1), "scale 308 "),
        ("F2", VPDR, "0.039 % of the dimensions"),
        ("F3", VPDR, "1.38 times"),
        ("F3", replace(VPDR, fraction=0.5), "1 times"),
        ("F4", VPDR, "12.6 others"),
        ("F4", replace(VPDR, fraction=0.4), "3.36 others"),
        ("F5", LEGACY, "1.82 times the accounted one"),
        ("F5", LEGACY, "2.9 of 1"),
        ("F6", VPDR, "23 times as large"),
        ("F8", VPDR, "epsilon 7.42 or more"),
        ("F9", replace(VPDR, scheme="igpp"), "1.1 is spent of 1"),
        ("F11", VPDR, "37.5 %"),
        ("F12", replace(VPDR, scheme="igpp"), "0.023 times"),
        ("F13", replace(VPDR, scheme="igpp"), "adds 31 % more noise"),
        ("F13", replace(VPDR, scheme="igpp", epsilon=8.0), "adds 15 % more noise"),
        ("P1", FPL, "64 times C/B"),
        ("P1", replace(FPL, batch=8), "16 times C/B"),
        ("P3", FPL, "sigma = 84.827, where epsilon = 0.4 over 100 rounds needs 86.296"),
        ("P4", replace(FPL, rounds=7), "7 uses"),
        ("P10", FPL, "2B = 64"),
        ("P12", replace(FPL, seed=3), "seeded with 3"),
        ("P15", FPL, "8 singular values of 1"),
        ("P17", FPL, "3.32 times"),
        ("L1", LORA, "says 500 after"),
        ("L2", LORA, "11.31 times"),
        ("L3", LORA, "used at 25"),
        ("L6", LORA, "noise of norm 3.51"),
        ("L12", LORA, "noise of 0.0194"),
        ("L15", LORA, "executes fedavg"),
    ],
)
def test_texts_hold_the_numbers_of_the_object(code, system, shown):
    assert shown in texts(system)[code]


@pytest.mark.parametrize(
    "code, system",
    [
        ("F1", replace(VPDR, epsilon=1e6)),
        ("F13", replace(VPDR, conversion="exact")),
        ("F12", replace(VPDR, epsilon=1000.0)),
        ("P1", replace(FPL, clip="example")),
        ("P7", replace(FPL, buffer="per_client")),
        ("P16", replace(FPL, reload=False)),
        ("L3", replace(LORA, epsilon=0.5)),
        ("L2", replace(LORA, clip="joint_delta")),
    ],
)
def test_a_defect_that_is_switched_off_is_not_named(code, system):
    assert code not in texts(system)


# ----------------------------------------------------- reference numbers F6, F8
@pytest.mark.parametrize("count, mu, epsilon", [(23, 6.17, 44.5), (600, 160.8, 13618)])
def test_a_trained_encoder_at_its_worst(count, mu, epsilon):
    """F6 at nominal epsilon 1, mu .268: the prototypes of all rounds, exactly calibrated."""
    system = replace(VPDR, scheme="igpp", conversion="exact")
    nominal = account(replace(system, frozen_encoder=True).event().events[0],
                      adjacency="replace-one")  # fmt: skip
    assert round(nominal.mu.upper, 3) == 0.268
    bound = account(system.event_if_trained(count).events[0], adjacency="zero-out")
    assert bound.mu.upper == pytest.approx(count * nominal.mu.upper, rel=1e-9)
    digits = 1 if epsilon < 1000 else 0
    assert round(bound.mu.upper, 2 if mu < 100 else 1) == mu
    assert round(bound.epsilon(1e-5).upper, digits) == epsilon


def test_the_worst_case_counts_the_choices_too():
    system = replace(VPDR, scheme="igpp")
    event = system.event_if_trained(23)
    parts = [account(e, adjacency="zero-out").epsilon(1e-5).upper for e in event.events[:2]]
    whole = account(event, adjacency="zero-out").epsilon(1e-5).upper
    assert max(parts) < whole <= sum(parts)


@pytest.mark.parametrize("count, epsilon", [(5, 70.6), (23, 7.42), (100, 1.33), (600, 0.18)])
def test_what_the_noise_shows_of_a_count(count, epsilon):
    leak = VPDR.count_leak(count)
    digits = len(str(epsilon).partition(".")[2])
    assert round(leak, digits) == epsilon
    assert VPDR.count_leak(1) == float("inf")
    assert VPDR.count_leak(count, dimension=192) < leak
