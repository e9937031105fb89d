"""Selection, groups, ellipsoid, sums with counts, class means."""

import itertools
import math
from dataclasses import replace

import dp_accounting.dp_event as dpe
import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.allocation import optimal_cost
from privassay.accountant.errors import ParameterError
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.class_means import DpplMean, DpplPublic
from privassay.mechanisms.clipping import Clip
from privassay.mechanisms.groups import (
    Groups,
    SecondMoments,
    between_class_variance,
    by_score,
    chosen,
)
from privassay.mechanisms.probes.sensitivity import distance, neighbours, sensitivity
from privassay.mechanisms.prototypes import PrototypeDesign, groupwise
from privassay.mechanisms.selection import GumbelTopK, LaplaceTopK, VppBudget
from privassay.mechanisms.vpp import SumsAndCounts, ellipsoid

DESIGN = PrototypeDesign(
    mu=0.5,
    rounds=4,
    adjacency="add-remove",
    clip_norm=1.3,
    group_sizes=(3, 7),
    group_norms=(1.1, 0.6),
    public_count=20,
)


# ------------------------------------------------------------------ selection
def laplace_cdf(x):
    return torch.where(x < 0, 0.5 * torch.exp(x), 1 - 0.5 * torch.exp(-x))


def law_of_sets(scores, scale, k):
    """Exact law of the set of the k largest of `scores` + Laplace(scale), by quadrature.

    P(set S) = integral over the threshold t of the density of the smallest member at t times
    P(other members > t) P(non-members < t).
    """
    t = torch.linspace(-40 * scale, 40 * scale, 40_001, dtype=torch.float64)
    z = (t.unsqueeze(0) - scores.unsqueeze(1)) / scale
    below, density = laplace_cdf(z), torch.exp(-z.abs()) / (2 * scale)
    law = {}
    for members in itertools.combinations(range(len(scores)), k):
        rest = [i for i in range(len(scores)) if i not in members]
        out = torch.prod(below[rest], dim=0)
        total = torch.zeros_like(t)
        for least in members:
            others = [i for i in members if i != least]
            total = total + density[least] * torch.prod(1 - below[others], dim=0)
        law[members] = float(torch.trapezoid(total * out, t))
    return law


@pytest.mark.parametrize("k", [1, 2])
def test_laplace_top_k_is_as_private_as_it_says(k):
    mechanism = LaplaceTopK(k=k, dimension=4, cap=1.0, epsilon=1.0)
    worst = 0.0
    for one in itertools.product((0.0, 1.0), repeat=4):
        for other in itertools.product((0.0, 1.0), repeat=4):
            if one < other and sum(one) in (1, 2):
                laws = [law_of_sets(torch.tensor(s).double(), mechanism.scale, k)
                        for s in (one, other)]  # fmt: skip
                assert sum(laws[0].values()) == pytest.approx(1.0, abs=1e-6)
                worst = max(worst, *(abs(math.log(laws[0][s] / laws[1][s])) for s in laws[0]))
    assert 0.4 < worst <= 1.0 + 1e-5, worst
    assert account(mechanism.event(), adjacency="replace-one").epsilon(0.0).upper >= 1.0


def test_laplace_top_k_has_the_law_of_its_scale():
    mechanism = LaplaceTopK(k=2, dimension=4, cap=1.0, epsilon=3.0)
    scores = torch.tensor([1.0, 0.6, 0.2, 0.0]).double()
    drawn = mechanism.release(scores.expand(30_000, 4), SeededKey(1))
    law = law_of_sets(scores, mechanism.scale, 2)
    for members, p in law.items():
        share = float(drawn[:, list(members)].all(dim=1).double().mean())
        assert abs(share - p) < 5 * math.sqrt(p / 30_000), (members, share, p)


def test_gumbel_top_k_is_the_peeled_exponential_mechanism():
    mechanism = GumbelTopK(k=2, dimension=3, cap=1.0, epsilon_each=2.0)
    scores = torch.tensor([1.0, 0.5, 0.0]).double()
    weights = torch.exp(scores)  # epsilon u / (2 cap)
    share = mechanism.release(scores.expand(40_000, 3), SeededKey(1)).double().mean(dim=0)
    first = weights / weights.sum()
    for j in range(3):
        second = sum(
            first[i] * weights[j] / (weights.sum() - weights[i]) for i in range(3) if i != j
        )
        assert float(share[j]) == pytest.approx(float(first[j] + second), abs=0.012)
    assert mechanism.event().rho == pytest.approx(2 * 4 / 8)


@pytest.mark.parametrize("kind", [LaplaceTopK, GumbelTopK])
def test_scores_outside_the_cap_do_not_count(kind):
    more = {"epsilon": 1e9} if kind is LaplaceTopK else {"epsilon_each": 1e9}
    mechanism = kind(k=2, dimension=4, cap=1.0, **more)
    scores = torch.tensor([math.nan, 1e9, 0.9, -5.0]).double()
    assert mechanism.release(scores, SeededKey(1)).tolist() == [False, True, True, False]
    with pytest.raises(ParameterError, match="below dimension"):
        kind(k=4, dimension=4, cap=1.0, **more)


def test_nothing_is_proven_about_the_choice_with_delta():
    mechanism = LaplaceTopK(k=10, dimension=100, cap=0.1, epsilon=1.0, delta=1e-5)
    assert mechanism.scale == pytest.approx(0.8 * math.sqrt(10 * math.log(1e7)))
    assert isinstance(mechanism.event(), dpe.UnsupportedDpEvent)


def test_the_budget():
    budget = VppBudget(epsilon=2.0, delta=1e-5, rounds=4)
    assert (budget.selection, budget.prototypes) == (pytest.approx(0.05), pytest.approx(1.8))
    assert budget.spent == pytest.approx(2.0)
    assert replace(budget, per_round=False).spent == pytest.approx(1.8 + 0.8)


# --------------------------------------------------------------------- groups
def test_groups_need_an_origin_that_somebody_paid_for():
    event = dpe.GaussianDpEvent(3.0)
    order, sizes = (2, 0, 1), (1, 2)
    for origin in ("public", "noisy release"):
        groups = Groups(order=order, sizes=sizes, origin=origin)
        rows = SeededKey(1).normal(4, 3)
        assert torch.equal(groups.restore(groups.arrange(rows)), rows)
        with pytest.raises(ParameterError, match="cost"):
            Groups(order=order, sizes=sizes, origin=origin, cost=event)
    assert Groups(order=order, sizes=sizes, origin="paid estimate", cost=event).cost == event
    with pytest.raises(ParameterError, match="private records"):
        Groups(order=order, sizes=sizes, origin="private records")
    with pytest.raises(ParameterError, match="no cost"):
        Groups(order=order, sizes=sizes, origin="paid estimate")
    with pytest.raises(ParameterError, match="permutation"):
        Groups(order=(0, 0, 1), sizes=sizes, origin="public")
    assert by_score(torch.tensor([0.1, 0.9, 0.5]), 2, origin="public").order == (1, 2, 0)


def test_a_paid_choice_carries_its_cost():
    choice = LaplaceTopK(k=2, dimension=5, cap=1.0, epsilon=1e6)
    groups = chosen(choice, torch.tensor([0.0, 1.0, 0.0, 0.9, 0.1]).double(), SeededKey(1))
    assert groups.order == (1, 3, 0, 2, 4) and groups.sizes == (2, 3)
    assert groups.cost == choice.event() and groups.origin == "paid estimate"


def test_variance_between_classes_is_estimated_without_bias():
    means = SeededKey(1).normal(6, 30)
    truth = means.var(dim=0, correction=0)
    found = torch.stack([
        between_class_variance(
            means + 0.7 * SeededKey(2).child(i).normal(5, 6, 30), noise_stddev=0.7, releases=5)
        for i in range(2000)
    ])  # fmt: skip
    error = (found.mean(dim=0) - truth) / (found.std(dim=0) / 2000**0.5)
    assert float(error.abs().max()) < 5, error


@pytest.mark.parametrize(
    ("adjacency", "moved"), [("add-remove", 1.0), ("replace-one", math.sqrt(2)), ("zero-out", 1.0)]
)
def test_second_moments_cost_what_they_move(adjacency, moved):
    mechanism = SecondMoments(clip_norm=0.5, noise_multiplier=3.0, public_count=9)
    rows = torch.diag(torch.tensor([9.0, 9.0, 9.0])).double()
    pairs = list(neighbours(rows, adjacency))
    found = sensitivity(
        lambda x: mechanism.contribution(x).sum(dim=0) / 0.25, pairs, declared=moved
    )
    assert not found.fired and found.measured == pytest.approx(moved, rel=1e-9)
    mu = account(mechanism.event(adjacency), adjacency=adjacency).mu.upper
    assert mu == pytest.approx(moved / 3.0, rel=1e-12) and mu >= moved / 3.0 * (1 - 1e-15)
    q = mechanism.release(torch.zeros(20_000, 1, 3).double(), SeededKey(1))
    assert float(q.std()) == pytest.approx(3.0 * 0.25 / 9, rel=0.02)


# ------------------------------------------------------------------ ellipsoid
@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
def test_the_ellipsoid_meets_its_budget_and_is_cheapest_at_its_norms(adjacency):
    design = replace(DESIGN, adjacency=adjacency)
    mechanism = ellipsoid(design)
    event = dpe.SelfComposedDpEvent(mechanism.event(), design.rounds)
    mu = account(event, adjacency=adjacency).mu.upper
    assert design.mu * (1 - 1e-9) < mu <= design.mu
    # A row with exactly these group norms is just not clipped.
    row = torch.cat([torch.full((3,), 1.1 / 3**0.5), torch.full((7,), 0.6 / 7**0.5)]).double()
    torch.testing.assert_close(mechanism.contribution(row), row, rtol=1e-9, atol=0)
    assert not torch.equal(mechanism.contribution(1.01 * row), 1.01 * row)
    power = [sum(d * s * s for d, s in zip(m.group_sizes, m.noise_stddevs, strict=True))
             for m in (mechanism, groupwise(design))]  # fmt: skip
    # The same closed form, so the same power: (sum m sqrt d)^2.
    assert power[0] == pytest.approx(power[1], rel=1e-9)


# ------------------------------------------------------------ sums and counts
COUNTED = SumsAndCounts(
    clip=Clip(group_norms=(1.0, 0.5)),
    group_sizes=(2, 3),
    noise_stddevs=(4.0, 2.0),
    count_stddev=5.0,
)


def test_sums_and_counts_cost_both():
    mu = account(COUNTED.event(), adjacency="add-remove").mu
    assert mu.upper == pytest.approx(math.sqrt(1 / 16 + 1 / 16 + 1 / 25), rel=1e-12)
    rows = torch.cat([9 * torch.ones(4, 5), torch.zeros(0, 5)]).double()
    found = sensitivity(
        lambda x: COUNTED.statistic(x, torch.zeros(len(x), dtype=torch.int64), 3),
        neighbours(rows, "add-remove"),
        declared=mu.upper,
        stddevs=torch.tensor([4.0, 4.0, 2.0, 2.0, 2.0, 5.0]),
    )
    assert not found.fired and found.measured == pytest.approx(mu.upper, rel=1e-9)


def test_sums_and_counts_by_hand():
    x = torch.tensor([[0.1, 0.2, 0, 0, 0.3], [3, 4, 0, 0, 0], [math.nan, 0, 0, 0, 0]]).double()
    y = torch.tensor([0, 2, 0])
    exact = COUNTED.statistic(x, y, 3)
    assert exact[0].tolist() == pytest.approx([0.1, 0.2, 0, 0, 0.3, 1.0])
    assert exact[1].tolist() == [0.0] * 6
    assert exact[2].tolist() == pytest.approx([0.6, 0.8, 0, 0, 0, 1.0])
    assert COUNTED.means(torch.tensor([[4.0, 8, 2, 2, 2, 0.3]])).tolist() == [[4, 8, 2, 2, 2]]
    noise = COUNTED.release(torch.zeros(20_000, 6).double(), SeededKey(1)).std(dim=0)
    assert noise.tolist() == pytest.approx([4, 4, 2, 2, 2, 5], rel=0.03)


# ---------------------------------------------------------------- class means
def test_pooled_class_means():
    mechanism = DpplMean(clip_norm=2.0, noise_multiplier=1.5, public_count=4, pool=2)
    x = torch.tensor([[1.0, 3.0, 0.0, 0.0], [30.0, 50.0, 20.0, 40.0]]).double()
    found = mechanism.statistic(x, torch.tensor([0, 1]), 2) * 4
    assert found[0].tolist() == [2.0, 0.0] and found[1].tolist() == pytest.approx([1.6, 1.2])
    noise = mechanism.release(torch.zeros(20_000, 2).double(), SeededKey(1))
    assert float(noise.std()) == pytest.approx(1.5 * 2 / 4, rel=0.03)
    with pytest.raises(ParameterError, match="pooled"):
        mechanism.contribution(torch.zeros(1, 5))


@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (0.5, 1.25)])
def test_the_choice_of_a_public_prototype(low, high):
    mechanism = DpplPublic(epsilon=1.3, low=low, high=high)
    public = SeededKey(1).normal(6, 4)
    rows, labels = SeededKey(2).normal(10, 4), torch.zeros(10, dtype=torch.int64)

    def utilities(x):
        return mechanism.statistic(x, labels[: len(x)].new_zeros(len(x)), 1, public)

    for adjacency in ("add-remove", "replace-one"):
        for pair in neighbours(rows, adjacency):
            change = (utilities(pair.one) - utilities(pair.other)).abs().max()
            assert float(change) <= (high - low) * (1 + 1e-12)
    logs = []
    for data in (rows, rows[:-1]):
        weights = 1.3 * utilities(data)[0] / (2 * (high - low))
        logs.append(torch.log_softmax(weights, dim=0))
    assert float((logs[0] - logs[1]).abs().max()) <= 1.3
    chosen = mechanism.release(utilities(rows).expand(30_000, 1, 6), SeededKey(3)).flatten()
    share = torch.bincount(chosen, minlength=6).double() / 30_000
    assert float((share - logs[0].exp()).abs().max()) < 0.015
    assert distance(utilities, next(neighbours(rows, "add-remove"))) > 0
    assert optimal_cost([1.0], [1], mu=1.0) == 1.0


def test_the_ellipsoid_is_a_mechanism_of_prototypes():
    mechanism = ellipsoid(DESIGN)
    x, y = SeededKey(1).normal(2, 9, 10), torch.arange(9).expand(2, 9) % 3
    statistic = mechanism.statistic(x, y, 4)
    assert statistic.shape == (2, 4, 10) and not statistic[:, 3].any()
    one, two = (mechanism.perturb(statistic, SeededKey(s)) for s in (1, 2))
    assert not torch.equal(one, two)
    assert torch.equal(one, mechanism.perturb(statistic, SeededKey(1)))
    bad = x.clone()
    bad[:, 4] = math.nan
    padded = torch.where(torch.arange(9) == 4, -1, y)
    assert torch.equal(mechanism.statistic(bad, y, 4), mechanism.statistic(x, padded, 4))
    assert all(a.text.endswith(".") for a in mechanism.assumptions())
