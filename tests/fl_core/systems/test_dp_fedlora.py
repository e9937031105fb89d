"""Rows of the DP-FedLoRA comparison on a tiny BERT: what they cost, what they may depend on."""

import copy
import math
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError
from privassay.accountant.event_json import from_dict
from privassay.fl_core.algorithms.fed_lora import FedLora
from privassay.fl_core.algorithms.fed_lora_clients import PrivateDescent
from privassay.fl_core.algorithms.fedavg import plain_sgd
from privassay.fl_core.clients import ClientData
from privassay.fl_core.counters import Counter
from privassay.fl_core.data.text import TextPool
from privassay.fl_core.kernels.base import cross_entropy
from privassay.fl_core.models.language import load_language_model
from privassay.fl_core.models.language_kernels import classifier
from privassay.fl_core.models.language_top import last_layer_classifier, states_below
from privassay.fl_core.systems import base
from privassay.fl_core.systems.dp_fedlora_data import REPORTED, deal, judge
from privassay.fl_core.systems.dp_fedlora_plan import (
    BASE,
    CENTRAL,
    FEDAVG,
    HEAD,
    INSIDE,
    LEAK,
    LOCAL,
    RELEASED_ALL,
    RELEASED_TWO,
    RULES,
)
from privassay.fl_core.systems.dp_fedlora_records import Records
from privassay.fl_core.systems.dp_fedlora_rows import Clipped
from privassay.fl_core.systems.dp_fedlora_run import DpFedLoraRows
from privassay.fl_core.systems.dp_fpl_noise import Unnoised
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.released.dp_fedlora import classical_sigma, clients_of_round

EXAMPLE = Path(__file__).parents[3] / "examples" / "dp_fedlora.toml"
LENGTH, RANK, ALPHA, CLIENTS, ROUNDS = 12, 2, 4.0, 6, 2
SMALL = {
    "data": {"per_class": 40, "clients": CLIENTS, "train_each": 8, "test_each": 4,
             "neighbour_sample": 5},
    "model": {"length": LENGTH},
    "training": {"rounds": ROUNDS, "batch_size": 4, "learning_rate": 0.1, "unclipped_rate": 0.03},
    "system": {"released_rounds": 3},
}  # fmt: skip


def content(**more):
    found = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    for section, values in (SMALL | more).items():
        found[section] = found.get(section, {}) | values
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=257, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=LENGTH,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("bert")
    BertModel(config, add_pooling_layer=False).save_pretrained(folder, safe_serialization=True)
    return load_language_model(folder, kind="encoder", tokenizer="bytes")


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    letters = {0: "abcdefgh", 1: "QRSTUVWX"}
    y = np.arange(80, dtype=np.int64) % 2
    return TextPool(
        name="letters", texts=tuple("".join(rng.choice([*letters[int(c)]], 9)) for c in y), y=y,
        classes=("low", "high"), author=np.zeros(80, dtype=np.int64), authors=("nobody",),
        provenance="made here",
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows(model, pool):
    file = base.parse(content())
    states = states_below(model, model.tokenizer.encode(pool.texts, LENGTH))
    split = deal(pool, file.data, seeds=3, key=SeededKey(0))
    y = torch.from_numpy(pool.y.copy())
    records = Records.of(states, y, split, judge=judge, reported=REPORTED)
    return DpFedLoraRows(file=file, model=model, records=records, hashes={})


def plan(rows, name, asked=None):
    return next(r for r in rows.file.rows() if (r.name, r.asked) == (name, asked))


def go(rows, name, asked=None):
    return rows.run(plan(rows, name, asked), lambda done, of: None)


def flip(rows):
    """The same with every training label changed."""
    records = rows.records
    other = replace(records.train, y=1 - records.train.y)
    return replace(rows, records=replace(records, train=other))


def epsilon(rows, name, asked=None):
    row, outcome = plan(rows, name, asked), go(rows, name, asked)
    return account(from_dict(outcome.event), adjacency=row.adjacency, unit=row.unit).epsilon(1e-5)


def test_the_last_layer_alone_is_the_whole_model(model, pool):
    tokens = model.tokenizer.encode(pool.texts[:12], LENGTH)
    tokens[:, 5:] = torch.where(torch.arange(12).view(-1, 1) < 6, tokens[:, 5:], 256)
    assert (tokens == model.tokenizer.padding).any()
    y = torch.arange(12) % 2
    top = last_layer_classifier(model, classes=2, rank=RANK, alpha=ALPHA)
    whole = classifier(
        model, classes=2, rank=RANK, alpha=ALPHA, pool="first",
        targets=r"encoder\.layer\.2\.attention\.self\.(query|value)",
    )  # fmt: skip
    numbers = torch.arange(2)
    params = top.initial(Counter.of(SeededKey(1), "model"), numbers, numbers)
    for name in params:
        if "lora_B" in name:  # else A would have no gradient
            params[name] = torch.randn_like(params[name])
    renamed = {
        name if name.startswith("1.") else f"encoder.{name.replace('layer', 'layer.2', 1)}": value
        for name, value in params.items()
    }
    assert list(renamed) == list(whole.shapes())
    below = states_below(model, tokens).view(2, 6, LENGTH, -1)
    tokens, y = tokens.view(2, 6, LENGTH), y.view(2, 6)
    found, wanted = top.outputs(params, below), whole.outputs(renamed, tokens)
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-4, atol=1e-5)
    weights = torch.full((2, 6), 1 / 6)
    gradients = top.gradients(params, below, y, weights, cross_entropy, {})
    others = whole.gradients(renamed, tokens, y, weights, cross_entropy, {})
    for (name, value), other in zip(gradients.items(), others.values(), strict=True):
        assert bool(value.any()), name
        torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-5)


def test_the_last_layer_is_that_of_a_bert(model):
    for other in (replace(model, family="roberta"), replace(model, kind="causal")):
        with pytest.raises(ConfigError, match="Use classifier"):
            last_layer_classifier(other, classes=2, rank=RANK, alpha=ALPHA)
        with pytest.raises(ConfigError, match="family 'bert'"):
            states_below(other, torch.ones(1, LENGTH, dtype=torch.int64))


def test_the_example_has_every_mandatory_row():
    file = base.load(EXAMPLE)
    plans = file.rows()
    keys = [row.key for row in plans]
    assert len(set(keys)) == len(keys)
    names = {row.name for row in plans}
    assert {BASE, LOCAL, CENTRAL, HEAD, FEDAVG, LEAK, *RULES} <= names
    assert file.compare.seeds >= 3 and file.compare.epsilons == [8.0, 2.0, 0.4]
    for name in ("ffa", "rolora", INSIDE, "ffa, local noise", "stack, local noise"):
        asked = {row.asked for row in plans if row.name == name}
        assert {8.0, 2.0, 0.4} <= asked, name
    assert 25.0 in {row.asked for row in plans if row.name == RELEASED_TWO and row.released}
    assert all(row.control for row in plans if row.name in (BASE, LOCAL, HEAD))


def test_the_page_shows_every_row_of_the_example():
    text = (EXAMPLE.parents[1] / "docs" / "federated_lora.md").read_text(encoding="utf-8")
    before, _, after = text.partition("\n## A causal model\n")  # another example
    text = before + after.partition("\n## ")[2]
    shown = re.findall(r"^\| ([^|]+) \| ([^|]*) \| [^|]+ \| \d\.\d+ ± ", text, re.MULTILINE)
    wanted = [
        (row.name, f"{row.asked:g}{' claimed' * row.released}" if row.asked is not None else "")
        for row in base.load(EXAMPLE).rows()
    ]
    assert sorted(shown) == sorted(wanted)


def test_each_row_with_noise_has_a_twin_of_its_own_and_no_other(rows):
    plans = {(row.name, row.asked): row for row in rows.file.rows()}
    for (name, asked), row in plans.items():
        if asked is not None and row.records and name != LEAK:
            twin = plans[name + base.NO_RECORDS, asked]
            assert twin.control and not twin.records and not twin.released
            assert (twin.unit, twin.view) == (row.unit, row.view)
            idle = [other for other in row.against if other.endswith(base.NO_RECORDS)]
            assert idle == [twin.name], name


def test_epsilons_of_different_things_are_never_compared(rows):
    plans = rows.file.rows()
    base.check_terms(plans)
    for name in (INSIDE, "ffa, local noise"):
        (place,) = (k for k, row in enumerate(plans) if (row.name, row.asked) == (name, 8.0))
        wrong = list(plans)
        wrong[place] = replace(plans[place], against=(HEAD,))
        with pytest.raises(ConfigError, match=f"{name}' is compared with 'head only' at epsilon 8"):
            base.check_terms(tuple(wrong))
        wrong[place] = replace(plans[place], against=(LOCAL, BASE))
        base.check_terms(tuple(wrong))


@pytest.mark.parametrize(
    ("name", "asked"),
    [("ffa", 8.0), ("rolora", 8.0), ("average", 8.0), ("stack, local noise", 8.0), (HEAD, 8.0),
     (INSIDE, 2.0), (RELEASED_TWO, 25.0), (RELEASED_ALL, 25.0)],
)  # fmt: skip
def test_a_twin_has_the_noise_of_its_row_and_no_record(rows, name, asked):
    """Notes tell the multiplier; where nothing is learned, the row and its twin are the same."""
    twin, flipped = name + base.NO_RECORDS, flip(rows)
    found = go(rows, twin, asked)
    assert epsilon(rows, twin, asked).upper == 0.0 and found.releases == 0
    assert found.digest == go(flipped, twin, asked).digest
    row = go(rows, name, asked)
    assert row.digest != found.digest
    assert [n for n in found.notes if "multiplier" in n] == [
        n for n in row.notes if "multiplier" in n
    ]
    law = [re.search(r"noise alone (\d\S+)", " ".join(each.notes)) for each in (found, row)]
    assert [m and m[1] for m in law][0] == [m and m[1] for m in law][1]


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("system", {"clip_nrom": 1.0}, "did you mean 'clip_norm'"),
        ("system", {"local_noise": ["ffa", "ffa"]}, "must name each once"),
        ("system", {"local_noise": ["flora"]}, "local_noise"),
        ("system", {"released_cohort": 7}, "exceeds data.clients"),
        ("claim", {"unit": "example"}, 'write claim.unit = "client"'),
        ("claim", {"adjacency": "add-remove"}, "shows who takes part"),
        ("data", {"per_class": 30}, "need more than the 2"),
        ("data", {"neighbour_sample": 21}, "all other clients hold 20"),
        ("compare", {"seeds": 2}, "seeds"),
    ],
)
def test_wrong_files_are_named(section, values, message):
    data = copy.deepcopy(content())
    data[section] = data[section] | values
    with pytest.raises(ConfigError, match=re.escape(message)):
        base.parse(data)


@pytest.mark.parametrize(
    ("name", "asked"),
    [(name, asked) for name in ("ffa", "rolora", "ffa, local noise", HEAD) for asked in (8.0, 0.4)]
    + [(INSIDE, 2.0)],
)
def test_a_sound_row_costs_its_budget_and_uses_it(rows, name, asked):
    found = epsilon(rows, name, asked)
    assert 0.999 * asked < found.upper <= asked, found


def test_without_noise_there_is_no_bound_and_without_records_no_cost(rows):
    for name in ("ffa", HEAD, FEDAVG, LOCAL, CENTRAL, INSIDE):
        assert epsilon(rows, name).upper == math.inf, name
    assert epsilon(rows, BASE).upper == 0.0
    assert epsilon(rows, LEAK, 25.0).upper == math.inf


def test_the_base_model_depends_on_no_record(rows):
    other = flip(rows)
    assert go(rows, BASE).digest == go(other, BASE).digest
    first, second = (go(each, "ffa", 2.0).digest for each in (rows, other))
    assert first != second
    assert go(rows, "ffa", 2.0).digest == first  # the same again


def test_the_released_claim_costs_what_all_its_tensors_and_rounds_cost(rows):
    noise = classical_sigma(1.0, 25.0, 1e-5)
    tensors = 6  # A and B of query and value, weight and bias of the head
    drawn = [client for r in range(3) for client in clients_of_round(r, CLIENTS, 2)]
    most = max(drawn.count(client) for client in drawn)
    for name, rounds in ((RELEASED_ALL, ROUNDS), (RELEASED_TWO, most)):
        mu = math.sqrt(tensors * rounds) / noise
        found = epsilon(rows, name, 25.0)
        assert found.upper > 50.0
        # delta(epsilon) of a Gaussian trade-off at this epsilon is the claim's.
        phi = torch.special.ndtr(torch.tensor([mu / 2 - found.upper / mu], dtype=torch.float64))
        log = torch.special.log_ndtr(
            torch.tensor([-mu / 2 - found.upper / mu], dtype=torch.float64)
        )
        delta = float(phi - torch.exp(found.upper + log))
        assert delta == pytest.approx(1e-5, rel=1e-6), name


def test_the_norm_law_is_told_and_flags_the_released_adapters(rows):
    (note,) = go(rows, RELEASED_TWO + base.NO_RECORDS, 0.4).notes
    assert re.match(r"norm law: 12 of 12 factors .* in 12 noise is most", note), note
    (note,) = go(rows, RELEASED_TWO, 0.4).notes
    assert "in 12 noise is most of it" in note, note  # the weights are cut to 0.1 each
    noise = go(rows, "ffa", 8.0).notes
    assert noise[0].startswith("noise multiplier") and "of 6 factors" in noise[1]


def test_gaps_of_the_rules_are_those_of_their_equations(rows):
    gaps = {name: float(go(rows, name).notes[0].rpartition(" ")[2]) for name in RULES}
    assert max(gaps[name] for name in ("ffa", "rolora", "stack", "residual")) < 1e-5, gaps
    assert gaps["average"] > 0.05, gaps
    assert 1e-5 < gaps["svd"] < gaps["average"], gaps


def test_rows_without_noise_are_clipped(rows):
    uploads = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    uploads[0, 3] = math.nan
    left = Clipped(clip_norm=1.5).rows(uploads, rows.records.train, 0, SeededKey(0))
    assert not left[0].any()
    torch.testing.assert_close(left[1:].norm(dim=1), torch.full((4,), 1.5))


def test_training_learns_and_metrics_are_those_of_a_loop(rows):
    more = {"unclipped_rate": 0.1, "epochs": 20, "central_batch_size": 16}
    training = rows.file.training.model_copy(update=more)
    rows = replace(rows, file=rows.file.model_copy(update={"training": training}))
    values, again = go(rows, CENTRAL).values, go(rows, LOCAL).values
    for found in (values, again):
        assert all(len(v) == 3 and {len(c) for c in v} == {CLIENTS} for v in found.values())
    assert np.mean(values["neighbour"]) > 0.75 > np.mean(go(rows, BASE).values["neighbour"])
    mails = rows.records
    kernel = last_layer_classifier(rows.model, classes=2, rank=RANK, alpha=ALPHA)
    numbers = torch.arange(len(mails.train))
    params = kernel.initial(Counter.of(SeededKey(1), "model"), numbers, numbers)
    each = [{n: v[seed : seed + 1] for n, v in params.items()} for seed in range(3)]
    shared = mails.shared([(kernel, one) for one in each])
    own = mails.personal(kernel, params, SeededKey(0), 5)
    for row in range(len(mails.train)):
        seed, client = divmod(row, CLIENTS)
        logits = [
            kernel.outputs(one, mails.test.x[mails.test.index].flatten(0, 1).unsqueeze(0))
            .logits[0].double().unflatten(0, (3, CLIENTS, -1))[seed]
            for one in (each[seed], {n: v[row : row + 1] for n, v in params.items()})
        ]  # fmt: skip
        y = mails.test.y[mails.test.index].unflatten(0, (3, CLIENTS))[seed]
        right = [(one.argmax(dim=2) == y).double() for one in logits]
        others = torch.cat([right[0][:client], right[0][client + 1 :]])
        assert shared["neighbour"][seed][client] == pytest.approx(float(others.mean()))
        assert shared["local"][seed][client] == pytest.approx(float(right[0][client].mean()))
        assert own["local"][seed][client] == pytest.approx(float(right[1][client].mean()))
        loss = torch.nn.functional.cross_entropy(logits[1][client], y[client])
        assert own["log-loss"][seed][client] == pytest.approx(float(loss), rel=1e-5)


def test_texts_are_dealt_out_once_in_a_seed_and_neighbours_are_others(rows):
    mails = rows.records
    for train, test in zip(mails.train.index.chunk(3), mails.test.index.chunk(3), strict=True):
        held = torch.cat([train.flatten(), test.flatten()]).tolist()
        assert len(set(held)) == len(held) == CLIENTS * 12
    assert not torch.equal(*mails.train.index.chunk(3)[:2])
    sample = mails._others(SeededKey(0), 5)
    for row, index in enumerate(sample.tolist()):
        seed = row // CLIENTS
        same = mails.test.index.chunk(3)[seed].flatten().tolist()
        assert set(index) <= set(same) - set(mails.test.index[row].tolist())
        assert len(set(index)) == 5


def test_dp_sgd_inside_spends_its_clip_on_what_a_round_trains(rows):
    bound = 1e-3
    mechanism = Unnoised(
        clip_norm=bound, noise_multiplier=1.0, sampling_rate=1.0, expected_batch=1.0
    )
    algorithm = FedLora(
        kernel=rows.systems.kernel, aggregation="ffa", divisor=1.0,
        client=PrivateDescent(mechanism=mechanism, steps=1, make=plain_sgd(1.0)),
    )  # fmt: skip
    some = rows.records.train
    one = ClientData.of(some.x, some.y, [[0], [1]])
    state = algorithm.start(torch.tensor([0]), SeededKey(0))
    sent = {n: torch.cat([v, v]) for n, v in algorithm.broadcast(state).items()}
    for name in sent:
        if "lora_B" in name:  # else the gradient at A is zero, and would cost nothing
            sent[name] = 3.0 * torch.randn(
                sent[name].shape, generator=torch.Generator().manual_seed(0)
            )
    uploads, _ = algorithm.update(sent, {}, one, round=0, key=SeededKey(0))
    torch.testing.assert_close(uploads.norm(dim=1), torch.full((2,), bound), rtol=1e-4, atol=0)


@pytest.fixture(scope="module")
def with_servers(rows):
    more = {"server_rules": ["fedavgm", "fedadam"], "server_learning_rate": 0.25}
    system = rows.file.system.model_copy(update=more)
    return replace(rows, file=rows.file.model_copy(update={"system": system}))


def test_an_optimiser_at_the_server_costs_what_its_sum_costs(with_servers):
    for name in ("ffa, fedavgm", "ffa, fedadam"):
        found, same = (epsilon(with_servers, each, 2.0) for each in (name, "ffa"))
        assert found == same, name
        assert epsilon(with_servers, name).upper == math.inf
        twin = name + base.NO_RECORDS
        assert epsilon(with_servers, twin, 2.0).upper == 0.0
        assert go(with_servers, twin, 2.0).digest == go(flip(with_servers), twin, 2.0).digest
        row = plan(with_servers, name, 2.0)
        assert row.against == (BASE, HEAD, LOCAL, "ffa", twin)
        assert plan(with_servers, name).against == (BASE, HEAD, LOCAL, "ffa")
        # Noise is not just added up there, so that the norm law says nothing.
        assert len(go(with_servers, name, 2.0).notes) == 1


def test_an_optimiser_at_the_server_gets_the_mean_of_the_same_uploads(with_servers):
    """Momentum at a rate: what plain averaging would add, times the rate, in the first round."""
    training = with_servers.file.training.model_copy(update={"rounds": 1})
    file = with_servers.file.model_copy(update={"training": training})
    servers = replace(with_servers, file=file)
    found = {}
    for name in ("ffa", "ffa, fedavgm"):
        row = plan(servers, name, 8.0)
        system = servers.systems.of(row)
        ledger = servers._ledger(row)
        found[name] = servers._trained(row, system, 1, ledger, lambda done, of: None)
    start = servers.systems.noise_free("ffa").algorithm
    before = start.start(servers.records.train.replicas.unique(), servers._key)
    for name in start.sent:
        moved, wanted = (found[n][name] - before[name] for n in ("ffa, fedavgm", "ffa"))
        assert bool(wanted.any())
        torch.testing.assert_close(moved, 0.25 * wanted, rtol=1e-4, atol=1e-6)


def test_published_rates_of_optimisers_stand_unless_another_is_given(with_servers):
    file = with_servers.file
    system = file.system.model_copy(update={"server_learning_rate": None})
    published = replace(with_servers, file=file.model_copy(update={"system": system}))
    for name, rate in (("ffa, fedavgm", 1.0), ("ffa, fedadam", 1e-3)):
        for servers, wanted in ((published, rate), (with_servers, 0.25)):
            row = plan(servers, name, 2.0)
            assert servers.systems.of(row).algorithm.server.learning_rate == wanted
        assert f"rate {0.25:g}" in plan(with_servers, name).protection
        assert "its published rate" in plan(published, name).protection
