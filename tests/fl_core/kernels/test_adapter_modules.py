"""Which modules adapters fit: targets as in peft, encoders that are refused, tokens, devices."""

import pytest
import torch
from torch import nn

from privassay.accountant.errors import ConfigError, ParameterError
from privassay.fl_core.kernels.adapters import Adapters
from privassay.fl_core.kernels.base import cross_entropy
from privassay.fl_core.kernels.encode import token_features
from privassay.fl_core.kernels.peft_export import peft_config, peft_state

from .adapter_cases import ENCODERS, HEADS, ROWS, Towers, bert, case, llama, towers, vit


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
