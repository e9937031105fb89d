"""Equal budgets really are equal, controls behave, and a wrong file is refused in words."""

import copy
import tomllib
from pathlib import Path

import pytest
import torch
from dp_accounting import dp_event as dpe

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError, ParameterError
from privassay.accountant.event_json import from_dict
from privassay.fl_core import comparison
from privassay.fl_core.comparison import (
    DISTILLED,
    FEDAVG,
    LOCAL_ONLY,
    METHODS,
    NEAREST,
    RANDOM_GROUPS,
    RANDOM_ONCE,
    RANDOM_PROTOTYPES,
)
from privassay.fl_core.comparison_records import deal
from privassay.fl_core.comparison_run import Comparison
from privassay.fl_core.comparison_variants import variants
from privassay.fl_core.task import build
from privassay.mechanisms.base import SeededKey

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "title": "tiny",
    "claim": {"adjacency": "add-remove", "unit": "example", "delta": 1e-5},
    "data": {"source": "optdigits", "clients": 3, "train_per_class": 10, "test_per_class": 8},
    "model": {"backbone": "pixels", "dimensions": 24},
    "release": {"rounds": 2, "clip_norm": 1.0, "public_count": 10},
    "training": {
        "local_epochs": 1,
        "batch_size": 50,
        "learning_rate": 0.02,
        "adapter_width": 4,
        "hidden_width": 8,
    },
    "compare": {"methods": ["fedproto"], "mechanisms": ["igpp"], "epsilons": [1.0, 8.0]},
}
CALIBRATED = ("igpp", "vpp", "vpp_ellipsoid", RANDOM_GROUPS, "dppl_mean")


def changed(**changes):
    data = copy.deepcopy(TINY)
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            data.setdefault(section, {})[name] = value
        else:
            data[section] = value
    return comparison.parse(data)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return build(changed(), folder=tmp_path_factory.mktemp("none"), say=lambda text: None)


def results(file, task, name):
    found = Comparison(file, task).results(name, lambda done, total: None)
    return {(r.name, r.asked): r for r in found}


def mean(result):
    return torch.tensor(result.accuracy).mean(dim=1)


def epsilon(event, file):
    claim = file.claim
    return account(event, adjacency=claim.adjacency, unit=claim.unit).epsilon(claim.delta).upper


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one", "zero-out"])
@pytest.mark.parametrize("rounds", [1, 20])
def test_every_private_variant_costs_what_was_asked_and_never_more(task, adjacency, rounds):
    file = changed(
        claim__adjacency=adjacency,
        release__rounds=rounds,
        compare__mechanisms=["igpp", "vpp", "vpp_ellipsoid", "dppl_mean"],
        compare__epsilons=[0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0],
    )
    private = [v for v in variants(file, task) if v.epsilon is not None]
    assert {v.name for v in private} == set(CALIBRATED)
    for v in private:
        spent = epsilon(dpe.SelfComposedDpEvent(v.release.event(), v.rounds), file)
        assert v.epsilon - 1e-6 <= spent <= v.epsilon, (v.name, v.epsilon, spent)


def test_the_ledger_of_a_run_gives_the_same_epsilon(task):
    file = changed(
        compare__methods=list(METHODS),
        compare__mechanisms=["igpp", "vpp", "dppl_mean"],
        compare__epsilons=[1.0],
        method={"fedtgp": {"server_epochs": 1}, "mpft": {"server_epochs": 1, "hidden": 8}},
    )
    for method in METHODS:
        for (name, asked), result in results(file, task, method).items():
            spent = epsilon(from_dict(result.event), file)
            if asked is None:
                assert spent == (torch.inf if name == "none" else 0.0), (method, name)
            else:
                assert asked - 1e-6 <= spent <= asked, (method, name, spent)
            labels = 30 if method == "fedplvm" else 10
            uploads = 1 if name in (RANDOM_ONCE, "dppl_mean") else 2
            assert result.releases == 3 * labels * uploads, (method, name)


def test_the_textbook_noise_stays_below_its_budget_by_the_known_amount(task):
    """Exact epsilon of 20 rounds at a nominal 1, 2, 8, 10: .741, 1.555, 6.763, 8.555."""
    for adjacency in ("add-remove", "replace-one"):
        file = changed(
            claim__adjacency=adjacency,
            release__rounds=20,
            compare__mechanisms=["igpp", "igpp_textbook"],
            compare__epsilons=[1.0, 2.0, 8.0, 10.0],
        )
        spent = [
            epsilon(dpe.SelfComposedDpEvent(v.release.event(), v.rounds), file)
            for v in variants(file, task)
            if v.name == "igpp_textbook"
        ]
        assert spent == pytest.approx([0.741, 1.555, 6.763, 8.555], abs=2e-3)


def test_noise_costs_accuracy_and_random_prototypes_know_nothing(task):
    file = changed(compare__mechanisms=["igpp", "vpp", "dppl_mean"], compare__epsilons=[0.1, 100.0])
    found = results(file, task, NEAREST)
    free = mean(found["none", None])
    assert free.mean() > 0.75
    assert 0.0 < mean(found[RANDOM_PROTOTYPES, None]).mean() < 0.25
    for name in ("igpp", "vpp", "dppl_mean", RANDOM_GROUPS):
        assert (free > mean(found[name, 0.1]) + 0.2).all(), name
        assert mean(found[name, 100.0]).mean() > mean(found[name, 0.1]).mean() + 0.2, name
    assert mean(found["igpp", 100.0]).mean() == pytest.approx(float(free.mean()), abs=0.05)


def test_training_alone_is_fedproto_without_weight_whatever_arrives(task):
    file = changed(method={"fedproto": {"weight": 0.0}}, compare__epsilons=[1.0])
    alone = results(file, task, LOCAL_ONLY)
    assert alone[LOCAL_ONLY, None].releases == alone[DISTILLED, None].releases == 0
    assert epsilon(from_dict(alone[LOCAL_ONLY, None].event), file) == 0.0
    for key, result in results(file, task, "fedproto").items():
        assert result.accuracy == alone[LOCAL_ONLY, None].accuracy, key
    assert alone[DISTILLED, None].accuracy != alone[LOCAL_ONLY, None].accuracy
    distilled = changed(
        method={"fedproto": {"weight": 0.0}}, compare__epsilons=[1.0], compare__distillation=True
    )
    for key, result in results(distilled, task, "fedproto").items():
        assert result.accuracy == alone[DISTILLED, None].accuracy, key


def test_random_prototypes_are_about_as_good_as_training_alone(task):
    file = changed(method={"fedproto": {"weight": 1.0}})
    alone = mean(results(file, task, LOCAL_ONLY)[LOCAL_ONLY, None])
    found = results(file, task, "fedproto")
    for name in (RANDOM_PROTOTYPES, RANDOM_ONCE):
        gap = mean(found[name, None]) - alone
        assert abs(float(gap.mean())) < 0.05, (name, gap)


def test_no_record_reaches_a_random_prototype(task, tmp_path):
    other = build(changed(data__seed=5), folder=tmp_path, say=lambda text: None)
    ours, theirs = (results(changed(), each, NEAREST) for each in (task, other))
    for name in (RANDOM_PROTOTYPES, RANDOM_ONCE):
        assert ours[name, None].digest == theirs[name, None].digest, name
    assert ours["igpp", 1.0].digest != theirs["igpp", 1.0].digest


def test_random_groups_are_vpp_on_other_dimensions(task):
    found = variants(changed(compare__mechanisms=["igpp", "vpp"]), task)
    plain, random = (
        next(v.release.mechanism for v in found if (v.name, v.epsilon) == (name, 8.0))
        for name in ("vpp", RANDOM_GROUPS)
    )
    assert (plain.clip, plain.noise_stddevs) == (random.clip, random.noise_stddevs)
    order = random.groups.order
    assert sorted(order) == list(range(24)) != list(order)
    noise = random.perturb(torch.zeros(20_000, 24).double(), SeededKey(1)).std(dim=0)
    wanted = torch.repeat_interleave(
        torch.tensor(plain.noise_stddevs).double(), torch.tensor(plain.group_sizes)
    )
    assert torch.allclose(noise[list(order)], wanted, rtol=0.03)


def test_seeds_deal_disjoint_parts_and_more_seeds_change_no_earlier_one(task):
    dealt = deal(task, seeds=3, key=SeededKey(4))
    size = dealt.data.index.shape[1] + dealt.test_y.shape[1]
    assert size == task.train_y.shape[1] + task.test_y.shape[1]
    for row in range(9):
        own = range(row % 3 * size, (row % 3 + 1) * size)
        train = dealt.data.index[row].tolist()
        assert len(set(train)) == 100 and set(train) <= set(own)
        left = dealt.data.x[[i for i in own if i not in set(train)]]
        assert {tuple(x) for x in left.tolist()} == {tuple(x) for x in dealt.test_x[row].tolist()}
        assert dealt.data.y[dealt.data.index[row]].bincount().tolist() == [10] * 10
        assert dealt.test_y[row].bincount().tolist() == [8] * 10
    assert not torch.equal(dealt.data.index[0], dealt.data.index[3])
    few, more = (
        results(changed(compare__seeds=n, compare__epsilons=[1.0]), task, "fedproto")
        for n in (5, 7)
    )
    for key, result in few.items():
        assert result.accuracy == more[key].accuracy[:5], key


def test_fedavg_is_a_reference_without_any_bound(task):
    file = changed(compare__methods=["fedproto", FEDAVG])
    ((key, result),) = results(file, task, FEDAVG).items()
    assert key == ("none", None)
    assert epsilon(from_dict(result.event), file) == torch.inf
    longer = changed(compare__methods=["fedproto", FEDAVG], release__rounds=20)
    ((_, trained),) = results(longer, task, FEDAVG).items()
    assert mean(trained).mean() > mean(result).mean() + 0.1, "it learns with the rounds"


WRONG = {
    "unknown key": ({"compare__epsilon": [1.0]}, "did you mean 'epsilons'?"),
    "unknown method": ({"compare__methods": ["fedprot"]}, "did you mean 'fedproto'?"),
    "unknown mechanism": ({"compare__mechanisms": ["igpp", "vp"]}, "did you mean 'vpp'?"),
    "no baseline": ({"compare__mechanisms": ["vpp"]}, "add 'igpp'"),
    "a planted bug": ({"compare__mechanisms": ["igpp", "noise_halved"]}, "half the noise"),
    "twice": ({"compare__mechanisms": ["igpp", "igpp"]}, "'igpp' is named twice"),
    "four seeds": ({"compare__seeds": 4}, "compare.seeds"),
    "falling": ({"compare__epsilons": [2.0, 1.0]}, "must rise"),
    "no epsilon": ({"compare__epsilons": []}, "compare.epsilons"),
    "infinite": ({"compare__epsilons": [float("inf")]}, "compare.epsilons"),
    "negative": ({"compare__epsilons": [-1.0]}, "compare.epsilons"),
    "clients": ({"claim__unit": "client"}, 'write unit = "example"'),
    "delta": ({"claim__delta": 0.0}, "claim.delta"),
    "shares": ({"release__group_norm_share": [0.0, 0.5]}, "release.group_norm_share"),
    "fedavg alone": ({"compare__methods": ["fedavg"]}, "name a prototype method"),
    "options of nobody": ({"method": {"fpl": {"temperature": 1.0}}}, "none of the compared"),
    "a claimed epsilon": ({"claim__epsilon": 1.0}, "claim.epsilon: unknown key"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_in_words(name):
    changes, words = WRONG[name]
    with pytest.raises(ConfigError) as caught:
        changed(**changes)
    assert words in str(caught.value) and "pydantic" not in str(caught.value), caught.value


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wieght": 1.0}, "did you mean 'weight'?"),
        ({"weight": -1.0}, "weight must be"),
        ({"clients": 3}, "method.fedplvm must be one of"),
        ({"assignment": True}, "method.fedplvm must be one of"),
    ],
)
def test_a_wrong_number_of_a_method_is_refused_in_words(options, words, task):
    file = changed(compare__methods=["fedplvm"], method={"fedplvm": options})
    with pytest.raises(ParameterError, match="method|weight") as caught:
        _ = Comparison(file, task).methods
    assert words in str(caught.value), caught.value


def test_the_example_is_a_valid_file_with_all_methods_and_budgets():
    path = ROOT / "examples" / "vpdr_digits.toml"
    file = comparison.load(path)
    assert set(file.compare.methods) == {*METHODS, FEDAVG}
    assert file.compare.epsilons[0] == 0.5 and file.compare.epsilons[-1] == 10.0
    assert tomllib.loads(path.read_text())["compare"]["seeds"] >= 5
