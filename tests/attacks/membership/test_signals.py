"""Signals against mpmath and plain formulas; candidates and references that do not fit."""

import math
from dataclasses import replace

import mpmath
import pytest
import torch

from privassay.accountant.errors import DesignError
from privassay.attacks.membership import signals
from privassay.attacks.membership.loss import Confidence, Entropy, Loss
from privassay.attacks.membership.outputs import Answers, References
from privassay.attacks.membership.signals import (
    Moments,
    against_references,
    chosen,
    confidence,
    log_probability,
    margin,
    negative_entropy,
)

EXTREME = [[0.0, 0.0, 0.0], [900.0, -900.0, 3.0], [-40.0, 0.0, 1e-9], [5.0, 45.0, 4.0], [1e6, 0, 0]]


def exact(logits, label):
    """phi and ln p with 60 digits."""
    with mpmath.workdps(60):
        terms = [mpmath.exp(mpmath.mpf(v)) for v in logits]
        rest = sum(term for number, term in enumerate(terms) if number != label)
        odds = terms[label] / rest
        return mpmath.log(odds), -mpmath.log1p(1 / odds)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_margin_and_log_probability_have_no_cancellation(label):
    view = Answers(
        logits=torch.tensor(EXTREME, dtype=torch.float64).unsqueeze(0),
        labels=torch.full((len(EXTREME),), label),
    )
    phi, log_p = margin(view)[0], log_probability(view)[0]
    for row, logits in enumerate(EXTREME):
        wanted = exact(logits, label)
        assert float(phi[row]) == pytest.approx(float(wanted[0]), rel=1e-13)
        assert float(log_p[row]) == pytest.approx(float(wanted[1]), rel=1e-12), logits


def test_a_loss_below_one_rounding_is_still_ordered():
    view = Answers(logits=torch.tensor([[[0.0, 50.0], [0.0, 60.0]]]), labels=torch.tensor([1, 1]))
    assert (view.logits.softmax(dim=2)[..., 1] == 1.0).all()
    scores = Loss().score(view)
    assert scores[0, 0] < scores[0, 1] < 0.0


def test_entropy_and_confidence_are_their_definitions(toy):
    view, _ = toy()
    p = view.logits.softmax(dim=2)
    torch.testing.assert_close(Entropy().score(view), (p * p.log()).sum(dim=2))
    top = p.max(dim=2).values
    torch.testing.assert_close(Confidence().score(view), (top / (1 - top)).log())
    torch.testing.assert_close(
        Loss().score(view),
        -torch.nn.functional.cross_entropy(
            view.logits.mT, view.labels.expand(len(p), -1), reduction="none"
        ),
    )


def test_entropy_of_a_certain_answer_is_zero_not_nan():
    view = Answers(logits=torch.tensor([[[0.0, 2000.0, -5.0]]]), labels=torch.tensor([0]))
    assert float(negative_entropy(view)) == 0.0
    assert float(confidence(view)) == pytest.approx(2000.0 - math.log1p(math.exp(-5.0)))


def test_float32_answers_are_worked_in_double(toy):
    view, _ = toy()
    narrow = Answers(logits=view.logits.float(), labels=view.labels)
    wide = Answers(logits=view.logits.float().double(), labels=view.labels)
    assert torch.equal(margin(narrow), margin(wide))
    assert margin(narrow).dtype == torch.float64


def test_parts_do_not_change_a_signal(toy, monkeypatch):
    view, _ = toy(targets=7)
    whole = [signal(view) for signal in (margin, confidence, negative_entropy)]
    monkeypatch.setattr(signals, "_AT_ONCE", 2 * view.logits[0].numel() + 1)
    for before, signal in zip(whole, (margin, confidence, negative_entropy), strict=True):
        assert torch.equal(before, signal(view))


@pytest.mark.parametrize("attack", [Loss(), Entropy(), Confidence()])
def test_candidates_pick_columns_in_their_order(attack, toy):
    view, _ = toy()
    some = torch.tensor([5, 0, 17])
    assert torch.equal(attack.score(view, some), attack.score(view)[:, [5, 0, 17]])


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        (torch.tensor([0, 40]), "0 .. 39"),
        (torch.tensor([-1]), "0 .. 39"),
        (torch.tensor([3, 3]), "twice"),
        (torch.tensor([0.0]), "int64"),
        (torch.tensor([], dtype=torch.int64), "at least one"),
        (torch.ones(40, dtype=torch.bool), "int64"),
    ],
)
def test_candidates_that_are_no_records(candidates, said):
    with pytest.raises(DesignError, match=said):
        chosen(torch.zeros(1, 40), candidates)


def test_labels_and_classes_must_fit(toy):
    view, _ = toy()
    with pytest.raises(DesignError, match="0 .. 3"):
        margin(Answers(logits=view.logits, labels=view.labels + 1))
    with pytest.raises(DesignError, match="int64"):
        margin(Answers(logits=view.logits, labels=view.labels.double()))
    one = Answers(logits=view.logits[..., :1], labels=torch.zeros_like(view.labels))
    with pytest.raises(DesignError, match="at least two"):
        margin(one)


def rule_of_sums(own, others, member):
    return own + (others * member).sum(dim=0)


def test_references_must_be_about_the_same_records_classes_and_targets(toy):
    view, references = toy()
    answers = references.answers
    wrong = Answers(logits=answers.logits, labels=answers.labels.roll(1))
    with pytest.raises(DesignError, match="other records"):
        against_references(view, replace(references, answers=wrong), margin, rule_of_sums)
    wider = Answers(
        logits=torch.cat([answers.logits, answers.logits[..., :1]], dim=2), labels=answers.labels
    )
    with pytest.raises(DesignError, match="5 classes, the targets 4"):
        against_references(view, replace(references, answers=wider), margin, rule_of_sums)
    fewer = References(answers=answers, member=references.member, allowed=references.allowed[:2])
    with pytest.raises(DesignError, match="2 targets, but the view has 3"):
        against_references(view, fewer, margin, rule_of_sums)


def test_each_target_meets_its_own_references_alone(toy):
    view, references = toy(targets=5)
    found = against_references(view, references, margin, rule_of_sums)
    own, others = margin(view), margin(references.answers)
    for target in range(5):
        use = references.allowed[target]
        wanted = own[target] + (others[use] * references.member[use]).sum(dim=0)
        assert torch.equal(found[target], wanted)


def test_moments_are_those_of_numpy_and_do_not_cancel():
    generator = torch.Generator().manual_seed(1)
    values = 1e8 + 1e-3 * torch.randn(30, 50, generator=generator, dtype=torch.float64)
    used = torch.rand(30, 50, generator=generator) < 0.3
    used[:, 0], used[:, 1] = False, False
    used[3, 1] = True
    found = Moments.of(values, used)
    for record in range(50):
        some = values[used[:, record], record].numpy()
        assert int(found.seen[record]) == len(some)
        if len(some):
            assert math.isclose(float(found.mean[record]), some.mean(), rel_tol=1e-15)
            wanted = ((some - some.mean()) ** 2).sum()
            assert math.isclose(float(found.squares[record]), wanted, rel_tol=1e-4, abs_tol=1e-12)
    assert float(found.squares[1]) == 0.0 and not bool(found.known[0])
    freedom = (used.sum(dim=0) - 1).clamp(min=0).sum()
    assert float(found.within()) == pytest.approx(float(found.squares.sum() / freedom))


@pytest.mark.parametrize("limit", [1, 70, 1 << 17])
def test_moments_do_not_depend_on_where_records_are_cut_nor_on_what_is_not_used(limit, monkeypatch):
    generator = torch.Generator().manual_seed(2)
    values = 30.0 * torch.randn(12, 40, generator=generator, dtype=torch.float64) - 100.0
    used = torch.rand(12, 40, generator=generator) < 0.5
    monkeypatch.setattr(signals, "_IN_CACHE", limit)
    found = Moments.of(values, used)
    for record in range(40):
        some = values[used[:, record], record]
        wanted = (len(some), float(some.mean()), float((some - some.mean()).square().sum()))
        assert [float(part[record]) for part in found] == pytest.approx(wanted, rel=1e-12)
    other = Moments.of(torch.where(used, values, 1e200), used)
    assert all(torch.equal(a, b) for a, b in zip(found, other, strict=True))


@pytest.mark.parametrize("size", [1e151, 1e308])
@pytest.mark.parametrize("whose", ["view", "references"])
def test_a_signal_that_overflows_is_an_error(whose, size, toy):
    view, references = toy()
    huge = torch.full_like((view if whose == "view" else references.answers).logits, -size)
    huge[:, :, 0] = size
    answers = Answers(logits=huge, labels=view.labels)
    if whose == "view":
        view = answers
    else:
        references = replace(references, answers=answers)
    with pytest.raises(DesignError, match="a signal is beyond"):
        against_references(view, references, margin, rule_of_sums)
