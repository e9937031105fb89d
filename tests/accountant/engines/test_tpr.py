"""True-positive rates where false-positive rates are no normal doubles any more."""

import dp_accounting.dp_event as dpe
import mpmath
import pytest

from privassay.accountant.account import account


def truth(fpr, rate):
    """One Poisson step at noise 1: the larger likelihoods are on the right."""
    with mpmath.workdps(40):
        above = mpmath.findroot(lambda t: mpmath.log(mpmath.ncdf(-t) / mpmath.mpf(fpr)), 37.0)
        return (1 - mpmath.mpf(rate)) * fpr + mpmath.mpf(rate) * mpmath.ncdf(1 - above)


@pytest.mark.parametrize("fpr", [5e-324, 1e-322, 1e-320, 1e-315, 1e-300, 1e-100])
def test_an_enclosure_holds_where_doubles_lose_their_digits(fpr):
    for rate in (0.01, 0.5):
        event = dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(1.0))
        found = account(event, adjacency="add-remove").tpr(fpr)
        assert found.lower <= truth(fpr, rate) <= found.upper
        if fpr >= 1e-300:
            assert found.upper - found.lower <= 1e-6 * found.upper
