"""Stolen prompts: what queries are, students, linear algebra, and how theft is counted."""

import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.prompts.class_feature_theft import ClassFeatureTheft
from privassay.attacks.prompts.distillation import PromptDistillation, Queries, likeness, theft
from privassay.attacks.prompts.released import Records, Released
from privassay.audit_reports.selftest.prompt_stand_in import (
    NAMES,
    SCALE,
    kernel_of,
    stand_in,
    tuned,
    untouched,
)
from privassay.mechanisms.base import SeededKey

from .prompt_cases import draw, random_prompts, records

SHUFFLED = torch.randperm(1797, generator=draw(11))  # the data set is ordered by writer


def queries(prompts, some, labels=False):
    logits = prompts.answers(some).logits
    if labels:
        return Queries(x=some.x, answers=logits.argmax(dim=-1), kind="labels")
    return Queries(x=some.x, answers=logits)


def test_probabilities_give_what_logits_give_and_are_never_taken_for_them():
    prompts, some, others = random_prompts(2), records(300), records(100, 5)
    view = queries(prompts, some)
    soft = view.answers.double().softmax(dim=-1)
    told = Queries(x=view.x, answers=soft, kind="probabilities")
    attack = ClassFeatureTheft(scale=SCALE)
    mine = attack.logits(attack.reconstruct(told), others.x).argmax(dim=-1)
    assert torch.equal(mine, attack.logits(attack.reconstruct(view), others.x).argmax(dim=-1))
    assert attack.score(told, prompts).argmax(dim=1).tolist() == [0, 1]
    student = PromptDistillation(kernel=stand_in().kernel, steps=5)
    found = [student.reconstruct(v).prompts["context"] for v in (view, told)]
    assert torch.allclose(found[0], found[1], atol=1e-3)
    with pytest.raises(DesignError, match='give kind="probabilities"'):
        Queries(x=view.x, answers=soft)
    with pytest.raises(DesignError, match='give kind="logits"'):
        Queries(x=view.x, answers=soft.log(), kind="probabilities")
    with pytest.raises(DesignError, match="`kind` says"):
        Queries(x=view.x, answers=soft.argmax(dim=-1))
    with pytest.raises(DesignError, match="labels as answers must be"):
        Queries(x=view.x, answers=soft, kind="labels")
    with pytest.raises(ParameterError, match="kind"):
        Queries(x=view.x, answers=soft, kind="scores")
    rounded = Queries(x=view.x, answers=soft.round(decimals=3), kind="probabilities")
    with pytest.raises(DesignError, match="rounded, and its logarithm is lost"):
        attack.reconstruct(rounded)
    assert len(student.reconstruct(rounded)) == 2, "a student needs no logarithm"


def test_class_features_are_solved_for_and_a_shift_of_the_logits_changes_nothing():
    prompts, some, others = random_prompts(2), records(400), records(100, 5)
    attack, view = ClassFeatureTheft(scale=SCALE), queries(random_prompts(2), some)
    found = attack.reconstruct(view)
    mine = attack.logits(found, others.x)
    true = prompts.answers(others).logits.double()
    gap = (mine - mine.mean(-1, keepdim=True)) - (true - true.mean(-1, keepdim=True))
    assert float(gap.abs().max()) < 0.05 * float(true.std())
    shifted = Queries(x=view.x, answers=view.answers.log_softmax(dim=-1))
    assert torch.allclose(attack.reconstruct(shifted), found, atol=1e-2)
    assert attack.score(view, prompts).argmax(dim=1).tolist() == [0, 1]
    few = attack.reconstruct(queries(prompts, records(20)))
    assert float((few - found).norm() / found.norm()) > 0.2, "twenty answers are not enough"
    with pytest.raises(DesignError, match="labels give no equations"):
        attack.reconstruct(queries(prompts, some, labels=True))


def served(rows=2):
    world = stand_in()
    index = torch.stack(
        [SHUFFLED[:600][torch.randperm(600, generator=draw(r))[:200]] for r in range(rows)]
    )
    found = tuned(world.kernel, world.x, world.y, index, epochs=60, rate=0.1, key=SeededKey(0))
    return Released(kernel=world.kernel, prompts=found)


def test_distillation_steals_nine_tenths_with_logits_and_most_with_labels():
    world, prompts = stand_in(), served()
    asked, rest = (
        Records(world.x[part], world.y[part]) for part in (SHUFFLED[600:1000], SHUFFLED[1000:])
    )
    shares = {}
    for labels in (False, True):
        students = PromptDistillation(kernel=world.kernel, steps=150).reconstruct(
            queries(prompts, asked, labels)
        )
        found = theft(prompts, students, untouched(), rest, queries=400)
        shares[labels] = float(found.gain_share.mean())
        assert float((found.true - found.plain).min()) > 0.08, "there is something to steal"
        assert float(found.agreement.min()) > 0.8
        assert likeness(students, prompts).argmax(dim=1).tolist() == [0, 1]
    assert shares[False] > 0.9 and shares[True] > 0.7, shares


def test_a_prompt_can_be_judged_on_classes_that_were_not_asked_about():
    """Its vectors go in front of any name; here the thief has them, so nothing is missing."""
    world, prompts, some = stand_in(), served(), records(500, 6)
    kernel = kernel_of(world.tower, ("left", "three", "right"))
    held = [Released(kernel=kernel, prompts=p.prompts) for p in (prompts, untouched())]
    said = held[0].answers(some).logits.argmax(dim=-1)[0]
    found = theft(
        held[0].rows(torch.tensor([0])), held[0].rows(torch.tensor([0])), held[1],
        Records(some.x, said), queries=0,
    )  # fmt: skip
    assert found.agreement.tolist() == found.true.tolist() == found.gain_share.tolist() == [1.0]
    assert found.cosine is not None and float(found.cosine) == pytest.approx(1.0)
    assert float(found.plain) < 1.0


def test_a_student_that_begins_as_the_target_stays_there():
    world, prompts = stand_in(), random_prompts(1)
    from dataclasses import replace

    kernel = replace(world.kernel, start={"context": prompts.prompts["context"][0]})
    attack = PromptDistillation(kernel=kernel, steps=5, learning_rate=1e-3)
    view = queries(prompts, records(50))
    found = attack.reconstruct(view).prompts["context"]
    assert float((found - prompts.prompts["context"]).abs().max()) < 6e-3
    with pytest.raises(DesignError, match="but the student has 4"):
        PromptDistillation(kernel=kernel_of(world.tower, NAMES[:4])).reconstruct(view)
    with pytest.raises(DesignError, match="labels must be 0 .. 3"):
        PromptDistillation(kernel=kernel_of(world.tower, NAMES[:4])).reconstruct(
            queries(prompts, records(50), labels=True)
        )


def test_theft_is_counted_as_it_is_defined():
    prompts, some = served(), records(300, 9)
    other = random_prompts(2, 4)
    found = theft(prompts, other, untouched(), some, queries=7)
    said = [p.answers(some).logits.argmax(dim=-1) for p in (prompts, other, untouched())]
    for row in range(2):
        a, b, c = (float((s[min(row, len(s) - 1)] == some.y).double().mean()) for s in said)
        assert float(found.gain_share[row]) == pytest.approx((b - c) / (a - c))
        assert float(found.agreement[row]) == float((said[0][row] == said[1][row]).double().mean())
    assert found.queries == 7
    with pytest.raises(DesignError, match="nothing was gained"):
        theft(untouched(), untouched(), untouched(), some, queries=1)
    with pytest.raises(DesignError, match="one student per target"):
        theft(prompts, untouched(), untouched(), some, queries=1)
