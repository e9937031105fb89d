"""Whole rounds against the plaintext twin, under attack, and on any device."""

import numpy as np
import pytest
import torch

from privassay.mechanisms.secret_sharing import exposure
from privassay.mechanisms.secret_sharing.clustering import (
    AdaptiveRule,
    adaptive,
    flip_gap,
    plain_distances,
)
from privassay.mechanisms.secret_sharing.field import M31, PrimeField
from privassay.mechanisms.secret_sharing.fixed_point import FixedPoint
from privassay.mechanisms.secret_sharing.masks import SeededSource, SystemSource
from privassay.mechanisms.secret_sharing.openings import MODES
from privassay.mechanisms.secret_sharing.setting import Setting
from privassay.mechanisms.secret_sharing.sound_mpc import fixed_schedule, plain_sizes

RULE = AdaptiveRule(split_above=0.5, merge_below=0.1)  # as in conftest
modes = pytest.mark.parametrize("mode", MODES)
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])


def population(seed, clients):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (clients, 3)))


def agreement(system, mode, setting, points):
    """How many assignments differ from the plaintext twin's, and the number of clusters."""
    plain = plain_distances(points)
    run = system(mode, setting).begin(source=SystemSource())
    run.round(points[:, :2], points=points)
    twin = (
        adaptive(plain, RULE, setting.clients)
        if mode == "as_described"
        else fixed_schedule(plain, setting, seed=0, sizes=plain_sizes)
    )
    return int((run.clustered.assignment != twin).sum()), int(twin.max()) + 1


@pytest.mark.parametrize("mode", MODES[:2])
def test_secure_and_plaintext_assignments_agree_on_a_hundred_populations(mode, system):
    setting = Setting(
        clients=9,
        dimension=3,
        prompt_dimension=2,
        clusters=2,
        iterations=3,
        min_size=3,
        slices=1,
        colluders=1,
    )
    found = [agreement(system, mode, setting, population(seed, 9)) for seed in range(100)]
    # A tie within 2 sqrt(d') 2^-16 = 5e-5 may flip; over these populations none does.
    assert flip_gap(dimension=3, bits=16) < 1e-4
    assert sum(differing for differing, _ in found) == 0
    assert sum(clusters > 1 for _, clusters in found) > 60, "the clusterings are trivial"


@pytest.mark.parametrize("mode", MODES[:2])
def test_coarse_rounding_flips_assignments_and_the_count_sees_it(mode, system):
    setting = Setting(
        clients=12, dimension=3, prompt_dimension=2, clusters=3, points=FixedPoint(bits=1)
    )
    found = [agreement(system, mode, setting, population(seed, 12)) for seed in range(8)]
    assert sum(differing for differing, _ in found) > 0


def test_opened_distances_give_a_prompt_exactly_to_who_knows_the_others(system, prompts):
    # d' + 1 = 4 known centres or more; on the grid of the fixed point the recovery is exact.
    setting = Setting(
        clients=12,
        dimension=3,
        prompt_dimension=2,
        slices=1,
        points=FixedPoint(bits=8),
    )
    exact = 0
    for seed in range(10):
        points = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (12, 3)))
        run = system("as_described", setting).begin(source=SystemSource())
        run.round(points[:, :2], points=points)
        codes = setting.points.quantise(points)
        known = codes.double() / 256
        seen, centres = [], []
        for opened in run.board.seen("distances", to="server"):
            assignment = next(
                o.data
                for o in run.board.seen("assignment", to="all")
                if (o.round, o.step) == (opened.round, opened.step)
            )
            for s in range(int(assignment.max()) + 1):
                members = [i for i in torch.where(assignment == s)[0].tolist() if i != 7]
                if len(members) == int((assignment == s).sum()):  # centres without the victim
                    centres.append(known[members].mean(0))
                    seen.append(opened.data[7, s])
        if len(centres) < 4:
            continue
        found = exposure.trilaterate(torch.stack(centres), torch.stack(seen))
        exact += int(torch.equal((found * 256).round().to(torch.int64), codes[7]))
    assert exact >= 5, exact
    sound = system("sound_mpc", setting).begin(source=SystemSource())
    sound.round(prompts()[:1].expand(12, 6)[:, :2], points=torch.zeros((12, 3)).double())
    assert not [o for o in sound.board.opened if o.to == "server"]


@devices
@modes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_mode_runs_where_its_prompts_are(mode, device, dtype, system, prompts):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rows = prompts(2).to(dtype)
    here = system(mode).begin(source=SeededSource(4))
    there = system(mode).begin(source=SeededSource(4))
    for _ in range(2):
        expected = here.round(rows)
        found = there.round(rows.to(device))
        assert found.device.type == device and found.dtype == torch.float64
        assert torch.equal(found.cpu(), expected)
    for ours, theirs in zip(here.board.opened, there.board.opened, strict=True):
        assert theirs.data.device.type == "cpu"
        assert torch.allclose(ours.data.double(), theirs.data.double())


@devices
@pytest.mark.parametrize("modulus", [2**61 - 1, M31])
def test_shares_and_openings_stay_where_their_values_are(device, modulus):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    setting = Setting(
        clients=9,
        dimension=3,
        prompt_dimension=2,
        points=FixedPoint(bits=6),
        within=PrimeField(modulus),
    )
    session = setting.session(SystemSource(), senders=[8, 1, 2, 3, 4, 5, 6])
    codes = setting.point_codes(torch.rand((9, 3), dtype=torch.float64)).to(device)
    shares = session.share(codes, "x")
    total = session.total(shares, 1)
    squares = session.squares(shares, total[:, None], [9])
    zeros = session.zero_shares("sum", "z", like=squares[0])
    opened = session.open(setting.within.add(squares, zeros), product=True)
    assert {t.device.type for t in (shares, total, squares, zeros, opened)} == {device}
    expected = (9 * codes - codes.sum(0)).square().sum(1)
    assert torch.equal(setting.within.sum(opened, 0)[:, 0].cpu(), expected.cpu())
    back = session.open_signed(session.share(codes, "y"), limit=64)
    assert torch.equal(session.joined(back, 3).cpu(), codes.cpu())
