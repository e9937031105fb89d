"""Verify differential-privacy claims: proven bound, measured bound and a verdict.

Names are loaded on first use, so that `import privassay` costs nothing and accounting never
imports torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "AuditError": "accountant.errors",
    "PrivacyClaim": "accountant.claim",
    "GroupwiseGaussianDpEvent": "accountant.events",
    "CorrelatedGaussianDpEvent": "accountant.events",
    "DiscreteGaussianDpEvent": "accountant.events",
    "PureDpEvent": "accountant.events",
    "RandomAllocationDpEvent": "accountant.events",
    "ShuffledBatchesDpEvent": "accountant.events",
    "ShuffledDpEvent": "accountant.events",
    "ParallelDpEvent": "accountant.events",
    "RestrictedDpEvent": "accountant.events",
    "Interval": "accountant.bounds",
    "ProvenBound": "accountant.bounds",
    "Ledger": "accountant.ledger",
    "account": "accountant.account",
    "calibrate": "accountant.calibrate",
    "Scores": "attacks.scores",
    "EmpiricalBound": "audit_reports.estimators.bound",
    "estimate": "audit_reports.estimators.estimate",
    "AuditRecord": "audit_reports.record",
    "audit_mechanism": "audit_reports.blackbox",
    "OneRunAudit": "audit_reports.one_run",
    "search_neighbours": "audit_reports.neighbours",
    "adversarial_pairs": "audit_reports.neighbours",
    "TradeOff": "audit_reports.estimators.tradeoff",
    "EProcess": "audit_reports.estimators.e_process",
    "run": "audit_reports.run",
    "verify": "audit_reports.verify",
    "lint": "audit_reports.lint.run",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'privassay' has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
