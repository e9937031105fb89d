"""FedMIA against a loop, and what it does not depend on."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.membership import fedmia
from privassay.attacks.membership.fedmia import FedMia
from privassay.attacks.membership.updates import Records
from privassay.fl_core.kernels.stacked import mlp

from .white_box_cases import (
    CLIENTS,
    NET,
    RECORDS,
    ROUNDS,
    TRIALS,
    D,
    M,
    each,
    gradient,
    normal,
    peer,
    server,
)


def naive_fedmia(values, arrived, target):
    """One round of one trial: float[clients], bool[clients]."""
    others = [values[k] for k in range(len(values)) if k != target and arrived[k]]
    if not arrived[target] or len(others) < 2:
        return 0.5
    return float(norm.cdf((values[target] - np.mean(others)) / np.std(others, ddof=1)))


@pytest.mark.parametrize("measure", ["cosine", "loss"])
def test_fedmia_against_a_loop(measure):
    arrived = torch.from_numpy(np.random.default_rng(1).random((TRIALS, ROUNDS, CLIENTS)) < 0.6)
    arrived[:, 0] = True
    uploads = normal(TRIALS, ROUNDS, CLIENTS, D, seed=2) * arrived.unsqueeze(-1)
    view = server(uploads=uploads, arrived=arrived)
    found = FedMia(kernel=NET, client=1, measure=measure).per_round(view, RECORDS)
    usable = 0
    for i, j in each():
        for t in range(ROUNDS):
            sent = view.models[i, t]
            values = []
            for k in range(CLIENTS):
                move = view.uploads[i, t, k]
                if measure == "cosine":
                    g = gradient(sent, j)[0]
                    values.append(-float(g @ move) / max(float(g.norm() * move.norm()), 1e-300))
                else:
                    values.append(-gradient(sent + move, j)[1])
            wanted = naive_fedmia(values, arrived[i, t].tolist(), 1)
            usable += wanted != 0.5
            assert float(found[i, t, j]) == pytest.approx(wanted, rel=1e-9)
    assert TRIALS * M < usable < TRIALS * M * ROUNDS  # both kinds of rounds were compared


def test_fedmia_does_not_ask_who_the_others_are():
    view = server()
    shuffled = server(uploads=view.uploads[:, :, [3, 1, 0, 4, 2]])
    attack = FedMia(kernel=NET, client=1)
    torch.testing.assert_close(attack.score(shuffled, RECORDS), attack.score(view, RECORDS))
    # Others that agree exactly leave no doubt, and no NaN.
    same = view.uploads[:, :, :1].expand(-1, -1, CLIENTS, -1).clone()
    assert torch.equal(
        attack.score(server(uploads=same), RECORDS), torch.full((TRIALS, M), ROUNDS / 2).double()
    )
    g = torch.stack([gradient(view.models[i, t], 0)[0] for i in range(3) for t in range(4)])
    same[:, :, 1] = -g.view(TRIALS, ROUNDS, D)
    assert torch.equal(
        attack.score(server(uploads=same), RECORDS)[:, 0], torch.full((TRIALS,), 4.0).double()
    )


@pytest.mark.parametrize("clients", [3, 5, 17])
def test_equal_uploads_agree_though_a_matrix_product_rounds_them_apart(clients):
    net = mlp((60, 5))
    d = sum(math.prod(shape) for shape in net.shapes().values())
    uploads = normal(6, 4, 1, d, seed=8).expand(-1, -1, clients, -1).clone()
    records = Records(x=normal(9, 60, seed=9), y=torch.arange(9) % 5)
    found = FedMia(kernel=net, client=0).per_round(
        server(normal(6, 5, d, seed=1), uploads), records
    )
    assert torch.equal(found, torch.full((6, 4, 9), 0.5).double())


@pytest.mark.parametrize("limit", [1, 2 * TRIALS * ROUNDS * D, 1 << 22])
def test_fedmia_does_not_depend_on_how_many_gradients_are_held(limit, monkeypatch):
    records = Records(x=normal(5, 3, seed=6), y=torch.tensor([0, 1, 1, 0, 1]))
    view, attack = server(), FedMia(kernel=NET, client=1)
    whole = attack.per_round(view, records)
    monkeypatch.setattr(fedmia, "_AT_ONCE", limit)
    torch.testing.assert_close(attack.per_round(view, records), whole, rtol=1e-12, atol=1e-14)
    one = Records(x=records.x[3:4], y=records.y[3:4])
    torch.testing.assert_close(attack.per_round(view, one), whole[:, :, 3:4], rtol=1e-12, atol=0)


def test_fedmia_needs_others():
    view = server()
    with pytest.raises(DesignError, match="only the server sees"):
        FedMia(kernel=NET, client=0).score(peer(view.models), RECORDS)
    with pytest.raises(DesignError, match=r"client must be 0 \.\. 4"):
        FedMia(kernel=NET, client=5).score(view, RECORDS)
    with pytest.raises(DesignError, match="at least two other clients"):
        FedMia(kernel=NET, client=0).score(server(uploads=view.uploads[:, :, :2]), RECORDS)
    never = torch.ones(TRIALS, ROUNDS, CLIENTS, dtype=torch.bool)
    never[1, :, 0] = False
    with pytest.raises(DesignError, match="in some trial"):
        FedMia(kernel=NET, client=0).score(server(arrived=never), RECORDS)
    with pytest.raises(ParameterError, match="measure"):
        FedMia(kernel=NET, client=0, measure="lossy")
