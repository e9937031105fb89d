"""DP-FedLoRA as a running system, as its program does it and in a sound form.

What is trained, how uploads are combined and where noise is added belong together, so each mode
gives the algorithm and its protection as one. Source: arXiv:2509.09097; code at 648254e.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Literal, NamedTuple

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.assumption import Assumption
from ...accountant.errors import ConfigError
from ...mechanisms.base import Key, Point
from ...mechanisms.lora import JointDeltaSum, JointDeltaUpload
from ...mechanisms.released.dp_fedlora import (
    AsReleasedDpFedLora,
    branch,
    branch_as_released,
)
from ..kernels.adapters import Adapters
from ..kernels.base import Loss, Params, cross_entropy, flatten, unflatten
from ..optimizers import Optimizer, PlainSgd
from ..protection import Aggregate, PerUpload, Protection
from .fed_lora import FedLora
from .fed_lora_clients import Descent, Idle
from .fed_lora_factors import BY_ROW, Aggregation
from .scaffold import Scaffold
from .server_optimizers import Adaptive, Mean, Momentum, ServerRule

_SERVERS: Mapping[str, ServerRule] = {
    "fedavgm": Momentum(),
    "fedadam": Adaptive(kind="adam"),
    "fedyogi": Adaptive(kind="yogi"),
    "fedadagrad": Adaptive(kind="adagrad"),
}
_PROXIMAL = 0.01  # mu of the published FedProx rows


class System(NamedTuple):
    """What `Federation` needs of one mode."""

    algorithm: FedLora
    protection: Protection


@dataclass(frozen=True, kw_only=True, eq=False)
class ReleasedUpload:
    """`AsReleasedDpFedLora` on the flat uploads of a federation.

    Attributes:
        system: clip, noise and switches.
        shapes: of the tensors of an upload, in order.
        controls: of the control variates that come after them.
        unit: whose privacy is accounted. A client that is left out, or exchanged, moves each tensor
            by the clip norm (times the relation's factor), one of its records by twice that. See
            `AsReleasedDpFedLora.event`.
    """

    point: ClassVar[Point] = "per_upload"
    system: AsReleasedDpFedLora
    shapes: Mapping[str, tuple[int, ...]]
    controls: Mapping[str, tuple[int, ...]]
    unit: Literal["client", "example"]

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """What leaves, float[rows, dim], of values (or, with "joint_delta", changes)."""
        size = sum(prod(shape) for shape in self.shapes.values())
        values = unflatten(payload[:, :size], self.shapes)
        controls = unflatten(payload[:, size:], self.controls) if self.controls else {}
        # With "joint_delta" the payload holds changes already: those since zero.
        origin = {name: torch.zeros_like(value) for name, value in values.items()}
        left = self.system.upload(values, origin, key, controls)
        return flatten(left)

    def event(self) -> dpe.DpEvent:
        """One upload of one client."""
        return self.system.event(moved=1.0 if self.unit == "client" else 2.0)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the claim would need."""
        return self.system.assumptions()


def as_released(
    kernel: Adapters,
    *,
    make: Callable[[Params], Optimizer],
    cohort: int,
    system: AsReleasedDpFedLora | None = None,
    algorithm: str = "fedavg",
    aggregation: Aggregation = "average",
    clients: int = 20,
    unit: Literal["client", "example"] = "client",
    training: bool = True,
    loss: Loss = cross_entropy,
    **local: Any,
) -> System:
    """The public program: each tensor's weights clipped and noised by themselves, then averaged.

    Clients weigh alike: in the published runs all hold as many records.

    Args:
        kernel: the model. Every tensor that is trained leaves, also those of a head.
        make: makes the clients' optimiser; SCAFFOLD takes plain SGD's learning rate from it.
        cohort: clients of a round, public; the divisor.
        system: clip, noise and switches; `tensors` is set to what an upload holds.
        algorithm: as the program's option. The misspelt "fedadgrad" is plain averaging there (L15).
        aggregation: "average" in the program; the others for comparison.
        clients: all of them, for SCAFFOLD.
        unit: whose privacy the ledger states.
        training: False gives the noise-only control: the broadcast goes back as it came.
        loss: each record's loss.
        local: `epochs`, `batch_size` and `order` of `FedLora`.

    Raises:
        ConfigError: SCAFFOLD without the switch that its control variates leave as they are, or
            that switch without SCAFFOLD.
    """
    check.one_of(("client", "example"), unit=unit)
    system = AsReleasedDpFedLora() if system is None else system
    branch_taken = branch_as_released(algorithm) if algorithm == "fedadgrad" else branch(algorithm)
    if (branch_taken == "scaffold") != system.scaffold_leak:
        raise ConfigError(
            "the program sends SCAFFOLD's control variates without clip and noise: give "
            "algorithm='scaffold' and scaffold_leak=True together, or neither. In `sound` they are "
            "part of the clipped vector."
        )
    found = FedLora(
        kernel=kernel,
        aggregation=aggregation,
        client=_client(branch_taken, make, clients) if training else Idle(),
        server=_SERVERS.get(branch_taken, Mean()),
        divisor=float(cohort),
        sends="values" if system.clip == "per_tensor_weights" else "change",
        loss=loss,
        **local,
    )
    upload = ReleasedUpload(
        system=replace(system, tensors=len(found.sent)),
        shapes=found.sent,
        controls=found.controls,
        unit=unit,
    )
    return System(found, PerUpload(mechanism=upload, release="LoRA tensors"))


def sound(
    kernel: Adapters,
    *,
    make: Callable[[Params], Optimizer],
    clip_norm: float,
    noise_multiplier: float,
    cohort: float,
    trust: Literal["sum", "local"] = "sum",
    sampling_rate: float = 1.0,
    algorithm: str = "fedavg",
    aggregation: Aggregation = "ffa",
    clients: int = 20,
    training: bool = True,
    loss: Loss = cross_entropy,
    **local: Any,
) -> System:
    """One clip of everything that a client sends, and noise whose cost is exact; the unit is it.

    Args:
        kernel: the model.
        make: makes the clients' optimiser.
        clip_norm: bound on one client's whole change, controls included, > 0.
        noise_multiplier: noise std / clip_norm, > 0.
        cohort: public divisor, the expected number of clients of a round.
        trust: "sum": a trusted server or a secure sum adds the noise; "local": each client does.
        sampling_rate: of a Poisson cohort, with "sum" only; 1 amplifies nothing.
        algorithm: fedavg, fedprox, fedavgm, fedadam, fedyogi, fedadagrad or scaffold.
        aggregation: FFA-LoRA unless another is given. With "sum" one of the linear rules.
        clients: all of them, for SCAFFOLD.
        training: False gives the noise-only control.
        loss: each record's loss.
        local: `epochs`, `batch_size`, `ranks` and `order` of `FedLora`.

    Raises:
        ConfigError: a rule that multiplies each client's factors, under a sum that hides them; or
            a sampling rate with local noise, where every upload shows who takes part.
    """
    check.one_of(("sum", "local"), trust=trust)
    taken = branch(algorithm)
    if trust == "sum" and aggregation in BY_ROW:
        raise ConfigError(
            f"aggregation {aggregation!r} needs each client's factors, but a sum hides them. Use "
            "average, ffa or rolora, or trust='local'."
        )
    if trust == "local" and sampling_rate != 1.0:
        raise ConfigError(
            f"sampling_rate is {sampling_rate!r} with trust='local': an upload shows that its "
            "client takes part, so nothing is amplified. Give sampling_rate=1."
        )
    found = FedLora(
        kernel=kernel,
        aggregation=aggregation,
        client=_client(taken, make, clients) if training else Idle(),
        server=_SERVERS.get(taken, Mean()),
        divisor=float(cohort),
        loss=loss,
        **local,
    )
    protection: Protection
    if trust == "local":
        upload = JointDeltaUpload(clip_norm=clip_norm, noise_multiplier=noise_multiplier)
        protection = PerUpload(mechanism=upload, release="change of the adapters")
    else:
        protection = Aggregate(
            mechanism=JointDeltaSum(
                clip_norm=clip_norm,
                noise_multiplier=noise_multiplier,
                sampling_rate=sampling_rate,
                cohort=float(cohort),
            )
        )
    return System(found, protection)


def _client(
    algorithm: str, make: Callable[[Params], Optimizer], clients: int
) -> Descent | Scaffold:
    if algorithm != "scaffold":
        return Descent(make=make, proximal=_PROXIMAL if algorithm == "fedprox" else 0.0)
    optimizer = make({"any": torch.zeros(1, 1)})
    if not isinstance(optimizer, PlainSgd):
        raise ConfigError(
            f"SCAFFOLD corrects plain SGD, but make gives {type(optimizer).__name__}.\n"
            "  Give plain_sgd(learning_rate)."
        )
    return Scaffold(learning_rate=optimizer.learning_rate, clients=clients)
