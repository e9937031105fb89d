"""What clients of a LoRA federation do with the broadcast: train, train privately, or nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from ...accountant import check
from ...mechanisms.dpsgd import DpSgd
from ..kernels.base import Params
from ..optimizers import Optimizer
from .noise_inside import NoiseInside

Shift = Callable[[str, Tensor, slice], Tensor]
"""(name, value, rows) -> what is added to the gradient of these rows."""


@dataclass(frozen=True)
class Selected:
    """Another optimiser for some of the parameters; the others stay as they are.

    Attributes:
        inner: made for these parameters alone.
        names: the parameters that move.
        shift: added to each gradient, or None.
    """

    inner: Optimizer
    names: tuple[str, ...]
    shift: Shift | None = None

    def update(self, params: Params, gradients: Params, rows: slice) -> None:
        """See `Optimizer`."""
        found = {name: gradients[name] for name in self.names}
        if self.shift is not None:
            found = {n: g + self.shift(n, params[n], rows) for n, g in found.items()}
        self.inner.update({name: params[name] for name in self.names}, found, rows)


@dataclass(frozen=True, kw_only=True)
class Descent:
    """FedAvg's local training, or FedProx' with a pull towards the broadcast.

    Source of the pull: Li et al., arXiv:1812.06127.

    Attributes:
        make: makes the optimiser of one local training from its parameters.
        proximal: mu >= 0: mu (w - broadcast) is added to the gradient; 0 is FedAvg.
    """

    make: Callable[[Params], Optimizer]
    proximal: float = 0.0

    def __post_init__(self) -> None:
        check.non_negative(proximal=self.proximal)

    def optimizer(
        self, names: tuple[str, ...], params: Params, start: Mapping[str, Tensor]
    ) -> Selected:
        """For float[rows, ...] `params`, which `start` holds as they were broadcast."""
        inner = self.make({name: params[name] for name in names})
        if self.proximal == 0.0:
            return Selected(inner, names)

        def pull(name: str, value: Tensor, rows: slice) -> Tensor:
            return self.proximal * (value - start[name][rows])

        return Selected(inner, names, pull)


@dataclass(frozen=True, kw_only=True)
class PrivateDescent:
    """Local training with DP-SGD: the unit is an example, and what follows is post-processing.

    The norm that is clipped is over what the round trains: its factors and the head.

    Attributes:
        mechanism: clip bound, noise, sampling rate and divisor.
        steps: in each round, >= 1.
        make: makes the optimiser.
    """

    mechanism: DpSgd
    steps: int
    make: Callable[[Params], Optimizer]

    def __post_init__(self) -> None:
        check.count(steps=self.steps)

    def protection(self, release: str = "adapters trained with DP-SGD") -> NoiseInside:
        """What a round costs one record of a client; add or remove it."""
        return NoiseInside(event=self.mechanism.event(self.steps), release=release)


@dataclass(frozen=True)
class Idle:
    """No training: with noise this gives the noise-only adapter, a control without any data."""
