"""The simultaneous exact-binomial band: every threshold at once, and the best one costs nothing.

One level g such that all n Clopper-Pearson limits of one sample hold together with probability
>= 1 - alpha. It does not depend on the distribution of the scores, and is computed, not simulated.

Why it holds for all thresholds: let V be the false-positive rates at the out-scores themselves;
they are uniform, V_(i) the i-th smallest. With k scores at or above the threshold the limit is
U_k = BetaInv(1 - g; k + 1, n - k), and some limit is too low only if some V_(k+1) > U_k. Mirrored,
that is V_(i) < b_i = BetaInv(g; i, n + 1 - i). Scores with ties attain fewer rates, so they miss
less. Source: Moscovich & Nadler, arXiv:1503.04363 (the recursion); Berk & Jones, 1979 (the band).
"""

import json
import math
import os
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.special import betaincinv, gammaln

from ...accountant import check
from ...accountant.errors import ParameterError
from ...attacks.scores import Scores
from .bound import EmpiricalBound, require_independent
from .clopper_pearson import (
    Floats,
    bound_from_counts,
    distinct_counts,
    epsilon_from_limits,
    limit_table,
    mu_from_limits,
    risk,
    thin,
)

MAX_TRIALS = 200_000
"""Above this the recursion takes minutes; split the scores or use a threshold fixed beforehand."""

_TINY = 1e-22  # state and increment mass below this is dropped, which only lowers the coverage
_ROUNDING = 1e-14  # relative error of one step of the recursion, about ten times too large


def miss_probability(n: int, level: float) -> float:
    """Probability that at least one of the n limits at `level` is too low; rounded up.

    P(V_(i) < b_i for some i) for n sorted uniforms. The counts of a Poisson process of rate n form
    a chain; given n points in all they are the uniforms. All terms are positive, so nothing
    cancels. Whatever is dropped counts as a miss, and rounding is charged on top.
    Source: Moscovich & Nadler, arXiv:1503.04363.

    Args:
        n: trials, 1..200,000. O(n^1.5): 0.1 s at n = 10,000.
        level: error level of each limit, in (0, 1).

    Raises:
        ParameterError: a number outside its range.

    >>> round(miss_probability(1, 0.05), 9), round(miss_probability(50, 1.474124e-3), 6)
    (0.05, 0.025)
    """
    check.count(n=n)
    check.open_probability(level=level)
    if n > MAX_TRIALS:
        raise ParameterError(
            f"n must be at most {MAX_TRIALS} for the band, but is {n}; use method 'split'"
        )
    rank = np.arange(1.0, n + 1.0)
    boundaries = betaincinv(rank, n + 1.0 - rank, level)
    means = n * np.diff(boundaries, prepend=0.0, append=1.0)  # of the Poisson increments

    state = np.ones(1)  # P(count = low + j, no boundary crossed so far)
    low = 0
    pmf, lengths = _increments(means[:-1])
    for i in range(n):
        # V_(i+1) >= b_(i+1) means: at most i points at or below the boundary.
        state = np.convolve(state, pmf[i, : lengths[i]])[: i + 1 - low]
        if i % 16 == 0:
            kept = np.flatnonzero(state > _TINY)
            if kept.size == 0:
                return 1.0
            low += int(kept[0])
            state = state[kept[0] : kept[-1] + 1]
    missing = n - (low + np.arange(state.size))
    last = means[-1]
    with np.errstate(divide="ignore"):
        ending = np.exp(missing * np.log(last) - last - gammaln(missing + 1.0))
    coverage = float(state @ ending) / _poisson_at_mean(n) * (1.0 - _ROUNDING * (n + 10))
    return min(1.0, max(0.0, 1.0 - coverage))


def _increments(means: Floats) -> tuple[Floats, list[int]]:
    """Poisson masses, float[len(means), terms], and how many terms of each row are worth keeping.

    By the ratio of neighbours, whose relative error is a few roundings per term.
    """
    largest = float(means.max())
    terms, mass = 1, math.exp(-largest)
    while terms < largest or mass > _TINY:
        mass *= largest / terms
        terms += 1
    ratios = np.empty((means.size, terms), dtype=np.float64)
    ratios[:, 0] = np.exp(-means)
    ratios[:, 1:] = means[:, None] / np.arange(1.0, terms)
    pmf: Floats = np.cumprod(ratios, axis=1, dtype=np.float64)
    lengths = terms - np.argmax(pmf[:, ::-1] > _TINY, axis=1)
    return pmf, [int(length) for length in lengths]


def _poisson_at_mean(n: int) -> float:
    """Poisson(n; n), at least the true value: n^n e^-n / n!."""
    if n < 20:
        return math.exp(-n) * (float(n**n) / math.factorial(n)) * (1.0 + 1e-15)
    # ln n! > Stirling + 1/(12 n) - 1/(360 n^3); n ln n would lose digits that this keeps
    correction = 1.0 / (12.0 * n) - 1.0 / (360.0 * n**3)
    return math.exp(-correction) / math.sqrt(2.0 * math.pi * n) * (1.0 + 1e-15)


@lru_cache(maxsize=256)
def band_level(n: int, alpha: float) -> float:
    """The level g of each limit such that all n hold together with probability >= 1 - alpha.

    Certified: `miss_probability(n, g) <= alpha` was evaluated for the g that is returned. Kept on
    disk; a value from disk is evaluated again before it is used, so a wrong one cannot harm.

    Args:
        n: trials, 1..200,000. About 0.4 s at n = 10,000, a quarter of it when found on disk.
        alpha: in (0, 1).

    Raises:
        ParameterError: a number outside its range.

    >>> print(f"{band_level(200, 0.025):.6e}")
    8.481185e-04
    """
    check.count(n=n)
    check.open_probability(alpha=alpha)
    if n == 1:
        return alpha
    known = _read_cache(n, alpha)
    if known is not None and 0.999 * alpha <= miss_probability(n, known) <= alpha:
        return known
    level = _solve(n, alpha)
    _write_cache(n, alpha, level)
    return level


def _solve(n: int, alpha: float) -> float:
    """Root of miss_probability(n, g) = alpha by secants in ln g, then a certified step down."""
    low, high = math.log(alpha / n), math.log(alpha)  # union bound; one limit alone

    def excess(x: float) -> float:
        return math.log(max(miss_probability(n, math.exp(x)), 1e-300) / alpha)

    # alpha / g as measured for alpha = 0.025, n = 50..5000; only the start of the search
    size = math.log(n)
    x = min(max(high - math.log(max(1.0, 2.0 + 1.4 * size + 0.68 * size**2)), low), high)
    f = excess(x)
    slope = 0.9
    for _ in range(30):
        if -2e-9 <= f <= 0.0:
            break
        # aim just below the root, so that the last point is on the safe side
        step = (-1e-9 - f) / slope
        following = min(max(x + step, low), high)
        if following == x:
            break
        f_following = excess(following)
        gradient = (f_following - f) / (following - x)
        if abs(following - x) > 1e-6 and gradient > 0.1:
            slope = gradient
        x, f = following, f_following
    # With an alpha near the rounding charge there is no root; the union bound always holds.
    return math.exp(x) if f <= 0.0 else alpha / n


def _cache_file() -> Path:
    folder = os.environ.get("PRIVASSAY_CACHE")
    if folder:
        return Path(folder) / "band_levels.json"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "privassay" / "band_levels.json"


def _load_cache() -> dict[str, object]:
    try:
        data = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: no home folder
        return {}
    return data if isinstance(data, dict) else {}


def _read_cache(n: int, alpha: float) -> float | None:
    value = _load_cache().get(f"{n} {alpha!r}")
    return value if isinstance(value, float) and alpha / n <= value <= alpha else None


def _write_cache(n: int, alpha: float, level: float) -> None:
    """Best effort: a cache that cannot be written costs time, not a result."""
    try:
        file = _cache_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps({**_load_cache(), f"{n} {alpha!r}": level}, indent=1)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(content)
        os.replace(name, file)
    except (OSError, RuntimeError):
        return


def pair_level(n_in: int, n_out: int, alpha: float) -> float:
    """One level for both samples, half of alpha each.

    The smaller of the two levels: with unequal samples the larger one is a little stricter than it
    need be, and every limit in the record can be computed again from a single number.
    """
    return min(band_level(n_in, alpha / 2.0), band_level(n_out, alpha / 2.0))


def band_bound(scores: Scores, *, confidence: float, delta: float) -> EmpiricalBound:
    """The best mu and the best epsilon over all thresholds, valid for the choice.

    Exact: all limits at all thresholds hold together with probability >= confidence.
    Source: this module's docstring.

    Args:
        scores: design "many_runs"; ties allowed.
        confidence: in (0, 1).
        delta: in [0, 1), where epsilon is stated.

    Raises:
        DesignError: the trials are not independent runs.

    >>> scores = Scores(values_in=np.arange(400) % 20 + 8.0, values_out=np.arange(400) % 20,
    ...                 design="many_runs", adversary="server", attack="none",
    ...                 adjacency="add-remove")
    >>> found = band_bound(scores, confidence=0.95, delta=1e-5)
    >>> print(f"{found.mu_lower:.4f} {found.epsilon_lower:.4f}")
    1.6353 2.8828
    """
    require_independent(scores, "band")
    n_in, n_out = scores.values_in.size, scores.values_out.size
    level = pair_level(n_in, n_out, risk(confidence))
    _, tp, fp = distinct_counts(scores.values_in, scores.values_out)
    fpr_upper = limit_table(n_out, level)[fp]
    fnr_upper = limit_table(n_in, level)[n_in - tp]
    best_mu = int(np.argmax(mu_from_limits(fpr_upper, fnr_upper)))
    best_epsilon = int(np.argmax(epsilon_from_limits(fpr_upper, fnr_upper, delta)))
    return bound_from_counts(
        (int(tp[best_mu]), int(fp[best_mu])),
        (int(tp[best_epsilon]), int(fp[best_epsilon])),
        scores=scores,
        n_in=n_in,
        n_out=n_out,
        level=level,
        confidence=confidence,
        delta=delta,
        method="band",
        threshold_from=f"best of all {tp.size} distinct scores; the band pays for the choice",
        roc=thin(tp, fp),
    )
