"""DP-SGD inside each client: sample, clip per example, sum, add noise, divide by a fixed number."""

from dataclasses import dataclass
from typing import ClassVar

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from .assumed import DOUBLE_PRECISION, NAN_IS_ZERO, ONE_KEY, fixed_divisor, public
from .base import Key, Point
from .clipping import Clip
from .sums import noisy_given, poisson_sample, restored, sampled_total


@dataclass(frozen=True, kw_only=True)
class DpSgd:
    """One noisy gradient per client from a Poisson sample of its examples.

    Source: Abadi et al., arXiv:1607.00133; the sample is one of Poisson, not a shuffled batch.

    Attributes:
        clip_norm: bound on one example's gradient, > 0, all parameters together.
        noise_multiplier: noise std / clip_norm, > 0.
        sampling_rate: probability that an example takes part in a step, in (0, 1].
        expected_batch: public divisor, > 0.
    """

    point: ClassVar[Point] = "per_example"
    clip_norm: float
    noise_multiplier: float
    sampling_rate: float
    expected_batch: float

    def __post_init__(self) -> None:
        check.positive(
            clip_norm=self.clip_norm,
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate,
            expected_batch=self.expected_batch,
        )
        check.probability(sampling_rate=self.sampling_rate)

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim]: each example's gradient clipped; one that is not finite is zero."""
        return Clip(joint_norm=self.clip_norm).apply(rows)

    def sample(self, shape: tuple[int, ...], key: Key) -> Tensor:
        """bool[shape]: which examples take part, each on its own."""
        return poisson_sample(shape, self.sampling_rate, key)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """Noisy gradients, float[..., dim], of per-example gradients float[..., n, dim]."""
        clipped_sum = sampled_total(self.contribution(payload), self.sampling_rate, key)
        return restored(self.noisy_mean(clipped_sum, key), payload)

    def noisy_mean(self, clipped_sum: Tensor, key: Key) -> Tensor:
        """Noise on a sum that is clipped already, over the public divisor.

        Args:
            clipped_sum: float[..., dim]: sum of the sampled examples' gradients, each of norm at
                most `clip_norm`; zeros if no example was drawn: noise leaves then, too.
            key: of this step alone.

        Raises:
            ParameterError: whole numbers, or a type below float32, in which a sum forgets records.
        """
        scale = self.noise_multiplier * self.clip_norm
        return noisy_given(clipped_sum, scale, key.child("noise")) / self.expected_batch

    def event(self, steps: int = 1) -> dpe.DpEvent:
        """`steps` steps; add or remove one example of one client.

        Raises:
            ParameterError: steps is not a whole number >= 1.
        """
        check.count(steps=steps)
        noise = dpe.GaussianDpEvent(self.noise_multiplier)
        one: dpe.DpEvent = (
            noise if self.sampling_rate == 1.0 else dpe.PoissonSampledDpEvent(
                self.sampling_rate, noise
            )
        )  # fmt: skip
        return one if steps == 1 else dpe.SelfComposedDpEvent(one, steps)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (
            Assumption(
                text="Which examples take part is secret, and drawn afresh in every step.",
                how="drawn from the key of the step; the caller must use a new key each time",
                holds=None,
            ),
            public("The clip bound, the noise scale and the sampling rate"),
            fixed_divisor(self.expected_batch),
            NAN_IS_ZERO,
            ONE_KEY,
            DOUBLE_PRECISION,
        )


def flat_gradients(*parts: Tensor, examples_axis: int = -1) -> Tensor:
    """float[..., n, dim]: per-example gradients of several parameters as one vector each.

    Args:
        parts: float[..., n, *shape], the same leading axes.
        examples_axis: index of the axis n in each of them, counted from the front (>= 0).

    Raises:
        ParameterError: no parts, an axis counted from the back, or leading axes that differ.
    """
    if not parts or examples_axis < 0:
        raise ParameterError(
            "give at least one tensor, and examples_axis counted from the front; got "
            f"{len(parts)} tensors and {examples_axis}"
        )
    lead = parts[0].shape[: examples_axis + 1]
    if any(part.shape[: examples_axis + 1] != lead for part in parts):
        shapes = ", ".join(str(list(part.shape)) for part in parts)
        raise ParameterError(f"the leading axes must be {list(lead)} in every part; got {shapes}")
    return torch.cat([part.reshape(*lead, -1) for part in parts], dim=-1)
