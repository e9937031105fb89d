"""SecFPP in exact numbers: headroom, replies, rounding, the golden vector, the account of sound_dp.

Attacks on what is opened are in `secfpp_attacks`.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from ...accountant.calibrate import calibrate
from ...accountant.errors import ParameterError
from ...mechanisms.secfpp import SecFPP
from ...mechanisms.secret_sharing.clustering import flip_gap
from ...mechanisms.secret_sharing.field import PrimeField
from ...mechanisms.secret_sharing.fixed_point import largest_bits
from ...mechanisms.secret_sharing.lagrange import LagrangeCode
from ...mechanisms.secret_sharing.masks import MaskStore, SeededSource
from ...mechanisms.secret_sharing.openings import opened_values
from ...mechanisms.secret_sharing.session import Session, zero_polynomial
from ...mechanisms.secret_sharing.setting import Setting
from ...mechanisms.secret_sharing.sound_dp import SoundDp
from .defects import defects
from .objects import Account, accounted
from .reference import RefTable, composed_mu, epsilon, mu_of, sigma_exact
from .secfpp_attacks import breaks, gram, rounding, trilateration

SMALL, LARGE = PrimeField(2**31 - 1), PrimeField(2**61 - 1)
DELTA, SOUND_EPSILON = 1e-5, 8.0
RELEASED = SecFPP(
    mode="as_described", setting=Setting(clients=20, dimension=16, prompt_dimension=16 * 512)
)


def tables(system: SecFPP = RELEASED) -> tuple[RefTable, ...]:
    """All of them."""
    return tuple(part(system) for part in PARTS)


def accounts(system: SecFPP = RELEASED) -> tuple[Account, ...]:
    """Only `sound_dp` has an epsilon; the other modes claim none."""
    made = sound(system)
    return tuple(
        accounted(
            "sound",
            f"centres and counts of {made.clusterings * made.setting.iterations} clusterings, "
            f"{made.prompt_rounds} cluster prompts, integer noise",
            made.event("zero-out"),
            view=view,
            unit="client",
            adjacency="zero-out",
            claimed=SOUND_EPSILON,
            delta=DELTA,
        )
        for view in ("server", "peer")
    )


def sound(system: SecFPP = RELEASED) -> SecFPP:
    """Mode sound_dp with equal noise multipliers, calibrated under zero-out."""

    def made(noise: float) -> SecFPP:
        dp = SoundDp(
            setting=system.setting, noise_point=noise, noise_count=noise, noise_prompt=noise
        )
        return replace(system, mode="sound_dp", noise=dp, zero_sharing=False, dissolve=False)

    noise = calibrate(
        lambda s: made(s).event("zero-out"),
        epsilon=SOUND_EPSILON,
        delta=DELTA,
        adjacency="zero-out",
        unit="client",
        bracket=(0.5, 500.0),
    )
    return made(noise)


def openings(_: SecFPP) -> RefTable:
    """S1: what is opened to whom, from the lists that the modes enforce."""
    rows = tuple(tuple(row.values()) for row in opened_values())
    return RefTable(
        key="openings",
        caption="who reads which value (S1): the lists that a run enforces",
        header=("value", "as_described", "sound_mpc", "sound_dp"),
        rows=rows,
        reading="No DP claim exists for as_described and sound_mpc; only noisy openings are "
        "bounded.",
    )


def headroom(_: SecFPP) -> RefTable:
    """Largest number of fraction bits for which no signed distance wraps."""
    rows = [
        (
            name,
            float(clients),
            float(size),
            float(largest_bits(within.modulus, clients=clients, dimension=size)),
        )
        for name, within, clients, size in (
            ("2^31 - 1", SMALL, 10, 32),
            ("2^31 - 1", SMALL, 100, 32),
            ("2^61 - 1", LARGE, 10, 32),
            ("2^61 - 1", LARGE, 100, 32),
            ("2^61 - 1", LARGE, 100, 512),
        )
    ]
    return RefTable(
        key="headroom",
        caption="largest number of fraction bits at coordinate bound 1",
        header=("field", "clients", "dimensions", "bits"),
        rows=tuple(rows),
    )


def replies(_: SecFPP) -> RefTable:
    """S9: replies that a product of shares needs, and the dropouts left."""
    rows: list[tuple[str | float, ...]] = []
    for slices, colluders in (
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
        (1, 4),
        (2, 3),
        (4, 1),
        (2, 4),
        (4, 2),
    ):
        needed = LagrangeCode(clients=50, slices=slices, colluders=colluders).needed()
        cells: list[str | float] = []
        for clients in (10, 20, 50):
            try:
                LagrangeCode(clients=clients, slices=slices, colluders=colluders)
            except ParameterError:
                cells.append("refuse")
            else:
                cells.append(float(clients - needed))
        rows.append((f"K {slices}, t {colluders}", float(needed), *cells))
    return RefTable(
        key="replies",
        caption="replies for a product of shares, and dropouts tolerated (S9)",
        header=("sharing", "needed", "N 10", "N 20", "N 50"),
        rows=tuple(rows),
        reading="A product tolerates fewer than half of the clients, whatever is claimed.",
    )


def quantisation(_: SecFPP) -> RefTable:
    """Gaps of distances below which secure and plaintext clustering may differ."""
    rows = [
        (
            float(size),
            float(bits),
            flip_gap(dimension=size, bits=bits),
            flip_gap(dimension=size, bits=bits) / 2.0,
            2.0 ** -(bits + 1),
        )
        for size, bits in ((16, 16), (16, 8))
    ]
    return RefTable(
        key="quantisation",
        caption="secure and plaintext clustering differ only below this gap of two distances",
        header=(
            "dimensions",
            "fraction bits",
            "gap",
            "error of a distance, at most",
            "error of a prompt coordinate, at most",
        ),
        rows=tuple(rows),
    )


def wrap(_: SecFPP) -> RefTable:
    """S7: a worst-case distance in a small field."""
    setting = Setting(clients=10, dimension=32, prompt_dimension=16)
    worst = setting.distance_limit
    decoded = int(SMALL.to_signed(torch.tensor(worst % SMALL.modulus)))
    return RefTable(
        key="wrap",
        caption=f"modulus 2^31 - 1, {setting.clients} clients, {setting.dimension} dimensions, "
        f"{setting.points.bits} bits, bound {setting.points.bound:g} (S7)",
        header=("case", "worst value", "decodes to"),
        rows=(("largest squared distance", float(worst), float(decoded)),),
        reading=f"Wrong by a factor of {worst / decoded:.2g}, and no error is raised.",
    )


def multipliers(system: SecFPP) -> RefTable:
    """Section 5.2: mu and the noise multiplier of equal releases."""
    releases = system.clusterings * system.setting.iterations
    rows = []
    for target in (1.0, 2.0, 8.0):
        sigma = sigma_exact(target, releases, delta=DELTA)
        rows.append(
            (
                target,
                mu_of(target, DELTA),
                sigma,
                epsilon(composed_mu(sigma, releases), DELTA),
            )
        )
    return RefTable(
        key="accounts",
        caption=f"noise multiplier of {releases} equal releases, client level, zero-out, delta "
        f"{DELTA:g}",
        header=("epsilon", "mu", "noise multiplier", "epsilon, accounted"),
        rows=tuple(rows),
    )


def totals(system: SecFPP) -> RefTable:
    """Section 5.2: mu^2 of the whole run, by the object and by the closed form."""
    made = sound(system)
    noise = made.noise
    if noise is None:
        raise ParameterError("mode sound_dp has no noise")
    steps = made.clusterings * made.setting.iterations
    own, other = 1.0 / noise.noise_point**2, 1.0 / noise.noise_count**2
    prompt = 1.0 / noise.noise_prompt**2
    formulas = {
        "zero-out": steps * (own + other) + made.prompt_rounds * prompt,
        "replace-one": steps * max(4.0 * own, 2.0 * own + 2.0 * other)
        + made.prompt_rounds * 4.0 * prompt,
    }
    rows = []
    for adjacency, squared in formulas.items():
        bound = made.bound(adjacency)  # type: ignore[arg-type]
        rows.append((adjacency, math.sqrt(squared), bound.mu.upper, bound.epsilon(DELTA).upper))
    return RefTable(
        key="totals",
        caption=f"sound_dp: {steps} clusterings and {made.prompt_rounds} prompts, noise multiplier "
        f"{noise.noise_point:.5g} on each, delta {DELTA:g}; the object also charges "
        "rounding and integer noise",
        header=("adjacency", "mu, closed form", "mu of the object", "epsilon of the object"),
        rows=tuple(rows),
    )


def golden(_: SecFPP) -> RefTable:
    """A computation to follow by hand: prime 10007, 2 slices, 1 colluder, 6 clients."""
    within = PrimeField(10007)
    code = LagrangeCode(clients=6, slices=2, colluders=1, within=within)
    first = code.share(within.from_signed(torch.tensor([3, -4])), torch.tensor([17]))
    second = code.share(torch.tensor([1, 2]), torch.tensor([29]))
    session = Session(code, MaskStore(SeededSource(0), within))
    points = torch.stack([first, second], dim=1)[..., None]
    product = session.squares(points, session.total(points, 1)[:, None], [2])[:, 0, 0]
    zeros = zero_polynomial(code, "sum", torch.tensor([123, 456, 789, 1011]))
    masked = within.add(product, zeros)
    rows: list[tuple[str | float, ...]] = [
        (name, *map(float, values.tolist()))
        for name, values in (
            ("shares of (3, -4), mask 17", first),
            ("shares of (1, 2), mask 29", second),
            ("replies for client 1 in cluster {1, 2}", product),
            ("sharing of zero", zeros),
            ("masked replies", masked),
        )
    ]
    opened = [code.open(h[:5], range(5), product=True) for h in (product, masked)]
    for name, values in zip(("opened", "opened, masked"), opened, strict=True):
        total = int(within.sum(values, 0))
        rows.append((name, *map(float, values.tolist()), float(total), "", "", ""))
    bare, hidden = (", ".join(map(str, values.tolist())) for values in opened)
    return RefTable(
        key="golden",
        caption=f"golden vector, modulo {within.modulus}; the opened rows hold h(1), h(2) and "
        "their sum",
        header=("what", "client 1", "2", "3", "4", "5", "6"),
        rows=tuple(rows),
        reading=f"Without a sharing of zero the server sees ({bare}) (S13), with it ({hidden}): "
        f"only the sum {rows[-1][3]:g} is right.",
    )


PARTS: tuple[Callable[[SecFPP], RefTable], ...] = (
    openings,
    headroom,
    replies,
    quantisation,
    rounding,
    wrap,
    multipliers,
    totals,
    golden,
    trilateration,
    gram,
    breaks,
    lambda _: defects("secfpp"),
)
"""The tables, in the order of the page."""
