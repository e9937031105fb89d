"""How uploaded LoRA factors become one update: six ways, their error and their noise.

B float[clients, m, r], A float[clients, r, n], weights float[clients] that sum to 1; the ideal
update is sum_k w_k B_k A_k. Everything here acts on what was released: post-processing.
Sources: FFA-LoRA arXiv:2403.12313, RoLoRA arXiv:2409.02346, FLoRA arXiv:2409.05976,
FedEx-LoRA arXiv:2410.09432.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..accountant import check
from ..accountant.errors import ParameterError


class Adapter(NamedTuple):
    """New factors, and what is added to the frozen weight (None for nothing)."""

    b: Tensor
    a: Tensor
    folded: Tensor | None = None

    def update(self) -> Tensor:
        """The whole change of the layer, float[m, n], without the scale alpha / r."""
        product = self.b @ self.a
        return product if self.folded is None else product + self.folded


def ideal(b: Tensor, a: Tensor, weights: Tensor) -> Tensor:
    """sum_k w_k B_k A_k, float[m, n]."""
    return torch.einsum("k,kmr,krn->mn", weights.to(b), b, a)


def plain_average(b: Tensor, a: Tensor, weights: Tensor) -> Adapter:
    """Each factor averaged on its own, as released: wrong by the covariance of the factors."""
    return Adapter(_mean(b, weights), _mean(a, weights))


def average_b(b: Tensor, common_a: Tensor, weights: Tensor) -> Adapter:
    """FFA-LoRA, and the even rounds of RoLoRA: A is the same at all clients, float[r, n]."""
    return Adapter(_mean(b, weights), common_a)


def average_a(common_b: Tensor, a: Tensor, weights: Tensor) -> Adapter:
    """The odd rounds of RoLoRA: B is the same at all clients, float[m, r]."""
    return Adapter(common_b, _mean(a, weights))


def stack(bs: Sequence[Tensor], As: Sequence[Tensor], weights: Tensor) -> Adapter:  # noqa: N803
    """FLoRA: [B_1 .. B_K] and [w_1 A_1; ..; w_K A_K], any ranks; exact. The weight enters once."""
    if not len(bs) == len(As) == len(weights) or not len(bs):
        raise ParameterError(f"one B, A and weight per client; got {len(bs)}, {len(As)}, {weights}")
    scaled = [w * a for w, a in zip(weights.tolist(), As, strict=True)]
    return Adapter(torch.cat(list(bs), dim=1), torch.cat(scaled, dim=0))


def residual_corrected(b: Tensor, a: Tensor, weights: Tensor) -> Adapter:
    """FedEx-LoRA: averaged factors, and what they miss is added to the frozen weight; exact."""
    mean = plain_average(b, a, weights)
    return mean._replace(folded=ideal(b, a, weights) - mean.b @ mean.a)


def truncated_product(b: Tensor, a: Tensor, weights: Tensor, rank: int) -> Adapter:
    """The best approximation of the ideal update of this rank, by a singular value decomposition.

    The factors are balanced, so that neither is much larger than the other.
    """
    check.count(rank=rank)
    u, s, vh = torch.linalg.svd(ideal(b, a, weights), full_matrices=False)
    root = s[:rank].sqrt()
    return Adapter(u[:, :rank] * root, root.unsqueeze(1) * vh[:rank])


def _mean(factors: Tensor, weights: Tensor) -> Tensor:
    mean: Tensor = torch.tensordot(weights.to(factors), factors, dims=1)
    return mean


@dataclass(frozen=True, kw_only=True)
class NoisePower:
    """Expected squared Frobenius norm of the noise in an update, each factor noised with std s.

    Attributes:
        linear: the part that grows with the factors' norms.
        quartic: m n r s^4 and its weights, from noise times noise.
    """

    linear: float
    quartic: float

    @property
    def total(self) -> float:
        """Both parts."""
        return self.linear + self.quartic


def product_noise(b: Tensor, a: Tensor, stddev: float) -> NoisePower:
    """Noise in (B + beta)(A + alpha) - B A for one client.

    m s^2 |A|^2 + n s^2 |B|^2 + m n r s^4. The released formula swaps m and n in the first two.

    >>> one = torch.ones(3, 1), torch.ones(1, 2)
    >>> product_noise(*one, 0.5)
    NoisePower(linear=3.0, quartic=0.375)
    """
    (m, r), n, s2 = b.shape, a.shape[1], stddev**2
    linear = s2 * (m * float(a.square().sum()) + n * float(b.square().sum()))
    return NoisePower(linear=linear, quartic=m * n * r * s2**2)


def plain_average_noise(b: Tensor, a: Tensor, weights: Tensor, stddev: float) -> NoisePower:
    """Noise after `plain_average`: W2 (m s^2 |A|^2 + n s^2 |B|^2) + W2^2 m n r s^4 of the means."""
    share = float(weights.square().sum())
    mean = plain_average(b, a, weights)
    one = product_noise(mean.b, mean.a, stddev)
    return NoisePower(linear=share * one.linear, quartic=share**2 * one.quartic)


def exact_noise(b: Tensor, a: Tensor, weights: Tensor, stddev: float) -> NoisePower:
    """Noise after `stack` or `residual_corrected`: sum_k w_k^2 of each client's own."""
    parts = [product_noise(b[k], a[k], stddev) for k in range(len(b))]
    squares = weights.square().tolist()
    return NoisePower(
        linear=sum(w * p.linear for w, p in zip(squares, parts, strict=True)),
        quartic=sum(w * p.quartic for w, p in zip(squares, parts, strict=True)),
    )


def one_factor_noise(common: Tensor, other_side: int, weights: Tensor, stddev: float) -> NoisePower:
    """Noise where one factor is common and known: W2 s^2 * (m or n) * |common|^2; no quartic part.

    Args:
        common: the factor that is not noised.
        other_side: m if B is noised, n if A is.
        weights: of the clients.
        stddev: of each uploaded factor.
    """
    share = float(weights.square().sum())
    linear = share * stddev**2 * other_side * float(common.square().sum())
    return NoisePower(linear=linear, quartic=0.0)


def gauge_noise(b: Tensor, a: Tensor, stddev: float, scale: float) -> NoisePower:
    """Noise on the product after (A, B) became (c A, B / c): the same product, other noise."""
    check.positive(scale=scale)
    return product_noise(b / scale, a * scale, stddev)


def best_gauge(b: Tensor, a: Tensor) -> float:
    """The c of least noise: c^2 = sqrt(n / m) |B| / |A|."""
    m, n = b.shape[0], a.shape[1]
    norms = float(torch.linalg.vector_norm(b)), float(torch.linalg.vector_norm(a))
    if 0.0 in norms:
        raise ParameterError("the best scale of a factor that is zero is not defined")
    return float((n / m) ** 0.25 * (norms[0] / norms[1]) ** 0.5)
