"""`sound_dp` of SecFPP: its account, its noise and what an attack reaches."""

import math
from fractions import Fraction

import dp_accounting.dp_event as dpe
import pytest
import torch
from scipy.special import ndtr

from privassay.accountant import gaussian
from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError
from privassay.mechanisms.secret_sharing.clusterer import Clustered
from privassay.mechanisms.secret_sharing.fixed_point import FixedPoint
from privassay.mechanisms.secret_sharing.masks import (
    SystemSource,
    source_words,
)
from privassay.mechanisms.secret_sharing.openings import Board
from privassay.mechanisms.secret_sharing.setting import Setting

from .secfpp_cases import SMALL, inputs, noise

# -- sound_dp: the account ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "mu", "multiplier"), [(1, 0.2681, 16.68), (2, 0.5016, 8.92), (8, 1.6660, 2.68)]
)
def test_table_of_mu_and_noise_multipliers(epsilon, mu, multiplier):
    found = gaussian.mu(float(epsilon), 1e-5)
    assert found == pytest.approx(mu, abs=6e-5)
    assert math.sqrt(20) / found == pytest.approx(multiplier, abs=6e-3)
    event = dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(math.sqrt(20) / found), 20)
    assert account(event, adjacency="add-remove").epsilon(1e-5).upper == pytest.approx(epsilon)
    top = math.exp(epsilon) * ndtr(-found / 2 - epsilon / found)
    assert ndtr(found / 2 - epsilon / found) - top == pytest.approx(1e-5, rel=1e-6)


@pytest.mark.parametrize("s", [(3.0, 4.0, 5.0), (9.0, 2.0, 6.0), (0.5, 0.9, 0.7)])
def test_the_account_is_the_closed_form_from_above(s):
    setting = Setting(clients=20, dimension=16, prompt_dimension=64)
    found = noise(
        setting,
        noise_point=s[0],
        noise_count=s[1],
        noise_prompt=s[2],
        clip_point=1.5,
        clip_prompt=2.5,
    )
    cx, cg, releases, rounds = 1.5, 2.5, 25, 20
    add = releases * (cx**2 / s[0] ** 2 + 1 / s[1] ** 2) + rounds * cg**2 / s[2] ** 2
    both = max(4 * cx**2 / s[0] ** 2, 2 * cx**2 / s[0] ** 2 + 2 / s[1] ** 2)
    replace = releases * both + rounds * 4 * cg**2 / s[2] ** 2
    for adjacency, squared in (("zero-out", add), ("replace-one", replace)):
        mu = found.bound(adjacency=adjacency, clusterings=releases, prompts=rounds).mu.upper
        exact = math.sqrt(squared)
        # Above the ideal, by the rounding of the codes (sqrt(d') 2^-17 / C) and little else.
        assert exact < mu < exact * (1 + 1e-4), f"{adjacency}: {mu} against {exact}"


def test_the_account_covers_the_integers_that_are_added():
    setting = Setting(clients=20, dimension=16, prompt_dimension=64, dropouts=3)
    dp = noise(setting, 3.0)
    assert dp.honest == 15
    variance = dp.point_sum.variance
    assert variance * 15 >= (3 * 2**16) ** 2 >= variance * 15 * (1 - Fraction(1, 2**50))
    # Largest code of a clipped vector, by search over vectors on the sphere.
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn((20_000, 16), generator=draw, dtype=torch.float64)
    rows /= rows.norm(dim=1, keepdim=True)
    codes = dp.point_sum.contribution(rows * (1 + 1e-15))
    longest = math.sqrt(int(codes.square().sum(dim=1).max())) / 2**16
    event = dp.clustering_event("zero-out").event
    assert 1.0 - math.sqrt(16) * 2.0**-16 < longest <= 1.0
    assert event.noise_stddevs[0] <= math.sqrt(variance * 15 - 9) / 2**16
    assert dp.honest == dp.point_sum.cohort.honest == dp.prompt_sum.cohort.honest


def test_sound_dp_noise_is_as_declared_and_its_sums_are_right():
    setting = Setting(clients=10, dimension=6, prompt_dimension=300, clusters=2)
    dp = noise(setting, 0.5, clip_prompt=30.0)
    points, prompts = inputs(0, setting, domains=2)
    prompts = prompts * 0.5
    centres = torch.stack([points[:5].mean(0), points[5:].mean(0)])
    board = Board("sound_dp")
    unit = points / points.norm(dim=1, keepdim=True).clamp(min=1.0)
    nearest = torch.cdist(unit, centres).argmin(dim=1)
    member = torch.nn.functional.one_hot(nearest, 2).double()
    errors = []
    for round_ in range(1, 12):
        dp.iterate(points, centres, source=SystemSource(), board=board, round=round_, step=1)
        kept = Clustered(nearest, torch.ones(2))
        dp.aggregate(prompts, kept, source=SystemSource(), board=board, round=round_)
        opened = board.seen("cluster_prompt", to="all")[-1].data
        errors.append(opened - member.T @ prompts)
    errors = torch.stack(errors).flatten()
    # All ten add noise, eight of them count: 25 % more variance than declared.
    stddev = float(errors.std())
    assert stddev == pytest.approx(0.5 * math.sqrt(10 / 8), rel=0.05)
    assert abs(float(errors.mean())) < 5 * stddev / math.sqrt(len(errors))
    counts = torch.stack([o.data for o in board.seen("sizes", to="all")])
    assert float((counts - member.sum(0)).abs().max()) < 5.0


def test_the_attack_on_a_noisy_sum_stays_below_the_accounted_mu_and_comes_near():
    # The likelihood-ratio test on one release, zero-out, worst case: the client's vector is
    # known, honest noise only. TPR - FPR must not exceed 2 Phi(mu/2) - 1.
    setting = Setting(clients=5, dimension=2, prompt_dimension=1, slices=1, colluders=1, clusters=1)
    dp = noise(setting, 1.0)
    runs, target = 4000, torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    scores = []
    for present in (0.0, 1.0):
        rows = torch.zeros((setting.clients, 2), dtype=torch.float64)
        rows[0] = present * target
        noises = dp.point_sum.noise((runs, dp.honest), source_words(SystemSource())).sum(1)
        scores.append(noises.double() / 2**16 + float(rows[:, 0].sum()))
    gain = float((scores[1] > 0.5).double().mean() - (scores[0] > 0.5).double().mean())
    multiplier = dp.clustering_event("zero-out").event.noise_stddevs[0]
    ceiling = 2 * float(ndtr(0.5 / multiplier)) - 1
    assert 0.85 * ceiling < gain < ceiling + 5 * math.sqrt(0.5 / runs), f"{gain} against {ceiling}"


def test_no_client_moves_a_sum_by_more_than_its_clip():
    setting = Setting(clients=10, dimension=4, prompt_dimension=4, clusters=1)
    dp = noise(setting, 0.01, clip_point=0.5, clip_prompt=2.0)
    board = Board("sound_dp")
    points = torch.zeros((10, 4), dtype=torch.float64)
    points[0] = torch.tensor([1e6, -1e6, 1e6, 1e6])
    points[1] = math.nan
    start = torch.zeros((1, 4), dtype=torch.float64)
    _, sizes = dp.iterate(points, start, source=SystemSource(), board=board, round=1, step=1)
    kept = Clustered(torch.zeros(10, dtype=torch.int64), sizes)
    dp.aggregate(points, kept, source=SystemSource(), board=board, round=1)
    for value, clip in (("centres", 0.5), ("cluster_prompt", 2.0)):
        found = float(board.seen(value, to="all")[-1].data.norm())
        assert found == pytest.approx(clip, abs=0.1)  # 9 standard deviations


def test_noise_shares_that_are_too_coarse_are_refused():
    coarse = Setting(clients=10, dimension=4, prompt_dimension=4, points=FixedPoint(bits=1))
    with pytest.raises(ParameterError, match="more fractional bits"):
        noise(coarse, 1.0)
    with pytest.raises(ParameterError, match="fewer fractional bits"):
        noise(SMALL, 1.0e12)
    with pytest.raises(ParameterError, match="less than one step"):
        noise(SMALL, 1.0, clip_point=1e-5)
