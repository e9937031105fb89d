"""Recovery and secrecy: what an observer computes from a view, and whether views of inputs differ.

For systems that hide inputs by shares and masks rather than by noise.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from ..base import Key, SeededKey
from .finding import Finding
from .noise import RISK


def recovered(guess: Tensor, secret: Tensor, *, by: str, within: float = 0.01) -> Finding:
    """Fires where a guess, computed from what an observer sees, is the secret.

    Args:
        guess: float[...]; NaN for what could not be computed.
        secret: float[...], the same shape, not zero.
        by: who, and from what.
        within: relative error that counts as recovered.
    """
    check.positive(within=within)
    error = float((guess - secret).double().norm() / secret.double().norm())
    fired = error <= within
    return Finding(
        probe="recovery",
        fired=fired,
        text=f"{by}: an input with relative error {error:.3g}",
        fix="open less: only what the claim lists, to whom it lists, after noise" if fired else "",
        measured=error,
        declared=within,
    )


def same_law(
    view: Callable[[int, Key], Tensor], *, draws: int = 2_000, what: str = "the view"
) -> Finding:
    """Fires where what an observer sees of input 0 has another law than of input 1.

    Kolmogorov and Smirnov's distance of two samples, for each coordinate, against its bound
    P(D > t) <= 2 exp(-n t^2) for n >= 458 (Wei & Dudley, arXiv:1107.5356). Perfect secrecy means
    equal laws, whatever the two inputs are.

    Args:
        view: (input 0 or 1, key) -> real or whole numbers [...].
        draws: of each input, at least 458.
        what: what the observer sees, in words.
    """
    from scipy.stats import ks_2samp

    if draws < 458:
        raise ParameterError(f"at least 458 draws are needed for the bound, but got {draws}")
    views = [
        torch.stack(
            [view(which, SeededKey(2 * i + which).child("secrecy")).flatten() for i in range(draws)]
        ).double()
        for which in (0, 1)
    ]
    columns = zip(views[0].T.numpy(), views[1].T.numpy(), strict=True)
    gaps = [float(ks_2samp(*pair, method="asymp").statistic) for pair in columns]
    p = min(1.0, 2.0 * len(gaps) * math.exp(-draws * max(gaps) ** 2))
    fired = p < RISK
    return Finding(
        probe="secrecy",
        fired=fired,
        text=f"{what} of two inputs differs by {max(gaps):.4f} in distribution ({draws} draws "
        f"of each, p = {p:.2g})",
        fix="mask with fresh uniform field elements" if fired else "",
        measured=max(gaps),
        declared=0.0,
    )
