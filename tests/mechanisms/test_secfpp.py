import math

import numpy as np
import pytest
import torch

from privassay.accountant.errors import (
    LedgerError,
    ParameterError,
)
from privassay.mechanisms.secfpp import SecFPP
from privassay.mechanisms.secret_sharing.clustering import (
    adaptive,
    flip_gap,
    plain_distances,
)
from privassay.mechanisms.secret_sharing.masks import SeededSource
from privassay.mechanisms.secret_sharing.openings import (
    MODES,
    OPENINGS,
    opened_values,
)
from privassay.mechanisms.secret_sharing.session import Session
from privassay.mechanisms.secret_sharing.setting import Setting
from privassay.mechanisms.secret_sharing.sound_mpc import fixed_schedule, plain_sizes

from .secfpp_cases import RULE, SMALL, inputs, noise, one_round


def average(prompts, assignment):
    """Slow twin of the aggregation."""
    return torch.stack([prompts[assignment == a].mean(0) for a in assignment])


def distances_by_hand(points, assignment):
    x = points.numpy()
    rows = []
    for i in range(len(x)):
        row = []
        for s in range(int(assignment.max()) + 1):
            members = [x[j] for j in range(len(x)) if assignment[j] == s]
            row.append(math.dist(x[i], sum(members) / len(members)))
        rows.append(row)
    return np.array(rows)


# -- equal to plaintext clustering, up to quantisation --------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_as_described_equals_its_plaintext_twin(seed):
    setting = Setting(
        clients=8 + seed % 5, dimension=5 + seed, prompt_dimension=7, slices=1 + seed % 2
    )
    system = SecFPP(mode="as_described", setting=setting, rule=RULE)
    points, prompts = inputs(seed, setting, domains=2 + seed % 3)
    run, served = one_round(system, points, prompts)
    twin = adaptive(plain_distances(points), RULE, setting.clients)
    assert run.clustered.assignment.tolist() == twin.tolist()
    assert float((served - average(prompts, twin)).abs().max()) <= 2.0**-17 + 1e-12
    assigned = run.board.seen("assignment", to="all")
    for seen, opened in zip(run.board.seen("distances", to="server"), assigned, strict=False):
        exact = distances_by_hand(points, opened.data)
        assert np.abs(seen.data.numpy() - exact).max() <= math.sqrt(setting.dimension) * 2.0**-16
        assert seen.step == opened.step


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dropped", [0, 3])
def test_sound_mpc_equals_its_plaintext_twin_whoever_replies(seed, dropped):
    setting = Setting(clients=12, dimension=9, prompt_dimension=5, dropouts=dropped, min_size=3,
                      colluders=1)  # fmt: skip
    system = SecFPP(mode="sound_mpc", setting=setting, seed=seed)
    points, prompts = inputs(seed, setting)
    senders = np.random.default_rng(seed).permutation(12)[dropped:].tolist()
    run, served = one_round(system, points, prompts, senders=senders)
    twin = fixed_schedule(plain_distances(points), setting, seed=seed, sizes=plain_sizes)
    assert run.clustered.assignment.tolist() == twin.tolist()
    assert float((served - average(prompts, twin)).abs().max()) <= 2.0**-17 + 1e-12
    sizes = run.clustered.sizes.tolist()
    assert min(sizes) >= 3 and sum(sizes) == 12


def test_too_few_replies_abort():
    system = SecFPP(mode="sound_mpc", setting=SMALL)
    points, prompts = inputs(0, SMALL)
    with pytest.raises(ParameterError, match="7 replies are needed"):
        one_round(system, points, prompts, senders=range(6))


def test_reference_run_of_the_specification():
    # N 10, K 2, t 2, d' 16, l 16: distance error at most 6.1e-5, identical assignments.
    assert flip_gap(dimension=16, bits=16) == pytest.approx(1.2e-4, rel=0.02)
    assert flip_gap(dimension=16, bits=8) == pytest.approx(0.031, rel=0.01)
    errors = []
    for seed in range(5):
        points, prompts = inputs(seed, SMALL)
        described = SecFPP(mode="as_described", setting=SMALL, rule=RULE)
        board = one_round(described, points, prompts)[0].board
        opened = board.seen("distances", to="server")
        assigned = board.seen("assignment", to="all")[: len(opened)]
        for distances, assignment in zip(opened, assigned, strict=True):
            exact = distances_by_hand(points, assignment.data)
            errors.append(float(np.abs(distances.data.numpy() - exact).max()))
        sound = SecFPP(mode="sound_mpc", setting=SMALL)
        found = one_round(sound, points, prompts)[0].clustered
        twin = fixed_schedule(plain_distances(points), SMALL, seed=0, sizes=plain_sizes)
        assert found.assignment.tolist() == twin.tolist()
    # Seen in the specification's run: 9.6e-6.
    assert 1e-6 < max(errors) <= 6.1e-5, f"largest distance error {max(errors)}"


def test_a_client_that_is_not_finite_counts_as_zero():
    points, prompts = inputs(1, SMALL)
    broken = points.clone(), prompts.clone()
    broken[0][4, 2], broken[1][4, 0] = math.nan, math.inf
    zeroed = points.clone(), prompts.clone()
    zeroed[0][4], zeroed[1][4] = 0.0, 0.0
    system = SecFPP(mode="sound_mpc", setting=SMALL)
    runs = [one_round(system, x, p, source=SeededSource(1))[1] for x, p in (broken, zeroed)]
    assert torch.equal(*runs) and bool(torch.isfinite(runs[0]).all())


# -- what is opened to whom -----------------------------------------------------------------------


def test_table_of_openings():
    # Section 5.1, row by row.
    table = {row["value"]: row for row in opened_values()}
    assert table["slice_distances"] == {
        "value": "slice_distances",
        "as_described": "server",
        "sound_mpc": "nobody",
        "sound_dp": "nobody",
    }
    assert [table["distances"][m] for m in MODES] == ["server", "client", "nobody"]
    assert [table["assignment"][m] for m in MODES] == ["all", "client", "client"]
    assert [table["sizes"][m] for m in MODES] == ["all", "all", "noisy, all"]
    assert [table["centres"][m] for m in MODES] == ["nobody", "nobody", "noisy, all"]
    assert table["cluster_prompt"]["as_described"] == "members, server"
    assert [table["cluster_prompt"][m] for m in MODES[1:]] == ["members", "noisy, all"]
    for value in ("iterations", "clusters"):
        assert [table[value][m] for m in MODES] == ["all", "constant, all", "constant, all"]


def test_a_run_opens_what_its_mode_lists_and_nothing_else():
    points, prompts = inputs(2, SMALL)
    seen = {}
    for mode in MODES:
        extra = {"noise": noise(SMALL)} if mode == "sound_dp" else {}
        system = SecFPP(mode=mode, setting=SMALL, **extra)
        board = one_round(system, points, prompts)[0].board
        seen[mode] = {(o.value, o.to) for o in board.opened}
        assert seen[mode] <= {(o.value, o.to) for o in OPENINGS[mode]}
        with pytest.raises(LedgerError, match="ran before"):
            board.begin(1)
    assert not any(to == "server" for _, to in seen["sound_mpc"] | seen["sound_dp"])
    assert ("slice_distances", "server") in seen["as_described"]
    assert seen["sound_dp"] == {("sizes", "all"), ("centres", "all"), ("cluster_prompt", "all")}


def test_sizes_below_the_minimum_are_dissolved_before_anything_else_is_opened():
    for seed in range(10):
        system = SecFPP(mode="sound_mpc", setting=SMALL, seed=seed)
        points, prompts = inputs(seed, SMALL, domains=6)
        board = one_round(system, points, prompts)[0].board
        for i, opened in enumerate(board.opened):
            if opened.value in ("distances", "cluster_prompt"):
                sizes = [o.data for o in board.opened[:i] if o.value == "sizes"][-1]
                assert int(sizes.min()) >= SMALL.min_size == 4
        assert len(board.seen("distances", to="client")) == SMALL.iterations


def test_every_opened_product_of_sound_mpc_carries_shares_of_zero(monkeypatch):
    # In place of zeros, polynomials with value 1 everywhere: each opening must move by just that.
    points, prompts = inputs(2, SMALL)
    system = SecFPP(mode="sound_mpc", setting=SMALL)
    first, plain = one_round(system, points, prompts)
    asked = []

    def ones(self, kind, *name, like):
        asked.append((kind, name))
        return torch.ones((SMALL.clients, *like.shape), dtype=torch.int64)

    monkeypatch.setattr(Session, "zero_shares", ones)
    second, moved = one_round(system, points, prompts)
    assert [kind for kind, _ in asked] == ["sum"] * SMALL.iterations + ["each"] * SMALL.clients
    assert len(set(asked)) == len(asked)
    assignment, sizes = first.clustered
    assert assignment.tolist() == second.clustered.assignment.tolist()
    shift = (moved - plain) * sizes[assignment, None] * 2.0**16
    boards = [first.board, second.board]
    assert float((shift - 1.0).abs().max()) < 1e-6
    for before, after in zip(*(b.seen("distances", to="client") for b in boards), strict=True):
        sizes = [o.data for o in boards[0].seen("sizes", to="all") if o.step == before.step][0]
        codes = [(o.data * sizes * 2.0**16).square().round() for o in (before, after)]
        assert bool((codes[1] - codes[0] == SMALL.slices).all())


def test_what_a_client_interpolates_for_its_distance_shows_no_slice(monkeypatch):
    points, prompts = inputs(2, SMALL)
    seen = []
    original = Session.open

    def spy(self, shares, *, product):
        found = original(self, shares, product=product)
        if product and found.shape[1:2] == (SMALL.clients,):
            seen.append(found)
        return found

    monkeypatch.setattr(Session, "open", spy)
    for mode, is_masked in (("as_described", False), ("sound_mpc", True)):
        seen.clear()
        system = SecFPP(mode=mode, setting=SMALL)
        for _ in range(2):
            one_round(system, points, prompts)
        runs = [torch.cat([s.flatten(1) for s in half], dim=1)
                for half in (seen[: len(seen) // 2], seen[len(seen) // 2 :])]  # fmt: skip
        same = (runs[0] == runs[1]).double().mean()
        assert float(same) == (0.0 if is_masked else 1.0)
        field = SMALL.within
        assert torch.equal(*(field.sum(r, 0) for r in runs))
