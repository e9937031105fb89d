"""Noise forensics: variance, law, independence, reproducibility and last bits of noise.

Each test has a false-alarm rate of at most RISK on the noise that is declared.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import combinations
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from .finding import Finding

RISK = 1e-6
PROBE = "noise forensics"
Seed = TypeVar("Seed")
Law = Literal["gaussian", "laplace"]
NEW_NOISE = "draw fresh noise for every release, client and tensor from the operating system"


class _Shape(NamedTuple):
    """A law of standard deviation 1: with size(u) summed over n values chi-square of dof n."""

    name: str
    scale: float
    power: int
    factor: float
    dof: int


_LAWS: dict[Law, _Shape] = {
    "gaussian": _Shape("norm", 1.0, 2, 1.0, 1),
    "laplace": _Shape("laplace", math.sqrt(0.5), 1, 2.0, 2),  # 2 |x| / b is chi-square, 2 degrees
}


def _flat(noise: Tensor, fewest: int) -> Tensor:
    values = noise.double().flatten()
    if values.numel() < fewest or not bool(torch.isfinite(values).all()):
        raise ParameterError(
            f"at least {fewest} finite values of noise are needed, but got {values.numel()}, "
            f"{int((~torch.isfinite(values)).sum())} of them not finite.\n"
            "  Subtract the value without noise first; look for NaN with `finite`."
        )
    return values


def finite(noise: Tensor) -> Finding:
    """Fires where a value of noise float[...] is NaN or infinite."""
    wrong = int((~torch.isfinite(noise)).sum())
    return Finding(
        probe=PROBE,
        fired=wrong > 0,
        text=f"{wrong} of {noise.numel()} values of noise are NaN or infinite",
        fix="find where the value without noise, or the noise, stops being finite" if wrong else "",
        measured=float(wrong),
        declared=0.0,
    )


def variance(noise: Tensor, *, stddev: float, law: Law = "gaussian") -> Finding:
    """Fires where noise float[...] has another variance than declared, in either way."""
    check.positive(stddev=stddev)
    values = _flat(noise, 2)
    found = each_variance(values.unsqueeze(1), stddev=stddev, law=law)
    way = "not other" if not found.fired else "less" if found.measured < stddev else "more"
    return Finding(
        probe=PROBE,
        fired=found.fired,
        text=f"the noise has std {found.measured:.6g}, {way} than the declared {stddev:.6g} "
        f"({values.numel()} values)",
        fix=found.fix,
        measured=found.measured,
        declared=stddev,
    )


def each_variance(noise: Tensor, *, stddev: float, law: Law = "gaussian") -> Finding:
    """`variance` of every coordinate of float[draws, dim] on its own; the worst is reported."""
    from scipy.stats import chi2

    check.positive(stddev=stddev)
    check.one_of(_LAWS, law=law)
    shape, (draws, dim) = _LAWS[law], noise.shape
    _flat(noise, 2)
    sizes = shape.factor * (noise.double().abs() / (stddev * shape.scale)) ** shape.power
    totals, dof = sizes.sum(dim=0), draws * shape.dof
    low, high = chi2.ppf(RISK / 2 / dim, dof), chi2.isf(RISK / 2 / dim, dof)
    far = (totals / dof).log().abs() if bool((totals > 0).all()) else -totals
    index = int(far.argmax())
    measured = stddev * (float(totals[index]) / dof) ** (1.0 / shape.power)
    fired = not (low <= float(totals.min()) and float(totals.max()) <= high)
    return Finding(
        probe=PROBE,
        fired=fired,
        text=f"coordinate {index} has noise of std {measured:.6g}, declared {stddev:.6g}",
        fix="add the declared noise, or declare and account for what is added" if fired else "",
        measured=measured,
        declared=stddev,
    )


def normality(noise: Tensor, *, stddev: float, law: Law = "gaussian") -> Finding:
    """Fires where the noise is not of the law with this deviation, by Kolmogorov and Smirnov."""
    from scipy.stats import kstest

    check.positive(stddev=stddev)
    check.one_of(_LAWS, law=law)
    values = _flat(noise, 20) / (stddev * _LAWS[law].scale)
    found = kstest(values.numpy(), _LAWS[law].name)
    fired = float(found.pvalue) < RISK
    return Finding(
        probe=PROBE,
        fired=fired,
        text=f"distance {float(found.statistic):.4f} of {values.numel()} values to {law} noise of "
        f"std {stddev:.6g} (p = {float(found.pvalue):.2g})",
        fix=f"draw {law} noise, or account for the law that is drawn" if fired else "",
        measured=float(found.statistic),
        declared=0.0,
    )


def independence(parts: Mapping[str, Tensor], *, law: Law | None = "gaussian") -> Finding:
    """Fires where two noises are correlated, or where one is zero or not finite.

    Args:
        parts: name -> noise of a client, round or tensor; two that differ in length are compared
            over the shorter.
        law: of the noise; for all but "gaussian" it must be symmetric about 0, and the test needs
            about 100 values to have power.
    """
    if len(parts) < 2:
        raise ParameterError(f"two noises are needed to be compared, but got {len(parts)}")
    for name, value in parts.items():
        if not bool(torch.isfinite(value).all()) or not bool(value.any()):
            what = "zero" if bool(torch.isfinite(value).all()) else "NaN or infinite in places"
            return Finding(
                probe=PROBE,
                fired=True,
                text=f"the noise of {name} is {what}: it has no correlation with any other",
                fix="find out why this value got no noise",
            )
    flat = {name: _flat(value, 20) for name, value in parts.items()}
    pairs = list(combinations(flat, 2))
    largest, where, margin, fired = 0.0, pairs[0], 0.0, False
    for one, other in pairs:
        n = min(flat[one].numel(), flat[other].numel())
        r, spread = _correlation(flat[one][:n], flat[other][:n])
        fired |= abs(r) > _limit(n, spread, RISK / len(pairs), law)
        if abs(r) >= abs(largest):
            largest, where, margin = r, (one, other), _limit(n, spread, 0.05, law)
    return Finding(
        probe=PROBE,
        fired=fired,
        text=f"the noises of {where[0]} and {where[1]} have correlation {largest:.4f} +- "
        f"{margin:.4f} (largest of {len(pairs)} pairs)",
        fix=NEW_NOISE if fired else "",
        measured=largest,
        declared=0.0,
    )


def reproducible(
    noise: Tensor,
    regenerate: Callable[[Seed], Tensor],
    seeds: Iterable[Seed],
    *,
    law: Law | None = "gaussian",
) -> Finding:
    """Fires where noise can be drawn again from a public seed.

    Args:
        noise: what was added, float[...].
        regenerate: seed -> what an attacker would draw, the same shape.
        seeds: public or guessable seeds, or names of generators with seeds.
        law: of the noise, see `independence`.
    """
    values = _flat(noise, 20)
    tried = list(seeds)
    if not tried:
        raise ParameterError("no seed was given to be tried")
    best, measured, fired = tried[0], 0.0, False
    for seed in tried:
        r, spread = _correlation(values, _flat(regenerate(seed), 20))
        if abs(r) > max(abs(measured), _limit(len(values), spread, RISK / len(tried), law)):
            best, measured, fired = seed, r, True
    left = math.sqrt(max(0.0, 1.0 - measured**2))
    return Finding(
        probe="reproducibility",
        fired=fired,
        text=f"noise reproducible from seed {best}: correlation {measured:.4f}; subtracting it "
        f"leaves {left:.3g} of the noise"
        if fired
        else f"none of {len(tried)} seeds gives the noise",
        fix="draw noise from the operating system's generator; keep seeds for tests"
        if fired
        else "",
        measured=measured,
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
    fired = grid < stddev * 2.0**-40
    return Finding(
        probe="last bits",
        fired=fired,
        text=f"all outputs are multiples of {grid:.3g} and of nothing larger; noise {stddev:.6g}",
        fix="round to a grid and add discrete noise, such as DiscreteGaussianSum" if fired else "",
        severity="info",  # as in nearly all software; a black-box audit reports it the same way
        measured=grid,
        declared=stddev * 2.0**-40,
    )


def _correlation(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Cosine, and the root of the sum of its squared terms; (0, 0) if one of them is zero."""
    if one.shape != other.shape:
        raise ParameterError(f"noises of {one.numel()} and {other.numel()} values are compared")
    bottom = float(one.norm() * other.norm())
    if bottom == 0.0:
        return 0.0, 0.0
    terms = one * other / bottom
    return float(terms.sum()), float(terms.norm())


def _limit(n: int, spread: float, risk: float, law: Law | None) -> float:
    """|r| that independent noises exceed with probability at most `risk`.

    Gaussian: the cosine with a direction that is uniform is that of a coordinate of a uniform
    point on the sphere; its square is Beta(1/2, (n - 1)/2). Other laws that are symmetric about 0:
    the terms have random signs, and Hoeffding's inequality bounds their sum by their own size.
    """
    if law == "gaussian":
        return _cosine_limit(n, risk)
    return spread * math.sqrt(2.0 * math.log(2.0 / risk))


@cache
def _cosine_limit(n: int, risk: float) -> float:
    from scipy.stats import beta

    return math.sqrt(float(beta.isf(risk, 0.5, (n - 1) / 2)))
