"""SecFPP for callers that get things wrong, and for populations at the edge."""

import math

import pytest
import torch

from privassay.accountant.errors import ParameterError
from privassay.mechanisms.secret_sharing.masks import SeededSource, SystemSource
from privassay.mechanisms.secret_sharing.openings import MODES
from privassay.mechanisms.secret_sharing.setting import Setting

SETTING = Setting(clients=10, dimension=4, prompt_dimension=6)
modes = pytest.mark.parametrize("mode", MODES)


def untouched(run):
    return run.next == 1 and not run.board.opened and not run.ledger.entries


@modes
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda rows: rows[:9], r"float\[10, 6\]"),
        (lambda rows: rows[:, :5], r"float\[10, 6\]"),
        (lambda rows: rows.to(torch.int64), "int64"),
        (lambda rows: rows[0], r"float\[10, 6\]"),
        (lambda rows: rows[:0], r"float\[10, 6\]"),
    ],
)
def test_prompts_of_another_shape_cost_nothing(mode, given, message, system, prompts):
    run = system(mode).begin(source=SystemSource())
    with pytest.raises(ParameterError, match=message):
        run.round(given(prompts()))
    with pytest.raises(ParameterError, match=r"points must be float\[10, 4\]"):
        run.round(prompts(), points=prompts())
    assert untouched(run)


@modes
def test_too_many_dropouts_cost_nothing_and_the_round_can_be_repeated(mode, system, prompts):
    setting = Setting(clients=10, dimension=4, prompt_dimension=6, dropouts=2)
    run = system(mode, setting).begin(source=SystemSource())
    needed = 8 if mode == "sound_dp" else 7
    for senders in (range(needed - 1), [], [3]):
        with pytest.raises(ParameterError, match=f"{needed} replies are needed"):
            run.round(prompts(), senders=senders)
    for senders in ([0] * 10, [*range(9), 10], [-1, *range(9)]):
        with pytest.raises(ParameterError, match="different numbers"):
            run.round(prompts(), senders=senders)
    assert untouched(run)
    run.round(prompts(), senders=range(10 - needed, 10))
    assert run.next == 2
    if mode == "as_described":  # sums of shares need K + t = 4 replies only
        run.round(prompts(), senders=[1, 5, 6, 9])


def test_noise_that_left_with_too_many_clients_is_missed_inside_the_protocol_too(system, prompts):
    setting = Setting(clients=10, dimension=4, prompt_dimension=6, dropouts=2)
    made = system("sound_dp", setting)
    run = made.begin(source=SystemSource())
    with pytest.raises(ParameterError, match="3 clients dropped out"):
        made.noise.iterate(
            prompts()[:, :4],
            made.noise.start(),
            source=SystemSource(),
            board=run.board,
            round=1,
            step=1,
            senders=range(7),
        )
    assert not run.board.opened


def test_points_are_needed_where_the_basis_is_not_public(system, prompts):
    run = system("as_described", basis="pooled").begin(source=SystemSource())
    with pytest.raises(ParameterError, match="points are needed"):
        run.round(prompts())
    assert untouched(run)
    run.round(prompts(), points=prompts()[:, :4])
    wide = Setting(clients=10, dimension=8, prompt_dimension=6)
    with pytest.raises(ParameterError, match="points are needed"):
        system("sound_mpc", wide).begin(source=SystemSource()).round(prompts())


@modes
def test_rows_that_are_not_finite_count_as_zero(mode, system, prompts):
    bad, zero = prompts(3), prompts(3)
    bad[1, 2], bad[4, 0], bad[7, 5] = math.nan, math.inf, -math.inf
    zero[1] = zero[4] = zero[7] = 0.0
    runs = [system(mode).begin(source=SeededSource(9)) for _ in range(2)]
    for _ in range(2):
        served = [run.round(x) for run, x in zip(runs, (bad, zero), strict=True)]
        assert torch.equal(*served) and bool(torch.isfinite(served[0]).all())


@modes
def test_prompts_beyond_the_fixed_point_range_are_clipped_to_it(mode, system):
    setting = Setting(clients=10, dimension=4, prompt_dimension=6, min_size=10, clusters=1)
    far = torch.full((10, 6), 1e300, dtype=torch.float64)
    far[0] = -1e-300
    made = system(mode, setting, scale=0.01)
    run = made.begin(source=SystemSource())
    points = torch.zeros((10, 4), dtype=torch.float64)
    served = run.round(far, points=points)
    # Coordinates are clipped to 1; in sound_dp rows are clipped to norm 1.
    expected = 0.9 if mode != "sound_dp" else 0.9 / math.sqrt(6)
    assert torch.allclose(served, torch.full_like(served, expected), atol=0.02)


@modes
def test_equal_prompts_are_one_cluster(mode, system, prompts):
    same = prompts()[:1].expand(10, 6)
    run = system(mode, scale=0.02).begin(source=SystemSource())
    served = run.round(same)
    assert len(set(run.clustered.assignment.tolist())) == 1
    if mode != "sound_dp":
        assert float((served - same).abs().max()) <= 2.0**-17 + 1e-12
    assert torch.equal(served, served[:1].expand(10, 6))


def test_few_clients(system, prompts):
    for mode in MODES:
        least = Setting(clients=3, dimension=2, prompt_dimension=3, slices=1, colluders=1)
        run = system(mode, least).begin(source=SystemSource())
        served = run.round(prompts(setting=least))
        assert served.shape == (3, 3)
        if mode == "sound_mpc":
            assert run.clustered.sizes.tolist() == [3]
    for clients in (1, 2):
        with pytest.raises(ParameterError, match="half of the clients"):
            Setting(clients=clients, dimension=2, prompt_dimension=3, slices=1, colluders=1)
    with pytest.raises(ParameterError, match="clients"):
        Setting(clients=0, dimension=2, prompt_dimension=3)


def test_a_cluster_of_one_is_shown_as_described_and_dissolved_otherwise(system, prompts):
    rows = prompts(5, domains=1)
    rows[3] = -rows[3]
    described = system("as_described").begin(source=SystemSource())
    served = described.round(rows)
    assert 1.0 in described.clustered.sizes.tolist()
    assert float((served[3] - rows[3]).abs().max()) <= 2.0**-17
    sound = system("sound_mpc").begin(source=SystemSource())
    hidden = sound.round(rows)
    assert min(sound.clustered.sizes.tolist()) >= SETTING.min_size
    assert float((hidden[3] - rows[3]).abs().max()) > 0.1
