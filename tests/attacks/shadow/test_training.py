"""Stacked shadows against one torch module after another, and every kind of kernel and training."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from privassay.accountant.errors import ConfigError, DesignError, ParameterError
from privassay.attacks.shadow import train_shadows
from privassay.attacks.shadow_batches import Epochs, Poisson, WithReplacement
from privassay.attacks.shadow_design import equal_coins, everyone
from privassay.fl_core.algorithms.personal_training import PrivateTraining
from privassay.fl_core.data.membership import balanced, coins, paired
from privassay.fl_core.data.partition import iid
from privassay.fl_core.kernels.adapters import Adapters
from privassay.fl_core.kernels.base import cross_entropy
from privassay.fl_core.kernels.functional import Functional
from privassay.fl_core.kernels.prompts import Prompts, one_context
from privassay.fl_core.kernels.stacked import mlp
from privassay.fl_core.models.dual_encoder import clip_text
from privassay.fl_core.plan import by_length
from privassay.fl_core.private_training import train_privately
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.dpsgd import DpSgd

from .conftest import MODELS, adam_w, momentum, plain, recipe

KEY = SeededKey(11)
TRAININGS = {
    "epochs": Epochs(epochs=3, batch_size=16),
    "with replacement": WithReplacement(steps=30, batch_size=10),
    "poisson": Poisson(steps=30, rate=0.1),
}
OPTIMIZERS = {
    "plain": (plain, lambda p: torch.optim.SGD(p, lr=0.3)),
    "momentum": (momentum, lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01)),
    "adamw": (adam_w, lambda p: torch.optim.AdamW(p, lr=0.01)),
}


def one_after_another(how, x, y, design, descent):
    """float64[models, records, classes]: logits of torch modules on the same batches."""
    data = design.client_data(x, y)
    order = by_length(data)
    start = how.start(data, KEY)
    steps = list(how.training.plan(data.take(order), KEY))
    found = []
    for model in range(len(data)):
        module = nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)).double()
        for twin, value in zip(module.parameters(), start.values(), strict=True):
            twin.data = (value[model].mT if len(value[model]) > 1 else value[model][0]).clone()
        optimizer = descent(module.parameters())
        place = int((order == model).nonzero())
        for step in steps:
            names = range(*step.rows.indices(len(data)))
            if place not in names:
                continue
            records, weights = (part[names.index(place)] for part in (step.records, step.weights))
            each = nn.functional.cross_entropy(module(x[records]), y[records], reduction="none")
            optimizer.zero_grad()
            (each * weights).sum().backward()
            optimizer.step()
        found.append(module(x).detach())
    return torch.stack(found)


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_shadows_equal_modules_trained_one_after_another(pool, name, training):
    ours, theirs = OPTIMIZERS[name]
    design = coins(everyone(pool[1].numpy()), range(200), seed=2, replicas=5)  # unequal sizes
    how = recipe(training=training, optimizer=ours)
    shadows = train_shadows(how, *pool, design, key=KEY)
    wanted = one_after_another(how, *pool, design, theirs)
    found = shadows.answers(*pool).logits
    assert (found - wanted).abs().max() < 1e-10
    assert found.std() > 0.1  # trained models, not zeros


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_chunks_change_nothing(pool, design, chunk):
    whole = train_shadows(recipe(optimizer=momentum), *pool, design, key=KEY)
    parts = train_shadows(recipe(optimizer=momentum), *pool, design, key=KEY, chunk=chunk)
    assert len(parts) == MODELS
    for name, value in whole.params.items():
        torch.testing.assert_close(parts.params[name], value, rtol=0, atol=1e-12)


def test_a_shadow_sees_its_own_records_and_no_others(pool, design):
    x, y = pool
    whole = train_shadows(recipe(), x, y, design, key=KEY)
    member = whole.member
    model, other = 2, 3
    outside = int((~member[model] & member[other]).nonzero()[0])
    changed = x.clone()
    changed[outside] += 1.0
    again = train_shadows(recipe(), changed, y, design, key=KEY)
    same = [torch.equal(whole.params[n][model], again.params[n][model]) for n in whole.params]
    moved = [torch.equal(whole.params[n][other], again.params[n][other]) for n in whole.params]
    assert all(same) and not any(moved)


def test_models_differ_and_the_key_decides(pool, design):
    one = train_shadows(recipe(), *pool, design, key=KEY).params["1.weight"]
    same = train_shadows(recipe(), *pool, design, key=SeededKey(11)).params["1.weight"]
    other = train_shadows(recipe(), *pool, design, key=SeededKey(12)).params["1.weight"]
    assert torch.equal(one, same)
    assert len(torch.unique(torch.cat([one, other]).flatten(1), dim=0)) == 2 * MODELS


def test_single_precision_is_close_and_says_so(pool, design):
    single = train_shadows(recipe(dtype=torch.float32), *pool, design, key=KEY)
    double = train_shadows(recipe(), *pool, design, key=KEY)
    assert all(value.dtype == torch.float32 for value in single.params.values())
    found = (single.answers(*pool).logits - double.answers(*pool).logits).abs().max()
    assert 0.0 < found < 1e-4


def test_dp_sgd_shadows_are_private_trainings(pool, design):
    mechanism = DpSgd(clip_norm=1.0, noise_multiplier=0.8, sampling_rate=0.2, expected_batch=18.0)
    private = PrivateTraining(mechanism=mechanism, steps=5)
    shadows = train_shadows(recipe(training=private), *pool, design, key=KEY, chunk=4)
    data = design.client_data(*pool)
    for model in (0, 5):
        row = data.take(torch.tensor([model]))
        params = recipe().start(row, KEY)
        train_privately(
            mlp((64, 12, 10)), params, row, mechanism=mechanism, steps=5, loss=cross_entropy,
            optimizer=plain(params), key=KEY.child("private training"),
        )  # fmt: skip
        for name, value in params.items():
            torch.testing.assert_close(shadows.params[name][model], value[0], rtol=0, atol=1e-12)


def functional():
    torch.manual_seed(0)
    return Functional(
        nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)).double().eval()
    )


def adapters():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(64, 12), nn.Tanh()).double().eval().requires_grad_(False)
    return Adapters(encoder=encoder, targets=("0",), rank=2, alpha=2.0, head=mlp((12, 10)))


def prompts():
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = {"vocab_size": 64, "intermediate_size": 8, "max_position_embeddings": 16}
    text = size | words | {"bos_token_id": 1, "eos_token_id": 62, "pad_token_id": 0}
    vision = size | {"intermediate_size": 8, "image_size": 8, "patch_size": 4}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)
    model = CLIPModel(config).double().eval().requires_grad_(False)

    def tokens(words):
        return [1, *(3 + ord(letter) % 57 for letter in words), 62]

    classes = clip_text(model, tokens).classes(tuple("0123456789"), length=3)
    return Prompts(text=classes, form=one_context(3, 8), scale=10.0, stddev=0.5)


@pytest.mark.parametrize("make", [functional, adapters, prompts])
def test_every_kernel_trains_its_shadows(pool, design, make):
    how = recipe(kernel=make(), training=WithReplacement(steps=6, batch_size=8))
    shadows = train_shadows(how, *pool, design, key=KEY)
    data = design.client_data(*pool)
    for name, value in how.train(data.take(torch.tensor([3])), KEY).items():
        torch.testing.assert_close(shadows.params[name][3], value[0], rtol=0, atol=1e-10)
    before = how.start(data, KEY)
    assert all(not torch.equal(before[name], value) for name, value in shadows.params.items())
    answers = shadows.answers(*pool)
    assert answers.logits.shape == (MODELS, 200, 10) and answers.logits.std(dim=0).max() > 1e-4


def test_paired_worlds_train_too(pool):
    worlds = paired(everyone(pool[1].numpy()), [5, 6], pairs=2)
    shadows = train_shadows(recipe(), *pool, worlds, key=KEY)
    assert len(shadows) == 4 and shadows.member.sum(dim=1).tolist() == [199, 198, 199, 198]


def test_wrong_input_says_what_to_do(pool, design):
    x, y = pool
    with pytest.raises(DesignError, match="2 clients, but a shadow is trained in one place"):
        federated = coins(iid(y.numpy(), 2, seed=0), range(200), seed=0, replicas=2)
        train_shadows(recipe(), x, y, federated, key=KEY)
    with pytest.raises(ConfigError, match="seeded key"):
        train_shadows(recipe(), x, y, design, key=SystemKey())
    with pytest.raises(DesignError, match="200 records, but the pool has 199"):
        train_shadows(recipe(), x[1:], y[1:], design, key=KEY)
    with pytest.raises(ParameterError, match="chunk"):
        train_shadows(recipe(), x, y, design, key=KEY, chunk=0)
    with pytest.raises(DesignError, match="6 of 6 models diverged, the first is number 0"):
        explodes = recipe(optimizer=lambda p: dataclasses.replace(plain(p), learning_rate=1e200))
        train_shadows(explodes, x, y, design, key=KEY)
    empty = np.zeros((2, 200), dtype=bool)
    empty[0, 0] = True
    nobody = dataclasses.replace(equal_coins(y.numpy(), models=2, seed=0), member=empty)
    with pytest.raises(DesignError, match="model 1 has no records"):
        train_shadows(recipe(), x, y, nobody, key=KEY)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="torch finds none here"):
            train_shadows(recipe(), x, y, design, key=KEY, device="cuda")
    with pytest.raises(ConfigError, match="Ray shards train on processors"):
        train_shadows(recipe(), x, y, design, key=KEY, device="meta", shards=2)


def test_a_balanced_design_trains(pool):
    design = balanced(everyone(pool[1].numpy()), range(200), seed=0, replicas=4)
    assert len(train_shadows(recipe(), *pool, design, key=KEY)) == 4


@pytest.mark.gpu
def test_a_gpu_trains_the_same_models(pool, design):
    here = train_shadows(recipe(optimizer=momentum), *pool, design, key=KEY)
    there = train_shadows(recipe(optimizer=momentum), *pool, design, key=KEY, device="cuda")
    assert all(value.is_cuda for value in there.params.values())
    found = there.answers(*pool).logits
    assert found.device.type == "cpu" and (found - here.answers(*pool).logits).abs().max() < 1e-8
