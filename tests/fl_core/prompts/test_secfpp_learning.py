"""SecFPP inside the federated loop: the real protocol, its plaintext twin, its account."""

import pytest
import torch

import privassay as pa
from privassay.accountant.errors import ConfigError, LedgerError, ParameterError
from privassay.fl_core.algorithms.prompt_clusters import (
    PlainClusters,
    SecretClusters,
    plaintext_twin,
)
from privassay.fl_core.algorithms.prompt_federation import LocalTraining, published_sgd
from privassay.fl_core.algorithms.secfpp import SecFppLearning
from privassay.fl_core.cohort import Poisson
from privassay.fl_core.federation import Federation, run
from privassay.fl_core.protection import Unprotected
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.secfpp import SecFPP
from privassay.mechanisms.secret_sharing.clustering import AdaptiveRule, flip_gap
from privassay.mechanisms.secret_sharing.masks import SeededSource, SystemSource
from privassay.mechanisms.secret_sharing.setting import Setting
from privassay.mechanisms.secret_sharing.sound_dp import SoundDp

from .conftest import LENGTH, WIDTH, some_clients

CLIENTS, SIZE, REDUCED = 10, LENGTH * WIDTH, 8
SIZES = (6,) * CLIENTS
MODES = ("as_described", "sound_mpc", "sound_dp")
RULE = AdaptiveRule(split_above=0.2, merge_below=0.05)
QUICK = LocalTraining(optimizer=published_sgd(0.05), batch_size=3)


def setting(**more):
    return Setting(clients=CLIENTS, dimension=REDUCED, prompt_dimension=SIZE, iterations=2, **more)


def declared(mode, rounds=3, period=2, noise=4.0, **more):
    public = setting(**more)
    noisy = None
    if mode == "sound_dp":
        scales = {f"noise_{what}": noise for what in ("point", "count", "prompt")}
        noisy = SoundDp(setting=public, clip_prompt=2.0, **scales)
    return SecFPP(
        mode=mode, setting=public, prompt_rounds=rounds, period=period, rule=RULE, noise=noisy
    )


def book(adjacency="zero-out"):
    return pa.Ledger(adjacency=adjacency, unit="client")


def go(text, clusters, ledger, rounds=3, protection=None, sizes=SIZES, **settings):
    algorithm = SecFppLearning(text=text, scale=20.0, clusters=clusters, training=QUICK)
    if protection is None:
        protection = clusters if isinstance(clusters, SecretClusters) else Unprotected()
    chunk = settings.pop("chunk", 512)
    faults = settings.pop("faults", None)
    federation = Federation(
        algorithm=algorithm, data=some_clients(sizes), rounds=rounds, key=SeededKey(3),
        protection=protection, chunk=chunk, faults=faults,
    )  # fmt: skip
    return run(federation, ledger, **settings)


def secret(mode, ledger, source=None, **more):
    return SecretClusters(
        system=declared(mode, **more), source=source or SeededSource(1), ledger=ledger
    )


@pytest.mark.parametrize("mode", MODES)
def test_stacked_clients_equal_one_after_another(text, mode):
    found = []
    for chunk in (512, 1):
        ledger = book()
        found.append(go(text, secret(mode, ledger), ledger, chunk=chunk))
    for group in ("state", "personal"):
        for name, value in getattr(found[0], group).items():
            assert torch.allclose(value, getattr(found[1], group)[name], atol=1e-4), (group, name)


@pytest.mark.parametrize("mode", ("as_described", "sound_mpc"))
def test_a_run_on_shares_equals_its_plaintext_twin(text, mode):
    ledger = book()
    clusters = secret(mode, ledger)
    shared = go(text, clusters, ledger)
    plain = go(text, plaintext_twin(clusters.system), book())
    assert torch.equal(shared.state["assignment"], plain.state["assignment"])
    gap = float((shared.state["prompts"] - plain.state["prompts"]).abs().max())
    assert gap <= 1e-3, gap  # 2^-17 a round, and what training makes of it
    moved = float((shared.state["prompts"] - shared.state["first"][:, None]).abs().max())
    assert moved > 0.02, "the prompts have learned something"
    assert len(clusters.boards) == 3


@pytest.mark.parametrize("mode", ("as_described", "sound_mpc"))
def test_assignments_of_100_populations_on_shares_and_in_the_clear(mode):
    """They may differ only where rounding decides; then by 2 sqrt(d') 2^-bits at most."""
    generator = torch.Generator().manual_seed(0)
    differ, counts = [], []
    for number in range(100):
        ledger = book()
        clusters = secret(mode, ledger, source=SeededSource(number), rounds=1)
        groups = 1 + number % 3
        centres = 0.25 * torch.randn(groups, SIZE, generator=generator, dtype=torch.float64)
        member = torch.randint(0, groups, (CLIENTS,), generator=generator)
        noise = torch.randn(CLIENTS, SIZE, generator=generator, dtype=torch.float64)
        prompts = centres[member] + 0.05 * noise
        ledger.write(clusters.entries(None, None, 0, None))
        served, found = clusters.serve(prompts, None, number=1, senders=None)
        twin = plaintext_twin(clusters.system)
        wanted, plain = twin.serve(prompts, None, number=1, senders=None)
        counts.append(len(found.sizes))
        if not torch.equal(found.assignment, plain.assignment):
            differ.append(number)
        else:
            assert float((served - wanted).abs().max()) <= 2.0**-17
    assert len(set(counts)) > 1 and sum(c > 1 for c in counts) > 40, counts
    assert flip_gap(dimension=REDUCED, bits=16) < 1e-4
    assert not differ, f"{len(differ)} of 100 populations: {differ}"


def test_domains_are_found_and_clusters_carry_them():
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(2, SIZE, generator=generator, dtype=torch.float64).sign() * 0.3
    domain = torch.tensor([0, 1] * 5)
    noise = torch.randn(CLIENTS, SIZE, generator=generator, dtype=torch.float64)
    prompts = centres[domain] + 0.02 * noise
    for mode in ("as_described", "sound_mpc"):
        ledger = book()
        clusters = secret(mode, ledger, rounds=1)
        ledger.write(clusters.entries(None, None, 0, None))
        served, found = clusters.serve(prompts, None, number=1, senders=None)
        pairs = {(int(d), int(a)) for d, a in zip(domain, found.assignment, strict=True)}
        assert len(pairs) == 2, f"{mode}: {found.assignment}"
        oracle = PlainClusters(setting=clusters.system.setting, assign=lambda points: domain)
        wanted, _ = oracle.serve(prompts, None, number=1, senders=None)
        assert float((served - wanted).abs().max()) <= 2.0**-17
        one = PlainClusters(
            setting=clusters.system.setting, assign=lambda points: torch.zeros_like(domain)
        )
        blurred, _ = one.serve(prompts, None, number=1, senders=None)
        error = [float((x - centres[domain]).norm()) for x in (served, blurred)]
        assert 10 * error[0] < error[1], "one cluster for two domains is nobody's"


@pytest.mark.parametrize("mode", MODES)
def test_the_ledger_says_what_the_declaration_says(text, mode):
    ledger = book()
    clusters = secret(mode, ledger)
    go(text, clusters, ledger)
    found = pa.account(ledger.event(), adjacency="zero-out", unit="client").epsilon(1e-5)
    wanted = pa.account(clusters.system.event("zero-out"), adjacency="zero-out").epsilon(1e-5)
    assert found.upper == pytest.approx(wanted.upper)
    assert (found.upper < 100.0) == (mode == "sound_dp")
    assert {e.round for e in ledger.entries} == {1, 2, 3}


@pytest.mark.parametrize("adjacency", ["zero-out", "replace-one"])
def test_the_protocols_own_ledger_holds_the_same(text, adjacency):
    """The run alone, without the federated loop, writes the same entries."""
    ledger, alone = book(adjacency), book(adjacency)
    clusters = secret("sound_dp", ledger)
    go(text, clusters, ledger)
    rounds = clusters.system.begin(source=SeededSource(1), ledger=alone)
    for _ in range(3):
        rounds.round(torch.zeros(CLIENTS, SIZE))
    assert [vars(e) for e in alone.entries] == [vars(e) for e in ledger.entries]


def test_nothing_is_opened_that_is_not_in_the_runs_ledger(text):
    clusters = secret("sound_dp", book())
    with pytest.raises(LedgerError, match="not in the ledger"):
        go(text, clusters, book())
    with pytest.raises(LedgerError, match="not in the ledger"):
        go(text, clusters, clusters.ledger, protection=Unprotected())
    assert clusters.boards == []


def test_refusals(text):
    with pytest.raises(LedgerError, match='unit="client"'):
        secret("sound_mpc", pa.Ledger(adjacency="zero-out", unit="example"))
    with pytest.raises(ParameterError, match="add-remove"):
        ledger = book("add-remove")
        go(text, secret("sound_dp", ledger), ledger)
    assert not ledger.entries, "refused before anything is opened"
    ledger = book()
    clusters = secret("sound_mpc", ledger, rounds=1)
    with pytest.raises(LedgerError, match="1 declared rounds"):
        go(text, clusters, ledger, rounds=2)
    with pytest.raises(ConfigError, match="Everyone"):
        clusters.check(None, None, Poisson(0.5))
    with pytest.raises(ConfigError, match="the same object"):
        ledger = book()
        go(text, secret("sound_mpc", ledger), ledger, protection=secret("sound_mpc", ledger))
    with pytest.raises(ConfigError, match="10 clients, but 4"):
        ledger = book()
        go(text, secret("sound_mpc", ledger), ledger, sizes=(5,) * 4)
    with pytest.raises(ConfigError, match="numbered 0 .. 9"):
        ledger = book()
        go(text, secret("sound_mpc", ledger), ledger, sizes=(5,) * 11)
    with pytest.raises(ConfigError, match="sound_dp"):
        plaintext_twin(declared("sound_dp"))
    gap = PlainClusters(setting=setting(), assign=lambda p: torch.tensor([0, 2] * 5))
    with pytest.raises(ConfigError, match="without gaps"):
        gap.serve(torch.zeros(CLIENTS, SIZE), None, number=1, senders=None)


def test_a_run_that_was_killed_goes_on_with_its_clusters(text, tmp_path):
    ledger = book()
    whole = go(text, secret("sound_mpc", ledger, rounds=4), ledger, rounds=4)

    class Killed(Exception):
        pass

    def say(done):
        if done == 3:  # round 4 averages in the clusters of round 3
            raise Killed

    path = tmp_path / "ledger.jsonl"
    with pa.Ledger(adjacency="zero-out", unit="client", path=path) as ledger:
        clusters = secret("sound_mpc", ledger, rounds=4)
        with pytest.raises(Killed):
            go(text, clusters, ledger, rounds=4, folder=tmp_path, name="a", say=say)
    with pa.Ledger(adjacency="zero-out", unit="client", path=path) as ledger:
        clusters = secret("sound_mpc", ledger, rounds=4)
        resumed = go(text, clusters, ledger, rounds=4, folder=tmp_path, name="a")
        assert {e.round for e in ledger.entries} == {1, 2, 3, 4}
    assert resumed.digest == whole.digest
    assert len(clusters.boards) == 1


def test_system_masks_give_the_same_prompts_and_other_shares(text):
    found = []
    for _ in range(2):
        ledger = book()
        found.append(go(text, secret("sound_mpc", ledger, source=SystemSource()), ledger))
    assert torch.equal(found[0].state["prompts"], found[1].state["prompts"])


def test_missing_replies_within_the_plan_change_nothing_and_too_many_stop_the_round(text):
    def faults(round, client):
        return "dropped after" if client in (0, 7) and round == 1 else None

    ledger = book()
    done = go(text, secret("sound_mpc", ledger, dropouts=2), ledger, faults=faults)
    assert done.faults["missing"] == 2
    assert torch.isfinite(done.state["prompts"]).all()
    with pytest.raises(ParameterError, match="dropped out|replies are needed"):
        ledger = book()
        go(text, secret("sound_dp", ledger, dropouts=1), ledger, faults=faults)


def test_a_client_that_is_not_finite_counts_as_zero(text):
    import dataclasses

    data = some_clients(SIZES)
    x = data.x.clone()
    x[data.index[2]] = float("nan")
    ledger = book()
    clusters = secret("sound_dp", ledger)
    algorithm = SecFppLearning(text=text, scale=20.0, clusters=clusters, training=QUICK)
    federation = Federation(
        algorithm=algorithm, data=dataclasses.replace(data, x=x), rounds=3, key=SeededKey(3),
        protection=clusters,
    )  # fmt: skip
    done = run(federation, ledger)
    assert torch.isfinite(done.state["prompts"]).all()
    assert done.faults == {}
