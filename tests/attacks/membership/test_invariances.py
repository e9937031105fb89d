"""What holds for every attack with references: masks, order of records, choice of candidates."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from privassay.attacks.membership.bavaria import BaVarIA
from privassay.attacks.membership.calibrated import CalibratedLoss
from privassay.attacks.membership.lira import Lira
from privassay.attacks.membership.loss import Loss
from privassay.attacks.membership.outputs import Answers, References
from privassay.attacks.membership.rmia import Rmia

KNOWN = torch.arange(30, 40)
ATTACKS = {
    "calibrated": CalibratedLoss,
    "lira": Lira,
    "lira offline": partial(Lira, mode="offline"),
    "lira per record": partial(Lira, per_record_from=2),
    "rmia": partial(Rmia, population=KNOWN, may_score_population=True),
    "rmia offline": partial(Rmia, population=KNOWN, mode="offline", may_score_population=True),
    "bavaria": BaVarIA,
    "bavaria offline": partial(BaVarIA, mode="offline"),
}
every = pytest.mark.parametrize("name", ATTACKS)


@every
def test_a_forbidden_reference_changes_nothing(name, toy):
    view, references = toy(targets=4)
    before = ATTACKS[name](references=references).score(view)
    for target in range(4):
        forbidden = ~references.allowed[target]
        logits = references.answers.logits.clone()
        logits[forbidden] = 50.0 * logits[forbidden].flip(dims=(2,))
        member = references.member.clone()
        member[forbidden] = ~member[forbidden]
        changed = References(
            answers=Answers(logits=logits, labels=view.labels),
            member=member,
            allowed=references.allowed,
        )
        after = ATTACKS[name](references=changed).score(view)
        assert torch.equal(before[target], after[target])
        others = torch.arange(4) != target
        assert not torch.equal(before[others], after[others])  # it was allowed against some


@every
def test_records_may_be_asked_about_in_any_order(name, toy):
    view, references = toy()
    before = ATTACKS[name](references=references).score(view)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    moved = Answers(logits=view.logits[:, order], labels=view.labels[order])
    shuffled = References(
        answers=Answers(
            logits=references.answers.logits[:, order], labels=references.answers.labels[order]
        ),
        member=references.member[:, order],
        allowed=references.allowed,
    )
    attack = ATTACKS[name](references=shuffled)
    if isinstance(attack, Rmia):
        attack = replace(attack, population=order.argsort()[KNOWN])
    torch.testing.assert_close(attack.score(moved), before[:, order], rtol=1e-9, atol=1e-9)


@every
def test_targets_do_not_influence_each_other(name, toy):
    view, references = toy(targets=3)
    whole = ATTACKS[name](references=references).score(view)
    for target in range(3):
        one = slice(target, target + 1)
        alone = ATTACKS[name](references=replace(references, allowed=references.allowed[one]))
        found = alone.score(Answers(logits=view.logits[one], labels=view.labels))
        assert torch.equal(found, whole[one])


@every
def test_candidates_are_columns_of_all_scores(name, toy):
    view, references = toy()
    attack = ATTACKS[name](references=references)
    some = torch.tensor([17, 2, 29])
    assert torch.equal(attack.score(view, some), attack.score(view)[:, some])


@every
def test_adding_a_constant_to_logits_changes_nothing(name, toy):
    view, references = toy()
    before = ATTACKS[name](references=references).score(view)
    shifted = Answers(logits=view.logits + 7.0, labels=view.labels)
    after = ATTACKS[name](references=references).score(shifted)
    torch.testing.assert_close(after, before, rtol=1e-8, atol=1e-8)


def test_calibration_is_the_difference_to_the_models_without(toy):
    view, references = toy()
    found = CalibratedLoss(references=references).score(view)
    own, others = Loss().score(view), Loss().score(references.answers)
    for target in range(3):
        use = references.allowed[target]
        out = ~references.member[use]
        means = [others[use][out[:, n], n].mean() for n in range(40)]
        typical = torch.stack([m for m in means if bool(m.isfinite())]).mean()
        wanted = [m if bool(m.isfinite()) else typical for m in means]
        torch.testing.assert_close(found[target], own[target] - torch.stack(wanted))


@pytest.mark.gpu
@every
def test_scores_on_a_gpu_are_those_on_the_processor(name, toy):
    view, references = toy()
    before = ATTACKS[name](references=references).score(view)
    far = References(
        answers=Answers(
            logits=references.answers.logits.cuda(), labels=references.answers.labels.cuda()
        ),
        member=references.member.cuda(),
        allowed=references.allowed.cuda(),
    )
    there = Answers(logits=view.logits.cuda(), labels=view.labels.cuda())
    found = ATTACKS[name](references=far).score(there)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), before, rtol=1e-9, atol=1e-9)
