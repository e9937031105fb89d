"""Every control of the family, once."""

import pytest

from privassay.audit_reports.selftest.judge import judge
from privassay.audit_reports.selftest.prompts import CONTROLS


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.attack)
def test_attacks_succeed_without_protection_and_only_then(control):
    for kind in ("positive", "noise", "bounded"):
        run = getattr(control, kind)
        if run is not None:
            found = judge(kind, run(1), at_least=control.at_least, reaches=control.reaches)
            assert found.passed, f"{kind}: {found.words}"
