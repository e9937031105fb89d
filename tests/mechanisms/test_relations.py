"""An event of one neighbour relation is not accounted too low under another."""

import math
from dataclasses import replace

import dp_accounting.dp_event as dpe
import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.adjacency import ADJACENCIES, FIXED_SIZE
from privassay.accountant.errors import UnsupportedEventError
from privassay.accountant.event_json import from_dict, to_dict
from privassay.accountant.events import RestrictedDpEvent
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.clipping import Clip
from privassay.mechanisms.groups import Groups, SecondMoments, by_score, chosen
from privassay.mechanisms.lora import JointDeltaUpload
from privassay.mechanisms.prompt import PromptGradients, TwoTierNoise
from privassay.mechanisms.prototypes import NoisyPrototypes, PrototypeDesign, groupwise
from privassay.mechanisms.released.dp_fedlora import AsReleasedDpFedLora
from privassay.mechanisms.released.dp_fpl import AsReleasedDpFpl
from privassay.mechanisms.released.vpdr import AsReleasedVpdr
from privassay.mechanisms.selection import LaplaceTopK
from privassay.mechanisms.vpp import SumsAndCounts, ellipsoid

FINE = {"zero-out": 1.0, "replace-one": 2.0}
GRADIENTS = PromptGradients(clip_norm=1.0, noise_multiplier=2.0, batch=4)
TWO_TIERS = TwoTierNoise(clip_norm=0.5, local=3.0, central=4.0, batch=2, secure_sum=True)
FIXED = {  # event, and mu of one record's contribution
    "prompt gradients": (GRADIENTS.event(9), 1.5),
    "two tiers": (TWO_TIERS.event(), math.sqrt(1 / 16 + 1 / 9)),
    "two tiers, broadcast": (TWO_TIERS.event("peer"), 1 / 4),
    "upload": (JointDeltaUpload(clip_norm=1.0, noise_multiplier=2.0).event(4), 1.0),
    "dp-fpl, batch clip": (AsReleasedDpFpl().event("peer"), 640.0 / AsReleasedDpFpl().sigma),
    "dp-fpl, example clip": (
        AsReleasedDpFpl(clip="example").event("peer"),
        10.0 / AsReleasedDpFpl().sigma,
    ),
    "dp-fedlora": (
        AsReleasedDpFedLora(tensors=4).event(),
        2.0 * 2.0 * 0.1 / AsReleasedDpFedLora().sigma,
    ),
}


@pytest.mark.parametrize("name", FIXED)
def test_programs_of_a_fixed_size_are_refused_under_add_remove(name):
    event, mu = FIXED[name]
    for adjacency, factor in FINE.items():
        found = account(event, adjacency=adjacency).mu
        assert found.upper == pytest.approx(factor * mu, rel=1e-12)
        assert found.lower == pytest.approx(factor * mu, rel=1e-12)  # the guard costs nothing
    with pytest.raises(UnsupportedEventError, match="add-remove"):
        account(event, adjacency="add-remove")
    assert account(from_dict(to_dict(event)), adjacency="zero-out").mu.upper == pytest.approx(mu)


@pytest.mark.parametrize("built", ADJACENCIES)
@pytest.mark.parametrize("accounted", ADJACENCIES)
def test_second_moments_built_for_one_relation_and_accounted_under_another(built, accounted):
    mechanism = SecondMoments(clip_norm=0.5, noise_multiplier=3.0, public_count=9)
    truth = math.sqrt(2.0) / 3.0 if accounted == "replace-one" else 1.0 / 3.0
    event = mechanism.event(built)
    if built == "replace-one" != accounted:
        with pytest.raises(UnsupportedEventError, match=accounted):
            account(event, adjacency=accounted)
        return
    mu = account(event, adjacency=accounted).mu.upper
    assert mu >= truth * (1.0 - 1e-15)
    assert mu <= truth * (1.0 + 1e-12) or (built != accounted == "replace-one")


def test_guards_cost_nothing_and_hold_inside_compositions():
    plain = dpe.GaussianDpEvent(2.0)
    fixed_size = RestrictedDpEvent(plain, FIXED_SIZE)
    exchanges_only = RestrictedDpEvent(plain, ("replace-one",))
    for guarded in (fixed_size, exchanges_only):
        event = dpe.SelfComposedDpEvent(guarded, 9)
        assert account(event, adjacency="replace-one").mu.upper == pytest.approx(3.0, rel=1e-12)
        with pytest.raises(UnsupportedEventError, match="add-remove"):
            account(event, adjacency="add-remove")
    assert account(fixed_size, adjacency="zero-out").mu.upper == 0.5
    with pytest.raises(UnsupportedEventError, match="zero-out"):
        account(exchanges_only, adjacency="zero-out")


def test_the_worst_case_of_a_batch_clip_is_never_too_low():
    """2C is the most whatever happens to the example: exact zeroed, doubled when exchanged."""
    event = AsReleasedDpFpl(clip="batch").event("peer")
    truth = 2.0 * 32 * 10.0 / AsReleasedDpFpl().sigma
    assert account(event, adjacency="zero-out").mu.upper == pytest.approx(truth)
    assert account(event, adjacency="replace-one").mu.upper >= truth
    trained = AsReleasedVpdr(scheme="igpp", epsilon=1.0, conversion="exact").event_if_trained(23)
    zeroed, replaced = (
        account(trained.events[0], adjacency=a).mu.upper for a in ("zero-out", "replace-one")
    )
    assert zeroed == pytest.approx(6.165, abs=1e-3) and replaced >= zeroed


# ------------------------------------------------------ events of add-remove
DESIGN = PrototypeDesign(
    mu=0.5,
    rounds=4,
    adjacency="add-remove",
    clip_norm=1.3,
    group_sizes=(2, 3),
    group_norms=(1.1, 0.6),
    public_count=20,
)


@pytest.mark.parametrize("build", [groupwise, ellipsoid])
def test_prototypes_are_accounted_right_under_every_relation(build):
    """A design for add-remove, and what its records really move under each relation."""
    mechanism = build(DESIGN)
    labels = torch.zeros(2, dtype=torch.int64)
    scale = torch.repeat_interleave(
        torch.tensor(mechanism.noise_stddevs, dtype=torch.float64),
        torch.tensor(mechanism.group_sizes),
    )
    rows = 100.0 * torch.cat([torch.eye(5), SeededKey(1).normal(30, 5).float()]).double()
    other = SeededKey(2).normal(5).reshape(1, 5)

    def released(first, second):
        stacked = torch.cat([first.reshape(1, 5), second])
        return mechanism.statistic(stacked, labels[: len(stacked)], 1)[0] / scale

    moved = {"add-remove": 0.0, "zero-out": 0.0, "replace-one": 0.0}
    for row in rows:
        with_it = released(row, other)
        without = mechanism.statistic(other, labels[:1], 1)[0] / scale
        pairs = {
            "add-remove": without,
            "zero-out": released(torch.zeros(5).double(), other),
            "replace-one": released(-row, other),
        }
        for name, neighbour in pairs.items():
            moved[name] = max(moved[name], float((with_it - neighbour).norm()))
    for adjacency, found in moved.items():
        mu = account(mechanism.event(), adjacency=adjacency).mu.upper
        assert 0.6 * mu < found <= mu * (1 + 1e-12), (adjacency, found, mu)


def test_sums_and_counts_under_every_relation():
    """A record that changes its label moves two classes: sqrt(2), below the accounted 2."""
    mechanism = SumsAndCounts(
        clip=Clip(joint_norm=1.0), group_sizes=(2,), noise_stddevs=(4.0,), count_stddev=5.0
    )
    rows, scale = torch.eye(2).double()[:1] * 9.0, torch.tensor([4.0, 4.0, 5.0]).double()
    here = mechanism.statistic(rows, torch.tensor([0]), 2)
    gone = mechanism.statistic(rows, torch.tensor([-1]), 2)
    elsewhere = mechanism.statistic(rows, torch.tensor([1]), 2)
    removed, relabelled = (float(((here - other) / scale).norm()) for other in (gone, elsewhere))
    bounds = {a: account(mechanism.event(), adjacency=a).mu.upper for a in ADJACENCIES}
    assert removed == pytest.approx(bounds["add-remove"]) == pytest.approx(bounds["zero-out"])
    assert relabelled == pytest.approx(math.sqrt(2) * removed)
    assert relabelled < bounds["replace-one"]


# ------------------------------------------------------------ cost of groups
def test_prototypes_in_chosen_groups_cost_the_choice_too():
    choice = LaplaceTopK(k=2, dimension=5, cap=1.0, epsilon=0.7)
    scores = torch.tensor([0.0, 1.0, 0.0, 0.9, 0.1]).double()
    plain = groupwise(DESIGN)
    paid = replace(plain, groups=chosen(choice, scores, SeededKey(1)))
    free = replace(plain, groups=by_score(scores, 2, origin="public"))
    assert account(free.event(), adjacency="replace-one").mu.upper == (
        account(plain.event(), adjacency="replace-one").mu.upper
    )
    for adjacency in ADJACENCIES:
        without, total = (
            account(m.event(), adjacency=adjacency).epsilon(1e-5).upper for m in (plain, paid)
        )
        alone = account(choice.event(), adjacency=adjacency).epsilon(1e-5).upper
        assert max(without, alone) < total <= without + 0.7 + 1e-6
    # where nothing is proven of the choice, nothing is of the prototypes
    unknown = replace(choice, delta=1e-5)
    unproven = replace(plain, groups=chosen(unknown, scores, SeededKey(1)))
    with pytest.raises(UnsupportedEventError):
        account(unproven.event(), adjacency="replace-one")


def test_groups_say_where_they_come_from():
    scores = torch.tensor([0.1, 0.9, 0.5, 0.2, 0.3])
    public = by_score(scores, 2, origin="public").assumption()
    assert public.holds is None and "word of the caller" in public.how
    noisy = by_score(scores, 2, origin="noisy release").assumption()
    assert noisy.holds is None and "ledger" in noisy.how
    paid = by_score(scores, 2, origin="paid estimate", cost=dpe.GaussianDpEvent(3.0))
    # Anybody can name a cost: only a choice that was made here is known to be paid for.
    for declared in (dpe.NoOpDpEvent(), dpe.GaussianDpEvent(1e9)):
        free = by_score(scores, 2, origin="paid estimate", cost=declared).assumption()
        assert free.holds is None and "declared" in free.how
    assert paid.assumption().holds is None
    choice = LaplaceTopK(k=2, dimension=5, cap=1.0, epsilon=0.1)
    made = chosen(choice, scores, SeededKey(1))
    assert made.assumption().holds is True and made.cost == choice.event()
    assert replace(made, cost=dpe.NoOpDpEvent()).assumption().holds is None
    mechanism = replace(groupwise(DESIGN), groups=paid)
    assert paid.assumption() in mechanism.assumptions()
    with pytest.raises(ValueError, match="give both the same"):
        replace(groupwise(DESIGN), groups=by_score(scores, 3, origin="public"))


def test_groups_that_are_not_consecutive_get_their_own_clip_and_noise():
    groups = Groups(order=(4, 1, 0, 2, 3), sizes=(2, 3), origin="public")
    mechanism = NoisyPrototypes(
        clip=Clip(group_norms=(2.0, 0.5)),
        group_sizes=(2, 3),
        noise_stddevs=(0.1, 7.0),
        public_count=1,
        groups=groups,
    )
    rows = 100.0 * torch.ones(1, 5).double()
    clipped = mechanism.contribution(rows)[0]
    assert float(clipped[[4, 1]].norm()) == pytest.approx(2.0)
    assert float(clipped[[0, 2, 3]].norm()) == pytest.approx(0.5)
    noise = mechanism.perturb(torch.zeros(20_000, 5).double(), SeededKey(1)).std(dim=0)
    assert noise.tolist() == pytest.approx([7.0, 0.1, 7.0, 7.0, 0.1], rel=0.03)
