"""DP-FedLoRA as released: each tensor's weights clipped and noised by itself, factors averaged.

Source: arXiv:2509.09097 and its public code at 648254e.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.assumption import Assumption
from ..assumed import fails
from ..base import Key, Point
from ..clipping import Clip

ALGORITHMS = ("fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad", "fedprox", "scaffold")
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
        tensors: LoRA tensors of an upload.
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
        """What is noised: {name: float[clients, *shape]}, clipped as the switch says."""
        if self.clip == "per_tensor_weights":
            return {name: _clipped(value, self.clip_norm) for name, value in values.items()}
        deltas = {name: value - broadcast[name] for name, value in values.items()}
        flat = torch.cat([delta.flatten(1) for delta in deltas.values()], dim=1)
        clipped = Clip(joint_norm=self.clip_norm).apply(flat, (flat.shape[1],))
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
        left = dict(values) if not self._noised else self.clean(values, broadcast)
        if self._noised:
            left = {
                name: value + self.sigma * self._noise(name, value, key)
                for name, value in left.items()
            }
        if self.scaffold_leak and controls is not None:
            left |= {f"control {name}": value for name, value in controls.items()}
        return left

    @property
    def _noised(self) -> bool:
        return self.use_dp or not self.flag_reaches_noise

    def _noise(self, name: str, value: Tensor, key: Key) -> Tensor:
        if not self.reseeded:
            return key.child(name).normal(*value.shape).to(value)
        return torch.stack([default_noise(tuple(value.shape[1:])).to(value) for _ in value])

    def event(self, *, participations: int = 1, moved: float = 2.0) -> dpe.DpEvent:
        """What one client's uploads cost under zero-out.

        Args:
            participations: uploads of one client.
            moved: how far one tensor can move, in units of C: 2 where its data are exchanged.
        """
        check.count(participations=participations)
        check.positive(moved=moved)
        if not self._noised or self.scaffold_leak or self.reseeded:
            return dpe.NonPrivateDpEvent()
        tensors = self.tensors if self.clip == "per_tensor_weights" else 1
        one = dpe.GaussianDpEvent(self.sigma / (moved * self.clip_norm))
        return dpe.SelfComposedDpEvent(one, tensors * participations)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the claim would need; those with holds=False are the defects."""
        found = [
            fails(
                "L1",
                "The quoted epsilon covers all releases.",
                "it covers one tensor of one upload",
            ),
            fails(
                "L3",
                "The formula of sigma is valid where it is used.",
                f"proven for epsilon <= 1, used at {self.epsilon:g}",
            ),
            fails(
                "L4",
                "The sensitivity covers exchanged data.",
                "C is used; two clipped tensors can be 2C apart",
            ),
            fails(
                "L5",
                "The named unit is what is clipped.",
                "nothing is clipped per record; an upload depends on all of them",
            ),
            fails(
                "L7",
                "The aggregate is unbiased.",
                "factors are averaged one by one; the error is their covariance",
            ),
            fails(
                "L9",
                "Who takes part is secret.",
                "clients and records are drawn from a generator seeded with the round",
            ),
            fails(
                "L11",
                "The noise does not depend on how the product is split into factors.",
                "noise on each factor scales with the other one",
            ),
            fails(
                "L13",
                "Learning rate, epsilon and C are charged or public.",
                "swept on the evaluation tasks",
            ),
        ]
        if self.clip == "per_tensor_weights":
            found.append(
                fails(
                    "L2",
                    "The sensitivity is that of everything in an upload.",
                    f"{self.tensors} tensors, each with its own C",
                )
            )
            found.append(
                fails(
                    "L6",
                    "What is released carries the update.",
                    "weights of norm 1.64 are cut to C, then noise of 3.5 is added",
                )
            )
        if self.scaffold_leak:
            found.append(fails("L8", "Nothing leaves without noise.", "control variates do"))
        if self.reseeded:
            found.append(
                fails("L10", "Noise is fresh.", "the generator is seeded again before it is drawn")
            )
        if not self._noised or not self.flag_reaches_noise:
            found.append(
                fails(
                    "L14", "The switch turns noise on.", "it does not reach the release, or is off"
                )
            )
        return tuple(found)


def default_noise(shape: tuple[int, ...], seed: int = 42) -> Tensor:
    """L10: what torch gives after a library seeded it with its default, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def tracker_epsilon(epsilon: float, uploads: int) -> float:
    """The code's own tracker: epsilon sqrt(uploads), of any client, one tensor.

    >>> tracker_epsilon(25.0, 400)
    500.0
    """
    return epsilon * math.sqrt(uploads)


def clients_of_round(round_: int, clients: int = 20, sampled: int = 2) -> list[int]:
    """L9: who takes part, from a generator seeded with the round; anyone can compute it."""
    return sorted(random.Random(round_).sample(range(clients), sampled))


def records_of_round(round_: int, held: int = 1000, used: int = 160) -> list[int]:
    """L9: indices of the records used, the same at every client of the round."""
    return random.Random(round_).sample(range(held), used)


def branch_as_released(algorithm: str) -> str:
    """L15: the server's branch for an algorithm that the trainer accepts; one name is misspelt."""
    known = {
        "fedavgm",
        "fedadam",
        "fedyogi",
        "fedadagrad".replace("adag", "adadag"),
        "fedprox",
        "scaffold",
    }
    return algorithm if algorithm in known else "fedavg"


def branch(algorithm: str) -> str:
    """The twin: the branch of that name; any other is an error."""
    check.one_of(ALGORITHMS, algorithm=algorithm)
    return algorithm


def swapped_variance(b: Tensor, a: Tensor, stddev: float) -> float:
    """The code's variance of the noise on BA, with m and n exchanged in the first two terms."""
    (m, r), n = b.shape, a.shape[1]
    s2 = stddev**2
    return float(n * s2 * a.square().sum() + m * s2 * b.square().sum() + m * n * r * s2**2)


def noise_norm(sigma: float, rank: int, side: int, weights: tuple[float, ...]) -> float:
    """L6: norm of an averaged factor that is noise alone, sigma sqrt(r d W2).

    >>> round(noise_norm(classical_sigma(0.1, 25.0, 1e-5), 8, 4096, (0.5, 0.5)), 2)
    2.48
    """
    return sigma * math.sqrt(rank * side * sum(w * w for w in weights))


def logged_statistics(
    value: Tensor, clip_norm: float, sigma: float, *, before: bool
) -> tuple[float, float]:
    """L12: (norm, norm over noise) as logged; `before` the clip as released, or after it."""
    rows = value if before else _clipped(value.unsqueeze(0), clip_norm)[0]
    norm = float(torch.linalg.vector_norm(rows))
    return norm, norm / (sigma * math.sqrt(value.numel()))


def _clipped(value: Tensor, bound: float) -> Tensor:
    flat = value.flatten(1)
    return Clip(joint_norm=bound).apply(flat, (flat.shape[1],)).reshape(value.shape)
