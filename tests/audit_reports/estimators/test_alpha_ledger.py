import pytest

from privassay.accountant.errors import DesignError, ParameterError
from privassay.audit_reports.estimators.alpha_ledger import AlphaLedger


def test_shares_sum_to_the_total():
    ledger = AlphaLedger(0.05)
    for name in ("loss", "lira", "canary"):
        assert ledger.spend(name, 0.05 / 3) == 0.05 / 3
    assert list(ledger.entries) == ["loss", "lira", "canary"]
    assert ledger.spent == pytest.approx(0.05)
    with pytest.raises(DesignError, match="'extra' asks for 1e-06"):
        ledger.spend("extra", 1e-6)
    assert "extra" not in ledger.entries


def test_a_second_look_needs_its_own_share():
    ledger = AlphaLedger(0.05)
    ledger.spend("loss", 0.01)
    with pytest.raises(DesignError, match="spent its share"):
        ledger.spend("loss", 0.01)


def test_entries_cannot_be_changed():
    ledger = AlphaLedger(0.05)
    with pytest.raises(TypeError):
        ledger.entries["loss"] = 0.01


@pytest.mark.parametrize("share", [0.0, -0.01, float("nan")])
def test_a_share_must_be_positive(share):
    with pytest.raises(ParameterError, match="share"):
        AlphaLedger(0.05).spend("loss", share)


def test_total_must_be_a_probability():
    with pytest.raises(ParameterError, match="total"):
        AlphaLedger(0.0)
