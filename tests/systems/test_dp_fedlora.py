"""Reference numbers of DP-FedLoRA's specification, to their printed digits."""

import math

import numpy as np
import pytest

from privassay.audit_reports.dossier import dp_fedlora, dp_fedlora_schedule
from privassay.audit_reports.dossier import dp_fedlora_factors as factors

from .conftest import params

CHECKLIST = [
    ("L1", dp_fedlora.composition, "as released", ["25", "500.0000", "5,765", "35,195", "138,558"]),
    ("5", dp_fedlora.calibration, "1", [".2681", "3.73", "16.68", "19.74", "52.76"]),
    ("5", dp_fedlora.calibration, "2", [".5016", "1.99", "8.92", "10.55", "28.20"]),
    ("5", dp_fedlora.calibration, "4", [".9249", "1.08", "4.84", "5.72", "15.29"]),
    ("5", dp_fedlora.calibration, "8", ["1.6660", ".600", "2.68", "3.18", "8.49"]),
    ("5", dp_fedlora.calibration, "25", ["4.0749", ".245", "1.10", "1.30", "3.47"]),
    ("6", dp_fedlora.cases, "one tensor, C", ["5.16", "34.6"]),
    ("6", dp_fedlora.cases, "one tensor, 2C", ["10.32", "96.4"]),
    ("6", dp_fedlora.cases, "one upload, C", ["58.4", "1,952"]),
    ("6", dp_fedlora.cases, "one upload, 2C", ["116.8", "7,314"]),
    ("6", dp_fedlora.cases, "20 participations, C", ["261.1", "35,195"]),
    ("6", dp_fedlora.cases, "20 participations, 2C", ["522.2", "138,558"]),
    ("6", dp_fedlora.cases, "least used client (13), C", ["210.5", "23,051"]),
    ("6", dp_fedlora.cases, "most used client (28), C", ["308.9", "49,033"]),
    ("not on the page", dp_fedlora.cases, "most used client (28), 2C", ["", ""]),
    ("6", dp_fedlora.cases, "one record, at most 13 uses, 2C", ["421.0", "90,410"]),
    ("6", dp_fedlora.cases, "tracker's view: 400 uploads, one tensor, C", ["103.2", "5,765"]),
    ("5.7", dp_fedlora.cases, "20 participations, C, to first order for large mu",
     ["261.1", "35,196"]),
    ("6", dp_fedlora.classical, "1, C", [".206", ".75"]),
    ("6", dp_fedlora.classical, "1, 2C", [".413", "1.61"]),
    ("6", dp_fedlora.classical, "5, C", ["1.032", "4.54"]),
    ("6", dp_fedlora.classical, "5, 2C", ["2.064", "10.39"]),
    ("6", dp_fedlora.classical, "10, C", ["2.064", "10.39"]),
    ("6", dp_fedlora.classical, "10, 2C", ["4.128", "25.44"]),
    ("L9", dp_fedlora_schedule.schedule, "least participations", ["13"]),
    ("L9", dp_fedlora_schedule.schedule, "mean", ["20"]),
    ("L9", dp_fedlora_schedule.schedule, "most", ["28"]),
    ("L9", dp_fedlora_schedule.schedule, "records ever used, of 20,000", ["19,172"]),
    ("L9", dp_fedlora_schedule.schedule, "uses of the most used record", ["13"]),
    ("2", factors.noise, "noise std", ["0.01938"]),
    ("L6", factors.noise, "norm on one tensor, rank 8", ["3.51"]),
    ("L6", factors.noise, "norm on one tensor, rank 32", ["7.02"]),
    ("L6", factors.noise, "averaged factor of 2 clients, rank 8", ["2.48"]),
    ("L6", factors.noise, "averaged factor of 2 clients, rank 32", ["4.96"]),
    ("L6", factors.noise, "norm on B A, one upload, rank 8", ["4.35"]),
    ("L6", factors.noise, "norm on B A, plain average of 2, rank 8", ["2.18"]),
    ("L6", factors.noise, "signal on B A, at most", [".01"]),
    ("7", dp_fedlora.attack_ceilings, "1", ["5.16", ".990", ".9999", ".998"]),
    ("7", dp_fedlora.attack_ceilings, "128", ["58.4", "", "", ""]),
    ("7", dp_fedlora.canary, "epsilon that 500 refute", ["4.91"]),
    ("7", dp_fedlora.canary, "mu of epsilon 25", ["4.07"]),
    ("7", dp_fedlora.canary, "runs that refute epsilon 25 under the Gaussian null", ["176"]),
    ("8", dp_fedlora.benchmarks, "MMLU, accuracy 44.7 %", ["100", "5"]),
    ("8", dp_fedlora.benchmarks, "CRASS, accuracy 34.1 %", ["44", "7"]),
]  # fmt: skip


@pytest.mark.parametrize(("where", "function", "label", "wanted"), params(CHECKLIST))
def test_the_page(check_row, where, function, label, wanted):
    check_row(function, label, wanted)


def test_every_row_is_listed(check_complete):
    check_complete(dp_fedlora, CHECKLIST, ["aggregations", "gauge", "results"])


def test_first_order_form_for_large_mu():
    """35,196 against the exact 35,195: one more, both below the half."""
    rows = {row[0]: row[2] for row in dp_fedlora.cases(dp_fedlora.RELEASED).rows}
    exact = rows["20 participations, C"]
    first = rows["20 participations, C, to first order for large mu"]
    assert math.floor(exact) == 35195 and math.floor(first) == 35196 and first > exact


def test_aggregations_have_the_error_and_the_noise_of_their_formulas():
    """Section 2, for every row: exact or not without noise, and drawn noise near the formula's."""
    rows = factors.aggregations(dp_fedlora.RELEASED).rows
    assert [row[1] > 1e-9 for row in rows] == [True, False, False, False, False]
    for name, _, linear, quartic, total, drawn in rows:
        assert linear + quartic == pytest.approx(total)
        assert drawn == pytest.approx(total, rel=0.1), name  # standard error of about 3 %
    assert rows[3][3] == pytest.approx(4.0 * rows[0][3])  # K clients: K times the quartic noise
    assert [row[3] == 0.0 for row in rows] == [False, True, True, False, False]


def test_the_gauge_has_its_minimum_in_balance():
    rows = factors.gauge(dp_fedlora.RELEASED).rows
    best = {row[0]: row[2] for row in rows}["best"]
    assert all(row[2] >= best for row in rows)
    assert rows[0][2] == pytest.approx(rows[4][2]) and rows[0][2] > 1000.0 * best


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
