"""Language models: loading, tokens, losses by record, adapters that are those of one client."""

import json
import math

import pytest
import torch

from privassay.accountant.errors import AssetError, ConfigError, ParameterError
from privassay.accountant.ledger import Ledger
from privassay.fl_core.algorithms.fed_lora import FedLora
from privassay.fl_core.algorithms.fed_lora_checks import accuracy
from privassay.fl_core.algorithms.fed_lora_clients import Descent
from privassay.fl_core.algorithms.fedavg import plain_sgd
from privassay.fl_core.clients import ClientData
from privassay.fl_core.data import assets
from privassay.fl_core.federation import Federation, run
from privassay.fl_core.kernels.base import cross_entropy
from privassay.fl_core.models.language import load_language_model
from privassay.fl_core.models.language_kernels import (
    causal,
    classifier,
    next_token_loss,
    perplexity,
)
from privassay.fl_core.models.language_tokens import byte_tokenizer
from privassay.mechanisms.base import SeededKey

VOCABULARY = 257


def save(folder, kind):
    """A small random model as safetensors, for the byte tokenizer."""
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    size = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32,
    }  # fmt: skip
    if kind == "encoder":
        model = BertModel(BertConfig(**size), add_pooling_layer=False)
    else:
        model = LlamaForCausalLM(LlamaConfig(**size, num_key_value_heads=1))
    model.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: save(tmp_path_factory.mktemp(kind), kind) for kind in ("encoder", "causal")}


def load(folders, kind):
    return load_language_model(folders[kind], kind=kind, tokenizer="bytes")


TEXTS = ["to be or not to be", "that is", "the question", "x", "whether 'tis nobler in the mind"]


def random_params(kernel, rows=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 0.3 * torch.randn(rows, *shape, generator=generator)
        for name, shape in kernel.shapes().items()
    }


def test_a_model_of_a_folder_is_frozen_and_has_a_hash(folders):
    for kind, family in (("encoder", "bert"), ("causal", "llama")):
        model = load(folders, kind)
        assert (model.kind, model.family, model.dimension) == (kind, family, 16)
        assert not model.module.training
        assert not any(p.requires_grad for p in model.module.parameters())
        assert model.sha256 == load(folders, kind).sha256 and len(model.sha256) == 64
        assert str(folders[kind]) not in model.origin


def test_what_must_not_be_loaded_is_refused(folders, tmp_path):
    with pytest.raises(ConfigError, match="encoder or causal"):
        load_language_model(folders["encoder"])
    with pytest.raises(ConfigError, match="must be one of"):
        load_language_model(tmp_path / "nowhere", kind="causal")
    with pytest.raises(ConfigError, match="must hold config.json"):
        load_language_model(tmp_path, kind="causal")
    with pytest.raises(ConfigError, match="tokenizer of .* does not load"):
        load_language_model(folders["causal"], kind="causal")
    for number, (key, message) in enumerate(
        (("auto_map", "never run"), ("quantization_config", "quantised"))
    ):
        folder = save(tmp_path / str(number), "encoder")
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(settings | {key: {"x": "y"}}))
        with pytest.raises(ConfigError, match=message):
            load_language_model(folder, kind="encoder", tokenizer="bytes")
    folder = save(tmp_path / "adapter", "encoder")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds an adapter"):
        load_language_model(folder, kind="encoder", tokenizer="bytes")
    # A pickle beside it is never looked at; alone it is no model.
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((folders["encoder"] / "config.json").read_text())
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        load_language_model(pickled, kind="encoder", tokenizer="bytes")
    # A causal model of an encoder's weights would have a random head.
    with pytest.raises(ConfigError, match="lacks weights|does not load"):
        load_language_model(folders["encoder"], kind="causal", tokenizer="bytes")


def test_a_missing_asset_prints_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIVASSAY_ASSETS", str(tmp_path))
    for name in ("minilm", "smollm2-135m"):
        with pytest.raises(AssetError, match=f"privassay assets fetch {name}$"):
            load_language_model(name)
    with pytest.raises(ConfigError, match="must be encoder"):
        load_language_model("minilm", kind="causal")


def test_tokens_are_cut_and_padded_and_the_padding_is_no_token():
    tokenizer = byte_tokenizer()
    x = tokenizer.encode(TEXTS, 8)
    assert x.shape == (5, 8) and x.dtype == torch.int64
    assert x[3].tolist() == [ord("x") + 1] + [0] * 7
    assert not (x[0] == 0).any()
    with pytest.raises(ParameterError, match="length"):
        tokenizer.encode(TEXTS, 0)
    broken = tokenizer._replace(padding=ord("x") + 1)
    with pytest.raises(ConfigError, match="text 3 holds the padding token"):
        broken.encode(TEXTS, 8)


def test_the_loss_of_a_record_is_its_own_whatever_it_is_padded_to(folders):
    model = load(folders, "causal")
    kernel = causal(model, rank=2, alpha=4.0)
    params = random_params(kernel)
    assert list(kernel.shapes()) == [
        f"model.layers.{layer}.self_attn.{part}.lora_{factor}.weight"
        for layer in (0, 1) for part in ("q_proj", "v_proj") for factor in "AB"
    ]  # fmt: skip
    tokenizer = model.tokenizer
    short, long = (
        kernel.outputs(params, tokenizer.encode(TEXTS, length).unsqueeze(0)).logits[0]
        for length in (31, 32)
    )
    torch.testing.assert_close(short, long, rtol=1e-5, atol=1e-5)
    # One text alone, without padding, by transformers' own loss.
    handles = []
    for name, layer in kernel.layers.items():
        a, b = (params[f"{name}.lora_{f}.weight"][0] for f in "AB")
        handles.append(
            layer.register_forward_hook(lambda m, i, o, a=a, b=b: o + 2.0 * (i[0] @ a.T) @ b.T)
        )
    total, count = 0.0, 0
    for place, text in enumerate(TEXTS):
        x = tokenizer.encode([text], len(text))
        if len(text) == 1:
            assert long[place].tolist() == [0.0, 0.0]
            continue
        with torch.no_grad():
            loss = float(model.module(input_ids=x, labels=x, use_cache=False).loss)
        assert float(long[place, 0]) == pytest.approx(loss, rel=1e-5)
        assert int(long[place, 1]) == len(text) - 1
        total, count = total + loss * (len(text) - 1), count + len(text) - 1
    for handle in handles:
        handle.remove()
    found = perplexity(kernel, params, tokenizer.encode(TEXTS, 32))
    assert found == pytest.approx(math.exp(total / count), rel=1e-5)
    with pytest.raises(ConfigError, match="two tokens"):
        perplexity(kernel, params, tokenizer.encode(["x"], 4))


def test_clipped_sums_of_a_causal_model_are_those_of_one_record_at_a_time(folders):
    model = load(folders, "causal")
    kernel = causal(model, rank=2, alpha=4.0, max_records=3)
    params = random_params(kernel, rows=2)
    x = model.tokenizer.encode(TEXTS[:3] + TEXTS[::-1][:3], 16).view(2, 3, 16)
    y, weights = torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3)
    found = kernel.clipped_sums(params, x, y, weights, next_token_loss, {}, clip_norm=0.05)
    clipped = 0
    for row in range(2):
        own = {name: value[row : row + 1] for name, value in params.items()}
        total = {name: torch.zeros_like(value[0]) for name, value in own.items()}
        for record in range(3):
            at = (x[row, record].view(1, 1, -1), y[:1, :1], weights[:1, :1])
            gradient = kernel.gradients(own, *at, next_token_loss, {})
            norm = math.sqrt(sum(float(g.square().sum()) for g in gradient.values()))
            clipped += norm > 0.05
            for name, value in gradient.items():
                total[name] += value[0] * min(1.0, 0.05 / max(norm, 1e-30))
        for name, value in total.items():
            torch.testing.assert_close(found[name][row], value, rtol=1e-4, atol=1e-7)
    assert clipped == 5, clipped  # the record "x" has no gradient


def clients_of(model):
    """Three clients, two labels: texts of letters of either half of the alphabet."""
    generator = torch.Generator().manual_seed(3)
    texts, labels = [], []
    for number in range(36):
        label = number % 2
        draw = torch.randint(0, 6, (12,), generator=generator)
        texts.append("".join(chr(97 + 13 * label + int(letter)) for letter in draw))
        labels.append(label)
    x = model.tokenizer.encode(texts, 12)
    parts = [range(0, 16), range(16, 28), range(28, 36)]
    return ClientData.of(x, torch.tensor(labels), parts)


@pytest.mark.parametrize("aggregation", ["average", "stack"])
@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_a_federation_of_texts_learns_and_does_not_depend_on_the_chunk(folders, kind, aggregation):
    model = load(folders, kind)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    data = clients_of(model)
    kernel = (
        classifier(model, classes=2, rank=2, alpha=4.0)
        if kind == "encoder"
        else causal(model, rank=2, alpha=16.0)
    )
    algorithm = FedLora(
        kernel=kernel,
        aggregation=aggregation,
        client=Descent(make=plain_sgd(0.5)),
        divisor=3.0,
        batch_size=4,
        loss=cross_entropy if kind == "encoder" else next_token_loss,
    )
    found = [
        run(
            Federation(algorithm=algorithm, data=data, rounds=2, key=SeededKey(1), chunk=chunk),
            Ledger(adjacency="zero-out", unit="client"),
        ).state
        for chunk in (1, 8)
    ]
    for name in algorithm.broadcast(found[0]):
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-4, atol=1e-5)
    start = algorithm.model(algorithm.start(torch.tensor([0]), SeededKey(1)))
    end = algorithm.model(found[0])
    if kind == "encoder":
        assert accuracy(*end, data.x, data.y) > max(0.9, accuracy(*start, data.x, data.y))
    else:
        assert perplexity(*end, data.x) < 0.99 * perplexity(*start, data.x)
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} of the shared model has changed"


def test_sizes_and_kinds_that_do_not_fit_are_refused(folders):
    encoder, decoder = load(folders, "encoder"), load(folders, "causal")
    with pytest.raises(ConfigError, match="kind 'causal'"):
        causal(encoder, rank=2, alpha=1.0)
    with pytest.raises(ConfigError, match="kind 'encoder'"):
        classifier(decoder, classes=2, rank=2, alpha=1.0)
    with pytest.raises(ConfigError, match="2 classes"):
        classifier(encoder, classes=1, rank=2, alpha=1.0)
    with pytest.raises(ConfigError, match="linear layers end in"):
        causal(decoder, rank=2, alpha=1.0, targets=("query",))


def ready(name):
    if assets.state(name) != "ready":
        pytest.skip(f"privassay assets fetch {name}")


@pytest.mark.slow
def test_minilm_knows_kittens_and_learns_in_a_federation():
    ready("minilm")
    model = load_language_model("minilm")
    kernel = classifier(model, classes=2, rank=8, alpha=16.0)
    texts = ["a photo of a cat", "a picture of a kitten", "quarterly earnings of a bank"]
    x = model.tokenizer.encode(texts, 16)
    start = random_params(kernel)
    zero = {n: torch.zeros_like(v) for n, v in start.items()}
    features = torch.nn.functional.normalize(
        kernel.outputs(zero, x.unsqueeze(0)).features[0], dim=1
    )
    near, far = float(features[0] @ features[1]), float(features[0] @ features[2])
    assert near > 0.6 > 0.2 > far, (near, far)
    assert sum(math.prod(s) for n, s in kernel.shapes().items() if "lora" in n) == 73728


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_smollm2_reads_english_better_than_shuffled_words():
    ready("smollm2-135m")
    pytest.importorskip("gguf", reason="gguf is not installed")
    model = load_language_model("smollm2-135m")
    kernel = causal(model, rank=8, alpha=16.0, max_records=4)
    assert sum(math.prod(s) for s in kernel.shapes().values()) == 460_800
    zero = {n: torch.zeros(1, *s) for n, s in kernel.shapes().items()}
    english = (
        "The Eiffel Tower is a wrought-iron lattice tower in Paris, France. It is named after the "
        "engineer whose company designed and built the tower from 1887 to 1889."
    )
    words = english.split()
    shuffled = " ".join(words[place] for place in torch.randperm(
        len(words), generator=torch.Generator().manual_seed(0)
    ).tolist())  # fmt: skip
    plain, mixed = (
        perplexity(kernel, zero, model.tokenizer.encode([text], 64)) for text in (english, shuffled)
    )
    assert plain < 25.0 < 200.0 < mixed, (plain, mixed)
