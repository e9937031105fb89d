"""Gradient canaries on DP-SGD: the likelihood ratio of every noisy step, added up.

The adversary plants a record, knows its clipped gradient g_t at every model, and sees every noisy
step. A step releases background + g_t + N(0, s^2) if the record was drawn, and background + noise
if not. Given the past each step is a test of two Gaussians, so the sum of the steps' log likelihood
ratios is the best test of the whole run, also though later models depend on earlier noise:

- it always takes part: sum of l_t, l_t = <g_t, step - background - g_t / 2> / s^2;
- the adversary knows in which steps it would be drawn: the sum over these;
- participation is hidden, as amplification assumes: sum of ln(1 - q + q exp(l_t)).

The worst case is a gradient of exactly the clip norm in every step: then T full steps at noise
multiplier z are N(0, 1) against N(sqrt(T) / z, 1), and the attack meets the proven mu. What the
other records add must be known (`background`) or orthogonal to the canary; where it is neither,
the score is a valid attack, but not the best one. Source: Nasr et al., arXiv:2101.04535 and
arXiv:2302.07956; the mixture is that of Poisson sampling, Abadi et al., arXiv:1607.00133.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.claim import AdversaryName
from ...accountant.errors import DesignError
from ...fl_core.kernels.base import Kernel, Loss, cross_entropy, flatten, unflatten
from .updates import one_record


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisySteps:
    """Every noisy step of DP-SGD, as somebody saw it who gets the model after each.

    Attributes:
        adversary: whose view it is.
        models: float64[trials, steps, d], the model before each step.
        sums: float64[trials, steps, d], the noisy sum of clipped gradients.

    Raises:
        DesignError: shapes differ, or a number is not finite.
    """

    adversary: AdversaryName
    models: Tensor
    sums: Tensor

    def __post_init__(self) -> None:
        if self.models.ndim != 3 or self.models.shape != self.sums.shape:
            raise DesignError(
                "models and sums must both be float64[trials, steps, d], but have the shapes "
                f"{tuple(self.models.shape)} and {tuple(self.sums.shape)}"
            )
        if not bool(self.sums.isfinite().all() and self.models.isfinite().all()):
            raise DesignError("a run with NaN or infinity in a model cannot be scored")

    @classmethod
    def of_sgd(
        cls, models: Tensor, *, learning_rate: float, divisor: float, adversary: AdversaryName
    ) -> "NoisySteps":
        """From the models alone: plain SGD can be undone.

        Args:
            models: float64[trials, steps + 1, d], the first one included.
            learning_rate: public, > 0.
            divisor: of the noisy sum (`DpSgd.expected_batch`), public, > 0.
            adversary: who saw all models.

        Raises:
            DesignError: fewer than two models, or not in double precision: a difference of
                rounded models hides small steps.
        """
        check.positive(learning_rate=learning_rate, divisor=divisor)
        if models.ndim != 3 or models.shape[1] < 2 or models.dtype != torch.float64:
            raise DesignError(
                "models must be float64[trials, steps + 1, d] with at least one step, but are "
                f"{models.dtype}{list(models.shape)}"
            )
        steps = (models[:, :-1] - models[:, 1:]) * (divisor / learning_rate)
        return cls(adversary=adversary, models=models[:, :-1], sums=steps)


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientCanary:
    """Log likelihood ratio of a planted record, from every noisy step.

    Attributes:
        noise_stddev: declared standard deviation of the noise on a sum, > 0, in the gradients'
            units: noise multiplier times clip norm.
        sampling_rate: probability that the record is drawn in a step, in (0, 1].
        drawn: bool[trials, steps], the steps in which it is drawn if it is there at all, where the
            adversary knows that; None if it is hidden.
        background: float64[trials, steps, d], what the other records add; None if nothing, or
            nothing along the canary.

    Raises:
        ParameterError: a number outside its range.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer")
    needs: ClassVar[tuple[str, ...]] = (
        "the model before and after every step",
        "to plant a record and compute its gradient at every model",
        "the clip norm, the noise, the sampling rate and the divisor",
    )
    cost: ClassVar[str] = "one gradient per step and canary"
    source: ClassVar[str] = "Nasr et al., arXiv:2101.04535, arXiv:2302.07956"

    noise_stddev: float
    sampling_rate: float = 1.0
    drawn: Tensor | None = None
    background: Tensor | None = None

    def __post_init__(self) -> None:
        check.positive(noise_stddev=self.noise_stddev, sampling_rate=self.sampling_rate)
        check.probability(sampling_rate=self.sampling_rate)

    def score(self, view: NoisySteps, candidates: Tensor) -> Tensor:
        """float64[trials]: the log likelihood ratio in nats.

        Args:
            view: every noisy step.
            candidates: float64[trials, steps, d], or with 1 in place of trials or steps: the
                canary's clipped gradient at each model (`clipped_gradients`).

        Raises:
            DesignError: shapes do not fit.
        """
        steps = self.per_round(view, candidates)
        return steps.sum(dim=1)

    def per_round(self, view: NoisySteps, candidates: Tensor) -> Tensor:
        """float64[trials, steps]: the log likelihood ratio of each step given the past."""
        shape = tuple(view.sums.shape)
        given = {"candidates": candidates, "background": self.background}
        for name, value in given.items():
            if value is not None and not _fits(tuple(value.shape), shape):
                raise DesignError(
                    f"{name} must be float64{list(shape)}, or with 1 in place of trials or steps, "
                    f"but has the shape {list(value.shape)}"
                )
        seen = view.sums if self.background is None else view.sums - self.background
        gap = seen - candidates / 2
        ratio = (gap * candidates).sum(dim=2) / self.noise_stddev**2
        if self.drawn is not None:
            if self.drawn.shape != shape[:2] or self.drawn.dtype != torch.bool:
                raise DesignError(f"drawn must be bool{list(shape[:2])}")
            return torch.where(self.drawn, ratio, 0.0)
        if self.sampling_rate == 1.0:
            return ratio
        # ln(1 - q + q exp(l)) without overflow.
        absent = torch.full_like(ratio, math.log1p(-self.sampling_rate))
        return torch.logaddexp(absent, math.log(self.sampling_rate) + ratio)


def clipped_gradients(
    kernel: Kernel,
    models: Tensor,
    x: Tensor,
    y: int,
    *,
    clip_norm: float,
    loss: Loss = cross_entropy,
) -> Tensor:
    """float64[trials, steps, d]: a record's gradient at each model, clipped as training clips it.

    Args:
        kernel: the model.
        models: float64[trials, steps, d], parameters as the kernel's shapes order them.
        x: float[...], the record.
        y: its label.
        clip_norm: of DP-SGD.
        loss: of training.
    """
    params = unflatten(models.flatten(0, 1), kernel.shapes())
    at = one_record(x, y, len(models) * models.shape[1], models.dtype)
    found = kernel.clipped_sums(params, *at, loss, {}, clip_norm=clip_norm)
    return flatten({name: found[name] for name in kernel.shapes()}).view_as(models)


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether it can be expanded to `whole`, the last axis as it is."""
    pairs = zip(shape[:-1], whole[:-1], strict=False)
    return len(shape) == 3 and shape[-1] == whole[-1] and all(a in (1, b) for a, b in pairs)
