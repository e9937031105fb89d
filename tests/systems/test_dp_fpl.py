"""Reference numbers of DP-FPL's specification, to their printed digits."""

from dataclasses import replace

import numpy as np
import pytest
from mpmath import log, mp, mpf, sqrt

from privassay.audit_reports.dossier import dp_fpl, dp_fpl_noise

from .conftest import params

SEVEN = ("7.55", "7.54")  # 64 * 0.4/sqrt(ln 1e5) = 7.54479: see the test below
CHECKLIST = [
    ("1, views", dp_fpl.views, "server: every un-noised gradient", ["no bound"] * 4),
    ("1, views", dp_fpl.views, "peer: noisy mean of g_G", [".1179", ".408", SEVEN, "59.8"]),
    ("1, views", dp_fpl.views, "outsider: personal prompt (U, V, G)",
     [".2042", ".742", "13.07", "140.3"]),
    ("1, views", dp_fpl.views, "outsider, replace-one", [".408", "1.591", "13.07", "140.3"]),
    ("1, views", dp_fpl.views, "querier: predictions of the outsider's prompt",
     [".2042", ".742", "13.07", "140.3"]),
    ("5", dp_fpl.calibration, "0.01", [".00410", "2437.9", "4875.7", "3393.1"]),
    ("5", dp_fpl.calibration, "0.05", [".01731", "577.7", "1155.4", "678.6"]),
    ("5", dp_fpl.calibration, "0.1", [".03252", "307.50", "614.99", "339.31"]),
    ("5", dp_fpl.calibration, "0.2", [".06133", "163.04", "326.08", "169.65"]),
    ("5", dp_fpl.calibration, "0.4", [".11588", "86.30", "172.59", "84.83"]),
    ("5", dp_fpl.calibration, "1", [".26805", "37.31", "74.61", "33.93"]),
    ("5", dp_fpl.calibration, "2", [".50155", "19.94", "39.88", "16.97"]),
    ("5", dp_fpl.calibration, "8", ["1.66603", "6.00", "12.00", "4.24"]),
    ("6", dp_fpl.cases, "claim .4, one mechanism, C/B", [".1179", ".408"]),
    ("6", dp_fpl.cases, "claim .4, U and V", [".1667", ".595"]),
    ("6", dp_fpl.cases, "claim .4, all three", [".2042", ".742"]),
    ("6", dp_fpl.cases, "claim .4, all three, replace-one", [".408", "1.591"]),
    ("6", dp_fpl.cases, "claim .4, batch clip, one", [SEVEN, "59.8"]),
    ("6", dp_fpl.cases, "claim .4, batch clip, U and V", ["10.67", "101.6"]),
    ("6", dp_fpl.cases, "claim .4, batch clip, all three", ["13.07", "140.3"]),
    ("6", dp_fpl.cases, "claim .1, one", [".0295", ".090"]),
    ("6", dp_fpl.cases, "claim .1, all three", [(".0511", ".0510"), ".164"]),
    ("6", dp_fpl.cases, "claim .1, batch clip, one", ["1.886", "9.3"]),
    ("6", dp_fpl.cases, "claim .1, batch clip, U and V", ["2.667", "14.3"]),
    ("6", dp_fpl.cases, "claim .01, batch clip, one", [".1886", ".681"]),
    ("6", dp_fpl.cases, "claim .01, batch clip, U and V", [".2667", ".995"]),
    ("5.5", dp_fpl.levels, "one example", [".1179", ".408", "", ""]),
    ("P10", dp_fpl.levels, "one client, 1 batch a round", ["", "", SEVEN, "59.8"]),  # 64 times
    ("5.5", dp_fpl.levels, "one client, 4 batches a round", [""] * 4),
    ("7", dp_fpl.attack_ceilings, "one mechanism", [".1179", ".047", ".533", ".014"]),
    ("7", dp_fpl.attack_ceilings, "all three", [".2042", ".081", ".557", ".017"]),
    ("7", dp_fpl.attack_ceilings, "all three, replace-one", [".408", ".162", ".614", ".028"]),
    ("6, noise law", dp_fpl_noise.noise, "noise std per coordinate at 0.4", ["26.5"]),
    ("6, noise law", dp_fpl_noise.noise, "norm of the noise on g_V (8 x 512) at 0.4", ["1.7e3"]),
    ("6, noise law", dp_fpl_noise.noise, "norm of the noise on g_V (8 x 512) at 0.01", ["6.8e4"]),
    ("P15", dp_fpl_noise.noise, "norm of U V at rank 8 (P15)", ["2.83"]),
    ("P15", dp_fpl_noise.noise, "smallest singular value of U V", ["1.000000"]),
    ("P15", dp_fpl_noise.noise, "largest singular value of U V", ["1.000000"]),
    ("P15", dp_fpl_noise.noise, "norm of p_L at start, expected", ["1.81"]),
    ("P1", dp_fpl_noise.noise, "measured move of a clipped batch over C/B (P1)", ["64.000"]),
    ("5.2", dp_fpl_noise.noise, "directions that noise on G reaches", ["4160"]),
    ("5.2", dp_fpl_noise.noise, "of", ["8192"]),
    ("P17", dp_fpl_noise.rows_of_the_paper, "promptfl: noised at the client and at the server",
     [".332"]),
    ("P17", dp_fpl_noise.rows_of_the_paper, "fedotp, fedpgp, dplora, dpfpl: at the server", [".1"]),
    ("P17", dp_fpl_noise.rows_of_the_paper, "promptfl over the others", ["3.32"]),
    ("7", dp_fpl.canary, "500", ["4.91"]),
    ("7", dp_fpl.canary, "1,000", ["5.60"]),
]  # fmt: skip


@pytest.mark.parametrize(("where", "function", "label", "wanted"), params(CHECKLIST))
def test_the_page(check_row, where, function, label, wanted):
    check_row(function, label, wanted)


def test_every_row_is_listed(check_complete):
    check_complete(dp_fpl, CHECKLIST, ["third_party", "others_accounting"])


def test_two_printed_values_of_mu_are_not_rounded_to_nearest():
    """64 * 0.4/sqrt(ln 1e5) and sqrt(3) * 0.1/sqrt(ln 1e5), by hand: 7.54479 and .051047."""
    with mp.workdps(30):
        root = sqrt(log(mpf(10) ** 5))
        batch, three = float(64 * mpf("0.4") / root), float(sqrt(3) * mpf("0.1") / root)
    assert (round(batch, 5), round(three, 6)) == (7.54479, 0.051047)  # printed: 7.55 and .0511
    rows = {row[0]: row[1] for row in dp_fpl.cases(dp_fpl.RELEASED).rows}
    assert rows["claim .4, batch clip, one"] == pytest.approx(batch, rel=1e-12)
    assert rows["claim .1, all three"] == pytest.approx(three, rel=1e-12)


def test_released_formula_crosses_over_between_two_and_four_tenths():
    found = dp_fpl.calibration(dp_fpl.RELEASED)
    released = {row[0]: row[4] - row[2] for row in found.rows}
    assert released[0.2] > 0.0 > released[0.4]
    assert "up to 0.2" in found.reading and "from 0.4" in found.reading


def test_an_example_of_its_own_clip_moves_as_far_as_assumed():
    """P1's twin: with each example clipped, the measured move is the assumed C/B."""
    one = replace(dp_fpl.RELEASED, clip="example")
    assert dp_fpl_noise.measured_move(one) == pytest.approx(1.0, rel=1e-9)
    assert one.worst_move == 1.0


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
