"""Reference numbers of SecFPP's specification, to their printed digits."""

import math

import pytest

from privassay.audit_reports.dossier import secfpp
from privassay.audit_reports.dossier import secfpp_attacks as attacks

from .conftest import near, params

CHECKLIST = [
    ("5.1", secfpp.openings, "slice_distances", ["server", "nobody", "nobody"]),
    ("5.1", secfpp.openings, "distances", ["server", "client", "nobody"]),
    ("5.1", secfpp.openings, "assignment", ["all", "client", "client"]),
    ("5.1", secfpp.openings, "sizes", ["all", "all", "noisy, all"]),
    ("5.1", secfpp.openings, "centres", ["nobody", "nobody", "noisy, all"]),
    ("5.1", secfpp.openings, "cluster_prompt", ["members, server", "members", "noisy, all"]),
    ("5.1", secfpp.openings, "iterations", ["all", "constant, all", "constant, all"]),
    ("5.1", secfpp.openings, "clusters", ["all", "constant, all", "constant, all"]),
    ("3", secfpp.replies, "K 1, t 1", ["3", "7", "17", "47"]),
    ("3", secfpp.replies, "K 1, t 2", ["5", "5", "15", "45"]),
    ("3", secfpp.replies, "K 2, t 1", ["5", "5", "15", "45"]),
    ("3, S9", secfpp.replies, "K 2, t 2", ["7", "3", "13", "43"]),
    ("3", secfpp.replies, "K 1, t 4", ["9", "1", "11", "41"]),
    ("3", secfpp.replies, "K 2, t 3", ["9", "1", "11", "41"]),
    ("3", secfpp.replies, "K 4, t 1", ["9", "1", "11", "41"]),
    ("3", secfpp.replies, "K 2, t 4", ["11", "refuse", "9", "39"]),
    ("3", secfpp.replies, "K 4, t 2", ["11", "refuse", "9", "39"]),
    ("S7", secfpp.wrap, "largest squared distance", ["54,975,581,388,800", "25,600"]),
    ("5.2", secfpp.multipliers, "1", [".2681", "16.68", "1.0000"]),
    ("5.2", secfpp.multipliers, "2", [".5016", "8.92", "2.0000"]),
    ("5.2", secfpp.multipliers, "8", ["1.6660", "2.68", "8.0000"]),
    ("5.1", secfpp.golden, "shares of (3, -4), mask 17", ["66", "143", "248", "381", "542", "731"]),
    ("5.1", secfpp.golden, "shares of (1, 2), mask 29", ["82", "161", "266", "397", "554", "737"]),
    ("5.1", secfpp.golden, "replies for client 1 in cluster {1, 2}",
     ["256", "324", "324", "256", "144", "36"]),
    ("5.1", secfpp.golden, "sharing of zero", ["5817", "4200", "8156", "4512", "4406", "3259"]),
    ("5.1", secfpp.golden, "masked replies", ["6073", "4524", "8480", "4768", "4550", "3295"]),
    ("S13", secfpp.golden, "opened", ["4", "36", "40", "", "", ""]),
    ("S13", secfpp.golden, "opened, masked", ["127", "9920", "40", "", "", ""]),
    ("5.1", attacks.rounding, "largest error of a distance", [near("9.6e-6", 5e-5)]),
    ("5.1", attacks.rounding, "bound", ["6.1e-5"]),
    ("5.1", attacks.rounding, "nearest centres that differ", ["0"]),
    ("S2", attacks.gram, "N 10, S 4", ["45", "", near("3.5", 1.0), "", near("1e-15", 1e-12)]),
    # the page's counts come from its own draws; ours most often need 4 and 5
    ("S2", attacks.gram, "N 10, S 3", ["45", "", near("5", 1.0), "", near("1e-15", 1e-12)]),
    ("S2", attacks.gram, "N 20, S 4", ["190", "", near("5", 1.0), "", near("1e-15", 1e-12)]),
    ("S4", attacks.breaks, "S4: error of a prompt, cluster of 2, one colluder subtracts",
     [near("0", 1e-15)]),
    ("S5", attacks.breaks, "S5: error of the prompt of a client that moved, sums differenced",
     [near("0", 1e-14)]),
    ("S7", attacks.breaks, "S7: share of a change read from ONE share, masks reused", ["1"]),
    ("S7", attacks.breaks, "S7: the same, fresh masks", ["0"]),
    ("S8", attacks.breaks, "S8: bits that one share under a real mask gives of one bit", [""]),
    ("S13", attacks.breaks, "S13: centres needed with distances per slice (d' 16, K 2)", ["9"]),
    ("S2", attacks.breaks, "S13: centres needed with whole distances (d' 16)", ["17"]),
    ("7", attacks.breaks, "best guess of a secret modulo 11 by t = 2 colluders", [".0909"]),
    ("7", attacks.breaks, "best guess of a secret modulo 11 by t + 1 = 3 colluders", ["1.0000"]),
]  # fmt: skip
# Tables with several rows under the same first cell: compared as a whole.
WHOLE = [
    ("3", secfpp.headroom, [
        ["2^31 - 1", "10", "32", "8"],
        ["2^31 - 1", "100", "32", "4"],
        ["2^61 - 1", "10", "32", "23"],
        ["2^61 - 1", "100", "32", "19"],
        ["2^61 - 1", "100", "512", "17"],
    ]),
    ("5.1", secfpp.quantisation, [
        ["16", "16", "1.2e-4", "6.1e-5", ""],
        ["16", "8", "0.031", "", ""],
    ]),
    ("S2", attacks.trilateration, [  # medians of random draws: within a third
        ["16", "8", "16", near(".76", 0.25)],
        ["16", "17", "16", near("6.5e-5", 2.3e-5)],
        ["16", "17", "8", near(".017", 0.006)],
        ["16", "32", "16", near("1.4e-5", 0.5e-5)],
        ["16", "32", "8", near("3.5e-3", 1.2e-3)],
        ["32", "33", "16", near("8.2e-5", 2.8e-5)],
    ]),
]  # fmt: skip

SLOW = (attacks.gram,)


@pytest.mark.parametrize(("where", "function", "label", "wanted"), params(CHECKLIST, SLOW))
def test_the_page(check_row, where, function, label, wanted):
    check_row(function, label, wanted)


@pytest.mark.parametrize(("where", "function", "wanted"), WHOLE)
def test_the_page_by_table(check_table, where, function, wanted):
    check_table(function, wanted)


def test_every_row_is_listed(check_complete):
    whole = [function.__name__ for _, function, _ in WHOLE]  # compared above, every row
    check_complete(secfpp, CHECKLIST, ["totals", *whole], SLOW)


def test_any_five_replies_open_the_golden_vector_and_four_do_not():
    alpha, values = (4, 5, 6, 7, 8, 9), (6073, 4524, 8480, 4768, 4550, 3295)
    for left_out in range(6):
        points = alpha[:left_out] + alpha[left_out + 1 :]
        replies = values[:left_out] + values[left_out + 1 :]
        assert [interpolated(points, replies, b, 10007) for b in (1, 2)] == [127, 9920]
    assert interpolated(alpha[:4], values[:4], 1, 10007) != 127


def interpolated(points, values, at, p):
    """The polynomial through (points, values), modulo p, at `at`; in Python's own integers."""
    total = 0
    for i, (x, value) in enumerate(zip(points, values, strict=True)):
        for j, other in enumerate(points):
            if j != i:
                value = value * (at - other) * pow(x - other, -1, p) % p
        total += value
    return total % p


def test_sound_dp_is_the_sum_of_squares_from_above():
    """Section 5.2's closed form; the object also charges rounding, so it lies a little above."""
    for adjacency, form, found, epsilon in secfpp.totals(secfpp.RELEASED).rows:
        assert form < found < 1.001 * form, adjacency
        assert math.isfinite(epsilon)
    (server, _) = secfpp.accounts()
    assert server.epsilon.upper <= server.claimed == 8.0
