"""Reference numbers of DP-FPL: C = 10, B = 32, T = 100, N = 10, delta = 1e-5."""

import math

from ..lint import formulas
from .reference import DELTA, RefTable, ceilings, composed_mu, epsilon, mu_of, sigma_exact

CLIP, BATCH, ROUNDS, CLIENTS, RANK = 10.0, 32, 100, 10, 8
BATCH_CLIP = 2.0 * BATCH  # the clipped mean moves 2C where C/B is assumed


def tables() -> tuple[RefTable, ...]:
    """All of them."""
    return (views(), calibration(), cases(), attack_ceilings(), noise(), canary())


def released_mu(claimed: float, *, reach: float = 1.0, mechanisms: int = 1) -> float:
    """Mu of the released noise.

    Args:
        claimed: epsilon that sigma was computed for.
        reach: how far the release moves, in units of the assumed C/B.
        mechanisms: how many of (U, V, G) the adversary sees.
    """
    sigma = formulas.moments(claimed, DELTA, ROUNDS)
    return composed_mu(sigma / reach, ROUNDS * mechanisms)


def views() -> RefTable:
    """What each adversary sees at the claimed 0.4."""
    peer, outsider = released_mu(0.4), released_mu(0.4, mechanisms=3)
    worst = released_mu(0.4, reach=BATCH_CLIP)
    worst_all = released_mu(0.4, reach=BATCH_CLIP, mechanisms=3)
    both = released_mu(0.4, reach=2.0, mechanisms=3)
    return RefTable(
        key="views",
        caption="claimed 0.4: if each example were clipped, and as released",
        header=("view", "mu", "epsilon", "mu as released", "epsilon as released"),
        rows=(
            ("server", math.inf, math.inf, math.inf, math.inf),
            ("peer", peer, epsilon(peer), worst, epsilon(worst)),
            ("outsider", outsider, epsilon(outsider), worst_all, epsilon(worst_all)),
            ("outsider, replace-one", both, epsilon(both), worst_all, epsilon(worst_all)),
        ),
        reading="The server sees gradients without noise; the batch clip voids the rest.",
    )


def calibration() -> RefTable:
    """Exact noise multipliers for 100 rounds beside the released one."""
    rows = [
        (
            eps,
            mu_of(eps),
            sigma_exact(eps, ROUNDS),
            sigma_exact(eps, ROUNDS, replace=True),
            formulas.moments(eps, DELTA, ROUNDS),
        )
        for eps in (0.01, 0.05, 0.1, 0.2, 0.4, 1.0, 2.0, 8.0)
    ]
    return RefTable(
        key="calibration",
        caption="sigma (times C on the sum), 100 releases, delta 1e-5",
        header=("epsilon", "mu", "zero-out", "replace-one", "released"),
        rows=tuple(rows),
        reading="The released formula is too large for small epsilons and too small from about "
        "0.4 on.",
    )


def cases() -> RefTable:
    """Each defect alone and together."""
    asked: list[tuple[str, float, float, int]] = [
        ("claim .4, one mechanism, C/B", 0.4, 1.0, 1),
        ("claim .4, U and V", 0.4, 1.0, 2),
        ("claim .4, all three", 0.4, 1.0, 3),
        ("claim .4, all three, replace-one", 0.4, 2.0, 3),
        ("claim .4, batch clip, one", 0.4, BATCH_CLIP, 1),
        ("claim .4, batch clip, U and V", 0.4, BATCH_CLIP, 2),
        ("claim .4, batch clip, all three", 0.4, BATCH_CLIP, 3),
        ("claim .1, one", 0.1, 1.0, 1),
        ("claim .1, all three", 0.1, 1.0, 3),
        ("claim .1, batch clip, one", 0.1, BATCH_CLIP, 1),
        ("claim .1, batch clip, U and V", 0.1, BATCH_CLIP, 2),
        ("claim .01, batch clip, one", 0.01, BATCH_CLIP, 1),
        ("claim .01, batch clip, U and V", 0.01, BATCH_CLIP, 2),
    ]
    rows = []
    for name, claimed, reach, mechanisms in asked:
        mu = released_mu(claimed, reach=reach, mechanisms=mechanisms)
        rows.append((name, mu, epsilon(mu)))
    return RefTable(
        key="cases",
        caption="exact epsilon of the released noise",
        header=("case", "mu", "epsilon"),
        rows=tuple(rows),
    )


def attack_ceilings() -> RefTable:
    """Section 7."""
    found = [released_mu(0.4, mechanisms=m, reach=r) for m, r in ((1, 1.0), (3, 1.0), (3, 2.0))]
    return RefTable(
        key="ceilings",
        caption="no attack does better, if each example were clipped",
        header=("mu", "advantage", "AUC", "TPR at FPR 0.01"),
        rows=tuple((mu, *ceilings(mu)) for mu in found),
    )


def noise() -> RefTable:
    """Norms of noise and prompt, and other ratios."""
    std = formulas.moments(0.4, DELTA, ROUNDS) * CLIP / BATCH
    small = formulas.moments(0.01, DELTA, ROUNDS) * CLIP / BATCH
    rank_entries = RANK * 512
    return RefTable(
        key="noise",
        caption="noise against the clip bound of 10, and what the prompt keeps",
        header=("quantity", "value"),
        rows=(
            ("noise std per coordinate at .4", std),
            ("norm of the noise on g_V (8 x 512) at .4", std * math.sqrt(rank_entries)),
            ("norm of the noise on g_V (8 x 512) at .01", small * math.sqrt(rank_entries)),
            ("norm of U V at rank 8 (P15)", math.sqrt(RANK)),
            ("norm of p_L at start", 0.02 * math.sqrt(16 * 512)),
            ("noise of row promptfl over s, 10 clients (P17)", math.sqrt(1 / 10 + 1 / 100)),
            ("noise of row promptfl over that of the others", math.sqrt(11.0)),
            ("client level over example level (P10)", BATCH_CLIP),
            ("directions that noise on G reaches, of 8192", RANK * (16 + 512 - RANK)),
        ),
    )


def canary() -> RefTable:
    """What an errorless attack proves with n + n runs at 95 %."""
    rows = []
    for runs in (500, 1000):
        risk = 1.0 - (0.05 / 2.0) ** (1.0 / runs)  # Clopper-Pearson limit after no error
        rows.append((float(runs), math.log((1.0 - risk - DELTA) / risk)))
    return RefTable(
        key="canary",
        caption="largest epsilon that runs without one error refute at 95 %",
        header=("runs in each world", "epsilon at least"),
        rows=tuple(rows),
        reading="Enough to refute .4.",
    )
