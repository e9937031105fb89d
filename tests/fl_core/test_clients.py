import numpy as np
import pytest
import torch

from privassay.accountant.errors import ConfigError
from privassay.fl_core.clients import ClientData

X = torch.arange(20.0).view(10, 2)
Y = torch.arange(10)
PARTS = [[3, 1], [], np.array([5, 6, 9, 0]), (7,)]


def held(data):
    return [row[:n].tolist() for row, n in zip(data.index, data.lengths.tolist(), strict=True)]


def test_each_row_holds_its_part():
    data = ClientData.of(X, Y, PARTS)
    assert len(data) == 4 and data.index.shape == (4, 4)
    assert held(data) == [[3, 1], [], [5, 6, 9, 0], [7]]
    assert data.lengths.tolist() == [2, 0, 4, 1]
    assert data.clients.tolist() == [0, 1, 2, 3] and data.replicas.tolist() == [0] * 4
    padding = torch.arange(4) >= data.lengths.unsqueeze(1)
    assert not data.index[padding].any()


def test_rows_are_taken_in_the_order_asked_for():
    data = ClientData.of(X, Y, PARTS, clients=[9, 4, 2, 7], replicas=[0, 0, 0, 1])
    some = data.take(torch.tensor([3, 0, 1]))
    assert held(some) == [[7], [3, 1], []] and some.index.shape == (3, 2)
    assert some.clients.tolist() == [7, 9, 4] and some.replicas.tolist() == [1, 0, 0]
    assert some.x is data.x and some.y is data.y
    assert len(data.take(torch.zeros(0, dtype=torch.int64))) == 0


def test_replicas_share_the_pool():
    data = ClientData.of(X, Y, PARTS).replicate(3)
    assert held(data) == held(ClientData.of(X, Y, PARTS)) * 3
    assert data.clients.tolist() == [0, 1, 2, 3] * 3
    assert data.replicas.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.x is X


def test_no_rows():
    data = ClientData.of(X, Y, [])
    assert len(data) == 0 and data.index.shape == (0, 0)
    assert ClientData.of(X, Y, [[], []]).index.shape == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parts": [[0], [10]]}, "outside the pool of 10"),
        ({"parts": [[-1]]}, "outside the pool"),
        ({"parts": [[0], [1]], "clients": [1]}, "do not fit together"),
        ({"parts": [[0], [1]], "replicas": [0]}, "do not fit together"),
        ({"parts": [[0], [1]], "clients": [1, 1]}, "same client"),
        ({"parts": [[0]], "clients": [-1]}, "numbers from 0 to"),
        ({"parts": [[0]], "clients": [2**32]}, "numbers from 0 to"),
        ({"parts": [[0]], "replicas": [2**32]}, "numbers from 0 to"),
        ({"parts": [[0]], "y": Y[:9]}, "9 labels"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ClientData.of(**({"x": X, "y": Y} | arguments))


def test_the_same_client_in_another_replica_is_another_row():
    data = ClientData.of(X, Y, [[0], [0]], clients=[1, 1], replicas=[0, 1])
    assert len(data) == 2
