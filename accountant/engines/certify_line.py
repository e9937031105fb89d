"""The contour integral for delta in ball arithmetic: every error bounded, rounding included.

The integral and its discretisation are those of `contour_table`: with z = lam + iu and nodes
u = k h, W = 2 pi/h,

    h/(2 pi) sum_k e^(K(z) - z eps)/(z (z+1)) = sum_j e^(j lam W) delta(eps + jW),

k and j over all integers. So the sum less delta(eps) lies between 0 and the two excesses

    j < 0: e^(-lam W)/(1 - e^(-lam W)), from delta <= 1,
    j > 0: c e^(K(m) - m eps) e^(-(m-lam) W)/(1 - e^(-(m-lam) W)) for any m > lam, with
           c = m^m/(1+m)^(1+m), from delta(e) <= c e^(K(m) - m e).

What is left out of the sum is bounded by `certify_tail`, K is enclosed by `certify_moments`.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from .certify_moments import Ball, Moment, balls, product
from .certify_plan import Place, tilted
from .certify_tail import Decay, reach_of, tail
from .contour_plan import Term

_MOST_BITS = 1 << 14
_PLACES, _BLOCK = 32, 2048  # a block of nodes of z is held in memory
_MOST_WORK, _CHEAP = 100_000_000, 20_000_000  # nodes of z times nodes of x, at 128 bits


class CertifiedLine:
    """e^K/(z (z+1)) at the nodes of one line; serves any number of epsilons.

    Attributes:
        bits: working precision.
        nodes: number of nodes.
        is_cut: whether nodes are missing for want of time; accuracy is lost.
    """

    def __init__(
        self, terms: Sequence[Term], squared_mu: Fraction, sign: int, place: Place, digits: float,
        epsilon: float,
    ) -> None:  # fmt: skip
        """Meant for relative errors near e^-digits of delta at `epsilon`."""
        self.place, self._flint, self.is_cut = place, balls(), False
        total = sum(term.number for term in terms)
        self._accuracy = digits + math.log(total) + place.waste + 5.0
        bits = 1.45 * (self._accuracy + math.log(total)) + 64.0
        self.bits = math.ceil(min(max(128.0, bits), _MOST_BITS))
        self._moments = [Moment(term.rate, term.noise, sign=sign) for term in terms]
        self._counts = [term.number for term in terms]
        goal = place.log_delta + place.lam * epsilon - digits
        low_bits = 224 + 2 * math.ceil(math.log2(total))
        with self._flint.ctx.workprec(low_bits):
            about = [tilted(term, sign, place.lam) for term in terms]
            decays = [
                Decay(moment, count, place.lam, found, 40.0 + math.log(total))
                for moment, count, found in zip(self._moments, self._counts, about, strict=True)
            ]
        with self._flint.ctx.workprec(self.bits):
            fmpq = self._flint.fmpq(squared_mu.numerator, squared_mu.denominator)
            self._mu2 = self._flint.arb(fmpq)
            self._values = self._fill(goal, reach_of(decays, float(squared_mu), goal))
            self._beyond = [
                found for m in (place.lam, *place.beyond) if (found := self._chernoff(m))
            ]
        self.nodes, self._tail = len(self._values), self._flint.arb(math.inf)
        with self._flint.ctx.workprec(low_bits):
            if self._values:
                start = self.nodes * place.step
                self._tail = tail(decays, self._mu2, start=start, step=place.step, log_goal=goal)

    def _fill(self, log_goal: float, reach: float) -> list[Ball]:
        # F = e^K/(z (z+1)) from u = 0 to `reach` if that is cheap, else until it stays small
        acb, arb, place = self._flint.acb, self._flint.arb, self.place
        found: list[Ball] = []
        work, wanted, small = 0.0, math.inf, 0
        cost = (self.bits / 128.0) ** 1.3
        if reach < 1e9 * place.step:
            wanted = math.ceil(reach / place.step) + 1
            lengths = [moment.length(place.lam, reach, self._accuracy) for moment in self._moments]
            wanted = wanted if wanted * sum(lengths) * cost <= _CHEAP else math.inf
        while len(found) < wanted:
            left = min(wanted - len(found), max(64, len(found)), _BLOCK)
            rows = math.ceil(left / _PLACES)
            first, count = len(found), rows * _PLACES
            top = (first + count) * place.step
            lines = [moment.line(place.lam, top, self._accuracy) for moment in self._moments]
            sizes = [len(line.logs) for line in lines if line is not None]
            work += count * sum(sizes) * cost
            if None in lines or (found and work > _MOST_WORK):
                self.is_cut = True
                break
            parts = [
                moment.values(line, place.step, first, rows, _PLACES)
                for moment, line in zip(self._moments, lines, strict=True)
                if line is not None
            ]
            for k in range(count):
                z = acb(place.lam, arb(place.step) * (first + k))
                value = product([part[k] for part in parts], self._counts)
                value = value * (self._mu2 * z * (z + 1) / 2).exp() / (z * (z + 1))
                found.append(value)
                size = float(value.abs_upper().log().mid())
                if size + math.log((first + k + 1) * place.step) > log_goal:
                    small = first + k
            if wanted == math.inf and len(found) - small > _PLACES:
                break
        return found[: max(small + 2, 16)] if wanted == math.inf else found

    def _chernoff(self, m: float) -> tuple[Ball, Ball] | None:
        # (m, c e^K(m))
        arb = self._flint.arb
        lines = [moment.line(m, 0.0, 40.0) for moment in self._moments]
        if None in lines or not m >= self.place.lam:
            return None
        at = arb(m)
        sizes = [line.size for line in lines if line is not None]
        log = self._mu2 * at * (at + 1) / 2 + at * at.log() - (1 + at) * (1 + at).log()
        return at, product(sizes, self._counts) * log.exp()

    def delta(self, epsilon: Ball) -> tuple[Ball, Ball]:
        """Lower and upper limit of delta; the lower may be negative, infinite or NaN."""
        with self._flint.ctx.workprec(self.bits):
            return self._delta(epsilon)

    def _delta(self, epsilon: Ball) -> tuple[Ball, Ball]:
        arb, acb, place = self._flint.arb, self._flint.acb, self.place
        chernoff = [grown * (-m * epsilon).exp() for m, grown in self._beyond]
        most = arb(1)
        for bound in chernoff:
            most = bound.upper() if bound < most else most
        if not self._values:
            return arb(0), most
        lam, step = arb(place.lam), arb(place.step)
        period = 2 * arb.pi() / step
        scale = (-lam * epsilon).exp()
        total = self._values[0].real / 2
        for k, value in enumerate(self._values[1:], start=1):
            sine, cosine = (step * k * epsilon).sin_cos()
            total = total + (value * acb(cosine, -sine)).real
        total = total * scale * step / arb.pi()
        tail = self._tail * scale
        excess = _geometric(lam * period)
        right = arb(math.inf)
        for (m, _), bound in zip(self._beyond, chernoff, strict=True):
            if m > lam:
                bound = bound * _geometric((m - lam) * period)
                right = bound.upper() if bound < right else right
        upper = (total + tail).upper()
        lower = (total - tail - excess - right).lower()
        return lower, upper if upper < most else most


def _geometric(exponent: Ball) -> Ball:
    # sum of e^(-j x) for j >= 1
    small = (-exponent).exp()
    return small / (1 - small)
