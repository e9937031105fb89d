"""Dominating pairs of the Laplace mechanism and its discrete sister."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .. import check
from ..errors import ParameterError
from ..mills import UNIT
from .atom_table import AtomPair, AtomTable, build, pure_mu
from .base import Array, Masses, Progression, above, below


@dataclass(frozen=True)
class Laplace:
    """Lap(shift, 1) against Lap(0, 1), shift = sensitivity/scale.

    The loss is shift with mass 1/2 under P and e^-shift/2 under Q, -shift the other way round, and
    between them it has the density e^((l - shift)/2)/4 under P, e^-((l + shift)/2)/4 under Q.

    >>> found = Laplace(1.0).masses(np.array([0.5]))
    >>> delta = found.p[1] - math.exp(0.5) * found.q[1]
    >>> round(float(delta), 9), round(-math.expm1(-0.25), 9)
    (0.221199217, 0.221199217)
    """

    shift: float

    def __post_init__(self) -> None:
        check.positive(shift=self.shift)

    @property
    def lowest(self) -> float:  # noqa: D102
        return -self.shift

    @property
    def highest(self) -> float:  # noqa: D102
        return self.shift

    @property
    def ends_error(self) -> float:  # noqa: D102
        return 0.0

    @property
    def infinite(self) -> float:  # noqa: D102
        return 0.0

    @property
    def missing(self) -> float:  # noqa: D102
        return 0.0

    @property
    def progression(self) -> Progression | None:  # noqa: D102
        return None

    @property
    def mu_upper(self) -> float:  # noqa: D102
        return pure_mu(self.shift)

    def masses(self, losses: Array) -> Masses:
        """In closed form; boundaries are exact."""
        m = self.shift
        cuts = np.asarray(losses, dtype=np.float64)
        ends = np.concatenate([[-m], np.clip(cuts, -m, m), [m]])
        left, right = ends[:-1], ends[1:]
        half = 0.5 * (right - left)
        # the smaller of the two numbers would do; both factors are accurate
        p = 0.5 * np.exp(0.5 * (right - m)) * -np.expm1(-half)
        q = 0.5 * np.exp(-0.5 * (left + m)) * -np.expm1(-half)
        for place, mass_p, mass_q in (
            (m, 0.5, 0.5 * math.exp(-m)),
            (-m, 0.5 * math.exp(-m), 0.5),
        ):
            cell = int(np.searchsorted(cuts, place, side="left"))
            p[cell] += mass_p
            q[cell] += mass_q
        relative = UNIT * (32.0 + 2.0 * m)
        return Masses(p, q, p * relative + 1e-320, q * relative + 1e-320, 0.0)

    def moment(self, power: float) -> tuple[float, float]:
        """Two atoms and e^(-m/2) sinh(c m)/(2 c), c = power + 1/2."""
        m = self.shift
        y = abs(power + 0.5) * m
        # ln(sinh(y)/y)
        log = y + math.log(-math.expm1(-2.0 * y) / (2.0 * y)) if y > 0.0 else 0.0
        half = math.log(0.5)
        terms = [power * m + half, -(1.0 + power) * m + half, log + math.log(0.5 * m) - 0.5 * m]
        top = max(terms)
        value = top + math.log(math.fsum(math.exp(term - top) for term in terms))
        slack = UNIT * (16.0 * max(abs(term) for term in terms) + 16.0 * (y + m) + 40.0)
        return below(value - slack), above(value + slack)


@dataclass(frozen=True)
class DiscreteLaplace(AtomPair):
    """X + shift against X, X of mass proportional to e^(-a |x|) at integers x.

    The losses are a (2 k - shift), k = 0 ... shift.

    Attributes:
        noise_parameter: a > 0, the inverse of the scale.
        shift: integer >= 1, the sensitivity.
    """

    noise_parameter: float
    shift: int

    def __post_init__(self) -> None:
        check.positive(noise_parameter=self.noise_parameter)
        check.count(shift=self.shift)
        if self.noise_parameter * self.shift > 690.0 or self.shift > 10_000_000:
            raise ParameterError(
                "noise_parameter * shift must be at most 690 and shift at most 10000000, but are "
                f"{self.noise_parameter} * {self.shift}; account the release as revealing "
                "everything, or bound it by PureDp"
            )

    @property
    def table(self) -> AtomTable:  # noqa: D102
        return _discrete(float(self.noise_parameter), int(self.shift))

    @property
    def progression(self) -> Progression | None:  # noqa: D102
        return Progression(-self.noise_parameter * self.shift, 2.0 * self.noise_parameter)


@lru_cache(maxsize=8)
def _discrete(a: float, s: int) -> AtomTable:
    k = np.arange(s + 1, dtype=np.float64)
    p = math.tanh(0.5 * a) * np.exp(-a * (s - k))
    end = 1.0 / (1.0 + math.exp(-a))
    p[0], p[-1] = end * math.exp(-a * s), end
    size = a * s
    return build(
        a * (2.0 * k - s),
        p,
        p[::-1],
        loss_error=2.0 * UNIT * size,
        relative=UNIT * (32.0 + 2.0 * size),
    )
