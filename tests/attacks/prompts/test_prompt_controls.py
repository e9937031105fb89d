"""Every control of the family once, and that each of them can fail."""

import pytest
import torch

from privassay.attacks.membership.loss import Loss
from privassay.attacks.prompts.membership import PromptMembership
from privassay.attacks.prompts.pipra import Pipra
from privassay.audit_reports.estimators.auc import auc
from privassay.audit_reports.selftest.judge import judge
from privassay.audit_reports.selftest.prompt_inference import _membership_runs
from privassay.audit_reports.selftest.prompt_stand_in import untouched
from privassay.audit_reports.selftest.prompts import CONTROLS

BOUNDED = [control for control in CONTROLS if control.bounded is not None]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.attack)
def test_attacks_succeed_without_protection_and_only_then(control):
    for kind in ("positive", "noise", "bounded"):
        run = getattr(control, kind)
        if run is not None:
            found = judge(kind, run(1), at_least=control.at_least, reaches=control.reaches)
            assert found.passed, f"{kind}: {found.words}"


@pytest.mark.parametrize("control", BOUNDED, ids=lambda control: control.attack)
def test_a_release_without_its_noise_is_above_its_ceiling(control):
    found = judge("bounded", control.bounded(1, share=0.01), at_least=0.0)
    assert not found.passed, found.words


# LiRA and PIPRA read the release of `prompt_membership`, which tests its noise for them.
@pytest.mark.parametrize(
    "control",
    [control for control in BOUNDED if control.attack not in ("lira", "pipra")],
    ids=lambda control: control.attack,
)
def test_a_release_with_half_of_its_noise_is_above_its_ceiling(control):
    assert control.reaches >= 0.5
    found = judge("bounded", control.bounded(1, share=0.5), at_least=0.0)
    assert not found.passed, found.words


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_learned_from_shadow_prompts_is_worth_it(seed):
    runs = _membership_runs(seed)

    def area(scores: torch.Tensor) -> float:
        return auc(scores[runs.member].numpy(), scores[~runs.member].numpy())

    plain = area(Loss().score(runs.prompts.answers(runs.candidates)))
    calibrated = area(
        PromptMembership(references=runs.shadows).score(runs.prompts, runs.candidates)
    )
    judged = Pipra.fit(runs.shadows, runs.own, runs.owned, reference=untouched(), seed=seed)
    found = area(judged.score(runs.prompts, runs.candidates))
    assert calibrated > plain + 0.02, (calibrated, plain)
    assert found > plain + 0.04, (found, plain)
