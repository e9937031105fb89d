"""Attacks on what SecFPP opens: trilateration, Gram system, subtraction, reused and real masks."""

import itertools
import statistics

import numpy as np
import torch
from torch import Tensor

from ...attacks.prompts import differencing, mask_reuse
from ...attacks.prompts import gram as gram_attack
from ...attacks.prompts.openings import Shares
from ...attacks.prompts.subtraction import subtract
from ...attacks.prompts.trilateration import trilaterate
from ...mechanisms.secfpp import SecFPP
from ...mechanisms.secret_sharing.clustering import AdaptiveRule, plain_distances
from ...mechanisms.secret_sharing.exposure import real_mask_leak
from ...mechanisms.secret_sharing.field import PrimeField
from ...mechanisms.secret_sharing.lagrange import LagrangeCode
from ...mechanisms.secret_sharing.masks import SeededSource, uniform
from ...mechanisms.secret_sharing.setting import Setting
from .reference import RefTable

DRAWS, RUNS = 100, 9


def trilateration(_: SecFPP) -> RefTable:
    """S2: a prompt from opened distances to known centres."""
    rows = [
        (float(size), float(centres), float(bits), _error(size, centres, bits))
        for size, centres, bits in (
            (16, 8, 16),
            (16, 17, 16),
            (16, 17, 8),
            (16, 32, 16),
            (16, 32, 8),
            (32, 33, 16),
        )
    ]
    good = [row for row in rows if row[1] > row[0]]
    return RefTable(
        key="trilateration",
        caption="the server recovers a reduced prompt from opened distances to known centres (S2), "
        f"{DRAWS} uniform draws",
        header=("dimensions", "centres", "fraction bits", "median relative error"),
        rows=tuple(rows),
        reading="From one centre more than dimensions on, the error is at most "
        f"{max(row[3] for row in good):.2g}.",
    )


def _error(dimension: int, centres: int, bits: int) -> float:
    draw = torch.Generator().manual_seed(1)
    errors = []
    for _ in range(DRAWS):
        points = torch.rand((centres + 1, dimension), generator=draw, dtype=torch.float64) * 2 - 1
        rounded = (points * 2.0**bits).round() / 2.0**bits
        opened = (rounded[0] - rounded[1:]).norm(dim=1)
        found = trilaterate(points[1:], opened)
        errors.append(float((found - points[0]).norm() / points[0].norm()))
    return statistics.median(errors)


def gram(_: SecFPP, runs: int = RUNS) -> RefTable:
    """S2: all pairwise distances from distances to unknown centres."""
    rows = []
    for clients, clusters in ((10, 4), (10, 3), (20, 4)):
        found = [_gram(clients, clusters, seed) for seed in range(runs)]
        counts = [count for count, _ in found]
        rows.append(
            (
                f"N {clients}, S {clusters}",
                float(clients * (clients - 1) // 2),
                float(min(counts)),
                float(statistics.median(counts)),
                float(max(counts)),
                max(error for _, error in found),
            )
        )
    return RefTable(
        key="gram",
        caption="random assignments until the opened distances fix all pairwise distances, centres "
        f"unknown (S2); static prompts, {runs} runs each",
        header=(
            "clients, clusters",
            "rank needed",
            "assignments: least",
            "median",
            "most",
            "largest error of a distance",
        ),
        rows=tuple(rows),
        reading=f"At most {max(row[4] for row in rows):g} assignments give everything.",
    )


def _gram(clients: int, clusters: int, seed: int) -> tuple[int, float]:
    """(assignments until full rank, largest error of a pairwise distance)."""
    draw = np.random.default_rng(seed)
    points = torch.from_numpy(draw.uniform(-1, 1, (clients, 16)))
    assignments: list[Tensor] = []
    distances: list[Tensor] = []
    for _ in range(60):
        drawn = torch.from_numpy(draw.integers(0, clusters, clients))
        if len(drawn.unique()) < clusters:  # distances exist for clusters with members only
            continue
        assignments.append(drawn)
        distances.append(plain_distances(points)(drawn))
        if len(assignments) < 2:
            continue
        found = gram_attack.pairwise_distances(assignments, distances)
        if bool(found.determined.all()):
            gaps = (found.values - torch.cdist(points, points)).abs()
            return len(assignments), float(gaps.max())
    raise RuntimeError(f"{clients} clients in {clusters} clusters: no full rank after 60 draws")


def rounding(_: SecFPP) -> RefTable:
    """Section 5.1: a whole run, secure against plaintext."""
    setting = Setting(clients=10, dimension=16, prompt_dimension=7)
    rule = AdaptiveRule(split_above=0.5, merge_below=0.1)
    worst, wrong = 0.0, 0
    for seed in range(3):
        points, prompts = _domains(setting, seed)
        system = SecFPP(mode="as_described", setting=setting, rule=rule)
        run = system.begin(source=SeededSource(seed))
        run.round(prompts, points=points)
        seen = run.board.seen("distances", to="server")
        # one assignment more is announced than distances are opened: the last one
        for opened, known in zip(seen, run.board.seen("assignment", to="all"), strict=False):
            exact = plain_distances(points)(known.data)
            worst = max(worst, float((opened.data - exact).abs().max()))
            wrong += int((opened.data.argmin(1) != exact.argmin(1)).sum())
    bound = setting.dimension**0.5 * 2.0**-setting.points.bits
    return RefTable(
        key="rounding",
        caption=f"distances opened by 3 runs of the protocol against doubles: N {setting.clients}, "
        f"K {setting.slices}, t {setting.colluders}, d' {setting.dimension}, "
        f"{setting.points.bits} bits",
        header=("quantity", "value"),
        rows=(
            ("largest error of a distance", worst),
            ("bound", bound),
            ("nearest centres that differ", float(wrong)),
        ),
    )


def _domains(setting: Setting, seed: int) -> tuple[Tensor, Tensor]:
    """Points and prompts of clients from three domains, all coordinates within 1."""
    draw = np.random.default_rng(seed)
    domain = np.arange(setting.clients) % 3
    found = []
    for width in (setting.dimension, setting.prompt_dimension):
        centres = draw.uniform(-0.5, 0.5, (3, width))
        rows = centres[domain] + 0.05 * draw.standard_normal((setting.clients, width))
        found.append(torch.from_numpy(rows.clip(-1.0, 1.0)))
    return found[0], found[1]


def breaks(system: SecFPP) -> RefTable:
    """S4, S5, S7, S8, S13 and collusion: each attack run once on its defect and on its twin."""
    draw = torch.Generator().manual_seed(2)
    prompts = torch.rand((6, 8), generator=draw, dtype=torch.float64) * 2 - 1
    pair = subtract(prompts[:2].mean(0), 2, prompts[:1])
    groups = [frozenset({0, 1, 2, 3}), frozenset({0, 1, 2})]
    sums = [prompts[sorted(g)].sum(0) for g in groups]
    moved = differencing.solve(sums, groups, clients=4).prompts
    code = LagrangeCode(clients=10, slices=1, colluders=2)
    field = code.within
    secrets = [uniform(SeededSource(s), field, 1, 8) for s in (1, 2)]
    change = field.sub(secrets[1], secrets[0])[0]

    def recovered(seeds: tuple[int, int]) -> float:
        shares = [
            code.share(secret, uniform(SeededSource(seed), field, 2, 8))[4]
            for secret, seed in zip(secrets, seeds, strict=True)
        ]
        view = Shares(first=shares[0][None], second=shares[1][None], alphas=code.alphas[4:5])
        reused = mask_reuse.ReusedMasks(modulus=field.modulus, betas=code.betas, slices=1)
        return float(reused.score(view, change[None, None])[0])

    leak = real_mask_leak(secret_gap=2.0, mask_range=16.0, weight=-2.0, mask_weight=1.0)
    size, slices = system.setting.dimension, system.setting.slices
    rows: list[tuple[str | float, ...]] = [
        (
            "S4: error of a prompt, cluster of 2, one colluder subtracts",
            float((pair - prompts[1]).abs().max()),
        ),
        (
            "S5: error of the prompt of a client that moved, sums differenced",
            float((moved[3] - prompts[3]).abs().max()),
        ),
        ("S7: share of a change read from ONE share, masks reused", recovered((3, 3))),
        ("S7: the same, fresh masks", recovered((3, 4))),
        ("S8: bits that one share under a real mask gives of one bit", leak),
        (
            f"S13: centres needed with distances per slice (d' {size}, K {slices})",
            size / slices + 1,
        ),
        (f"S13: centres needed with whole distances (d' {size})", size + 1.0),
    ]
    small = LagrangeCode(clients=5, slices=1, colluders=2, within=PrimeField(11))
    for count, words in ((2, "t"), (3, "t + 1")):
        rate = _best_guess(small, tuple(range(count)))
        rows.append((f"best guess of a secret modulo 11 by {words} = {count} colluders", rate))
    return RefTable(
        key="attacks",
        caption="what single defects give away, each attack run now",
        header=("attack", "value"),
        rows=tuple(rows),
    )


def _best_guess(code: LagrangeCode, coalition: tuple[int, ...]) -> float:
    """Chance of the best guess from the coalition's shares, over all secrets and masks."""
    modulus = code.within.modulus
    table = torch.tensor(list(itertools.product(range(modulus), repeat=1 + code.colluders))).T
    shares = code.share(table[:1], table[1:])[list(coalition)]
    counts: dict[tuple[int, ...], dict[int, int]] = {}
    for secret, view in zip(table[0].tolist(), map(tuple, shares.T.tolist()), strict=True):
        seen = counts.setdefault(view, {})
        seen[secret] = seen.get(secret, 0) + 1
    return sum(max(seen.values()) for seen in counts.values()) / table.shape[1]
