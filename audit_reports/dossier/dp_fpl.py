"""DP-FPL in exact numbers: views, sigma, each defect alone and together.

All of them follow from the mechanism object that is given: its epsilon, rounds, batch and clip.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from ...mechanisms.prompt import PromptGradients
from ...mechanisms.released.dp_fpl import AsReleasedDpFpl
from .defects import defects
from .dp_fpl_noise import noise, others_accounting, rows_of_the_paper, third_party
from .objects import Account, accounted
from .reference import (
    RefTable,
    ceilings,
    composed_mu,
    epsilon,
    errorless_epsilon,
    event_mu,
    mu_of,
    sigma_exact,
)

RELEASED = AsReleasedDpFpl()
GRID = (0.01, 0.05, 0.1, 0.2, 0.4, 1.0, 2.0, 8.0)


def tables(system: AsReleasedDpFpl = RELEASED) -> tuple[RefTable, ...]:
    """All of them."""
    return tuple(part(system) for part in PARTS)


def accounts(system: AsReleasedDpFpl = RELEASED) -> tuple[Account, ...]:
    """The object as each view sees it, and the sound release at the same claim."""
    found = [
        accounted(
            "released",
            words,
            system.event(view),  # type: ignore[arg-type]
            view=view,
            unit="example",
            adjacency="zero-out",
            in_claim=view != "server",
            claimed=system.epsilon,
            delta=system.delta,
        )
        for view, words in (
            ("peer", "noisy mean gradient of every batch"),
            ("outsider", "personal prompt, from U, V and the mean gradient"),
            ("server", "every client's clipped gradient, without noise"),
        )
    ]
    made = sound(system)
    found += [
        accounted(
            "sound",
            "each example clipped, one noisy gradient for both prompts",
            made.event(system.rounds),
            view=view,
            unit="example",
            adjacency="replace-one",
            claimed=system.epsilon,
            delta=system.delta,
        )
        for view in ("server", "peer", "outsider")
    ]
    return tuple(found)


def sound(system: AsReleasedDpFpl = RELEASED) -> PromptGradients:
    """Variant B with local noise, calibrated to the claim under replace-one."""
    sigma = sigma_exact(system.epsilon, system.rounds, delta=system.delta, adjacency="replace-one")
    return PromptGradients(clip_norm=system.clip_norm, noise_multiplier=sigma, batch=system.batch)


def released_mu(system: AsReleasedDpFpl, *, moved: float = 1.0, mechanisms: int = 1) -> float:
    """Mu of the released noise.

    Args:
        system: whose sigma and rounds.
        moved: how far one example moves a gradient, in units of the assumed C/B.
        mechanisms: how many of (U, V, G) the adversary sees.
    """
    if mechanisms == 2:  # U and V without G: no view of its own
        return composed_mu(system.sigma / moved, 2 * system.rounds)
    view = "peer" if mechanisms == 1 else "outsider"
    return event_mu(system.event(view, moved=moved), "zero-out")  # type: ignore[arg-type]


def views(system: AsReleasedDpFpl) -> RefTable:
    """What each adversary sees at the claim."""
    rows: list[tuple[str | float, ...]] = [
        ("server: every un-noised gradient", *(math.inf,) * 4),
    ]
    for name, mechanisms, factor in (
        ("peer: noisy mean of g_G", 1, 1.0),
        ("outsider: personal prompt (U, V, G)", 3, 1.0),
        ("outsider, replace-one", 3, 2.0),
        ("querier: predictions of the outsider's prompt", 3, 1.0),
    ):
        mu = released_mu(system, moved=factor, mechanisms=mechanisms)
        worst = released_mu(system, moved=system.worst_move, mechanisms=mechanisms)
        rows.append((name, mu, epsilon(mu, system.delta), worst, epsilon(worst, system.delta)))
    return RefTable(
        key="views",
        caption=f"claimed {system.epsilon:g} at delta {system.delta:g}, {system.rounds} rounds: if "
        "each example were clipped (zero-out unless said), and the worst case as released",
        header=("view", "mu", "epsilon", "mu as released", "epsilon as released"),
        rows=tuple(rows),
        reading="The server sees gradients without noise. Where a batch is clipped as one, an "
        f"example moves it {system.worst_move:g} times as far as the noise assumes.",
    )


def calibration(system: AsReleasedDpFpl) -> RefTable:
    """Exact noise multipliers beside the released one."""
    delta, rounds = system.delta, system.rounds
    rows = [
        (
            eps,
            mu_of(eps, delta),
            sigma_exact(eps, rounds, delta=delta),
            sigma_exact(eps, rounds, delta=delta, adjacency="replace-one"),
            replace(system, epsilon=eps).sigma,
        )
        for eps in GRID
    ]
    enough = [row[0] for row in rows if row[4] >= row[2]]
    short = [row[0] for row in rows if row[4] < row[2]]
    return RefTable(
        key="calibration",
        caption=f"sigma (times C on the sum), {rounds} releases, delta {delta:g}",
        header=("epsilon", "mu", "zero-out", "replace-one", "released"),
        rows=tuple(rows),
        reading="Under zero-out the released formula is "
        + (f"larger than needed up to {max(enough):g}" if enough else "never large enough")
        + (f", too small from {min(short):g} on." if short else "."),
    )


def cases(system: AsReleasedDpFpl) -> RefTable:
    """Each defect alone and together."""
    batch = 2.0 * system.batch  # the clipped mean moves 2C where C/B is assumed
    asked: tuple[tuple[str, float, float, int], ...] = (
        ("claim .4, one mechanism, C/B", 0.4, 1.0, 1),
        ("claim .4, U and V", 0.4, 1.0, 2),
        ("claim .4, all three", 0.4, 1.0, 3),
        ("claim .4, all three, replace-one", 0.4, 2.0, 3),
        ("claim .4, batch clip, one", 0.4, batch, 1),
        ("claim .4, batch clip, U and V", 0.4, batch, 2),
        ("claim .4, batch clip, all three", 0.4, batch, 3),
        ("claim .1, one", 0.1, 1.0, 1),
        ("claim .1, all three", 0.1, 1.0, 3),
        ("claim .1, batch clip, one", 0.1, batch, 1),
        ("claim .1, batch clip, U and V", 0.1, batch, 2),
        ("claim .01, batch clip, one", 0.01, batch, 1),
        ("claim .01, batch clip, U and V", 0.01, batch, 2),
    )
    rows = []
    for name, claimed, moved, mechanisms in asked:
        mu = released_mu(replace(system, epsilon=claimed), moved=moved, mechanisms=mechanisms)
        rows.append((name, mu, epsilon(mu, system.delta)))
    return RefTable(
        key="cases",
        caption=f"exact epsilon of the released noise, {system.rounds} rounds, batches of "
        f"{system.batch}, delta {system.delta:g}; zero-out unless said",
        header=("case", "mu", "epsilon"),
        rows=tuple(rows),
        reading=f"For a claimed 0.4: {rows[0][2]:.3g} with one mechanism, {rows[2][2]:.3g} with "
        f"all three, {rows[6][2]:.4g} with the batch clip.",
    )


def levels(system: AsReleasedDpFpl) -> RefTable:
    """P10: example level and client level of the same noise, each example clipped."""
    rows = []
    for name, factor in (
        ("one example", 1.0),
        ("one client, 1 batch a round", float(system.batch)),
        ("one client, 4 batches a round", system.batch * 2.0),
    ):
        # the program clips no example, so that its own event does not know these
        zero = composed_mu(system.sigma / factor, system.rounds)
        one = composed_mu(system.sigma / (2.0 * factor), system.rounds)
        rows.append((name, zero, epsilon(zero, system.delta), one, epsilon(one, system.delta)))
    return RefTable(
        key="levels",
        caption=f"one mechanism at the claimed {system.epsilon:g}, each example clipped: "
        "mu sqrt(T)/sigma for an example, B sqrt(T batches)/sigma for a client",
        header=("unit", "mu, zero-out", "epsilon", "mu, replace-one", "epsilon"),
        rows=tuple(rows),
        reading="Replacing a client instead of removing an example takes "
        f"{rows[1][3] / rows[0][1]:g} times the noise (P10).",
    )


def attack_ceilings(system: AsReleasedDpFpl) -> RefTable:
    """Section 7."""
    rows = []
    for name, mechanisms, moved in (
        ("one mechanism", 1, 1.0),
        ("all three", 3, 1.0),
        ("all three, replace-one", 3, 2.0),
    ):
        mu = released_mu(system, mechanisms=mechanisms, moved=moved)
        rows.append((name, mu, *ceilings(mu)))
    return RefTable(
        key="ceilings",
        caption=f"no attack does better at the claimed {system.epsilon:g}, if each example were "
        "clipped",
        header=("releases seen", "mu", "advantage", "AUC", "TPR at FPR 0.01"),
        rows=tuple(rows),
    )


def canary(system: AsReleasedDpFpl) -> RefTable:
    """What an errorless attack proves with n + n runs at 95 %."""
    rows = [(float(runs), errorless_epsilon(runs, system.delta)) for runs in (500, 1000)]
    enough = rows[0][1] > system.epsilon
    return RefTable(
        key="canary",
        caption="largest epsilon that runs without one error refute at 95 %, delta "
        f"{system.delta:g}",
        header=("runs in each world", "epsilon at least"),
        rows=tuple(rows),
        reading=f"{'Enough' if enough else 'Not enough'} to refute {system.epsilon:g}.",
    )


PARTS: tuple[Callable[[AsReleasedDpFpl], RefTable], ...] = (
    views,
    calibration,
    cases,
    levels,
    attack_ceilings,
    noise,
    rows_of_the_paper,
    canary,
    third_party,
    others_accounting,
    lambda _: defects("dp-fpl"),
)
"""The tables, in the order of the page."""
