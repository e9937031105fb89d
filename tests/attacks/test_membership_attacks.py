import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.adversary import ADVERSARIES, adversary
from privassay.attacks.catalog import ATTACKS
from privassay.attacks.membership.informed_linear import InformedLinear
from privassay.attacks.membership.observed import observed_prototype
from privassay.attacks.membership.prototype_distance import PrototypeDistance
from privassay.attacks.scores import Scores
from privassay.fl_core import worlds
from privassay.mechanisms import catalog
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.prototypes import PrototypeDesign

DIM, ROUNDS, CLIENTS = 10, 3, 3


def mechanism(kind, adjacency="add-remove", public_count=8):
    design = PrototypeDesign(
        mu=1.5,
        rounds=ROUNDS,
        adjacency=adjacency,
        clip_norm=1.0,
        group_sizes=(4, 6),
        group_norms=(0.8, 0.6),
        public_count=public_count,
    )
    return catalog.build(kind, design)


def make_task(count=8, scale=4.0):
    generator = torch.Generator().manual_seed(0)
    x = scale * torch.randn(CLIENTS, count, DIM, generator=generator, dtype=torch.float64)
    y = torch.zeros(CLIENTS, count, dtype=torch.int64)
    return SimpleNamespace(clients=("a", "b", "c"), classes=1, train_x=x, train_y=y)


def views(task, used, target, indices, adjacency, adversary_name):
    blocks = list(
        worlds.trials(
            task,
            used,
            target,
            indices=indices,
            adjacency=adjacency,
            rounds=ROUNDS,
            with_peers=adversary_name != "server",
            key=SeededKey(5),
        )
    )
    return [(b[0], b[1].view(adversary_name), b[2].view(adversary_name)) for b in blocks]


def statistic(used, records):
    return used.statistic(records, torch.zeros(len(records), dtype=torch.int64), 1)[0]


def informed_scores(kind, adjacency, adversary_name, trials=20_000, *, same=False):
    """(in, out, attainable mu) for the strongest record, from first principles."""
    task, used = make_task(), mechanism(kind, adjacency)
    target = worlds.choose_target(task, used, client=0, label=0)
    i = target.strongest
    present = statistic(used, target.records)
    absent = statistic(used, worlds.neighbour(target.records, i, adjacency))
    shift, background, senders = present - absent, absent, 1
    if adversary_name != "server":
        senders = CLIENTS
        others = [statistic(used, task.train_x[c]) for c in (1, 2)]
        background = (absent + others[0] + others[1]) / senders
        shift = shift / senders
    scale = worlds.noise_scale(used)
    attack = InformedLinear(background=background, noise_scale=scale)
    found = {"in": [], "out": []}
    indices = torch.full((trials,), i)
    for _, inside, outside in views(task, used, target, indices, adjacency, adversary_name):
        found["in"].append(attack.score(outside if same else inside, shift))
        found["out"].append(attack.score(outside, shift))
    scores = {w: torch.cat(v) for w, v in found.items()}
    mu = float((shift / scale).norm()) * math.sqrt(ROUNDS * senders)
    return scores["in"], scores["out"], mu


@pytest.mark.parametrize("adversary_name", ["server", "peer", "outsider"])
@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one", "zero-out"])
@pytest.mark.parametrize("kind", ["igpp", "vpp"])
def test_the_informed_adversary_separates_the_worlds_by_the_attainable_mu(
    kind, adjacency, adversary_name
):
    inside, outside, mu = informed_scores(kind, adjacency, adversary_name)
    if adversary_name == "server":
        # Records are far outside the clip: the strongest one uses the whole budget (vpp: each
        # group's, igpp: the ball's), so what the test reaches is what the account promises.
        assert mu == pytest.approx(1.5, rel=1e-9)
    spread = math.sqrt((float(inside.var()) + float(outside.var())) / 2)
    found = float(inside.mean() - outside.mean()) / spread
    n = len(inside)
    error = math.sqrt(2 / n + mu**2 / (4 * n))  # of the ratio: means and pooled spread
    assert abs(found - mu) < 5 * error, f"measured {found:.4f}, known {mu:.4f} +- {error:.4f}"
    # Times the number of averaged uploads it is the log likelihood ratio: N(+-mu^2/2, mu^2).
    averaged = ROUNDS * (1 if adversary_name == "server" else CLIENTS)
    for values, sign in ((inside, 1), (outside, -1)):
        ratio = averaged * values
        assert float(ratio.std()) == pytest.approx(mu, rel=5 / math.sqrt(2 * n))
        assert float(ratio.mean()) == pytest.approx(sign * mu**2 / 2, abs=5 * mu / n**0.5)


def test_half_of_the_noise_shows_as_twice_the_mu():
    inside, outside, mu = informed_scores("noise_halved", "add-remove", "server")
    spread = math.sqrt((float(inside.var()) + float(outside.var())) / 2)
    found = float(inside.mean() - outside.mean()) / spread
    assert found == pytest.approx(2 * mu, rel=0.05)


def test_no_attack_direction_beats_it():
    # Neyman-Pearson: other linear scores of the same view separate the worlds less.
    _, _, mu = informed_scores("vpp", "add-remove", "server", trials=1)
    task, used = make_task(), mechanism("vpp")
    target = worlds.choose_target(task, used, client=0, label=0)
    shift = statistic(used, target.records) - statistic(
        used, worlds.neighbour(target.records, target.strongest, "add-remove")
    )
    scale = worlds.noise_scale(used)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        w = torch.randn(DIM, generator=generator, dtype=torch.float64)
        assert float((w @ shift).abs() / (w * scale).norm()) * ROUNDS**0.5 < mu
    plain = float(shift @ shift / (shift * scale).norm()) * ROUNDS**0.5
    assert plain < mu


def auc(inside, outside):
    inside, outside = np.asarray(inside), np.sort(np.asarray(outside))
    below = np.searchsorted(outside, inside, "left") + np.searchsorted(outside, inside, "right")
    return float(below.mean() / (2 * len(outside)))


def test_equal_worlds_are_at_chance():
    inside, outside, _ = informed_scores("igpp", "add-remove", "server", same=True)
    assert auc(inside, outside) == pytest.approx(0.5, abs=1e-9)
    # And with independent noise in the two worlds: split the trials of one of them.
    half = len(outside) // 2
    limit = 5 * math.sqrt(1 / (6 * half))
    assert abs(auc(outside[:half], outside[half:]) - 0.5) < limit
    attack = InformedLinear(background=torch.zeros(DIM), noise_scale=torch.ones(DIM))
    view = fake_view(7, server=True)
    assert torch.equal(attack.score(view, torch.zeros(DIM)), torch.zeros(7))


def fake_view(trials, *, server, dim=DIM, classes=1):
    uploads = torch.randn(
        trials, ROUNDS, 1, classes, dim, generator=torch.Generator().manual_seed(1)
    )
    whole = worlds.heard(uploads)
    return whole.view("server" if server else "outsider")


def distance_aucs(kind, *, count, trials=3000, scale=4.0):
    """Areas under the curve of the distance attack on tiny classes, by the server."""
    task, used = make_task(count, scale), mechanism(kind, public_count=count)
    target = worlds.choose_target(task, used, client=0, label=0)
    draw = SeededKey(0).child("targets").generator().integers(count, size=trials)
    inside, outside = [], []
    for block, present, absent in views(
        task, used, target, torch.from_numpy(draw), "add-remove", "server"
    ):
        attack, candidates = PrototypeDistance(), target.records[block]
        inside.append(attack.score(present, candidates))
        outside.append(attack.score(absent, candidates))
    return auc(torch.cat(inside), torch.cat(outside))


def test_the_distance_attack_works_without_noise_on_tiny_classes():
    # All records on a sphere of the clip norm: nothing but membership moves the distance much.
    task = make_task(3)
    task.train_x = task.train_x / task.train_x.norm(dim=-1, keepdim=True)
    used = mechanism("none", public_count=3)
    target = worlds.choose_target(task, used, client=0, label=0)
    indices = torch.arange(3)
    ((block, present, absent),) = views(task, used, target, indices, "add-remove", "server")
    attack, candidates = PrototypeDistance(), target.records[block]
    gains = attack.score(present, candidates) - attack.score(absent, candidates)
    assert (gains > 0).all(), f"a member is not nearer: {gains.tolist()}"
    assert distance_aucs("none", count=3, scale=0.2) > 0.75


def test_its_score_is_minus_the_distance():
    view = fake_view(4, server=True)
    candidates = torch.randn(4, DIM, generator=torch.Generator().manual_seed(3))
    found = PrototypeDistance().score(view, candidates)
    for trial in range(4):
        mean = sum(view.uploads[trial, r, 0, 0] for r in range(ROUNDS)) / ROUNDS
        gap = math.sqrt(float(((candidates[trial] - mean) ** 2).sum()))
        assert float(found[trial]) == pytest.approx(-gap, rel=1e-5)


def test_the_distance_attack_is_at_chance_on_random_prototypes():
    trials = 4000
    generator = torch.Generator().manual_seed(2)
    scores = []
    for _ in range(2):
        uploads = torch.randn(trials, ROUNDS, 1, 1, DIM, generator=generator)
        view = worlds.heard(uploads).view("server")
        candidates = torch.randn(trials, DIM, generator=generator)
        scores.append(PrototypeDistance().score(view, candidates))
    limit = 5 * math.sqrt(1 / (6 * trials))
    assert abs(auc(*scores) - 0.5) < limit


def test_what_is_observed_is_the_mean_of_all_that_was_seen():
    uploads = torch.randn(5, ROUNDS, 2, 1, DIM, generator=torch.Generator().manual_seed(1))
    whole = worlds.heard(uploads)
    torch.testing.assert_close(
        observed_prototype(whole.view("server")), uploads[:, :, 0, 0].mean(dim=1)
    )
    for name in ("peer", "outsider"):
        torch.testing.assert_close(
            observed_prototype(whole.view(name)), uploads[:, :, :, 0].mean(dim=(1, 2))
        )
    with pytest.raises(DesignError, match="one class is needed, but the view holds 2"):
        observed_prototype(fake_view(3, server=True, classes=2))


GOOD = {
    "values_in": [1.0, 2.0],
    "values_out": [0.0],
    "design": "many_runs",
    "adversary": "server",
    "attack": "a",
    "adjacency": "add-remove",
}


def test_scores_become_float64_arrays():
    scores = Scores(**GOOD | {"values_in": torch.tensor([1, 2])})
    assert scores.values_in.dtype == scores.values_out.dtype == np.float64
    assert scores.values_in.tolist() == [1.0, 2.0]
    assert scores.unit == "example" and scores.seed is None


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"values_in": []}, DesignError, "values_in must be float"),
        ({"values_out": []}, DesignError, "values_out must be float"),
        ({"values_out": [[1.0], [2.0]]}, DesignError, r"\(2, 1\)"),
        ({"values_in": [1.0, math.nan]}, DesignError, "1 of the 2 values_in are NaN or infinite"),
        ({"values_out": [-math.inf]}, DesignError, "1 of the 1 values_out"),
        ({"design": "many-runs"}, DesignError, "mean 'many_runs'"),
        ({"adjacency": "add"}, ParameterError, "adjacency must be one of"),
        ({"unit": "record"}, ParameterError, "unit must be one of"),
        ({"tuned_on": "these scores"}, DesignError, "tuned on the scores"),
    ],
)
def test_scores_that_would_bias_a_bound_are_refused(change, error, said):
    with pytest.raises(error, match=said):
        Scores(**GOOD | change)


def test_adversaries_are_those_of_claims():
    from privassay.accountant.claim import ADVERSARIES as NAMES

    assert set(ADVERSARIES) == set(NAMES)
    for name in NAMES:
        found = adversary(name)
        assert found.name == name and found.sees and found.knows and found.may
    with pytest.raises(ParameterError, match="mean 'server'"):
        adversary("sever")
    for attack in (InformedLinear, PrototypeDistance):
        assert set(attack.adversaries) <= set(NAMES)


def test_every_attack_of_the_catalog_can_be_loaded_and_is_documented():
    import importlib

    for place in ATTACKS.values():
        module, _, name = place.partition(":")
        assert getattr(importlib.import_module(module), name).__doc__
