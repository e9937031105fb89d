"""One Poisson-subsampled Gaussian step: its moment function on a vertical line, errors bounded.

The pair of laws is (1-q) N(0, s^2) + q N(1, s^2), the record present, against N(0, s^2). With
r(x) = 1 - q + q e^t, t = (2x-1)/(2 s^2), the likelihood ratio, and n the density of N(0, s^2),

    E_P[e^(zL)] = int n r^w dx,   w = 1 + z for "remove" (L = ln r),   w = -z for "add" (L = -ln r).

Source: the pair is Mironov, Talwar & Zhang, arXiv:1908.10530; the rest is derived here.

The integral is taken over a window only. Whoever uses it must charge the event that some step falls
outside (`log_outside`). This keeps the far hump of r^w n, which no run ever sees, from dominating.
With a `cut`, the law is that of P restricted to x <= cut, a measure of mass below 1, and nothing is
charged for what lies above the cut.

Three errors are bounded.

- Quadrature: composite Gauss-Legendre with `NODES` nodes a panel. If |f| <= M in the ellipse with
  foci at the panel's ends and half-axes H (rho +- 1/rho)/2, the error is at most
  (64/15) H M rho^(-2 NODES)/(1 - rho^-2): the Chebyshev coefficients are below 2 M rho^-k, degrees
  below 2 NODES are exact, and each even T_k errs by at most 2 + 2/15 (Trefethen, Approximation
  Theory and Approximation Practice, the chapter on quadrature). `Kernel.log_panel_errors` bounds M.
- Mass outside the window in the "1" of E = 1 + int n (r^w - 1) dx: at most e^(log_outside).
- Rounding, to first order, with elementary functions trusted to 4 units in the last place.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..mills import UNIT, normal_cdf_interval
from ..quadrature import gauss_legendre

Array = NDArray[np.float64]
NODES = 24
ROW = 32  # nodes u that share one factor of e^(iuL)
_RHO = np.geomspace(1.15, 12.0, 12)[:, None]
_MOST_PANELS = 3000
_LOG_ROOT_TWO_PI = 0.9189385332046727


class Moments(NamedTuple):
    """ln E at some z, and what is needed to bound its error.

    `size` is |E|, and |error of E| <= `error`; `rounding` is the error of ln E that arises after E.
    """

    log: NDArray[np.complex128]
    size: Array
    error: Array
    rounding: Array


class Rule(NamedTuple):
    """A quadrature rule for one kernel: nodes, weights times density, ln r, and p = q e^t/r."""

    x: Array
    weight: Array
    log_ratio: Array
    share: Array


def log_outside(reach: float) -> float:
    """Upper bound of the logarithm of P(a step leaves the window of `reach` standard deviations).

    Both ends are at least `reach` away from the mean of every component of P.
    """
    return math.log(2.0 / reach) - 0.5 * reach * reach * (1.0 - 8.0 * UNIT) - 0.918


class Kernel:
    """One step.

    Attributes:
        rate: sampling rate q, in (0, 1).
        noise: noise multiplier s.
        sign: +1 for "remove", -1 for "add".
        low, high: the window.
        outside: mass of P outside it, an upper bound; what lies above the cut is not counted.
        missing: mass of n above the cut; its error is within `missing_error`.
    """

    def __init__(
        self, rate: float, noise: float, *, sign: int, reach: float, cut: float = math.inf
    ) -> None:
        self.rate, self.noise, self.sign = rate, noise, sign
        self.low = -reach * noise * (1.0 + 8.0 * UNIT)
        self.high = reach * noise * (1.0 + 8.0 * UNIT) + (1.0 if sign > 0 else 0.0)
        self.outside = math.exp(log_outside(reach))
        self.missing = self.missing_error = 0.0
        if cut < self.high:
            self.high = cut
            z = -cut / noise
            low, high = normal_cdf_interval(z)
            self.missing = 0.5 * (low + high)
            # z is rounded, and the slope of ln Phi(z) is at most |z| + 1
            room = 4.0 * UNIT * abs(z) * (abs(z) + 1.0) + 4.0 * UNIT
            self.missing_error = 0.5 * (high - low) + room * high

    @property
    def _lost(self) -> float:
        # error of the "1" in E, with the rounding of what is subtracted from it
        return self.outside + self.missing_error + 4.0 * UNIT * self.missing

    def power(self, lam: float) -> float:
        """Real part of the power of r at z = lam + iu."""
        return 1.0 + lam if self.sign > 0 else -lam

    def log_ratio(self, x: Array) -> Array:
        """Ln r, to full relative accuracy also where r is near 1."""
        t = (x - 0.5) / self.noise**2
        near = np.log1p(self.rate * np.expm1(np.minimum(t, 30.0)))
        far = t + np.log(self.rate + (1.0 - self.rate) * np.exp(-np.maximum(t, 30.0)))
        return np.where(t < 30.0, near, far)

    def share(self, x: Array) -> Array:
        """P = q e^t / r, the slope of ln r by t."""
        t = (x - 0.5) / self.noise**2
        return self.rate / (self.rate + (1.0 - self.rate) * np.exp(np.minimum(-t, 700.0)))

    def log_panel_errors(self, edges: Array, power: float, u: float) -> Array:
        """Upper bounds of the logarithms of the quadrature errors of n (r^w - 1), panel by panel.

        On the ellipse, x = a + ib with |a - c| <= A and |b| <= B; theta = B/s^2:

        - |n(x)| = n(a) e^(b^2/(2 s^2)); ln n + w ln r, at real a, lies below its tangent parabola
          at the centre with the largest curvature on the range;
        - |r|^2 = r(a)^2 (1 - 2 p (1-p) (1 - cos(b/s^2))), so |r| <= r(a), and for negative powers
          the factor is charged;
        - |arg r| grows with a and b up to theta = pi/2; where q e^t < 1 - q throughout it is below
          asin(q e^t/(1-q)) for every theta, where q e^t > 1 - q below theta + asin((1-q)/(q e^t)).
          In each of these cases r has no zero inside, so r^w is analytic.
        """
        variance = self.noise**2
        centre = 0.5 * (edges[1:] + edges[:-1])
        half = 0.5 * np.diff(edges) * (1.0 + 8.0 * UNIT)
        reach, rise = 0.5 * half * (_RHO + 1.0 / _RHO), 0.5 * half * (_RHO - 1.0 / _RHO)
        theta = rise / variance
        first, last = self.share(centre - reach), self.share(centre + reach)
        curve = np.maximum(first * (1.0 - first), last * (1.0 - last))
        curve = np.where((first <= 0.5) & (last >= 0.5), 0.25, curve)
        bend = (max(power, 0.0) * curve / variance - 1.0) / variance
        slope = np.abs(power * self.share(centre) - centre) / variance
        with np.errstate(divide="ignore"):
            peak = np.where(bend < 0.0, np.minimum(reach, slope / np.maximum(-bend, 1e-300)), reach)
        top = power * self.log_ratio(centre) - 0.5 * centre**2 / variance
        top = top + slope * peak + 0.5 * bend * peak**2
        right = np.minimum(theta, 0.5 * math.pi)
        angle = np.arctan2(last * np.sin(right), 1.0 - last + last * np.cos(right))
        angle = np.where(theta <= 0.5 * math.pi, angle, np.inf)
        high = theta + np.arcsin(np.minimum(1.0, 1.0 / np.maximum(first, 0.5) - 1.0))
        angle = np.where(first > 0.55, np.minimum(angle, high), angle)
        low = np.arcsin(np.minimum(1.0, last / np.maximum(1.0 - last, 1e-300)))
        angle = np.where(last < 0.45, np.minimum(angle, low), angle)
        if u > 0.0:
            top = top + u * angle
        else:
            top = np.where(np.isfinite(angle), top, np.inf)
        if power < 0.0:
            drop = 2.0 * curve * (1.0 - np.cos(np.minimum(theta, math.pi)))
            top = top + 0.5 * power * np.log1p(-np.minimum(drop, 1.0 - 1e-12))
            top = np.where(drop < 0.99, top, np.inf)
        plain = -0.5 * np.maximum(0.0, np.abs(centre) - reach) ** 2 / variance
        size = np.logaddexp(top, plain) + 0.5 * rise**2 / variance + np.log(half / self.noise)
        size = size + math.log(64.0 / 15.0) - _LOG_ROOT_TWO_PI + 1e-6
        error = size - 2.0 * NODES * np.log(_RHO) - np.log1p(-(_RHO**-2.0))
        return np.asarray(error.min(axis=0))

    def panels(self, power: float, u: float, log_budget: float) -> Array:
        """Edges of panels of which each errs by less than e^log_budget, for frequencies up to u."""
        width = min(1.5 * self.noise, 1.5 * self.noise**2 + 0.2 * self.noise)
        count = min(400, math.ceil((self.high - self.low) / width))
        edges = np.linspace(self.low, self.high, count + 1)
        for _ in range(24):
            bad = self.log_panel_errors(edges, power, u) > log_budget
            if not bad.any() or len(edges) > _MOST_PANELS:
                break
            edges = np.sort(np.concatenate([edges, 0.5 * (edges[1:] + edges[:-1])[bad]]))
        return edges

    def quadrature_error(self, edges: Array, power: float, u: float) -> float:
        """Upper bound of the quadrature error over all panels; may be infinite."""
        logs = self.log_panel_errors(edges, power, u)
        return float(np.exp(np.minimum(logs, 600.0)).sum()) if logs.max() < 600.0 else math.inf

    def rule(self, edges: Array) -> Rule:
        """The nodes and weights that belong to `edges`."""
        nodes, weights = _panel()
        half = 0.5 * np.diff(edges)[:, None]
        x = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * nodes).ravel()
        density = np.exp(-0.5 * (x / self.noise) ** 2 - _LOG_ROOT_TWO_PI) / self.noise
        return Rule(x, (half * weights).ravel() * density, self.log_ratio(x), self.share(x))

    def _slack(self, rule: Rule) -> tuple[Array, Array]:
        # Relative error of the weights, absolute error of ln r. Nodes are off by 3 UNIT |x|.
        x = np.abs(rule.x)
        weight = UNIT * (24.0 + 8.0 * (x / self.noise) ** 2)
        t = (x + 0.5) / self.noise**2
        return weight, UNIT * (6.0 * np.abs(rule.log_ratio) + 10.0 * rule.share * t)

    def real(self, rule: Rule, edges: Array, lam: float) -> tuple[float, float]:
        """(ln E, an upper bound of it) at z = lam."""
        power = self.power(lam)
        exponent = power * rule.log_ratio
        if exponent.max() > 690.0:
            return math.inf, math.inf
        terms = rule.weight * np.expm1(exponent)
        total, size = float(_sum(terms)) - self.missing, float(np.abs(terms).sum())
        weight, phase = self._slack(rule)
        error = float(np.abs(terms) @ weight) + (len(terms) // NODES + 64.0) * UNIT * size
        error += 1.1 * abs(power) * float((rule.weight * np.exp(exponent)) @ phase)
        error += self.quadrature_error(edges, power, 0.0) + self.missing_error
        error += 2.0 * UNIT * (self.missing + abs(total))
        log = math.log1p(total + error)
        return math.log1p(total), log + 4.0 * UNIT * abs(log)

    def rows(
        self, rule: Rule, edges: Array, lam: float, *, step: float, first: int, count: int
    ) -> Moments:
        """K = ln E at z = lam + i k step for `count` * ROW successive k from `first` * ROW on.

        e^(wG) is a product of e^(iuG) for a row's start and for the place in it, so that most work
        is one matrix product: with A, B the two factors less 1, the sum of n (A + B + A B) loses
        nothing where both are small.
        """
        power = self.power(lam)
        n, ratio = rule.weight, rule.log_ratio
        places = step * np.arange(ROW)[:, None] * ratio
        half = np.sin(0.5 * places)
        near = np.concatenate([-2.0 * half**2 * n, np.sin(places) * n])
        starts = step * ROW * np.arange(first, first + count)[:, None] * ratio
        tilt, grown = np.exp(power * ratio), np.expm1(power * ratio)
        half = np.sin(0.5 * starts)
        far_real = grown * np.cos(starts) - 2.0 * half**2
        far_imag = tilt * np.sin(starts)
        # short sums first: the rounding error of a sum grows with its length
        block = max(NODES, math.isqrt(len(n)))
        by_real, by_imag = np.zeros((count, 2 * ROW)), np.zeros((count, 2 * ROW))
        for begin in range(0, len(n), block):
            part = slice(begin, begin + block)
            by_real += far_real[:, part] @ near[:, part].T
            by_imag += far_imag[:, part] @ near[:, part].T
        length = block + len(n) // block + 1
        sums, lone = _sum(near), (_sum(far_real * n)[:, None], _sum(far_imag * n)[:, None])
        real = by_real[:, :ROW] - by_imag[:, ROW:] + sums[:ROW] + (lone[0] - self.missing)
        imag = by_real[:, ROW:] + by_imag[:, :ROW] + sums[ROW:] + lone[1]
        # rounding of the sums
        weight, phase = self._slack(rule)
        largest = np.minimum(2.0, step * ROW * np.abs(ratio))
        rate = n * (weight + (2.0 * length + 40.0) * UNIT)
        sizes = np.abs(far_real) + np.abs(far_imag)
        error = sizes @ (rate * (1.0 + largest)) + float(rate @ largest)
        last = step * ROW * np.arange(first + 1, first + count + 1)
        error += 1.1 * (abs(power) + last) * float((n * tilt) @ phase)
        error += self.quadrature_error(edges, power, float(last[-1])) + self._lost
        return _moments(real.ravel(), self.sign * imag.ravel(), np.repeat(error, ROW))

    def at(self, rule: Rule, edges: Array, lam: float, u: Array) -> Moments:
        """The same at any z = lam + iu, one by one."""
        power = self.power(lam)
        angles = u[:, None] * rule.log_ratio
        half = np.sin(0.5 * angles)
        tilt, grown = np.exp(power * rule.log_ratio), np.expm1(power * rule.log_ratio)
        real, imag = grown * np.cos(angles) - 2.0 * half**2, tilt * np.sin(angles)
        weight, phase = self._slack(rule)
        rate = rule.weight * (weight + (2.0 * len(weight) + 60.0) * UNIT)
        error = (np.abs(real) + np.abs(imag)) @ rate
        error += 1.1 * (abs(power) + u) * float((rule.weight * tilt) @ phase)
        error += self.quadrature_error(edges, power, float(u.max())) + self._lost
        return _moments(real @ rule.weight - self.missing, self.sign * (imag @ rule.weight), error)


def _sum(terms: Array) -> Array:
    # along the last axis, panel by panel
    return np.asarray(terms.reshape(*terms.shape[:-1], -1, NODES).sum(axis=-1).sum(axis=-1))


def _moments(a: Array, b: Array, error: Array) -> Moments:
    # ln(1 + a + ib). NumPy's complex log1p loses the real part when a + ib is small.
    size = np.hypot(1.0 + a, b)
    small = np.hypot(a, b) < 0.5
    with np.errstate(divide="ignore"):
        real = np.where(small, 0.5 * np.log1p(a * (2.0 + a) + b * b), np.log(size))
    rounding = np.where(small, 24.0 * UNIT * (np.abs(a) + np.abs(b)), 0.0)
    rounding = rounding + np.where(small, 0.0, 8.0 * UNIT * (1.0 + np.abs(real)))
    # for |a + ib| >= 1/2 the sum 1 + a is rounded
    error = error + np.where(small, 0.0, 2.0 * UNIT * (1.0 + np.abs(a) + np.abs(b)))
    return Moments(real + 1j * np.arctan2(b, 1.0 + a), size, error, rounding)


@lru_cache
def _panel() -> tuple[Array, Array]:
    """Nodes and weights on [-1, 1]."""
    pairs = gauss_legendre(NODES)
    return np.array([float(x) for x, _ in pairs]), np.array([float(w) for _, w in pairs])
