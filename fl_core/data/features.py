"""From pictures to what clients train on: cached features of a frozen encoder, in `ClientData`."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ...accountant.errors import ConfigError
from ..clients import ClientData
from ..models.backbone import Backbone
from ..models.cache import cached_features
from .partition import Indices, Partition
from .pool import Pool


def feature_pool(pool: Pool, backbone: Backbone, say: Callable[[str], None] | None = None) -> Pool:
    """The pool with every picture replaced by its features, float32[n, dimension].

    Args:
        pool: of pictures; its canaries stay canaries.
        backbone: a frozen public encoder.
        say: gets one line of progress at a time.

    Raises:
        ConfigError: the pool holds vectors already, or the encoder is not frozen.

    >>> from ..models.backbone import load_backbone
    >>> from .sources import load
    >>> digits = load("optdigits", per_class=1, seed=0)
    >>> feature_pool(digits, load_backbone("pixels", image_size=8)).x.shape
    (10, 64)
    """
    if not pool.pictures:
        raise ConfigError(f"{pool.name!r} holds vectors already; an encoder takes pictures")
    found = cached_features(backbone, pool.x, say=say)
    how = f"{backbone.name} ({backbone.origin}; {backbone.code}; pooling {backbone.pooling})"
    return replace(
        pool,
        x=found,
        provenance=f"{pool.provenance}; features of {how}, weights {backbone.sha256[:16]}",
    )


def client_data(pool: Pool, partition: Partition | Sequence[Indices]) -> ClientData:
    """One row per client of the records that it holds; `MembershipDesign` makes replicas itself.

    Args:
        pool: of vectors.
        partition: of this pool, or the records of each client.

    Raises:
        ConfigError: the pool holds pictures, or the partition is of another pool.
    """
    x, y = tensors(pool)
    if not isinstance(partition, Partition):
        return ClientData.of(x, y, partition)
    if len(partition.labels) != len(pool) or not (partition.labels == pool.y).all():
        raise ConfigError(f"the partition is of other labels than those of {pool.name!r}")
    return ClientData.of(x, y, partition.parts, virtual=partition.virtual)


def tensors(pool: Pool) -> tuple[torch.Tensor, torch.Tensor]:
    """Copies of x, float32[n, dim], and y, int64[n], of a pool of vectors.

    Raises:
        ConfigError: the pool holds pictures.
    """
    if pool.pictures:
        raise ConfigError(
            f"{pool.name!r} holds pictures, but clients train on vectors; use feature_pool with a "
            "backbone first, for instance load_backbone('pixels')"
        )
    return torch.tensor(pool.x), torch.tensor(pool.y)
