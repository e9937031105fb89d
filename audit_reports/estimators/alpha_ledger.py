"""`AlphaLedger`: several attacks on one claim share one allowed error."""

import math
from dataclasses import dataclass, field
from types import MappingProxyType

from ...accountant import check
from ...accountant.errors import DesignError


@dataclass
class AlphaLedger:
    """Splits the allowed error of an audit among its attacks, rounds, checkpoints and deltas.

    If each is tested at its own share, at least one false accusation among all of them has
    probability at most `total` (union bound). The shares must be fixed before the scores are seen.

    Attributes:
        total: 1 - confidence of the whole audit, in (0, 1).

    >>> ledger = AlphaLedger(0.05)
    >>> ledger.spend("loss threshold", 0.04)
    0.04
    >>> ledger.spend("gradient canary", 0.02)
    Traceback (most recent call last):
        ...
    privassay.accountant.errors.DesignError: 'gradient canary' asks for 0.02 of the allowed error \
but 0.04 of 0.05 is spent.
      Give every attack its share beforehand, or lower the confidence of the audit.
    """

    total: float
    _shares: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check.open_probability(total=self.total)

    def spend(self, name: str, share: float) -> float:
        """Enter `share` under `name` and return it: test at confidence 1 - share.

        Raises:
            DesignError: the name has its share already, or the sum would exceed the total.
        """
        check.open_probability(share=share)
        if name in self._shares:
            raise DesignError(
                f"{name!r} has spent its share {self._shares[name]:g} already; a second look at "
                "the same attack needs a share and a name of its own"
            )
        # Shares such as total / 3 add up to a last digit more than the total: that is no overspend.
        if math.fsum((*self._shares.values(), share)) > self.total * (1.0 + 1e-12):
            raise DesignError(
                f"{name!r} asks for {share:g} of the allowed error but {self.spent:g} of "
                f"{self.total:g} is spent.\n"
                "  Give every attack its share beforehand, or lower the confidence of the audit."
            )
        self._shares[name] = share
        return share

    @property
    def spent(self) -> float:
        """Sum of the shares."""
        return math.fsum(self._shares.values())

    @property
    def entries(self) -> MappingProxyType[str, float]:
        """Name to share, in the order of spending, read-only."""
        return MappingProxyType(self._shares)
