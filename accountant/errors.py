"""The exceptions of privassay.

::

    AuditError                      everything that the user can mend
    |-- ParameterError              a number outside its range
    |-- ClaimError                  a claim that cannot be checked, or bounds not comparable
    |-- ConfigError                 an audit file that is wrong
    |-- UnsupportedEventError       an event for which nothing is proven
    |-- DesignError                 scores handed to an estimator that is not valid for their design
    |-- LedgerError                 a release that the ledger refuses, or a damaged ledger
    |-- AssetError                  a model or data set that is missing or has the wrong hash
    `-- RecordError                 a record that is damaged or does not fit the schema

Each message says what was given, what was expected and what to do.
"""


class AuditError(Exception):
    """Base of every error that the command line prints without a traceback."""


class ParameterError(AuditError, ValueError):
    """A number outside its range."""


class ClaimError(AuditError, ValueError):
    """A claim that cannot be checked, or bounds that cannot be compared."""


class ConfigError(AuditError, ValueError):
    """An audit file that is wrong."""


class UnsupportedEventError(AuditError, ValueError):
    """An event for which no accountant of ours proves anything."""


class DesignError(AuditError, ValueError):
    """Scores handed to an estimator that is not valid for their design."""


class LedgerError(AuditError, RuntimeError):
    """A release that the ledger refuses, or a damaged ledger."""


class AssetError(AuditError, RuntimeError):
    """A model or data set that is missing or has the wrong hash."""


class RecordError(AuditError, ValueError):
    """A record that is damaged or does not fit the schema."""
