"""How much noise the rows of DP-FPL get: what just meets a budget, or none."""

from dataclasses import dataclass
from functools import lru_cache

import dp_accounting.dp_event as dpe
from torch import Tensor

from ...accountant.adjacency import Adjacency
from ...accountant.calibrate import calibrate
from ...mechanisms.base import Key
from ...mechanisms.dpsgd import DpSgd
from ...mechanisms.prompt import PromptGradients
from .base import budget


@dataclass(frozen=True, kw_only=True)
class Unnoised(DpSgd):
    """Sampled and clipped as under DP-SGD, but without noise, and so without any guarantee."""

    def noisy_mean(self, clipped_sum: Tensor, key: Key) -> Tensor:
        """The mean itself."""
        return clipped_sum / self.expected_batch

    def event(self, steps: int = 1) -> dpe.DpEvent:
        """Nothing is proven."""
        return dpe.NonPrivateDpEvent()


@lru_cache
def calibrated(
    *, epsilon: float, delta: float, adjacency: Adjacency, sampling_rate: float, rounds: int
) -> float:
    """Noise multiplier with which a record that is in every round, or sampled, meets a budget."""

    def event(multiplier: float) -> dpe.DpEvent:
        if sampling_rate == 1.0:
            return PromptGradients(clip_norm=1.0, noise_multiplier=multiplier, batch=1).event(
                rounds
            )
        return DpSgd(
            clip_norm=1.0,
            noise_multiplier=multiplier,
            sampling_rate=sampling_rate,
            expected_batch=1.0,
        ).event(rounds)

    with budget(epsilon, delta):
        return calibrate(
            event,
            epsilon=epsilon,
            delta=delta,
            adjacency=adjacency,
            unit="example",
            bracket=(0.1, 1e5),
        )
