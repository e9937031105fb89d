"""Attacks on opened values: the page's table, the real protocol, what is not determined, errors."""

import statistics

import pytest
import torch

from privassay.accountant.errors import DesignError
from privassay.attacks.prompts.differencing import Differencing
from privassay.attacks.prompts.gram import Gram
from privassay.attacks.prompts.slice_trilateration import SliceTrilateration
from privassay.attacks.prompts.trilateration import Trilateration, both_points, trilaterate
from privassay.audit_reports.selftest.prompt_openings import server_view
from privassay.mechanisms.secfpp import SecFPP
from privassay.mechanisms.secret_sharing.clustering import AdaptiveRule
from privassay.mechanisms.secret_sharing.masks import SeededSource
from privassay.mechanisms.secret_sharing.setting import Setting

from .opened_cases import draw, exact_view, points_of


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
