"""Sampling probe: is who takes part drawn as the account of amplification assumes?"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from ..base import Key, SeededKey
from .finding import Finding
from .noise import RISK

PROBE = "sampling"
FIX = "draw everyone by a coin of their own from a secret key, or account without amplification"


def poisson(draw: Callable[[Key], Tensor], *, rate: float, draws: int = 400) -> Finding:
    """Fires where a sample is not Poisson, or is no secret: then nothing is amplified.

    Four tests, each at a quarter of the risk: the same whatever the key; how often each takes
    part; how many take part together; and whether two take part together as often as independent
    ones do.

    Args:
        draw: key -> bool[units], who takes part in one round; the same round at every call.
        rate: of the account, strictly between 0 and 1.
        draws: calls, at least 100, each with another key.

    >>> finding = poisson(lambda key: torch.arange(20) < 2, rate=0.1)
    >>> finding.text
    'the same 2 of 20 take part whatever the key: anyone can compute the sample'
    """
    from scipy.stats import binom

    check.open_probability(rate=rate)
    if draws < 100:
        raise ParameterError(f"at least 100 draws are needed to see a law, but got {draws}")
    taken = torch.stack([draw(SeededKey(i).child("sampling")) for i in range(draws)]).double()
    units = taken.shape[1]
    sizes, counts = taken.sum(dim=1), taken.sum(dim=0)
    if bool((taken == taken[0]).all()):
        # a Poisson sample of these units would be one and the same with this probability at most
        if max(rate, 1.0 - rate) ** (units * (draws - 1)) < RISK / 4:
            return _fires(
                f"the same {int(sizes[0])} of {units} take part whatever the key: anyone can "
                "compute the sample",
                1.0,
                rate,
            )
    tail = RISK / 8 / units
    low, high = binom.ppf(tail, draws, rate), binom.isf(tail, draws, rate)
    odd = int((counts - draws * rate).abs().argmax())
    if not low <= float(counts[odd]) <= high:
        share = float(counts[odd]) / draws
        return _fires(f"unit {odd} takes part in {share:.3g} of the samples", share, rate)
    # Dvoretzky, Kiefer, Wolfowitz & Massart: P(distance > t) <= 2 exp(-2 n t^2), for any law.
    steps = torch.arange(units + 1)
    below = (sizes.unsqueeze(1) <= steps).double().mean(dim=0).numpy()
    gap = float(abs(below - binom.cdf(steps.numpy(), units, rate)).max())
    if 2.0 * math.exp(-2.0 * draws * gap**2) < RISK / 4:
        return _fires(
            f"samples hold {int(sizes.min())} to {int(sizes.max())} of {units} units, of mean "
            f"{float(sizes.mean()):.3g} and variance {float(sizes.var()):.3g}, not "
            f"{units * rate * (1 - rate):.3g}",
            float(sizes.var()),
            units * rate * (1 - rate),
        )
    together = (taken.T @ taken).fill_diagonal_(draws * rate**2)
    tail = RISK / 4 / max(1, units * (units - 1))
    low, high = binom.ppf(tail, draws, rate**2), binom.isf(tail, draws, rate**2)
    far = int((together - draws * rate**2).abs().argmax())
    value = float(together.flatten()[far])
    if not low <= value <= high:
        return _fires(
            f"units {far // units} and {far % units} take part together in {value / draws:.3g} of "
            f"the samples, not {rate**2:.3g}",
            value / draws,
            rate**2,
        )
    return Finding(
        probe=PROBE,
        fired=False,
        text=f"{draws} samples of {units} units are as Poisson samples at rate {rate:g}",
        measured=float(taken.mean()),
        declared=rate,
    )


def _fires(text: str, measured: float, declared: float) -> Finding:
    return Finding(
        probe=PROBE, fired=True, text=text, fix=FIX, measured=measured, declared=declared
    )
