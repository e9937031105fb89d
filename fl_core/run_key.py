"""The key of a run whose noise is fresh: everything but noise comes from one secret draw.

Initial models and orders must agree between workers, so they cannot be drawn anew by each; noise
must be drawn anew at every call, also when a run goes on after a kill.
"""

import secrets
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ..mechanisms.base import Key, SeededKey, SystemKey


@dataclass(frozen=True)
class RunKey:
    """A system key, and a secret seed for what is no noise.

    Attributes:
        setup: for initial models and orders; see `Counter.of`.
    """

    setup: SeededKey = field(default_factory=lambda: SeededKey(secrets.randbits(128)), repr=False)
    fingerprint: str = field(default="system", init=False)

    def child(self, *names: str | int) -> SystemKey:
        """Fresh noise."""
        return SystemKey()

    def normal(self, *shape: int) -> Tensor:
        """Fresh noise."""
        return SystemKey().normal(*shape)

    def generator(self) -> np.random.Generator:
        """A fresh generator."""
        return SystemKey().generator()


def run_key(key: Key) -> Key:
    """The key of a run: a seeded one as it is, a fresh one with its setup."""
    return RunKey() if isinstance(key, SystemKey) else key
