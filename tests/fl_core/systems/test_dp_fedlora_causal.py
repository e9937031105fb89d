"""Rows of the DP-FedLoRA comparison on a tiny causal model: what is trained, noised and judged."""

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
from privassay.fl_core.data.text import TextPool
from privassay.fl_core.models.language import load_language_model
from privassay.fl_core.models.language_top_causal import causal_states_below
from privassay.fl_core.systems import base, dp_fedlora_run
from privassay.fl_core.systems.dp_fedlora_lines import REPORTED, cut, deal, judge
from privassay.fl_core.systems.dp_fedlora_plan import (
    BASE,
    CENTRAL,
    FEDAVG,
    FEDPROX,
    HEAD,
    INSIDE,
    LEAK,
    LOCAL,
    RELEASED_ALL,
    RELEASED_TWO,
)
from privassay.fl_core.systems.dp_fedlora_records import Records
from privassay.fl_core.systems.dp_fedlora_run import DpFedLoraRows
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.released.dp_fedlora import classical_sigma

EXAMPLE = Path(__file__).parents[3] / "examples" / "dp_fedlora_causal.toml"
LENGTH, PREDICTED, CLIENTS, TRAIN, TEST, ROUNDS = 8, 3, 5, 6, 2, 2
SMALL = {
    "data": {"clients": CLIENTS, "train_each": TRAIN, "test_each": TEST, "neighbour_sample": 4},
    "model": {"length": LENGTH, "predicted": PREDICTED},
    "training": {"rounds": ROUNDS, "batch_size": 3, "learning_rate": 0.1, "unclipped_rate": 0.03,
                 "alone_rate": 0.02},
    "system": {"released_rounds": 3, "rank": 2, "alpha": 4.0, "clip_norm": 1.0,
               "local_noise": ["ffa"], "dp_sgd_inside": True},
}  # fmt: skip


def content(**more):
    found = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    for section, values in SMALL.items():
        found[section] = found[section] | values
    for section, values in more.items():
        found[section] = found[section] | values
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=24, max_position_embeddings=LENGTH,
        initializer_range=0.2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    return load_language_model(folder, kind="causal", tokenizer="bytes")


def texts(authors=7, size=70):
    """Speakers who say what nobody else says; the last one says little."""
    rng, said = np.random.default_rng(0), []
    who = [author for author in range(authors) for _ in range(2)]
    for author in who:
        said.append("".join(rng.choice([*"abcdefgh"], size if author < authors - 1 else 20)))
    return TextPool(
        name="plays", texts=tuple(said), y=np.zeros(len(said), dtype=np.int64), classes=("play",),
        author=np.array(who, dtype=np.int64), authors=tuple(f"speaker {n}" for n in range(authors)),
        provenance="made here",
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows(model):
    file = base.parse(content())
    pool = cut(texts(), file.data, model.tokenizer, LENGTH)
    split = deal(file.data, seeds=3, key=SeededKey(0))
    states = causal_states_below(model, pool.tokens)
    records = Records.of(states, pool.speaker, split, judge=judge, reported=REPORTED)
    return DpFedLoraRows(file=file, model=model, records=records, hashes={})


def plan(rows, name, asked=None):
    return next(r for r in rows.file.rows() if (r.name, r.asked) == (name, asked))


def go(rows, name, asked=None):
    return rows.run(plan(rows, name, asked), lambda done, of: None)


def epsilon(rows, name, asked=None):
    row, outcome = plan(rows, name, asked), go(rows, name, asked)
    return account(from_dict(outcome.event), adjacency=row.adjacency, unit=row.unit).epsilon(1e-5)


def other_lines(rows):
    """The same clients with other training texts."""
    train = rows.records.train
    moved = replace(train, x=train.x.roll(1, dims=0))
    return replace(rows, records=replace(rows.records, train=moved))


def test_the_example_has_its_rows_and_no_head():
    file = base.load(EXAMPLE)
    plans = file.rows()
    names = {row.name for row in plans}
    wanted = {BASE, LOCAL, CENTRAL, FEDAVG, "ffa", "rolora", "average", RELEASED_TWO, LEAK}
    assert wanted <= names
    assert not names & {HEAD, FEDPROX, INSIDE, "stack", "svd"}
    assert not any(HEAD in row.against for row in plans)
    for name in ("ffa", "rolora", "average"):
        assert {None, 8.0, 2.0, 0.4} == {row.asked for row in plans if row.name == name}
    for row in plans:
        twin = row.name + base.NO_RECORDS
        if row.asked is not None and row.records and row.name != LEAK:
            assert twin in row.against and (twin, row.asked) in {(r.name, r.asked) for r in plans}
    base.check_terms(plans)
    assert file.compare.seeds >= 3 and file.claim.unit == "client"
    assert file.assets() == ("shakespeare", "smollm2-135m")
    said = " ".join((file.label(), *file.limits()))
    assert "SmolLM2" in said and "mails" not in said and HEAD not in said and INSIDE not in said


def test_the_page_shows_every_row_of_the_example():
    text = (EXAMPLE.parents[1] / "docs" / "federated_lora.md").read_text(encoding="utf-8")
    section = text.partition("\n## A causal model\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^\| ([^|]+) \| ([^|]*) \| [^|]+ \| \d+\.\d+ ± ", section, re.MULTILINE)
    wanted = [
        (row.name, f"{row.asked:g}{' claimed' * row.released}" if row.asked is not None else "")
        for row in base.load(EXAMPLE).rows()
    ]
    assert sorted(shown) == sorted(wanted)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("data", {"source": "spam", "per_class": 40}, 'does not fit data.source = "spam"'),
        ("data", {"per_class": 40}, 'per_class is for source = "spam"'),
        ("data", {"mixture": 1.0}, 'mixture is for source = "spam"'),
        ("data", {"source": "spam"}, "needs per_class"),
        ("data", {"neighbour_sample": 9}, "all other clients hold 8"),
        ("model", {"source": "minilm"}, "leave out predicted"),
        ("model", {"predicted": LENGTH}, "less than length"),
        ("model", {"source": "smollm2"}, "did you mean 'smollm2-135m'"),
        ("system", {"server_rules": ["fedadam"], "rules": ["average"]}, "put 'ffa' in rules"),
        ("system", {"server_learning_rate": 0.1}, "none is named"),
        ("system", {"server_rules": ["fedadam", "fedadam"]}, "must name each once"),
        ("system", {"server_rules": ["fedsgd"]}, "server_rules"),
        ("system", {"rules": []}, "rules"),
    ],
)
def test_wrong_files_are_named(section, values, message):
    data = copy.deepcopy(content())
    data[section] = data[section] | values
    with pytest.raises(ConfigError, match=re.escape(message)):
        base.parse(data)


def test_a_causal_model_needs_to_know_what_is_predicted():
    data = content()
    del data["model"]["predicted"]
    with pytest.raises(ConfigError, match="needs predicted"):
        base.parse(data)


def test_what_a_record_shows_is_read_again():
    file = base.load(EXAMPLE)
    assert base.parse(file.model_dump(mode="json")) == file


def test_errors_come_before_texts_pass_the_model(monkeypatch, model):
    """In each file something fits neither the model nor the texts; nothing is encoded for it."""
    file = base.parse(content())

    def encoded(*given):
        raise AssertionError("encoded before all was checked")

    monkeypatch.setattr(dp_fedlora_run, "causal_states_below", encoded)
    monkeypatch.setattr(dp_fedlora_run, "load_language_model", lambda source: model)
    monkeypatch.setattr(dp_fedlora_run.lines, "load", lambda *given: cut(texts(), *given))
    for wrong, message in (
        (content(data={"clients": 7}), "only 6 speakers"),
        (content(system={"rank": 17, "rules": ["svd"]}), "rank 17 exceeds"),
    ):
        with pytest.raises(ConfigError, match=message):
            dp_fedlora_run.prepare(base.parse(wrong), lambda words: None)
    with pytest.raises(AssertionError, match="encoded before"):
        dp_fedlora_run.prepare(file, lambda words: None)


def test_pieces_are_of_their_speaker_and_split_anew(model):
    file, pool = base.parse(content()), texts()
    found = cut(pool, file.data, model.tokenizer, LENGTH)
    each = TRAIN + TEST
    assert found.tokens.shape == (CLIENTS * each, LENGTH) and len(found) == CLIENTS * each
    assert len({tuple(row) for row in found.tokens.tolist()}) == len(found)
    whole = ["\n".join(t for t, a in zip(pool.texts, pool.author, strict=True) if a == author)
             for author in range(len(pool.authors))]  # fmt: skip
    owners = []
    for client in range(CLIENTS):
        rows = found.tokens[found.speaker == client]
        said = {bytes(token - 1 for token in row).decode() for row in rows.tolist()}
        (owner,) = [author for author, text in enumerate(whole) if all(s in text for s in said)]
        owners.append(owner)
    assert len(set(owners)) == CLIENTS and 6 not in owners
    split = deal(file.data, seeds=3, key=SeededKey(0))
    for number, (train, test) in enumerate(zip(split.train, split.test, strict=True)):
        start = number % CLIENTS * each
        assert sorted([*train, *test]) == list(range(start, start + each))
    assert {len(t) for t in split.test} == {TEST}
    assert any(list(a) != list(b) for a, b in zip(split.test, split.test[CLIENTS:], strict=False))


def test_equal_pieces_are_taken_once(model):
    file = base.parse(content())
    pool = texts()
    same = replace_texts(pool, tuple("ab" * 35 for _ in pool.texts))
    with pytest.raises(ConfigError, match="only 0 speakers"):
        cut(same, file.data, model.tokenizer, LENGTH)


def replace_texts(pool, said):
    return TextPool(
        name=pool.name, texts=said, y=pool.y, classes=pool.classes, author=pool.author,
        authors=pool.authors, provenance=pool.provenance,
    )  # fmt: skip


def test_the_base_model_is_the_pretrained_one(rows):
    values = go(rows, BASE).values
    assert set(values) == {metric.name for metric in rows.file.metrics()}
    records, top = rows.records, rows.systems.kernel.encoder
    with torch.no_grad():
        logits = top.logits(records.test.x).double()
    y = records.test.x[:, -PREDICTED:, -1].long()
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), y, reduction="none").mean(1)
    own = each[records.test.index].mean(dim=1).view(3, CLIENTS)
    np.testing.assert_allclose(values["log-loss"], own, rtol=1e-5)
    others = (own.sum(dim=1, keepdim=True) - own) / (CLIENTS - 1)
    np.testing.assert_allclose(values["neighbour log-loss"], others, rtol=1e-5)
    assert go(other_lines(rows), BASE).digest == go(rows, BASE).digest


def test_training_learns(rows):
    more = {"epochs": 20, "central_batch_size": 16}
    training = rows.file.training.model_copy(update=more)
    rows = replace(rows, file=rows.file.model_copy(update={"training": training}))
    start = np.mean(go(rows, BASE).values["log-loss"])
    for name in (CENTRAL, FEDAVG):
        assert np.mean(go(rows, name).values["log-loss"]) < start - 0.1, name


@pytest.mark.parametrize(
    ("name", "asked"),
    [("ffa", 8.0), ("rolora", 0.4), ("average", 2.0), ("ffa, local noise", 2.0), (INSIDE, 2.0)],
)
def test_a_sound_row_costs_its_budget_and_its_twin_nothing(rows, name, asked):
    found = epsilon(rows, name, asked)
    assert 0.999 * asked < found.upper <= asked, found
    twin = name + base.NO_RECORDS
    assert epsilon(rows, twin, asked).upper == 0.0
    assert go(rows, twin, asked).digest == go(other_lines(rows), twin, asked).digest
    assert go(rows, name, asked).digest != go(other_lines(rows), name, asked).digest


def test_rows_that_average_nothing_have_a_rate_of_their_own(rows):
    training = rows.file.training.model_copy(update={"alone_rate": None})
    same = replace(rows, file=rows.file.model_copy(update={"training": training}))
    assert go(same, FEDAVG).digest == go(rows, FEDAVG).digest
    for name in (LOCAL, CENTRAL):
        assert go(same, name).digest != go(rows, name).digest


def test_only_adapters_are_noised(rows):
    sent = rows.systems.of(plan(rows, "ffa", 8.0)).algorithm.sent
    assert sent == {
        "layer.self_attn.q_proj.lora_B.weight": (16, 2),
        "layer.self_attn.v_proj.lora_B.weight": (8, 2),
    }
    notes = go(rows, "ffa" + base.NO_RECORDS, 0.4).notes
    assert re.match(r"norm law: 6 of 6 factors", notes[1]), notes
    assert float(go(rows, "ffa").notes[0].rpartition(" ")[2]) < 1e-5
    assert float(go(rows, "average").notes[0].rpartition(" ")[2]) > 0.01


def test_the_released_claim_costs_what_its_four_tensors_cost(rows):
    sigma = classical_sigma(1.0, 25.0, 1e-5)
    found = account(
        from_dict(go(rows, RELEASED_ALL, 25.0).event), adjacency="zero-out", unit="client"
    )
    assert found.mu.upper == pytest.approx(math.sqrt(4 * ROUNDS) / sigma, rel=1e-9)
    assert epsilon(rows, LEAK, 25.0).upper == math.inf
    for name in (FEDAVG, "average", LOCAL, CENTRAL):
        assert epsilon(rows, name).upper == math.inf, name
