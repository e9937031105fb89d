import math

import pytest
import torch

from privassay.accountant.errors import ParameterError
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.clipping import Clip
from privassay.mechanisms.discrete_gaussian import DiscreteGaussianSum
from privassay.mechanisms.probes import (
    contamination,
    evidence,
    flags,
    freshness,
    noise,
    outbox,
    theorem,
)
from privassay.mechanisms.probes.finding import Finding, worst
from privassay.mechanisms.probes.sensitivity import Pair, distance, neighbours, sensitivity
from privassay.mechanisms.probes.taint import Node, taint, unsafe_path

ROWS = SeededKey(1).normal(12, 5)
UNIT = Clip(joint_norm=1.0)


def clipped_sum(rows):
    return UNIT.apply(rows, (5,)).sum(dim=0)


# ---------------------------------------------------------------- sensitivity
@pytest.mark.parametrize(
    ("adjacency", "truth"), [("add-remove", 1.0), ("zero-out", 1.0), ("replace-one", 2.0)]
)
def test_the_sensitivity_of_a_clipped_sum(adjacency, truth):
    pairs = list(neighbours(ROWS, adjacency))
    exact = sensitivity(clipped_sum, pairs, declared=truth)
    assert not exact.fired and exact.measured == pytest.approx(truth, rel=1e-9)
    assert sensitivity(clipped_sum, pairs, declared=0.99 * truth).fired


@pytest.mark.parametrize(
    "bug",
    [
        lambda rows: rows.sum(dim=0),
        lambda rows: rows.nan_to_num().sum(dim=0),
        lambda rows: UNIT.apply(rows, (5,)).mean(dim=0) * 12,  # divides by the true count
        lambda rows: rows.nan_to_num().clamp(-1, 1).sum(dim=0),  # by coordinate
        lambda rows: clipped_sum(rows / rows.norm(dim=1).max()) * 3,  # bound from the data
        lambda rows: UNIT.apply(rows, (5,)),  # its shape shows the count
        lambda rows: {str(len(rows)): clipped_sum(rows)},
    ],
)
def test_bugs_that_the_sensitivity_probe_sees(bug):
    assert sensitivity(bug, neighbours(ROWS, "add-remove"), declared=1.0).fired


def test_distance_by_hand():
    pair = Pair("", torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.0]))
    assert distance(lambda x: x, pair) == 5.0
    assert distance(lambda x: x, pair, order=1) == 7.0
    assert distance(lambda x: {"a": x, "b": x}, pair, stddevs={"a": 1.0, "b": 0.5}) == (
        pytest.approx(5 * math.sqrt(5))
    )
    assert distance(lambda x: x, pair, stddevs=torch.tensor([0.0, 1.0])) == math.inf
    nan = Pair("", torch.tensor([math.nan, 1.0]), torch.tensor([math.nan, 1.0]))
    assert distance(lambda x: x, nan) == 0.0
    half = Pair("", torch.tensor([math.nan]), torch.tensor([1.0]))
    assert distance(lambda x: x, half) == math.inf
    zero = Pair("", torch.tensor([1.0]), torch.tensor([1.0]))
    assert distance(lambda x: x, zero, stddevs=0.0) == 0.0


def test_no_neighbour_is_no_neighbour():
    for adjacency in ("add-remove", "zero-out", "replace-one"):
        for pair in neighbours(ROWS, adjacency):
            if adjacency == "add-remove":
                assert abs(len(pair.one) - len(pair.other)) == 1
                n = min(len(pair.one), len(pair.other))
            else:
                assert len(pair.one) == len(pair.other)
                differ = (pair.one != pair.other).any(dim=1) & ~(
                    pair.one.isnan() & pair.other.isnan()
                ).all(dim=1)
                assert int(differ.sum()) <= 1, pair.name
                n = 0
            if n:
                short, long = sorted((pair.one, pair.other), key=len)
                kept = [i for i in range(len(long)) if i == len(short) or torch.equal(
                    torch.cat([long[:i], long[i + 1 :]]), short)]  # fmt: skip
                assert kept, pair.name
    empty = torch.zeros(0, 3)
    assert len(list(neighbours(empty, "add-remove"))) == 4
    assert not list(neighbours(empty, "zero-out"))


# -------------------------------------------------------------- release ledger
def test_what_leaves_and_how():
    def step(rows, key):
        total = clipped_sum(rows)
        partly = key.child("p").normal(5)
        partly[2] = 0.0
        return {
            "noisy": total + key.child("n").normal(5),
            "partly": total + partly,
            "bare": total,
            "public": torch.ones(3),
            "only noise": key.child("o").normal(3),
            "count": torch.tensor(float(len(rows))),
        }

    found = {left.name: left for left in outbox.outbox(step, ROWS, ROWS[1:])}
    assert {n: f.bare for n, f in found.items()} == {
        "noisy": 0, "partly": 1, "bare": 5, "public": 0, "only noise": 0, "count": 1,
    }  # fmt: skip
    assert found["noisy"].noised and found["noisy"].reads_data
    assert not found["public"].reads_data and not found["only noise"].reads_data
    fired = outbox.unnoised(step, ROWS, ROWS[1:])
    assert fired.fired and "partly (1/5), bare (5/5), count (1/1)" in fired.text
    # A tensor that only one of the data sets sends, and one whose size shows.
    assert outbox.unnoised(lambda r, k: {"x": k.normal(len(r))}, ROWS, ROWS[1:]).fired
    assert outbox.unnoised(
        lambda r, k: {"x": k.normal(2)} if len(r) > 11 else {}, ROWS, ROWS[1:]
    ).fired
    with pytest.raises(ParameterError, match="two keys"):
        outbox.outbox(step, ROWS, ROWS[1:], keys=[SeededKey(1)])


# ------------------------------------------------------------- noise forensics
def test_noise_as_declared_raises_no_alarm():
    for seed in range(60):
        draws = 0.3 * SeededKey(seed).child("draws").normal(200, 5)
        for found in (
            noise.variance(draws, stddev=0.3),
            noise.each_variance(draws, stddev=0.3),
            noise.normality(draws, stddev=0.3),
            noise.independence({"a": draws[:100], "b": draws[100:]}),
        ):
            assert not found.fired, (seed, found)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
def test_a_tenth_too_much_or_too_little_is_seen(factor):
    draws = factor * SeededKey(3).normal(4000)
    found = noise.variance(draws, stddev=1.0)
    assert found.fired and ("less" if factor < 1 else "more") in found.text
    assert found.measured == pytest.approx(factor, rel=0.05)


def test_one_bare_coordinate_is_seen():
    draws = SeededKey(3).normal(100, 50)
    draws[:, 17] *= 0.2
    found = noise.each_variance(draws, stddev=1.0)
    assert found.fired and "coordinate 17" in found.text
    draws[:, 17] = 0.0
    assert noise.each_variance(draws, stddev=1.0).fired


def test_other_laws_are_seen():
    uniform = torch.rand(5000, generator=torch.Generator().manual_seed(0)).double() - 0.5
    assert noise.normality(uniform * math.sqrt(12), stddev=1.0).fired
    spike = SeededKey(1).normal(5000)
    spike[:400] = 0.0  # sometimes no noise at all
    assert noise.normality(spike, stddev=1.0).fired


def test_shared_noise_is_seen():
    one, other = SeededKey(1).normal(2, 1000)
    assert noise.independence({"a": one, "b": other, "c": 0.3 * one + other}).fired
    assert not noise.independence({"a": one, "b": other}).fired
    assert noise.independence({"a": one, "b": -one}).measured == pytest.approx(-1.0)


def test_noise_from_a_public_seed():
    def attacker(seed):
        return torch.randn(300, generator=torch.Generator().manual_seed(seed)).double()

    assert noise.reproducible(attacker(7), attacker, range(10)).fired
    assert not noise.reproducible(attacker(11), attacker, range(10)).fired
    assert not noise.reproducible(SystemKey().normal(300), attacker, range(10)).fired
    mixed = attacker(7) + SeededKey(1).normal(300)
    assert noise.reproducible(mixed, attacker, range(10)).fired
    assert freshness.fresh(lambda: SeededKey(1).normal(4)).fired
    assert not freshness.fresh(lambda: SystemKey().normal(4)).fired


def test_last_bits():
    double = ROWS.sum(dim=0) + SeededKey(1).normal(100, 5)
    assert noise.last_bits(double, stddev=1.0).fired
    grid = DiscreteGaussianSum(step=2.0**-10, clip_steps=2**10, sigma_steps=2.0**10, dimension=5)
    out = torch.stack([grid.release(ROWS, SeededKey(i)) for i in range(20)])
    found = noise.last_bits(out, stddev=1.0)
    assert not found.fired and found.measured == 2.0**-10
    assert noise.last_bits(torch.tensor([0.0, 6.0, -2.5]), stddev=1.0).measured == 0.5
    assert noise.last_bits(torch.zeros(3), stddev=1.0).measured == math.inf


@pytest.mark.parametrize("bad", [torch.tensor([1.0, math.nan] * 20), torch.zeros(1)])
def test_what_is_no_noise_is_refused(bad):
    with pytest.raises(ParameterError, match="finite values of noise"):
        noise.normality(bad, stddev=1.0)


# -------------------------------------------------------------- contamination
def test_contamination():
    data = SeededKey(2).normal(4, 3)
    clean = contamination.contamination(lambda x, k: {"w": 2 * x + k.normal(4, 3)}, data)
    assert not clean.fired
    mixed = contamination.contamination(lambda x, k: {"w": x - 1e-12 * x.mean(dim=0)}, data)
    assert mixed.fired and "client 0" in mixed.text
    with pytest.raises(ParameterError, match="two clients"):
        contamination.contamination(lambda x, k: {"w": x}, data[:1])
    batches = list(data)
    assert not contamination.surviving_steps(lambda b: torch.stack(list(b)).sum(0), batches).fired
    assert contamination.surviving_steps(lambda b: b[-1], batches).measured == 1.0


# ----------------------------------------------------------------------- rest
def test_flags():
    assert flags.switch(lambda on: torch.ones(2), "noise").fired
    assert not flags.switch(lambda on: torch.ones(2) * on, "noise").fired

    def strict(name):
        if name != "use_dp":
            raise ValueError(f"no option {name}")

    assert not flags.unknown_option(strict, "enable_dp").fired
    assert flags.unknown_option(lambda name: None, "enable_dp").fired


def test_taint_finds_long_ways_and_stops_at_noise_and_cycles():
    chain = [Node(name="0", private=True)]
    chain += [Node(name=str(i), parents=(str(i - 1), str(i + 1))) for i in range(1, 50)]
    chain.append(Node(name="50", parents=("49",)))
    assert unsafe_path(chain, "50") == tuple(map(str, range(51)))
    chain[20] = Node(name="20", parents=("19",), noised=True)
    assert unsafe_path(chain, "50") is None
    assert not taint(chain, ["50", "20"]).fired and taint(chain, ["50", "3"]).fired
    with pytest.raises(ParameterError, match="no node is called 'x'"):
        unsafe_path(chain, "x")


def test_membership_evidence():
    same = {1: 0, 2: 1}
    assert not evidence.members(same, {3: 0, 4: 1}, {1, 2}).fired
    assert evidence.members(same, {3: 0, 4: 0}, {1, 2}).fired  # another mix of classes
    assert evidence.members(same, {3: 0, 4: 1}, {1}).fired
    assert evidence.members(same, {3: 0, 4: 1}, {1, 2, 3}).fired


def test_theorem_checks():
    one = torch.ones(3)
    assert not theorem.agrees(one, one, what="x").fired
    assert theorem.agrees(one * math.nan, one, what="x").fired
    assert theorem.agrees(one, torch.ones(4), what="x").fired
    assert theorem.at_least(math.nan, 1.0, what="x").fired
    assert theorem.at_most(math.nan, 1.0, what="x").fired


def test_worst():
    good, bad = (Finding(probe="p", fired=f, text="t", fix="do" * f) for f in (False, True))
    assert worst([good, bad]) is bad and worst([good]) is good
    with pytest.raises(ValueError, match="no probe"):
        worst([])
    with pytest.raises(ValueError, match="needs a fix"):
        Finding(probe="p", fired=True, text="t")
    with pytest.raises(ValueError, match="needs a fix"):
        Finding(probe="p", fired=False, text="t", fix="do")
