"""VPDR: what older noise (F5), trained encoders (F6) and private counts (F8) give away."""

from dataclasses import replace

from ...accountant.pairwise import GaussianPair, epsilon_lower
from ...mechanisms.released.vpdr import AsReleasedVpdr
from .reference import RefTable, epsilon, groups_mu, mu_of
from .vpdr_noise import DIMENSION

LEVELS = (1.0, 2.0, 8.0)


def legacy(system: AsReleasedVpdr) -> RefTable:
    """F5: noise proportional to kappa in both groups, and the choice's budget every round."""
    made = replace(system, scheme="vpp", generation="legacy")
    bounds, kappa = made.shape(DIMENSION)
    growth = groups_mu(kappa, bounds, 1.0)
    rows: list[tuple[str | float, ...]] = [
        ("mu, one global clip, over the accounted one", growth),
        ("mu, clip for each group, over the accounted one", groups_mu(kappa, kappa)),
    ]
    rows += [
        (
            f"epsilon at claimed {e:g}, global clip",
            epsilon(growth * mu_of(e, system.delta), system.delta),
        )
        for e in LEVELS
    ]
    spent = made.budget.spent
    rows.append((f"epsilon spent by its own accounting, claimed {system.epsilon:g}", spent))
    return RefTable(
        key="legacy",
        caption="the older code (F5): noise proportional to the root of the group's size, one "
        "global clip",
        header=("quantity", "value"),
        rows=tuple(rows),
        reading=f"The quiet group shows {growth:.3g} times the mu that is accounted.",
    )


def trained_encoder(system: AsReleasedVpdr) -> RefTable:
    """F6: a class mean whose encoder was trained on the record."""
    mu = mu_of(system.epsilon, system.delta)
    rows = [(float(n), n * mu, epsilon(n * mu, system.delta)) for n in (23, 600)]
    return RefTable(
        key="encoder",
        caption="worst case where adapters were trained on the same records (F6): mu "
        f"{mu:.3f} of epsilon {system.epsilon:g} times the records",
        header=("records of the class", "mu", "epsilon"),
        rows=tuple(rows),
        reading="No meaningful bound once adapters are trained without noise between uploads.",
    )


def count_leak(system: AsReleasedVpdr) -> RefTable:
    """F8: pure noise of scale 1/n against 1/(n - 1), in 512 dimensions."""
    rows = [
        (float(n), epsilon_lower(GaussianPair.scaled((n / (n - 1)) ** 2, DIMENSION), system.delta))
        for n in (5, 23, 100, 600)
    ]
    return RefTable(
        key="counts",
        caption="what the noise alone shows of a count that it is scaled by (F8), add-remove, "
        f"{DIMENSION} dimensions, delta {system.delta:g}; lower limits",
        header=("records of the class", "epsilon at least"),
        rows=tuple(rows),
        reading="Noise must not be scaled by a private count.",
    )
