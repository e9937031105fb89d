"""Rows of the prompt systems: who holds what, that controls see no record, that methods learn."""

from dataclasses import replace

import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import AssetError, ConfigError
from privassay.accountant.event_json import from_dict
from privassay.fl_core.clients import ClientData
from privassay.fl_core.systems import base
from privassay.fl_core.systems.dp_fpl import FED_OTP, METHODS, RELEASED
from privassay.fl_core.systems.dp_fpl_noise import Unnoised
from privassay.fl_core.systems.prompt_data import class_text, everybody, load_pool, merged
from privassay.mechanisms.base import SeededKey

from .tiny import DP_FPL, WORDS, save_clip

CLIENTS, SEEDS = 5, 3


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A prepared comparison on digits that the tiny model knows nothing of."""
    folder = tmp_path_factory.mktemp("prompts")
    save_clip(folder / "clip", WORDS)
    (folder / "file.toml").write_text(DP_FPL)
    return base.load(folder / "file.toml").prepare(folder, lambda text: None)


@pytest.fixture(scope="module")
def learnable(system):
    """The same clients, but records near what a prompt of words says of another class."""
    words = system.dual.text.words("photo of")
    text = class_text(system.dual, system.dealt.classes, len(words))
    with torch.no_grad():
        centres = text.features(words[None])[0]
    centres = torch.nn.functional.normalize(centres - centres.mean(dim=0), dim=-1)
    generator = torch.Generator().manual_seed(0)

    def near(data: ClientData) -> ClientData:
        noise = torch.randn(len(data.y), centres.shape[1], generator=generator)
        return replace(data, x=centres[(data.y + 3) % 10] + 0.05 * noise)

    dealt = replace(system.dealt, train=near(system.dealt.train), test=near(system.dealt.test))
    placed = replace(dealt, train=at_places(dealt.train), test=at_places(dealt.test))
    file = system.file.model_copy(
        update={"training": system.file.training.model_copy(update={"epochs": 12})}
    )
    return replace(system, file=file, dealt=dealt, placed=placed)


def at_places(data, places=4):
    """What tells a class is in half of the places; the others hold noise."""
    generator = torch.Generator().manual_seed(1)
    dim = data.x.shape[1]
    found = 0.4 * torch.randn(len(data.y), places, dim, generator=generator)
    found[:, : places // 2] = data.x.unsqueeze(1)
    return replace(data, x=found.flatten(1))


def plan(system, name, asked=None):
    (found,) = (r for r in system.file.rows() if (r.name, r.asked) == (name, asked))
    return found


def run(system, name, asked=None):
    return system.run(plan(system, name, asked), lambda done, total: None)


def means(outcome):
    return {name: float(torch.tensor(value).mean()) for name, value in outcome.values.items()}


def held(data, row):
    return data.index[row, : int(data.lengths[row])].tolist()


def test_each_client_has_classes_of_its_own_and_tests_on_other_records(system):
    train, test, file = system.dealt.train, system.dealt.test, system.file
    assert len(train) == len(test) == CLIENTS * SEEDS
    for seed in range(SEEDS):
        rows = (train.replicas == seed).nonzero()[:, 0].tolist()
        records = [r for row in rows for data in (train, test) for r in held(data, row)]
        assert len(records) == len(set(records)), "a record is in one place"
        classes = [set(train.y[held(train, row)].tolist()) for row in rows]
        assert sorted(c for each in classes for c in each) == list(range(10))
        for row, own in zip(rows, classes, strict=True):
            assert set(test.y[held(test, row)].tolist()) == own and len(own) == 2
            counts = torch.bincount(train.y[held(train, row)])
            assert set(counts[counts > 0].tolist()) == {file.data.train_per_class}
    assert held(train, 0) != held(train, CLIENTS), "seeds deal records anew"


def test_one_client_with_all_records(system):
    data = merged(system.dealt.train)
    assert len(data) == SEEDS and data.lengths.tolist() == [40] * SEEDS
    own = {r for row in range(CLIENTS) for r in held(system.dealt.train, row)}
    assert set(held(data, 0)) == own
    spread = everybody({"context": torch.arange(3.0)}, system.dealt.test)["context"]
    assert spread.tolist() == [0.0] * 5 + [1.0] * 5 + [2.0] * 5


@pytest.mark.parametrize("asked", [None, 8.0])
@pytest.mark.parametrize("name", METHODS)
def test_a_twin_has_the_noise_of_its_row_and_sees_no_record(system, learnable, name, asked):
    twin, same = name + base.NO_RECORDS, replace(learnable, file=system.file)
    first, other = run(system, twin, asked), run(same, twin, asked)
    assert first.digest == other.digest and from_dict(first.event) == from_dict(other.event)
    assert account(from_dict(first.event), adjacency="zero-out").epsilon(1e-5).upper == 0.0
    row = run(system, name, asked)
    assert first.notes == row.notes, "the same noise"
    assert row.digest not in (first.digest, run(same, name, asked).digest), "records matter there"


def test_the_released_program_has_a_twin_too(system, learnable):
    """Without it nobody could say whether what it leaves is learned."""
    twin, same = RELEASED + base.NO_RECORDS, replace(learnable, file=system.file)
    (asked,) = system.file.system.claims
    first, other, row = (
        run(system, twin, asked),
        run(same, twin, asked),
        run(system, RELEASED, asked),
    )
    assert first.digest == other.digest, "records have no influence"
    assert first.digest != row.digest != run(same, RELEASED, asked).digest, "but there they have"
    assert first.notes == row.notes and first.releases == 0
    assert account(from_dict(first.event), adjacency="zero-out").epsilon(1e-5).upper == 0.0


def test_each_method_is_compared_with_its_own_twin_alone(system):
    for row in system.file.rows():
        idle = [name for name in row.against if name.endswith(base.NO_RECORDS)]
        has_twin = row.name in (*METHODS, RELEASED)
        assert idle == ([row.name + base.NO_RECORDS] if has_twin else []), row
        assert row.asked is None or plan(system, idle[0], row.asked).control if idle else True


def test_noise_differs_between_methods_so_that_one_control_for_all_would_be_wrong(system):
    """Under noise, shapes and multipliers differ, and so does what they leave of a prompt."""
    twins = {name: run(system, name + base.NO_RECORDS, 8.0) for name in METHODS}
    assert twins["promptfl"].notes != twins["dpfpl"].notes
    other = {name: each for name, each in twins.items() if name != FED_OTP}
    assert len({each.digest for each in other.values()}) == len(METHODS) - 1
    # Of the same shapes, sampled alike: the same noise; another score makes something else of it.
    fed_otp, in_code = twins[FED_OTP], twins["fedotp-as-in-code"]
    assert fed_otp.digest == in_code.digest and fed_otp.values != in_code.values


def test_methods_learn_without_noise_and_lose_it_to_noise(learnable):
    """Records look like another class, so that words are wrong and only training helps."""
    zero = means(run(learnable, "zero-shot"))
    for name in (
        "local-only prompt", "joint prompt", "promptfl", "fedotp-as-in-code", "fedotp", "dpfpl",
    ):  # fmt: skip
        found = means(run(learnable, name))
        assert found["local"] > zero["local"] + 0.04, (name, found, zero)
        if name in ("joint prompt", "promptfl"):
            assert found["local"] == pytest.approx(found["neighbour"]), "one prompt for all"
        else:
            assert found["local"] > found["neighbour"] + 0.03, (name, found)
    tight = replace(
        learnable,
        file=learnable.file.model_copy(
            update={"compare": learnable.file.compare.model_copy(update={"epsilons": [0.01]})}
        ),
    )
    for name in ("dpfpl", "promptfl"):
        noisy, idle = run(tight, name, 0.01), run(tight, name + base.NO_RECORDS, 0.01)
        gap = abs(means(noisy)["local"] - means(idle)["local"])
        assert gap < 0.1, f"{name}: under such noise records make no difference"


def test_both_looks_at_a_picture_are_of_the_same_picture(system):
    """The same clients hold the same records, as one feature and as one for each place."""
    whole, placed = system.dealt, system.placed
    assert torch.equal(whole.train.index, placed.train.index)
    assert torch.equal(whole.test.index, placed.test.index)
    assert torch.equal(whole.train.y, placed.train.y) and whole.classes == placed.classes
    dim, places = whole.train.x.shape[1], system.dual.places
    assert places == 4 and placed.train.x.shape == (len(whole.train.y), places * dim)
    pictures = load_pool(system.file.data)[0].x[:200]
    found = system.dual.whole_and_places().features(pictures)
    joined = torch.cat([whole.train.x, placed.train.x], dim=1)
    near = torch.cdist(torch.tensor(found), joined).min(dim=1).values < 1e-4
    assert int(near.sum()) >= 10, "features of a picture and of its places stay together"


def test_a_memory_is_served_and_no_epsilon_is_claimed_for_it(system):
    """Its epsilon is that of the broadcasts; nobody may compare it with one for served prompts."""
    row = plan(system, "pfedprompt", 8.0)
    assert "served models hold records" in row.view and "no bound" in row.view
    ours, theirs = run(system, "pfedprompt", 8.0), run(system, "promptfl", 8.0)
    assert from_dict(ours.event) == from_dict(theirs.event) and ours.notes == theirs.notes
    assert ours.digest != theirs.digest and ours.values != theirs.values
    base.check_terms(system.file.rows())
    wrong = replace(row, against=("promptfl",))
    with pytest.raises(ConfigError, match="of different things"):
        base.check_terms((wrong, plan(system, "promptfl", 8.0)))
    alone = run(system, "memory alone")
    assert account(from_dict(alone.event), adjacency="zero-out").epsilon(1e-5).lower == float("inf")


def test_a_memory_beside_the_context_of_promptfl(system):
    """Trained with promptfl's row or by itself: the same; without records nothing is remembered."""
    fresh = replace(system)
    assert run(fresh, "pfedprompt", 8.0).digest == run(system, "pfedprompt", 8.0).digest
    twin, other = (run(fresh, f"{n}{base.NO_RECORDS}", 8.0) for n in ("pfedprompt", "promptfl"))
    assert twin.values == other.values, "a memory of nothing changes no score"


def test_two_runs_of_a_row_are_equal_and_another_seed_is_not(system):
    first, again = run(system, "promptfl"), run(system, "promptfl")
    assert (first.digest, first.values) == (again.digest, again.values)
    file = system.file.model_copy(update={"seed": 9})
    assert run(replace(system, file=file), "promptfl").digest != first.digest


def test_unnoised_is_dp_sgd_without_the_noise():
    mechanism = Unnoised(clip_norm=1.0, noise_multiplier=1.0, sampling_rate=0.5, expected_batch=4.0)
    total = torch.arange(6.0).view(2, 3)
    assert torch.equal(mechanism.noisy_mean(total, SeededKey(0)), total / 4.0)
    assert type(mechanism.event(3)).__name__ == "NonPrivateDpEvent"


def test_names_of_classes_must_be_as_many(system):
    data = system.file.data.model_copy(update={"class_names": ["one", "two"]})
    with pytest.raises(ConfigError, match="has 2 names"):
        load_pool(data)


def test_a_missing_asset_names_the_command(system, tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_ASSETS", str(tmp_path))
    with pytest.raises(AssetError, match="privassay assets fetch fashion-mnist"):
        load_pool(system.file.data.model_copy(update={"source": "fashion_mnist"}))


def test_labels():
    text = DP_FPL.replace('encoder = "clip"', 'encoder = "substitute"\ntext_layers = 3')
    import tomllib

    assert base.parse(tomllib.loads(DP_FPL)).label() == ""
    assert base.parse(tomllib.loads(text)).label() == "DeViSE substitute with 3 of 6 text layers"
