"""RMIA and attack-P by rank against comparing each record with each, in logs and in plain p."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.membership.attack_p import AttackP
from privassay.attacks.membership.loss import Loss
from privassay.attacks.membership.outputs import Answers, References
from privassay.attacks.membership.population import count_at_most, population_of, ranks
from privassay.attacks.membership.rmia import Rmia


def population(records, targets, seed=0):
    """bool[targets, records]: another third for each target."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.rand(targets, records, generator=generator) < 0.3
    found[:, 0] = True
    return found


def dense(view, references, known, *, mode, gamma, a):
    """From plain probabilities, one target and record after another, each with each."""
    labels = view.labels
    at = torch.arange(len(labels))
    p = view.logits.softmax(dim=2)[:, at, labels]
    p_ref = references.answers.logits.softmax(dim=2)[:, at, labels]
    rows = []
    for target in range(len(p)):
        use = references.allowed[target]
        member, found = references.member[use], p_ref[use]
        out = [found[~member[:, n], n].mean() for n in range(len(labels))]
        typical = torch.stack([value for value in out if bool(value.isfinite())]).mean()
        means = []
        for n, without in enumerate(out):
            inside = found[member[:, n], n].mean() if mode == "online" else math.nan
            if math.isnan(without):
                lowest = 0.0 if a == 0.0 else max(0.0, float((inside - (1 - a)) / a))
                without = lowest if mode == "online" else typical
            if math.isnan(inside):
                inside = a * without + 1 - a
            means.append(float(inside + without) / 2)
        ratio = p[target] / torch.tensor(means, dtype=torch.float64)
        rows.append((ratio[:, None] >= gamma * ratio[known[target]]).double().mean(dim=1))
    return torch.stack(rows)


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize(("gamma", "a"), [(1.0, 0.3), (2.0, 0.0), (0.7, 1.0)])
def test_equals_the_dense_form(toy, mode, gamma, a):
    view, references = toy(records=200, references=4)
    known = population(200, 3)
    attack = Rmia(
        references=references,
        population=known,
        mode=mode,
        gamma=gamma,
        a=a,
        may_score_population=True,
    )
    found = attack.score(view, None)
    wanted = dense(view, references, known, mode=mode, gamma=gamma, a=a)
    assert torch.equal(found, wanted)
    assert found.dtype == torch.float64 and 0.0 < float(found.std())


def test_some_record_had_no_model_without_it_and_another_none_with_it(toy):
    _, references = toy(records=200, references=4)
    for missing in (references.member, ~references.member):
        assert any(bool(missing[use].all(dim=0).any()) for use in references.allowed)


def test_online_how_many_references_hold_the_record_does_not_matter(toy):
    """Both halves of the mean have the same weight: three copies of those with it change nothing.

    A mean over all references would move towards them.
    """
    view, references = toy(records=100, references=2, gain=4.0)
    member = torch.stack([torch.ones(100, dtype=torch.bool), torch.zeros(100, dtype=torch.bool)])
    asked = replace(references, member=member, allowed=torch.ones(3, 2, dtype=torch.bool))
    copies = [0, 0, 0, 1]
    more = References(
        answers=Answers(logits=asked.answers.logits[copies], labels=view.labels),
        member=member[copies],
        allowed=torch.ones(3, 4, dtype=torch.bool),
    )
    known = torch.arange(0, 100, 2)
    for gamma in (0.5, 1.0, 2.0):
        one, other = (
            Rmia(references=which, population=known, gamma=gamma, may_score_population=True)
            for which in (asked, more)
        )
        assert torch.equal(one.score(view), other.score(view))


def test_online_a_single_reference_that_held_the_record_is_told_from_one_that_did_not():
    """Two records with the same answers of target and reference; only one is in the reference.

    If it was, a model without it would find it less likely than that, so the same answer of the
    target says more than for the other record.
    """
    logits = torch.tensor([[[2.0, 0.0], [2.0, 0.0]]], dtype=torch.float64)
    answers = Answers(logits=logits, labels=torch.zeros(2, dtype=torch.int64))
    references = References(
        answers=answers,
        member=torch.tensor([[True, False]]),
        allowed=torch.ones(1, 1, dtype=torch.bool),
    )
    for population, candidate, wanted in ((1, 0, 1.0), (0, 1, 0.0)):
        attack = Rmia(references=references, population=torch.tensor([population]))
        assert attack.score(answers, torch.tensor([candidate])).tolist() == [[wanted]]


def test_constant_answers_are_ties_and_ties_count(toy):
    view, references = toy()
    view = Answers(logits=torch.zeros_like(view.logits), labels=view.labels)
    references.answers.logits[:] = 0.0
    references.member[:2] = torch.tensor([[True], [False]])  # both kinds for every record
    references.allowed[:, :2] = True
    known, rest = torch.arange(10), torch.arange(10, 40)
    for mode in ("online", "offline"):
        attack = Rmia(references=references, population=known, mode=mode)
        assert bool((attack.score(view, rest) == 1.0).all())
        above = replace(attack, gamma=1.0 + 1e-9)
        assert bool((above.score(view, rest) == 0.0).all())
    assert bool((AttackP(population=known).score(view, rest) == 0.0).all())


@pytest.mark.parametrize("kind", ["normal", "ties", "clustered", "huge", "one"])
def test_ranks_are_counts_ties_included(kind):
    rng = np.random.default_rng(4)
    values, others = rng.normal(size=700), rng.normal(size=300)
    if kind == "ties":
        values, others = values.round(1), others.round(1)
    elif kind == "clustered":
        values, others = (np.sign(v) * np.exp(-40 * abs(v)) for v in (values, others))
        others[:50] = values[:50]
    elif kind == "huge":
        values, others = 1e300 * values, 1e300 * others
        values[:5], others[:5] = [-0.0, 0.0, 5e-324, -5e-324, 1.7e308], [0.0, -0.0, 0, 0, 1.7e308]
    elif kind == "one":
        values, others = values[:1], values[:1]
    wanted = (values[:, None] >= others).sum(axis=1)
    assert np.array_equal(ranks(values, others), wanted)


def test_counts_go_by_target_and_shift():
    values = torch.tensor([[0.0, 1.0, 2.0], [5.0, 4.0, 3.0]], dtype=torch.float64)
    populations = [torch.tensor([1]), torch.tensor([0, 2])]
    assert count_at_most(values, populations).tolist() == [[0, 1, 1], [2, 1, 1]]
    assert count_at_most(values, populations, shift=1.0).tolist() == [[0, 0, 1], [1, 1, 0]]


def test_probabilities_that_round_to_one_are_still_told_apart(toy):
    view, references = toy()
    sure = 60.0 + torch.arange(40.0, dtype=torch.float64)
    others = torch.zeros(1, 40, 4, dtype=torch.float64)
    labels = view.labels.view(1, -1, 1)
    view = Answers(
        logits=others.scatter(2, labels, sure.view(1, -1, 1)).expand(3, -1, -1), labels=view.labels
    )
    references.answers.logits[:] = 0.9 * view.logits[:1]
    assert bool((view.logits.softmax(dim=2).max(dim=2).values == 1.0).all())
    attack = Rmia(references=references, population=torch.arange(0, 40, 2))
    scores = attack.score(view, torch.arange(1, 40, 2))
    # the surer both are, the less the target can exceed the references
    assert scores[0].tolist() == [k / 20 for k in range(19, -1, -1)]


def test_attack_p_is_the_naive_count_and_a_valid_p_value(toy):
    view, _ = toy(records=300)
    known, rest = torch.arange(100), torch.arange(100, 300)
    score = AttackP(population=known).score(view, rest)
    loss = -Loss().score(view)
    for target in range(3):
        for column, record in enumerate(rest.tolist()):
            above = int((loss[target, known] > loss[target, record]).sum())
            assert float(score[target, column]) == above / 101


def test_attack_p_holds_its_level_exactly():
    """Exchangeable losses, with ties: P(score >= 1 - k/(Z+1)) <= k/(Z+1), and nearly that."""
    generator = torch.Generator().manual_seed(0)
    trials, z = 20_000, 19
    logits = torch.randn(trials, z + 1, 2, generator=generator).mul(20).round().div(20).double()
    view = Answers(logits=logits, labels=torch.ones(z + 1, dtype=torch.int64))
    score = AttackP(population=torch.arange(1, z + 1)).score(view, torch.tensor([0]))[:, 0]
    for k in (1, 2, 5, 10):
        rate = float((score >= 1 - k / (z + 1)).double().mean())
        level = k / (z + 1)
        assert level - 0.03 < rate < level + 4 * math.sqrt(level / trials)


@pytest.mark.parametrize("build", [AttackP, Rmia])
def test_populations_that_do_not_fit(build, toy):
    view, references = toy()
    more = {"references": references} if build is Rmia else {}

    def score(known, candidates=None, **options):
        return build(population=known, **more, **options).score(view, candidates)

    with pytest.raises(DesignError, match="also candidates"):
        score(torch.arange(5))
    with pytest.raises(DesignError, match="2 known non-members of a target are also candidates"):
        score(torch.arange(5), torch.arange(3, 9))
    assert score(torch.arange(5), may_score_population=True).shape == (3, 40)
    with pytest.raises(DesignError, match="0 .. 39"):
        score(torch.tensor([40]), torch.arange(4))
    with pytest.raises(DesignError, match="twice"):
        score(torch.tensor([7, 7]), torch.arange(4))
    with pytest.raises(DesignError, match="bool"):
        score(torch.ones(2, 40, dtype=torch.bool), torch.arange(4))
    nobody = torch.zeros(3, 40, dtype=torch.bool)
    with pytest.raises(DesignError, match="no population"):
        score(nobody, torch.arange(4))
    with pytest.raises(DesignError, match="0 .. 39"):
        score(torch.arange(30, 40), torch.tensor([41]))


def test_one_list_for_all_targets_is_the_mask_of_each():
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[:, [2, 5]] = True
    for given in (mask, torch.tensor([2, 5])):
        found = population_of(given, 2, 9, candidates=torch.tensor([0]), may_score=False)
        assert [rows.tolist() for rows in found] == [[2, 5], [2, 5]]


def test_parameters_out_of_range(toy):
    _, references = toy()
    for wrong in ({"gamma": 0.0}, {"a": 1.5}, {"mode": "both"}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            Rmia(references=references, population=torch.arange(3), **wrong)


def test_offline_needs_a_reference_without_some_record(toy):
    view, references = toy(chance=1.0)
    attack = Rmia(references=references, population=torch.arange(9), mode="offline")
    with pytest.raises(DesignError, match="attack online"):
        attack.score(view, torch.arange(9, 40))
    assert bool(replace(attack, mode="online").score(view, torch.arange(9, 40)).isfinite().all())
