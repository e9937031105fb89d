"""DP-FedLoRA as released: each tensor's weights clipped and noised by itself, factors averaged.

Source: arXiv:2509.09097 and its public code at 648254e.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.adjacency import FIXED_SIZE
from ...accountant.assumption import Assumption
from ...accountant.errors import ParameterError
from ...accountant.events import RestrictedDpEvent
from ..base import Key, Point
from ..clipping import Clip
from .dp_fedlora_declared import declaration
from .dp_fedlora_defects import defects
from .dp_fedlora_training import ALGORITHMS as ALGORITHMS
from .dp_fedlora_training import branch as branch
from .dp_fedlora_training import branch_as_released as branch_as_released
from .dp_fedlora_training import clients_of_round as clients_of_round
from .dp_fedlora_training import clip_tensor, participations
from .dp_fedlora_training import default_noise as default_noise
from .dp_fedlora_training import logged_statistics as logged_statistics
from .dp_fedlora_training import noise_norm as noise_norm
from .dp_fedlora_training import records_of_round as records_of_round
from .dp_fedlora_training import start_norm as start_norm
from .dp_fedlora_training import swapped_variance as swapped_variance
from .dp_fedlora_training import tracker_epsilon as tracker_epsilon

Clipping = Literal["per_tensor_weights", "joint_delta"]


def classical_sigma(clip_norm: float, epsilon: float, delta: float) -> float:
    """L3: C sqrt(2 ln(1.25/delta)) / epsilon, used far outside epsilon <= 1.

    >>> round(classical_sigma(0.1, 25.0, 1e-5), 5)
    0.01938
    """
    return clip_norm * math.sqrt(2.0 * math.log(1.25 / delta)) / epsilon


@dataclass(frozen=True, kw_only=True)
class AsReleasedDpFedLora:
    """The public code, with its switches.

    Attributes:
        epsilon: quoted; delta: claimed.
        clip_norm: C, of each tensor.
        clip: "per_tensor_weights" (L2, L6), or "joint_delta" with one bound for all.
        tensors: most LoRA tensors of an upload; more in a payload are refused, since `event` would
            not count them.
        use_dp: the switch; off by default in the public code (L14).
        flag_reaches_noise: whether the switch changes anything (L14).
        scaffold_leak: whether control variates go up as they are (L8).
        reseeded: noise from a generator that is seeded again before every upload (L10).
    """

    point: ClassVar[Point] = "per_upload"
    epsilon: float = 25.0
    delta: float = 1e-5
    clip_norm: float = 0.1
    clip: Clipping = "per_tensor_weights"
    tensors: int = 128
    use_dp: bool = True
    flag_reaches_noise: bool = True
    scaffold_leak: bool = False
    reseeded: bool = False

    def __post_init__(self) -> None:
        check.positive(epsilon=self.epsilon, clip_norm=self.clip_norm)
        check.open_probability(delta=self.delta)
        check.count(tensors=self.tensors)
        check.one_of(get_args(Clipping), clip=self.clip)

    @property
    def sigma(self) -> float:
        """Noise of every entry."""
        return classical_sigma(self.clip_norm, self.epsilon, self.delta)

    def clean(
        self, values: Mapping[str, Tensor], broadcast: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What is noised: {name: float[clients, *shape]}, clipped as the switch says.

        Raises:
            ParameterError: more tensors than are accounted for.
        """
        if self.clip == "per_tensor_weights":
            if len(values) > self.tensors:
                raise ParameterError(
                    f"an upload holds {len(values)} tensors, but {self.tensors} are accounted for."
                    f"\n  Each is clipped and noised by itself: give tensors={len(values)}."
                )
            return {name: clip_tensor(value, self.clip_norm) for name, value in values.items()}
        deltas = {name: value - broadcast[name] for name, value in values.items()}
        flat = torch.cat([delta.flatten(1) for delta in deltas.values()], dim=1)
        clipped = Clip(joint_norm=self.clip_norm).apply(flat)
        parts = clipped.split([delta[0].numel() for delta in deltas.values()], dim=1)
        return {
            name: part.reshape(deltas[name].shape) for name, part in zip(deltas, parts, strict=True)
        }

    def upload(
        self,
        values: Mapping[str, Tensor],
        broadcast: Mapping[str, Tensor],
        key: Key,
        controls: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Everything that leaves the clients in a round, {name: float[clients, *shape]}.

        Args:
            values: weights after local training.
            broadcast: weights before.
            key: of the noise.
            controls: SCAFFOLD's variates.
        """
        left = dict(values) if not self.noised else self.clean(values, broadcast)
        if self.noised:
            left = {
                name: value + self.sigma * self._noise(name, value, key)
                for name, value in left.items()
            }
        if self.scaffold_leak and controls is not None:
            left |= {f"control {name}": value for name, value in controls.items()}
        return left

    @property
    def noised(self) -> bool:
        """Whether noise is added: the switch, unless it reaches nothing."""
        return self.use_dp or not self.flag_reaches_noise

    def _noise(self, name: str, value: Tensor, key: Key) -> Tensor:
        if not self.reseeded:
            return key.child(name).normal(*value.shape).to(value)
        return torch.stack([default_noise(tuple(value.shape[1:])).to(value) for _ in value])

    def event(self, *, participations: int = 1, moved: float = 2.0) -> dpe.DpEvent:
        """What one client's uploads cost under zero-out, or replace-one.

        An upload shows that its client took part, whatever the noise: accounting under add-remove
        is refused.

        Args:
            participations: uploads of one client.
            moved: how far one tensor can move, in units of C: 2, whatever happens to the data,
                which accounting doubles under replace-one; or 1 for a whole upload that is zeroed
                (zero-out of a client) or exchanged (replace-one of a client).

        Raises:
            ParameterError: another `moved`: nothing less than these is bounded.
        """
        check.count(participations=participations)
        if moved not in (1.0, 2.0):
            raise ParameterError(
                f"moved must be 2, whatever happens to the data, or 1, for a whole upload that is "
                f"zeroed or exchanged, but is {moved!r}: no tensor is kept to less."
            )
        if not self.noised or self.scaffold_leak or self.reseeded:
            return dpe.NonPrivateDpEvent()
        tensors = self.tensors if self.clip == "per_tensor_weights" else 1
        one = dpe.GaussianDpEvent(self.sigma / (moved * self.clip_norm))
        uploads = dpe.SelfComposedDpEvent(one, tensors * participations)
        return RestrictedDpEvent(uploads, FIXED_SIZE)

    def assumptions(
        self, *, rank: int = 8, side: int = 4096, uploads: int = 400
    ) -> tuple[Assumption, ...]:
        """What the claim would need; those with holds=False are the defects.

        Args:
            rank: of the adapters.
            side: of a layer.
            uploads: of all clients in a run, by default 200 rounds of 2.
        """
        return defects(self, rank=rank, side=side, uploads=uploads)

    def declaration(
        self,
        *,
        rounds: int = 200,
        clients: int = 20,
        sampled: int = 2,
        rank: int = 8,
        side: int = 4096,
    ) -> dict[str, Any]:
        """What a lint reads, as nested dicts of the format in docs/lint.md.

        Args:
            rounds: of the public schedule.
            clients: in all.
            sampled: clients of a round.
            rank: of the adapters.
            side: of a layer.
        """
        uses = participations(rounds, clients, sampled)
        return declaration(self, rounds=rounds, uses=uses, rank=rank, side=side)
