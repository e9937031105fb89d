"""Attacks on gradients: what they must find exactly, and what they cannot know."""

import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.inversion.gradients.dlg import DeepLeakage
from privassay.attacks.inversion.gradients.gradient_likelihood import GradientLikelihood
from privassay.attacks.inversion.gradients.input_span import InputSpan
from privassay.attacks.inversion.gradients.inverting_gradients import InvertingGradients
from privassay.attacks.inversion.gradients.label_recovery import LabelRecovery
from privassay.attacks.inversion.gradients.linear_analytic import LinearAnalytic
from privassay.attacks.inversion.gradients.matching import flat, forward_of, simulated
from privassay.attacks.inversion.gradients.view import GradientView
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.base import cross_entropy
from privassay.fl_core.kernels.stacked import mlp
from privassay.mechanisms.base import SeededKey

KERNEL = mlp((6, 16, 4))


def client(trials=5, batch=1, seed=0, dtype=torch.float64):
    """(params, x, y): models and records of `trials` clients."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.arange(trials)
    params = KERNEL.initial(Counter.of(SeededKey(seed), "model"), rows, torch.zeros_like(rows))
    params = {name: value.to(dtype) for name, value in params.items()}
    x = torch.rand(trials, batch, 6, generator=draw, dtype=dtype)
    return params, x, torch.randint(4, (trials, batch), generator=draw)


def view_of(params, x, y):
    weights = torch.full(y.shape, 1.0 / y.shape[1], dtype=x.dtype)
    found = KERNEL.gradients(params, x, y, weights, cross_entropy, {})
    return GradientView(gradients=found, params=params, batch=y.shape[1])


def test_simulated_gradients_are_those_of_the_kernel():
    params, x, y = client(batch=3)
    labels = torch.nn.functional.one_hot(y, 4).double()
    seen = view_of(params, x, y)
    own = simulated(forward_of(KERNEL), seen, x, labels)
    for name, value in seen.gradients.items():
        torch.testing.assert_close(own[name], value, rtol=1e-10, atol=1e-12)
    assert not any(value.requires_grad for value in params.values()), "the view was changed"


def test_several_local_steps_are_simulated_as_they_are_taken():
    params, x, y = client(batch=3)
    after = {name: value.clone() for name, value in params.items()}
    weights = torch.full(y.shape, 1 / 3, dtype=x.dtype)
    for _ in range(4):
        KERNEL.descend(after, x, y, weights, cross_entropy, {}, learning_rate=0.3)
    seen = GradientView.of_update(params, after, learning_rate=0.3, steps=4, batch=3)
    labels = torch.nn.functional.one_hot(y, 4).double()
    own = simulated(forward_of(KERNEL), seen, x, labels, steps=4, learning_rate=0.3)
    torch.testing.assert_close(flat(own), flat(seen.gradients), rtol=1e-9, atol=1e-12)
    one = simulated(forward_of(KERNEL), seen, x, labels)
    assert float((flat(one).detach() - flat(seen.gradients)).abs().max()) > 1e-4


def test_a_linear_layer_gives_one_record_exactly():
    params, x, y = client()
    found = LinearAnalytic().reconstruct(view_of(params, x, y))
    torch.testing.assert_close(found, x[:, 0], rtol=1e-9, atol=1e-12)


def test_a_batch_gives_the_mean_and_a_lonely_unit_its_record():
    params, x, y = client(batch=2)
    params["1.weight"][:, :, 0], params["1.bias"][:, 0, 0] = 0.0, 0.0
    params["1.weight"][:, 0, 0] = 1.0  # unit 0 is on for the record with the larger first value
    params["1.bias"][:, 0, 0] = -x[:, :, 0].mean(dim=1)
    attack, seen = LinearAnalytic(), view_of(params, x, y)
    who = x[:, :, 0].argmax(dim=1)
    alone = attack.by_unit(seen)[:, 0]
    torch.testing.assert_close(alone, x[torch.arange(5), who], rtol=1e-8, atol=1e-10)
    assert float((attack.reconstruct(seen) - x[:, 0]).abs().max()) > 1e-3


def test_the_linear_score_is_the_energy_that_one_record_explains():
    params, x, y = client(batch=2)
    seen, candidates = view_of(params, x, y), torch.rand(5, 7, 6, dtype=torch.float64)
    scores = LinearAnalytic().score(seen, candidates)
    for trial in range(5):
        stacked = torch.cat(
            [seen.gradients["1.weight"][trial], seen.gradients["1.bias"][trial]]
        )  # [in + 1, out]
        for place in range(7):
            own = torch.cat([candidates[trial, place], torch.ones(1, dtype=torch.float64)])
            best = torch.linalg.lstsq(own[:, None], stacked).solution  # any output gradient
            rest = (stacked - own[:, None] @ best).square().sum()
            explained = stacked.square().sum() - rest
            torch.testing.assert_close(scores[trial, place], explained, rtol=1e-7, atol=1e-12)


def test_no_gradient_is_no_record():
    params, x, y = client()
    zero = {name: torch.zeros_like(value) for name, value in params.items()}
    seen = GradientView(gradients=zero, params=params, batch=1)
    assert float(LinearAnalytic().reconstruct(seen).abs().max()) == 0.0
    assert bool(LinearAnalytic().by_unit(seen).isnan().all())


@pytest.mark.parametrize("batch", [1, 6])
def test_label_counts_are_exact_where_predictions_are_known(batch):
    params, x, y = client(trials=40, batch=batch)
    predicted = KERNEL.outputs(params, x).logits.softmax(dim=2).mean(dim=1)
    attack = LabelRecovery(layer="2", predicted=predicted)
    counts = torch.nn.functional.one_hot(y, 4).sum(dim=1)
    seen = view_of(params, x, y)
    torch.testing.assert_close(attack.score(seen), counts.double(), rtol=1e-9, atol=1e-9)
    assert torch.equal(attack.reconstruct(seen), counts)
    rough = LabelRecovery(layer="2", predicted=torch.full((4,), 0.25)).reconstruct(seen)
    assert bool((rough.sum(dim=1) == batch).all())
    if batch == 1:  # the sign alone says it
        assert torch.equal(rough, counts)


def test_searches_find_one_record():
    params, x, y = client(trials=12, seed=3)
    seen = view_of(params, x, y)
    start = 0.5 + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    by_cosine = InvertingGradients(
        forward=forward_of(KERNEL), start=start, labels=y, classes=4, bounds=(0.0, 1.0)
    ).reconstruct(seen)
    by_distance = DeepLeakage(forward=forward_of(KERNEL), start=start, classes=4).reconstruct(seen)
    blind = float((start - x).norm(dim=2).median())
    for found in (by_cosine, by_distance):
        assert float((found - x).norm(dim=2).median()) < 0.1 * blind
    assert float(by_cosine.min()) >= 0.0 and float(by_cosine.max()) <= 1.0


def test_a_prior_pulls():
    params, x, y = client(trials=3)
    start = torch.full_like(x, 0.5)
    attack = InvertingGradients(
        forward=forward_of(KERNEL),
        start=start,
        labels=y,
        classes=4,
        prior=lambda x: 1e3 * (x - 0.25).square().flatten(1).sum(dim=1),
    )
    assert float((attack.reconstruct(view_of(params, x, y)) - 0.25).abs().max()) < 0.02


def test_the_informed_test_is_the_nearest_clipped_gradient():
    params, x, y = client(trials=4)
    draw = torch.Generator().manual_seed(1)
    candidates = torch.rand(4, 5, 6, generator=draw, dtype=torch.float64)
    candidates[:, 2] = x[:, 0]
    labels = torch.randint(4, (4, 5), generator=draw)
    labels[:, 2] = y[:, 0]
    raw = view_of(params, x, y)
    length = flat(raw.gradients).norm(dim=1)
    assert float(length.min()) > 0.5, "every record is clipped"
    clipped = {n: 0.5 * v / length.view(-1, 1, 1) for n, v in raw.gradients.items()}
    seen = GradientView(gradients=clipped, params=params, batch=1)
    attack = GradientLikelihood(forward=forward_of(KERNEL), classes=4, labels=labels, clip_norm=0.5)
    scores = attack.score(seen, candidates)
    assert bool((scores.argmax(dim=1) == 2).all())
    torch.testing.assert_close(scores[:, 2], torch.zeros(4).double(), rtol=0, atol=1e-20)


def test_the_span_holds_the_inputs_and_nothing_else():
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 4, 20, generator=draw, dtype=torch.float64)  # 4 inputs of 20 numbers
    rows = torch.randn(3, 8, 4, generator=draw, dtype=torch.float64) @ inputs
    params = {"a": torch.zeros(3, 8, 20)}
    seen = GradientView(gradients={"a": rows.float()}, params=params, batch=1)
    attack = InputSpan(names=("a",))
    basis = attack.reconstruct(seen)
    assert bool((basis.norm(dim=2).gt(0.5).sum(dim=1) == 4).all()), "rank 4"
    others = torch.randn(3, 50, 20, generator=draw, dtype=torch.float64)
    scores = attack.score(seen, torch.cat([inputs, others], dim=1))
    assert float(scores[:, :4].min()) > -1e-3 and float(scores[:, 4:].max()) < -0.3
    assert float(attack.score(seen, torch.zeros(1, 20))[0]) == -1.0  # nothing is no input


def test_tokens_of_a_short_text_are_recovered_from_adapters_of_a_real_model():
    from privassay.accountant.errors import AssetError
    from privassay.audit_reports.selftest import adapter_gradients

    try:
        control = adapter_gradients.CONTROLS[0].positive(5)
    except AssetError as error:
        pytest.skip(str(error))
    assert control.hits >= 0.95 * control.trials


def test_a_known_rest_of_a_batch_is_subtracted():
    params, x, y = client(trials=6, batch=4)
    whole = view_of(params, x, y)
    others = view_of(params, x[:, 1:], y[:, 1:])
    rest = {n: v - 0.75 * others.gradients[n] for n, v in whole.gradients.items()}
    seen = GradientView(gradients=rest, params=params, batch=4)
    draw = torch.Generator().manual_seed(1)
    candidates = 0.2 * x[:, :1] + 0.8 * torch.rand(6, 9, 6, generator=draw, dtype=torch.float64)
    candidates[:, 4] = x[:, 0]
    labels = y[:, :1].expand(-1, 9)
    attack = GradientLikelihood(forward=forward_of(KERNEL), classes=4, labels=labels)
    scores = attack.score(seen, candidates)
    assert bool((scores.argmax(dim=1) == 4).all())
    assert float(scores[:, 4].abs().max()) < 1e-20


def noised(control, factor, monkeypatch):
    """The bounded run of a control whose noise is `factor` times what its mu says."""
    from privassay.audit_reports.selftest import adapter_gradients, gradients

    real = gradients.SIGMA
    monkeypatch.setattr(gradients, "SIGMA", factor * real)
    assert adapter_gradients.MU == gradients.MU == 1.0 / real
    return control.bounded(0)


@pytest.mark.parametrize(
    ("attack", "factor"), [("gradient_likelihood", 0.25), ("linear_analytic", 0.02)]
)
def test_too_little_noise_is_above_the_ceiling(attack, factor, monkeypatch):
    from privassay.audit_reports.selftest import gradients
    from privassay.audit_reports.selftest.judge import judge

    (control,) = [c for c in gradients.CONTROLS if c.attack == attack]
    found = judge("bounded", noised(control, factor, monkeypatch), at_least=0.0)
    assert not found.passed and "ABOVE ITS CEILING" in found.words


def test_tokens_of_the_first_round_come_from_b_and_empty_places_stay_empty():
    from privassay.attacks.inversion.gradients.token_bag import TokenBag

    draw = torch.Generator().manual_seed(0)
    embedding = torch.randn(50, 24, generator=draw)
    tokens = torch.tensor([[3, 17, 44, 0, 0]])  # 0 is padding
    x = embedding[tokens[:, :3]]
    a = torch.randn(1, 6, 24, generator=draw)
    output = torch.randn(1, 3, 10, generator=draw)
    params = {"q.lora_A.weight": a, "q.lora_B.weight": torch.zeros(1, 10, 6)}
    seen = {
        "q.lora_A.weight": torch.zeros(1, 6, 24),  # B is zero
        "q.lora_B.weight": output.mT @ (x @ a.mT),
    }
    view = GradientView(gradients=seen, params=params, batch=1)

    def attack(*images):
        return TokenBag(
            span=InputSpan(names=("q.lora_A.weight",)),
            images=images,
            inputs=lambda tokens, place: embedding[tokens],
            vocabulary=50,
            places=5,
            padding=0,
        )

    found = attack("q.lora_B.weight").reconstruct(view)
    assert set(found.flatten().tolist()) <= {0, 3, 17, 44} and (found != 0).any()
    texts = torch.randint(1, 50, (1, 20, 5), generator=draw)
    texts[0, 7] = tokens[0]
    assert int(attack("q.lora_B.weight").score(view, texts).argmax()) == 7
    with pytest.raises(DesignError, match="zero"):
        attack().score(view, texts)


def test_llama_inputs_are_what_the_first_layer_sees():
    from transformers import LlamaConfig, LlamaForCausalLM

    from privassay.attacks.inversion.gradients.token_bag import llama_inputs

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    ).eval()
    seen = []
    model.model.layers[0].self_attn.q_proj.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0])
    )
    tokens = torch.tensor([[5, 9, 5]])
    with torch.no_grad():
        model(input_ids=tokens, use_cache=False)
    torch.testing.assert_close(llama_inputs(model)(tokens, 0), seen[0])


def test_wrong_views_are_errors():
    params, x, y = client()
    with pytest.raises(DesignError, match="no part of the model"):
        GradientView(gradients={"9.weight": x}, params=params, batch=1)
    with pytest.raises(DesignError, match="shape"):
        GradientView(gradients={"1.bias": x}, params=params, batch=1)
    bad = {"1.bias": torch.full_like(params["1.bias"], float("nan"))}
    with pytest.raises(DesignError, match="NaN"):
        GradientView(gradients=bad, params=params, batch=1)
    uneven = {"1.weight": params["1.weight"], "1.bias": params["1.bias"][:2]}
    with pytest.raises(DesignError, match="trials"):
        GradientView(gradients=uneven, params=params | {"1.bias": uneven["1.bias"]}, batch=1)
    with pytest.raises(ParameterError):
        GradientView(gradients={"1.bias": params["1.bias"]}, params=params, batch=0)
    seen = GradientView(gradients={"1.bias": params["1.bias"]}, params=params, batch=1)
    with pytest.raises(DesignError, match="needs the gradient of '1.weight'"):
        LinearAnalytic().reconstruct(seen)
    with pytest.raises(DesignError, match="predicted"):
        LabelRecovery(layer="1", predicted=torch.ones(3)).score(seen)
