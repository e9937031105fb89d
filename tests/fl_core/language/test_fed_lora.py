"""Federated LoRA: aggregation rules, chunks, ranks, client and server rules, privacy of a run."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError
from privassay.accountant.ledger import Ledger
from privassay.fl_core.algorithms.base import Received
from privassay.fl_core.algorithms.fed_lora import FedLora
from privassay.fl_core.algorithms.fed_lora_checks import accuracy
from privassay.fl_core.algorithms.fed_lora_clients import Descent, Idle, PrivateDescent
from privassay.fl_core.algorithms.fed_lora_factors import BY_ROW, factor_of, folded_name, pair
from privassay.fl_core.algorithms.fedavg import FedAvg, local_order, plain_sgd
from privassay.fl_core.algorithms.scaffold import PREFIX, Scaffold
from privassay.fl_core.algorithms.server_optimizers import Adaptive
from privassay.fl_core.federation import Federation, run
from privassay.fl_core.kernels.base import cross_entropy, flatten, unflatten
from privassay.fl_core.optimizers import AdamW
from privassay.mechanisms import lora_aggregate
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.dpsgd import DpSgd

ALL = ("average", "ffa", "rolora", "stack", "residual", "svd")
KEY, CLIENTS = SeededKey(3), 5
ONE = torch.tensor([0])


def method(kernel, aggregation="average", **more):
    settings = {
        "client": Descent(make=plain_sgd(0.1)),
        "divisor": float(CLIENTS),
        "epochs": 2,
        "batch_size": 8,
    }
    return FedLora(kernel=kernel, aggregation=aggregation, **(settings | more))


def go(algorithm, data, ledger=None, **more):
    settings = {"rounds": 3, "key": KEY}
    ledger = ledger or Ledger(adjacency="zero-out", unit="client")
    return run(Federation(algorithm=algorithm, data=data, **(settings | more)), ledger)


def weights_of(algorithm, state, replica=0):
    """Each layer's effective weight: frozen, folded and the low-rank term."""
    kernel, params = algorithm.model(state, replica)
    gamma = kernel.alpha / kernel.rank
    return {
        name: layer.weight.double() + gamma * params[b][0].double() @ params[a][0].double()
        for name, layer in kernel.layers.items()
        for b, a in [pair(name)]
    }


def arrived_with(algorithm, state, changes):
    """One replica's uploads, float64[clients, dim]."""
    everyone = torch.ones(1, len(changes), dtype=torch.bool)
    count = torch.tensor([float(len(changes))], dtype=torch.float64)
    rows = changes.unsqueeze(0)
    return Received(
        None if algorithm.keeps_rows else rows.sum(dim=1),
        rows if algorithm.keeps_rows else None,
        everyone,
        count,
    )


def made_up(algorithm, seed=0, clients=CLIENTS):
    """A state with factors that are not zero, and changes of every client."""
    generator = torch.Generator().manual_seed(seed)
    state = algorithm.start(ONE, KEY)
    for name in algorithm.kernel.shapes():
        if algorithm.aggregation == "stack" and factor_of(name) == "B":
            continue  # adapters begin anew there
        state[name] = torch.randn(state[name].shape, generator=generator)
    size = algorithm.upload_shape[0]
    return state, torch.randn(clients, size, generator=generator, dtype=torch.float64)


def own_factors(algorithm, state, changes, layer):
    parts = unflatten(changes, algorithm.sent)
    return tuple(
        state[name].double() + parts[name] if name in parts else
        state[name].double().expand(len(changes), -1, -1)
        for name in pair(layer)
    )  # fmt: skip


@pytest.mark.parametrize("aggregation", ALL)
def test_the_server_combines_as_the_equations_say(kernel, aggregation):
    algorithm = method(kernel, aggregation)
    state, changes = made_up(algorithm)
    even = torch.full((CLIENTS,), 1 / CLIENTS, dtype=torch.float64)
    gamma = kernel.alpha / kernel.rank
    for round_ in (0, 1):
        before = weights_of(algorithm, state | {folded_name(n): 0 * state[folded_name(n)]
                            for n in kernel.layers if folded_name(n) in state})  # fmt: skip
        new = algorithm.serve(state, arrived_with(algorithm, state, changes), round=round_, key=KEY)
        after = weights_of(algorithm, new)
        for layer in kernel.layers:
            b, a = own_factors(algorithm, state, changes, layer)
            old_b, old_a = (state[n][0].double() for n in pair(layer))
            frozen = before[layer] - gamma * old_b @ old_a
            wanted = {
                "average": lambda b=b, a=a: lora_aggregate.plain_average(b, a, even).update(),
                "ffa": lambda b=b, a=old_a: lora_aggregate.average_b(b, a, even).update(),
                "rolora": lambda b=b, a=a, ob=old_b, oa=old_a, round_=round_: (
                    lora_aggregate.average_b(b, oa, even)
                    if round_ == 0
                    else lora_aggregate.average_a(ob, a, even)
                ).update(),
                "svd": lambda b=b, a=a: lora_aggregate.truncated_product(b, a, even, 3).update(),
            }.get(aggregation, lambda b=b, a=a: lora_aggregate.ideal(b, a, even))()
            torch.testing.assert_close(after[layer] - frozen, gamma * wanted, rtol=1e-5, atol=1e-5)


def test_stacking_is_exact_and_the_mean_of_factors_is_not(kernel):
    even = torch.full((CLIENTS,), 1 / CLIENTS, dtype=torch.float64)
    gaps = {}
    for aggregation in ("average", "stack", "residual"):
        algorithm = method(kernel, aggregation)
        state = algorithm.start(ONE, KEY)  # B is zero: what clients upload is their whole product
        _, changes = made_up(algorithm)
        new = algorithm.serve(state, arrived_with(algorithm, state, changes), round=0, key=KEY)
        start, after = weights_of(algorithm, state), weights_of(algorithm, new)
        b, a = own_factors(algorithm, state, changes, "first")
        ideal = 2.0 * lora_aggregate.ideal(b, a, even)
        gap = after["first"] - start["first"] - ideal
        gaps[aggregation] = float(gap.norm() / ideal.norm())
        if aggregation == "average":  # the covariance of the factors, to the last digit
            covariance = torch.einsum("k,kmr,krn->mn", even, b - b.mean(dim=0), a - a.mean(dim=0))
            torch.testing.assert_close(gap, -2.0 * covariance, rtol=1e-5, atol=1e-5)
    assert gaps["stack"] < 1e-6 and gaps["residual"] < 1e-6, gaps
    assert gaps["average"] > 0.5, gaps


def test_a_client_that_sent_nothing_changed_nothing(kernel):
    for aggregation in ALL:
        for sends in ("change", "values"):
            algorithm = method(kernel, aggregation, sends=sends)
            state, changes = made_up(algorithm)
            own = flatten({name: state[name] for name in algorithm.sent}).double()
            heard = changes.clone()
            heard[3] = 0.0
            same = method(kernel, aggregation)
            wanted = same.serve(state, arrived_with(same, state, heard), round=0, key=KEY)
            sent = heard + own if sends == "values" else heard
            sent[3] = 0.0
            received = arrived_with(algorithm, state, sent)
            received.arrived[0, 3] = False
            received = replace(received, weight=received.weight - 1.0)
            found = algorithm.serve(state, received, round=0, key=KEY)
            for name, value in weights_of(algorithm, wanted).items():
                torch.testing.assert_close(
                    weights_of(algorithm, found)[name], value, rtol=1e-5, atol=1e-5
                )


@pytest.mark.parametrize("aggregation", ALL)
def test_stacked_clients_and_replicas_are_those_one_after_another(kernel, data, aggregation):
    ranks = (3, 1, 2, 3, 1) if aggregation == "stack" else None
    algorithm = method(kernel, aggregation, ranks=ranks)
    worlds = data.replicate(2)
    together = go(algorithm, worlds)
    apart = go(algorithm, worlds, chunk=1)
    for replica in range(2):
        own = weights_of(algorithm, apart.state, replica)
        for name, value in weights_of(algorithm, together.state, replica).items():
            torch.testing.assert_close(value, own[name], rtol=1e-5, atol=1e-5)
    alone = go(algorithm, worlds.take((worlds.replicas == 1).nonzero()[:, 0]))
    second = weights_of(algorithm, together.state, 1)
    for name, value in weights_of(algorithm, alone.state).items():
        torch.testing.assert_close(value, second[name], rtol=1e-5, atol=1e-5)
    first = weights_of(algorithm, together.state, 0)
    assert (first["first"] - second["first"]).abs().max() > 1e-3, "the replicas are the same"


@pytest.mark.parametrize("aggregation", ALL)
def test_each_rule_learns(kernel, data, aggregation):
    algorithm = method(kernel, aggregation)
    start = algorithm.model(algorithm.start(ONE, KEY))
    before = accuracy(*start, data.x, data.y)
    found = accuracy(*algorithm.model(go(algorithm, data, rounds=6).state), data.x, data.y)
    assert before < 0.6 < 0.8 < found, (before, found)


def test_plain_averaging_is_fedavg_on_the_same_kernel(kernel, data):
    fedavg = FedAvg(
        kernel=kernel, epochs=2, batch_size=8, optimizer=plain_sgd(0.1), divisor=float(CLIENTS)
    )
    theirs = go(fedavg, data).state
    ours = go(method(kernel), data).state
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-7)
    by_size = go(replace(fedavg, divisor="examples"), data).state
    ours = go(method(kernel, divisor="examples"), data).state
    torch.testing.assert_close({n: ours[n] for n in by_size}, by_size, rtol=1e-6, atol=1e-7)


def test_frozen_factors_stay_and_are_not_sent(kernel, data):
    algorithm = method(kernel, "ffa")
    assert not [name for name in algorithm.sent if factor_of(name) == "A"]
    start = algorithm.start(ONE, KEY)
    state = go(algorithm, data).state
    for name in kernel.shapes():
        assert torch.equal(state[name], start[name]) == (factor_of(name) == "A"), name
    rolora = method(kernel, "rolora")
    one, two = (go(rolora, data, rounds=rounds).state for rounds in (1, 2))
    for name in kernel.shapes():
        assert torch.equal(one[name], start[name]) == (factor_of(name) == "A"), name
        assert torch.equal(two[name], one[name]) == (factor_of(name) == "B"), name


def test_clients_of_other_ranks_train_and_are_stacked_exactly(kernel, data):
    ranks = (3, 1, 2, 3, 1)
    algorithm = method(kernel, "stack", ranks=ranks)
    state = algorithm.start(ONE, KEY)
    received = {n: v.expand(CLIENTS, *v.shape[1:]) for n, v in algorithm.broadcast(state).items()}
    uploads, _ = algorithm.update(received, {}, data, round=0, key=KEY)
    parts = unflatten(uploads, algorithm.sent)
    for name, value in parts.items():
        for client, rank in enumerate(ranks):
            if factor_of(name) == "A":
                assert not value[client, rank:].any() and value[client, :rank].any()
            if factor_of(name) == "B":
                assert not value[client, :, rank:].any() and value[client, :, :rank].any()
    # Noise beyond a client's rank does not enter the product.
    generator = torch.Generator().manual_seed(0)
    noisy = uploads.double() + torch.randn(uploads.shape, generator=generator)
    new = algorithm.serve(state, arrived_with(algorithm, state, noisy), round=0, key=KEY)
    parts = unflatten(noisy, algorithm.sent)
    for layer in kernel.layers:
        b, a = pair(layer)
        wanted = sum(
            (state[b][0].double() + parts[b][k])[:, :rank]
            @ (state[a][0].double() + parts[a][k])[:rank]
            for k, rank in enumerate(ranks)
        ) / CLIENTS  # fmt: skip
        found = new[folded_name(layer)][0].double() / 2.0
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    # A client of rank 1 learns what a federation of rank 1 learns from the same start.
    small = replace(kernel, rank=1, alpha=2.0)
    of_one = {n: v for n, v in received.items() if n in kernel.shapes()}
    for name, value in of_one.items():
        of_one[name] = {"A": value[:, :1], "B": value[..., :1]}.get(factor_of(name), value)
    one = data.take(torch.tensor([1]))
    folded = {n: v for n, v in received.items() if n not in of_one}
    found, _ = method(small, "stack").update(
        {n: v[:1] for n, v in (of_one | folded).items()}, {}, one, round=0, key=KEY
    )
    for name, value in unflatten(found, method(small, "stack").sent).items():
        whole = unflatten(uploads, algorithm.sent)[name][1]
        cut = {"A": whole[:1], "B": whole[..., :1]}.get(factor_of(name), whole)
        torch.testing.assert_close(value[0], cut, rtol=1e-5, atol=1e-6)


def test_fedprox_pulls_towards_the_broadcast(kernel, data):
    far, near = (
        go(method(kernel, client=Descent(make=plain_sgd(0.1), proximal=mu)), data, rounds=1).state
        for mu in (0.0, 5.0)
    )
    start = method(kernel).start(ONE, KEY)
    moved = [
        float(torch.cat([(s[n] - start[n]).flatten() for n in kernel.shapes()]).norm())
        for s in (far, near)
    ]
    assert moved[1] < 0.5 * moved[0], moved
    # One step from the broadcast feels no pull.
    once = [
        go(
            method(
                kernel, epochs=1, batch_size=64,
                client=Descent(make=plain_sgd(0.1), proximal=mu),
            ),
            data, rounds=1,
        ).state
        for mu in (0.0, 5.0)
    ]  # fmt: skip
    for name in kernel.shapes():
        assert torch.equal(once[0][name], once[1][name])


def by_hand_scaffold(kernel, data, rounds, rate, epochs, batch):
    """Client by client with plain tensors: the published pseudo-code."""
    client = Scaffold(learning_rate=rate, clients=CLIENTS)
    algorithm = method(kernel, client=client, epochs=epochs, batch_size=batch)
    x = {n: v.clone() for n, v in algorithm.start(ONE, KEY).items() if n in kernel.shapes()}
    c = {n: torch.zeros_like(v) for n, v in x.items()}
    own = [{n: torch.zeros_like(v) for n, v in x.items()} for _ in range(CLIENTS)]
    for round_ in range(rounds):
        dx, dc = [], []
        for client in range(CLIENTS):
            mine = data.take(torch.tensor([client]))
            y, taken = {n: v.clone() for n, v in x.items()}, 0
            for epoch in range(epochs):
                turn = mine.index.gather(1, local_order(KEY, round_)(mine, epoch))
                for batch_ in turn[0].split(batch):
                    weights = torch.full((1, len(batch_)), 1 / len(batch_))
                    g = kernel.gradients(
                        y, data.x[batch_][None], data.y[batch_][None], weights, cross_entropy, {}
                    )
                    y = {n: y[n] - rate * (g[n] - own[client][n] + c[n]) for n in y}
                    taken += 1
            new = {n: own[client][n] - c[n] + (x[n] - y[n]) / (taken * rate) for n in x}
            dx.append({n: y[n] - x[n] for n in x})
            dc.append({n: new[n] - own[client][n] for n in x})
            own[client] = new
        x = {n: x[n] + sum(d[n] for d in dx) / CLIENTS for n in x}
        c = {n: c[n] + sum(d[n] for d in dc) / CLIENTS for n in c}
    return algorithm, x, c


def test_scaffold_is_the_published_pseudo_code(kernel, data):
    algorithm, x, c = by_hand_scaffold(kernel, data, rounds=3, rate=0.1, epochs=2, batch=16)
    state = go(algorithm, data).state
    for name in kernel.shapes():
        torch.testing.assert_close(state[name], x[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state[PREFIX + name], c[name], rtol=1e-4, atol=1e-5)
        assert c[name].any()


def test_a_client_without_records_keeps_its_control(kernel, data):
    nobody = replace(data, lengths=torch.tensor([40, 30, 24, 16, 0]))
    algorithm = method(kernel, client=Scaffold(learning_rate=0.1, clients=CLIENTS))
    outcome = go(algorithm, nobody)
    for name in algorithm.controls:
        assert torch.isfinite(outcome.personal[name]).all()
        assert not outcome.personal[name][4].any() and outcome.personal[name][0].any()


def test_what_a_round_does_not_train_is_ignored_with_its_noise(kernel):
    for client in (Descent(make=plain_sgd(0.1)), Scaffold(learning_rate=0.1, clients=CLIENTS)):
        algorithm = method(kernel, "rolora", client=client)
        state, changes = made_up(algorithm)  # noise everywhere
        for round_, still in ((0, "A"), (1, "B")):
            new = algorithm.serve(
                state, arrived_with(algorithm, state, changes), round=round_, key=KEY
            )
            for name in algorithm.sent:
                for each in {name, PREFIX + name} & set(state):
                    assert torch.equal(new[each], state[each]) == (factor_of(name) == still), each


def test_server_rules_follow_the_formulas(kernel):
    for kind in ("adam", "yogi", "adagrad"):
        rule = Adaptive(kind=kind, learning_rate=0.1, tau=0.01, beta1=0.9, beta2=0.8)
        algorithm = method(kernel, "ffa", server=rule)
        state, changes = made_up(algorithm)
        name = next(n for n in algorithm.sent)
        m, v = 0.0, 0.01**2
        x = float(state[name].flatten()[0])
        for round_ in range(3):
            received = arrived_with(algorithm, state, changes / (round_ + 1))
            d = float(unflatten(changes, algorithm.sent)[name].flatten(1)[:, 0].mean())
            d /= round_ + 1
            m = 0.9 * m + 0.1 * d
            v = {
                "adam": 0.8 * v + 0.2 * d * d,
                "adagrad": v + d * d,
                "yogi": v - 0.2 * d * d * math.copysign(1.0, v - d * d),
            }[kind]
            x += 0.1 * m / (math.sqrt(v) + 0.01)
            state = algorithm.serve(state, received, round=round_, key=KEY)
            assert float(state[name].flatten()[0]) == pytest.approx(x, rel=1e-5), kind
        frozen = next(n for n in kernel.shapes() if factor_of(n) == "A")
        assert not [n for n in state if n.startswith("server") and n.endswith(frozen)]


def test_idle_clients_change_nothing(kernel, data):
    algorithm = method(kernel, client=Idle())
    start, state = algorithm.start(ONE, KEY), go(algorithm, data).state
    assert all(torch.equal(state[name], start[name]) for name in kernel.shapes())


def test_private_training_costs_its_steps_and_is_all_that_moves(kernel, data):
    mechanism = DpSgd(clip_norm=1.0, noise_multiplier=4.0, sampling_rate=0.5, expected_batch=8)
    client = PrivateDescent(mechanism=mechanism, steps=4, make=plain_sgd(0.2))
    algorithm = method(kernel, "ffa", client=client)
    ledger = Ledger(adjacency="add-remove", unit="example")
    state = go(algorithm, data, ledger, protection=client.protection(), rounds=2).state
    found = account(ledger.event(), adjacency="add-remove").epsilon(1e-5)
    alone = account(mechanism.event(8), adjacency="add-remove").epsilon(1e-5)
    assert found.upper == pytest.approx(alone.upper, rel=1e-9)
    start = algorithm.start(ONE, KEY)
    for name in kernel.shapes():
        assert torch.equal(state[name], start[name]) == (factor_of(name) == "A"), name


def test_what_does_not_fit_is_refused(kernel, data):
    with pytest.raises(ConfigError, match="5 clients sent their values, but the divisor is 2"):
        go(method(kernel, sends="values", divisor=2.0), data)
    adam = Adaptive(kind="adam")
    for aggregation in BY_ROW:
        for wrong in ({"divisor": "examples"}, {"server": adam}):
            with pytest.raises(ConfigError, match="multiplies the factors"):
                method(kernel, aggregation, **wrong)
        with pytest.raises(ConfigError, match="SCAFFOLD corrects"):
            method(kernel, aggregation, client=Scaffold(learning_rate=0.1, clients=5))
    with pytest.raises(ConfigError, match="ranks"):
        method(kernel, "average", ranks=(1,) * 5)
    with pytest.raises(ConfigError, match="ranks"):
        method(kernel, "stack", ranks=(1, 2, 4, 1, 1))
    with pytest.raises(ConfigError, match="ranks are given for 3 clients"):
        go(method(kernel, "stack", ranks=(1, 2, 3)), data)
    with pytest.raises(ConfigError, match="smaller side"):
        method(replace(kernel, rank=8), "svd")
    outcome = go(method(kernel, client=Descent(make=lambda p: AdamW(0.01, p))), data)
    assert torch.isfinite(flatten({n: outcome.state[n] for n in kernel.shapes()})).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("aggregation", ALL)
def test_cuda_is_the_cpu(kernel, data, aggregation):
    ranks = (3, 1, 2, 3, 1) if aggregation == "stack" else None
    there = replace(kernel, encoder=copy.deepcopy(kernel.encoder).cuda())
    wanted = go(method(kernel, aggregation, ranks=ranks), data).state
    found = go(method(there, aggregation, ranks=ranks), data.to("cuda")).state
    found = {name: value.cpu() for name, value in found.items()}
    algorithm = method(kernel, aggregation, ranks=ranks)
    for name, value in weights_of(algorithm, found).items():
        torch.testing.assert_close(value, weights_of(algorithm, wanted)[name], rtol=1e-4, atol=1e-4)
