import math
import random
from dataclasses import replace

import dp_accounting.dp_event as dpe
import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError
from privassay.accountant.gaussian import mu_interval
from privassay.mechanisms import catalog
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.clipping import Clip
from privassay.mechanisms.prototypes import (
    NoisyPrototypes,
    PrototypeDesign,
    groupwise,
    groupwise_global_clip,
    isotropic,
    non_private,
)

DESIGN = PrototypeDesign(
    mu=0.5,
    rounds=4,
    adjacency="add-remove",
    clip_norm=1.3,
    group_sizes=(3, 7),
    group_norms=(1.1, 0.6),
    public_count=20,
)
KINDS = ("none", "igpp", "vpp", "groupwise_global_clip", "noise_halved")


def total_mu(mechanism, design=DESIGN):
    event = dpe.SelfComposedDpEvent(mechanism.event(), design.rounds)
    return account(event, adjacency=design.adjacency).mu


def records(count, seed=0, dim=10, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 4, (count,), generator=generator)


def naive_statistic(mechanism, x, y, classes):
    """One record after the other, clipped by hand."""
    sums = [[0.0] * mechanism.dimension for _ in range(classes)]
    for row, label in zip(x.tolist(), y.tolist(), strict=True):
        if not all(map(math.isfinite, row)) or label < 0:
            continue
        start, out = 0, []
        bounds = mechanism.clip.group_norms or (math.inf,) * len(mechanism.group_sizes)
        for size, bound in zip(mechanism.group_sizes, bounds, strict=True):
            part = row[start : start + size]
            norm = math.sqrt(math.fsum(v * v for v in part))
            out += [v * min(1.0, bound / norm) if norm else 0.0 for v in part]
            start += size
        norm = math.sqrt(math.fsum(v * v for v in out))
        joint = math.inf if mechanism.clip.joint_norm is None else mechanism.clip.joint_norm
        factor = min(1.0, joint / norm) if norm else 1.0
        for j, value in enumerate(out):
            sums[label][j] += value * factor
    return torch.tensor(sums, dtype=torch.float64) / mechanism.public_count


@pytest.mark.parametrize("kind", KINDS)
def test_the_statistic_equals_a_loop_over_records(kind):
    mechanism = catalog.build(kind, DESIGN)
    x, y = records(50)
    x[3, 4], x[9, 0], y[11], x[20] = math.nan, math.inf, -1, 0.0
    found = mechanism.statistic(x, y, 4)
    twin = getattr(mechanism, "twin", mechanism)
    torch.testing.assert_close(found, naive_statistic(twin, x, y, 4), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_adding_one_record_moves_one_class_by_at_most_the_bound(kind):
    mechanism = catalog.build(kind, DESIGN)
    x, y = records(40, scale=3.0)
    for index in range(40):
        rest = torch.arange(40) != index
        change = mechanism.statistic(x, y, 4) - mechanism.statistic(x[rest], y[rest], 4)
        moved = change[y[index]]
        if kind == "vpp":
            lengths = [float(p.norm()) for p in moved.split(DESIGN.group_sizes)]
            bounds = [c / DESIGN.public_count for c in DESIGN.group_norms]
        else:
            lengths, bounds = [float(moved.norm())], [DESIGN.clip_norm / DESIGN.public_count]
        for length, bound in zip(lengths, bounds, strict=True):
            assert length <= bound * (1 + 1e-9), f"record {index} moves {length} > {bound}"
        change[y[index]] = 0.0
        assert float(change.abs().max()) < 1e-14, "another class moved"


@pytest.mark.parametrize("kind", ["igpp", "vpp", "groupwise_global_clip"])
@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one", "zero-out"])
def test_no_pair_of_neighbours_exceeds_the_proven_mu(kind, adjacency):
    design = replace(DESIGN, adjacency=adjacency)
    mechanism = catalog.build(kind, design)
    proven = total_mu(mechanism, design).upper
    scale = torch.repeat_interleave(
        torch.tensor(mechanism.noise_stddevs, dtype=torch.float64),
        torch.tensor(mechanism.group_sizes),
    )
    x = 20 * records(3000)[0] * torch.tensor([1.0] * 3 + [0.01] * 7)  # mostly in the first group
    x = torch.cat([x, 20 * records(3000, seed=5)[0]])
    one = mechanism.contribution(x) / design.public_count
    other = mechanism.contribution(-x) / design.public_count if adjacency == "replace-one" else 0.0
    reached = float(((one - other) / scale).norm(dim=1).max()) * design.rounds**0.5
    assert reached <= proven * (1 + 1e-9), f"{reached} > {proven}"
    assert reached > 0.99 * proven


def test_no_record_at_all_gives_zeros_for_every_class():
    for kind in KINDS:
        mechanism = catalog.build(kind, DESIGN)
        empty = torch.zeros(0, 10, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
        assert torch.equal(mechanism.statistic(*empty, 4), torch.zeros(4, 10, dtype=torch.float64))


@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_padding_labels_count_nothing(lead):
    mechanism = isotropic(DESIGN)
    x, y = records(6 * math.prod(lead))
    x, y = x.reshape(*lead, 6, 10), y.reshape(*lead, 6)
    y[..., 4:] = -1
    x[..., 5, :] = math.nan
    torch.testing.assert_close(
        mechanism.statistic(x, y, 4), mechanism.statistic(x[..., :4, :], y[..., :4], 4)
    )


def test_features_of_another_size_are_refused():
    # A single column would be broadcast: the same noise in all dimensions.
    for mechanism in (isotropic(DESIGN), groupwise(DESIGN)):
        for dim in (1, 9, 11):
            wrong = torch.zeros(2, dim, dtype=torch.float64)
            with pytest.raises(ParameterError, match=r"10.*but are \[2, "):
                mechanism.perturb(wrong, SeededKey(0))
            with pytest.raises(ParameterError, match=r"10.*but are \[2, "):
                mechanism.statistic(wrong, torch.zeros(2, dtype=torch.int64), 4)


def chi_square_limits(freedom, risk=1e-6):
    from scipy.stats import chi2

    return chi2.ppf(risk / 2, freedom) / freedom, chi2.ppf(1 - risk / 2, freedom) / freedom


@pytest.mark.parametrize("kind", ["igpp", "vpp", "groupwise_global_clip", "noise_halved"])
def test_measured_noise_is_what_is_declared_and_halved_where_that_is_planted(kind):
    mechanism = catalog.build(kind, DESIGN)
    base = torch.randn(10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws = mechanism.perturb(base.expand(20_000, 2, 10), SeededKey(4)) - base
    true = 0.5 if kind == "noise_halved" else 1.0
    for part, stddev in zip(
        draws.split(mechanism.group_sizes, dim=-1), mechanism.noise_stddevs, strict=True
    ):
        low, high = chi_square_limits(part.numel())
        ratio = float(part.square().mean()) / (true * stddev) ** 2
        assert low < ratio < high, f"variance is {ratio:.4f} of the declared, not in {low}..{high}"
        # Of each dimension, too: a group's power could be right with one dimension bare.
        low, high = chi_square_limits(40_000)
        each = part.square().mean(dim=(0, 1)) / (true * stddev) ** 2
        assert low < float(each.min()) and float(each.max()) < high, each
    # No two entries share noise.
    flat = (draws / draws.std(dim=(0, 1))).flatten(1)
    off = (flat.T @ flat / len(flat) - torch.eye(20, dtype=torch.float64)).abs()
    off.fill_diagonal_(0.0)
    assert float(off.max()) < 6 / 20_000**0.5, f"correlation {float(off.max()):.4f}"


def test_noise_halved_has_exactly_half_of_its_twin_s_noise_and_its_event():
    broken, twin = catalog.build("noise_halved", DESIGN), isotropic(DESIGN)
    zeros, key = torch.zeros(5, 10, dtype=torch.float64), SeededKey(1)
    assert torch.equal(broken.perturb(zeros, key), 0.5 * twin.perturb(zeros, key))
    assert broken.event() == twin.event()
    assert broken.noise_stddevs == twin.noise_stddevs
    assert broken.assumptions() == twin.assumptions()


def test_no_noise_is_the_statistic_and_proves_nothing():
    mechanism = non_private(DESIGN)
    x, y = records(20)
    statistic = mechanism.statistic(x, y, 4)
    assert torch.equal(mechanism.perturb(statistic, SeededKey(0)), statistic)
    assert total_mu(mechanism).upper == math.inf


@pytest.mark.parametrize("seed", range(150))
def test_the_budget_is_met_from_below_and_used_up(seed):
    # An honest claim that fails by the last bit would be UNSUPPORTED.
    rng = random.Random(seed)
    design = PrototypeDesign(
        mu=math.exp(rng.uniform(-5, 2)),
        rounds=rng.randint(1, 40),
        adjacency=rng.choice(["add-remove", "replace-one", "zero-out"]),
        clip_norm=math.exp(rng.uniform(-3, 3)),
        group_sizes=(rng.randint(1, 60), rng.randint(1, 60)),
        group_norms=(rng.uniform(0.01, 3), rng.uniform(0.01, 3)),
        public_count=rng.randint(1, 300),
    )
    for build in (isotropic, groupwise):
        mu = total_mu(build(design), design).upper
        assert mu <= design.mu, f"{build.__name__}: {mu} > {design.mu}"
        assert mu > design.mu * (1 - 1e-9), f"{build.__name__}: {mu} wastes part of {design.mu}"


def power(mechanism):
    pairs = zip(mechanism.group_sizes, mechanism.noise_stddevs, strict=True)
    return sum(d * s * s for d, s in pairs)


@pytest.mark.parametrize("norms", [(1.1, 0.6), (0.2, 1.2), (1.29, 0.05), (0.7, 0.7)])
def test_groupwise_noise_is_cheaper_than_isotropic_noise_for_the_same_group_clip(norms):
    design = replace(DESIGN, group_norms=norms, clip_norm=math.hypot(*norms))
    assert total_mu(groupwise(design)).upper == pytest.approx(
        total_mu(isotropic(design)).upper, rel=1e-9
    )
    ratio = power(groupwise(design)) / power(isotropic(design))
    # (sum c sqrt d)^2 over (sum d)(sum c^2): Cauchy-Schwarz
    sizes = DESIGN.group_sizes
    wanted = sum(c * d**0.5 for c, d in zip(norms, sizes, strict=True)) ** 2 / (
        sum(sizes) * math.hypot(*norms) ** 2
    )
    assert ratio == pytest.approx(wanted, rel=1e-9)
    assert ratio < 0.99


def test_it_is_not_where_norms_go_with_the_root_of_the_dimensions():
    norms = tuple(math.sqrt(d / 10) for d in DESIGN.group_sizes)
    design = replace(DESIGN, group_norms=norms, clip_norm=1.0)
    assert power(groupwise(design)) == pytest.approx(power(isotropic(design)), rel=1e-9)


@pytest.mark.parametrize(
    ("fraction", "ratio", "wanted"),
    [
        ((3, 7), 4.0, {1.0: 3.92, 2.0: 8.20, 8.0: 39.3}),
        ((3, 7), 1.883, {1.0: 1.76, 2.0: 3.56, 8.0: 15.1}),
        ((5, 5), 3.0, {1.0: 2.44, 2.0: 5.00, 8.0: 22.2}),
        ((1, 9), 3.0, {1.0: 3.23, 2.0: 6.69, 8.0: 31.0}),
    ],
)
def test_groupwise_noise_with_a_global_clip_costs_what_the_table_says(fraction, ratio, wanted):
    for epsilon, anisotropic in wanted.items():
        design = replace(
            DESIGN,
            mu=mu_interval(epsilon, 1e-5)[0],
            rounds=1,
            group_sizes=fraction,
            noise_ratio=ratio,
        )
        assert power(groupwise_global_clip(design)) == pytest.approx(
            power(isotropic(design)), rel=1e-12
        )
        event = groupwise_global_clip(design).event()
        found = account(event, adjacency="add-remove").epsilon(1e-5)
        digits = 1 if anisotropic > 10 else 2
        assert round(found.upper, digits) == anisotropic, found
        assert found.lower == pytest.approx(found.upper, rel=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        {"mu": 0.0},
        {"mu": math.nan},
        {"clip_norm": -1.0},
        {"clip_norm": math.inf},
        {"rounds": 0},
        {"public_count": 0},
        {"public_count": 2.5},
        {"group_sizes": (3, 0)},
        {"group_sizes": (3, 3, 4)},
        {"group_norms": (1.0,)},
        {"noise_ratio": 0.5},
        {"noise_ratio": math.nan},
    ],
)
def test_a_design_out_of_range_is_refused(change):
    with pytest.raises(ParameterError):
        replace(DESIGN, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_stddevs": (1.0, math.inf)},
        {"noise_stddevs": (1.0, math.nan)},
        {"noise_stddevs": (1.0, -1.0)},
        {"noise_stddevs": (1.0,)},
        {"clip": Clip(group_norms=(1.0, 1.0, 1.0))},
        {"clip": Clip(ellipsoid_radii=(1.0,))},
        {"group_sizes": (3, 0)},
        {"public_count": 0},
    ],
)
def test_a_mechanism_out_of_range_is_refused(change):
    sound = NoisyPrototypes(
        clip=Clip(joint_norm=1.0), group_sizes=(3, 7), noise_stddevs=(1.0, 2.0), public_count=5
    )
    with pytest.raises(ParameterError):
        replace(sound, **change)


def test_the_counterexample_needs_two_groups():
    with pytest.raises(ParameterError, match="two groups"):
        groupwise_global_clip(replace(DESIGN, group_sizes=(10,), group_norms=(1.0,)))


def test_an_unknown_kind_is_named_with_the_closest_and_all_others():
    with pytest.raises(ParameterError) as caught:
        catalog.build("groupwise_global_clp", DESIGN)
    text = str(caught.value)
    assert "did you mean 'groupwise_global_clip'?" in text
    assert all(repr(kind) in text for kind in KINDS), text
