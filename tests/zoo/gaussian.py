"""Gaussian releases of clipped sums: one, several, in groups, in steps, sampled."""

import dp_accounting.dp_event as dpe
import numpy as np

import privassay as pa

from .entry import DIM, OTHERS, TARGET, claim, clip, on_grid, pair, people

ONE = claim(mu=1.0)


def gaussian_sum(noise=1.0, bound=1.0, grid=2.0**-20):
    def sample(world, n, rng):
        total = clip(people(world), bound).sum(axis=0)
        out = total + rng.normal(0.0, noise, (n, DIM))
        return on_grid(out, grid) if grid else out

    return sample


def clipped_by_coordinate(world, n, rng):
    total = np.clip(people(world), -1.0, 1.0).sum(axis=0)
    return on_grid(total + rng.normal(0.0, 1.0, (n, DIM)))


def one_draw_for_all(world, n, rng):
    return on_grid(clip(people(world), 1.0).sum(axis=0) + rng.normal(0.0, 1.0, (n, 1)))


def coordinate_forgotten(world, n, rng):
    noise = rng.normal(0.0, 1.0, (n, DIM))
    noise[:, -1] = 0.0
    return on_grid(clip(people(world), 1.0).sum(axis=0) + noise)


def bound_from_the_data(world, n, rng):
    rows = people(world)
    bound = np.linalg.norm(rows, axis=1).max()
    return on_grid(clip(rows, bound).sum(axis=0) + rng.normal(0.0, bound, (n, DIM)))


def sometimes_exact(world, n, rng):
    noise = rng.normal(0.0, 1.0, (n, DIM)) * (rng.random((n, 1)) >= 0.05)
    return on_grid(clip(people(world), 1.0).sum(axis=0) + noise)


def nan_record(repair):
    """The record holds a NaN; every record is sampled with probability 0.1."""

    def sample(world, n, rng):
        rows = people(world).copy()
        rows[20:, 0] = np.nan
        if repair:
            rows = np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, 0.0)
        clipped = clip(rows, 1.0)
        taken = rng.random((n, len(rows))) < 0.1
        total = np.where(taken[:, :, None], clipped, 0.0).sum(axis=1)
        return on_grid(total + rng.normal(0.0, 1.0, (n, DIM)))

    return sample


GROUPS = (slice(0, 4), slice(4, 10))


def groupwise(deviations):
    """Norm bounds .5 and 1 in two groups."""

    def sample(world, n, rng):
        rows, out = people(world), np.empty((n, DIM))
        for group, bound, deviation in zip(GROUPS, (0.5, 1.0), deviations, strict=True):
            total = clip(rows[:, group], bound).sum(axis=0)
            out[:, group] = total + rng.normal(0.0, deviation, (n, total.size))
        return on_grid(out)

    return sample


def replaced(noise):
    def sample(world, n, rng):
        rows = np.concatenate((OTHERS, TARGET if world else -TARGET))
        return on_grid(clip(rows, 1.0).sum(axis=0) + rng.normal(0.0, noise, (n, DIM)))

    return sample


def two_steps(second):
    """Two steps of least squares by clipped gradients; both models are seen."""

    def sample(world, n, rng):
        rows = people(world)
        x, y = rows[:, :4], rows[:, 4]
        model, seen = np.zeros((n, 4)), []
        for noise in (2.0**0.5, second):
            gradients = (model @ x.T - y)[:, :, None] * x
            total = clip(gradients, 1.0).sum(axis=1)
            model = on_grid(model - 0.5 * (total + rng.normal(0.0, noise, (n, 4))))
            seen.append(model)
        return np.stack(seen, axis=1)

    return sample


def releases(count, noise, reuse=False):
    """Sums of `count` halves of the features, float[n, count, 5], each record clipped to 1."""

    def sample(world, n, rng):
        rows = people(world)
        parts = [clip(rows[:, 5 * (i % 2) : 5 * (i % 2) + 5], 1.0) for i in range(count)]
        totals = np.stack([part.sum(axis=0) for part in parts])
        drawn = rng.normal(0.0, noise, (n, 1 if reuse else count, 5))
        return on_grid(totals + drawn)

    return sample


def sampled(rate):
    def sample(world, n, rng):
        rows = clip(people(world), 1.0)
        taken = (rng.random((n, len(rows))) < rate).astype(np.float64)
        return on_grid(taken @ rows + rng.normal(0.0, 0.5, (n, DIM)))

    return sample


def mean(public):
    """Three records and the target; the divisor is public, or the true count."""

    def sample(world, n, rng):
        rows = clip(people(world)[-4 if world else -3 :], 1.0)
        divisor = 4 if public else len(rows)
        return on_grid((rows.sum(axis=0) + rng.normal(0.0, 1.0, (n, DIM))) / divisor)

    return sample


def mean_and_count(world, n, rng):
    count = np.full((n, 1), float(len(people(world))))
    return np.concatenate((gaussian_sum()(world, n, rng) / 20.0, count), axis=1)


def sparse(public):
    """Three of the coordinates are released, the others are 0."""

    def sample(world, n, rng):
        total = clip(people(world), 1.0).sum(axis=0)
        noisy = total + rng.normal(0.0, 1.0, (n, DIM))
        places = np.arange(3) if public else np.argsort(-np.abs(total))[:3]
        out = np.zeros((n, DIM))
        out[:, places] = on_grid(noisy[:, places])
        return out

    return sample


def secure_sum(step):
    """50 clients add a share of the noise each and round to the fixed-point `step`."""

    def sample(world, n, rng):
        clients = 0.1 * OTHERS[:, :5].repeat(3, axis=0)[:50]
        clients[-1] = [0.98 * world, 0.0, 0.0, 0.0, 0.0]  # zero-out: it still adds its share
        shares = rng.normal(0.0, 1.0 / 50**0.5, (n, 50, 5))
        return (np.rint((clients + shares) / step) * step).sum(axis=1)

    return sample


def _sampled_claim():
    event = dpe.PoissonSampledDpEvent(0.1, dpe.GaussianDpEvent(0.5))
    epsilon = pa.account(event, adjacency="add-remove").epsilon(0.01).upper
    return claim(epsilon=epsilon, delta=0.01)


ENTRIES = [
    *pair(
        "gaussian sum", gaussian_sum(), ONE, "clip 1, noise 1",
        ("noise halved", gaussian_sum(0.5), "noise .5 instead of 1"),
        ("clipping missing", gaussian_sum(1.0, 1e9), "the record has norm 3"),
        ("clipped by coordinate", clipped_by_coordinate, "each coordinate in [-1, 1], norm > 1"),
        ("one draw for all coordinates", one_draw_for_all, "noise of shape (n, 1) is broadcast"),
        ("a coordinate forgotten", coordinate_forgotten, "the last one gets no noise"),
        ("bound from the data", bound_from_the_data, "bound and noise follow the largest record"),
        ("sometimes exact", sometimes_exact, "no noise in 5 % of the outputs"),
        ("Gaussian in floating point", gaussian_sum(grid=0.0), "low bits depend on the sum"),
        ("count released", mean_and_count, "the number of records stands beside the mean"),
    ),
    *pair(
        "NaN zeroed", nan_record(True), ONE, "a record that is not finite counts as zero",
        ("NaN shows participation", nan_record(False), "a sampled NaN makes the sum NaN"),
    ),
    *pair(
        "groupwise Gaussian", groupwise((0.5 * 2**0.5, 2**0.5)), ONE,
        "(.5 / .71)^2 + (1 / 1.41)^2 = 1",
        ("groups swapped", groupwise((2**0.5, 0.5 * 2**0.5)), "each group has the other's noise"),
    ),
    *pair(
        "Gaussian, record replaced", replaced(2.0), claim("replace-one", mu=1.0),
        "sensitivity 2, noise 2",
        ("sensitivity off by two", replaced(1.0), "noise for adding, records are replaced"),
    ),
    *pair(
        "two noisy steps", two_steps(2**0.5), ONE, "two steps of mu = .71",
        ("noise at the first step only", two_steps(0.0), "the second step has none"),
    ),
    *pair(
        "two releases", releases(2, 2**0.5), ONE, "two releases of mu = .71",
        ("seed reused", releases(2, 2**0.5, True), "both have the same noise"),
        ("budget not split", releases(2, 1.0), "each spends the whole budget: mu = 1.41"),
        ("four releases, budget of one", releases(4, 1.0), "mu = 2"),
    ),
    *pair(
        "sampled Gaussian sum", sampled(0.1), _sampled_claim(), "exact accounting at delta .01",
        ("sampling missing", sampled(1.0), "amplification claimed, every record takes part"),
    ),
    *pair(
        "mean, public count", mean(True), ONE, "sum and noise over a public 4",
        ("noise scaled by the true count", mean(False), "3 or 4 shows in the size of the noise"),
    ),
    *pair(
        "public support", sparse(True), ONE, "the released coordinates are fixed",
        ("support of the true sum", sparse(False), "the largest coordinates, chosen exactly"),
    ),
    *pair(
        "secure sum", secure_sum(2.0**-10), claim("zero-out", mu=1.0),
        "shares add up to noise 1; .98 leaves room for rounding",
        ("secure sum, coarse rounding", secure_sum(1.0), "each share is rounded to 0"),
    ),
]  # fmt: skip
