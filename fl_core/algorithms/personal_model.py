"""What a client of a prototype federation trains: an adapter and a head on frozen features."""

from collections.abc import Callable

from ..kernels.base import Params
from ..kernels.layers import Linear, Relu, Residual
from ..kernels.stacked import Stacked
from ..optimizers import AdamW


def personal_model(dim: int, classes: int, *, adapter_width: int, hidden: int) -> Stacked:
    """Residual adapter, then Linear, ReLU, Linear: the adapter starts as the identity."""
    head = (Linear("head1", dim, hidden), Relu(), Linear("head2", hidden, classes))
    return Stacked((Residual("adapter", dim, adapter_width),), head)


def adam_w(learning_rate: float = 1e-3, weight_decay: float = 5e-4) -> Callable[[Params], AdamW]:
    """AdamW for any parameters, starting anew in every round."""
    return lambda params: AdamW(learning_rate, params, weight_decay)
