"""Points and draws that the tests of attacks on openings share."""

import torch

from privassay.attacks.prompts.openings import Openings
from privassay.mechanisms.secret_sharing.clustering import plain_distances


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def points_of(count, dimension, seed=0):
    return torch.rand((count, dimension), generator=draw(seed), dtype=torch.float64) * 2 - 1


def exact_view(points, assignments):
    distances = [plain_distances(points)(a) for a in assignments]
    return Openings(clients=len(points), assignments=assignments, distances=tuple(distances))
