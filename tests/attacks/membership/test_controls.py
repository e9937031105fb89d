"""The controls are as they must be."""

import pytest
import torch

from privassay.audit_reports.selftest.judge import judge
from privassay.audit_reports.selftest.membership import CONTROLS
from privassay.audit_reports.selftest.membership_worlds import REFERENCES, TARGETS, overfitted

RUNS = [
    (control, kind)
    for control in CONTROLS
    for kind in ("positive", "noise", "bounded")
    if getattr(control, kind) is not None
]


@pytest.mark.parametrize(("control", "kind"), RUNS)
def test_control(control, kind):
    run = getattr(control, kind)
    found = judge(kind, run(1), at_least=control.at_least, reaches=control.reaches)
    assert found.passed, found.words


def test_untouched_records_were_in_no_training_and_targets_are_no_references():
    world = overfitted(1)
    assert world.view.logits.shape[0] == TARGETS
    assert world.references.answers.logits.shape[0] == REFERENCES
    right = world.view.logits.argmax(dim=2) == world.view.labels
    inside = right[:, world.used][world.member[:, world.used]].double().mean()
    outside = right[:, world.used][~world.member[:, world.used]].double().mean()
    coins = world.member[:, world.untouched]
    fake_in = right[:, world.untouched][coins].double().mean()
    fake_out = right[:, world.untouched][~coins].double().mean()
    assert float(inside) > 0.98 > 0.6 > float(outside)
    assert abs(float(fake_in - fake_out)) < 0.06 and float(fake_in) < 0.6
    groups = [world.used, world.untouched, world.used_users, world.untouched_users, world.known]
    every = torch.cat([group.flatten() for group in groups])
    assert len(every.unique()) == len(every) == len(world.view.labels)
    users = world.member[:, world.used_users]
    assert bool((users == users[..., :1]).all())
