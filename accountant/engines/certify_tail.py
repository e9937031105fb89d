"""The part of the contour integral beyond the last node, bounded in ball arithmetic.

The same two bounds as in `contour_tail`, without a window. E is that of `certify_moments`.

- Everywhere beyond u: move the path of x to x + i theta s^2 (to x - i theta s^2 for "add"),
  0 < theta <= pi/2. There |n| = n(x) e^(theta^2 s^2/2), and |r^w| = |r|^p e^(-u arg r), so
  |E(lam + iu)| <= e^(theta^2 s^2/2) int n |r|^p e^(-u arg r) dx with 0 <= arg r. The right side
  falls with u. Its trapezoid rule: |r(x + ia)|^2 = r(x + ia) r(x - ia) is analytic, and so is
  arg r, half of the difference of the two logarithms over i. On the line x + i beta s^2, |beta| <
  pi/4, the exponent of e^(-u ..) has the real part -(u/2)(arg r at theta + beta less arg r at
  beta - theta), never positive: for theta <= pi/4 both angles are at most pi/2, up to which arg r
  grows with the angle; for theta >= pi/4 >= |beta| the first is >= 0 and the second <= 0. And |r|^p
  there is at most r(x)^p times 1 (p > 0) or cos((theta + |beta|)/2)^p. So the error is that of
  `aliasing`.
- Between two points a distance g apart: chords. |d^2/du^2| of E(lam + iu) e^(-icu) is at most
  V = E_P[e^(lam L) (L-c)^2], so |E| <= max of the ends + g^2 V/8. As y^2 <= e^y + e^-y - 2,
  V <= (e^(-dc) E(lam+d) + e^(dc) E(lam-d) - 2 E(lam))/d^2 for any d.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .certify_moments import Ball, Line, Moment
from .certify_plan import Tilted

_DROPS = np.concatenate([np.arange(10.0), np.arange(10.0, 32.0, 2.0)])
_THETAS = 0.5 * math.pi * 2.0 ** -_DROPS[:, None] * (1.0 - 1e-12)
_MOST_WORK = 5_000_000  # evaluations of e^(iu ln r)
_MOST_KEPT = 200_000


class Decay:
    """Bounds of |E(lam + iu)| for one kind of step; all at one lam."""

    def __init__(
        self, moment: Moment, count: int, lam: float, about: Tilted, digits: float
    ) -> None:
        """Each bound is meant to be off by e^-digits, a small part of 1/count."""
        self.moment, self.count, self.lam, self.work = moment, count, lam, 0
        self._digits = digits
        self._lines: dict[int, Line | None] = {}
        self._known: dict[float, Ball] = {}
        self._paths: dict[float, list[tuple[Ball, Ball]]] = {}
        self._size: Ball = moment.arb(math.inf)
        self._bend = self._second(about)
        s = moment.noise
        strip = min(0.78, math.sqrt(2.0 * digits) / s)  # of half-width strip * s^2, below pi/4
        need = (digits + 2.0) / strip + 0.5 * strip * s * s
        if moment.sign < 0:
            need -= lam * math.log(math.cos(0.25 * math.pi + 0.5 * strip)) / strip
        self._strip, self._step = strip, 2.0 * math.pi * s * s / need
        # |r|^p may be cos(pi/4)^p times as large off the real axis
        wider = digits + (0.35 * lam if moment.sign < 0 else 0.0)
        self._nodes = moment.nodes(lam, self._step, wider)
        if self._nodes is not None:
            x = self._step * np.arange(self._nodes[0], self._nodes[-1] + 1)
            t = np.minimum((x - 0.5) / s**2, 600.0)
            self._log = moment.rate * np.exp(t[None, :] + 1j * _THETAS)
            self._log = np.log(1.0 - moment.rate + self._log)
            power = 1.0 + lam if moment.sign > 0 else -lam
            unit = math.log(self._step / (s * math.sqrt(2.0 * math.pi)))
            self._plain = power * self._log.real - 0.5 * (x / s) ** 2 + 0.5 * (_THETAS * s) ** 2
            self._plain += unit

    @property
    def size(self) -> Ball:
        """Upper bound of E(lam)."""
        return self._size

    def _second(self, about: Tilted) -> Ball:
        moment, lam, arb = self.moment, self.lam, self.moment.arb
        shift = 0.02 * min(lam, about.variance**-0.5 if about.variance > 0.0 else lam)
        shift = 2.0 ** math.floor(math.log2(shift))
        ends = lam + shift, lam - shift
        exact = Fraction(lam) + Fraction(shift), Fraction(lam) - Fraction(shift)
        lines = [moment.line(at, 0.0, self._digits + 60.0) for at in (*ends, lam)]
        if lines[2] is not None:
            self._size = lines[2].size.upper()
        if None in lines or exact != tuple(map(Fraction, ends)):
            return arb(math.inf)
        up, down, middle = (line.size for line in lines if line is not None)
        turn = (arb(shift) * about.mean).exp()
        return ((up / turn + down * turn - 2 * middle) / arb(shift) ** 2).upper()

    def guess(self, u: float) -> tuple[float, float]:
        """(ln of the bound `beyond`, its theta), in doubles."""
        if self._nodes is None:
            return _log(self._size), 0.0
        log = (self._plain - u * self._log.imag).max(axis=1)
        sums = np.exp(self._plain - u * self._log.imag - log[:, None]).sum(axis=1)
        best = int(np.argmin(np.log(sums) + log))
        return float(np.log(sums[best]) + log[best]), float(_THETAS[best, 0])

    def beyond(self, u: float) -> Ball:
        """Upper bound of |E(lam + iv)| for all v >= u."""
        if self._nodes is None:
            return self._size
        return self._size.min(self._shifted(u, self.guess(u)[1]))

    def _shifted(self, u: float, theta: float) -> Ball:
        moment, arb, step, nodes = self.moment, self.moment.arb, self._step, self._nodes
        if nodes is None:
            return self._size
        if theta not in self._paths:
            self._paths[theta] = self._path(theta, nodes)
        square, strip = arb(moment.noise) ** 2, arb(self._strip)
        total = sum(((plain - u * turn).exp() for plain, turn in self._paths[theta]), arb(0))
        left_out = moment.left_out(self.lam, step, nodes, self._digits)
        if moment.sign < 0:
            left_out = left_out * (-arb(self.lam) * (arb(theta) / 2).cos().log()).exp()
        total = total + left_out
        total = total + self._size * moment.aliasing(self.lam, step, strip, theta + strip)
        return (total * (arb(theta) ** 2 * square / 2).exp()).upper()

    def _path(self, theta: float, nodes: range) -> list[tuple[Ball, Ball]]:
        # (ln of h n |r|^p, arg r) at the nodes
        moment, arb = self.moment, self.moment.arb
        s, power = arb(moment.noise), moment.power(self.lam)
        unit = (self._step / (s * (2 * arb.pi()).sqrt())).log()
        sine, cosine = arb(theta).sin_cos()
        turn = moment.acb(cosine, sine) * moment.rate
        found = []
        for x in (self._step * arb(j) for j in nodes):
            log = (((x - 0.5) / s**2).exp() * turn + (1 - arb(moment.rate))).log()
            found.append((unit + power * log.real - x * x / (2 * s * s), log.imag))
        return found

    def between(self, low: float, high: float) -> tuple[Ball, Ball]:
        """Upper bounds of |E(lam + iu)| for low <= u <= high, and for the two ends only."""
        ends = self._at(low).max(self._at(high))
        gap = self.moment.arb(high) - self.moment.arb(low)
        return self._size.min((ends + gap * gap * self._bend / 8).upper()), ends

    def _at(self, u: float) -> Ball:
        if u not in self._known:
            top = max(0, math.ceil(math.log2(u)))
            if top not in self._lines:
                if sum(len(line.logs) for line in self._lines.values() if line) > _MOST_KEPT:
                    self._lines.clear()
                self._lines[top] = self.moment.line(self.lam, 2.0**top, self._digits)
            line = self._lines[top]
            self._known[u] = self._size if line is None else self.moment.modulus(line, u)
            self.work += 1000 if line is None else len(line.logs)
        return self._known[u]


def reach_of(decays: Sequence[Decay], squared_mu: float, log_goal: float) -> float:
    """The u from where on `Decay.beyond` alone makes the tail small enough, a guess; may be inf."""
    low, high = -40.0, 60.0
    for _ in range(24):
        middle = 0.5 * (low + high)
        u = math.exp(middle)
        found = 0.5 * squared_mu * (decays[0].lam * (decays[0].lam + 1.0) - u * u) - middle
        found += sum(decay.count * decay.guess(u)[0] for decay in decays)
        low, high = (middle, high) if found > log_goal - 1.0 else (low, middle)
    return math.exp(high) if high < 59.0 else math.inf


def tail(
    decays: Sequence[Decay], squared_mu: Ball, *, start: float, step: float, log_goal: float
) -> Ball:
    """Upper bound of (1/pi) sum of step e^(Re K)/|z (z+1)| over the nodes u = k step >= start.

    The part of a range [a, b] is at most the largest e^(Re K) times 1/(a - step) - 1/b, as
    |z (z+1)| >= u^2. Ranges are halved until their sum is below e^log_goal or the work is too much.
    """
    arb = decays[0].moment.arb

    def grown(bounds: Sequence[Ball], u: float) -> Ball:
        lam = arb(decays[0].lam)
        found = (squared_mu * (lam * (lam + 1) - arb(u) ** 2) / 2).exp() / arb.pi()
        for bound, decay in zip(bounds, decays, strict=True):
            found = found * bound**decay.count
        return found

    def weight(low: float, high: float | None) -> Ball:
        return 1 / (arb(low) - step) - (0 if high is None else 1 / arb(high))

    # ranges up to where the bound that holds everywhere beyond is small enough
    edges, known = [start], []
    while True:
        known.append(grown([decay.beyond(edges[-1]) for decay in decays], edges[-1]))
        total = known[-1] * weight(edges[-1], None)
        if _log(total) < log_goal - 2.0 or len(edges) > 70:
            break
        edges.append(edges[-1] * 1.5)
    stack = list(zip(edges[:-1], edges[1:], known[:-1], strict=True))
    share = log_goal - 2.0 - math.log(max(1, len(stack)))
    while stack:
        low, high, most = stack.pop()
        part = most * weight(low, high)
        goal = share + math.log(min(1.0, 2.0 * (high - low) / low))
        work = sum(decay.work for decay in decays)
        if _log(part) > goal and work < _MOST_WORK:
            bounds = [decay.between(low, high) for decay in decays]
            found = grown([whole for whole, _ in bounds], low)
            least = grown([ends for _, ends in bounds], low)
            most = found if found < most else most
            part = most * weight(low, high)
            # halving gains nothing where the ends alone are as large
            if _log(part) > goal and _log(found) > _log(least) + 0.1:
                middle = 0.5 * (low + high)
                stack += [(middle, high, most), (low, middle, most)]
                continue
        total = total + part
    return total.upper()


def _log(value: Ball) -> float:
    # of a bound, for decisions only
    if not value.is_finite():
        return math.inf
    top = value.abs_upper()
    return float(top.log().mid()) if top > 0 else -math.inf
