"""The defects of SecFPP: a bad program and its good twin, one after the other."""

import itertools
import statistics

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from privassay.accountant.errors import ParameterError
from privassay.attacks.prompts.gram import pairwise_distances
from privassay.mechanisms.secfpp import SecFPP
from privassay.mechanisms.secret_sharing import exposure
from privassay.mechanisms.secret_sharing.clustering import (
    flip_gap,
    plain_distances,
)
from privassay.mechanisms.secret_sharing.field import M31, PrimeField
from privassay.mechanisms.secret_sharing.fixed_point import FixedPoint
from privassay.mechanisms.secret_sharing.lagrange import LagrangeCode
from privassay.mechanisms.secret_sharing.masks import (
    SystemSource,
    uniform,
)
from privassay.mechanisms.secret_sharing.setting import Setting

from .secfpp_cases import RULE, SMALL, inputs, one_round

# -- the defects: a bad program and its good twin -------------------------------------------------


@pytest.mark.parametrize(
    ("dimension", "centres", "bits", "reference"),
    [
        (16, 8, 16, 0.76),
        (16, 17, 16, 6.5e-5),
        (16, 17, 8, 0.017),
        (16, 32, 16, 1.4e-5),
        (16, 32, 8, 3.5e-3),
        (32, 33, 16, 8.2e-5),
    ],
)
def test_s2_trilateration_from_known_centres(dimension, centres, bits, reference):
    draw = torch.Generator().manual_seed(1)
    errors = []
    for _ in range(200):
        uniform_ = torch.rand((centres + 1, dimension), generator=draw, dtype=torch.float64) * 2 - 1
        rounded = (uniform_ * 2.0**bits).round() / 2.0**bits
        opened = (rounded[0] - rounded[1:]).norm(dim=1)
        found = exposure.trilaterate(uniform_[1:], opened)
        errors.append(float((found - uniform_[0]).norm() / uniform_[0].norm()))
    assert statistics.median(errors) == pytest.approx(reference, rel=0.35)


@pytest.mark.parametrize(("clients", "clusters", "most"), [(10, 4, 4), (10, 3, 5), (20, 4, 7)])
def test_s2_all_pairwise_distances_from_the_gram_system(clients, clusters, most):
    draw = np.random.default_rng(clients + clusters)
    points = torch.from_numpy(draw.uniform(-1, 1, (clients, 16)))
    assignments, distances, needed = [], [], None
    while needed is None:
        drawn = draw.permutation(np.arange(clients * clusters) % clusters)[:clients]
        assignment = torch.from_numpy(drawn)
        if len(assignment.unique()) < clusters:
            continue
        assignments.append(assignment)
        distances.append(plain_distances(points)(assignment))
        found = pairwise_distances(assignments, distances)
        needed = len(assignments) if bool(found.determined.all()) else None
    assert 3 <= needed <= most
    assert float((found.values - torch.cdist(points, points)).abs().max()) < 1e-9


def test_s2_the_server_recovers_a_prompt_as_described_and_sees_nothing_in_sound_mpc():
    setting = Setting(clients=12, dimension=3, prompt_dimension=4, slices=1, clusters=4)
    points, prompts = inputs(4, setting, domains=4)
    bad = SecFPP(mode="as_described", setting=setting, rule=RULE)
    board = one_round(bad, points, prompts)[0].board
    distances = [o.data for o in board.seen("distances", to="server")]
    assigned = [o.data for o in board.seen("assignment", to="all")][: len(distances)]
    centres = torch.cat(
        [torch.stack([points[a == s].mean(0) for s in range(int(a.max()) + 1)]) for a in assigned]
    )
    seen = torch.cat([d[7] for d in distances])  # a server that knows the other clients' points
    assert float((exposure.trilaterate(centres, seen) - points[7]).abs().max()) < 1e-3
    good = SecFPP(mode="sound_mpc", setting=setting)
    board = one_round(good, points, prompts)[0].board
    assert not [o for o in board.opened if o.to == "server"]


def outlier_inputs(setting):
    points, prompts = inputs(5, setting, domains=1)
    points[3] = -points[3]
    return points, prompts


def test_s3_a_singleton_cluster_shows_its_prompt_and_dissolving_hides_it():
    points, prompts = outlier_inputs(SMALL)
    results = {}
    for dissolve in (False, True):
        system = SecFPP(mode="as_described", setting=SMALL, rule=RULE, dissolve=dissolve)
        run, served = one_round(system, points, prompts)
        results[dissolve] = (run.clustered, served, run.clustered.sizes.int().tolist())
    (bad, bad_served, bad_sizes), (_, good_served, good_sizes) = results[False], results[True]
    assert min(bad_sizes) == 1 and min(good_sizes) >= SMALL.min_size
    assert exposure.isolated_members(bad_sizes, colluders=2) != []
    assert exposure.isolated_members(good_sizes, colluders=2) == []
    assert float((bad_served[3] - prompts[3]).abs().max()) <= 2.0**-17
    assert float((good_served[3] - prompts[3]).abs().max()) > 0.1
    # Property inference: the assignment tells the outlier from the others.
    assert int((bad.assignment == bad.assignment[3]).sum()) == 1


def test_s4_colluders_subtract_themselves_and_the_minimum_size_leaves_two_unknowns():
    prompts = inputs(0, SMALL)[1]
    pair = exposure.subtract(prompts[:2].mean(0), 2, prompts[:1])
    assert float((pair - prompts[1]).abs().max()) < 1e-12
    assert Setting(clients=20, dimension=4, prompt_dimension=4, colluders=4).min_size == 6
    rest = exposure.subtract(prompts[:4].mean(0), 4, prompts[:2])
    assert float((rest - prompts[2:4].sum(0)).abs().max()) < 1e-12  # a sum of two, not one prompt


def test_s5_differences_of_sums_isolate_a_client_that_moves():
    prompts = inputs(0, SMALL)[1]
    groups = [frozenset({0, 1, 2, 3}), frozenset({0, 1, 2}), frozenset({4, 5, 6})]
    sums = [prompts[sorted(g)].sum(0) for g in groups]
    found = exposure.differences(sums, groups)
    assert set(found) == {3} and torch.allclose(found[3], prompts[3])
    noisy = [s + 5.0 * torch.randn(s.shape, dtype=torch.float64) for s in sums]
    assert not torch.allclose(exposure.differences(noisy, groups)[3], prompts[3], atol=0.1)
    assert exposure.differences(sums[1:], groups[1:]) == {}


def test_s7_values_that_wrap_decode_to_a_wrong_number_without_any_error():
    # p = 2^31 - 1, N 10, d' 32, l 16, B 1, the worst value of the specification.
    field = PrimeField(M31)
    worst = 4 * 32 * 10**2 * (2**16) ** 2
    assert worst == 54_975_581_388_800
    assert int(field.to_signed(torch.tensor(worst % M31))) == 25_600
    with pytest.raises(ParameterError, match="54975581388800"):
        Setting(clients=10, dimension=32, prompt_dimension=4, within=field)
    Setting(clients=10, dimension=32, prompt_dimension=4)
    with pytest.raises(ParameterError, match="can reach"):
        Setting(clients=10, dimension=32, prompt_dimension=4, points=FixedPoint(bits=24))


def test_s7_rounding_flips_only_near_ties():
    # Few bits: flips are allowed exactly where the two smallest distances are near each other.
    setting = Setting(clients=12, dimension=4, prompt_dimension=2, points=FixedPoint(bits=4))
    flips = 0
    for seed in range(40):
        points = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (12, 4)))
        start = torch.arange(12) % 4
        exact = plain_distances(points)(start)
        rounded = plain_distances((points * 16).round() / 16)(start)
        changed = exact.argmin(1) != rounded.argmin(1)
        two = exact.sort(dim=1).values
        gap = flip_gap(dimension=4, bits=4)
        assert bool(((two[:, 1] - two[:, 0])[changed] < gap).all())
        flips += int(changed.sum())
    assert flips > 0 and setting.points.bits == 4


def test_s7_reused_masks_give_the_change_from_one_share():
    code = LagrangeCode(clients=10, slices=1, colluders=2)
    field = code.within
    first, second = (uniform(SystemSource(), field, 1, 8) for _ in range(2))
    masks = uniform(SystemSource(), field, 2, 8)
    bad = [code.share(x, masks)[4] for x in (first, second)]
    change = exposure.change_from_reused_masks(code, 4, *bad)
    assert torch.equal(change, field.sub(second, first)[0])
    good = [code.share(x, uniform(SystemSource(), field, 2, 8))[4] for x in (first, second)]
    missed = exposure.change_from_reused_masks(code, 4, *good)
    assert not bool((missed == field.sub(second, first)[0]).any())
    with pytest.raises(ParameterError, match="one slice"):
        exposure.change_from_reused_masks(LagrangeCode(clients=10, slices=2), 0, *good)


def test_s8_real_masks_leak_and_are_refused():
    code = LagrangeCode(clients=10, slices=1, colluders=1)
    with pytest.raises(ParameterError, match="int64"):
        code.share(torch.tensor([[5]]), torch.rand((1, 1)))
    # One share of a fair bit under a real mask: count what the share tells.
    runs, draw = 40_000, torch.Generator().manual_seed(3)
    bit = torch.randint(0, 2, (runs,), generator=draw)
    mask = torch.rand(runs, generator=draw, dtype=torch.float64) * 16.0
    share = -2.0 * (2 * bit - 1) + 1.0 * mask  # L_1 = -2, L_2 = 1: alpha_j = beta_1 + 3 steps
    certain = (share < 2.0) | (share >= 14.0)
    leak = exposure.real_mask_leak(secret_gap=2.0, mask_range=16.0, weight=-2.0, mask_weight=1.0)
    assert leak == 0.25
    assert float(certain.double().mean()) == pytest.approx(leak, abs=0.02)
    guess = share < 2.0
    assert bool((bit[certain].bool() == guess[certain]).all())
    # The good twin: the same test on field shares finds nothing.
    field = PrimeField(11)
    good = LagrangeCode(clients=5, slices=1, colluders=1, within=field)
    shares = good.share((bit % 11)[None], uniform(SystemSource(), field, 1, runs))[2]
    table = torch.stack([torch.bincount(shares[bit == b], minlength=11) for b in (0, 1)]).double()
    expected = table.sum(1, keepdim=True) * table.sum(0) / runs
    assert chi2.sf(float(((table - expected) ** 2 / expected).sum()), 10) > 1e-6


def test_s9_too_many_colluders_or_dropouts_are_refused():
    assert (
        Setting(clients=10, dimension=4, prompt_dimension=4, dropouts=3)
        .code(products=True)
        .needed()
        == 7
    )
    with pytest.raises(ParameterError, match="7 replies are needed, plus 4 dropouts"):
        Setting(clients=10, dimension=4, prompt_dimension=4, dropouts=4)
    for colluders in (5, 6, 9):
        with pytest.raises(ParameterError, match="half of the clients"):
            Setting(clients=10, dimension=4, prompt_dimension=4, slices=1, colluders=colluders)


def test_s10_a_sybil_majority_in_a_cluster_isolates_the_victim_within_the_minimum_size():
    # Out of the claim: min_size holds, and the coalition of more than t still subtracts.
    prompts = inputs(0, SMALL)[1]
    victim = exposure.subtract(prompts[:5].mean(0), 5, prompts[1:5])
    assert float((victim - prompts[0]).abs().max()) < 1e-12
    assert exposure.isolated_members([5], colluders=4) == [0]
    assert exposure.isolated_members([5], colluders=2) == []


def test_s13_distances_per_slice_need_fewer_centres_and_zero_sharing_hides_them():
    setting = Setting(clients=12, dimension=6, prompt_dimension=2, slices=2)
    points, prompts = inputs(6, setting, domains=4)
    bad = SecFPP(mode="as_described", setting=setting, rule=RULE)
    good = SecFPP(mode="as_described", setting=setting, rule=RULE, zero_sharing=True)
    runs = [one_round(system, points, prompts)[0] for system in (bad, good)]
    assert torch.equal(*(run.clustered.assignment for run in runs))
    boards = [run.board for run in runs]
    assert boards[0].seen("slice_distances", to="server")
    assert not boards[1].seen("slice_distances", to="server")
    # d'/K + 1 = 4 centres are enough per slice where d' + 1 = 7 were needed.
    centres = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (4, 6)))
    parts = [
        exposure.trilaterate(c, (c - x).norm(dim=1))
        for c, x in zip(centres.split(3, dim=1), points[0].split(3), strict=True)
    ]
    assert float((torch.cat(parts) - points[0]).abs().max()) < 1e-9
    whole = exposure.trilaterate(centres, (centres - points[0]).norm(dim=1))
    assert float((whole - points[0]).abs().max()) > 1e-2


def test_collusion_of_t_learns_nothing_and_t_plus_one_everything():
    # p = 11, K = 1, t = 2, exhaustive: the best guess of the secret from the shares of a coalition.
    code = LagrangeCode(clients=5, slices=1, colluders=2, within=PrimeField(11))
    table = torch.tensor(list(itertools.product(range(11), repeat=3))).T
    shares = code.share(table[:1], table[1:])
    for coalition, rate in (((0, 3), 1 / 11), ((0, 3, 4), 1.0)):
        views = {}
        for secret, view in zip(
            table[0].tolist(), map(tuple, shares[list(coalition)].T.tolist()), strict=True
        ):
            views.setdefault(view, []).append(secret)
        hits = sum(max(map(seen.count, seen)) for seen in views.values())
        assert hits / table.shape[1] == pytest.approx(rate)
