"""Root finding for the inverses of `gaussian`: find fast, then prove each end."""

import math
from collections.abc import Callable

from scipy.special import erfinv

from .mills import UNIT, LogDelta, log_delta, normal_quantile


def newton(
    miss: Callable[[float], tuple[float, float]], guess: float, low: float, high: float
) -> float:
    """Root of a monotone function in [low, high]; `miss` gives its value and its slope.

    Newton's rule; where it leaves the bracket, which shrinks, the bracket is halved.

    >>> newton(lambda x: (x * x - 2.0, 2.0 * x), 1.0, 0.0, 2.0)
    1.414213562373095
    """
    for _ in range(300):
        value, slope = miss(guess)
        if value == 0.0:
            break
        if (value > 0.0) == (slope > 0.0):
            high = guess
        else:
            low = guess
        new = guess - value / slope if slope else math.nan
        if not low <= new <= high:
            new = 0.5 * (low + high)
        if abs(new - guess) <= 2.0 * UNIT * abs(guess):
            return new
        guess = new
    return guess


def push(point: float, step: float, is_safe: Callable[[float], bool]) -> float:
    """An end of an interval: away from `point`, in ever larger steps, until proven `is_safe`.

    The sign of `step` says which end. Infinity is always safe.

    >>> push(1.0, 0.1, lambda x: x >= 1.5) > 1.5
    True
    """
    step = math.copysign(max(abs(step), 5e-324), step)
    while True:
        end = math.nextafter(point + step, math.copysign(math.inf, step))
        if abs(end) == math.inf or is_safe(end):
            return end
        step *= 2.0


def epsilon_root(delta: float, mu: float) -> float:
    """The epsilon >= 0 at which mu-GDP gives `delta`, in (0, 1); 0 if there is none."""
    target = math.log(delta)
    # delta <= Phi(-x) <= e^(-x^2/2): to the right of the root, where Newton's rule on this concave
    # function converges without overshooting.
    end = mu * (0.5 * mu + math.sqrt(-2.0 * target)) * (1.0 + 1e-12)

    def miss(epsilon: float) -> tuple[float, float]:
        at = log_delta(epsilon, mu)
        return at.rest - at.half_square - target, at.epsilon_slope

    return 0.0 if miss(0.0)[0] <= 0.0 else newton(miss, end, 0.0, end)


def mu_root(epsilon: float, delta: float) -> float:
    """The mu at which delta(epsilon) is `delta`, in (0, 1)."""
    target, z = math.log(delta), -normal_quantile(delta)
    # Two lower limits of the root: delta <= Phi(-x), and delta(epsilon) <= delta(0).
    root = math.hypot(z, math.sqrt(2.0) * math.sqrt(epsilon))
    start = max(
        2.0 * (epsilon / (z + root)) if z > 0.0 else root - z, 2.828427 * float(erfinv(delta))
    )

    def miss(log_mu: float) -> tuple[float, float]:
        mu = math.exp(log_mu)
        at = log_delta(epsilon, mu)
        return at.rest - at.half_square - target, mu * at.mu_slope

    guess = math.log(start)
    return math.exp(newton(miss, guess, guess - 1.0, guess + 50.0))


def first_step(point: float, at: LogDelta, spread: float, slope: float) -> float:
    """How far from `point` an end of its enclosure is expected, from the error of ln delta."""
    error = at.error + spread + 4.0 * UNIT * abs(at.rest - at.half_square)
    return 2.0 * error / abs(slope) + 2.0 * UNIT * point if slope else math.inf
