"""A flat composition as the engines take it: every number rounded to the side that is asked for."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

from .engines.contour import SubsampledStep
from .flatten import Parts
from .geometry import root_interval

End = Literal["lower", "upper"]
SHARPEST = 1e6  # mu that the lattice takes


def is_exact(parts: Parts) -> bool:
    """Whether one composition both dominates and is dominated."""
    return (
        parts.squared_mu[0] == parts.squared_mu[1]
        and all(low == high for _, low, high in parts.sampled)
        and all(upper == lower for upper, lower in parts.pairs)
    )


def gaussian_steps(parts: Parts, end: End) -> Sequence[SubsampledStep]:
    """The composition for the contour engine; noise rounded to the side of `end`."""
    steps = []
    squared = parts.squared_mu[1] if end == "upper" else parts.squared_mu[0]
    if squared == math.inf:
        raise ArithmeticError("a release without noise reached the contour; please report this")
    if squared > 0:
        noise = root_interval(1 / Fraction(squared))
        steps.append(SubsampledStep(1.0, noise[0] if end == "upper" else noise[1]))
    for (rate, low, high), count in parts.sampled.items():
        noise_multiplier = low if end == "upper" else high
        if noise_multiplier < math.inf:
            steps.append(SubsampledStep(rate, noise_multiplier, count))
    return steps


def pair_steps(parts: Parts, end: End) -> list[Any]:
    """The composition as pairs, for the lattice."""
    from .pairs import mixtures
    from .pairs.base import Step

    def side(pair: tuple[float, float]) -> float:
        return pair[1] if end == "upper" else pair[0]

    steps = []
    squared = parts.squared_mu[1] if end == "upper" else parts.squared_mu[0]
    if squared == math.inf:
        raise ArithmeticError("a release without noise reached the lattice; please report this")
    if squared > 0:
        whole = side(root_interval(squared))
        if whole > SHARPEST and end == "upper":
            raise ArithmeticError(f"mu = {whole:g} is more than the lattice takes")
        steps.append(Step(mixtures.gaussian(min(whole, SHARPEST)), 1))
    for (rate, low, high), count in parts.sampled.items():
        noise = low if end == "upper" else high
        if noise < math.inf:
            mu = root_interval(1 / Fraction(noise) ** 2)
            steps.append(Step(mixtures.poisson(rate, side(mu)), count))
    for (upper, lower), count in parts.pairs.items():
        pair = upper if end == "upper" else lower
        if pair is not None:
            steps.append(Step(pair, count))
    return steps
