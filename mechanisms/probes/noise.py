"""Noise forensics: variance, law, independence, reproducibility and the last bits of noise.

Each test has a false-alarm rate of at most RISK on the noise that is declared.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from .finding import Finding

RISK = 1e-6
PROBE = "noise forensics"


def _flat(noise: Tensor, fewest: int) -> Tensor:
    values = noise.double().flatten()
    if values.numel() < fewest or not bool(torch.isfinite(values).all()):
        raise ParameterError(
            f"at least {fewest} finite values of noise are needed, but got {values.numel()}; "
            "subtract the value without noise first"
        )
    return values


def variance(noise: Tensor, *, stddev: float) -> Finding:
    """Fires where Gaussian noise float[...] has another variance than declared, in either way."""
    from scipy.stats import chi2

    check.positive(stddev=stddev)
    values = _flat(noise, 2)
    n = values.numel()
    total = float((values / stddev).square().sum())
    low, high = chi2.ppf(RISK / 2, n), chi2.isf(RISK / 2, n)
    measured = stddev * math.sqrt(total / n)
    fired = not low <= total <= high
    way = "less" if total < low else "more" if total > high else "not other"
    return Finding(
        probe=PROBE,
        fired=fired,
        text=f"the noise has std {measured:.6g}, {way} than the declared {stddev:.6g} ({n} values)",
        measured=measured,
        declared=stddev,
    )


def each_variance(noise: Tensor, *, stddev: float) -> Finding:
    """`variance` of every coordinate of float[draws, dim] on its own; the worst is reported."""
    from scipy.stats import chi2

    check.positive(stddev=stddev)
    draws, dim = noise.shape
    _flat(noise, 2)
    totals = (noise.double() / stddev).square().sum(dim=0)
    low, high = chi2.ppf(RISK / 2 / dim, draws), chi2.isf(RISK / 2 / dim, draws)
    far = (totals / draws).log().abs() if bool((totals > 0).all()) else -totals
    index = int(far.argmax())
    measured = stddev * math.sqrt(float(totals[index]) / draws)
    return Finding(
        probe=PROBE,
        fired=not (low <= float(totals.min()) and float(totals.max()) <= high),
        text=f"coordinate {index} has noise of std {measured:.6g}, declared {stddev:.6g}",
        measured=measured,
        declared=stddev,
    )


def normality(noise: Tensor, *, stddev: float) -> Finding:
    """Fires where the noise is not N(0, stddev^2), by Kolmogorov and Smirnov's distance."""
    from scipy.stats import kstest

    check.positive(stddev=stddev)
    values = _flat(noise, 20) / stddev
    found = kstest(values.numpy(), "norm")
    return Finding(
        probe=PROBE,
        fired=float(found.pvalue) < RISK,
        text=f"distance {float(found.statistic):.4f} of {values.numel()} values to a Gaussian of "
        f"std {stddev:.6g} (p = {float(found.pvalue):.2g})",
        measured=float(found.statistic),
        declared=0.0,
    )


def independence(parts: Mapping[str, Tensor]) -> Finding:
    """Fires where two of the noises, of clients, rounds or tensors, are correlated.

    Args:
        parts: name -> noise; two that differ in length are compared over the shorter.
    """
    if len(parts) < 2:
        raise ParameterError("two noises are needed to be compared")
    flat = {name: _flat(value, 20) for name, value in parts.items()}
    pairs = list(combinations(flat, 2))
    largest, where, fired = 0.0, pairs[0], False
    for one, other in pairs:
        n = min(flat[one].numel(), flat[other].numel())
        r = _correlation(flat[one][:n], flat[other][:n])
        limit = _correlation_limit(n, RISK / len(pairs))
        fired |= abs(r) > limit
        if abs(r) > abs(largest):
            largest, where = r, (one, other)
    n = min(flat[where[0]].numel(), flat[where[1]].numel())
    margin = _correlation_limit(n, 0.05)
    return Finding(
        probe=PROBE,
        fired=fired,
        text=f"the noises of {where[0]} and {where[1]} have correlation {largest:.4f} +- "
        f"{margin:.4f} ({n} values)",
        measured=largest,
        declared=0.0,
    )


def reproducible(
    noise: Tensor, regenerate: Callable[[int], Tensor], seeds: Iterable[int]
) -> Finding:
    """Fires where noise can be drawn again from a public seed.

    Args:
        noise: what was added, float[...].
        regenerate: seed -> what an attacker would draw, the same shape.
        seeds: public or guessable seeds.
    """
    values = _flat(noise, 20)
    tried = list(seeds)
    limit = _correlation_limit(values.numel(), RISK / max(1, len(tried)))
    for seed in tried:
        r = _correlation(values, _flat(regenerate(seed), 20))
        if abs(r) > limit:
            left = math.sqrt(max(0.0, 1.0 - r * r))
            return Finding(
                probe=PROBE,
                fired=True,
                text=f"noise reproducible from seed {seed}: correlation {r:.4f}; subtracting it "
                f"leaves {left:.3g} of the noise",
                measured=r,
                declared=0.0,
            )
    return Finding(
        probe=PROBE, fired=False, text=f"none of {len(tried)} seeds gives the noise", measured=0.0
    )


def fresh(draw: Callable[[], Tensor]) -> Finding:
    """Fires where two calls give an entry the same value: noise that is not drawn afresh."""
    one, other = draw(), draw()
    same = int((one == other).sum())
    return Finding(
        probe=PROBE,
        fired=same > 0,
        text=f"{same} of {one.numel()} entries are the same in two releases",
        measured=float(same),
        declared=0.0,
    )


def last_bits(outputs: Tensor, *, stddev: float) -> Finding:
    """Fires where outputs are not on a fixed grid: then their last bits depend on the true value.

    Source: Mironov, CCS 2012; a grid of 2^-40 of the noise or coarser is asked for, the same for
    every output.
    """
    check.positive(stddev=stddev)
    values = _flat(outputs, 1)
    mantissas, exponents = torch.frexp(values)
    whole = (mantissas * 2.0**53).to(torch.int64)
    lowest = whole & -whole  # the lowest bit that is set
    zeros = torch.where(whole == 0, 62, torch.frexp(lowest.double()).exponent - 1)
    step = float(torch.where(values == 0.0, math.inf, (exponents - 53 + zeros).double()).min())
    grid = 2.0**step if step < math.inf else math.inf
    return Finding(
        probe=PROBE,
        fired=grid < stddev * 2.0**-40,
        text=f"all outputs are multiples of {grid:.3g}; noise {stddev:.6g}",
        measured=grid,
        declared=stddev * 2.0**-40,
    )


def _correlation(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        raise ParameterError(f"noises of {one.numel()} and {other.numel()} values")
    bottom = float(one.norm() * other.norm())
    return float(one @ other) / bottom if bottom else math.nan


def _correlation_limit(n: int, risk: float) -> float:
    """|r| that two independent noises of mean zero exceed with probability at most `risk`.

    The cosine of two independent directions, one of them uniform, is that of a coordinate of a
    uniform point on the sphere: its square is Beta(1/2, (n - 1)/2).
    """
    from scipy.stats import beta

    return math.sqrt(float(beta.isf(risk, 0.5, (n - 1) / 2)))
