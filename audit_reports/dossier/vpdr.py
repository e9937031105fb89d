"""VPDR in exact numbers: sigma, totals, what groupwise noise costs, ceilings of attacks.

All of them follow from the mechanism object that is given: its rounds, delta, radius and shares.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from ...accountant.account import account
from ...accountant.allocation import ellipsoid_stddevs, equal_power_stddevs
from ...accountant.assumption import Assumption
from ...mechanisms.clipping import Clip
from ...mechanisms.released.vpdr import AsReleasedVpdr
from ...mechanisms.vpp import SumsAndCounts
from .defects import defects
from .objects import Account, accounted, bound_of
from .reference import (
    RefTable,
    ceilings,
    epsilon,
    event_mu,
    groups_mu,
    mu_of,
    percent,
    sigma_exact,
)
from .vpdr_leaks import LEVELS, count_leak, legacy, trained_encoder
from .vpdr_noise import DIMENSION, choice, fixture, moments, noise_ratios, signal

RELEASED = AsReleasedVpdr(epsilon=1.0)
GRID = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
CLAIMS = (1.0, 2.0, 8.0, 10.0)


def tables(system: AsReleasedVpdr = RELEASED) -> tuple[RefTable, ...]:
    """All of them."""
    return tuple(part(system) for part in PARTS)


def accounts(system: AsReleasedVpdr = RELEASED) -> tuple[Account, ...]:
    """The object in its released forms, and the sound construction at the same claim."""
    found = []
    for scheme, generation, words in (
        ("vpp", "current", "VPP, adapters trained on the records"),
        ("vpp", "current", "VPP, encoder frozen, class counts public"),
        ("igpp", "current", "IGPP with its unpaid partition, encoder frozen, counts public"),
        ("vpp", "legacy", "VPP of the older code, encoder frozen, counts public"),
    ):
        frozen = "frozen" in words
        made = replace(system, scheme=scheme, generation=generation, frozen_encoder=frozen)  # type: ignore[arg-type]
        found.append(
            accounted(
                "released",
                words,
                made.event(DIMENSION),
                # the event of a frozen encoder needs no more than what `words` say
                assumptions=() if frozen else _unmet(made),
                view="server",
                unit="example",
                adjacency="replace-one",
                in_claim=not frozen,
                claimed=made.epsilon,
                delta=made.delta,
            )
        )
    found.append(
        accounted(
            "sound",
            "class sums and counts released once, public encoder, groups and radii",
            sound(system).event(),
            view="server",
            unit="example",
            adjacency="add-remove",
            claimed=system.epsilon,
            delta=system.delta,
        )
    )
    return tuple(found)


def _unmet(system: AsReleasedVpdr) -> tuple[Assumption, ...]:
    """What the guarantee lacks; the other defects cost accuracy."""
    needed = [a for a in system.assumptions() if a.text[:2] in ("F6", "F8")]
    return tuple(sorted(needed, key=lambda a: a.text))


def sound(system: AsReleasedVpdr = RELEASED) -> SumsAndCounts:
    """One noisy upload of all classes within the claim; a tenth of mu^2 goes to the counts."""
    mu = mu_of(system.epsilon, system.delta) * (1.0 - 1e-12)
    chosen = system.choice(DIMENSION).k
    sizes = (chosen, DIMENSION - chosen)
    # public norms: the radius, spread evenly over the dimensions
    norms = tuple(system.radius * math.sqrt(size / DIMENSION) for size in sizes)
    radii, stddevs = ellipsoid_stddevs(norms, sizes, mu=math.sqrt(0.9) * mu)
    return SumsAndCounts(
        clip=Clip(ellipsoid_radii=radii),
        group_sizes=sizes,
        noise_stddevs=stddevs,
        count_stddev=1.0 / (math.sqrt(0.1) * mu),
    )


def sigmas(system: AsReleasedVpdr) -> RefTable:
    """Noise multiplier on 2R/n, released and exact."""
    delta, rounds = system.delta, system.rounds
    rows = []
    for eps in GRID:
        igpp = replace(system, scheme="igpp", epsilon=eps)
        rows.append(
            (
                eps,
                mu_of(eps, delta),
                igpp.sigma,
                sigma_exact(eps, rounds, delta=delta),
                replace(igpp, rounds=1).sigma,
                sigma_exact(eps, delta=delta),
                replace(system, scheme="vpp", epsilon=eps).sigma,
            )
        )
    more = [row[2] / row[3] - 1.0 for row in rows]
    once = [row[5] / row[3] for row in rows]
    return RefTable(
        key="sigma",
        caption=f"sigma, the noise multiplier on 2 R/n, at delta {delta:g}",
        header=(
            "epsilon",
            "mu",
            f"T {rounds} RDP (released)",
            f"T {rounds} exact",
            "T 1 RDP",
            "T 1 exact",
            f"VPP T {rounds} ({system.budget.prototypes / system.epsilon:g} epsilon, RDP)",
        ),
        rows=tuple(rows),
        reading=f"The released conversion adds {percent(*more)} more noise than exact accounting. "
        f"One release instead of {rounds} of the same mean needs {percent(*once)} of it.",
    )


def totals(system: AsReleasedVpdr) -> RefTable:
    """Exact total epsilon of the released noise, encoder frozen, replace-one, public counts."""
    rows = []
    for eps in CLAIMS:
        vpp = replace(system, scheme="vpp", generation="current", epsilon=eps, frozen_encoder=True)
        igpp = replace(vpp, scheme="igpp")
        # textbook: one global clip, noise sigma 2R/n; R and n cancel
        release = Clip(joint_norm=1.0).event((2.0 * igpp.sigma,), divisor=1)
        textbook = dpe.SelfComposedDpEvent(release, system.rounds)
        choices = vpp.rounds * vpp.budget.selection
        parts = [
            epsilon(event_mu(event, "replace-one"), system.delta)
            for event in (textbook, _prototypes(vpp), _prototypes(igpp))
        ]
        joint = [
            bound_of(made.event(DIMENSION), "replace-one").epsilon(system.delta).upper
            for made in (vpp, igpp)
        ]
        rows.append((eps, parts[0], parts[1] + choices, parts[2] + choices, *joint))
    within = all(value <= row[0] for row in rows for value in row[1:])
    return RefTable(
        key="totals",
        caption="exact total epsilon: frozen encoder, replace-one, public counts, "
        f"{system.rounds} rounds, delta {system.delta:g}. The choices are pure; adding their "
        "epsilon is valid, composing them exactly is tight",
        header=(
            "claimed epsilon",
            "textbook IGPP",
            "VPP, added",
            "IGPP as released (F9), added",
            "VPP, composed",
            "IGPP as released, composed",
        ),
        rows=tuple(rows),
        reading="With a frozen encoder the released noise is "
        + ("more than enough." if within else "not enough everywhere."),
    )


def _prototypes(system: AsReleasedVpdr) -> dpe.DpEvent:
    """The Gaussian part of the object's event: all of it but the choices."""
    event = system.event(DIMENSION)
    return event.events[0] if isinstance(event, dpe.ComposedDpEvent) else event


def counterexample(system: AsReleasedVpdr) -> RefTable:
    """Equal average power and one global clip: epsilon of isotropic and of anisotropic noise."""
    delta = system.delta
    bounds, (quiet, loud) = replace(system, scheme="vpp", generation="current").shape(DIMENSION)
    share = bounds[0] ** 2
    power = math.sqrt(share * quiet**2 + (1.0 - share) * loud**2)
    rows: list[tuple[str | float, ...]] = []
    for fraction, ratio in ((system.fraction, loud / quiet), (0.3, 4.0), (0.5, 3.0), (0.1, 3.0)):
        found = [
            epsilon(
                groups_mu(
                    equal_power_stddevs(1.0 / mu_of(e, delta), fraction, ratio), (1.0, 1.0), 1.0
                ),
                delta,
            )
            for e in LEVELS
        ]
        rows.append((f"{fraction:g} of the dimensions quiet, ratio {ratio:.4g}", *found))
    for name, scale, norms, joint in (
        ("VPP's own stds", 1.0, (1.0, 1.0), 1.0),
        ("VPP, group clip, isotropic's power", 1.0 / power, bounds, None),
    ):
        found = [
            epsilon(
                groups_mu((quiet * scale / (m := mu_of(e, delta)), loud * scale / m), norms, joint),
                delta,
            )
            for e in LEVELS
        ]
        rows.append((name, *found))
    listed = ", ".join(f"{e:g}" for e in LEVELS)
    return RefTable(
        key="counterexample",
        caption="epsilon of groupwise noise where isotropic noise of equal average power has "
        f"epsilon {listed}; one global clip unless said; delta {delta:g}",
        header=("noise", *(f"isotropic {e:g}" for e in LEVELS)),
        rows=tuple(rows),
        reading="'No weaker than isotropic' holds at equal mu only, bought with "
        f"{percent(power**2 - 1.0)} more power and a clip for each group.",
    )


def sampled(_: AsReleasedVpdr) -> RefTable:
    """Section 5.5: two groups reduce to the one-dimensional subsampled Gaussian."""
    rate, stddevs, shift, eps = 0.1, (1.0, 2.0), (0.6, 1.6), 0.2
    mu = groups_mu(stddevs, shift)
    event = dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(1.0 / mu))
    bound = account(event, adjacency="add-remove")
    return RefTable(
        key="sampled",
        caption=f"Poisson sample of rate {rate:g}, stds {stddevs}, shift {shift}, add-remove",
        header=("quantity", "value"),
        rows=(
            ("mu without sampling", mu),
            (f"delta at epsilon {eps:g}, one dimension", bound.delta(eps).upper),
        ),
        reading="The two-dimensional mixture has the same delta (checked by quadrature in the "
        "tests).",
    )


def attack_ceilings(system: AsReleasedVpdr) -> RefTable:
    """Section 7."""
    rows = [(eps, *ceilings(mu_of(eps, system.delta))) for eps in (1.0, 8.0)]
    return RefTable(
        key="ceilings",
        caption=f"no attack does better at (epsilon, {system.delta:g}); the last column is also "
        "the ceiling of naming one member among 100 candidates",
        header=("epsilon", "advantage", "AUC", "TPR at FPR 0.01"),
        rows=tuple(rows),
    )


PARTS: tuple[Callable[[AsReleasedVpdr], RefTable], ...] = (
    sigmas,
    totals,
    counterexample,
    noise_ratios,
    legacy,
    trained_encoder,
    count_leak,
    choice,
    signal,
    sampled,
    moments,
    attack_ceilings,
    fixture,
    lambda _: defects("vpdr"),
)
"""The tables, in the order of the page."""
