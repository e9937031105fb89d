"""FINCH: clusters without a parameter, from first neighbours alone; many small problems at once.

Two records are linked if one is the nearest of the other or both have the same nearest one; the
connected components are the first partition. Its means are clustered again in the same way, until
one cluster would be left. Source: Sarfraz, Sharma & Stiefelhagen, arXiv:1902.11266, Algorithm 1,
with cosine similarity. The authors' program can also cut links that are longer than any of the
first partition ("early exit"); that is not in the paper and not here.

A cluster is named by the smallest number of its members. Exact ties go to the smaller number.
"""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

_TIE = 2.0**40  # cosines closer than 1/_TIE count as equal, so that rounding decides no tie


class Clusters(NamedTuple):
    """Means of clusters, in the place of their smallest member or, after `largest`, by size.

    Attributes:
        means: float[..., n, dim]; zero where there is no cluster.
        sizes: int64[..., n]; zero where there is none.
    """

    means: Tensor
    sizes: Tensor


def partitions(rows: Tensor, valid: Tensor | None = None) -> list[Tensor]:
    """All partitions, finest first: int64[..., n] each.

    The last is the coarsest with at least two clusters, or the first if that has one cluster
    alone. Problems with fewer partitions than others repeat their last.

    Args:
        rows: float[..., n, dim]; a vector of length zero has cosine 0 to all.
        valid: bool[..., n]: which rows exist; all if not given. The others are labelled by
            themselves and belong to no cluster.

    >>> rows = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    >>> [found.tolist() for found in partitions(rows)]
    [[0, 0, 2, 2]]
    """
    n = rows.shape[-2]
    problems = prod(rows.shape[:-2])
    flat = rows.reshape(problems, n, rows.shape[-1]).double()
    known = torch.ones_like(flat[..., 0], dtype=torch.bool)
    if valid is not None:
        known = valid.reshape(problems, n)
    label = _components(_first_neighbours(flat, known))
    found = [label]
    open_ = torch.ones_like(known[:, :1])  # problems that are not finished
    while n:
        heads = centres(flat, label, known)
        merged = _components(_first_neighbours(heads.means, heads.sizes > 0))
        coarser = merged.gather(1, label)
        left = (centres(flat, coarser, known).sizes > 0).sum(dim=1, keepdim=True)
        open_ = open_ & (left > 1) & (coarser != label).any(dim=1, keepdim=True)
        if not bool(open_.any()):
            break
        label = torch.where(open_, coarser, label)
        found.append(label)
    return [partition.view(rows.shape[:-1]) for partition in found]


def coarsest(rows: Tensor, valid: Tensor | None = None) -> Tensor:
    """int64[..., n]: the last of `partitions`."""
    return partitions(rows, valid)[-1]


def centres(rows: Tensor, label: Tensor, valid: Tensor) -> Clusters:
    """Mean and size of each cluster, in the place of its smallest member.

    Args:
        rows: float[..., n, dim].
        label: int64[..., n], of `partitions`.
        valid: bool[..., n], which rows exist.
    """
    sizes = torch.zeros_like(label).scatter_add_(-1, label, valid.to(label))
    held = torch.where(valid.unsqueeze(-1), rows, 0.0)
    where = label.unsqueeze(-1).expand_as(rows)
    totals = torch.zeros_like(rows).scatter_add_(-2, where, held)
    return Clusters(totals / sizes.clamp(min=1).unsqueeze(-1), sizes)


def largest(clusters: Clusters, count: int) -> tuple[Clusters, Tensor]:
    """The `count` largest clusters, largest first, and each old place's new one.

    Args:
        clusters: of n places.
        count: places of the result; more than n are filled with no cluster.

    Returns:
        Clusters of `count` places, and int64[..., n]: the new place of each old one, which may
        be `count` or more for those that are left out.
    """
    order = clusters.sizes.argsort(dim=-1, descending=True, stable=True)
    place = torch.empty_like(order).scatter_(
        -1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order)
    )
    first = order[..., :count]
    sizes = clusters.sizes.gather(-1, first)
    means = clusters.means.gather(
        -2, first.unsqueeze(-1).expand(*first.shape, clusters.means.shape[-1])
    )
    empty = count - first.shape[-1]
    if empty > 0:
        sizes = torch.nn.functional.pad(sizes, (0, empty))
        means = torch.nn.functional.pad(means, (0, 0, 0, empty))
    return Clusters(means, sizes), place


def _first_neighbours(rows: Tensor, valid: Tensor) -> Tensor:
    """int64[problems, n]: the nearest other valid row; itself if there is none."""
    lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    unit = rows / torch.where(lengths > 0, lengths, 1.0)
    near = (unit @ unit.mT).mul_(_TIE).round_()
    itself = torch.arange(rows.shape[1], device=rows.device)
    barred = ~valid.unsqueeze(1) | (itself == itself.unsqueeze(1))
    near.masked_fill_(barred, -torch.inf)
    alone = ~valid | (valid.sum(dim=1, keepdim=True) < 2)
    return torch.where(alone, itself, near.argmax(dim=-1)) if rows.shape[1] else valid.long()


def _components(first: Tensor) -> Tensor:
    """int64[problems, n]: smallest member of each connected component of i - first[i]."""
    label = torch.arange(first.shape[1], device=first.device).expand_as(first).contiguous()
    while True:
        linked = torch.minimum(label, label.gather(1, first))
        linked = linked.scatter_reduce(1, first, linked, reduce="amin")
        linked = linked.gather(1, linked)  # a label's own label: chains shrink to half
        if torch.equal(linked, label):
            return label
        label = linked
