"""VPDR: what its noise does to prototypes - shares, the choice of dimensions, signal, accuracy."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from scipy.special import fdtr
from torch import Tensor

from ...mechanisms.base import SeededKey
from ...mechanisms.clipping import Clip
from ...mechanisms.groups import SecondMoments
from ...mechanisms.released.vpdr import AsReleasedVpdr
from ...mechanisms.released.vpdr_training import projected_noise_share, prototype_snr
from ...mechanisms.selection import f_scores
from .reference import RefTable, percent, sigma_exact

DIMENSION = 512  # D, of the features that are noised
NATIVE = 192  # dimensions of ViT-tiny, before the projection
CLASSES = 10
SHIFT = 0.5  # fixture: standard deviation of a class mean, per informative dimension
CLIENTS, SEEDS, TESTS = 4, 12, 200  # fixture: uploads averaged, repetitions, test records a class


def noise_ratios(system: AsReleasedVpdr) -> RefTable:
    """F3, F4 and the identity of the shares."""
    vpp = replace(system, scheme="vpp", generation="current")
    bounds, (quiet, loud) = vpp.shape(DIMENSION)
    share = bounds[0] ** 2
    power = share * quiet**2 + (1.0 - share) * loud**2
    growth = {
        e: replace(vpp, epsilon=e).sigma / replace(vpp, scheme="igpp", epsilon=e).sigma
        for e in (1.0, 10.0)
    }
    kept = f"{vpp.budget.prototypes / vpp.epsilon:g} epsilon"
    worth = (1.0 / share - 1.0) ** 3
    identity = sum((b / s) ** 2 for b, s in zip(bounds, (quiet, loud), strict=True))
    return RefTable(
        key="noise",
        caption="VPP's noise over isotropic noise of the same mu "
        f"({vpp.choice(DIMENSION).k} of {DIMENSION} dimensions lead)",
        header=("quantity", "value"),
        rows=(
            ("std on the leading group", quiet),
            ("std on the rest", loud),
            ("power", power),
            (f"std on the leading group, {kept}", growth[1.0] * quiet),
            (f"std on the rest, {kept}", growth[1.0] * loud),
            (f"power, {kept}, epsilon 1", growth[1.0] ** 2 * power),
            (f"power, {kept}, epsilon 10", growth[10.0] ** 2 * power),
            ("mu^2 sigma^2", identity),
            ("worth of a leading dimension that would justify it (F4)", worth),
        ),
        reading=f"{percent(power - 1.0)} more noise power in total; right only if a leading "
        f"dimension is worth {worth:.3g} others.",
    )


def choice(system: AsReleasedVpdr, runs: int = 4000) -> RefTable:
    """F1, F2, F9, F11: the choice of dimensions, simulated with the released choice itself."""
    rule = system.choice(DIMENSION)
    records = 230
    scores = torch.zeros(runs, DIMENSION, dtype=torch.float64)
    scores[:, : rule.k] = rule.cap
    rows: list[tuple[str | float, ...]] = [
        (f"Laplace scale, epsilon {system.epsilon:g}, T {system.rounds}", rule.scale),
        (
            f"Laplace scale, epsilon {system.epsilon:g}, T 1",
            replace(system, rounds=1).choice(DIMENSION).scale,
        ),
        ("overlap with the true top at chance", rule.k / DIMENSION),
    ]
    for eps in (1.0, 10.0, 100.0):
        chosen = replace(system, epsilon=eps).choice(DIMENSION)
        group = chosen.release(scores, SeededKey(0, ("overlap",)))
        overlap = float(group[:, : rule.k].double().mean(dim=1).mean())
        rows.append((f"overlap, epsilon {eps:g}, {runs:,} draws", overlap))
    labels = torch.arange(records) % CLASSES
    features = records_of(class_means(rule.k, seed=0), labels, seed=1)
    clamped = float((f_scores(features, labels, CLASSES) >= rule.cap).double().mean())
    igpp = replace(system, scheme="igpp", generation="current")
    spent = igpp.epsilon + igpp.rounds * igpp.budget.selection
    generator = torch.Generator().manual_seed(0)
    projection = torch.randn(NATIVE, DIMENSION, generator=generator, dtype=torch.float64)
    rows += [
        (
            f"P(F < {rule.cap:g}), {CLASSES} classes, {records} records (F2)",
            float(fdtr(CLASSES - 1, records - CLASSES, rule.cap)),
        ),
        (f"share of scores at the clamp, {records} records of the fixture (F2)", clamped),
        (f"epsilon spent by IGPP's own accounting, claimed {igpp.epsilon:g} (F9)", spent),
        (
            f"noise power left after projecting back to {NATIVE} (F11)",
            projected_noise_share(projection),
        ),
    ]
    return RefTable(
        key="selection",
        caption=f"choice of the {rule.k} leading dimensions of {DIMENSION}; a simulated overlap "
        f"has a standard error of about {_overlap_error(rule.k, runs):.1g}",
        header=("quantity", "value"),
        rows=tuple(rows),
        reading=f"Scores in [0, {rule.cap:g}] drown in the noise: the group is a random "
        f"{percent(rule.k / DIMENSION)}.",
    )


def _overlap_error(k: int, runs: int) -> float:
    # hypergeometric: how many of k chosen at random are among the k best
    p = k / DIMENSION
    variance = k * p * (1.0 - p) * (DIMENSION - k) / (DIMENSION - 1)
    return math.sqrt(variance / runs) / k


def signal(system: AsReleasedVpdr) -> RefTable:
    """F12, F13."""
    delta, rounds = system.delta, system.rounds
    igpp = replace(system, scheme="igpp")
    sigma, eight = igpp.sigma, replace(igpp, epsilon=8.0).sigma
    gain = sigma / sigma_exact(system.epsilon, rounds, delta=delta)
    ratios = {n: prototype_snr(n, sigma, DIMENSION) for n in (4, 23, 60, 600)}
    rows: list[tuple[str | float, ...]] = [
        (f"signal over noise at most, class of {n} (F12)", ratio) for n, ratio in ratios.items()
    ]
    rows += [
        (f"gain of exact accounting, epsilon {system.epsilon:g} (F13)", gain),
        (
            "gain of exact accounting, epsilon 8 (F13)",
            eight / sigma_exact(8.0, rounds, delta=delta),
        ),
        (
            f"gain of a single exact release, epsilon {system.epsilon:g}",
            sigma / sigma_exact(system.epsilon, delta=delta),
        ),
    ]
    below = max((n for n, ratio in ratios.items() if ratio < 1.0), default=0)
    return RefTable(
        key="signal",
        caption=f"signal over noise at epsilon {system.epsilon:g}, T {rounds} as released, and "
        "what exact accounting gains (ratio of noise)",
        header=("quantity", "value"),
        rows=tuple(rows),
        reading=f"Classes of up to {below} records lie below the noise." if below else "",
    )


def moments(_: AsReleasedVpdr) -> RefTable:
    """Section 5.7: signal over noise of privately estimated second moments, replace-one."""
    rows = []
    for records, mu in ((230, 0.1), (6000, 0.1)):
        made = SecondMoments(
            clip_norm=1.0, noise_multiplier=math.sqrt(2.0) / mu, public_count=records
        )
        noise = made.noise_multiplier * made.clip_norm**2 / made.public_count
        rows.append((float(records), mu, made.clip_norm**2 / DIMENSION / noise))
    return RefTable(
        key="moments",
        caption="signal over noise of second moments estimated once with mu_v, replace-one, "
        f"{DIMENSION} dimensions",
        header=("records", "mu_v", "signal over noise per dimension"),
        rows=tuple(rows),
    )


def class_means(informative: int, *, seed: int) -> Tensor:
    """float32[classes, D]: Gaussian in the first dimensions, zero in the others."""
    means = torch.zeros(CLASSES, DIMENSION)
    means[:, :informative] = SHIFT * torch.randn(
        CLASSES, informative, generator=torch.Generator().manual_seed(seed)
    )
    return means


def records_of(means: Tensor, labels: Tensor, *, seed: int) -> Tensor:
    """float32[n, D]: one record around the mean of each label."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(labels), DIMENSION, generator=generator)
    return rows.add_(means[labels])  # in place: a third copy of all records costs time


def fixture(system: AsReleasedVpdr) -> RefTable:
    """Section 8: nearest-prototype accuracy on Gaussian classes under five releases."""
    chosen = system.choice(DIMENSION).k
    rows: list[tuple[str | float, ...]] = []
    for records, eps in ((60, 8.0), (600, 1.0)):
        runs = [_accuracies(replace(system, epsilon=eps), records, seed) for seed in range(SEEDS)]
        for metric in ("l2 all dims", "cosine", "l2 on A only"):
            means = [sum(run[metric, m] for run in runs) / SEEDS for m in METHODS]
            rows.append((f"{records} records, epsilon {eps:g}, {metric}", *means))
    return RefTable(
        key="fixture",
        caption=f"nearest-prototype accuracy: {CLASSES} Gaussian classes, {DIMENSION} dimensions, "
        f"{chosen} informative (A), means of std {SHIFT:g}, clip {system.radius:g}, {CLIENTS} "
        f"clients averaged, {SEEDS} seeds (standard error up to 0.03), the uploads of "
        f"one round of {system.rounds}; the budget of VPP includes its choice",
        header=("records a class, epsilon, metric", *METHODS.values()),
        rows=tuple(rows),
        reading=_fixture_reading(rows),
    )


METHODS = {
    "igpp": "IGPP (RDP)",
    "random": "VPP, random groups",
    "oracle": "VPP, oracle groups",
    "exact": "isotropic, exact",
    "once": "isotropic, exact, T 1",
}


def _fixture_reading(rows: list[tuple[str | float, ...]]) -> str:
    whole = [row for row in rows if "A only" not in str(row[0])]
    oracle_loses = all(float(row[3]) < float(row[4]) for row in whole)
    once_wins = all(float(row[5]) >= max(map(float, row[1:5])) for row in rows)
    return " ".join(
        text
        for holds, text in (
            (oracle_loses, "On all dimensions even oracle groups lose to exact isotropic noise."),
            (once_wins, "One release beats everything else."),
        )
        if holds
    )


def _accuracies(system: AsReleasedVpdr, records: int, seed: int) -> Mapping[tuple[str, str], float]:
    """Accuracy by (metric, method) of one repetition."""
    vpp = replace(system, scheme="vpp", generation="current")
    delta, rounds, radius = system.delta, system.rounds, system.radius
    igpp = replace(vpp, scheme="igpp").sigma
    sigmas = {
        "igpp": igpp,
        "exact": sigma_exact(system.epsilon, rounds, delta=delta),
        "once": sigma_exact(system.epsilon, delta=delta),
    }
    chosen = vpp.choice(DIMENSION).k
    bounds, stddevs = vpp.shape(DIMENSION)
    means = class_means(chosen, seed=1000 * seed)
    generator = torch.Generator().manual_seed(1000 * seed + 1)
    draw = {name: torch.zeros(CLASSES, DIMENSION) for name in METHODS}
    labels = torch.arange(CLASSES).repeat_interleave(records)
    for client in range(CLIENTS):
        rows = records_of(means, labels, seed=1000 * seed + 10 + client)
        noises = [torch.randn(CLASSES, DIMENSION, generator=generator) for _ in sigmas]
        quiet = torch.zeros(2, DIMENSION, dtype=torch.bool)  # random, oracle
        quiet[0, torch.randperm(DIMENSION, generator=generator)[:chosen]] = True
        quiet[1, :chosen] = True
        groups = torch.cat([torch.ones_like(quiet[:1]), quiet, ~quiet])
        norms = radius * torch.tensor([1.0, bounds[0], bounds[0], bounds[1], bounds[1]])
        plain, *parts = clipped_means(rows, rows.square(), groups, norms)  # one pass over records
        for (name, sigma), noise in zip(sigmas.items(), noises, strict=True):
            draw[name] += (plain + 2.0 * radius * sigma / records * noise) / CLIENTS
        for i, name in enumerate(("random", "oracle")):
            scale = torch.where(quiet[i], stddevs[0], stddevs[1])
            noise = scale * torch.randn(CLASSES, DIMENSION, generator=generator)
            mean = parts[i] + parts[2 + i]
            draw[name] += (mean + 2.0 * radius * vpp.sigma / records * noise) / CLIENTS
    clip = Clip(joint_norm=radius)
    truth = torch.arange(CLASSES).repeat_interleave(TESTS)
    tests = clip.apply(records_of(means, truth, seed=1000 * seed + 2), (DIMENSION,))
    found = {}
    for name, prototypes in draw.items():
        guesses = {
            "l2 all dims": torch.cdist(tests, prototypes).argmin(dim=1),
            "l2 on A only": torch.cdist(tests[:, :chosen], prototypes[:, :chosen]).argmin(dim=1),
            "cosine": (tests @ torch.nn.functional.normalize(prototypes, dim=1).T).argmax(dim=1),
        }
        for metric, guess in guesses.items():
            found[metric, name] = float((guess == truth).double().mean())
    return found


def clipped_means(rows: Tensor, squares: Tensor, group: Tensor, bound: float | Tensor) -> Tensor:
    """float32[..., classes, D]: class means of the group's part of each row, clipped to `bound`.

    What `AsReleasedVpdr.clip` and a mean give, without a clipped copy of all records.

    Args:
        rows: float32[classes * n, D], class after class.
        squares: their entries squared, which serve all groups.
        group: bool[D], or several at once, bool[groups, D].
        bound: of one record's part; one for each group, float[groups].
    """
    many = group.reshape(-1, DIMENSION)
    norms = (squares @ many.to(squares).T).sqrt()  # [classes * n, groups]
    scale = (bound / norms.clamp(min=1e-12)).clamp(max=1.0).reshape(CLASSES, -1, len(many))
    sums = scale.mT @ rows.reshape(CLASSES, -1, DIMENSION)  # [classes, groups, D]
    means = torch.where(many.unsqueeze(1), sums.transpose(0, 1) / scale.shape[1], 0.0)
    return means.reshape(*group.shape[:-1], CLASSES, DIMENSION)
