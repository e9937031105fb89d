import math

import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError
from privassay.mechanisms.clipping import Clip

SIZES = (2, 3, 1)
STDDEVS = (0.5, 2.0, 1.25)
DIVISOR = 7
CLIPS = {
    "joint": Clip(joint_norm=1.5),
    "group": Clip(group_norms=(1.0, 0.3, 2.0)),
    "both": Clip(group_norms=(1.0, 0.3, 2.0), joint_norm=1.2),
    "ellipsoid": Clip(ellipsoid_radii=(1.0, 0.3, 2.0)),
}
every_clip = pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)


def group_norms(rows, sizes=SIZES):
    return torch.stack([p.norm(dim=-1) for p in rows.split(sizes, dim=-1)], dim=-1)


def gauge(clip, rows):
    """How far out a row lies: <= 1 inside the set, straight from the definition."""
    norms = group_norms(rows)
    parts = []
    if clip.group_norms is not None:
        parts.append((norms / torch.tensor(clip.group_norms)).amax(dim=-1))
    if clip.joint_norm is not None:
        parts.append(rows.norm(dim=-1) / clip.joint_norm)
    if clip.ellipsoid_radii is not None:
        parts.append((norms / torch.tensor(clip.ellipsoid_radii)).norm(dim=-1))
    return torch.stack(parts).amax(dim=0)


def random_rows(count=4000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, sum(SIZES), generator=generator, dtype=torch.float64)
    # From far inside to far outside; and rows with most of their norm in one group.
    tilt = torch.rand(count, len(SIZES), generator=generator, dtype=torch.float64) ** 6
    rows = rows * tilt.repeat_interleave(torch.tensor(SIZES), dim=1)
    lengths = torch.rand(count, 1, generator=generator, dtype=torch.float64) * 8 - 4
    return rows * torch.exp(lengths)


@every_clip
def test_clipped_rows_lie_in_the_set(clip):
    clipped = clip.apply(random_rows(), SIZES)
    worst = float(gauge(clip, clipped).max())
    assert worst <= 1 + 1e-12, worst
    assert worst > 1 - 1e-12  # the test has rows that needed clipping


@every_clip
def test_rows_inside_are_unchanged_to_the_bit(clip):
    rows = random_rows()
    inside = rows[gauge(clip, rows) < 1 - 1e-12]
    assert 200 < len(inside) < len(rows) - 200
    assert torch.equal(clip.apply(inside, SIZES), inside)


@every_clip
def test_direction_is_kept_in_every_group(clip):
    rows = random_rows()
    clipped = clip.apply(rows, SIZES)
    whole = clip.group_norms is None  # then one factor for the whole row
    for before, after in (
        [(rows, clipped)]
        if whole
        else zip(rows.split(SIZES, 1), clipped.split(SIZES, 1), strict=True)
    ):
        factor = after.norm(dim=1, keepdim=True) / before.norm(dim=1, keepdim=True)
        assert float(factor.max()) <= 1 + 1e-12
        torch.testing.assert_close(after, before * factor, rtol=1e-10, atol=0)


@every_clip
def test_clipping_twice_is_clipping_once(clip):
    once = clip.apply(random_rows(), SIZES)
    torch.testing.assert_close(clip.apply(once, SIZES), once, rtol=1e-14, atol=0)


@every_clip
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_a_row_that_is_not_finite_becomes_zero_and_harms_no_other(clip, bad, place):
    rows = random_rows(50)
    clean = clip.apply(rows, SIZES)
    rows[17, place] = bad
    clean[17] = 0.0
    assert torch.equal(clip.apply(rows, SIZES), clean)


@every_clip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_tiny_and_huge_rows_give_no_nan(clip, dtype):
    most = torch.finfo(dtype).max
    rows = torch.zeros(4, sum(SIZES), dtype=dtype)
    rows[1] = torch.finfo(dtype).tiny
    rows[2], rows[3, 1] = most, -most  # finite, but their norm is not
    clipped = clip.apply(rows, SIZES)
    assert clipped.dtype == dtype
    assert torch.isfinite(clipped).all()
    assert torch.equal(clipped[:2], rows[:2])
    assert float(gauge(clip, clipped.double()).max()) <= 1 + 1e-6


@every_clip
@pytest.mark.parametrize("lead", [(), (0,), (3,), (2, 0), (2, 3)])
def test_leading_axes(clip, lead):
    rows = random_rows(math.prod(lead)).reshape(*lead, sum(SIZES))
    naive = torch.zeros_like(rows)
    for index in torch.cartesian_prod(*[torch.arange(n) for n in lead]) if lead else []:
        place = tuple(index.reshape(-1).tolist())
        naive[place] = clip.apply(rows[place], SIZES)
    if not lead:
        naive = clip.apply(rows[None], SIZES)[0]
    assert torch.equal(clip.apply(rows, SIZES), naive)


def maximiser(clip):
    """The row of the set that noise hides least: from the geometry, group by group."""
    norms = [0.0] * len(SIZES)
    order = sorted(range(len(SIZES)), key=lambda g: STDDEVS[g])
    if clip.ellipsoid_radii is not None:
        best = max(range(len(SIZES)), key=lambda g: clip.ellipsoid_radii[g] / STDDEVS[g])
        norms[best] = clip.ellipsoid_radii[best]
    else:
        left = math.inf if clip.joint_norm is None else clip.joint_norm**2
        for g in order:  # quietest first
            most = math.inf if clip.group_norms is None else clip.group_norms[g] ** 2
            norms[g] = math.sqrt(min(left, most))
            left -= norms[g] ** 2
    return torch.cat(
        [
            torch.full((d,), c / d**0.5, dtype=torch.float64)
            for c, d in zip(norms, SIZES, strict=True)
        ]
    )


@every_clip
def test_the_event_is_the_largest_shift_over_noise_and_is_attained(clip):
    event = clip.event(STDDEVS, divisor=DIVISOR)
    mu = account(event, adjacency="add-remove").mu.upper
    scale = torch.repeat_interleave(torch.tensor(STDDEVS, dtype=torch.float64), torch.tensor(SIZES))
    rows = torch.cat([random_rows(20_000, seed=1), 1e6 * random_rows(20_000, seed=2)])
    found = (clip.apply(rows, SIZES) / DIVISOR / scale).norm(dim=1).max()
    assert float(found) <= mu * (1 + 1e-12), f"a row reaches {found}, the event says {mu}"
    assert float(found) > 0.9 * mu
    worst = maximiser(clip)
    reached = float((clip.apply(1.0000001 * worst, SIZES) / DIVISOR / scale).norm())
    assert reached == pytest.approx(mu, rel=1e-6)
    twice = account(event, adjacency="replace-one").mu.upper
    assert twice == pytest.approx(2 * reached, rel=1e-6)


@every_clip
def test_no_noise_in_a_group_that_moves_proves_nothing(clip):
    event = clip.event((0.0, 2.0, 1.25), divisor=DIVISOR)
    assert account(event, adjacency="add-remove").mu.upper == math.inf


@pytest.mark.parametrize("seed", range(200))
def test_the_event_never_costs_less_than_the_exact_quotient(seed):
    from fractions import Fraction

    from privassay.accountant.geometry import squared_clip_mu

    numbers = torch.rand(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    stddevs, bounds = numbers[:2].tolist(), numbers[2:].tolist()
    divisor = seed + 3
    truths = {
        Clip(joint_norm=bounds[0]): (bounds[0] / Fraction(1), [stddevs[0]]),
        Clip(group_norms=tuple(bounds)): (None, stddevs),
    }
    for clip, (joint, noise) in truths.items():
        if joint is not None:
            exact = (Fraction(joint) / divisor / Fraction(noise[0])) ** 2
        else:
            exact = squared_clip_mu(noise, norm_bounds=bounds) / divisor**2
        mu = account(clip.event(tuple(noise), divisor=divisor), adjacency="add-remove").mu
        assert Fraction(mu.upper) ** 2 >= exact
        assert Fraction(mu.upper) ** 2 <= exact * (1 + Fraction(1, 10**14))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"group_norms": ()},
        {"ellipsoid_radii": ()},
        {"joint_norm": 1.0, "ellipsoid_radii": (1.0,)},
        {"group_norms": (1.0,), "ellipsoid_radii": (1.0,)},
        {"joint_norm": 0.0},
        {"joint_norm": math.nan},
        {"joint_norm": math.inf},
        {"group_norms": (1.0, -1.0)},
        {"ellipsoid_radii": (1.0, math.nan)},
    ],
)
def test_bounds_that_bound_nothing_are_refused(given):
    with pytest.raises(ParameterError):
        Clip(**given)
