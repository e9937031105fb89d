"""Reference numbers of DP-FPL's specification, to their printed digits."""

import math

import numpy as np
import pytest
from mpmath import log, mp, mpf, sqrt

from privassay.audit_reports.dossier import dp_fpl


def test_views(check_rows):
    check_rows(
        dp_fpl.views(),
        [
            ["", "", "", ""],
            [".1179", ".408", "7.54", "59.8"],  # the specification prints 7.55; see below
            [".2042", ".742", "13.07", "140.3"],
            [".408", "1.591", "13.07", "140.3"],
        ],
    )
    assert set(dp_fpl.views().rows[0][1:]) == {math.inf}


def test_calibration(check_rows):
    check_rows(
        dp_fpl.calibration(),
        [
            [".01", ".00410", "2437.9", "4875.7", "3393.1"],
            [".05", ".01731", "577.7", "1155.4", "678.6"],
            [".1", ".03252", "307.50", "614.99", "339.31"],
            [".2", ".06133", "163.04", "326.08", "169.65"],
            [".4", ".11588", "86.30", "172.59", "84.83"],
            ["1", ".26805", "37.31", "74.61", "33.93"],
            ["2", ".50155", "19.94", "39.88", "16.97"],
            ["8", "1.66603", "6.00", "12.00", "4.24"],
        ],
    )


def test_released_formula_crosses_over_between_two_and_four_tenths():
    released = {row[0]: row[4] - row[2] for row in dp_fpl.calibration().rows}
    assert released[0.2] > 0.0 > released[0.4]


def test_cases(check_rows):
    check_rows(
        dp_fpl.cases(),
        [
            [".1179", ".408"],
            [".1667", ".595"],
            [".2042", ".742"],
            [".408", "1.591"],
            ["7.54", "59.8"],  # printed: 7.55
            ["10.67", "101.6"],
            ["13.07", "140.3"],
            [".0295", ".090"],
            [".0510", ".164"],  # printed: .0511
            ["1.886", "9.3"],
            ["2.667", "14.3"],
            [".1886", ".681"],
            [".2667", ".995"],
        ],
    )


def test_two_printed_values_of_mu_are_not_rounded_to_nearest():
    """64 * 0.4/sqrt(ln 1e5) and sqrt(3) * 0.1/sqrt(ln 1e5), by hand."""
    with mp.workdps(30):
        root = sqrt(log(mpf(10) ** 5))
        batch, three = float(64 * mpf("0.4") / root), float(sqrt(3) * mpf("0.1") / root)
    assert (round(batch, 4), round(three, 5)) == (7.5448, 0.05105)  # printed: 7.55 and .0511
    assert three < 0.05105
    rows = {row[0]: row[1] for row in dp_fpl.cases().rows}
    assert rows["claim .4, batch clip, one"] == pytest.approx(batch, rel=1e-12)
    assert rows["claim .1, all three"] == pytest.approx(three, rel=1e-12)


def test_ceilings(check_rows):
    check_rows(
        dp_fpl.attack_ceilings(),
        [
            [".1179", ".047", ".533", ".014"],
            [".2042", ".081", ".557", ".017"],
            [".408", ".162", ".614", ".028"],
        ],
    )


def test_noise(check_rows):
    texts = ["26.5", "1.7e3", "6.8e4", "2.83", "1.81", ".332", "3.32", "64", "4160"]
    check_rows(dp_fpl.noise(), [[text] for text in texts])


def test_canary(check_rows):
    check_rows(dp_fpl.canary(), [["500", "4.91"], ["1000", "5.60"]])


def test_refactored_part_is_a_partial_isometry():
    """P15: orthonormal U (16 x 8) and V (8 x 512) leave singular values 1, whatever p_L was."""
    random = np.random.default_rng(1)
    prompt = 0.02 * random.standard_normal((16, 512))
    left = np.linalg.qr(prompt @ random.standard_normal((512, 8)))[0]
    right = np.linalg.qr(prompt.T @ left)[0].T
    values = np.linalg.svd(left @ right, compute_uv=False)
    assert np.allclose(values[:8], 1.0) and np.allclose(values[8:], 0.0)


def test_only_the_minus_sign_projects_on_the_tangent_space():
    """With a plus the doubly projected part of the rebuilt gradient counts three times."""
    random = np.random.default_rng(2)
    left = np.linalg.qr(random.standard_normal((16, 8)))[0]
    right = np.linalg.qr(random.standard_normal((512, 8)))[0].T
    gradient = random.standard_normal((16, 512))
    on_left, on_right = left @ left.T, right.T @ right
    inner = on_left @ gradient @ on_right
    sides = gradient @ on_right + on_left @ gradient
    for sign, weight in ((1.0, 3.0), (-1.0, 1.0)):
        rebuilt = sides + sign * inner
        assert np.allclose(on_left @ rebuilt @ on_right, weight * inner)
