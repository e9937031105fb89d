"""Samples of fixed size, drawn with replacement: how often one record is drawn is binomial."""

import math

from scipy.special import betainc, gammaln

from .mixtures import GaussianMixture

_RARE = 1e-40  # of P: draws rarer than this are counted at the outermost mean


def with_replacement(size: int, source: int, distance: float, *, upper: bool) -> GaussianMixture:
    """The pair of `size` draws from `source` records; the record moves a draw by `distance`.

    J ~ Bin(size, 1/source) copies are drawn. The upper pair is N(J distance) against
    N(-J distance), the lower N(J distance) against N(0). Very rare J are counted at the largest
    mean for the upper pair (raising a mean raises the divergence) and at the last kept one for the
    lower pair.
    """
    rate = 1.0 / source
    log_odds = math.log(rate) - math.log1p(-rate) if source > 1 else math.inf
    if source == 1:
        weights: tuple[float, ...] = (1.0,)
        means: tuple[float, ...] = (size * distance,)
    else:
        base = size * math.log1p(-rate)
        kept: list[float] = []
        for j in range(size + 1):
            log = base + j * log_odds + float(gammaln(size + 1) - gammaln(j + 1))
            kept.append(math.exp(log - float(gammaln(size - j + 1))))
            if j > size * rate and float(betainc(j + 1, max(size - j, 1), rate)) < _RARE:
                break
        last = len(kept) - 1
        where = [j * distance for j in range(last + 1)]
        if last < size and upper:
            kept.append(_RARE)
            where.append(size * distance)
        total = math.fsum(kept)
        weights, means = tuple(w / total for w in kept), tuple(where)
    if upper:
        return GaussianMixture(weights, means, weights, tuple(-m for m in means))
    return GaussianMixture(weights, means, (1.0,), (0.0,))
