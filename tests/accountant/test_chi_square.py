import math

import mpmath as mp
import pytest

from privassay.accountant import chi_square


@pytest.mark.parametrize("ratio", [(100 / 99) ** 2, (99 / 100) ** 2, 1.6, 0.5])
@pytest.mark.parametrize("dimension", [2, 3, 512])
def test_chi_square_tails(ratio, dimension):
    for epsilon in (0.0, 0.3, 2.0, 20.0, -0.4):
        found = chi_square.log_delta(epsilon, ratio=ratio, dimension=dimension)
        with mp.workdps(60):
            a, r, e = mp.mpf(dimension) / 2, mp.mpf(ratio), mp.mpf(epsilon)
            x = (e + a * mp.log(r)) / (r - 1)
            ends = (lambda t: (t, mp.inf)) if r > 1 else (lambda t: (0, max(t, 0)))
            p, q = (mp.gammainc(a, *ends(t), regularized=True) for t in (x, r * x))
            exact = p - mp.exp(e) * q if x > 0 or r < 1 else 1 - mp.exp(e)
        if exact <= 0:
            assert found.value == -math.inf
            continue
        assert abs(found.value - mp.log(exact)) < min(found.error, 1e-12), epsilon
