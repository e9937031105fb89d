"""Local training of a stack equals a plain loop of torch modules."""

import copy

import pytest
import torch

from privassay.fl_core.clients import ClientData
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.base import cross_entropy
from privassay.fl_core.kernels.stacked import mlp
from privassay.fl_core.optimizers import AdamW, PlainSgd, Sgd
from privassay.fl_core.plan import by_length, steps
from privassay.fl_core.training import train
from privassay.mechanisms.base import SeededKey

SIZES = (8, 6, 3)
LENGTHS = (37, 5, 0, 16, 1, 120, 33)


def orders(data, epoch):
    counter = Counter.of(SeededKey(1), "order")
    return counter.order(data.clients, data.replicas, data.lengths, epoch=epoch)


def world(dtype):
    generator = torch.Generator().manual_seed(0)
    count = sum(LENGTHS)
    x = torch.randn(count, SIZES[0], generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randint(0, SIZES[-1], (count,), generator=generator)
    parts, first = [], 0
    for length in LENGTHS:
        parts.append(range(first, first + length))
        first += length
    data = ClientData.of(x, y, parts)
    data = data.take(by_length(data))
    net = mlp(SIZES)
    initial = net.initial(Counter.of(SeededKey(1), "model"), data.clients, data.replicas)
    return data, net, {name: value.to(dtype) for name, value in initial.items()}


def as_torch(value):
    """A matrix or a bias as torch.nn.Linear keeps it."""
    return value.mT if len(value) > 1 else value[0]


def module_of(params, row):
    module = torch.nn.Sequential(
        torch.nn.Linear(SIZES[0], SIZES[1]), torch.nn.ReLU(), torch.nn.Linear(SIZES[1], SIZES[2])
    ).to(params["1.weight"].dtype)
    for twin, value in zip(module.parameters(), params.values(), strict=True):
        twin.data = as_torch(value[row]).clone()
    return module


OPTIMIZERS = {
    "plain": (lambda like: PlainSgd(0.2), lambda p: torch.optim.SGD(p, lr=0.2)),
    "momentum": (
        lambda like: Sgd(0.1, momentum=0.9, weight_decay=0.01, like=like),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    ),
    "adamw": (lambda like: AdamW(0.02, like=like), lambda p: torch.optim.AdamW(p, lr=0.02)),
}


@pytest.mark.parametrize("full", [False, True], ids=["all", "full batches"])
@pytest.mark.parametrize(
    ("name", "dtype", "close"),
    [
        ("plain", torch.float32, 1e-6),
        ("momentum", torch.float32, 1e-6),
        ("plain", torch.float64, 1e-12),
        ("momentum", torch.float64, 1e-12),
        ("adamw", torch.float64, 1e-12),
    ],
)
def test_training_is_a_loop_of_modules(name, dtype, close, full):
    data, net, params = world(dtype)
    ours, theirs = OPTIMIZERS[name]
    start = copy.deepcopy(params)
    plan = steps(data, epochs=2, batch_size=16, order=orders, full_batches_only=full)
    train(net, params, data, plan, loss=cross_entropy, optimizer=ours(params))
    for row, length in enumerate(data.lengths.tolist()):
        module = module_of(start, row)
        optimizer = theirs(module.parameters())
        for epoch in range(2):
            turn = data.index[row][orders(data.take(torch.tensor([row])), epoch)[0]]
            for batch in turn[:length].split(16):
                if length and (len(batch) == 16 or not full):
                    optimizer.zero_grad()
                    loss = torch.nn.functional.cross_entropy(module(data.x[batch]), data.y[batch])
                    loss.backward()
                    optimizer.step()
        for twin, value in zip(module.parameters(), params.values(), strict=True):
            torch.testing.assert_close(
                as_torch(value[row]), twin.data, rtol=close, atol=close, msg=f"row {row}"
            )


def test_rows_with_nothing_to_learn_from_stay():
    data, net, params = world(torch.float32)
    start = copy.deepcopy(params)
    plan = steps(data, epochs=1, batch_size=16, order=orders)
    train(net, params, data, plan, loss=cross_entropy, optimizer=PlainSgd(0.1))
    empty = int((data.lengths == 0).nonzero()[0, 0])
    for name in params:
        assert torch.equal(params[name][empty], start[name][empty])
        assert not torch.equal(params[name][0], start[name][0])


def test_a_record_that_is_not_finite_spoils_its_own_row_only():
    """Padding must not carry record 0 of the pool into the other rows."""
    data, net, params = world(torch.float32)
    data.x[data.index[0, 0]] = float("nan")
    data.x[0] = float("nan")
    owner = int((data.index == 0)[torch.arange(7), 0].nonzero()[0, 0])
    plan = steps(data, epochs=1, batch_size=16, order=orders)
    train(net, params, data, plan, loss=cross_entropy, optimizer=PlainSgd(0.1))
    for row in range(len(data)):
        finite = all(bool(torch.isfinite(value[row]).all()) for value in params.values())
        assert finite == (row not in (0, owner)), f"row {row}"


def test_a_loss_sees_its_own_row_of_the_context():
    data, net, params = world(torch.float64)
    together = {name: value.clone() for name, value in params.items()}
    scale = torch.linspace(0.5, 2.0, len(data), dtype=torch.float64)

    def scaled(outputs, y, context):
        return cross_entropy(outputs, y, {}) * context["scale"].unsqueeze(1)

    plan = steps(data, epochs=1, batch_size=16, order=orders)
    train(
        net, together, data, plan,
        loss=scaled, optimizer=PlainSgd(0.1), context={"scale": scale},
    )  # fmt: skip
    for row in range(len(data)):
        alone = data.take(torch.tensor([row]))
        own = {name: value[row : row + 1].clone() for name, value in params.items()}
        plan = steps(alone, epochs=1, batch_size=16, order=orders)
        train(
            net, own, alone, plan,
            loss=cross_entropy, optimizer=PlainSgd(0.1 * float(scale[row])),
        )  # fmt: skip
        for name in own:
            torch.testing.assert_close(own[name][0], together[name][row], rtol=1e-12, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_is_the_cpu():
    data, net, params = world(torch.float32)
    there = {name: value.cuda() for name, value in params.items()}
    for own, rows in ((params, data), (there, data.to("cuda"))):
        plan = steps(rows, epochs=2, batch_size=16, order=orders)
        train(net, own, rows, plan, loss=cross_entropy, optimizer=AdamW(0.01, like=own))
    torch.testing.assert_close(
        {name: value.cpu() for name, value in there.items()}, params, rtol=1e-4, atol=1e-4
    )
