"""The controls of this family, once, on the public asset; and the real model, slowly."""

import pytest
import torch

from privassay.audit_reports.estimators.auc import auc
from privassay.audit_reports.selftest.judge import judge
from privassay.audit_reports.selftest.language import CONTROLS
from privassay.fl_core.data import assets

KINDS = ("positive", "noise", "bounded")
CASES = [(c, kind) for c in CONTROLS for kind in KINDS if getattr(c, kind) is not None]


def ready(name):
    if assets.state(name) != "ready":
        pytest.skip(f"privassay assets fetch {name}")


@pytest.mark.parametrize(("control", "kind"), CASES, ids=[f"{c.attack}-{k}" for c, k in CASES])
def test_every_control_is_as_it_must_be(control, kind):
    for name in control.assets:
        ready(name)
    outcome = getattr(control, kind)(1)
    found = judge(kind, outcome, at_least=control.at_least, reaches=control.reaches)
    assert found.passed, found.words


def test_another_seed_is_another_experiment():
    ready("shakespeare")
    from privassay.audit_reports.selftest.language_settings import uploaded_canaries

    one, again, other = uploaded_canaries(1), uploaded_canaries.__wrapped__(1), uploaded_canaries(2)
    assert torch.equal(one.view.logp, again.view.logp)
    assert not torch.equal(one.view.logp, other.view.logp)


def test_an_upload_uses_up_its_bound_and_an_empty_client_sends_noise_only():
    ready("shakespeare")
    from privassay.audit_reports.selftest.language_stand_in import (
        fresh_adapters,
        stand_in,
        uploads,
    )
    from privassay.fl_core.kernels.base import flatten
    from privassay.mechanisms.base import SeededKey

    x = stand_in().model.tokenizer.encode(["a text of one client"], 32)
    key = SeededKey(5)
    start = flatten(fresh_adapters(1, key))

    def moved(mu):
        found = uploads(x, torch.tensor([0, -1]), mu=mu, key=key)
        return (flatten(found) - start).double()

    # Without noise: the bound is used up by a client with a text, and an empty client is silent.
    assert moved(1e9).norm(dim=1).tolist() == pytest.approx([0.01, 0.0], abs=1e-6)
    assert moved(2.0).std(dim=1).tolist() == pytest.approx([0.005, 0.005], rel=0.03)
    noise = moved(2.0) - moved(1e9)
    assert abs(float(torch.corrcoef(noise)[0, 1])) < 0.05  # each its own


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_smollm2_gives_its_texts_away():
    """24 speeches, half of them tuned on: the base as reference tells which."""
    ready("shakespeare")
    ready("smollm2-135m")
    pytest.importorskip("gguf", reason="gguf is not installed")
    from privassay.attacks.language.reference import ReferenceDifference
    from privassay.attacks.language.token_scores import base_model, text_scores
    from privassay.fl_core.counters import Counter
    from privassay.fl_core.data.text import load_shakespeare
    from privassay.fl_core.models.language import load_language_model
    from privassay.fl_core.models.language_kernels import causal, next_token_loss
    from privassay.fl_core.optimizers import AdamW
    from privassay.mechanisms.base import SeededKey

    model = load_language_model("smollm2-135m")
    kernel = causal(model, rank=8, alpha=16.0, max_records=12)
    texts = [text for text in load_shakespeare().texts if 40 <= len(text) <= 60][:2400:100]
    x = model.tokenizer.encode(texts, 24)
    member = torch.arange(24) % 2 == 0
    zero = torch.zeros(1, dtype=torch.int64)
    params = kernel.initial(Counter.of(SeededKey(0), "adapters"), zero, zero)
    optimizer = AdamW(learning_rate=3e-3, like=params, weight_decay=0.0)
    inside = x[member].unsqueeze(0)
    labels, weights = torch.zeros(1, 12, dtype=torch.int64), torch.full((1, 12), 1.0 / 12)
    for _ in range(6):
        gradients = kernel.gradients(params, inside, labels, weights, next_token_loss, {})
        optimizer.update(params, gradients, slice(None))
    view = text_scores(model, kernel, params, texts, length=24, moments=True)
    base = text_scores(model, kernel, base_model(kernel), texts, length=24)
    scores = ReferenceDifference(reference=base).score(view)[0]
    assert auc(scores[member].numpy(), scores[~member].numpy()) > 0.9
