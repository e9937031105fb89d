"""DP-FedLoRA in exact numbers: what is quoted, what composes, attacks.

All of them follow from the mechanism object that is given: its epsilon, delta, clip and tensors.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from ...accountant.mills import normal_quantile
from ...mechanisms.lora import JointDeltaUpload
from ...mechanisms.released.dp_fedlora import (
    AsReleasedDpFedLora,
    classical_sigma,
    tracker_epsilon,
)
from .defects import defects
from .dp_fedlora_factors import aggregations, gauge, noise
from .dp_fedlora_schedule import (
    ROUNDS,
    SAMPLED,
    mean_participations,
    participations,
    record_uses,
    schedule,
)
from .objects import Account, accounted
from .reference import (
    RefTable,
    ceilings,
    epsilon,
    errorless_epsilon,
    errorless_rate,
    event_mu,
    mu_of,
    sigma_exact,
)

RELEASED = AsReleasedDpFedLora()
SOUND_EPSILON = 8.0


def tables(system: AsReleasedDpFedLora = RELEASED) -> tuple[RefTable, ...]:
    """All of them."""
    return tuple(part(system) for part in PARTS)


def accounts(system: AsReleasedDpFedLora = RELEASED) -> tuple[Account, ...]:
    """The object, for the most used client of the released schedule; and the sound upload."""
    most = participations()[2]
    found = [
        accounted(
            "released",
            words,
            made.event(participations=most, moved=1.0),  # replace-one makes it 2C
            view="server",
            unit="client",
            adjacency="replace-one",
            in_claim=not made.scaffold_leak,
            claimed=system.epsilon,
            delta=system.delta,
        )
        for words, made in (
            (f"all {system.tensors} tensors, {most} participations", system),
            ("SCAFFOLD rows: control variates too", replace(system, scaffold_leak=True)),
        )
    ]
    made = sound(system)
    share = mean_participations()
    found.append(
        accounted(
            "sound",
            f"one jointly clipped change, {share} participations of a balanced schedule",
            made.event(share),
            view="server",
            unit="client",
            adjacency="replace-one",
            claimed=SOUND_EPSILON,
            delta=system.delta,
        )
    )
    return tuple(found)


def sound(system: AsReleasedDpFedLora = RELEASED) -> JointDeltaUpload:
    """Local noise on the whole change, calibrated to epsilon 8 under replace-one."""
    sigma = sigma_exact(
        SOUND_EPSILON, mean_participations(), delta=system.delta, adjacency="replace-one"
    )
    return JointDeltaUpload(clip_norm=system.clip_norm, noise_multiplier=sigma)


def released_mu(
    system: AsReleasedDpFedLora, *, uploads: int = 1, tensors: int | None = None, moved: float = 1.0
) -> float:
    """Mu of the released noise; `moved` 2 where two clipped tensors differ by 2C."""
    made = system if tensors is None else replace(system, tensors=tensors)
    return event_mu(made.event(participations=uploads, moved=moved), "zero-out")


def composition(system: AsReleasedDpFedLora) -> RefTable:
    """L1: the same noise, counted in five ways."""
    uploads, mean = ROUNDS * SAMPLED, mean_participations()
    pooled = epsilon(released_mu(system, uploads=uploads, tensors=1), system.delta)
    exact = [epsilon(released_mu(system, uploads=mean, moved=m), system.delta) for m in (1.0, 2.0)]
    log = tracker_epsilon(system.epsilon, uploads)
    return RefTable(
        key="composition",
        caption=f"one number is quoted; what the same noise gives (L1), delta {system.delta:g}",
        header=(
            "noise",
            "quoted epsilon",
            "the system's own log",
            f"exact, as the log counts: {uploads} uploads, one tensor",
            f"exact, a client: {mean} uploads, {system.tensors} tensors, C",
            "the same, 2C",
        ),
        rows=(("as released", system.epsilon, log, pooled, *exact),),
        reading=f"{system.epsilon:g} is quoted; the system's own log says {log:g}; exact "
        f"accounting of {mean} participations says {exact[0]:,.0f}.",
    )


def calibration(system: AsReleasedDpFedLora) -> RefTable:
    """Exact noise multipliers at client level."""
    counts = (1, mean_participations(), participations()[2], ROUNDS)
    rows = [
        (
            eps,
            mu_of(eps, system.delta),
            *(sigma_exact(eps, count, delta=system.delta) for count in counts),
        )
        for eps in (1.0, 2.0, 4.0, 8.0, 25.0)
    ]
    return RefTable(
        key="calibration",
        caption=f"sigma, client level, delta {system.delta:g}, add-remove (double it for "
        "replace-one)",
        header=(
            "epsilon",
            "mu",
            "1 release",
            f"{counts[1]} participations (balanced)",
            f"{counts[2]} (released schedule, most used client)",
            f"{counts[3]} (every round)",
        ),
        rows=tuple(rows),
    )


def cases(system: AsReleasedDpFedLora) -> RefTable:
    """What the released noise gives."""
    least, _, most = participations()
    mean, used, uploads = mean_participations(), record_uses()[1], ROUNDS * SAMPLED
    asked = [
        ("one tensor, C", 1, 1, 1.0),
        ("one tensor, 2C", 1, 1, 2.0),
        ("one upload, C", 1, None, 1.0),
        ("one upload, 2C", 1, None, 2.0),
        (f"{mean} participations, C", mean, None, 1.0),
        (f"{mean} participations, 2C", mean, None, 2.0),
        (f"least used client ({least}), C", least, None, 1.0),
        (f"most used client ({most}), C", most, None, 1.0),
        (f"most used client ({most}), 2C", most, None, 2.0),
        (f"one record, at most {used} uses, 2C", used, None, 2.0),
        (f"tracker's view: {uploads} uploads, one tensor, C", uploads, 1, 1.0),
    ]
    rows: list[tuple[str | float, ...]] = []
    for name, count, tensors, moved in asked:
        mu = released_mu(system, uploads=count, tensors=tensors, moved=moved)
        rows.append((name, mu, epsilon(mu, system.delta)))
    mu = released_mu(system, uploads=mean)
    first = 0.5 * mu * mu - mu * float(normal_quantile(system.delta))
    rows.append((f"{mean} participations, C, to first order for large mu", mu, first))
    return RefTable(
        key="cases",
        caption=f"exact epsilon where {system.epsilon:g} is claimed, {system.tensors} tensors "
        f"unless said, delta {system.delta:g}",
        header=("case", "mu", "epsilon"),
        rows=tuple(rows),
        reading=f"All tensors of one upload count: sqrt({system.tensors}) = "
        f"{math.sqrt(system.tensors):.4g} times the mu of one (L2).",
    )


def classical(system: AsReleasedDpFedLora) -> RefTable:
    """L3: the classical formula outside its range."""
    rows = []
    for eps in (1.0, 5.0, 10.0):
        for moved, name in ((1.0, "C"), (2.0, "2C")):
            mu = moved / classical_sigma(1.0, eps, system.delta)
            rows.append((f"{eps:g}, {name}", mu, epsilon(mu, system.delta)))
    return RefTable(
        key="classical",
        caption=f"C sqrt(2 ln(1.25/delta))/epsilon at delta {system.delta:g}; proven for epsilon "
        "up to 1 only",
        header=("formula at epsilon, sensitivity", "mu", "exact epsilon"),
        rows=tuple(rows),
    )


def attack_ceilings(system: AsReleasedDpFedLora) -> RefTable:
    """Section 7: one tensor already."""
    rows = []
    for tensors in (1, system.tensors):
        mu = released_mu(system, tensors=tensors)
        rows.append((float(tensors), mu, *ceilings(mu)))
    return RefTable(
        key="ceilings",
        caption="no attack on one upload does better (C)",
        header=("tensors", "mu", "advantage", "AUC", "TPR at FPR 0.01"),
        rows=tuple(rows),
        reading="Vacuous." if rows[0][2] > 0.9 else "",
    )


def canary(system: AsReleasedDpFedLora) -> RefTable:
    """What errorless runs prove, without and with the Gaussian null."""
    goal, runs = mu_of(system.epsilon, system.delta), 2
    while -2.0 * float(normal_quantile(errorless_rate(runs))) <= goal:
        runs += 1
    plain = errorless_epsilon(500, system.delta)
    reached = "reach" if plain > system.epsilon else "do not reach"
    return RefTable(
        key="canary",
        caption=f"errorless runs in each world at 95 %, delta {system.delta:g}",
        header=("quantity", "value"),
        rows=(
            ("epsilon that 500 refute", plain),
            (f"mu of epsilon {system.epsilon:g}", goal),
            (f"runs that refute epsilon {system.epsilon:g} under the Gaussian null", float(runs)),
        ),
        reading=f"500 runs {reached} {system.epsilon:g} without the Gaussian null; "
        f"{runs} do with it.",
    )


def benchmarks(system: AsReleasedDpFedLora) -> RefTable:
    """Section 8: standard errors of the published evaluations."""
    published = results(system)
    found = dict(zip(published.header, published.rows[0], strict=True))
    rows = []
    for task, items in (("MMLU", 100), ("CRASS", 44)):
        rate = float(found[task]) / 100.0
        error = 100.0 * math.sqrt(rate * (1.0 - rate) / items)
        rows.append((f"{task}, accuracy {100.0 * rate:.3g} %", float(items), error))
    return RefTable(
        key="benchmarks",
        caption="standard error of accuracies in the system's repository (first row of results)",
        header=("task", "items", "standard error, points"),
        rows=tuple(rows),
        reading="Differences below twice these say nothing.",
    )


def results(_: AsReleasedDpFedLora) -> RefTable:
    """Section 4: results readable in the repository."""
    return RefTable(
        key="results",
        caption="results in the system's repository, %; 100 items a task, CRASS 44",
        header=("run", "MMLU", "BBH", "CRASS", "DROP EM", "HumanEval"),
        rows=(
            ("FedAvg no DP (r 32, alpha 64)", "44.7", "39.0", "34.1", "0.0", "0.0"),
            ("FedAvgM no DP", "42.0", "38.3", "38.6", "3.0", "1.0"),
            ('"FedAdagrad" (L15) no DP', "45.0", "39.7", "31.8", "0.0", "0.0"),
            ("FedYogi no DP", "44.6", "38.5", "34.1", "4.0", "0.0"),
            ('"FedAdagrad" (L15) DP eps 25, C .1', "42.6", "37.1", "20.5", "0.0", "0.0"),
        ),
        quoted="the repository ahahnut/DP-FedLoRA at 648254e",
    )


PARTS: tuple[Callable[[AsReleasedDpFedLora], RefTable], ...] = (
    composition,
    calibration,
    cases,
    classical,
    schedule,
    noise,
    aggregations,
    gauge,
    attack_ceilings,
    canary,
    benchmarks,
    results,
    lambda _: defects("dp-fedlora"),
)
"""The tables, in the order of the page."""
