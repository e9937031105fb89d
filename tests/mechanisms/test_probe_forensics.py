"""Freshness, laws, sampling, replay and secrecy: quiet on what is right, and with power."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom

from privassay.accountant.errors import ParameterError
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.discrete_gaussian import DiscreteGaussianSum
from privassay.mechanisms.laplace import LaplaceSum, laplace_like
from privassay.mechanisms.probes import freshness, noise, outbox, recovery, replay, sampling
from privassay.mechanisms.probes.run import Hook, Round, Sampler, probe
from privassay.mechanisms.probes.sensitivity import Pair, neighbours, quoted, sensitivity
from privassay.mechanisms.probes.taint import Node
from privassay.mechanisms.randomized_response import KaryResponse

ROWS = 3 * SeededKey(9).normal(10, 6)
COARSE = DiscreteGaussianSum(step=0.5, clip_steps=2, sigma_steps=1.0, dimension=6)
ANSWERS = KaryResponse(categories=4, replaced=0.1)
LAPLACE = LaplaceSum(l1_norm=1.0, noise_multiplier=2.0)
GAUSS = Hook(
    step=lambda x, key: {"out": x.clamp(-1, 1).sum(dim=0) + 2.0 * key.normal(6)},
    data=ROWS,
    neighbour=ROWS[1:],
    stddevs={"out": 2.0},
    clean=lambda x: {"out": x.clamp(-1, 1).sum(dim=0)},
    mu=math.sqrt(6) / 2,
)
LAPLACE_HOOK = Hook(
    step=lambda x, key: {"out": LAPLACE.release(x, key)},
    clean=lambda x: {"out": LAPLACE.contribution(x).sum(dim=0)},
    data=ROWS,
    neighbour=ROWS[1:],
    pairs=tuple(neighbours(ROWS, "add-remove")),
    stddevs={"out": 2.0 * math.sqrt(2.0)},
    law="laplace",
    epsilon=0.5,
)
QUIET = {
    "gaussian": GAUSS,
    "gaussian without clean": replace(GAUSS, clean=None),
    "laplace": LAPLACE_HOOK,
    "coarse discrete noise": Hook(
        step=lambda x, key: {"out": COARSE.release(x, key)},
        clean=lambda x: {"out": COARSE.contribution(x).sum(dim=0).double() * COARSE.step},
        data=ROWS,
        neighbour=ROWS[1:],
        stddevs={"out": 0.5},
        law=None,
    ),
    "answers, nine in ten true": Hook(
        step=lambda x, key: {"out": ANSWERS.release(x, key)},
        data=torch.tensor([0, 1, 2, 3, 0, 1]),
        neighbour=torch.tensor([1, 1, 2, 3, 3, 0]),
    ),
    "sum clamped at 0": Hook(
        step=lambda x, key: {"out": (x.clamp(-1, 1).sum(dim=0) + key.normal(6)).clamp(min=0.0)},
        data=ROWS,
        neighbour=ROWS[1:],
    ),
}


@pytest.mark.parametrize("name", QUIET)
def test_no_alarm_on_any_law(name):
    for salt in range(2):
        hook = QUIET[name]
        step = lambda x, key, s=salt, h=hook: h.step(x, key.child("salt", s))  # noqa: E731
        salted = replace(hook, step=step, draws=100)
        report = probe(salted)
        assert not report.alarms, str(report)
        assert "freshness" in {f.probe for f in report.findings}


def test_equal_values_are_normal_for_discrete_noise():
    """The defect that this replaces: one equal value in two releases was an alarm."""
    release = QUIET["coarse discrete noise"].step
    draws = iter(range(10**6))
    found = freshness.fresh(
        lambda: release(ROWS, SystemKey())["out"],
        lambda: release(ROWS, SeededKey(next(draws)))["out"],
    )
    assert not found.fired and found.measured > 1.0  # more than one of six entries is equal


REUSED = {
    "the same in production": lambda x, key: x + COARSE.release(
        ROWS, SeededKey(3) if isinstance(key, SystemKey) else key),
    "half of the entries": lambda x, key: torch.cat([
        (SeededKey(3) if isinstance(key, SystemKey) else key).child("a").normal(3),
        key.child("b").normal(3)]),
    "one of three seeds": lambda x, key: SeededKey(
        int(key.generator().integers(3)) if isinstance(key, SystemKey)
        else int(key.generator().integers(2**40))).normal(6),
}  # fmt: skip


@pytest.mark.parametrize("name", REUSED)
def test_noise_that_is_not_fresh_in_production_is_seen(name):
    hook = Hook(step=lambda x, key: {"out": REUSED[name](0.0, key)}, data=ROWS, neighbour=-ROWS)
    assert "freshness" in [f.probe for f in probe(hook).alarms]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(6),
        lambda: torch.from_numpy(np.random.normal(size=6)),  # noqa: NPY002
        lambda: torch.randint(0, 4, (20,)).double(),
    ],
)
def test_noise_of_the_global_generators_is_seen_and_they_are_put_back(draw):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert freshness.global_generator(draw).fired
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    generator = np.random.default_rng(1)
    assert not freshness.global_generator(lambda: torch.from_numpy(generator.normal(size=6))).fired
    assert not freshness.global_generator(
        lambda: torch.from_numpy(generator.integers(0, 2, 6)).double()
    ).fired


def test_a_public_seed_is_found_by_the_hook():
    def step(x, key):
        noise = torch.randn(6, generator=torch.Generator().manual_seed(42), dtype=torch.float64)
        return {"out": x.clamp(-1, 1).sum(dim=0) + 2.0 * noise}

    report = probe(replace(GAUSS, step=step))
    (found,) = [f for f in report.alarms if f.probe == "reproducibility"]
    assert "seed 42 of torch float64, set again" in found.text
    assert found.measured == pytest.approx(1.0)


def test_the_shape_of_the_report():
    switches = {"use_dp": lambda on: torch.ones(2) * on, "verbose": lambda on: torch.ones(2)}
    hook = replace(
        GAUSS,
        switches=switches,
        options=lambda name: None,
        branches=(lambda name: "fedavg", ["fedavg", "fedprox"]),
        sampler=Sampler(lambda key: torch.arange(20) < 2, 0.1),
        program=lambda x, privatise: {"a": privatise("a", x.sum(dim=0)), "n": torch.tensor(len(x))},
        flow=([Node(name="x", private=True), Node(name="y", parents=("x",))], ["y"]),
        round_=Round(lambda state, batches: (batches[-1],), (torch.zeros(1),), [torch.ones(1)] * 2),
    )
    report = probe(hook)
    assert [s.probe for s in report.skipped] == ["contamination"]
    fired = {f.probe for f in report.alarms}
    assert fired == {"flag truthfulness", "sampling", "replay", "taint"}
    assert sum(f.probe == "flag truthfulness" for f in report.alarms) == 3
    text = str(report)
    for found in report.alarms:
        assert found.fix and f"{found.severity:7} {found.probe}: {found.text}. To do:" in text
    assert "skipped contamination: needs clients=True" in text
    bare = probe(Hook(step=GAUSS.step, data=ROWS, neighbour=ROWS[1:]))
    assert {s.probe for s in bare.skipped} == {
        "sensitivity", "noise forensics", "reproducibility", "last bits", "contamination",
        "flag truthfulness", "unknown options", "branches", "sampling", "replay", "taint",
        "surviving rounds",
    }  # fmt: skip
    assert all(s.reason for s in bare.skipped)


def test_what_cannot_be_measured_is_skipped_with_the_reason():
    varying = replace(GAUSS, clean=None, step=lambda x, key: {
        "out": x.clamp(-1, 1).sum(dim=0) + 2.0 * key.child(len(x)).normal(6)})  # fmt: skip
    reasons = {s.probe: s.reason for s in probe(varying).skipped}
    assert "with one key" in reasons["sensitivity"]
    single = replace(
        GAUSS, clean=None, step=lambda x, key: {"out": GAUSS.step(x, key)["out"].float()}
    )
    assert "float64" in {s.probe: s.reason for s in probe(single).skipped}["sensitivity"]
    growing = Hook(step=lambda x, key: {"out": key.normal(1 + int(key.generator().integers(9)))},
                   data=ROWS, neighbour=ROWS[1:])  # fmt: skip
    assert (
        "changes from call to call"
        in {s.probe: s.reason for s in probe(growing).skipped}["freshness"]
    )
    assert "Gaussian" in str(probe(replace(LAPLACE_HOOK, clean=None)))
    more = replace(GAUSS, clean=lambda x: {**GAUSS.clean(x), "n": torch.tensor(float(len(x)))})
    assert "stddevs of n" in {s.probe: s.reason for s in probe(more).skipped}["sensitivity"]
    with pytest.raises(ParameterError, match="clean must give out"):
        probe(replace(GAUSS, clean=lambda x: {"other": x}))


def test_noise_that_is_not_finite_or_zero_is_reported():
    wrong = torch.ones(40)
    wrong[3] = math.nan
    right = SeededKey(1).normal(40)
    for bad, word in ((wrong, "NaN"), (torch.zeros(40), "zero")):
        found = noise.independence({"a": right, "b": bad})
        assert found.fired and word in found.text and "of b" in found.text
    assert noise.finite(wrong).fired and not noise.finite(right).fired

    def step(x, key):
        out = GAUSS.step(x, key)["out"]
        return {"out": torch.where(out > 3.0, math.inf, out)}

    report = probe(replace(GAUSS, step=step))
    assert any("NaN or infinite" in f.text for f in report.alarms), str(report)


def test_the_laplace_law():
    draws = laplace_like(torch.zeros(400, 5, dtype=torch.float64), SeededKey(2)) / math.sqrt(2)
    for test in (noise.each_variance, noise.normality):
        assert not test(draws, stddev=1.0, law="laplace").fired
        assert test(SeededKey(2).normal(4000, 5), stddev=1.0, law="laplace").fired
    assert noise.normality(draws, stddev=1.0).fired  # it is not Gaussian
    assert noise.each_variance(0.8 * draws, stddev=1.0, law="laplace").measured == pytest.approx(
        0.8, rel=0.2
    )
    assert [f.probe for f in probe(replace(LAPLACE_HOOK, epsilon=0.4)).alarms] == ["sensitivity"]


ALTERED = {
    "halved": lambda key: 1.0 * key.normal(6),
    "a fifth less": lambda key: 1.6 * key.normal(6),
    "uniform": lambda key: 2.0 * math.sqrt(12) * torch.from_numpy(key.generator().random(6) - 0.5),
    "shared by the entries": lambda key: 2.0 * key.normal(1).expand(6),
}


@pytest.mark.parametrize("name", ALTERED)
def test_power_against_other_noise(name):
    seen = 0
    for salt in range(2):
        step = lambda x, key, s=salt: {  # noqa: E731
            "out": GAUSS.clean(x)["out"] + ALTERED[name](key.child("salt", s))
        }
        report = probe(replace(GAUSS, step=step, draws=600))
        seen += any(f.probe == "noise forensics" for f in report.alarms)
    assert seen == 2, seen


def test_noise_shared_by_clients_or_calls_is_seen():
    def hook(draw):
        return Hook(
            step=lambda x, key: {"out": x.clamp(-1, 1) + draw(key)}, data=ROWS, neighbour=-ROWS,
            clean=lambda x: {"out": x.clamp(-1, 1)}, stddevs={"out": 1.0}, clients=True,
        )  # fmt: skip

    calls = iter(range(10**6))
    shared = probe(hook(lambda key: key.normal(1, 6).expand(10, 6)))
    assert any("client" in f.text for f in shared.alarms if f.probe == "noise forensics")
    later = probe(hook(lambda key: SeededKey(next(calls) // 2).normal(10, 6)))
    assert any("call" in f.text for f in later.alarms if f.probe == "noise forensics"), str(later)


# -------------------------------------------------------------------- sampling
def coins(key, units=20, rate=0.1):
    return torch.from_numpy(key.generator().random(units) < rate)


def test_poisson_samples_raise_no_alarm():
    for salt in range(40):
        found = sampling.poisson(lambda key, s=salt: coins(key.child(s)), rate=0.1)
        assert not found.fired, found
    few = sampling.poisson(lambda key: coins(key, units=2, rate=0.9), rate=0.9)
    assert not few.fired


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda key: torch.arange(20) == 3, "whatever the key"),
        (lambda key: coins(key, rate=0.3), "takes part in"),
        (lambda key: torch.from_numpy(key.generator().permutation(20) < 2), "samples hold 2 to 2"),
        (lambda key: coins(key, units=10).repeat_interleave(2), ""),
    ],
)
def test_other_samples_are_seen(draw, words):
    found = sampling.poisson(draw, rate=0.1)
    assert found.fired and words in found.text


def test_the_sampling_probe_needs_draws():
    with pytest.raises(ParameterError, match="100 draws"):
        sampling.poisson(coins, rate=0.1, draws=10)
    assert binom.isf(1e-7, 400, 0.1) < 80  # twice the rate is far outside


# ---------------------------------------------------------------------- replay
def test_replay_follows_long_ways_and_stops_at_releases():
    def program(extra):
        def run(rows, privatise):
            state = torch.zeros(6, dtype=torch.float64)
            for _ in range(3):
                state = state - 0.1 * privatise("g", (rows - state).clamp(-1, 1).sum(dim=0))
            return {"state": state} | extra(rows, state)

        return run

    for extra, leaks in (
        (lambda rows, state: {}, False),
        (lambda rows, state: {"norm": state.norm()}, False),
        (lambda rows, state: {"size": torch.tensor(len(rows))}, True),
        (lambda rows, state: {"tiny": state + 1e-12 * rows.mean()}, True),
        (lambda rows, state: {"x": state} if len(rows) > 9 else {}, True),
    ):
        assert replay.post_processing(program(extra), ROWS, ROWS[1:]).fired is leaks
    counted = replay.post_processing(
        lambda rows, privatise: {str(i): privatise("r", r) for i, r in enumerate(rows)},
        ROWS, ROWS[1:])  # fmt: skip
    assert counted.fired
    longer = replay.post_processing(
        lambda rows, privatise: {"x": sum(privatise("r", r) for r in rows)}, ROWS[1:], ROWS
    )
    assert longer.fired and "more on the neighbour" in longer.text
    with pytest.raises(ParameterError, match="nothing to privatise"):
        replay.post_processing(lambda rows, privatise: {"x": rows}, ROWS, ROWS[1:])


# ------------------------------------------------------- secrecy, ledger, epsilon
def test_secrecy_of_views():
    masked = recovery.same_law(lambda which, key: which + key.generator().integers(0, 7) % 7 * 0
                               + torch.from_numpy(key.generator().random(3)) * 0 + key.normal(3)
                               - which, draws=600)  # fmt: skip
    assert not masked.fired
    assert recovery.same_law(lambda which, key: which + key.normal(1), draws=600).fired
    with pytest.raises(ParameterError, match="458"):
        recovery.same_law(lambda which, key: key.normal(1), draws=100)
    secret = torch.tensor([1.0, 2.0])
    assert recovery.recovered(secret * 1.001, secret, by="x").fired
    assert not recovery.recovered(secret * math.nan, secret, by="x").fired


def test_missing_entries_are_un_noised_even_beside_noise():
    def step(rows, key):
        noisy = key.normal(2)
        noisy[1] = math.nan if len(rows) < 10 else noisy[1]
        return {"x": noisy}

    assert outbox.unnoised(step, ROWS, ROWS[1:]).fired


def test_a_release_that_nobody_pays_for():
    left = outbox.outbox(
        lambda x, key: {"a": x + key.child("a").normal(6), "b": x + key.child("b").normal(6)},
        ROWS[0], ROWS[1])  # fmt: skip
    costs = {"a": 1.0, "b": 0.25}
    found = outbox.unpaid(left, charged={"a": 1.0}, costs=costs)
    assert found.fired and found.measured == 1.25 and "nothing for b" in found.text
    assert not outbox.unpaid(left, charged=costs, costs=costs).fired
    with pytest.raises(ParameterError, match=r"costs of \['b'\]"):
        outbox.unpaid(left, charged={}, costs={"a": 1.0})


def test_the_epsilon_of_a_pair():
    pair = [Pair("by hand", torch.zeros(1), torch.ones(1))]
    sigma = math.sqrt(2 * math.log(1.25e5))

    def run(epsilon, quote):
        return quoted(lambda x: x, pair, stddevs=sigma / epsilon, epsilon=quote, delta=1e-5)

    assert run(10.0, 10.0).measured == pytest.approx(10.39, abs=0.01)  # the classical formula
    assert run(10.0, 10.0).fired and not run(10.0, 10.4).fired
    assert run(25.0, 25.0).measured == pytest.approx(34.59, abs=0.01)
    assert not run(1.0, 1.0).fired
    bare = quoted(lambda x: x, pair, stddevs=0.0, epsilon=1.0, delta=1e-5)
    assert bare.fired and bare.measured == math.inf
    with pytest.raises(ParameterError, match="no pair"):
        sensitivity(lambda x: x, [], declared=1.0)
