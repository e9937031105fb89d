"""Low-rank adapters on frozen encoders, against one record at a time and plain autograd."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from privassay.accountant.errors import ConfigError, ParameterError
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.adapters import Adapters
from privassay.fl_core.kernels.base import Outputs, cross_entropy, flatten
from privassay.fl_core.kernels.encode import token_features
from privassay.fl_core.kernels.layers import Linear, Residual
from privassay.fl_core.kernels.peft_export import peft_config, peft_state
from privassay.fl_core.kernels.stacked import Stacked, mlp
from privassay.mechanisms.base import SeededKey

ROWS, BATCH, CLASSES, DIM = 3, 4, 3, 16


class Towers(nn.Module):
    """No transformer: one layer sees float[n, in], another float[n, tokens, in], and one twice."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.again = nn.Linear(8, 8)
        self.out = nn.Linear(8, DIM)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, x):
        hidden = self.embed(x)
        hidden = self.again(self.again(hidden).tanh()).tanh()
        return self.norm(self.out(hidden.mean(dim=1)))


def towers():
    torch.manual_seed(0)
    x = torch.randn(ROWS, BATCH, 6, 5, dtype=torch.float64)
    return Towers(), ("embed", "again", "out"), lambda module, x: module(x), x


def tokens():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(1, 50, (ROWS, BATCH, 7), generator=generator)
    x[0, 1, 4:] = 0
    x[2, 3, 1:] = 0
    return x


def bert():
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=DIM, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=8,
    )  # fmt: skip
    module = BertModel(config, add_pooling_layer=False)
    return module, ("query", "value"), token_features(0, "first"), tokens()


def llama():
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=DIM, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=24, max_position_embeddings=8,
    )  # fmt: skip
    return (
        LlamaModel(config),
        ("q_proj", "v_proj", "down_proj"),
        token_features(0, "last"),
        tokens(),
    )


def vit():
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=DIM, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        image_size=8, patch_size=4,
    )  # fmt: skip
    module = ViTModel(config, add_pooling_layer=False)
    layers = {
        name.rpartition(".")[2]
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear)
    }
    targets = ("q_proj", "v_proj") if "q_proj" in layers else ("query", "value")
    encode = lambda module, x: module(pixel_values=x).last_hidden_state[:, 0]  # noqa: E731
    return module, targets, encode, torch.randn(ROWS, BATCH, 3, 8, 8, dtype=torch.float64)


ENCODERS = {"towers": towers, "bert": bert, "llama": llama, "vit": vit}
HEADS = {
    "linear": mlp((DIM, CLASSES)),
    "residual": Stacked((Residual("r", DIM, 3),), (Linear("head", DIM, CLASSES),)),
}


def case(make, head="linear", dtype=torch.float64, **settings):
    """A kernel, parameters with factors that are not zero, a batch and a context."""
    module, targets, encode, x = make()
    module = module.to(dtype).eval().requires_grad_(False)
    kernel = Adapters(
        encoder=module, targets=targets, rank=2, alpha=3.0, head=HEADS[head], encode=encode,
        **settings,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    params = {
        name: 0.4 * torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64).to(dtype)
        for name, shape in kernel.shapes().items()
    }
    x = x.to(dtype) if x.is_floating_point() else x
    y = torch.randint(0, CLASSES, (ROWS, BATCH), generator=generator)
    weights = torch.rand(ROWS, BATCH, generator=generator, dtype=torch.float64).to(dtype)
    weights[1, 2:] = 0.0
    context = {"target": torch.randn(ROWS, DIM, generator=generator, dtype=torch.float64).to(dtype)}
    return kernel, params, x, y, weights, context


def prototypes(outputs, y, context):
    away = outputs.features - context["target"].unsqueeze(1)
    return cross_entropy(outputs, y, {}) + 0.3 * away.square().sum(dim=-1)


def one_record(kernel, params, x, y, loss, context, row, record):
    """The naive twin: one record, one row, the plain low-rank layer, autograd."""
    own = {n: v[row].clone().requires_grad_() for n, v in params.items()}
    handles = []
    for name in kernel.layers:

        def hook(
            module, inputs, output, a=own[f"{name}.lora_A.weight"], b=own[f"{name}.lora_B.weight"]
        ):
            return output + kernel.alpha / kernel.rank * (inputs[0] @ a.T) @ b.T

        handles.append(kernel.encoder.get_submodule(name).register_forward_hook(hook))
    hidden = kernel.encode(kernel.encoder, x[row, record : record + 1]).unsqueeze(0)
    for handle in handles:
        handle.remove()
    stacked = {n: v.unsqueeze(0) for n, v in own.items()}
    for layer in kernel.head.body:
        hidden = layer.forward(stacked, hidden)[0]
    logits = hidden
    for layer in kernel.head.head:
        logits = layer.forward(stacked, logits)[0]
    some = {n: v[row : row + 1] for n, v in context.items()}
    value = loss(Outputs(hidden, logits), y[row : row + 1, record : record + 1], some).sum()
    found = torch.autograd.grad(value, list(own.values()))
    return torch.cat([g.flatten() for g in found]), hidden.detach(), logits.detach()


def looped(kernel, params, x, y, weights, loss, context, clip_norm=math.inf):
    rows = []
    for row in range(len(x)):
        total = 0.0
        for record in range(x.shape[1]):
            gradient, *_ = one_record(kernel, params, x, y, loss, context, row, record)
            if weights[row, record] > 0 and torch.isfinite(gradient).all():
                factor = min(1.0, clip_norm / float(gradient.norm()))
                total = total + weights[row, record] * factor * gradient
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.parametrize("max_records", [256, 9, 3])
@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
def test_gradients_and_clipped_sums_are_those_of_one_record_at_a_time(make, max_records):
    kernel, params, x, y, weights, context = case(make, "residual", max_records=max_records)
    found = kernel.gradients(params, x, y, weights, prototypes, context)
    wanted = looped(kernel, params, x, y, weights, prototypes, context)
    assert list(found) == list(params)
    close = 1e-5 if make is llama else 1e-9  # its norms are computed in single precision
    torch.testing.assert_close(flatten(found), wanted, rtol=close, atol=close)
    assert all(bool(value.any()) for value in found.values())
    norms = wanted.norm(dim=1)
    for clip_norm in (0.2 * float(norms.min()), 1e6):
        sums = kernel.clipped_sums(params, x, y, weights, prototypes, context, clip_norm=clip_norm)
        wanted = looped(kernel, params, x, y, weights, prototypes, context, clip_norm)
        torch.testing.assert_close(flatten(sums), wanted, rtol=close, atol=close)


@pytest.mark.parametrize("trained", [("A",), ("B",)])
def test_the_clip_is_spent_on_the_trained_factors_alone(trained):
    kernel, params, x, y, weights, _ = case(towers)
    part = replace(kernel, trained=trained)
    every = kernel.gradients(params, x, y, weights, cross_entropy, {})
    frozen = {n for n in params if "lora" in n and f"lora_{trained[0]}" not in n}
    assert len(frozen) == 3
    found = part.gradients(params, x, y, weights, cross_entropy, {})
    for name in params:
        wanted = torch.zeros_like(every[name]) if name in frozen else every[name]
        torch.testing.assert_close(found[name], wanted)
    # One record at a time: the sum is its gradient, scaled to the bound without the frozen factor.
    for record in range(BATCH):
        some = (x[:, record : record + 1], y[:, record : record + 1])
        ones = torch.ones(ROWS, 1, dtype=torch.float64)
        raw = part.gradients(params, *some, ones, cross_entropy, {})
        bound = 0.5 * float(flatten(raw).norm(dim=1).min())
        sums = part.clipped_sums(params, *some, ones, cross_entropy, {}, clip_norm=bound)
        norms = flatten(sums).norm(dim=1)
        torch.testing.assert_close(norms, torch.full_like(norms, bound))
        assert not any(sums[name].any() for name in frozen)


def test_the_trained_factors_must_be_known():
    with pytest.raises(ConfigError, match="trained must be"):
        case(towers, trained=("B", "A"))


@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
def test_outputs_are_those_of_one_record_at_a_time(make):
    kernel, params, x, y, _, context = case(make, "residual", max_records=5)
    found = kernel.outputs(params, x)
    for row in range(ROWS):
        for record in range(BATCH):
            _, hidden, logits = one_record(kernel, params, x, y, prototypes, context, row, record)
            torch.testing.assert_close(found.features[row, record], hidden[0, 0])
            torch.testing.assert_close(found.logits[row, record], logits[0, 0])


def test_single_precision_is_close_too():
    kernel, params, x, y, weights, _ = case(bert, dtype=torch.float32)
    sums = kernel.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=0.3)
    wanted = looped(kernel, params, x, y, weights, cross_entropy, {}, 0.3)
    torch.testing.assert_close(flatten(sums), wanted, rtol=1e-5, atol=1e-5)


def test_one_row_does_not_see_another():
    kernel, params, x, y, weights, _ = case(bert)
    whole = kernel.gradients(params, x, y, weights, cross_entropy, {})
    for row in range(ROWS):
        own = {n: v[row : row + 1] for n, v in params.items()}
        at = slice(row, row + 1)
        alone = kernel.gradients(own, x[at], y[at], weights[at], cross_entropy, {})
        for name in params:
            torch.testing.assert_close(alone[name][0], whole[name][row], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_a_record_that_is_not_finite_adds_nothing(value):
    kernel, params, x, y, weights, _ = case(vit, dtype=torch.float32)
    spoiled = x.clone()
    spoiled[0, 1, 2, 3, 3] = value
    sums = kernel.clipped_sums(params, spoiled, y, weights, cross_entropy, {}, clip_norm=0.3)
    without = weights.clone()
    without[0, 1] = 0.0
    wanted = kernel.clipped_sums(params, x, y, without, cross_entropy, {}, clip_norm=0.3)
    torch.testing.assert_close(sums, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e12, 1e30])
def test_no_record_adds_more_than_the_bound(scale):
    kernel, params, x, y, _, _ = case(towers, dtype=torch.float32)
    one = torch.zeros(ROWS, BATCH)
    one[:, 1] = 1.0
    steep = lambda outputs, y, context: scale * cross_entropy(outputs, y, {})  # noqa: E731
    for clip_norm in (1e-8, 0.3):
        sums = kernel.clipped_sums(params, x, y, one, steep, {}, clip_norm=clip_norm)
        assert float(flatten(sums).double().norm(dim=1).max()) <= clip_norm


def test_the_encoder_stays_as_it_is():
    kernel, params, x, y, weights, _ = case(bert)
    before = {name: value.clone() for name, value in kernel.encoder.state_dict().items()}
    hooks = sum(len(part._forward_hooks) for part in kernel.encoder.modules())
    kernel.descend(params, x, y, weights, cross_entropy, {}, learning_rate=0.1)
    kernel.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=0.3)
    with pytest.raises(IndexError):
        kernel.gradients(params, x + 100, y, weights, cross_entropy, {})
    assert sum(len(part._forward_hooks) for part in kernel.encoder.modules()) == hooks == 0
    for name, value in kernel.encoder.state_dict().items():
        assert torch.equal(value, before[name])


def test_descend_is_a_step_along_the_gradient():
    kernel, params, x, y, weights, _ = case(towers)
    gradients = kernel.gradients(params, x, y, weights, cross_entropy, {})
    wanted = {name: value - 0.3 * gradients[name] for name, value in params.items()}
    kernel.descend(params, x, y, weights, cross_entropy, {}, learning_rate=0.3)
    torch.testing.assert_close(params, wanted)


def test_initial_adapters_change_nothing_and_depend_on_the_row_alone():
    kernel, _, x, *_ = case(bert, dtype=torch.float32)
    counter = Counter.of(SeededKey(0), "model")
    rows = torch.tensor([5, 1, 3])
    params = kernel.initial(counter, rows, rows * 0)
    assert {n: tuple(v.shape[1:]) for n, v in params.items()} == kernel.shapes()
    for name, value in params.items():
        reach = 1 / math.sqrt(value.shape[-1] if "lora_A" in name else DIM)
        assert bool(value.any()) != ("lora_B" in name)
        assert float(value.abs().max()) <= reach
        assert float(value.abs().max()) > 0.7 * reach or "lora_B" in name
    drawn = torch.cat([v.flatten() for n, v in params.items() if "lora_B" not in n])
    assert len(torch.unique(drawn)) == len(drawn)  # factors and head share no number
    plain = kernel.encode(kernel.encoder, x.flatten(0, 1)).view(ROWS, BATCH, DIM)
    torch.testing.assert_close(kernel.outputs(params, x).features, plain, rtol=1e-5, atol=1e-5)
    back = kernel.initial(counter, rows[[2, 0]], rows[[2, 0]] * 0)
    assert all(torch.equal(back[n], params[n][[2, 0]]) for n in params)


def test_targets_as_in_peft():
    module = bert()[0].eval().requires_grad_(False)

    def layers(targets):
        settings = {"rank": 1, "alpha": 1.0, "head": HEADS["linear"]}
        return list(Adapters(encoder=module, targets=targets, **settings).layers)

    both = [f"encoder.layer.{i}.attention.self.{n}" for i in (0, 1) for n in ("query", "value")]
    assert layers(("query", "value")) == both
    assert layers(r".*\.1\..*(query|value)") == both[2:]
    assert layers((both[3],)) == both[3:]
    for targets, message in (
        (("query", "valeu"), "valeu.*dense, key, query, value"),
        ("query", "no layer"),
        ((), "no layer"),
        (("self",), "type BertSelfAttention|type BertSdpaSelfAttention"),
        (("LayerNorm",), "type LayerNorm"),
    ):
        with pytest.raises(ConfigError, match=message):
            layers(targets)


def change(**settings):
    module, targets, encode, x = towers()
    module = module.eval().requires_grad_(False)
    base = {"encoder": module, "targets": targets, "rank": 2, "alpha": 1.0, "encode": encode}
    return base | {"head": HEADS["linear"]} | settings


def test_an_encoder_that_is_not_frozen_is_refused():
    with pytest.raises(ConfigError, match="training mode"):
        Adapters(**change(encoder=Towers().requires_grad_(False)))
    with pytest.raises(ConfigError, match="must be frozen"):
        Adapters(**change(encoder=Towers().eval()))
    mixing = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, track_running_stats=False))
    with pytest.raises(ConfigError, match="normalises over the batch"):
        Adapters(**change(encoder=mixing.eval().requires_grad_(False), targets=("0",)))
    for wrong in ({"rank": 0}, {"alpha": 0.0}, {"max_records": 0}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            Adapters(**change(**wrong))


def test_what_would_mix_rows_is_refused_when_it_runs():
    kernel, params, x, y, weights, _ = case(towers, dtype=torch.float32)

    def ask(**settings):
        own = Adapters(**change(**settings))
        own.gradients(params, x, y, weights, cross_entropy, {})

    ask()
    with pytest.raises(ConfigError, match="must be its first axis"):
        ask(encode=lambda m, x: m(x.transpose(0, 1)))
    with pytest.raises(ConfigError, match="one feature vector per record"):
        ask(encode=lambda m, x: m(x)[:-1])
    with pytest.raises(ConfigError, match="does not call out"):
        ask(encode=lambda m, x: m.norm(m.again(m.embed(x)).mean(dim=1).repeat(1, 2)))
    with pytest.raises(ConfigError, match="no gradient passes"):
        ask(encode=lambda m, x: m(x).detach())
    with pytest.raises(ConfigError, match="for CUDA"):
        ask(bfloat16=True)
    kernel.encoder.train()
    with pytest.raises(ConfigError, match="training mode"):
        kernel.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=1.0)


def test_features_of_tokens():
    hidden = torch.arange(24.0).view(2, 4, 3)

    class Fixed(nn.Module):
        def forward(self, input_ids, attention_mask):
            assert torch.equal(attention_mask, (input_ids != 9).long())
            return type("Output", (), {"last_hidden_state": hidden})

    x = torch.tensor([[1, 2, 9, 9], [9, 9, 3, 4]])
    first = token_features(9, "first")(Fixed(), x)
    assert torch.equal(first, torch.stack([hidden[0, 0], hidden[1, 2]]))
    last = token_features(9, "last")(Fixed(), x)
    assert torch.equal(last, torch.stack([hidden[0, 1], hidden[1, 3]]))
    mean = token_features(9, "mean")(Fixed(), x)
    assert torch.equal(mean, torch.stack([hidden[0, :2].mean(dim=0), hidden[1, 2:].mean(dim=0)]))
    with pytest.raises(ParameterError, match="pool"):
        token_features(0, "middle")


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("make", [bert, llama, vit])
def test_peft_reads_the_factors(make):
    peft = pytest.importorskip("peft", reason="needs peft: pip install 'peft>=0.15'")
    kernel, params, x, *_ = case(make, dtype=torch.float32)
    module = make()[0].eval()
    model = peft.get_peft_model(module, peft.LoraConfig(**peft_config(kernel))).eval()
    for row in range(ROWS):
        report = peft.set_peft_model_state_dict(model, peft_state(kernel, params, row))
        assert not report.unexpected_keys
        assert not [key for key in report.missing_keys if "lora" in key]
        with torch.no_grad():
            theirs = kernel.encode(model.base_model.model, x[row])
        torch.testing.assert_close(
            kernel.outputs(params, x).features[row], theirs, rtol=1e-5, atol=1e-5
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("bfloat16", "close"), [(False, 1e-4), (True, 0.1)])
@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
def test_cuda_is_the_cpu(make, bfloat16, close):
    kernel, params, x, y, weights, _ = case(make, dtype=torch.float32)
    there = Adapters(
        encoder=case(make, dtype=torch.float32)[0].encoder.cuda(), targets=kernel.targets, rank=2,
        alpha=3.0, head=kernel.head, encode=kernel.encode, bfloat16=bfloat16,
    )  # fmt: skip
    sent = {name: value.cuda() for name, value in params.items()}
    batch = (x.cuda(), y.cuda(), weights.cuda())
    for ask in (
        lambda k, p, *b: k.gradients(p, *b, cross_entropy, {}),
        lambda k, p, *b: k.clipped_sums(p, *b, cross_entropy, {}, clip_norm=0.3),
    ):
        found = {name: value.cpu() for name, value in ask(there, sent, *batch).items()}
        assert all(value.dtype == torch.float32 for value in found.values())
        wanted = ask(kernel, params, x, y, weights)
        torch.testing.assert_close(found, wanted, rtol=close, atol=close)
