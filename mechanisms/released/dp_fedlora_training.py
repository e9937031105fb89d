"""Around DP-FedLoRA's uploads: schedule, tracker, branches, logged numbers; defects beside twins.

Source: arXiv:2509.09097 and its public code at 648254e.
"""

import math
import random
from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor

from ...accountant import check
from ..clipping import Clip

ALGORITHMS = ("fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad", "fedprox", "scaffold")


class Participations(NamedTuple):
    """How often clients take part in a schedule: fewest, mean and most uses of one."""

    fewest: int
    mean: float
    most: int


def default_noise(shape: tuple[int, ...], seed: int = 42) -> Tensor:
    """L10: what torch gives after a library seeded it with its default, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def tracker_epsilon(epsilon: float, uploads: int) -> float:
    """The code's own tracker: epsilon sqrt(uploads), of any client, one tensor.

    >>> tracker_epsilon(25.0, 400)
    500.0
    """
    return epsilon * math.sqrt(uploads)


def clients_of_round(round_: int, clients: int = 20, sampled: int = 2) -> list[int]:
    """L9: who takes part, from a generator seeded with the round; anyone can compute it."""
    return sorted(random.Random(round_).sample(range(clients), sampled))


def participations(rounds: int, clients: int = 20, sampled: int = 2) -> Participations:
    """L9: of a schedule that anyone can compute.

    >>> participations(200)
    Participations(fewest=13, mean=20.0, most=28)
    """
    check.count(rounds=rounds, clients=clients, sampled=sampled)
    uses = Counter(c for t in range(rounds) for c in clients_of_round(t, clients, sampled))
    counts = [uses[client] for client in range(clients)]
    return Participations(min(counts), rounds * sampled / clients, max(counts))


def records_of_round(round_: int, held: int = 1000, used: int = 160) -> list[int]:
    """L9: indices of the records used, the same at every client of the round."""
    return random.Random(round_).sample(range(held), used)


def branch_as_released(algorithm: str) -> str:
    """L15: the server's branch for an algorithm that the trainer accepts; one name is misspelt."""
    known = {
        "fedavgm",
        "fedadam",
        "fedyogi",
        "fedadagrad".replace("adag", "adadag"),
        "fedprox",
        "scaffold",
    }
    return algorithm if algorithm in known else "fedavg"


def branch(algorithm: str) -> str:
    """The twin: the branch of that name; any other is an error."""
    check.one_of(ALGORITHMS, algorithm=algorithm)
    return algorithm


def swapped_variance(b: Tensor, a: Tensor, stddev: float) -> float:
    """The code's variance of the noise on BA, with m and n exchanged in the first two terms."""
    (m, r), n = b.shape, a.shape[1]
    s2 = stddev**2
    return float(n * s2 * a.square().sum() + m * s2 * b.square().sum() + m * n * r * s2**2)


def noise_norm(sigma: float, rank: int, side: int, weights: tuple[float, ...]) -> float:
    """L6: norm of an averaged factor that is noise alone, sigma sqrt(r d W2).

    >>> round(noise_norm(0.01938, 8, 4096, (0.5, 0.5)), 2)
    2.48
    """
    return sigma * math.sqrt(rank * side * sum(w * w for w in weights))


def start_norm(rank: int, side: int) -> float:
    """L6: expected norm of a factor A at the start, float[rank, side].

    Entries are uniform in +-1 / sqrt(side), torch's rule for a layer of that many inputs: their
    variance is 1 / (3 side), so that the side does not matter.

    >>> round(start_norm(8, 4096), 2)
    1.63
    """
    return math.sqrt(rank * side / (3.0 * side))


def logged_statistics(
    value: Tensor, clip_norm: float, sigma: float, *, before: bool
) -> tuple[float, float]:
    """L12: (norm, norm over noise) as logged; `before` the clip as released, or after it."""
    rows = value if before else clip_tensor(value.unsqueeze(0), clip_norm)[0]
    norm = float(torch.linalg.vector_norm(rows))
    return norm, norm / (sigma * math.sqrt(value.numel()))


def clip_tensor(value: Tensor, bound: float) -> Tensor:
    """Each of float[clients, *shape] clipped in Frobenius norm."""
    flat = value.flatten(1)
    return Clip(joint_norm=bound).apply(flat).reshape(value.shape)
