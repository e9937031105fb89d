"""Reference numbers of DP-FedLoRA: C = 0.1, epsilon 25 per tensor and upload, 128 tensors."""

import math
import random

from ..lint import formulas
from .reference import DELTA, RefTable, ceilings, composed_mu, epsilon, mu_of, sigma_exact

CLIP, TENSORS, ROUNDS, CLIENTS = 0.1, 128, 200, 20


def tables() -> tuple[RefTable, ...]:
    """All of them."""
    return (calibration(), cases(), classical(), schedule(), noise(), attack_ceilings(), canary())


def released_mu(*, uploads: int = 1, tensors: int = TENSORS, reach: float = 1.0) -> float:
    """Mu of the released noise; `reach` 2 where two clipped tensors differ by 2C."""
    return composed_mu(formulas.classical(25.0, DELTA) / reach, uploads * tensors)


def calibration() -> RefTable:
    """Exact noise multipliers at client level."""
    rows = [
        (eps, mu_of(eps), *(sigma_exact(eps, count) for count in (1, 20, 28, 200)))
        for eps in (1.0, 2.0, 4.0, 8.0, 25.0)
    ]
    return RefTable(
        key="calibration",
        caption="sigma, client level, add-remove (double it for replace-one)",
        header=("epsilon", "mu", "1 release", "20 participations", "28", "200"),
        rows=tuple(rows),
    )


def cases() -> RefTable:
    """What the released noise gives."""
    least, mean, most = participations()
    asked = [
        ("one tensor, C", released_mu(tensors=1)),
        ("one tensor, 2C", released_mu(tensors=1, reach=2.0)),
        ("128 tensors, one upload, C", released_mu()),
        ("128 tensors, one upload, 2C", released_mu(reach=2.0)),
        (f"{mean:g} participations, C", released_mu(uploads=round(mean))),
        (f"{mean:g} participations, 2C", released_mu(uploads=round(mean), reach=2.0)),
        (f"least used client ({least}), C", released_mu(uploads=least)),
        (f"most used client ({most}), C", released_mu(uploads=most)),
        ("one record, at most 13 uses, 2C", released_mu(uploads=13, reach=2.0)),
        ("tracker's view: 400 uploads, one tensor, C", released_mu(uploads=400, tensors=1)),
    ]
    return RefTable(
        key="cases",
        caption="exact epsilon where 25 is claimed, 128 tensors unless said",
        header=("case", "mu", "epsilon"),
        rows=tuple((name, mu, epsilon(mu)) for name, mu in asked),
        reading="25 is quoted; the system's own log says "
        f"{25.0 * math.sqrt(400):g}; exact accounting of 20 participations says 35,195.",
    )


def classical() -> RefTable:
    """The classical formula outside its range."""
    rows = []
    for eps in (1.0, 5.0, 10.0):
        for reach, name in ((1.0, "C"), (2.0, "2C")):
            mu = reach / formulas.classical(eps, DELTA)
            rows.append((f"{eps:g}, {name}", mu, epsilon(mu)))
    return RefTable(
        key="classical",
        caption="sqrt(2 ln(1.25/delta))/epsilon, used at other epsilons",
        header=("formula at epsilon, sensitivity", "mu", "exact epsilon"),
        rows=tuple(rows),
    )


def participations() -> tuple[int, float, int]:
    """Least, mean and most participations of a client in the released public schedule.

    The generator that draws 2 of 20 clients is seeded with the round.
    """
    counts = [0] * CLIENTS
    for turn in range(ROUNDS):
        for client in random.Random(turn).sample(range(CLIENTS), 2):
            counts[client] += 1
    return min(counts), sum(counts) / CLIENTS, max(counts)


def record_uses() -> tuple[int, int]:
    """Records ever used, of 20,000, and the uses of the most used one.

    160 of a client's 1,000 records are drawn by a generator seeded with the round, the same index
    set for both clients.
    """
    uses = [[0] * 1000 for _ in range(CLIENTS)]
    for turn in range(ROUNDS):
        clients = random.Random(turn).sample(range(CLIENTS), 2)
        records = random.Random(turn).sample(range(1000), 160)
        for client in clients:
            for record in records:
                uses[client][record] += 1
    flat = [count for row in uses for count in row]
    return sum(count > 0 for count in flat), max(flat)


def schedule() -> RefTable:
    """L9: the schedule regenerated from its public seeds."""
    least, mean, most = participations()
    used, largest = record_uses()
    return RefTable(
        key="schedule",
        caption="the schedule, regenerated from its seeds (CPython's generator)",
        header=("quantity", "value"),
        rows=(
            ("least participations", float(least)),
            ("mean", mean),
            ("most", float(most)),
            ("records ever used, of 20,000", float(used)),
            ("uses of the most used record", float(largest)),
        ),
        reading="Public and deterministic: it amplifies nothing.",
    )


def noise() -> RefTable:
    """L6: norms of the noise, 4096 x 4096 layers."""
    std = CLIP * formulas.classical(25.0, DELTA)
    side = 4096
    rows: list[tuple[str | float, ...]] = [("noise std", std)]
    for rank in (8, 32):
        rows.append((f"norm on one tensor, rank {rank}", std * math.sqrt(rank * side)))
    for rank in (8, 32):
        rows.append(
            (f"aggregated factor of two clients, rank {rank}", std * math.sqrt(rank * side / 2))
        )
    rows.append(("norm on B A, one upload, rank 8", product_noise(std, side, 8, 1)))
    rows.append(("norm on B A, mean of two, rank 8", product_noise(std, side, 8, 2)))
    rows.append(("signal on B A, at most", CLIP * CLIP))
    return RefTable(
        key="noise",
        caption="norms of the noise at claimed 25, clip 0.1",
        header=("quantity", "value"),
        rows=tuple(rows),
        reading="The global adapter is noise.",
    )


def product_noise(std: float, side: int, rank: int, clients: int) -> float:
    """Root of the expected squared norm of (B + b)(A + a) - B A, factors averaged over clients.

    The factors have norm CLIP each; weights are equal.
    """
    s2, share = std * std, 1.0 / clients
    linear = share * s2 * side * 2.0 * CLIP**2
    return math.sqrt(linear + share**2 * side * side * rank * s2 * s2)


def attack_ceilings() -> RefTable:
    """Section 7: one tensor already."""
    mu = released_mu(tensors=1)
    return RefTable(
        key="ceilings",
        caption="no attack does better, one tensor of one upload",
        header=("mu", "advantage", "AUC", "TPR at FPR 0.01"),
        rows=((mu, *ceilings(mu)),),
        reading="Vacuous.",
    )


def canary() -> RefTable:
    """What errorless runs prove, without and with the Gaussian null."""
    from ...accountant.mills import normal_quantile

    def risk(runs: int) -> float:
        return 1.0 - math.pow(0.05 / 2.0, 1.0 / runs)

    plain = math.log((1.0 - risk(500) - DELTA) / risk(500))
    goal, runs = mu_of(25.0), 2
    while -2.0 * float(normal_quantile(risk(runs))) <= goal:
        runs += 1
    return RefTable(
        key="canary",
        caption="errorless runs in each world at 95 %",
        header=("quantity", "value"),
        rows=(
            ("epsilon that 500 refute", plain),
            ("mu of epsilon 25", goal),
            ("runs that refute epsilon 25 under the Gaussian null", float(runs)),
        ),
    )
