"""Trained factors for peft: names, and the configuration that belongs to them."""

from typing import Any

from torch import Tensor

from .adapters import Adapters
from .base import Params


def peft_state(kernel: Adapters, params: Params, row: int) -> dict[str, Tensor]:
    """One row's factors under the names of peft's adapter files; the head is not part of them."""
    return {
        f"base_model.model.{name}": params[name][row].detach().clone()
        for name in kernel.shapes()
        if ".lora_" in name
    }


def peft_config(kernel: Adapters) -> dict[str, Any]:
    """What `peft.LoraConfig` needs to rebuild the adapters."""
    return {
        "r": kernel.rank,
        "lora_alpha": kernel.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": (
            kernel.targets if isinstance(kernel.targets, str) else list(kernel.targets)
        ),
    }
