"""Each loss against its formula, one record at a time in plain Python."""

import math

import pytest
import torch

from privassay.fl_core.algorithms import losses
from privassay.fl_core.algorithms.fedpcl import FedPcl
from privassay.fl_core.algorithms.fedplvm import FedPlvm
from privassay.fl_core.algorithms.fedproto import FedProto
from privassay.fl_core.algorithms.fedtgp import FedTgp
from privassay.fl_core.algorithms.fpl import Fpl
from privassay.fl_core.algorithms.mpft import Mpft
from privassay.fl_core.kernels.base import Outputs

ROWS, BATCH, CLASSES, DIM, CLIENTS, K = 3, 5, 4, 6, 3, 2


def drawn(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def batch():
    y = torch.randint(0, CLASSES, (ROWS, BATCH), generator=torch.Generator().manual_seed(5))
    return Outputs(drawn(ROWS, BATCH, DIM), drawn(ROWS, BATCH, CLASSES, seed=1)), y


def cosine(a, b):
    length = math.sqrt(sum(v * v for v in a) * sum(v * v for v in b))
    return sum(v * w for v, w in zip(a, b, strict=True)) / length if length else 0.0


def entropy(logits, label):
    top = max(logits)
    return top + math.log(sum(math.exp(v - top) for v in logits)) - logits[label]


def record_by_record(one, outputs, y, received):
    """`one` (feature, logits, label, what the row received) for every record."""
    each = [
        [
            one(
                outputs.features[r, b].tolist(),
                outputs.logits[r, b].tolist(),
                int(y[r, b]),
                {name: value[r].tolist() for name, value in received.items()},
            )
            for b in range(BATCH)
        ]
        for r in range(ROWS)
    ]
    return torch.tensor(each, dtype=torch.float64)


def distance(feature, prototype):
    if not any(prototype):
        return 0.0
    return sum((f - p) ** 2 for f, p in zip(feature, prototype, strict=True)) / len(feature)


def compare(method, one, received):
    outputs, y = batch()
    found = method.loss(outputs, y, method.context(received))
    torch.testing.assert_close(found, record_by_record(one, outputs, y, received), rtol=1e-10,
                               atol=1e-10)  # fmt: skip


def gone(prototypes, *where):
    prototypes[where] = 0.0
    return prototypes


@pytest.mark.parametrize("method", [FedProto(weight=0.7), FedTgp(weight=0.7)])
def test_fedproto_and_fedtgp(method):
    def one(feature, logits, label, received):
        own = received["prototypes"][label]
        return entropy(logits, label) + 0.7 * distance(feature, own)

    compare(method, one, {"prototypes": gone(drawn(ROWS, CLASSES, DIM, seed=2), 0, 1)})


def test_fedpcl():
    def one(feature, logits, label, received):
        total = 0.0
        for number, prototypes in enumerate([received["prototypes"], *received["sets"]]):
            kept = [c for c in range(CLASSES) if any(prototypes[c])]
            if label not in kept:
                continue
            scores = [cosine(feature, prototypes[c]) / 0.3 for c in kept]
            loss = entropy(scores, kept.index(label))
            total += loss if number == 0 else loss / CLIENTS
        return total

    sets = gone(drawn(ROWS, CLIENTS, CLASSES, DIM, seed=3), 1, 2, 3)
    received = {"prototypes": drawn(ROWS, CLASSES, DIM, seed=2), "sets": sets}
    compare(FedPcl(clients=CLIENTS, temperature=0.3), one, received)


def clusters():
    known = torch.ones(ROWS, CLASSES, K, dtype=torch.float64)
    known[0, 1] = 0.0  # nobody has class 1
    known[1, :, 1] = 0.0  # one cluster per class
    return {
        "clusters": drawn(ROWS, CLASSES, K, DIM, seed=4) * known.unsqueeze(-1),
        "known": known,
    }


def columns(received):
    return [
        (c, received["clusters"][c][k])
        for c in range(CLASSES)
        for k in range(K)
        if received["known"][c][k]
    ]


def test_fpl():
    def one(feature, logits, label, received):
        scores = [(c, math.exp(cosine(feature, p) / 0.4)) for c, p in columns(received)]
        own = sum(score for c, score in scores if c == label)
        apart = -math.log(own / sum(score for _, score in scores)) if own else 0.0
        away = distance(feature, received["prototypes"][label])
        return entropy(logits, label) + 0.5 * apart + 0.2 * away

    received = clusters()
    count = received["known"].sum(dim=2, keepdim=True).clamp(min=1)
    received["prototypes"] = received["clusters"].sum(dim=2) / count
    compare(Fpl(clients=4, temperature=0.4, distance_weight=0.2), one, received)


def test_fedplvm():
    def one(feature, logits, label, received):
        def value(prototype):
            c = min(max(cosine(feature, prototype), -1 + 1e-6), 1 - 1e-6)
            return math.copysign(abs(c) ** 0.25, c)

        scores = [(c, value(p)) for c, p in columns(received)]
        own = [v for c, v in scores if c == label]
        if not own:
            return entropy(logits, label)
        everything = math.log(sum(math.exp(v / 0.2) for _, v in scores))
        apart = sum(everything - v / 0.2 for v in own) / len(own)
        return entropy(logits, label) + 0.5 * (apart + abs(sum(own) - len(own)))

    compare(FedPlvm(clients=4, temperature=0.2), one, clusters())


def test_mpft_and_distillation():
    outputs, y = batch()
    guide = drawn(ROWS, BATCH, CLASSES, seed=8)
    heard = torch.tensor([[1.0], [1.0], [0.0]]).double()
    found = Mpft().loss(outputs, y, {"guide": guide, "server.heard": heard})

    def softened(logits):
        total = sum(math.exp(v / 4.0) for v in logits)
        return [math.exp(v / 4.0) / total for v in logits]

    for r in range(ROWS):
        for b in range(BATCH):
            teacher, student = (
                softened(guide[r, b].tolist()),
                softened(outputs.logits[r, b].tolist()),
            )
            gap = 16.0 * sum(t * math.log(t / s) for t, s in zip(teacher, student, strict=True))
            wanted = entropy(outputs.logits[r, b].tolist(), int(y[r, b]))
            wanted += 0.3 * gap * float(heard[r])
            assert float(found[r, b]) == pytest.approx(wanted, rel=1e-12)


METHODS = [
    FedProto(),
    FedPcl(clients=CLIENTS),
    Fpl(clients=4),
    FedTgp(),
    FedPlvm(clients=4),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.title)
@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0, 1e15])
@pytest.mark.parametrize("missing", ["nothing", "a class", "everything"])
def test_values_and_gradients_are_finite_at_the_ends(method, dtype, size, missing):
    outputs, y = batch()
    kept = torch.ones(CLASSES, 1, dtype=torch.float64)
    kept[{"nothing": [], "a class": [1], "everything": [0, 1, 2, 3]}[missing]] = 0.0
    prototypes = drawn(ROWS, CLASSES, DIM, seed=2, scale=size) * kept
    sets = drawn(ROWS, CLIENTS, CLASSES, DIM, seed=3, scale=size) * kept
    found = drawn(ROWS, CLASSES, K, DIM, seed=4, scale=size) * kept.unsqueeze(1)
    known = losses.held(found)
    received = {"prototypes": prototypes, "sets": sets, "clusters": found, "known": known}
    context = method.context({n: v.to(dtype) for n, v in received.items()})
    for scale in (0.0, 1e-30, 1.0, 1e15):
        features = (outputs.features * scale).to(dtype).requires_grad_()
        logits = (outputs.logits * min(scale, 1e4)).to(dtype).requires_grad_()
        each = method.loss(Outputs(features, logits), y, context)
        assert each.shape == y.shape and bool(each.isfinite().all())
        for gradient in torch.autograd.grad(
            each.sum(), (features, logits), allow_unused=True, materialize_grads=True
        ):
            assert bool(gradient.isfinite().all())


def test_a_missing_class_neither_pulls_nor_repels():
    outputs, y = batch()
    y = torch.zeros_like(y)
    prototypes = gone(drawn(ROWS, CLASSES, DIM, seed=2), slice(None), 0)
    received = {
        "prototypes": prototypes,
        "sets": prototypes.unsqueeze(1).repeat(1, CLIENTS, 1, 1),
        "clusters": prototypes.unsqueeze(2),
        "known": losses.held(prototypes.unsqueeze(2)),
    }
    for method in METHODS:
        features = outputs.features.clone().requires_grad_()
        each = method.loss(Outputs(features, outputs.logits), y, method.context(received))
        (gradient,) = torch.autograd.grad(each.sum(), features, materialize_grads=True,
                                          allow_unused=True)  # fmt: skip
        assert float(gradient.abs().max()) == 0.0, method.title


def test_the_pull_vanishes_at_the_own_prototype():
    # A published implementation broadcasts here, and pulls to the average prototype of the batch.
    _, y = batch()
    prototypes = drawn(ROWS, CLASSES, DIM, seed=2)
    at_home = prototypes.gather(1, y.unsqueeze(2).expand(-1, -1, DIM)).requires_grad_()
    known = losses.held(prototypes)
    pull = losses.own_distance(at_home, y, prototypes, known)
    (gradient,) = torch.autograd.grad(pull.sum(), at_home)
    assert float(pull.detach().abs().max()) == 0.0 and float(gradient.abs().max()) == 0.0
    away = losses.own_distance(at_home + 1.0, y, prototypes, known)
    torch.testing.assert_close(away, torch.ones_like(away))


def test_unit_vectors_at_any_size():
    for dtype, sizes in ((torch.float32, (1e-11, 1.0, 1e38)), (torch.float64, (1e-11, 1e300))):
        x = drawn(4, DIM).to(dtype)
        x = x / x.abs().amax(dim=1, keepdim=True)
        for size in sizes:
            torch.testing.assert_close(losses.unit(x * size), losses.unit(x))
    assert losses.unit(torch.zeros(2, DIM)).abs().max() == 0.0
    x = drawn(4, DIM).requires_grad_()
    torch.autograd.gradcheck(losses.unit, (x,))


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_the_sparse_power_is_continuous_and_odd(alpha):
    c = torch.tensor([-1.0, -0.3, -1e-6, -9.99e-7, 0.0, 9.99e-7, 1e-6, 0.3, 1.0]).double()
    found = losses.sparse_power(c, alpha)
    torch.testing.assert_close(found, -found.flip(0))
    assert bool((found.diff() > 0).all())
    assert float(found[7]) == pytest.approx(0.3**alpha)
    assert float(found[6] - found[5]) < 2e-3 * float(found[6])
