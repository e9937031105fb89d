"""T-fold convolution of tilted masses on a lattice by FFT, with a bound on every rounding error.

Masses m_k at the indices k of a lattice are stored as weights w_k = m_k e^(theta k - scale) whose
sum is about 1. The tilt moves the bulk of the sum to the index of interest, so that rounding is
relative to what is looked for. A circular convolution of length N puts index s and s + jN together.

Error bound, u the float unit, t = log2 N:

- Forward transform. Every output is a sum of inputs times t twiddle factors, added up in t levels
  of butterflies, each of which errs by at most 6.7 u relative to the sum of the moduli below it
  (Higham, Accuracy and Stability of Numerical Algorithms, section 24.1). So each frequency errs by
  at most d = 8 t u sum|w|; the largest weight is taken out first, and added back exactly, as
  F - 1 = (transform of the others) + (w_0 - 1), so that d is relative to the others only.
- Power. ln F = log1p(F - 1) loses nothing where F is near 1. If all that happens to ln F_i lies in
  a_i, then prod F_i^T_i errs by at most |prod| (e^(sum T_i a_i) - 1); where that is not small, the
  product is set to 0 and its upper bound prod (|F_i| + d_i)^T_i is charged.
- Inverse transform: an index errs by at most the mean over the frequencies of error + 8 t u |G|.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..mills import UNIT

Array = NDArray[np.float64]
_FLOOR = -70.0  # products below e^_FLOOR are set to 0 and charged


class Law(NamedTuple):
    """Weights w_k = m_k e^(tilt k - scale) at k = first, first + 1, ..."""

    first: int
    weights: Array
    tilt: float
    scale: float


class Composed(NamedTuple):
    """Weights of the sum, wrapped into `first`, ..., first + N - 1.

    Each errs by at most `error`, and `scale` by at most `scale_error`.
    """

    first: int
    weights: Array
    error: float
    tilt: float
    scale: float
    scale_error: float


def tilted(first: int, masses: Array, tilt: float, *, up: bool) -> Law:
    """The law with the given masses, >= 0, every weight rounded up or down.

    >>> law = tilted(-1, np.array([0.25, 0.5, 0.25]), 0.0, up=False)
    >>> bool(law.weights.sum() < 1.0)
    True
    """
    index = np.arange(first, first + len(masses))
    with np.errstate(divide="ignore"):
        log_mass = np.log(masses)
    power = log_mass + tilt * index
    top = float(power.max())
    if top == -math.inf:
        return Law(first, np.zeros_like(masses), tilt, 0.0)
    scale = top + math.log(float(np.exp(power - top).sum()))
    weights = np.exp(power - scale)
    size = np.where(masses > 0.0, np.abs(log_mass), 0.0) + np.abs(tilt * index) + abs(scale)
    # 80: also pays for additions made where several masses meet in one place
    slack = UNIT * (80.0 + 8.0 * size)
    if up:
        # 1e-290: what underflowed
        weights = np.where(masses > 0.0, weights * (1.0 + slack) + 1e-290, 0.0)
    else:
        weights = np.maximum(0.0, weights * (1.0 - slack) - 1e-290)
    return Law(first, weights, tilt, scale)


def log_moment(law: Law, power: float) -> float:
    """Upper bound of ln sum_k w_k e^(power k)."""
    # blocks so short that no power underflows in them
    block = max(1, min(512, math.floor(600.0 / max(abs(power), 1e-300))))
    count = -(-len(law.weights) // block)
    rows = np.zeros((count, block))
    rows.ravel()[: len(law.weights)] = law.weights
    rise = max(0.0, power * (block - 1))
    inner = rows @ np.exp(power * np.arange(block) - rise)
    inner[rows.any(axis=1)] += 1e-300  # what underflowed
    with np.errstate(divide="ignore"):
        logs = np.log(inner) + power * (law.first + block * np.arange(count))
    top = float(logs.max())
    if top == -math.inf:
        return top
    value = top + math.log(float(np.exp(logs - top).sum())) + rise
    furthest = max(abs(law.first), abs(law.first + len(law.weights))) + block
    return value + UNIT * (4.0 * block + count + 16.0 * abs(power) * furthest + 8.0 * abs(value))


def log_tail(laws: Sequence[Law], counts: Sequence[int], power: float, index: int) -> float:
    """Chernoff: upper bound of ln of the weight of sums >= index (power > 0) or <= it (power < 0).

    The sum of `counts[i]` independent copies of each law is meant.
    """
    ends = [law.first + (len(law.weights) - 1 if power > 0.0 else 0) for law in laws]
    end = sum(count * last for count, last in zip(counts, ends, strict=True))
    if (end < index) if power > 0.0 else (end > index):
        return -math.inf
    terms = [count * log_moment(law, power) for law, count in zip(laws, counts, strict=True)]
    size = sum(abs(term) for term in terms) + abs(power * index)
    return sum(terms) - power * index + 8.0 * UNIT * (1.0 + size) * (1 + len(terms))


def compose(laws: Sequence[Law], counts: Sequence[int], *, first: int, size: int) -> Composed:
    """The sum of `counts[i]` independent copies of each law, wrapped into `size` indices."""
    if sum(counts) == 1 and len(laws[0].weights) <= size:
        buffer = np.zeros(size)
        law = laws[0]
        buffer[(np.arange(len(law.weights)) + law.first - first) % size] = law.weights
        return Composed(first, buffer, 0.0, law.tilt, law.scale, 0.0)
    unit = 8.0 * math.log2(size) * UNIT
    half = size // 2 + 1
    centres = [int(np.argmax(law.weights)) for law in laws]
    mains = [float(law.weights[k]) for law, k in zip(laws, centres, strict=True)]
    # F = base (1 + x + iy); the part of all steps at their centres is an atom of the sum, which is
    # kept out of the transforms if it is large
    kept = (
        min(mains) > 0.5
        and sum(count * math.log(main) for count, main in zip(counts, mains, strict=True)) > -20.0
    )
    bases = mains if kept else [1.0] * len(mains)
    active: NDArray[np.intp] | slice = slice(None)
    log_real, phase, bound, slack = (np.zeros(half) for _ in range(4))
    charge, growth = 0.0, 0.0
    for law, count, centre, main, base in zip(laws, counts, centres, mains, bases, strict=True):
        buffer = _fold(law, centre, size)
        rest = float(buffer.sum()) * (1.0 + 1e-9) / base
        spectrum = np.fft.rfft(buffer)[active]
        x, y = spectrum.real / base + (main / base - 1.0), spectrum.imag / base
        error = unit * rest + 4.0 * UNIT * (rest + abs(main / base - 1.0))
        modulus = np.sqrt((1.0 + x) ** 2 + y * y) + 1e-200
        # most frequencies of a long composition end here
        keep = modulus * (1.0 + 8.0 * UNIT) + error > math.exp(_FLOOR / count)
        charge += float(np.count_nonzero(~keep)) * math.exp(_FLOOR + 1e-6)
        x, y, modulus, active = x[keep], y[keep], modulus[keep], _subset(active, keep)
        log_real, phase, bound, slack = (v[keep] for v in (log_real, phase, bound, slack))
        t = 2.0 * x + x * x + y * y
        part = 0.5 * np.log1p(np.maximum(t, -1.0 + 1e-15))
        angle = np.arctan2(y, 1.0 + x)
        # of t: 4 UNIT per term, and log1p divides by 2 |F|^2
        inexact = 4.0 * UNIT * (2.0 * np.abs(x) + x * x + y * y) / modulus**2
        inexact += 8.0 * UNIT * (np.abs(part) + np.abs(angle) + np.abs(y) / modulus)
        inexact += (8.0 + len(laws)) * UNIT * (np.abs(part) + np.abs(angle))
        log_real += count * part
        phase += count * angle
        bound += count * np.log(modulus * (1.0 + 8.0 * UNIT) + error)
        slack += count * (error / modulus + inexact)
        # no other factor exceeds its sum of weights
        growth += count * max(0.0, main / base - 1.0 + rest + error)
        keep = bound > _FLOOR
        charge += float(np.exp(bound[~keep] + 1e-6).sum())
        log_real, phase, bound, slack = (v[keep] for v in (log_real, phase, bound, slack))
        active = _subset(active, keep)
    logs = [count * math.log(base) for count, base in zip(counts, bases, strict=True)]
    atom = math.exp(math.fsum(logs)) if kept else 0.0
    factor = atom if kept else 1.0
    usable = slack < 0.1
    value = np.where(usable, _minus_one(log_real, phase) if kept else _exp(log_real, phase), 0.0)
    if kept:
        value[~usable] = -1.0
    spectrum = np.full(half, -1.0 if kept else 0.0, dtype=np.complex128)
    spectrum[active] = value
    size_of = np.exp(np.minimum(log_real, 600.0))
    errors = np.where(usable, size_of * np.expm1(np.minimum(slack, 1.0)), np.exp(bound + 1e-6))
    total = float(errors.sum()) + charge * math.exp(min(growth, 600.0))
    modulus = np.abs(spectrum)
    total += (unit + 32.0 * UNIT) * float(modulus.sum())
    shift = sum(
        count * (law.first + k) for count, law, k in zip(counts, laws, centres, strict=True)
    )
    weights = np.fft.irfft(spectrum, size) * factor
    weights[0] += atom
    weights = np.roll(weights, -((first - shift) % size))
    scales = [count * law.scale for count, law in zip(counts, laws, strict=True)]
    inexact_scale = 8.0 * UNIT * (sum(map(abs, scales)) + sum(map(abs, logs)) + 1.0)
    return Composed(
        first,
        weights,
        2.01 * factor * total / size + 1e-290,
        laws[0].tilt,
        math.fsum(scales),
        inexact_scale,
    )


def _exp(real: Array, phase: Array) -> NDArray[np.complex128]:
    return np.asarray(np.exp(np.minimum(real, 600.0) + 1j * phase))


def _minus_one(real: Array, phase: Array) -> NDArray[np.complex128]:
    """e^(real + i phase) - 1 without cancellation."""
    bounded = np.minimum(real, 600.0)
    grown = np.exp(bounded)
    half = np.sin(0.5 * phase)
    return np.asarray(np.expm1(bounded) - 2.0 * grown * half * half + 1j * grown * np.sin(phase))


def _subset(active: NDArray[np.intp] | slice, keep: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.flatnonzero(keep) if isinstance(active, slice) else active[keep]


def _fold(law: Law, centre: int, size: int) -> Array:
    """All weights but the one at `centre`, whose index becomes 0, added up modulo `size`."""
    weights = law.weights.copy()
    weights[centre] = 0.0
    buffer = np.zeros(size)
    start = 0
    while start < len(weights):
        place = (start - centre) % size
        stop = min(len(weights), start + size - place)
        buffer[place : place + stop - start] += weights[start:stop]
        start = stop
    return buffer
