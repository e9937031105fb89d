"""What an animal of the zoo is, and what the mechanisms share."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from privassay.accountant.claim import PrivacyClaim

Sampler = Callable[[int, int, np.random.Generator], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One mechanism with a claim about it.

    Attributes:
        name: short.
        sampler: (world, n, rng) -> array[n, ...]; world 1 has the record, world 0 has not.
        claim: what is asserted.
        correct: whether it is true.
        twin: for a broken one the correct one; for a correct one itself.
        reason: why the claim is true, or what is wrong.
        trials: in each world, with which a broken one can be refuted reliably.
    """

    name: str
    sampler: Sampler
    claim: PrivacyClaim
    correct: bool
    twin: str
    reason: str
    trials: int = 10_000


def pair(name, sampler, claim, reason, *broken):
    """A correct mechanism and (name, sampler, reason, trials if more) of its broken twins."""
    return [
        Entry(name=name, sampler=sampler, claim=claim, correct=True, twin=name, reason=reason),
        *(
            Entry(
                name=n,
                sampler=s,
                claim=claim,
                correct=False,
                twin=name,
                reason=r,
                trials=more[0] if more else 10_000,
            )  # fmt: skip
            for n, s, r, *more in broken
        ),
    ]


def claim(adjacency="add-remove", **guarantee):
    return PrivacyClaim(adjacency=adjacency, unit="example", **guarantee)


def on_grid(x, step=2.0**-20):
    """Rounded to a coarse grid: floating-point noise would give the true value away (Mironov)."""
    return np.rint(x / step) * step


def clip(rows, bound):
    """Each row scaled down to L2 norm `bound`."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows * np.minimum(1.0, bound / np.maximum(norms, 1e-300))


_rng = np.random.default_rng(20_261_121)
DIM = 10
OTHERS = clip(_rng.normal(0.0, 0.4, (20, DIM)), 1.0)
TARGET = 3.0 * clip(_rng.normal(0.0, 1.0, (1, DIM)), 1.0)  # longer than any clip bound


def people(world):
    """float[20 or 21, 10]: the records, the target last."""
    return np.concatenate((OTHERS, TARGET)) if world else OTHERS
