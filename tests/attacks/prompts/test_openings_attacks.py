"""Attacks on opened values: the page's table, the real protocol, what is not determined, errors."""

import itertools
import statistics

import numpy as np
import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.prompts.differencing import Differencing, solve
from privassay.attacks.prompts.gram import Gram, gram_system, pairwise_distances
from privassay.attacks.prompts.mask_reuse import ReusedMasks
from privassay.attacks.prompts.openings import ClusterPrompts, Openings, Shares
from privassay.attacks.prompts.slice_trilateration import SliceTrilateration
from privassay.attacks.prompts.subtraction import Subtraction
from privassay.attacks.prompts.trilateration import Trilateration, both_points, trilaterate
from privassay.audit_reports.selftest.prompt_openings import server_view
from privassay.mechanisms.secfpp import SecFPP
from privassay.mechanisms.secret_sharing.clustering import AdaptiveRule, plain_distances
from privassay.mechanisms.secret_sharing.lagrange import LagrangeCode
from privassay.mechanisms.secret_sharing.masks import SeededSource, uniform
from privassay.mechanisms.secret_sharing.setting import Setting


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def points_of(count, dimension, seed=0):
    return torch.rand((count, dimension), generator=draw(seed), dtype=torch.float64) * 2 - 1


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
def test_recovery_errors_of_the_page(dimension, centres, bits, reference):
    points = torch.rand((200, centres + 1, dimension), generator=draw(1), dtype=torch.float64) * 2
    points -= 1
    rounded = (points * 2.0**bits).round() / 2.0**bits
    opened = (rounded[:, :1] - rounded[:, 1:]).norm(dim=-1)
    found = trilaterate(points[:, 1:], opened)  # all draws at once
    errors = (found - points[:, 0]).norm(dim=1) / points[:, 0].norm(dim=1)
    assert statistics.median(errors.tolist()) == pytest.approx(reference, rel=0.35)


def test_a_batch_is_its_rows_and_nothing_opened_says_nothing():
    centres, x = points_of(7, 3), points_of(5, 3, 1)
    distances = torch.cdist(x, centres)
    both = trilaterate(centres.expand(5, 7, 3), distances)
    for row, one in zip(both, distances, strict=True):
        assert torch.allclose(row, trilaterate(centres, one), atol=1e-12)
    assert torch.allclose(both, x, atol=1e-12)
    assert torch.equal(trilaterate(centres[:0], distances[0, :0]), torch.zeros(3).double())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_what_is_found_agrees_with_what_was_opened(count):
    centres, x = points_of(20 * count, 4).view(20, count, 4), points_of(20, 4, 1)
    opened = (centres - x[:, None]).norm(dim=-1)
    near, far = both_points(centres, opened).unbind(dim=1)
    for point in (near, far):
        assert torch.allclose((centres - point[:, None]).norm(dim=-1), opened, atol=1e-9)
    assert bool((near.norm(dim=1) <= far.norm(dim=1) + 1e-9).all())
    gaps = torch.stack([(near - x).norm(dim=1), (far - x).norm(dim=1)]).amin(dim=0)
    if count >= 4:  # as many centres as dimensions: one of two points
        assert float(gaps.max()) < 1e-8
    else:
        assert float(gaps.min()) > 1e-2
        # nearest of all that agree: of many others on the same sphere none is nearer
        null = torch.linalg.svd(centres[:, :1] - centres[:, 1:])[2][:, count - 1 :]
        middle = (near + far) / 2.0
        radius = (near - far).norm(dim=1, keepdim=True) / 2.0
        for seed in range(50):
            way = torch.randn(20, 1, 5 - count, generator=draw(seed), dtype=torch.float64) @ null
            other = middle + radius * torch.nn.functional.normalize(way[:, 0], dim=1)
            assert torch.allclose((centres - other[:, None]).norm(dim=-1), opened, atol=1e-9)
            assert bool((other.norm(dim=1) > near.norm(dim=1) - 1e-9).all())


def test_a_centre_at_zero_and_an_empty_sphere_are_no_trouble():
    zero = torch.zeros(1, 2, dtype=torch.float64)
    found = both_points(zero, torch.ones(1, dtype=torch.float64))
    assert torch.allclose(found.norm(dim=1), torch.ones(2).double())
    assert torch.allclose(found[0], -found[1])
    apart = torch.tensor([[0.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    found = both_points(apart, torch.ones(2, dtype=torch.float64))  # circles that do not meet
    assert torch.allclose(found, torch.tensor([[1.5, 0.0], [1.5, 0.0]]).double())


def exact_view(points, assignments):
    distances = [plain_distances(points)(a) for a in assignments]
    return Openings(clients=len(points), assignments=assignments, distances=tuple(distances))


def test_the_targets_own_cluster_counts_and_its_own_row_is_never_read():
    points = points_of(8, 3)
    assignments = (torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]), torch.tensor([0, 1, 2, 0, 0, 1, 2, 2]))
    view = exact_view(points, assignments)
    known = points.clone()
    known[0] = torch.nan
    attack = Trilateration(known=known, target=0)
    assert torch.allclose(attack.reconstruct(view), points[0], atol=1e-10)
    ranges = attack.ranges(view)
    others = torch.cdist(points[:1], ranges.centres)[0]
    assert torch.allclose(ranges.distances, others, atol=1e-12)
    assert len(ranges.centres) == 6
    alone = exact_view(points, (torch.tensor([0, 1, 1, 1, 1, 1, 1, 1]),))
    assert len(attack.ranges(alone).centres) == 1


def test_candidates_are_ranked_even_where_the_point_is_not_determined():
    points = points_of(12, 16, 3)
    view = exact_view(points, (torch.arange(12) % 4,))
    attack = Trilateration(known=points, target=5)
    assert float((attack.reconstruct(view) - points[5]).norm() / points[5].norm()) > 0.1
    candidates = torch.cat([points_of(99, 16, 4), points[5:6]])
    scores = attack.score(view, candidates)
    assert int(scores.argmax()) == 99 and float(scores[99]) == pytest.approx(0.0, abs=1e-20)
    order = torch.randperm(100, generator=draw(5))
    assert torch.equal(attack.score(view, candidates[order]), scores[order])


def one_run(mode, setting, points, **more):
    rule = AdaptiveRule(split_above=0.05, merge_below=0.01, iterations=8, most=6)
    system = SecFPP(mode=mode, setting=setting, rule=rule, prompt_rounds=1, **more)
    run = system.begin(source=SeededSource(4))
    run.round(torch.zeros(setting.clients, setting.prompt_dimension), points=points)
    return server_view(run.board, setting.clients, setting.points.bits)


@pytest.mark.parametrize("dimension", [16, 14])  # 14 numbers in 4 slices: the last is filled up
def test_slices_fall_where_whole_distances_do_not_reach(dimension):
    setting = Setting(clients=24, dimension=dimension, prompt_dimension=2, slices=4)
    points = points_of(24, dimension, 6)
    view = one_run("as_described", setting, points)
    whole = Trilateration(known=points, target=3).reconstruct(view)
    attack = SliceTrilateration(known=points, target=3)
    error = (attack.reconstruct(view) - points[3]).norm() / points[3].norm()
    assert attack.reconstruct(view).shape == (dimension,)
    assert float(error) < 1e-3 < 0.1 < float((whole - points[3]).norm() / points[3].norm())
    hidden = one_run("as_described", setting, points, zero_sharing=True)
    assert hidden.slice_squares == () and len(hidden.distances) == len(view.distances)
    assert not bool(attack.reconstruct(hidden).any())
    assert not bool(attack.score(hidden, points).any())


def test_sound_mpc_gives_the_server_nothing_to_work_on():
    setting = Setting(clients=12, dimension=4, prompt_dimension=2, iterations=2)
    points = points_of(12, 4, 7)
    view = one_run("sound_mpc", setting, points)
    assert view.distances == view.sums == view.slice_squares == ()
    for attack in (
        Trilateration(known=points, target=0),
        SliceTrilateration(known=points, target=0),
    ):
        assert not bool(attack.score(view, points).any())
    assert not bool(Gram().score(view, points[None].expand(3, -1, -1)).any())
    assert not bool(Differencing(target=0).score(view, points).any())
    with pytest.raises(DesignError, match="no assignment"):
        Gram().reconstruct(view)


def slow_gram_row(assignment, client, cluster, pairs):
    members = [j for j, s in enumerate(assignment.tolist()) if s == cluster]
    row = dict.fromkeys(pairs, 0.0)
    for j in members:
        if j != client:
            row[min(client, j), max(client, j)] += 1.0 / len(members)
    for pair in itertools.combinations(members, 2):
        row[pair] -= 1.0 / len(members) ** 2
    return list(row.values())


def test_the_gram_system_by_hand():
    assignments = [torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 0, 0, 1, 0])]
    pairs = list(itertools.combinations(range(5), 2))
    wanted = [
        slow_gram_row(assignment, client, cluster, pairs)
        for assignment in assignments
        for client in range(5)
        for cluster in range(int(assignment.max()) + 1)
    ]
    found = gram_system(assignments)
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), atol=1e-15)
    points = points_of(5, 3)
    squares = torch.pdist(points).square()
    opened = torch.cat([plain_distances(points)(a).square().flatten() for a in assignments])
    assert torch.allclose(found @ squares, opened, atol=1e-12)


def test_pairs_are_certain_before_all_are_and_then_all_are_exact():
    points, rng = points_of(10, 16, 2), np.random.default_rng(0)
    exact = torch.cdist(points, points)
    assignments, shares = [], []
    while not shares or shares[-1] < 1.0:
        drawn = torch.from_numpy(rng.permutation(np.arange(10) % 4))
        assignments.append(drawn)
        found = pairwise_distances(assignments, [plain_distances(points)(a) for a in assignments])
        gaps = (found.values - exact).abs()
        assert float(gaps[found.determined].max()) < 1e-6
        shares.append(float(found.determined.double().mean()))
        unsure = ~found.determined
        assert not bool(unsure.any()) or float(gaps[unsure].max()) > 1e-3
    assert 3 <= len(shares) <= 5 and 0.1 < shares[0] < 1.0, shares
    assert float(gaps.max()) < 1e-9


def test_the_public_dimension_gives_pairs_that_linear_algebra_leaves_open():
    points, rng = points_of(12, 4, 3), np.random.default_rng(1)
    view = exact_view(points, tuple(torch.from_numpy(rng.permutation(12) % 3) for _ in range(2)))
    exact = torch.cdist(points, points)
    linear, better = Gram().reconstruct(view), Gram(dimension=4).reconstruct(view)
    assert float((linear.values - exact).abs().max()) > 0.1
    assert torch.equal(better.determined, linear.determined)
    assert float(better.determined.double().mean()) < 0.3
    assert float((better.values - exact).abs().max()) < 1e-5
    assert better.misfit < 1e-7
    flat = Gram(dimension=1, starts=1).reconstruct(view)
    assert flat.misfit > 1e-2, "no points on a line have these distances"
    few = exact_view(points[:4], (torch.tensor([0, 0, 1, 1]),))
    assert Gram(dimension=9, starts=1).reconstruct(few).values.shape == (4, 4)
    with pytest.raises(ParameterError, match="dimension"):
        Gram(dimension=0)


def test_a_linear_system_that_does_not_fit_is_refused():
    with pytest.raises(DesignError, match="would hold 1e\\+09 numbers"):
        gram_system([torch.arange(1000) % 2])


def test_the_gram_score_knows_motions_and_nothing_else():
    points = points_of(8, 4)
    view = exact_view(points, (torch.arange(8) % 3, torch.arange(8) % 2))
    turn = torch.linalg.qr(torch.randn(4, 4, generator=draw(1), dtype=torch.float64))[0]
    swapped = points[torch.tensor([1, 0, 2, 3, 4, 5, 6, 7])]
    scores = Gram().score(view, torch.stack([points, points @ turn + 3.0, swapped]))
    assert float(scores[:2].abs().max()) < 1e-20 and float(scores[2]) < -1e-3


def test_subtraction_recovers_one_other_and_the_mean_of_two():
    prompts = points_of(6, 5).view(2, 3, 5)
    view = ClusterPrompts(means=prompts.mean(dim=1), sizes=torch.tensor([3, 3]), own=prompts[:, :2])
    assert torch.allclose(Subtraction().reconstruct(view), prompts[:, 2], atol=1e-14)
    assert Subtraction().score(view, prompts).argmax(dim=1).tolist() == [2, 2]
    fewer = ClusterPrompts(means=view.means, sizes=view.sizes, own=prompts[:, :1])
    wanted = prompts[:, 1:].mean(dim=1)
    assert torch.allclose(Subtraction().reconstruct(fewer), wanted, atol=1e-14)
    with pytest.raises(DesignError, match="nobody but"):
        ClusterPrompts(means=view.means, sizes=torch.tensor([3, 2]), own=prompts[:, :2])


def test_longer_combinations_isolate_clients_that_no_pair_of_sums_does():
    prompts = points_of(4, 6)
    members = [frozenset({0, 1}), frozenset({1, 2}), frozenset({0, 2}), frozenset({2, 3})]
    sums = [prompts[sorted(group)].sum(dim=0) for group in members]
    # no group holds another, so no difference of two sums is a client
    assert not any(a < b for a in members for b in members)
    found = solve(sums, members, clients=5)
    assert found.isolated.tolist() == [True, True, True, True, False]
    assert torch.allclose(found.prompts[:4], prompts, atol=1e-12)
    fewer = solve(sums[:2], members[:2], clients=5)
    assert not bool(fewer.isolated.any())
    moved = [*sums[:3], sums[3] + 0.5]  # prompts that drift spoil what they are in alone
    drifted = solve(moved, members, clients=5).prompts
    assert torch.allclose(drifted[:3], prompts[:3], atol=1e-12)
    assert float((drifted[3] - prompts[3] - 0.5).abs().max()) < 1e-12
    view = Openings(clients=5, sums=tuple(sums), summed=tuple(members))
    assert int(Differencing(target=2).score(view, prompts).argmax()) == 2
    with pytest.raises(DesignError, match="no sum"):
        solve([], [], clients=3)


def test_known_prompts_and_noise_are_used_as_generalised_least_squares_does():
    prompts = points_of(5, 3)
    members = [frozenset({0, 1, 2}), frozenset({0, 3}), frozenset({1, 2, 4}), frozenset({0, 4})]
    spreads = [0.5, 2.0, 1.0, 0.7]
    noise = torch.randn(4, 3, generator=draw(1), dtype=torch.float64)
    sums = [
        prompts[sorted(group)].sum(dim=0) + spread * row
        for group, spread, row in zip(members, spreads, noise, strict=True)
    ]
    known = {client: prompts[client] for client in (1, 2, 3, 4)}
    found = solve(sums, members, clients=5, known=known, spreads=spreads)
    # of the target alone: the mean of what each sum says, weighted by 1 / variance
    said = torch.stack([sums[n] - prompts[sorted(members[n] - {0})].sum(dim=0) for n in (0, 1, 3)])
    weights = torch.tensor([spreads[n] ** -2 for n in (0, 1, 3)], dtype=torch.float64)
    wanted = (weights[:, None] * said).sum(dim=0) / weights.sum()
    assert torch.allclose(found.prompts[0], wanted, atol=1e-12)
    assert found.isolated.all() and torch.equal(found.prompts[1:], prompts[1:])
    assert not torch.allclose(solve(sums, members, clients=5).prompts[0], wanted, atol=0.01)
    view = Openings(clients=5, sums=tuple(sums), summed=tuple(members))
    attack = Differencing(target=0, known=known, spreads=tuple(spreads))
    assert torch.equal(attack.reconstruct(view).prompts, found.prompts)
    with pytest.raises(DesignError, match="2 spreads are given for 4 sums"):
        solve(sums, members, clients=5, spreads=[1.0, 1.0])
    with pytest.raises(ParameterError, match="spread_1"):
        solve(sums, members, clients=5, spreads=[1.0, 0.0, 1.0, 1.0])
    with pytest.raises(DesignError, match="known are"):
        solve(sums, members, clients=5, known={5: prompts[0]})
    with pytest.raises(DesignError, match="known already"):
        Differencing(target=1, known=known)


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_reused_masks_fall_to_as_many_holders_as_slices(slices):
    code = LagrangeCode(clients=12, slices=slices, colluders=3)
    field, source = code.within, SeededSource(1)
    first, second = (uniform(source.child(n), field, slices, 7) for n in ("one", "two"))
    masks = [uniform(source.child("mask", n), field, 3, 7) for n in (0, 1)]
    change = field.sub(second, first)
    attack = ReusedMasks(modulus=field.modulus, betas=code.betas, slices=slices)
    holders = [1, 4, 9][:slices]
    alphas = tuple(code.alphas[h] for h in holders)

    def view(mask):
        shares = [code.share(s, m)[holders] for s, m in ((first, masks[0]), (second, mask))]
        return Shares(first=shares[0], second=shares[1], alphas=alphas)

    assert torch.equal(attack.reconstruct(view(masks[0])), change)
    candidates = torch.stack([first, change, second])
    assert attack.score(view(masks[0]), candidates).tolist() == [0.0, 1.0, 0.0]
    assert float(attack.score(view(masks[1]), candidates).max()) == 0.0, "fresh masks"
    if slices > 1:
        shares = view(masks[0])
        one = Shares(first=shares.first[:1], second=shares.second[:1], alphas=alphas[:1])
        with pytest.raises(DesignError, match="one equation per coordinate"):
            attack.reconstruct(one)


def test_views_that_contradict_themselves_are_refused():
    points = points_of(4, 2)
    assignment = torch.tensor([0, 1, 0, 1])
    distances = plain_distances(points)(assignment)
    with pytest.raises(DesignError, match="2 steps have distances, but 1"):
        Openings(clients=4, assignments=(assignment,), distances=(distances, distances))
    with pytest.raises(DesignError, match="for an assignment to 2 clusters"):
        Openings(clients=4, assignments=(assignment,), distances=(distances[:, :1],))
    with pytest.raises(DesignError, match="NaN or infinite"):
        Openings(clients=4, assignments=(assignment,), distances=(distances * torch.nan,))
    with pytest.raises(DesignError, match="int64"):
        Openings(clients=4, assignments=(assignment.float(),))
    with pytest.raises(DesignError, match="1 sums, but 0 sets"):
        Openings(clients=4, sums=(points[0],))
    with pytest.raises(DesignError, match="a sum has another"):
        Openings(clients=4, sums=(points[0],), summed=(frozenset({4}),))
    with pytest.raises(DesignError, match="one row per holder"):
        Shares(first=assignment[None], second=assignment[None], alphas=(1, 2))
    with pytest.raises(DesignError, match="row for the target"):
        Trilateration(known=points, target=4)
    with pytest.raises(DesignError, match=r"\[trials, dim\]"):
        ClusterPrompts(means=points, sizes=torch.tensor([2]), own=points[:, None])
