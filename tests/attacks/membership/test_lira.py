"""LiRA against a loop over targets and records with scipy, and against a known truth."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy.stats import norm

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.membership.lira import Lira
from privassay.attacks.membership.outputs import Answers, References
from privassay.audit_reports.estimators.auc import auc


def phi(logits, label):
    others = np.delete(np.asarray(logits), int(label))
    return float(logits[label]) - math.log(np.exp(others).sum())


def naive(view, references, mode, per_record_from):
    """Record by record, from the docstring."""
    records = len(view.labels)
    labels = view.labels.tolist()
    scores = np.empty((len(view.logits), records))
    for target in range(len(view.logits)):
        use = [r for r, allowed in enumerate(references.allowed[target]) if allowed]
        sides = {True: [], False: []}
        for record in range(records):
            for side in (True, False):
                sides[side].append(
                    [
                        phi(references.answers.logits[r, record], labels[record])
                        for r in use
                        if bool(references.member[r, record]) is side
                    ]
                )
        pooled = {
            side: sum(np.var(v) * len(v) for v in values if v)
            / sum(len(v) - 1 for v in values if v)
            for side, values in sides.items()
        }
        pairs = zip(sides[True], sides[False], strict=True)
        gaps = [np.mean(a) - np.mean(b) for a, b in pairs if a and b]
        outs = [np.mean(v) for v in sides[False] if v]

        def spread(side, record, extra, use=use, sides=sides, pooled=pooled):
            values = sides[side][record]
            variance = pooled[side]
            if len(use) >= per_record_from and len(values) > 1:
                variance = np.var(values, ddof=1)
            return math.sqrt(variance + 1e-6 + (0.0 if values else extra))

        for record in range(records):
            own = phi(view.logits[target, record], labels[record])
            inside, outside = sides[True][record], sides[False][record]
            if mode == "offline":
                mean = np.mean(outside) if outside else np.mean(outs)
                scores[target, record] = (own - mean) / spread(False, record, np.var(outs))
                continue
            mean_in = np.mean(inside) if inside else np.mean(outside) + np.mean(gaps)
            mean_out = np.mean(outside) if outside else np.mean(inside) - np.mean(gaps)
            extra = np.var(gaps)
            scores[target, record] = norm.logpdf(
                own, mean_in, spread(True, record, extra)
            ) - norm.logpdf(own, mean_out, spread(False, record, extra))
    return scores


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize(("references", "per_record_from"), [(5, 64), (12, 64), (12, 4)])
def test_equals_a_loop_with_scipy(toy, mode, references, per_record_from):
    view, others = toy(references=references)
    attack = Lira(references=others, mode=mode, per_record_from=per_record_from)
    found = attack.score(view, None)
    assert found.dtype == torch.float64
    wanted = naive(view, others, mode, per_record_from)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-9)
    missing = [
        bool((others.member[use] == side).all(dim=0).any())
        for use in others.allowed
        for side in (True, False)
    ]
    assert any(missing) or references == 12  # the fallbacks were exercised


def gaussian_world(references, trials, mu, seed, wide=1.0):
    """One record a trial; phi is exactly N(centre, 1), and N(centre + mu, 1) for members."""
    generator = torch.Generator().manual_seed(seed)
    centre = 3.0 * torch.randn(trials, generator=generator, dtype=torch.float64)
    member = torch.rand(1 + references, trials, generator=generator) < 0.5
    noise = torch.randn(1 + references, trials, generator=generator, dtype=torch.float64)
    values = centre + mu * member + wide * noise
    logits = torch.stack([torch.zeros_like(values), values], dim=2)
    labels = torch.ones(trials, dtype=torch.int64)
    return (
        Answers(logits=logits[:1], labels=labels),
        References(
            answers=Answers(logits=logits[1:], labels=labels),
            member=member[1:],
            allowed=torch.ones(1, references, dtype=torch.bool),
        ),
        member[0],
    )


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("per_record_from", [64, 10**6])
def test_with_many_references_it_reaches_the_optimum_for_gaussians(mode, per_record_from):
    mu, trials = 1.5, 4000
    view, references, member = gaussian_world(400, trials, mu, seed=3)
    attack = Lira(references=references, mode=mode, per_record_from=per_record_from)
    scores = attack.score(view)[0]
    found = auc(scores[member].numpy(), scores[~member].numpy())
    # sd of an AUC of 2000 against 2000 is below .008; estimation with 200 a side costs .002
    assert found == pytest.approx(NormalDist().cdf(mu / math.sqrt(2.0)), abs=0.025)


def test_online_scores_are_the_true_log_ratio_when_parameters_are_known():
    view, references, _ = gaussian_world(3000, 200, 1.0, seed=5)
    scores = Lira(references=references).score(view)[0]
    phi = view.logits[0, :, 1]
    centre = references.answers.logits[:, :, 1].sub(1.0 * references.member).mean(dim=0)
    torch.testing.assert_close(scores, (phi - centre) - 0.5, atol=0.5, rtol=0.1)
    error = scores - ((phi - centre) - 0.5)
    assert float(error.std()) < 0.12  # of the true ratio, whose sd is 1


def test_offline_does_not_look_at_references_with_the_record(toy):
    view, references = toy()
    attack = Lira(references=references, mode="offline")
    before = attack.score(view)
    references.answers.logits[references.member] *= 3.0
    assert torch.equal(before, attack.score(view))


def test_too_few_references_are_an_error(toy):
    view, references = toy(references=1)
    for mode in ("online", "offline"):
        with pytest.raises(DesignError, match="Train more references|attack offline"):
            Lira(references=references, mode=mode).score(view)
    view, references = toy(chance=0.0)  # nobody was trained on anything
    with pytest.raises(DesignError, match="with and without"):
        Lira(references=references).score(view)
    assert bool(Lira(references=references, mode="offline").score(view).isfinite().all())
    view, references = toy(chance=1.0)
    with pytest.raises(DesignError, match="one side is missing"):
        Lira(references=references, mode="offline").score(view)


def test_references_that_agree_to_the_last_bit_give_finite_scores(toy):
    view, references = toy()
    references.answers.logits[:] = references.answers.logits[:1]
    for mode in ("online", "offline"):
        assert bool(Lira(references=references, mode=mode).score(view).isfinite().all())


def test_a_mode_that_does_not_exist(toy):
    _, references = toy()
    with pytest.raises(ParameterError, match="did you mean 'offline'"):
        Lira(references=references, mode="ofline")
    with pytest.raises(ParameterError, match="per_record_from"):
        Lira(references=references, per_record_from=0)
