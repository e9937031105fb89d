"""Reference numbers of DP-FedLoRA's specification, to their printed digits."""

import math

import numpy as np
import pytest

from privassay.accountant.mills import normal_quantile
from privassay.audit_reports.dossier import dp_fedlora
from privassay.audit_reports.dossier.reference import epsilon


def test_calibration(check_rows):
    check_rows(
        dp_fedlora.calibration(),
        [
            ["1", ".2681", "3.73", "16.68", "19.74", "52.76"],
            ["2", ".5016", "1.99", "8.92", "10.55", "28.20"],
            ["4", ".9249", "1.08", "4.84", "5.72", "15.29"],
            ["8", "1.6660", ".600", "2.68", "3.18", "8.49"],
            ["25", "4.0749", ".245", "1.10", "1.30", "3.47"],
        ],
    )


def test_cases(check_rows):
    check_rows(
        dp_fedlora.cases(),
        [
            ["5.16", "34.6"],
            ["10.32", "96.4"],
            ["58.4", "1,952"],
            ["116.8", "7,314"],
            ["261.1", "35,195"],
            ["522.2", "138,558"],
            ["210.5", "23,051"],
            ["308.9", "49,033"],
            ["421.0", "90,410"],
            ["103.2", "5,765"],
        ],
    )


def test_classical(check_rows):
    check_rows(
        dp_fedlora.classical(),
        [
            [".206", ".75"],
            [".413", "1.61"],
            ["1.032", "4.54"],
            ["2.064", "10.39"],
            ["2.064", "10.39"],
            ["4.128", "25.44"],
        ],
    )


def test_schedule(check_rows):
    check_rows(dp_fedlora.schedule(), [["13"], ["20"], ["28"], ["19,172"], ["13"]])


def test_noise(check_rows):
    texts = [".01938", "3.51", "7.02", "2.48", "4.96", "4.35", "2.18", ".01"]
    check_rows(dp_fedlora.noise(), [[text] for text in texts])


def test_ceilings(check_rows):
    check_rows(dp_fedlora.attack_ceilings(), [["5.16", ".990", ".9999", ".998"]])


def test_canary(check_rows):
    check_rows(dp_fedlora.canary(), [["4.91"], ["4.07"], ["176"]])


def test_first_order_form_for_large_mu():
    mu = dp_fedlora.released_mu(uploads=20)
    assert round(0.5 * mu * mu - mu * normal_quantile(1e-5)) == 35196
    assert math.floor(epsilon(mu)) == 35195
    assert 25.0 * math.sqrt(400.0) == 500.0  # the system's own log


W = np.array([0.5, 0.3, 0.2])
ROWS, COLUMNS, RANK, STD = 3, 4, 2, 0.4
W2 = float((W**2).sum())


def _factors():
    random = np.random.default_rng(3)
    return random.standard_normal((3, ROWS, RANK)), random.standard_normal((3, RANK, COLUMNS))


def _plain(b, a):
    return np.einsum("k,...kmr->...mr", W, b) @ np.einsum("k,...krn->...rn", W, a)


def _stack(b, a):
    return np.einsum("k,...kmr,...krn->...mn", W, b, a)


def test_plain_average_misses_the_covariance_of_the_factors():
    b, a = _factors()
    centred = np.einsum("k,kmr,krn->mn", W, b - np.tensordot(W, b, 1), a - np.tensordot(W, a, 1))
    assert np.allclose(_plain(b, a) - _stack(b, a), -centred)
    frozen = np.broadcast_to(a[:1], a.shape)
    assert np.allclose(_plain(b, frozen), _stack(b, frozen))  # FFA, and a half-round of RoLoRA


@pytest.mark.parametrize("row", ["plain", "ffa", "stack"])
def test_noise_of_the_aggregations(row):
    """Expected squared noise of section 2, against 60,000 draws."""
    b, a = _factors()
    m, n, s2 = ROWS, COLUMNS, STD**2
    random = np.random.default_rng(4)
    beta = STD * random.standard_normal((60_000, *b.shape))
    alpha = STD * random.standard_normal((60_000, *a.shape))
    if row == "ffa":
        a, alpha = np.broadcast_to(a[:1], a.shape), 0.0
        wanted = W2 * m * s2 * (a[0] ** 2).sum()
        found = _plain(b + beta, a + alpha) - _plain(b, a)
    elif row == "plain":
        mean_a, mean_b = np.tensordot(W, a, 1), np.tensordot(W, b, 1)
        linear = m * (mean_a**2).sum() + n * (mean_b**2).sum()
        wanted = W2 * s2 * linear + W2**2 * m * n * RANK * s2**2
        found = _plain(b + beta, a + alpha) - _plain(b, a)
    else:
        each = m * s2 * (a**2).sum((1, 2)) + n * s2 * (b**2).sum((1, 2)) + m * n * RANK * s2**2
        wanted = float((W**2 * each).sum())
        found = _stack(b + beta, a + alpha) - _stack(b, a)
    squares = (found**2).sum((1, 2))
    error = 5.0 * squares.std() / math.sqrt(len(squares))
    assert abs(squares.mean() - wanted) < error, (row, squares.mean(), wanted, error)


def test_gauge_curve():
    """Section 5.5: rescaling the factors changes the noise on their product, minimal in balance."""
    b, a, m, n, r, s2 = 3.0, 0.5, 8, 5, 2, 0.04

    def power(c):
        return m * s2 * (c * a) ** 2 + n * s2 * (b / c) ** 2 + m * n * r * s2**2

    best = math.sqrt(math.sqrt(n / m) * b / a)
    least = 2.0 * s2 * math.sqrt(m * n) * a * b + m * n * r * s2**2
    assert power(best) == pytest.approx(least, rel=1e-12)
    assert all(power(c) > least for c in (0.01, 0.9 * best, 1.1 * best, 100.0))
