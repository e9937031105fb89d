"""Gram systems of opened distances, sums that overlap, and masks that are used twice."""

import itertools

import numpy as np
import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.prompts.differencing import Differencing, solve
from privassay.attacks.prompts.gram import Gram, gram_system, pairwise_distances
from privassay.attacks.prompts.mask_reuse import ReusedMasks
from privassay.attacks.prompts.openings import ClusterPrompts, Openings, Shares
from privassay.attacks.prompts.subtraction import Subtraction
from privassay.attacks.prompts.trilateration import Trilateration
from privassay.mechanisms.secret_sharing.clustering import plain_distances
from privassay.mechanisms.secret_sharing.lagrange import LagrangeCode
from privassay.mechanisms.secret_sharing.masks import SeededSource, uniform

from .opened_cases import draw, exact_view, points_of


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
