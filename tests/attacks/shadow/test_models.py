"""What shadows answer, and which of them may be used against which."""

import dataclasses

import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks import shadow_models
from privassay.attacks.membership.lira import Lira
from privassay.attacks.shadow import train_shadows
from privassay.attacks.shadow_design import everyone
from privassay.attacks.shadow_models import targets_of
from privassay.fl_core.data.membership import balanced, paired
from privassay.mechanisms.base import SeededKey

from .conftest import MODELS, recipe

KEY = SeededKey(1)


@pytest.fixture(scope="module")
def shadows(pool, design):
    return train_shadows(recipe(), *pool, design, key=KEY)


@pytest.mark.parametrize(
    ("limit", "logits"), [(1, 10**9), (150, 10**9), (450, 10**9), (1 << 16, 1 << 22), (1 << 16, 99)]
)
def test_answers_are_the_models_however_they_are_cut(pool, shadows, limit, logits, monkeypatch):
    x, y = pool
    monkeypatch.setattr(shadow_models, "_RECORDS", limit)
    monkeypatch.setattr(shadow_models, "_LOGITS", logits)
    answers = shadows.answers(x[:70], y[:70])
    for model in range(MODELS):
        own = {name: value[model] for name, value in shadows.params.items()}
        hidden = (x[:70] @ own["1.weight"] + own["1.bias"]).relu()
        wanted = hidden @ own["2.weight"] + own["2.bias"]
        torch.testing.assert_close(answers.logits[model], wanted, rtol=0, atol=1e-12)
    assert torch.equal(answers.labels, y[:70])


class Measured:
    """The kernel, and the most logits that it was asked for at once."""

    def __init__(self, kernel):
        self.kernel, self.most = kernel, 0

    def outputs(self, params, x):
        found = self.kernel.outputs(params, x)
        self.most = max(self.most, found.logits.numel())
        return found


@pytest.mark.parametrize(("limit", "logits", "most"), [(450, 10**9, 4200), (10**9, 99, 90)])
def test_few_logits_exist_at_once(pool, shadows, limit, logits, most, monkeypatch):
    monkeypatch.setattr(shadow_models, "_RECORDS", limit)
    monkeypatch.setattr(shadow_models, "_LOGITS", logits)
    kernel = Measured(shadows.kernel)
    dataclasses.replace(shadows, kernel=kernel).answers(pool[0][:70], pool[1][:70])
    assert kernel.most == most  # of 10 classes


def test_no_record_is_an_error(pool, shadows):
    with pytest.raises(DesignError, match="no record"):
        shadows.answers(pool[0][:0], pool[1][:0])


def test_members_of_another_class_mix_are_refused_as_references(pool, shadows):
    x, y = pool
    answers, base = shadows.answers(x, y), torch.arange(200) < 40
    biased = dataclasses.replace(shadows, member=shadows.member & (y >= 3))
    with pytest.raises(DesignError, match="another class mix"):
        biased.references(answers)
    # Records that every model holds may be of any class; they were not drawn.
    drawn = dataclasses.replace(shadows, member=shadows.member | (y >= 5))
    assert drawn.references(answers).member[:, y >= 5].all()
    with pytest.raises(DesignError, match="trained on all of the records"):
        dataclasses.replace(shadows, member=shadows.member | base).references(
            shadows.answers(x[base], y[base]), records=base.nonzero().flatten()
        )


def test_a_model_is_never_its_own_reference_and_has_as_many_as_asked(pool, shadows):
    answers = shadows.answers(*pool)
    every = shadows.references(answers)
    assert torch.equal(every.allowed, ~torch.eye(MODELS, dtype=torch.bool))
    assert torch.equal(every.member, shadows.member)
    some = shadows.references(answers, targets=4, refs=2)
    assert [row.nonzero().flatten().tolist() for row in some.allowed] == [
        [1, 2], [2, 3], [3, 4], [4, 5],
    ]  # fmt: skip
    last = shadows.references(answers, refs=2).allowed[5]
    assert last.nonzero().flatten().tolist() == [0, 1]
    assert targets_of(answers, 4).logits.shape[0] == 4


def test_members_are_those_of_the_records_asked_about(pool, design, shadows):
    x, y = pool
    asked = torch.tensor([150, 3, 77])
    answers = shadows.answers(x[asked], y[asked])
    found = shadows.references(answers, records=asked)
    assert torch.equal(found.member, torch.from_numpy(design.member)[:, asked])
    with pytest.raises(DesignError, match="member must be"):
        shadows.references(answers)


def test_an_attack_runs_on_them(pool, shadows):
    answers = shadows.answers(*pool)
    lira = Lira(references=shadows.references(answers, targets=3, refs=4))
    assert lira.score(targets_of(answers, 3)).shape == (3, 200)


def test_designs_that_tell_the_target_are_refused(pool):
    whole = everyone(pool[1].numpy())
    for design in (
        balanced(whole, range(200), seed=0, replicas=4),
        paired(whole, [5, 6], pairs=2),
    ):
        found = train_shadows(recipe(), *pool, design, key=KEY)
        answers = found.answers(*pool)
        with pytest.raises(DesignError, match="independent coins"):
            found.references(answers)
        apart = found.all_against(answers, targets=3)
        assert apart.allowed.shape == (3, 4) and bool(apart.allowed.all())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"targets": MODELS + 1}, DesignError),
        ({"refs": MODELS}, DesignError),
        ({"refs": 0}, ParameterError),
        ({"targets": 0}, ParameterError),
    ],
)
def test_too_many_or_none_is_an_error(pool, shadows, wrong, error):
    with pytest.raises(error):
        shadows.references(shadows.answers(*pool), **wrong)
