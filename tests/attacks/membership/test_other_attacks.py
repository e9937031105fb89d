"""Quantile regression, label-only, users."""

import numpy as np
import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.membership import label_only
from privassay.attacks.membership.label_only import Decisions, LabelOnly, noisy_copies
from privassay.attacks.membership.outputs import Answers
from privassay.attacks.membership.quantile import QuantileRegression
from privassay.attacks.membership.user_level import UserLevel
from privassay.audit_reports.estimators.auc import auc


def known_quantiles(seed=0, records=1500):
    """phi of a non-member is N(4 x_0, (1 + x_1)^2), so its quantiles given x are known."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(records, 3, generator=generator, dtype=torch.float64)
    member = torch.rand(records, generator=generator) < 0.5
    member[:800] = False
    noise = torch.randn(records, generator=generator, dtype=torch.float64)
    phi = 4.0 * x[:, 0] + (1.0 + x[:, 1]) * noise + 2.0 * member
    logits = torch.stack([torch.zeros_like(phi), phi], dim=1).unsqueeze(0)
    return Answers(logits=logits, labels=torch.ones(records, dtype=torch.int64)), x, member


@pytest.mark.parametrize("learner", ["linear", "boosting"])
def test_the_predicted_quantile_is_the_true_one(learner):
    view, x, member = known_quantiles()
    rest = torch.arange(800, 1500)
    attack = QuantileRegression(features=x, population=torch.arange(800), fpr=0.1, learner=learner)
    scores = attack.score(view, rest)[0]
    usual = view.logits[0, rest, 1] - scores
    truth = 4.0 * x[rest, 0] + 1.2815515655 * (1.0 + x[rest, 1])
    assert float((usual - truth).abs().mean()) < (0.25 if learner == "linear" else 0.5)
    inside, outside = scores[member[rest]], scores[~member[rest]]
    assert 0.05 < float((outside > 0).double().mean()) < 0.17
    plain = view.logits[0, rest, 1]
    better = auc(inside.numpy(), outside.numpy())
    assert better > auc(plain[member[rest]].numpy(), plain[~member[rest]].numpy()) + 0.03


def test_the_fit_never_sees_a_candidate():
    view, x, _ = known_quantiles(records=1000)
    attack = QuantileRegression(features=x, population=torch.arange(800), learner="linear")
    with pytest.raises(DesignError, match="1 known non-members of a target are also candidates"):
        attack.score(view, torch.tensor([799, 900]))
    with pytest.raises(DesignError, match="also candidates"):
        attack.score(view, None)
    before = attack.score(view, torch.arange(800, 900))
    logits = view.logits.clone()
    logits[0, 900:] = 99.0 * logits[0, 900:].flip(dims=(1,))  # neither fitted nor scored
    after = attack.score(Answers(logits=logits, labels=view.labels), torch.arange(800, 900))
    assert torch.equal(before, after)


def test_quantile_regression_refuses_wrong_tables():
    view, x, _ = known_quantiles(records=900)
    with pytest.raises(DesignError, match="finite float"):
        QuantileRegression(features=x * torch.nan, population=torch.arange(9))
    with pytest.raises(DesignError, match="flatten images"):
        QuantileRegression(features=x.unsqueeze(2), population=torch.arange(9))
    with pytest.raises(DesignError, match="899 rows, but 900"):
        QuantileRegression(features=x[:899], population=torch.arange(9)).score(
            view, torch.arange(800, 899)
        )
    for wrong in ({"fpr": 0.0}, {"fpr": 1.0}, {"learner": "forest"}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            QuantileRegression(features=x, population=torch.arange(9), **wrong)


def test_label_only_is_the_share_of_right_answers():
    predicted = torch.tensor([[[1, 1, 0, 1], [2, 2, 2, 2]], [[0, 0, 0, 0], [2, 1, 0, 2]]])
    view = Decisions(predicted=predicted, labels=torch.tensor([1, 2]))
    assert LabelOnly().score(view).tolist() == [[0.75, 1.0], [0.0, 0.5]]
    assert LabelOnly().score(view, torch.tensor([1])).tolist() == [[1.0], [0.5]]
    for wrong in (predicted[0], predicted[..., :0], predicted.double()):
        with pytest.raises(DesignError):
            Decisions(predicted=wrong, labels=torch.tensor([1, 2]))


def test_copies_are_the_record_and_small_changes_of_it():
    images = torch.arange(24.0).view(2, 3, 4)
    noisy = noisy_copies(images, copies=400, scale=0.5, seed=2)
    assert noisy.dtype == images.dtype and torch.equal(noisy[:, 0], images)
    gaps = noisy[:, 1:] - images.unsqueeze(1)
    assert float(gaps.std()) == pytest.approx(0.5, rel=0.03)
    assert torch.equal(noisy, noisy_copies(images, copies=400, scale=0.5, seed=2))
    assert not torch.equal(noisy, noisy_copies(images, copies=400, scale=0.5, seed=3))
    for call in (
        lambda: noisy_copies(images, copies=0, scale=0.5, seed=2),
        lambda: noisy_copies(images, copies=2, scale=0.0, seed=2),
    ):
        with pytest.raises(ParameterError):
            call()


@pytest.mark.parametrize("limit", [1, 1000, 1 << 20])
def test_where_the_noise_of_copies_is_cut_does_not_show(limit, monkeypatch):
    generator = torch.Generator().manual_seed(5)
    x = torch.arange(70.0).unsqueeze(1).expand(70, 3)
    noise = torch.randn(70, 7, 3, generator=generator, dtype=torch.float64)
    noise[:, 0] = 0.0
    monkeypatch.setattr(label_only, "_AT_ONCE", limit)
    found = noisy_copies(x, copies=7, scale=0.2, seed=5)
    assert torch.equal(found, x.unsqueeze(1) + (0.2 * noise).float())


@pytest.mark.parametrize(("how", "of"), [("mean", np.mean), ("max", np.max), ("sum", np.sum)])
def test_users_are_aggregated_as_numpy_does(how, of):
    generator = torch.Generator().manual_seed(0)
    users = torch.tensor([2, 0, 1, 1, 2, 2, 0, 3])
    scores = torch.randn(4, 8, generator=generator, dtype=torch.float64) - 5.0
    found = UserLevel(users=users, how=how).score(scores)
    for target in range(4):
        for user in range(4):
            own = scores[target, users == user].numpy()
            assert float(found[target, user]) == pytest.approx(of(own), rel=1e-14)
    picked = UserLevel(users=users, how=how).score(scores, torch.tensor([3, 1]))
    assert torch.equal(picked, found[:, [3, 1]])


def test_the_sum_of_ratios_gains_with_every_record():
    generator = torch.Generator().manual_seed(1)
    member = torch.rand(3000, generator=generator) < 0.5
    truth = member.repeat_interleave(4)
    phi = torch.randn(12_000, generator=generator, dtype=torch.float64) + 0.8 * truth
    ratios = (0.8 * phi - 0.32).unsqueeze(0)
    users = torch.arange(3000).repeat_interleave(4)
    areas = {}
    for how in ("sum", "max"):
        found = UserLevel(users=users, how=how).score(ratios)[0]
        areas[how] = auc(found[member].numpy(), found[~member].numpy())
    single = auc(ratios[0, truth].numpy(), ratios[0, ~truth].numpy())
    assert areas["sum"] == pytest.approx(0.8711, abs=0.02)  # Phi(.8 sqrt(4) / sqrt(2))
    assert areas["sum"] > areas["max"] > single


def test_users_must_be_numbered():
    with pytest.raises(DesignError, match="numbered 0 .. 1"):
        UserLevel(users=torch.tensor([0, 2]))
    with pytest.raises(DesignError, match="int64"):
        UserLevel(users=torch.tensor([0.0, 1.0]))
    with pytest.raises(ParameterError, match="how"):
        UserLevel(users=torch.tensor([0, 1]), how="median")
    attack = UserLevel(users=torch.tensor([0, 1, 1]))
    with pytest.raises(DesignError, match="float64"):
        attack.score(torch.zeros(2, 4, dtype=torch.float64))
    with pytest.raises(DesignError, match="0 .. 1"):
        attack.score(torch.zeros(2, 3, dtype=torch.float64), torch.tensor([2]))
