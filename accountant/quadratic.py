"""The privacy loss of two Gaussians: its cumulant function and delta by a contour integral.

With lambda_i the eigenvalues of S0^(-1/2) S1 S0^(-1/2), x_i = lambda_i - 1, d_i the shift in their
basis and m_i how often the pair occurs, the log moment of the loss L = ln(dP/dQ) is

    K(z) = ln E_P e^(zL) = sum_i m_i [z(1+z) d_i^2 / (2 a_i) - (ell(-z x_i) + z ell(x_i)) / 2],
    a_i = 1 - z x_i,    ell(w) = ln(1+w) - w,

where the linear terms, which cancel, are already taken out. For any real c in (0, 1/max x_i)

    delta(eps) = (1 / 2 pi i) * integral over z = c + iu of e^(K(z) - z eps) / (z (z+1)) dz.

On that line the integrand falls only like u^(-2-D/2). All singularities lie on the real axis, so
the line may be bent, z = c + b (bend (cosh t - 1) + i sinh t), to where it falls exponentially.

The trapezoid rule in t converges geometrically. Its error is *estimated*, by halving the step and
by a second contour through another c; cut-off is where the integrand is e^-44 of its peak. The
rounding error is bounded node by node, given elementary functions good to a few units, and so is
what an error of lambda and d themselves does to K, to first order.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

UNIT = 2.0**-53
_DROP = 44.0
_BENDS = (0.0, 0.5, -0.5, 1.0, -1.0)
_LONGEST = 100.0  # in t; sinh(100) is about 1e43
_MOST_NODES = 1 << 14

Array = NDArray[Any]


class Terms(NamedTuple):
    """The pair, one entry per distinct (lambda, d): each float[groups]."""

    excess: Array  # x = lambda - 1
    square: Array  # d^2
    copies: Array  # m
    ell: Array  # ln(lambda) - (lambda - 1)
    rounding: float  # relative error of lambda, and of d by its norm

    @classmethod
    def of(
        cls, eigenvalues: Array, shifts: Array, multiplicities: Array, rounding: float = 0.0
    ) -> "Terms":
        """Coordinates in which the two laws agree are left out."""
        keep = (eigenvalues != 1.0) | (shifts != 0.0)
        eigenvalues, shifts = eigenvalues[keep], shifts[keep]
        excess = eigenvalues - 1.0
        near = np.abs(excess) <= 0.2  # elsewhere 1 + excess may have lost a tiny eigenvalue
        far = np.log(eigenvalues) - excess
        ell = np.where(near, log1p_minus(np.where(near, excess, 0.0)), far)
        counts = multiplicities[keep].astype(float)
        return cls(excess, shifts * shifts, counts, ell, rounding)

    @property
    def end(self) -> float:
        """K(z) is finite for 0 <= z < end."""
        top = float(self.excess.max())
        return 1.0 / top if top > 0.0 else math.inf

    @property
    def largest_loss(self) -> tuple[float, float]:
        """Supremum of L, perhaps infinite, and a bound on its rounding error."""
        if not bool((self.excess < 0.0).all()):
            return math.inf, 0.0
        parts = self.copies * np.array(
            [-0.5 * self.ell, -0.5 * self.excess, -0.5 * self.square / self.excess]
        )
        doubt = (8.0 + len(self.copies)) * UNIT * float(np.abs(parts).sum())
        if self.rounding > 0.0:
            steep = self.copies * self.square / self.excess**2
            turn = 0.5 * (self.copies.sum() + (steep * (1.0 + self.excess)).sum())
            move = np.sqrt((self.copies * self.square).sum() * steep.sum())
            doubt += 1.1 * self.rounding * float(turn + move)
        return float(parts.sum()), doubt


class LogValue(NamedTuple):
    """ln delta = value up to +-error; `error` may be infinite, and then `ceiling` remains."""

    value: float
    error: float
    ceiling: float = 0.0

    def enclosure(self) -> tuple[float, float]:
        """Lower and upper limit of ln delta."""
        if self.value == -math.inf:
            return self.value, self.value
        if not self.error < 0.5:
            return -math.inf, self.ceiling
        slack = self.error + 4.0 * UNIT * abs(self.value)
        return self.value - slack, min(self.ceiling, self.value + slack)


def log1p_minus(w: Array) -> Array:
    """The difference ln(1+w) - w, real or complex, without cancellation.

    >>> float(log1p_minus(np.array([1e-9]))[0])
    -4.999999996666666e-19
    """
    small = np.abs(w) <= 0.2
    near = np.where(small, w, 0.0)
    s = near / (2.0 + near)  # ln(1+w) = 2 artanh(s)
    square, total = s * s, np.zeros_like(s)
    for k in range(21, 1, -2):
        total = (total + 1.0 / k) * square
    if not small.all():
        away = np.where(small, 1.0, w)
        if np.iscomplexobj(w):
            far = np.log(np.abs(1.0 + away)) + 1j * np.angle(1.0 + away) - away
        else:
            far = np.log1p(away) - away
        return np.where(small, s * (2.0 * total - near), far)
    return np.asarray(s * (2.0 * total - near))


def log_moment(terms: Terms, z: Array) -> tuple[Array, Array]:
    """K(z) and a bound on its rounding error, for z complex[nodes] off the cuts."""
    column = np.asarray(z)[:, None]
    w = -column * terms.excess
    a = 1.0 + w
    shift = 0.5 * column * (1.0 + column) * terms.square / a
    logs, linear = log1p_minus(w), column * terms.ell
    value = (terms.copies * (shift - 0.5 * (logs + linear))).sum(axis=1)
    size = np.abs(w)
    spoiled = (1.0 + size) / np.abs(a)  # how much of a cancels
    far = np.where(size > 0.2, size + spoiled, 0.0)
    error = np.abs(shift) * (4.0 + spoiled) + 4.0 * np.abs(logs) + far + 3.0 * np.abs(linear)
    depth = 2.0 + math.log2(1.0 + len(terms.copies))  # pairwise summation
    parts = terms.copies * (np.abs(shift) + np.abs(logs) + np.abs(linear))
    total = UNIT * ((terms.copies * error).sum(axis=1) + depth * parts.sum(axis=1))
    return value, total + _given(terms, z, np.abs(a)) if terms.rounding > 0.0 else total


def _given(terms: Terms, z: Array, a: Array) -> Array:
    # What an error of the given numbers does to K, to first order and a little more. A covariance
    # with M^(1/2) (I + E) M^(1/2) in place of M is covered too, for any E of norm `rounding`.
    m, square = terms.copies, terms.square
    size = np.abs(z)[:, None]
    bend = 0.5 * (size * (1.0 + terms.excess) * square / a + np.abs(terms.excess)) / a
    move = np.sqrt((m * square).sum() * (m * square / a**2).sum(axis=1))
    both = (m * bend).sum(axis=1) + move
    return np.asarray(1.1 * terms.rounding * np.abs(z * (1.0 + z)) * both)


def log_delta(terms: Terms, epsilon: float, *, checked: bool = True) -> LogValue:
    """Logarithm of delta(epsilon) for any finite epsilon; unless `checked`, without its error.

    >>> terms = Terms.of(np.array([2.0, 0.5]), np.array([0.3, 1.0]), np.array([1, 1]))
    >>> round(math.exp(log_delta(terms, 0.5).value), 12)
    0.310897911292
    """
    top, doubt = terms.largest_loss
    if epsilon >= top + doubt:
        return LogValue(-math.inf, 0.0)
    if epsilon >= top - 4.0 * doubt:  # delta decreases, so a smaller epsilon bounds it
        ceiling = log_delta(terms, top - 8.0 * doubt).enclosure()[1]
        return LogValue(ceiling, math.inf, ceiling)
    centre = saddle(terms, epsilon)
    with np.errstate(over="ignore", invalid="ignore"):  # such a result has an infinite error
        first = _integral(terms, epsilon, centre)
        if not checked:
            return first
        second = _integral(terms, epsilon, centre - 0.7 * _width(terms, centre))
    gap = abs(first.value - second.value)
    ceiling = min(first.ceiling, second.ceiling)
    return LogValue(first.value, gap + first.error + second.error, ceiling)


def saddle(terms: Terms, epsilon: float) -> float:
    """Where K(z) - z epsilon - ln z(z+1), which is convex, is smallest, to within 1e-4 or so."""
    end = terms.end

    def place(y: float) -> float:
        return end / (1.0 + math.exp(-y)) if end < math.inf else math.exp(y)

    def slope(z: float) -> float:
        a = 1.0 - z * terms.excess
        shift = terms.square * (1.0 + 2.0 * z - z * z * terms.excess) / (a * a)
        rest = z * terms.excess**2 / a - terms.ell
        return float((terms.copies * 0.5 * (shift + rest)).sum()) - 1.0 / z - 1.0 / (1.0 + z)

    low, high = -230.0, 30.0 if end < math.inf else 230.0
    for _ in range(24):
        middle = 0.5 * (low + high)
        if slope(place(middle)) > epsilon:
            high = middle
        else:
            low = middle
    return place(low)


def _width(terms: Terms, z: float) -> float:
    # Standard deviation of the hump of the integrand on the line through z: less than z.
    a = 1.0 - z * terms.excess
    curve = 0.5 * (terms.excess / a) ** 2 + terms.square * (1.0 + terms.excess) / a**3
    return 1.0 / math.sqrt(float((terms.copies * curve).sum()) + z**-2 + (1.0 + z) ** -2)


class _Contour(NamedTuple):
    terms: Terms
    epsilon: float
    centre: float
    scale: float
    bend: float

    def __call__(self, t: Array, base: float = 0.0) -> tuple[Array, Array, Array]:
        """Logarithm of the integrand times dz/dt, less `base`; its error; dz/dt."""
        sinh, half = np.sinh(t), np.sinh(0.5 * t)
        z = self.centre + self.scale * (self.bend * 2.0 * half * half + 1j * sinh)
        slope = self.scale * (self.bend * sinh + 1j * np.cosh(t))
        moment, error = log_moment(self.terms, z)
        error = error + UNIT * (4.0 * np.abs(z * self.epsilon) + np.abs(moment) + abs(base) + 20.0)
        return moment - z * self.epsilon - np.log(z) - np.log(1.0 + z) - base, error, slope

    def length(self, base: float) -> float | None:
        """Where |integrand| has fallen by e^-44 for good; None if it grows on the way."""
        end = _LONGEST
        for _ in range(12):
            t = np.linspace(0.0, end, 161)
            value, _, slope = self(t, base)
            size = value.real + np.log(np.abs(slope) / self.scale)
            if size.max() > 3.0:
                return None
            last = int(np.flatnonzero(size > size.max() - _DROP)[-1])
            if last > 80:
                return float(t[min(last + 1, 160)])
            end = float(t[last + 1])
        return end


def _integral(terms: Terms, epsilon: float, centre: float) -> LogValue:
    scale = min(centre, terms.end - centre)
    moment, error = log_moment(terms, np.array([centre + 0j]))
    exponent = float(moment.real[0]) - centre * epsilon
    # Chernoff: (1 - e^(eps-l))+ <= e^(z (l-eps)) for every z >= 0
    ceiling = min(0.0, exponent + float(error[0]) + 4.0 * UNIT * abs(centre * epsilon))
    base = exponent - math.log(centre) - math.log1p(centre)
    best: tuple[float, _Contour] | None = None
    for bend in _BENDS:
        contour = _Contour(terms, epsilon, centre, scale, bend)
        length = contour.length(base)
        if length is not None and (best is None or length < best[0]):
            best = length, contour
        if best is not None and best[0] < 4.0:
            break
    if best is None or best[0] >= _LONGEST:
        return LogValue(ceiling, math.inf, ceiling)
    found, doubt = _trapezoid(best[1], best[0], base)
    if not found > 0.0:
        return LogValue(ceiling, math.inf, ceiling)
    unit = 4.0 * UNIT * (abs(base) + abs(exponent))
    value = base + math.log(scale) + math.log(found)
    return LogValue(min(0.0, value), doubt / found + unit, ceiling)


def _trapezoid(contour: _Contour, length: float, base: float) -> tuple[float, float]:
    """The integral over t, divided by the contour's scale, and its error."""
    before, nodes = math.nan, 32
    while True:
        t = np.linspace(0.0, length, nodes + 1)
        log, error, slope = contour(t, base)
        parts = np.exp(log) * (slope / contour.scale) * (length / nodes / math.pi)
        parts[0] *= 0.5
        size = np.abs(parts)
        value, rounding = float(parts.imag.sum()), float((size * error).sum())
        step = abs(value - before)
        cut = float(size[-1]) * nodes + 1e-18 * float(size.sum())
        if step <= max(1e-14 * float(size.sum()), rounding) or nodes >= _MOST_NODES:
            return value, step + rounding + cut
        before, nodes = value, 2 * nodes
