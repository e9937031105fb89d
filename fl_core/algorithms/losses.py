"""Parts of the losses of prototype methods, each record's own: float[rows, batch].

A prototype that nobody has ("not held", all zero) pulls nobody and repels nobody.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, mse_loss

_NEVER = -1e4  # as a logit: its exponential is exactly zero, and its gradient too
_SHORTEST = 1e-12  # shorter vectors have no direction


def unit(x: Tensor) -> Tensor:
    """`x`, float[..., dim], at length 1; zero, without gradient, where |x| is about zero.

    Scaled by the largest entry first, so that squares neither overflow nor vanish.
    """
    largest = x.detach().abs().amax(dim=-1, keepdim=True)
    known = largest > _SHORTEST
    scaled = torch.where(known, x / torch.where(known, largest, 1.0), 0.0)
    lengths = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    return scaled / torch.where(known, lengths, 1.0)


def held(prototypes: Tensor) -> Tensor:
    """float[...]: 1 where a prototype of float[..., dim] exists, 0 where it is all zero."""
    return (prototypes != 0).any(dim=-1).to(prototypes.dtype)


def own_distance(features: Tensor, y: Tensor, prototypes: Tensor, known: Tensor) -> Tensor:
    """Mean over dimensions of the squared distance to the prototype of the record's own class.

    Args:
        features: float[rows, batch, dim].
        y: int64[rows, batch].
        prototypes: float[rows, classes, dim].
        known: float[rows, classes], of `held`.
    """
    first = torch.arange(len(y), device=y.device).unsqueeze(1) * prototypes.shape[1]
    target = prototypes.flatten(0, 1).index_select(0, (first + y).flatten()).view_as(features)
    return mse_loss(features, target, reduction="none").mean(dim=-1) * known.gather(1, y)


def own_columns(y: Tensor, classes: int, known: Tensor) -> Tensor:
    """bool[rows, batch, columns]: held prototypes of the record's own class.

    Args:
        y: int64[rows, batch].
        classes: columns are classes times centres, class by class.
        known: float[rows, columns].
    """
    column = torch.arange(known.shape[-1], device=y.device) // (known.shape[-1] // classes)
    return (column == y.unsqueeze(-1)) & (known > 0).unsqueeze(1)


def contrast(scores: Tensor, own: Tensor, known: Tensor) -> Tensor:
    """-log of the share of own prototypes: InfoNCE with any number of positives.

    Args:
        scores: float[rows, batch, columns], similarity over temperature.
        own: bool, the same shape, of `own_columns`.
        known: float[rows, columns].
    """
    everything = scores.masked_fill((known == 0).unsqueeze(1), _NEVER).logsumexp(dim=-1)
    positive = scores.masked_fill(~own, _NEVER).logsumexp(dim=-1)
    return torch.where(own.any(dim=-1), everything - positive, 0.0)


def mean_contrast(scores: Tensor, own: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy to each own prototype, averaged over them; arguments as `contrast`."""
    everything = scores.masked_fill((known == 0).unsqueeze(1), _NEVER).logsumexp(dim=-1)
    mean = (scores * own).sum(dim=-1) / own.sum(dim=-1).clamp(min=1)
    return torch.where(own.any(dim=-1), everything - mean, 0.0)


def classify(scores: Tensor, y: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy within each of several sets of one prototype per class.

    Args:
        scores: float[rows, batch, sets, classes].
        y: int64[rows, batch].
        known: float[rows, sets, classes].

    Returns:
        float[rows, batch, sets].
    """
    at = y.view(*y.shape, 1, 1).expand(*scores.shape[:3], 1)
    masked = scores.masked_fill((known == 0).unsqueeze(1), _NEVER)
    own = masked.gather(3, at).squeeze(3)
    exists = known.unsqueeze(1).expand_as(scores).gather(3, at).squeeze(3)
    return torch.where(exists > 0, masked.logsumexp(dim=3) - own, 0.0)


def sparse_power(cosine: Tensor, alpha: float, *, least: float = 1e-6) -> Tensor:
    """sign(c) |c|^alpha; straight between -least and least, where its slope would be infinite.

    Source: arXiv:2403.09048 (alpha-sparsity); cosines are kept `least` away from 1 and -1.
    """
    inner = cosine.clamp(-1.0 + least, 1.0 - least)
    size = inner.abs()
    power = inner.sign() * size.clamp(min=least) ** alpha
    return torch.where(size < least, inner * least ** (alpha - 1.0), power)


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of softened logits, float[rows, batch, classes] each.

    Source: Hinton, Vinyals & Dean, arXiv:1503.02531.
    """
    wanted = log_softmax(teacher / temperature, dim=-1)
    gap = wanted - log_softmax(student / temperature, dim=-1)
    return temperature**2 * (wanted.exp() * gap).sum(dim=-1)
