"""What shadows answer, and which of them may be used against which."""

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


@pytest.mark.parametrize("limit", [1, 150, 450, 1 << 16])
def test_answers_are_the_models_however_they_are_cut(pool, shadows, limit, monkeypatch):
    x, y = pool
    monkeypatch.setattr(shadow_models, "_RECORDS", limit)
    answers = shadows.answers(x[:70], y[:70])
    for model in range(MODELS):
        own = {name: value[model] for name, value in shadows.params.items()}
        hidden = (x[:70] @ own["1.weight"] + own["1.bias"]).relu()
        wanted = hidden @ own["2.weight"] + own["2.bias"]
        torch.testing.assert_close(answers.logits[model], wanted, rtol=0, atol=1e-12)
    assert torch.equal(answers.labels, y[:70])


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
