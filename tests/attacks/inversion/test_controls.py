"""The controls of prototype inversion, once, and what they are made of."""

import pytest
import torch

from privassay.accountant.errors import DesignError
from privassay.attacks.inversion.identification import identified
from privassay.audit_reports.selftest import prototypes
from privassay.audit_reports.selftest.gallery import CANDIDATES, declared_noise, draw
from privassay.audit_reports.selftest.judge import judge
from privassay.mechanisms.base import SeededKey

SEED = 5


@pytest.mark.parametrize("kind", ["positive", "noise", "bounded"])
@pytest.mark.parametrize("control", prototypes.CONTROLS, ids=lambda control: control.attack)
def test_controls(control, kind):
    outcome = getattr(control, kind)(SEED)
    found = judge(kind, outcome, at_least=control.at_least, reaches=control.reaches)
    assert found.passed, found.words
    assert outcome.chance == 1 / CANDIDATES
    assert (outcome.mu is not None) == (kind == "bounded")


def test_controls_follow_their_seed():
    control = prototypes.CONTROLS[0]
    assert control.bounded(3) == control.bounded(3) != control.bounded(4)


def test_no_attack_is_above_the_informed_bound_where_there_is_noise():
    bound, *others = [control.bounded(SEED) for control in prototypes.CONTROLS]
    rate = bound.hits / bound.trials
    for control, outcome in zip(prototypes.CONTROLS[1:], others, strict=True):
        assert outcome.hits / outcome.trials < rate, control.attack


@pytest.fixture(scope="module")
def drawn():
    return prototypes._trials("positive", 500, 11)


def test_the_target_is_a_candidate_and_the_control_is_none(drawn):
    rows, truth = drawn.candidates.rows, drawn.truth
    assert all(len(set(row)) == CANDIDATES for row in rows.tolist())
    target = drawn.candidates.features[rows.gather(1, truth[:, None])[:, 0]]
    for view, inside in ((drawn.seen, True), (drawn.control, False)):
        gaps = drawn.candidates.features[rows] - view.uploads[:, :1]
        nearest = gaps.norm(dim=2).amin(dim=1)
        assert bool(((nearest < 1e-9) == inside).all())
    torch.testing.assert_close(drawn.seen.uploads[:, 0], target)
    gallery = prototypes._digits()
    assert (gallery.labels[rows] == drawn.labels[:, None]).all()  # one class in each trial
    private = set(gallery.private.flatten().tolist())
    assert private.isdisjoint(gallery.public.tolist())
    assert len(private) + len(gallery.public) == len(gallery.labels)


def test_places_of_the_target_are_uniform(drawn):
    counts = torch.bincount(drawn.truth, minlength=CANDIDATES).double()
    chi_square = float(((counts - 5.0).square() / 5.0).sum())
    assert 50.0 < chi_square < 165.0, chi_square  # 99 degrees: 1e-5 on either side


@pytest.mark.parametrize("control", prototypes.CONTROLS, ids=lambda control: control.attack)
def test_from_other_pictures_of_the_class_every_attack_is_at_chance(drawn, control):
    """The disjoint control: a class-typical picture is not taken for leakage."""
    build = control.positive.args[0]
    attack = build(prototypes._public(False), drawn)
    scores = attack.score(drawn.control, drawn.candidates)
    hits = int(identified(scores, drawn.truth).sum())
    assert hits <= 17, f"{hits} of 500 at 1 %"  # Bin(500, .01) is above with probability 6e-6


def test_identification_falls_with_the_number_of_records_and_with_the_noise():
    from dataclasses import replace

    from privassay.attacks.inversion.identification import PrototypeMatch

    gallery, open_ = prototypes._digits(), prototypes._mechanism(False)
    space = prototypes._public(False).space
    rates = []
    for records, noise in ((1, 0.0), (2, 0.0), (5, 0.0), (1, 0.1), (1, 0.3)):
        mechanism = replace(open_, public_count=records, noise_stddevs=(noise,))
        trials = draw(
            gallery, mechanism, rounds=1, records=records, trials=300, key=SeededKey(records)
        )
        scores = PrototypeMatch(space=space, records=records).score(trials.seen, trials.candidates)
        rates.append(float(identified(scores, trials.truth).double().mean()))
    one, two, five, some_noise, more_noise = rates
    assert one > 0.99 and one > two + 0.02 and two > five + 0.1, rates
    assert one > some_noise + 0.1 and some_noise > more_noise + 0.1, rates


def test_declared_noise_is_that_of_the_release():
    mechanism = prototypes._mechanism(True)
    trials = prototypes._trials("noise", 2000, 1)
    spread = trials.seen.uploads.flatten(0, 1).std(dim=0)
    assert ((spread / declared_noise(mechanism)) - 1.0).abs().max() < 0.04
    assert trials.seen.uploads.shape == (2000, 4, 48)


def test_too_few_pictures_or_another_divisor_are_refused():
    gallery, mechanism = prototypes._digits(), prototypes._mechanism(False)
    with pytest.raises(DesignError, match="and a public count of 2"):
        draw(gallery, mechanism, rounds=1, records=2, trials=3, key=SeededKey(0))
    with pytest.raises(DesignError, match="there are 110"):
        draw(gallery, mechanism, rounds=1, records=20, trials=3, key=SeededKey(0))
