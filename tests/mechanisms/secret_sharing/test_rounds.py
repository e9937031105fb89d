"""SecFPP round by round: the schedule and the ledger."""

import math

import dp_accounting.dp_event as dpe
import pytest
import torch
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from privassay.accountant.account import account
from privassay.accountant.errors import LedgerError, ParameterError, UnsupportedEventError
from privassay.accountant.ledger import Ledger
from privassay.mechanisms.secret_sharing.masks import SeededSource, SystemSource
from privassay.mechanisms.secret_sharing.openings import MODES
from privassay.mechanisms.secret_sharing.reduction import public_basis
from privassay.mechanisms.secret_sharing.setting import Setting
from privassay.mechanisms.secret_sharing.sound_dp import SoundDp

SETTING = Setting(clients=10, dimension=4, prompt_dimension=6)
modes = pytest.mark.parametrize("mode", MODES)


# -- the schedule ---------------------------------------------------------------------------------


@modes
def test_public_rounds_cluster_and_the_others_release_prompts_only(mode, system, prompts):
    made = system(mode, prompt_rounds=7, period=3)
    run = made.begin(source=SystemSource())
    assert made.clusterings == 3
    for number in range(1, 8):
        assert run.next == number and run.left == 8 - number
        before = run.clustered
        served = run.round(prompts(number))
        assert served.shape == (10, 6) and bool(torch.isfinite(served).all())
        values = {o.value for o in run.board.opened if o.round == number}
        if number in (1, 4, 7):
            assert values > {"cluster_prompt", "sizes"} and run.clustered is not before
        else:
            assert values == {"cluster_prompt"} and run.clustered is before
    count = len(run.board.opened)
    with pytest.raises(LedgerError, match="all 7 declared rounds"):
        run.round(prompts())
    assert len(run.board.opened) == count


def test_prompt_only_rounds_average_the_new_prompts_in_the_old_clusters(system, prompts):
    for mode in MODES[:2]:
        run = system(mode).begin(source=SystemSource())
        run.round(prompts(1))
        assignment = run.clustered.assignment
        fresh = prompts(2)
        expected = torch.stack([fresh[assignment == a].mean(0) for a in assignment])
        assert float((run.round(fresh) - expected).abs().max()) <= 2.0**-17 + 1e-12


def test_a_public_basis_shortens_distances_and_looks_at_no_data(system, prompts):
    basis = public_basis(prompt_dimension=40, dimension=5, seed=3)
    assert torch.equal(basis, public_basis(prompt_dimension=40, dimension=5, seed=3))
    assert not torch.equal(basis, public_basis(prompt_dimension=40, dimension=5, seed=4))
    rows = torch.randn((200, 40), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ratio = (rows @ basis).square().sum(1) / rows.square().sum(1)
    assert float(ratio.max()) <= 1 + 1e-12
    assert float(ratio.mean()) == pytest.approx(5 / 40, rel=0.2)
    # The default points are those of the basis.
    runs = [system("sound_mpc").begin(source=SystemSource()) for _ in range(2)]
    runs[0].round(prompts())
    basis = public_basis(prompt_dimension=6, dimension=4, seed=0)
    runs[1].round(prompts(), points=prompts() @ basis)
    assert torch.equal(runs[0].clustered.assignment, runs[1].clustered.assignment)
    with pytest.raises(ParameterError, match="cannot be reduced"):
        public_basis(prompt_dimension=4, dimension=5, seed=0)


# -- the ledger -----------------------------------------------------------------------------------


@pytest.mark.parametrize("adjacency", ["zero-out", "replace-one"])
def test_a_whole_run_costs_what_was_declared_and_a_part_of_it_less(adjacency, system, prompts):
    made = system("sound_dp", prompt_rounds=4, period=2)
    ledger = Ledger(adjacency=adjacency, unit="client")
    run = made.begin(source=SystemSource(), ledger=ledger)
    declared = made.bound(adjacency).mu.upper
    spent = []
    for number in range(1, 5):
        run.round(prompts(number))
        spent.append(account(ledger.event(), adjacency=adjacency, unit="client").mu.upper)
    assert spent == sorted(spent) and spent[2] < declared
    assert spent[3] == pytest.approx(declared, rel=1e-12)
    # Oracle: the library, on the Gaussians that the closed form names.
    dp, factor = made.noise, 2.0 if adjacency == "replace-one" else 1.0
    point, count, prompt = (
        1 / s.noise_multiplier**2 for s in (dp.point_sum, dp.count_sum, dp.prompt_sum)
    )
    one = max(4 * point, 2 * point + 2 * count) if factor == 2.0 else point + count
    total = 2 * 5 * one + 4 * factor**2 * prompt
    oracle = PLDAccountant()
    oracle.compose(dpe.GaussianDpEvent(1 / math.sqrt(total)))
    ours = account(ledger.event(), adjacency=adjacency, unit="client").epsilon(1e-5)
    assert ours.upper == pytest.approx(oracle.get_epsilon(1e-5), rel=1e-3)


@modes
def test_a_round_is_written_before_anything_leaves(mode, tmp_path, monkeypatch, system, prompts):
    path, seen = tmp_path / "ledger.jsonl", []
    with Ledger(adjacency="zero-out", unit="client", path=path) as ledger:
        run = system(mode).begin(source=SystemSource(), ledger=ledger)
        opened = run.board.open

        def watched(*values, **fields):
            seen.append(path.read_text())
            opened(*values, **fields)

        monkeypatch.setattr(run.board, "open", watched)
        run.round(prompts())
    assert len(seen) > 5 and len(set(seen)) == 1 and "cluster_prompt" in seen[0]


def test_modes_without_noise_write_that_nothing_is_bounded(system, prompts):
    for mode, hidden in (("as_described", False), ("as_described", True), ("sound_mpc", False)):
        run = system(mode, zero_sharing=hidden).begin(source=SystemSource())
        run.round(prompts())
        first = [e.release for e in run.ledger.entries]
        opened = {f"secfpp {o.value} to {o.to}" for o in run.board.opened}
        constants = {"secfpp iterations to all", "secfpp clusters to all"}
        assert set(first) == opened - (constants if mode == "sound_mpc" else set())
        assert ("secfpp slice_distances to server" in first) == (
            mode == "as_described" and not hidden
        )
        run.round(prompts())
        later = [e.release for e in run.ledger.entries[len(first) :]]
        assert later and all("cluster_prompt" in name for name in later)
        bound = account(run.ledger.event(), adjacency="add-remove", unit="client")
        assert bound.epsilon(1e-5).upper == math.inf


def test_a_fresh_run_on_an_old_ledger_goes_on_and_cannot_spend_twice(tmp_path, system, prompts):
    made, path = system("sound_dp", prompt_rounds=3, period=3), tmp_path / "ledger.jsonl"
    with Ledger(adjacency="zero-out", unit="client", path=path) as ledger:
        run = made.begin(source=SystemSource(), ledger=ledger)
        run.round(prompts())
        kept = run.clustered
    with Ledger(adjacency="zero-out", unit="client", path=path) as ledger:
        again = made.begin(source=SystemSource(), ledger=ledger)
        assert again.next == 2
        with pytest.raises(ParameterError, match="has none yet"):
            again.round(prompts())
        again = made.begin(source=SystemSource(), ledger=ledger, clustered=kept)
        again.round(prompts())
        again.round(prompts())
        with pytest.raises(LedgerError, match="declared rounds"):
            made.begin(source=SystemSource(), ledger=ledger, clustered=kept).round(prompts())
        spent = account(ledger.event(), adjacency="zero-out", unit="client").mu.upper
    assert spent == pytest.approx(made.bound("zero-out").mu.upper, rel=1e-12)


def test_the_ledger_is_about_clients_and_names_seeded_noise(system, prompts):
    with pytest.raises(LedgerError, match="one client"):
        system("sound_dp").begin(
            source=SystemSource(), ledger=Ledger(adjacency="zero-out", unit="example")
        )
    ledger = Ledger(adjacency="zero-out", unit="client")
    system("sound_dp").begin(source=SeededSource(1), ledger=ledger).round(prompts())
    noises = [e.noise for e in ledger.entries]
    assert all(n.startswith("seeded:") for n in noises) and len(set(noises)) == len(noises) == 6
    run = system("sound_dp").begin(source=SystemSource())
    run.round(prompts())
    assert {e.noise for e in run.ledger.entries} == {"system"}


@pytest.mark.parametrize("scale", [(2.0, 2.0), (9.0, 2.0), (2.0, 9.0)])
def test_an_event_of_one_adjacency_is_right_or_refused_under_another(scale):
    dp = SoundDp(setting=SETTING, noise_point=scale[0], noise_count=scale[1], noise_prompt=3.0)
    own, other = 1 / dp.point_sum.noise_multiplier**2, 1 / dp.count_sum.noise_multiplier**2
    truth = {
        "zero-out": own + other,
        "replace-one": max(4 * own, 2 * own + 2 * other),
    }
    for built in truth:
        event = dp.clustering_event(built)
        for used, squared in truth.items():
            if built == "replace-one" != used:
                with pytest.raises(UnsupportedEventError, match=used):
                    account(event, adjacency=used)
                continue
            found = account(event, adjacency=used).mu.upper ** 2
            assert found >= squared * (1 - 1e-12), (built, used)
            if built == used:
                assert found == pytest.approx(squared, rel=1e-9)
    # Oracle: the library refuses what it does not know, and agrees on the Gaussian part.
    oracle = RdpAccountant()
    oracle.compose(dpe.GaussianDpEvent(1 / math.sqrt(truth["zero-out"])))
    ours = account(dp.clustering_event("zero-out"), adjacency="zero-out").epsilon(1e-6).upper
    assert ours <= oracle.get_epsilon(1e-6) <= 1.5 * ours
