"""DP-FPL: norms of noise and prompt, noise of the compared rows, and numbers of third parties."""

import math
from dataclasses import replace

import torch

from ...mechanisms.base import SeededKey
from ...mechanisms.prompt import refactor
from ...mechanisms.released.dp_fpl import AsReleasedDpFpl, promptfl_stddev
from .reference import RefTable

CLIENTS, RANK, LENGTH, WIDTH, START = 10, 8, 16, 512, 0.02


def noise(system: AsReleasedDpFpl) -> RefTable:
    """Norms of noise and prompt, and measured ratios."""
    small = replace(system, epsilon=0.01).stddev
    entries = RANK * WIDTH
    generator = torch.Generator().manual_seed(0)
    prompt = START * torch.randn(LENGTH, WIDTH, generator=generator, dtype=torch.float64)
    factors = refactor(prompt, RANK, SeededKey(0))
    values = torch.linalg.svdvals(factors.u @ factors.v)[:RANK]
    rows: list[tuple[str | float, ...]] = [
        (f"noise std per coordinate at {system.epsilon:g}", system.stddev),
        (
            f"norm of the noise on g_V ({RANK} x {WIDTH}) at {system.epsilon:g}",
            system.stddev * math.sqrt(entries),
        ),
        (f"norm of the noise on g_V ({RANK} x {WIDTH}) at 0.01", small * math.sqrt(entries)),
        (f"norm of U V at rank {RANK} (P15)", float(torch.linalg.vector_norm(values))),
        ("smallest singular value of U V", float(values.min())),
        ("largest singular value of U V", float(values.max())),
        ("norm of p_L at start, expected", START * math.sqrt(LENGTH * WIDTH)),
        ("measured move of a clipped batch over C/B (P1)", measured_move(system)),
        ("directions that noise on G reaches", float(RANK * (LENGTH + WIDTH - RANK))),
        ("of", float(LENGTH * WIDTH)),
    ]
    ratio = system.stddev * math.sqrt(entries) / system.clip_norm
    return RefTable(
        key="noise",
        caption=f"noise against the clip bound of {system.clip_norm:g}, and what the prompt keeps",
        header=("quantity", "value"),
        rows=tuple(rows),
        reading=f"At {system.epsilon:g} the noise on g_V is {ratio:.3g} times the largest clipped "
        "gradient.",
    )


def measured_move(system: AsReleasedDpFpl) -> float:
    """P1: how far one example moves the released clipped gradient, in units of C/B.

    The example's gradient is larger than the rest of the batch, and then its opposite.
    """
    rows = torch.zeros(2, system.batch, LENGTH, WIDTH, dtype=torch.float64)
    rows[0, 0, 0, 0] = 1e6 * system.clip_norm * system.batch
    rows[1] = -rows[0] if system.clip == "batch" else 0.0
    first, second = system.gradient(rows)
    move = float(torch.linalg.vector_norm(first - second))
    return move * system.batch / system.clip_norm


def rows_of_the_paper(system: AsReleasedDpFpl) -> RefTable:
    """P17: noise of each compared row on the same tensor, the mean global gradient."""
    others = system.stddev / CLIENTS
    twice = promptfl_stddev(system.stddev, CLIENTS)
    return RefTable(
        key="rows",
        caption=f"noise std on the mean of g_G over {CLIENTS} clients, in units of s = "
        f"{system.stddev:.4g}",
        header=("row", "std / s"),
        rows=(
            ("promptfl: noised at the client and at the server", twice / system.stddev),
            ("fedotp, fedpgp, dplora, dpfpl: at the server", others / system.stddev),
            ("promptfl over the others", twice / others),
        ),
        reading="Rows at equal epsilon do not have equal noise (P17).",
    )


def third_party(_: AsReleasedDpFpl) -> RefTable:
    """Section 8: a re-run of a fork."""
    return RefTable(
        key="third_party",
        caption="accuracy on the own and on the other clients' classes, %, rank 8, 10 clients",
        header=(
            "epsilon",
            "Caltech DP-FPL",
            "Caltech PromptFL",
            "Pets DP-FPL",
            "Flowers DP-FPL",
            "Flowers PromptFL",
            "Food101 DP-FPL",
        ),
        rows=(
            ("off", "93.1/92.9", "93.0/92.6", "57.0/46.1", "83.0/68.4", "82.6/68.3", "89.4/82.5"),
            ("0.4", "92.8/93.2", "92.4/92.2", "75.3/73.1", "68.2/68.2", "71.3/71.4", "85.2/85.0"),
            ("0.1", "90.0/90.9", "92.2/92.3", "76.1/74.0", "61.3/61.3", "64.5/63.9", "83.8/83.8"),
            ("0.01", "84.3/86.7", "88.6/88.4", "77.3/75.4", "45.9/44.7", "54.1/52.8", "79.5/79.7"),
        ),
        quoted="a third party's re-run (Anonymeee-1202/sepfpl_o)",
    )


def others_accounting(_: AsReleasedDpFpl) -> RefTable:
    """Section 6: an adapted system under somebody else's accounting."""
    return RefTable(
        key="adapted",
        caption="an adapted DP-FPL in its own settings, delta 1e-5; no reproduction of the paper",
        header=("quantity", "value"),
        rows=(
            ("local epsilon", "122.6"),
            ("global epsilon", "511.5"),
            ("accuracy Flowers / Caltech / DTD, %", "55.5 / 74.3 / 35.6"),
            ("mean TPR over six attacks", ".026 / .013 / .006"),
        ),
        quoted="a third party (bo-wang-bob/Privacy)",
    )
