"""Is a released adapter anything but noise? The norm law, and how good a model is.

An average of factors that hold nothing but Gaussian noise of standard deviation s has a squared
Frobenius norm of s^2 W2 times a chi-squared variable with one degree of freedom per entry, W2 the
sum of the squared weights. The logged norms of the published DP-FedLoRA run are that (L6).
In many dimensions a model that has learnt something may have such a norm, too, since noise spreads
over all of them: set its accuracy beside that of the base model and of the noise-only control.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.stats import chi2
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from ..kernels.adapters import Adapters
from ..kernels.base import Params
from .fed_lora_factors import factor_of

_MOSTLY = 0.5  # of the squared norm


@dataclass(frozen=True, kw_only=True)
class NormLaw:
    """One factor of a released adapter against noise alone.

    Attributes:
        tensor: its name.
        measured: Frobenius norm.
        predicted: root of the expected squared norm of noise alone.
        lower, upper: limits of the norm of noise alone at the risk that was asked for.
    """

    tensor: str
    measured: float
    predicted: float
    lower: float
    upper: float

    @property
    def like_noise(self) -> bool:
        """Whether noise alone would give such a norm."""
        return self.lower <= self.measured <= self.upper

    @property
    def noise_share(self) -> float:
        """Part of the squared norm that noise accounts for; a little above 1 by chance only."""
        return (self.predicted / self.measured) ** 2 if self.measured > 0.0 else math.inf

    @property
    def mostly_noise(self) -> bool:
        """Whether noise accounts for more than half of the squared norm.

        Where it would account for more than twice of it, the tensor was not noised at all.
        """
        return _MOSTLY < self.noise_share < 1.0 / _MOSTLY


def norm_law(
    adapter: Mapping[str, Tensor],
    *,
    stddev: float,
    weights: tuple[float, ...],
    risk: float = 1e-3,
    names: tuple[str, ...] | None = None,
) -> tuple[NormLaw, ...]:
    """Each factor's norm beside that of noise alone.

    Args:
        adapter: one replica's broadcast, float[1, ...] or float[...] each; other tensors than
            factors are left out.
        stddev: of the noise of one upload, >= 0; 0 without noise.
        weights: of the uploads that make up the adapter: (1/2, 1/2) for an average of two. Where
            changes of several rounds were added, those of all of them.
        risk: that noise alone lies outside (lower, upper) for any of the factors, in (0, 1).
        names: which factors are noised; all of them if not given.

    Raises:
        ParameterError: no factor is there.
    """
    check.non_negative(stddev=stddev)
    check.open_probability(risk=risk)
    known = [name for name in adapter if factor_of(name) is not None]
    wanted = known if names is None else list(names)
    if not wanted or not set(wanted) <= set(known):
        raise ParameterError(f"factors must be some of {known}, but are {wanted}")
    unit = stddev * math.sqrt(sum(weight * weight for weight in weights))
    found = []
    for name in wanted:
        value = adapter[name].double()
        size, each = value.numel(), risk / len(wanted) / 2.0
        found.append(
            NormLaw(
                tensor=name,
                measured=float(torch.linalg.vector_norm(value)),
                predicted=unit * math.sqrt(size),
                lower=unit * math.sqrt(float(chi2.ppf(each, size))),
                upper=unit * math.sqrt(float(chi2.isf(each, size))),
            )
        )
    return tuple(found)


def accuracy(kernel: Adapters, params: Params, x: Tensor, y: Tensor) -> float:
    """Share of records that a classifier gets right.

    Args:
        kernel: the model, as `FedLora.model` gives it.
        params: float[1, ...] each.
        x: [n, ...] records.
        y: int64[n].

    Raises:
        ParameterError: there are no records.
    """
    if not len(x):
        raise ParameterError("an accuracy needs at least one record")
    logits = kernel.outputs(params, x.unsqueeze(0)).logits[0]
    return float((logits.argmax(dim=1) == y).double().mean())
