"""DP-FedLoRA: who takes part when, regenerated from the public seeds of the schedule (L9)."""

import math

from ...mechanisms.released.dp_fedlora import (
    AsReleasedDpFedLora,
    clients_of_round,
    records_of_round,
)
from .reference import RefTable

ROUNDS, CLIENTS, SAMPLED, HELD, USED = 200, 20, 2, 1000, 160


def participations() -> tuple[int, float, int]:
    """Least, mean and most participations of a client in the released public schedule (L9)."""
    counts = [0] * CLIENTS
    for turn in range(ROUNDS):
        for client in clients_of_round(turn, CLIENTS, SAMPLED):
            counts[client] += 1
    return min(counts), sum(counts) / CLIENTS, max(counts)


def mean_participations() -> int:
    """Participations of each client in a balanced schedule of the same size."""
    return math.ceil(ROUNDS * SAMPLED / CLIENTS)


def record_uses() -> tuple[int, int]:
    """Records ever used, and the uses of the most used one, in the released public schedule."""
    uses = [[0] * HELD for _ in range(CLIENTS)]
    for turn in range(ROUNDS):
        records = records_of_round(turn, HELD, USED)
        for client in clients_of_round(turn, CLIENTS, SAMPLED):
            for record in records:
                uses[client][record] += 1
    flat = [count for row in uses for count in row]
    return sum(count > 0 for count in flat), max(flat)


def schedule(_: AsReleasedDpFedLora) -> RefTable:
    """L9: the schedule regenerated from its public seeds."""
    least, mean, most = participations()
    used, largest = record_uses()
    return RefTable(
        key="schedule",
        caption=f"{ROUNDS} rounds of {SAMPLED} of {CLIENTS} clients, {USED} of {HELD} records "
        "each, regenerated from their seeds (CPython's generator)",
        header=("quantity", "value"),
        rows=(
            ("least participations", float(least)),
            ("mean", mean),
            ("most", float(most)),
            (f"records ever used, of {CLIENTS * HELD:,}", float(used)),
            ("uses of the most used record", float(largest)),
        ),
        reading="Public and deterministic: it amplifies nothing.",
    )
