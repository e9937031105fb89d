"""What a prototype attack looks at: all that its adversary saw of one class, averaged."""

from torch import Tensor

from ...accountant.errors import DesignError
from ...fl_core.transcript import View


def observed_prototype(view: View) -> Tensor:
    """float[..., dim]: the target client's prototype (server), or the global one (others).

    The rounds release the same class sum under independent noise of equal size, so their plain
    mean is sufficient: nothing that the adversary saw is thrown away.

    Raises:
        DesignError: the view holds more than one class.
    """
    if view.final.shape[-2] != 1:
        raise DesignError(f"one class is needed, but the view holds {view.final.shape[-2]}")
    if view.uploads is not None:
        return view.uploads[..., 0, 0, :].mean(dim=-2)
    return view.final[..., 0, :]


def require_vectors(dim: int, **vectors: Tensor) -> None:
    """Raise `DesignError` unless each is float[..., dim], as long as the observed prototype."""
    for name, value in vectors.items():
        if value.ndim == 0 or value.shape[-1] != dim or not value.is_floating_point():
            raise DesignError(
                f"{name} must be float[..., {dim}] like the prototype that was seen, but is "
                f"{value.dtype} of shape {tuple(value.shape)}"
            )
