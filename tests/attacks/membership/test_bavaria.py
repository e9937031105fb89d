"""BaVarIA against scipy's Student t and a loop; its limits; its gain over LiRA."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.membership.bavaria import BaVarIA, Student
from privassay.attacks.membership.lira import Lira
from privassay.attacks.membership.outputs import Answers, References
from privassay.attacks.membership.signals import margin
from privassay.audit_reports.estimators.auc import auc


def test_density_is_that_of_scipy():
    freedom = torch.tensor([3.0, 18.0, 400.0], dtype=torch.float64)
    location = torch.tensor([0.0, -4.0, 2.0], dtype=torch.float64)
    scale = torch.tensor([1.0, 0.1, 7.0], dtype=torch.float64)
    x = torch.tensor([[0.0, -4.5, 60.0], [1e6, 1e3, -1e4]], dtype=torch.float64)
    found = Student(freedom, location, scale).log_density(x)
    wanted = student.logpdf(x.numpy(), freedom.numpy(), location.numpy(), scale.numpy())
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-11)


def naive(view, references, mode, freedom):
    """One target and one record after another; Murphy's update in its usual four letters."""
    phi, ref = margin(view).numpy(), margin(references.answers).numpy()
    scores = np.empty_like(phi)
    for target in range(len(phi)):
        use = np.flatnonzero(references.allowed[target].numpy())
        member = references.member.numpy()[use]
        sides = []
        for inside in (True, False):
            values = [ref[use][member[:, n] == inside, n] for n in range(phi.shape[1])]
            means = np.array([v.mean() for v in values if len(v)])
            v0 = sum(((v - v.mean()) ** 2).sum() for v in values if len(v))
            v0 = v0 / sum(len(v) - 1 for v in values if len(v)) + 1e-6
            error = v0 * np.mean([1 / len(v) for v in values if len(v)])
            sides.append((values, means.mean(), max(means.var() - error, 1e-3 * v0), v0))
        (in_values, _, in_between, _), (out_values, _, out_between, _) = sides
        pairs = [
            (a.mean(), b.mean())
            for a, b in zip(in_values, out_values, strict=True)
            if len(a) and len(b)
        ]
        most = 0.999 * math.sqrt(in_between * out_between)
        together = np.cov(np.array(pairs).T, ddof=0)[0, 1] if pairs else 0.0
        together = min(max(together, -most), most)

        def predict(side, record, borrowed, sides=sides, together=together):
            values, typical, between, v0 = sides[side]
            mean, spread = typical, between
            if borrowed and len(sides[1 - side][0][record]):
                other, usual, wide, within = sides[1 - side]
                slope = together / (wide + within / len(other[record]))
                mean = typical + slope * (other[record].mean() - usual)
                spread = max(between - slope * together, 1e-3 * v0)
            kappa, alpha, beta = v0 / spread, freedom / 2, (freedom / 2 - 1) * v0
            x = values[record]
            n, average = len(x), x.mean() if len(x) else 0.0
            located = (kappa * mean + n * average) / (kappa + n)
            beta += ((x - average) ** 2).sum() / 2
            beta += kappa * n * (average - mean) ** 2 / (2 * (kappa + n))
            alpha, kappa = alpha + n / 2, kappa + n
            return 2 * alpha, located, math.sqrt(beta * (kappa + 1) / (alpha * kappa))

        for record in range(phi.shape[1]):
            x = phi[target, record]
            if mode == "online":
                one, two = predict(0, record, True), predict(1, record, True)
                scores[target, record] = student.logpdf(x, *one) - student.logpdf(x, *two)
            else:
                law = predict(1, record, False)
                fall = student.logpdf(law[1], *law) - student.logpdf(x, *law)
                scores[target, record] = math.copysign(fall, x - law[1])
    return scores


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize(("references", "freedom"), [(4, 16.0), (11, 2.5)])
def test_equals_a_loop_with_scipy(toy, mode, references, freedom):
    view, others = toy(references=references)
    attack = BaVarIA(references=others, mode=mode, prior_freedom=freedom)
    found = attack.score(view, None)
    np.testing.assert_allclose(
        found.numpy(), naive(view, others, mode, freedom), rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_with_many_references_it_is_lira(toy, mode):
    view, references = toy(references=3000, records=10)
    references = replace(references, allowed=torch.ones_like(references.allowed))
    found = BaVarIA(references=references, mode=mode).score(view)
    wanted = Lira(references=references, mode=mode).score(view)
    if mode == "offline":
        wanted = wanted.sign() * wanted.square() / 2
    torch.testing.assert_close(found, wanted, atol=0.03, rtol=0.03)


def test_a_strong_prior_gives_every_record_the_pooled_variance(toy):
    view, references = toy(references=40)
    references = replace(references, allowed=torch.ones_like(references.allowed))
    attack = BaVarIA(references=references, mode="offline", prior_freedom=1e7)
    pooled = Lira(references=references, mode="offline", per_record_from=10**6).score(view)
    found = attack.score(view)
    # means shrink a little, and their own error widens the prediction; nothing else differs
    torch.testing.assert_close(found, pooled.sign() * pooled.square() / 2, rtol=0.25, atol=0.1)
    weak = replace(attack, prior_freedom=2.5).score(view)
    assert float((weak - found).abs().max()) > 1.0


def uneven_world(seed, references=4, records=3000):
    """Records differ in level and spread; what is hard without a record is hard with it."""
    generator = torch.Generator().manual_seed(seed)
    level = 3.0 * torch.randn(records, generator=generator, dtype=torch.float64)
    spread = torch.rand(records, generator=generator, dtype=torch.float64) + 0.5
    gain = 1.5 + 0.5 * torch.randn(records, generator=generator, dtype=torch.float64)
    member = torch.rand(1 + references, records, generator=generator) < 0.5
    noise = torch.randn(1 + references, records, generator=generator, dtype=torch.float64)
    values = level + gain * member + spread * noise
    logits = torch.stack([torch.zeros_like(values), values], dim=2)
    labels = torch.ones(records, dtype=torch.int64)
    return (
        Answers(logits=logits[:1], labels=labels),
        References(
            answers=Answers(logits=logits[1:], labels=labels),
            member=member[1:],
            allowed=torch.ones(1, references, dtype=torch.bool),
        ),
        member[0],
    )


@pytest.mark.parametrize("seed", range(3))
def test_with_four_references_it_beats_lira(seed):
    view, references, member = uneven_world(seed)

    def area(attack):
        scores = attack.score(view)[0]
        return auc(scores[member].numpy(), scores[~member].numpy())

    gain = area(BaVarIA(references=references)) - area(Lira(references=references))
    assert gain > 0.02, gain  # .04 to .06 in 20 seeds


def test_constant_references_give_finite_scores(toy):
    view, references = toy()
    references.answers.logits[:] = references.answers.logits[:1]
    for mode in ("online", "offline"):
        assert bool(BaVarIA(references=references, mode=mode).score(view).isfinite().all())


def test_errors(toy):
    view, references = toy(references=1)
    with pytest.raises(DesignError, match="Train more references|one side"):
        BaVarIA(references=references).score(view)
    with pytest.raises(ParameterError, match="above 2"):
        BaVarIA(references=references, prior_freedom=2.0)
    with pytest.raises(ParameterError, match="mode"):
        BaVarIA(references=references, mode="on")
