"""Parts of VPDR's training that touch what is released: losses, clusters, weights, encoders.

Each defective part stands beside its correct twin. Source: arXiv:2604.27833 and its code.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..base import Key


def alignment_loss_as_released(features: Tensor, prototypes: Tensor) -> Tensor:
    """F10: prototypes stacked as B x 1 x D are broadcast to B x B x D.

    Every feature is pulled to the mean prototype of the batch instead of its own.
    """
    loss: Tensor = (features - prototypes.unsqueeze(1)).square().mean()
    return loss


def alignment_loss(features: Tensor, prototypes: Tensor) -> Tensor:
    """Mean squared distance of each feature, float[B, D], to its own prototype, float[B, D]."""
    if features.shape != prototypes.shape:
        raise ValueError(f"{list(features.shape)} features, {list(prototypes.shape)} prototypes")
    loss: Tensor = (features - prototypes).square().mean()
    return loss


def first_neighbour_clusters(rows: Tensor) -> Tensor:
    """int64[n]: the first partition of FINCH, components of first cosine neighbours.

    Source: Sarfraz, Sharma & Stiefelhagen, arXiv:1902.11266. A record can change the cluster of
    others, so clusters are no parallel parts.
    """
    n = len(rows)
    if n < 2:
        return torch.zeros(n, dtype=torch.int64)
    unit = torch.nn.functional.normalize(rows, dim=1)
    near = unit @ unit.T
    near.fill_diagonal_(-2.0)
    first = near.argmax(dim=1)
    label = torch.arange(n)
    for _ in range(n):  # each pass spreads the smallest label one link further
        linked = torch.minimum(label, label[first])
        linked = linked.scatter_reduce(0, first, linked, reduce="amin")
        if torch.equal(linked, label):
            break
        label = linked
    clusters: Tensor = torch.unique(label, return_inverse=True)[1]
    return clusters


def cluster_means(rows: Tensor, cluster: Tensor) -> Tensor:
    """float[clusters, dim]: F7, the centres that are uploaded with noise scaled by 2R/n_k."""
    member = (cluster.unsqueeze(0) == torch.arange(int(cluster.max()) + 1).unsqueeze(1)).to(rows)
    return member @ rows / member.sum(dim=1, keepdim=True)


def weighted_by_size(prototypes: Tensor, present: Tensor, sizes: Tensor) -> Tensor:
    """F14: float[classes, dim] weighted by true sizes over the total, missing classes included.

    Args:
        prototypes: float[clients, classes, dim], zeros where a class is missing.
        present: bool[clients, classes].
        sizes: int[clients], true and private.
    """
    weights = sizes.to(prototypes) / sizes.sum()
    return (weights[:, None, None] * torch.where(present.unsqueeze(-1), prototypes, 0.0)).sum(dim=0)


def equally_weighted(prototypes: Tensor, present: Tensor, sizes: Tensor) -> Tensor:
    """The twin: the mean over the clients that have the class; sizes are not read."""
    del sizes
    held = present.to(prototypes).unsqueeze(-1)
    return (held * prototypes).sum(dim=0) / held.sum(dim=0).clamp(min=1.0)


def normalising_encoder(training: bool) -> Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]:
    """F15: batch -> (features, buffers afterwards) of an encoder with batch normalisation.

    In training mode the running statistics take in the batch, so that a "frozen" encoder changes
    with private data.
    """

    def encode(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        layer = torch.nn.BatchNorm1d(batch.shape[1], dtype=batch.dtype)
        layer.train(training)
        with torch.no_grad():
            features = layer(batch)
        return features, {name: value.clone() for name, value in layer.named_buffers()}

    return encode


def loaded_test_set(images: Tensor, key: Key, *, inherited: bool) -> Tensor:
    """F16: inputs of the test set, float[n, ...]; with the training's random flips if inherited."""
    if not inherited:
        return images
    flip = torch.from_numpy(key.generator().random(len(images))) < 0.5
    return torch.where(flip.reshape(-1, *[1] * (images.ndim - 1)), images.flip(-1), images)


def projected_noise_share(projection: Tensor) -> float:
    """F11: share of isotropic noise, added after a projection float[in, out], in its image.

    What is outside can be projected away: noise added after raising the dimension is wasted there.
    """
    rank = int(torch.linalg.matrix_rank(projection))
    return rank / projection.shape[1]


def prototype_snr(count: int, sigma: float, dimension: int) -> float:
    """F12: bound on signal over noise of one class, n / (2 sigma sqrt(D))."""
    return float(count / (2.0 * sigma * dimension**0.5))
