"""E_P[e^(zL)] of one Poisson-subsampled Gaussian step in ball arithmetic, nothing left out.

With n the density of N(0, s^2), t(x) = (2x-1)/(2 s^2) and r = 1 - q + q e^t,

    E(z) = int n r^w dx,   w = 1 + z for "remove" (L = ln r),   w = -z for "add" (L = -ln r),

over the whole line, by the trapezoid rule with nodes j h. Write p = Re w, and on x + ib let
b = beta s^2, |beta| <= theta < pi. There r = 1 - q + q e^t e^(i beta) does not meet the negative
axis, |arg r| <= |beta|, and r(x) cos(beta/2) <= |r| <= r(x). Hence int |n r^w| over that line is at
most e^(beta^2 s^2/2) c e^(u |beta|) E(lam), c = 1 for p > 0 and cos(beta/2)^p else, and the error
of the rule is at most

    2 e^(theta^2 s^2/2) c e^(u theta) E(lam)/(e^(2 pi theta s^2/h) - 1)

(Trefethen & Weideman, The exponentially convergent trapezoidal rule, SIAM Review 2014, Theorem
5.1). Nodes left out, from X on, where n falls:

- p >= 1, right, for any alpha in (0, 1): r^p <= (1-alpha)^(1-p) (1-q)^p + alpha^(1-p) q^p e^(pt) by
  convexity, and n e^(pt) is a normal density around p times e^((p^2-p)/(2 s^2)). If p lies beyond
  X, where this density still grows, its largest value times h is added.
- p >= 1, left, and p <= 0, right: r^p is at most its value at X.
- p <= 0, left of -X: r^p <= (1-q)^p; and, ln r being convex, it lies above its tangent at -X, of
  slope k = q e^t/(r s^2), which makes n r^p at most a normal density around p k s^2 times a factor.
"""

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from ..errors import ConfigError

Ball = Any  # flint.arb or flint.acb; python-flint is optional, so no name of it can be imported
_MOST_NODES = 100_000
_COLUMNS = 2048
_THETAS = tuple(3.0 * 0.8**k for k in range(80))


class Line(NamedTuple):
    """A trapezoid rule for E on Re z = lam, |Im z| <= top.

    Attributes:
        weights: h n r^p at the nodes.
        logs: ln r at the nodes.
        error: bounds |rule - E| anywhere on that part of the line.
        size: encloses E(lam).
    """

    lam: float
    top: float
    weights: list[Ball]
    logs: list[Ball]
    error: Ball
    size: Ball


def balls() -> Any:
    """The module flint.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("flint")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "a certificate in ball arithmetic needs python-flint, which is not installed:\n"
            "  pip install 'privassay[certify]'"
        ) from error


class Moment:
    """One kind of step; works at the precision that flint's context has when it is called.

    Attributes:
        rate, noise: of the step, taken as exact; the rate is below 1.
        sign: +1 for "remove", -1 for "add".
    """

    def __init__(self, rate: float, noise: float, *, sign: int) -> None:
        self.rate, self.noise, self.sign = rate, noise, sign
        flint = balls()
        self.arb, self.acb, self.mat = flint.arb, flint.acb, flint.acb_mat

    def power(self, lam: float) -> Ball:
        """Real part of w, exact."""
        return 1 + self.arb(lam) if self.sign > 0 else -self.arb(lam)

    def line(self, lam: float, top: float, digits: float) -> Line | None:
        """A rule at lam >= 0 for |Im z| <= top, error near e^-digits E(lam); None if too long."""
        theta, step = self._step(lam, top, digits)
        nodes = self.nodes(lam, step, digits)
        if nodes is None:
            return None
        weights, logs = self.rule(lam, step, nodes)
        arb = self.arb
        aliasing = self.aliasing(lam, step, arb(theta), arb(theta))
        tails = self.left_out(lam, step, nodes, digits)
        total = sum(weights, arb(0))
        # E - rule <= aliasing E + tails, so E <= (rule + tails)/(1 - aliasing)
        if not aliasing < 0.5:
            return None
        most = ((total + tails) / (1 - aliasing)).upper()
        size = arb(total, aliasing * most + tails)
        turned = aliasing * (arb(top) * theta).exp()
        error = (turned * most + tails).upper()
        return Line(lam, top, weights, logs, error, size)

    def length(self, lam: float, top: float, digits: float) -> float:
        """How many nodes `line` takes."""
        nodes = self.nodes(lam, self._step(lam, top, digits)[1], digits)
        return math.inf if nodes is None else len(nodes)

    def rule(self, lam: float, step: float, nodes: range) -> tuple[list[Ball], list[Ball]]:
        """(h n r^p, ln r) at the nodes."""
        arb, power = self.arb, self.power(lam)
        square = arb(self.noise) ** 2
        unit = step / (arb(self.noise) * (2 * arb.pi()).sqrt())
        weights, logs = [], []
        for x in (step * arb(j) for j in nodes):
            log = (1 + self.rate * (((x - 0.5) / square).exp() - 1)).log()
            logs.append(log)
            weights.append(unit * (power * log - x * x / (2 * square)).exp())
        return weights, logs

    def aliasing(self, lam: float, step: float, theta: Ball, widest: Ball) -> Ball:
        """The error of the rule at u = 0, as a part of E(lam).

        The strip has half-width theta s^2; |r| >= r(x) cos(widest/2) is charged for p < 0.
        """
        arb, square = self.arb, self.arb(self.noise) ** 2
        grown = theta * theta * square / 2
        if self.sign < 0:
            grown = grown - arb(lam) * (widest / 2).cos().log()
        return 2 * grown.exp() / ((2 * arb.pi() * theta * square / step).exp() - 1)

    def left_out(self, lam: float, step: float, nodes: range, digits: float) -> Ball:
        """Upper bound of the sum of h n r^p over all nodes outside `nodes`."""
        arb, s, q = self.arb, self.arb(self.noise), self.arb(self.rate)
        low, high, power = step * arb(nodes[0]), step * arb(nodes[-1]), self.power(lam)
        right, at_low = self._normal(high / s), self._ratio(low)
        if self.sign < 0:
            left = self._normal(-low / s) * (power * (1 - q).log()).exp()
            slope = power * (at_low - (1 - q)) / at_low  # p k s^2
            if low <= slope:
                log = power * at_low.log() + slope * (slope / 2 - low) / (s * s)
                near = log.exp() * self._normal((slope - low) / s)
                left = near if near < left else left
            return left + right * (power * self._ratio(high).log()).exp()
        left = self._normal(-low / s) * (power * at_low.log()).exp()
        alpha = arb(self._alpha(lam, digits))
        near = power * (1 - q).log() - arb(lam) * (1 - alpha).log()
        far = power * q.log() - arb(lam) * alpha.log()
        hump = (far + (power * power - power) / (2 * s * s)).exp()
        beyond = self._normal((high - power) / s)
        if not high >= power:
            beyond = beyond + step / (s * (2 * arb.pi()).sqrt())
        return left + right * near.exp() + beyond * hump

    def values(self, line: Line, step: float, first: int, rows: int, places: int) -> list[Ball]:
        """E at z = lam + i k step for k = first, ..., first + rows * places - 1.

        e^(i k step ln r) is a product of a factor for a row's start and one for the place in the
        row, which makes the work one matrix product.
        """
        acb, arb = self.acb, self.arb
        total = None
        for begin in range(0, len(line.logs), _COLUMNS):
            logs = line.logs[begin : begin + _COLUMNS]
            near, far = [], []
            for log, weight in zip(logs, line.weights[begin : begin + _COLUMNS], strict=True):
                turn = _turn(acb, arb(step) * log)
                near.append(_powers(acb(1), turn, places))
                start = weight * _turn(acb, arb(first) * step * log)
                far.append(_powers(start, _turn(acb, arb(places) * step * log), rows))
            left = self.mat(rows, len(logs), [row[k] for k in range(rows) for row in far])
            right = self.mat(len(logs), places, [value for row in near for value in row])
            part = left * right
            total = part if total is None else total + part
        fuzz = acb(arb(0, line.error), arb(0, line.error))
        found = [] if total is None else [value + fuzz for value in total.entries()]
        return found if self.sign > 0 else [value.conjugate() for value in found]

    def modulus(self, line: Line, u: float) -> Ball:
        """Upper bound of |E(lam + iu)|, u <= line.top."""
        real, imag = self.arb(0), self.arb(0)
        for log, weight in zip(line.logs, line.weights, strict=True):
            sine, cosine = (u * log).sin_cos()
            real, imag = real + weight * cosine, imag + weight * sine
        return self.acb(real, imag).abs_upper() + line.error

    def _ratio(self, x: Ball) -> Ball:
        return 1 + self.rate * (((x - 0.5) / self.arb(self.noise) ** 2).exp() - 1)

    def _normal(self, x: Ball) -> Ball:
        return (x / self.arb(2).sqrt()).erfc() / 2

    def _step(self, lam: float, top: float, digits: float) -> tuple[float, float]:
        # the widest step that will do; doubles, proven afterwards
        best = (math.inf, _THETAS[0])
        for theta in _THETAS:
            lost = -lam * math.log(math.cos(theta / 2.0)) if self.sign < 0 else 0.0
            need = (digits + 2.0 + lost) / theta + 0.5 * theta * self.noise**2 + top
            best = min(best, (need, theta))
        return best[1], 2.0 * math.pi * self.noise**2 / best[0]

    def _alpha(self, lam: float, digits: float) -> float:
        # share of the far hump in the convexity bound: as small as the hump allows
        power = 1.0 + lam
        hump = power * math.log(self.rate) + 0.5 * (power * power - power) / self.noise**2
        return max(1e-9, min(0.5, math.exp(min(0.0, (hump + digits + 4.0) / power))))

    def _low(self, lam: float, digits: float) -> float:
        # for "add": from here on to the left n r^(-lam) is below its tangent and below e^-digits
        s, q = self.noise, self.rate
        x = s * math.sqrt(2.0 * digits)
        while True:
            draw = q * math.exp(-(x + 0.5) / s**2)
            log = -lam * math.log1p(q * math.expm1(-(x + 0.5) / s**2)) - 0.5 * (x / s) ** 2
            if log <= -digits and x >= lam * draw / (1.0 - q + draw) + s:
                return x
            x *= 1.05

    def nodes(self, lam: float, step: float, digits: float) -> range | None:
        """The j of the nodes that matter; None if there are too many."""
        s, power, log_rest = self.noise, 1.0 + lam, math.log1p(-self.rate)
        low = high = math.sqrt(2.0 * digits) * s
        if self.sign < 0:
            low = min(self._low(lam, digits), low * math.sqrt(1.0 - lam * log_rest / digits))
        else:
            alpha = self._alpha(lam, digits)
            high = s * math.sqrt(2.0 * (digits - lam * math.log1p(-alpha)))
            if alpha == 0.5:
                high = max(high, power + s * math.sqrt(2.0 * (digits + lam * math.log(2.0))))
        if not (low + high) / step < _MOST_NODES:
            return None
        return range(-math.ceil(low / step) - 1, math.ceil(high / step) + 2)


def product(values: Sequence[Ball], counts: Sequence[int]) -> Ball:
    """Prod E_i^(T_i)."""
    found = values[0] ** counts[0]
    for value, count in zip(values[1:], counts[1:], strict=True):
        found = found * value**count
    return found


def _turn(acb: Any, angle: Ball) -> Ball:
    sine, cosine = angle.sin_cos()
    return acb(cosine, sine)


def _powers(start: Ball, factor: Ball, count: int) -> list[Ball]:
    # start * factor^k for k < count
    found = [start]
    for _ in range(count - 1):
        found.append(found[-1] * factor)
    return found
