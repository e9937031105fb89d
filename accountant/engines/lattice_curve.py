"""Reading delta off composed laws on a lattice: sums over all indices above a threshold.

With weights x = P(sum = s) e^(theta (s - c) - ...) and y likewise for Q,

    delta(epsilon) = sum_{s >= i} P(s) - e^epsilon sum_{s >= i} Q(s),   i the first loss > epsilon,

is e^scale (A_i - e^(...) B_i) with A and B sums of x e^(-theta (s - c)) from the top. For a law on
true losses one array gives both, as Q(s) = P(s) e^-loss. For two arrays any i is a lower bound.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..mills import UNIT
from .lattice_fft import Composed
from .lattice_plan import Array

Pair = tuple[float, float]
_STEEP = 600.0


class Window(NamedTuple):
    """`size` indices from `first`; index s is the loss offset + s spacing; `target` a loss."""

    first: int
    size: int
    offset: float
    spacing: float
    target: float


class Side:
    """One end of the enclosure of a curve."""

    def __init__(
        self,
        p: Composed,
        q: Composed | None,
        window: Window,
        *,
        outside: Pair,
        q_outside: Pair = (-math.inf, -math.inf),
        up: bool,
    ) -> None:
        """`q` None: P lies on true losses. `outside`: ln of the weight below and above `window`."""
        self._up, self._window = up, window
        self._is_single = q is None
        sign = 1.0 if up else -1.0
        spacing = window.spacing
        centre = round((window.target - window.offset) / spacing)
        centre = min(max(centre, window.first), window.first + window.size - 1)
        steep = max(p.tilt, q.tilt if q else p.tilt + spacing)
        reach = math.floor(_STEEP / steep)
        start = max(window.first, centre - reach)
        stop = min(window.first + window.size, centre + reach)
        part = slice(start - window.first, stop - window.first)
        index = np.arange(start, stop) - centre
        x = np.maximum(0.0, p.weights[part])
        x = x + p.error if up else np.maximum(0.0, x - p.error)
        decay = np.exp(-p.tilt * index)
        if q is None:
            y = x * np.exp(-(p.tilt + spacing) * index)
            q_scale, q_error = p.scale - centre * spacing - window.offset, p.scale_error
            q_log = q_scale - p.tilt * centre
        else:
            y = np.maximum(0.0, q.weights[part])
            y = np.maximum(0.0, y - q.error) if up else y + q.error
            if not up:
                y = np.where(x > 0.0, y, 0.0)  # not in A
            y = y * np.exp(-q.tilt * index)
            q_log, q_error = q.scale - q.tilt * centre, q.scale_error
        x = x * decay
        self._start, self._centre = start, centre
        self.start = window.offset + start * spacing  # nothing is known below
        self._scale = p.scale - p.tilt * centre
        self._ratio = q_log - self._scale
        size = abs(self._scale) + abs(q_log) + abs(p.tilt * centre) * 2.0
        # of the sums: one rounding per term; of the exponents: below _STEEP
        relative = UNIT * (len(x) + 8.0 * _STEEP + 16.0 * size) + 2.0 * (p.scale_error + q_error)
        self._relative = relative
        above, q_above = (np.zeros(len(x) + 1) for _ in range(2))
        above[:-1] = np.cumsum(x[::-1])[::-1]
        q_above[:-1] = np.cumsum(y[::-1])[::-1]
        if up:
            # above the part kept: at most all weight, at the decay of its lower end
            is_whole = stop == window.first + window.size
            tail = math.exp(min(1.0, outside[1] if is_whole else 1.0))
            above += tail * math.exp(-p.tilt * (stop - centre)) * (1.0 + 1e-9)
            if q is not None:
                wrapped = math.exp(min(1.0, q_outside[0])) + math.exp(min(1.0, q_outside[1]))
                q_above[:-1] -= wrapped * np.exp(-q.tilt * index) * (1.0 + 1e-9)
        else:
            # all weight together is about 1
            wrapped = math.exp(min(1.0, outside[0])) + math.exp(min(1.0, outside[1]))
            above[:-1] -= wrapped * decay * (1.0 + 1e-9)
        self._p = above * (1.0 + sign * relative)
        self._q = np.maximum(0.0, q_above) * (1.0 - sign * relative)
        self._drift = 0.0
        if q is not None and not up:
            self._drift = self._typical_drift(x, y, index, p.tilt)

    def _typical_drift(self, x: Array, y: Array, index: Any, tilt: float) -> float:
        # the mean of ln(P/Q) - index spacing near the target
        spacing = self._window.spacing
        near = (index > -3) & (index * tilt < 4.0) & (x > 0.0) & (y > 0.0)
        if not near.any():
            return 0.0
        loss = np.log(x[near]) - np.log(y[near]) - self._ratio
        loss -= self._window.offset + (index[near] + self._centre) * spacing
        return float(np.average(loss, weights=x[near]))

    def log_delta(self, at: Array | float) -> Array:
        """Limit of ln delta without infinite losses; NaN or an infinity if there is none."""
        epsilon = np.asarray(at, dtype=np.float64)
        window, size = self._window, len(self._p)
        place = (epsilon - window.offset - self._drift) / window.spacing - self._start
        first = np.floor(np.clip(place, -10.0, size + 10.0)).astype(np.int64) + 1
        sign = -1.0 if self._up else 1.0
        factor = np.exp(np.minimum(epsilon + self._ratio, 700.0))
        factor *= 1.0 + sign * 4.0 * UNIT * (np.abs(epsilon) + abs(self._ratio) + 8.0)
        best = np.full_like(epsilon, -math.inf)
        for step in (-1, 0, 1) if self._is_single else (-2, -1, 0, 1, 2):
            at = np.clip(first + step, 0, size - 1)
            best = np.maximum(best, self._p[at] - factor * self._q[at])
        slack = 4.0 * UNIT * (np.abs(self._scale) + np.abs(epsilon + self._ratio) + 8.0)
        found = np.log(np.maximum(best, 0.0)) + self._scale
        if not self._up:
            return np.asarray(found - slack)
        found = found + slack
        return np.asarray(np.where(first < 2, math.inf, found))
