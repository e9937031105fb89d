"""Gradient ascent on the record, and its pull back where losses round to zero."""

import math

import mpmath
import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.membership.gradient_ascent import GradientAscent
from privassay.attacks.membership.updates import Records
from privassay.fl_core.kernels.base import cross_entropy, flatten, unflatten

from .white_box_cases import NET, RECORDS, ROUNDS, D, M, each, gradient, normal, peer, server


def test_the_ascent_goes_up_the_loss_of_each_replicas_record():
    attack = GradientAscent(kernel=NET, client=0, rate=0.05)
    models = normal(M, D, seed=1)
    params = unflatten(models, NET.shapes()) | {"other": torch.ones(M, 2)}
    risen = attack.ascend(params, RECORDS)
    assert torch.equal(risen.pop("other"), torch.ones(M, 2))
    for j in range(M):
        g, before = gradient(models[j], j)
        torch.testing.assert_close(flatten(risen)[j], models[j] + 0.05 * g)
        assert gradient(flatten(risen)[j], j)[1] > before
    with pytest.raises(DesignError, match="2 records are not one for each of 3 replicas"):
        attack.ascend(unflatten(normal(3, D), NET.shapes()), RECORDS)


def test_the_pull_back_is_a_ratio_of_losses():
    view = server()
    found = GradientAscent(kernel=NET, client=2, rate=1.0).score(view, RECORDS)
    for i, j in each():
        total = 0.0
        for t in range(ROUNDS):
            sent = view.models[i, t]
            after = gradient(sent + view.uploads[i, t, 2], j)[1]
            total += math.log(gradient(sent, j)[1] / after)
        assert float(found[i, j]) == pytest.approx(total, rel=1e-9)
    # A loss that rounds to zero is small, not an error.
    far = torch.zeros(1, 1, 1, D).double()
    far[..., 6:] = torch.tensor([-1e4, 1e4])
    exact = server(torch.zeros(1, 2, D).double(), far)
    assert bool(
        GradientAscent(kernel=NET, client=0, rate=1.0).score(exact, RECORDS).isfinite().all()
    )
    with pytest.raises(DesignError, match="only the server sees"):
        GradientAscent(kernel=NET, client=0, rate=1.0).score(peer(view.models), RECORDS)
    with pytest.raises(DesignError, match="ratios of losses"):
        negative = GradientAscent(
            kernel=NET, client=0, rate=1.0, loss=lambda outputs, y, context: -y.double()
        )
        negative.score(view, RECORDS)
    with pytest.raises(ParameterError):
        GradientAscent(kernel=NET, client=0, rate=0.0)


def exact_log_loss(phi):
    with mpmath.workdps(400):
        return float(mpmath.log(mpmath.log1p(mpmath.exp(-mpmath.mpf(phi)))))


def test_the_pull_back_is_exact_where_the_loss_rounds_to_zero():
    phi = torch.tensor([-800.0, -20.5, 0.0, 20.0, 36.0, 36.8, 39.9, 40.1, 60.0, 700.0, 800.0])
    far = torch.zeros(len(phi), 1, 1, D).double()
    far[:, 0, 0, 6] = phi  # the bias of class 0
    records = Records(x=RECORDS.x[1:], y=RECORDS.y[1:])
    attack = GradientAscent(kernel=NET, client=0, rate=1.0)
    found = attack.score(server(torch.zeros(len(phi), 2, D).double(), far), records)[:, 0]
    wanted = [math.log(math.log(2.0)) - exact_log_loss(v) for v in phi.tolist()]
    assert found.tolist() == pytest.approx(wanted, rel=1e-14, abs=1e-14)
    # Another loss is known from its value alone: no jump where that rounds to zero.
    shapeless = GradientAscent(
        kernel=NET, client=0, rate=1.0, loss=lambda o, y, c: 2.0 * cross_entropy(o, y, c)
    )
    other = shapeless.score(server(torch.zeros(len(phi), 2, D).double(), far), records)[:, 0]
    assert other[:5].tolist() == pytest.approx(wanted[:5], rel=0.02)
    assert bool((other.diff() >= 0).all()) and float(other[-1]) < 37.0


def test_a_loss_that_is_not_a_number_is_an_error():
    nothing = GradientAscent(
        kernel=NET, client=0, rate=1.0, loss=lambda outputs, y, context: y.double() * math.nan
    )
    with pytest.raises(DesignError, match="ratios of losses"):
        nothing.score(server(), RECORDS)
