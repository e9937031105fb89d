"""PromptFL, FedPGP, FedOTP and the evaluation, through the federated loop."""

import math

import pytest
import torch

import privassay as pa
from privassay.accountant.errors import ConfigError, ParameterError
from privassay.fl_core.algorithms.fed_otp import Transport, fed_otp
from privassay.fl_core.algorithms.fed_pgp import fed_pgp
from privassay.fl_core.algorithms.fedavg import FedAvg, plain_sgd
from privassay.fl_core.algorithms.prompt_evaluation import accuracy
from privassay.fl_core.algorithms.prompt_federation import (
    LocalTraining,
    PrivateSteps,
    published_sgd,
)
from privassay.fl_core.algorithms.prompt_fl import prompt_fl
from privassay.fl_core.cohort import Poisson
from privassay.fl_core.federation import Federation, run
from privassay.fl_core.protection import Unprotected
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.dpsgd import DpSgd

from .conftest import CLASSES, DIM, LENGTH, WIDTH, some_clients

SIZES = (7, 4, 9)
SCALE = 20.0
QUICK = LocalTraining(optimizer=published_sgd(0.5), batch_size=4)
PLACES = 3


def private(noise=1.0, steps=2):
    mechanism = DpSgd(clip_norm=0.5, noise_multiplier=noise, sampling_rate=0.5, expected_batch=4.0)
    return LocalTraining(
        optimizer=published_sgd(0.1), private=PrivateSteps(mechanism=mechanism, steps=steps)
    )


def places(data):
    """Records with one feature vector for each of three places."""
    generator = torch.Generator().manual_seed(5)
    more = torch.randn(len(data.x), PLACES - 1, DIM, generator=generator, dtype=data.x.dtype)
    from dataclasses import replace

    return replace(data, x=torch.cat([data.x.unsqueeze(1), more], dim=1).flatten(1))


def systems(text, training=QUICK):
    shared = {"scale": SCALE, "clients": len(SIZES), "training": training}
    return {
        "promptfl": prompt_fl(text, **shared),
        "local": prompt_fl(text, local_only=True, **shared),
        "fedpgp": fed_pgp(text, anchor="ab", rank=2, **shared),
        "fedotp": fed_otp(text, transport=Transport(places=PLACES, share=0.8), **shared),
    }


NAMES = ("promptfl", "local", "fedpgp", "fedotp")


def ledger(adjacency="add-remove", unit="example"):
    return pa.Ledger(adjacency=adjacency, unit=unit)


def federation(algorithm, data, rounds=2, protection=None, **settings):
    return Federation(
        algorithm=algorithm, data=data, rounds=rounds, key=SeededKey(3),
        protection=protection or Unprotected(), **settings,
    )  # fmt: skip


def records(name, sizes=SIZES):
    data = some_clients(sizes)
    return places(data) if name == "fedotp" else data


@pytest.mark.parametrize("how", ["plain", "private"])
@pytest.mark.parametrize("name", NAMES)
def test_stacked_clients_equal_one_after_another(text, name, how):
    algorithm = systems(text, QUICK if how == "plain" else private())[name]
    protection = algorithm.protection() if how == "private" else None
    data = records(name)
    found = [
        run(federation(algorithm, data, protection=protection, chunk=chunk), ledger())
        for chunk in (512, 1)
    ]
    for group in ("state", "personal"):
        both = [getattr(each, group) for each in found]
        for key, value in both[0].items():
            assert torch.allclose(value, both[1][key], atol=1e-9), (name, group, key)
    assert any(float(v.abs().max()) > 0.05 for v in (found[0].state | found[0].personal).values())


@pytest.mark.parametrize("name", NAMES)
def test_one_client_alone_equals_plain_sgd_on_the_whole_model(text, name):
    """One round, by autograd through everything and torch's own optimiser."""
    algorithm = systems(text)[name]
    data = records(name, sizes=(4,))
    start = algorithm.start(torch.zeros(1, dtype=torch.int64), SeededKey(3))
    personal = algorithm.personal(data, SeededKey(3))
    leaves = {
        n: v[0].clone().requires_grad_()
        for n, v in algorithm.prompts(start, personal, data).items()
    }
    sgd = torch.optim.SGD(leaves.values(), lr=0.5, momentum=0.9, weight_decay=5e-4)
    kernel = algorithm.kernel
    params = {n: v.unsqueeze(0) for n, v in leaves.items()}
    features = kernel.class_features(params)
    logits = kernel.scale * kernel.score(data.x[None], features[:, None])[0]
    loss = torch.nn.functional.cross_entropy(logits, data.y)
    if name == "fedpgp":
        words = text.tower.words("ab")
        anchor = text.tower.classes(text.names, length=2).features(words[None])[0]
        loss = loss + slow_contrast(text, anchor, leaves)
    loss.backward()
    sgd.step()
    changed, kept = algorithm.update(
        {n: v.expand(1, *v.shape[1:]) for n, v in start.items()}, personal, data, round=0,
        key=SeededKey(3),
    )  # fmt: skip
    wanted = [(leaves[n] - start[n][0]).flatten() for n in start]
    if wanted:
        assert torch.allclose(changed[0], torch.cat(wanted).detach(), atol=1e-10)
    for n, value in kept.items():
        assert torch.allclose(value[0], leaves[n].detach(), atol=1e-10), n


def slow_contrast(text, anchor, leaves, temperature=0.5):
    """Class by class, as in the public code."""
    shared = text.features(leaves["shared"][None])[0]
    whole = text.features((leaves["shared"] + leaves["left"] @ leaves["right"])[None])[0]
    total = 0.0
    for c in range(CLASSES):
        right = torch.nn.functional.cosine_similarity(anchor[c], shared[c], dim=0) / temperature
        wrong = torch.nn.functional.cosine_similarity(shared[c], whole[c], dim=0) / temperature
        total = total - right + torch.log(right.exp() + wrong.exp())
    return total / CLASSES


def test_training_learns(text, centres):
    data = some_clients((40, 40, 40), centres=centres, spread=0.2)
    training = LocalTraining(optimizer=published_sgd(0.02), batch_size=20)
    algorithm = prompt_fl(text, scale=SCALE, clients=3, training=training)
    done = run(federation(algorithm, data, rounds=10), ledger())
    begin = algorithm.start(torch.zeros(1, dtype=torch.int64), SeededKey(3))
    before = accuracy(algorithm.kernel, algorithm.prompts(begin, {}, data), data)
    after = accuracy(algorithm.kernel, algorithm.prompts(done.state, {}, data), data)
    assert float(after.local.mean()) > float(before.local.mean()) + 0.1, (before, after)
    assert float(after.neighbour.mean()) > 0.9, after


def test_accuracy_counts_own_and_other_clients_records(text):
    kernel = prompt_fl(text, scale=1.0, clients=2).kernel
    data = some_clients((5, 3, 8))
    params = {
        "context": torch.randn(
            3, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1)
        ).double()
    }
    found = accuracy(kernel, params, data)
    for row in range(3):
        one = {"context": params["context"][row : row + 1]}
        said = kernel.outputs(one, data.x[None]).logits[0].argmax(dim=-1)
        right = (said == data.y).double()
        own = torch.zeros(16, dtype=torch.bool)
        own[data.index[row, : data.lengths[row]]] = True
        assert float(found.local[row]) == pytest.approx(float(right[own].mean()))
        assert float(found.neighbour[row]) == pytest.approx(float(right[~own].mean()))
    with pytest.raises(ConfigError, match="no neighbours"):
        accuracy(kernel, {"context": params["context"][:1]}, some_clients((5,)))
    with pytest.raises(ConfigError, match="no test records"):
        accuracy(kernel, params, some_clients((5, 0, 2)))


def test_zero_shot_begins_at_the_words(text):
    algorithm = prompt_fl(text, scale=1.0, clients=2, words="abcd")
    begin = algorithm.start(torch.zeros(1, dtype=torch.int64), SeededKey(3))
    assert torch.equal(begin["context"][0], text.tower.words("abcd"))
    with pytest.raises(ConfigError, match="shape"):
        prompt_fl(text, scale=1.0, clients=2, words="abc")


@pytest.mark.parametrize("unbalanced", [True, False])
def test_transport_plans_have_their_marginals(unbalanced):
    generator = torch.Generator().manual_seed(0)
    cosines = 2.0 * torch.rand(6, 7, 2, generator=generator, dtype=torch.float64) - 1.0
    share = 0.7 if unbalanced else 1.0
    transport = Transport(places=7, share=share, unbalanced=unbalanced, iterations=2000)
    plan = transport.plan(cosines)
    assert float(plan.min()) >= 0.0
    assert torch.allclose(plan.sum(dim=-2), torch.full((6, 2), share / 2).double(), atol=1e-12)
    rows = plan.sum(dim=-1)
    if unbalanced:
        assert float(rows.max()) <= 1 / 7 + 1e-6
        assert float(rows.min()) < 1 / 7 - 0.02, "the bound should not bind everywhere"
    else:
        assert torch.allclose(rows, torch.full((6, 7), 1 / 7).double(), atol=1e-8)
    # the best of all such plans, up to entropy: no other feasible one has a larger score
    score = (plan * cosines).sum(dim=(1, 2)) - 0.1 * torch.xlogy(plan, plan).sum(dim=(1, 2))
    for _ in range(20):
        noise = torch.rand(cosines.shape, generator=generator, dtype=torch.float64)
        other = Transport(
            places=7, share=share, unbalanced=unbalanced, iterations=300, temperature=0.5
        ).plan(noise)
        theirs = (other * cosines).sum(dim=(1, 2)) - 0.1 * torch.xlogy(other, other).sum(dim=(1, 2))
        assert float((theirs - score).max()) <= 1e-6


def test_transport_refuses_a_share_that_balance_cannot_keep():
    with pytest.raises(ParameterError, match="balanced transport moves all"):
        Transport(places=4, share=0.5, unbalanced=False)


def test_private_training_is_in_the_ledger_and_only_then(text):
    algorithm = systems(text, private(noise=2.0, steps=2))["fedpgp"]
    book = ledger()
    protection = algorithm.protection()
    run(federation(algorithm, some_clients(SIZES), rounds=3, protection=protection), book)
    assert len(book.entries) == 9
    found = pa.account(book.event(), adjacency="add-remove").epsilon(1e-5)
    mechanism = algorithm.training.private.mechanism
    wanted = pa.account(mechanism.event(6), adjacency="add-remove").epsilon(1e-5)
    assert found.upper == pytest.approx(wanted.upper)
    with pytest.raises(ConfigError, match="adds no noise"):
        systems(text)["fedpgp"].protection()


def test_a_cost_for_several_rounds_needs_everybody(text):
    from privassay.fl_core.algorithms.noise_inside import NoiseInside

    algorithm = systems(text, private())["promptfl"]
    event = algorithm.training.private.event()
    with pytest.raises(ConfigError, match="Everyone"):
        federation(
            algorithm, some_clients(SIZES), cohort=Poisson(0.5),
            protection=NoiseInside(event=event, release="x", period=2),
        )  # fmt: skip


def test_an_account_of_other_noise_is_refused(text):
    algorithm = systems(text, private(noise=1.0))["promptfl"]
    larger = systems(text, private(noise=9.0))["promptfl"].protection()
    for other, protection in (
        (algorithm, larger),
        (systems(text)["promptfl"], algorithm.protection()),
        (FedAvg(kernel=algorithm.kernel, optimizer=plain_sgd(0.1), divisor=3.0), larger),
    ):
        with pytest.raises(ConfigError, match="does not add the noise|adds no noise"):
            federation(other, some_clients(SIZES), protection=protection)


def test_contrast_is_post_processing_of_private_training(text):
    """Its gradient is the same whatever the records are."""
    algorithm = systems(text, private())["fedpgp"]
    data = some_clients(SIZES)
    params = algorithm.prompts(
        algorithm.start(torch.zeros(1, dtype=torch.int64), SeededKey(3)),
        algorithm.personal(data, SeededKey(3)),
        data,
    )
    pulled = algorithm.training.optimizer(params)
    moved = {n: v.clone() for n, v in params.items()}
    zero = {n: torch.zeros_like(v) for n, v in params.items()}
    pulled.update(moved, zero, slice(0, 3))
    gradients = pulled.contrast.gradients(params)
    for n, value in params.items():
        wanted = value - 0.1 * (gradients[n] + 5e-4 * value)
        assert torch.allclose(moved[n], wanted, atol=1e-12), n
    assert math.sqrt(sum(float(g.square().sum()) for g in gradients.values())) > 1e-3
