"""Starting Ray, and records that travel by themselves; processes are in `test_ray_shards.py`."""

import sys

import numpy as np
import pytest
import torch

from privassay.accountant.errors import ConfigError
from privassay.fl_core.clients import ClientData
from privassay.fl_core.engines.ray_start import apart, started, together


def test_without_ray_both_who_needs_it_and_what_to_do_are_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"^shards need Ray: pip install .*, or leave shards out"):
        started("shards need", "leave shards out")


def test_records_come_back_in_memory_of_their_own():
    x = torch.arange(12.0).reshape(6, 2)
    data = ClientData.of(x, torch.arange(6), np.array_split(np.arange(6), 2))
    pool, rest = apart(data)
    assert len(rest.x) == len(rest.y) == 0 and len(rest) == len(data)
    for part in pool:
        part.flags.writeable = False  # as Ray's store is
    again = together(pool, rest)
    assert torch.equal(again.x, data.x) and torch.equal(again.y, data.y)
    again.x.add_(1.0)
    assert torch.equal(data.x, torch.arange(12.0).reshape(6, 2))
