"""What all that runs on Ray does: start it, and hand a pool of records over once."""

import logging
import os
from dataclasses import replace
from typing import Any

import torch

from ...accountant.errors import ConfigError
from ..clients import ClientData


def started(who: str, otherwise: str) -> tuple[Any, bool]:
    """Ray, running, and whether it was started here, so that it is to be stopped here.

    Args:
        who: who needs it, with the verb: "the Ray engine needs".
        otherwise: what to do without it.

    Raises:
        ConfigError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no request leaves
    try:
        import ray
    except ImportError:
        raise ConfigError(f"{who} Ray: pip install 'privassay[ray]', or {otherwise}") from None
    here = not ray.is_initialized()
    if here:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    return ray, here


def apart(data: ClientData) -> tuple[tuple[Any, Any], ClientData]:
    """(records, everything else): the records are put into Ray's store once, for all processes."""
    return (data.x.numpy(), data.y.numpy()), replace(data, x=data.x[:0], y=data.y[:0])


def together(pool: tuple[Any, Any], rest: ClientData) -> ClientData:
    """In a process, what `apart` took apart."""
    # Ray's store is read-only; torch wants memory of its own.
    x, y = (torch.from_numpy(part.copy()) for part in pool)
    return replace(rest, x=x, y=y)
