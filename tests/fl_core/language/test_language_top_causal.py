"""The last decoder layer alone is the whole causal model, at the places that are predicted."""

from dataclasses import replace

import pytest
import torch

from privassay.accountant.errors import ConfigError
from privassay.fl_core.counters import Counter
from privassay.fl_core.data import assets
from privassay.fl_core.data.text import load_shakespeare
from privassay.fl_core.kernels.adapters import Adapters
from privassay.fl_core.models import language_top_causal
from privassay.fl_core.models.language import load_language_model
from privassay.fl_core.models.language_kernels import causal, next_token_loss, perplexity
from privassay.fl_core.models.language_top_causal import (
    causal_states_below,
    last_layer_causal,
    token_losses,
)
from privassay.mechanisms.base import SeededKey

LENGTH, PREDICTED, ALPHA, RANK = 12, 5, 4.0, 2


@pytest.fixture(scope="module", params=[(4, 2, True), (4, 1, False), (2, 2, True)])
def model(request, tmp_path_factory):
    """Heads that share keys by two, by four and not at all; heads of tokens tied and not."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads, keys, tied = request.param
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=16, num_hidden_layers=3, num_attention_heads=heads,
        num_key_value_heads=keys, intermediate_size=24, max_position_embeddings=LENGTH,
        tie_word_embeddings=tied, initializer_range=0.3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    return load_language_model(folder, kind="causal", tokenizer="bytes")


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(1, 257, (6, LENGTH), generator=torch.Generator().manual_seed(0))


def params_of(kernel: Adapters, rows: int = 2):
    numbers = torch.arange(rows)
    params = kernel.initial(Counter.of(SeededKey(1), "model"), numbers, numbers)
    generator = torch.Generator().manual_seed(2)
    for name in params:
        if "lora_B" in name:  # else A would have no gradient
            params[name] = 0.1 * torch.randn(params[name].shape, generator=generator)
    return params


def whole_logits(model, tokens):
    with torch.no_grad():
        return model.module(input_ids=tokens[:, :-1]).logits[:, -PREDICTED:]


def test_logits_are_those_of_the_whole_model(model, tokens):
    top = last_layer_causal(model, predicted=PREDICTED, rank=RANK, alpha=ALPHA)
    wanted = whole_logits(model, tokens)
    with torch.no_grad():
        found = top.encoder.logits(causal_states_below(model, tokens))
    assert float((found - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())
    assert float(wanted.std()) > 0.1, "logits that are all alike would show nothing"


def test_losses_and_gradients_are_those_of_adapters_on_the_whole_model(model, tokens):
    """With every token but the first predicted, as `causal` does."""
    top = last_layer_causal(model, predicted=LENGTH - 1, rank=RANK, alpha=ALPHA)
    whole = causal(
        model, rank=RANK, alpha=ALPHA, targets=r"model\.layers\.2\.self_attn\.(q_proj|v_proj)"
    )
    params = params_of(top)
    renamed = {f"model.{n.replace('layer', 'layers.2', 1)}": v for n, v in params.items()}
    assert list(renamed) == list(whole.shapes())
    below, tokens = (v.unflatten(0, (2, 3)) for v in (causal_states_below(model, tokens), tokens))
    found, wanted = top.outputs(params, below).logits, whole.outputs(renamed, tokens).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    y, weights = torch.zeros(2, 3, dtype=torch.int64), torch.full((2, 3), 1 / 3)
    more = (y, weights, next_token_loss, {})
    gradients, others = top.gradients(params, below, *more), whole.gradients(renamed, tokens, *more)
    for (name, value), other in zip(gradients.items(), others.values(), strict=True):
        assert bool(value.any()), name
        torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-5)
    clipped = top.clipped_sums(params, below, *more, clip_norm=1e-3)
    others = whole.clipped_sums(renamed, tokens, *more, clip_norm=1e-3)
    for (name, value), other in zip(clipped.items(), others.values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-7, msg=name)


def test_only_the_last_tokens_are_predicted(model, tokens):
    top = last_layer_causal(model, predicted=PREDICTED, rank=RANK, alpha=ALPHA)
    params = params_of(top, rows=1)
    for name in params:
        params[name].zero_()
    logits = whole_logits(model, tokens).double()
    y = tokens[:, -PREDICTED:]
    wanted = torch.nn.functional.cross_entropy(logits.transpose(1, 2), y, reduction="none")
    below = causal_states_below(model, tokens)
    found = top.outputs(params, below.unsqueeze(0)).logits[0]
    torch.testing.assert_close(found[:, 0].double(), wanted.mean(dim=1), rtol=1e-5, atol=1e-6)
    assert set(found[:, 1].tolist()) == {float(PREDICTED)}
    assert perplexity(top, params, below) == pytest.approx(float(wanted.mean().exp()), rel=1e-5)


def test_losses_of_tokens_do_not_depend_on_how_many_are_scored_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    y = torch.arange(7) % 11
    asked = states.clone().requires_grad_()
    wanted = torch.nn.functional.cross_entropy(asked @ weight.T, y, reduction="none")
    (slope,) = torch.autograd.grad((wanted * torch.arange(7)).sum(), asked)
    for size in (2, 7, 256):
        monkeypatch.setattr(language_top_causal, "_TOKENS", size)
        mine = states.clone().requires_grad_()
        found = token_losses(mine, weight, y)
        (own,) = torch.autograd.grad((found * torch.arange(7)).sum(), mine)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(own, slope)


def test_other_models_and_pieces_are_refused(model, tokens):
    for other in (replace(model, family="qwen2"), replace(model, kind="encoder")):
        with pytest.raises(ConfigError, match=r"Use causal\(\)"):
            last_layer_causal(other, predicted=1, rank=RANK, alpha=ALPHA)
        with pytest.raises(ConfigError, match="family 'llama'"):
            causal_states_below(other, tokens)
    with pytest.raises(ConfigError, match="no padding"):
        causal_states_below(model, torch.where(tokens == tokens[0, 0], 0, tokens))
    with pytest.raises(ConfigError, match="1 long"):
        causal_states_below(model, tokens[:, :1])


@pytest.mark.slow
def test_the_packaged_model_gives_the_same_logits():
    for name in ("smollm2-135m", "shakespeare"):
        if assets.state(name) != "ready":
            pytest.skip(f"privassay assets fetch {name}")
    smollm = load_language_model("smollm2-135m")
    pool = load_shakespeare(min_characters=400)
    tokens = smollm.tokenizer.encode(pool.texts[:4], 32)
    top = last_layer_causal(smollm, predicted=PREDICTED, rank=RANK, alpha=ALPHA)
    wanted = whole_logits(smollm, tokens)
    with torch.no_grad():
        found = top.encoder.logits(causal_states_below(smollm, tokens))
    assert found.shape == (4, PREDICTED, 49_152)
    assert float((found - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())
