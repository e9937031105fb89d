import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from privassay.accountant.claim import ADVERSARIES
from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.membership.all_rounds import AllRounds
from privassay.attacks.membership.fedmia import FedMia
from privassay.attacks.membership.gradient_ascent import GradientAscent
from privassay.attacks.membership.gradient_canary import GradientCanary
from privassay.attacks.membership.gradient_difference import GradientDifference
from privassay.attacks.membership.informed_linear import InformedLinear
from privassay.attacks.membership.likelihood_ratio import LikelihoodRatio
from privassay.attacks.membership.planted_prompt import PlantedPrompt
from privassay.attacks.membership.prototype_distance import PrototypeDistance
from privassay.attacks.membership.update_cosine import UpdateCosine
from privassay.attacks.membership.update_norm import UpdateNorm
from privassay.attacks.membership.updates import Updates
from privassay.audit_reports.estimators.auc import auc

from .white_box_cases import (
    CLIENTS,
    NET,
    RECORDS,
    ROUNDS,
    TRIALS,
    D,
    M,
    each,
    gradient,
    normal,
    peer,
    server,
)


@pytest.mark.parametrize("client", [None, 2])
@pytest.mark.parametrize("cosine", [False, True])
def test_gradient_difference_against_a_loop(client, cosine):
    view = server()
    found = GradientDifference(kernel=NET, client=client, cosine=cosine).score(view, RECORDS)
    for i, j in each():
        total = 0.0
        for t in range(ROUNDS):
            sent, following = view.models[i, t], view.models[i, t + 1]
            move = following - sent if client is None else view.uploads[i, t, client]
            g, _ = gradient(sent, j)
            size = float(g.norm() * move.norm()) if cosine else 1.0
            total -= float(g @ move) / size
        assert float(found[i, j]) == pytest.approx(total, rel=1e-9)


def test_whoever_trains_on_the_record_alone_has_cosine_one():
    models = normal(1, 3, D, seed=1)
    uploads = torch.stack([-0.1 * gradient(models[0, t], 0)[0] for t in range(2)])
    view = server(models, uploads.view(1, 2, 1, D))
    found = GradientDifference(kernel=NET, client=0, cosine=True).score(view, RECORDS)
    assert float(found[0, 0]) == pytest.approx(2.0) and float(found[0, 1]) < 1.99
    plain = GradientDifference(kernel=NET, client=0).score(view, RECORDS)
    squares = sum(float(gradient(models[0, t], 0)[0].square().sum()) for t in range(2))
    assert float(plain[0, 0]) == pytest.approx(0.1 * squares)
    nothing = server(models, torch.zeros(1, 2, 1, D).double())
    zero = GradientDifference(kernel=NET, client=0, cosine=True).score(nothing, RECORDS)
    assert torch.equal(zero, torch.zeros(1, M).double())


def test_the_norm_is_that_of_the_models_after_training():
    models = normal(TRIALS, ROUNDS + 1, D, seed=1)
    found = UpdateNorm(kernel=NET).score(peer(models), RECORDS)
    for i, j in each():
        wanted = -sum(float(gradient(models[i, t], j)[0].norm()) for t in range(1, ROUNDS + 1))
        assert float(found[i, j]) == pytest.approx(wanted, rel=1e-9)
    last = Updates(adversary="outsider", models=models[:, -1:])
    alone = UpdateNorm(kernel=NET).score(last, RECORDS)
    torch.testing.assert_close(
        alone, UpdateNorm(kernel=NET).per_round(peer(models), RECORDS)[:, -1]
    )


@pytest.mark.parametrize("over", ["mean", "max", "final"])
@pytest.mark.parametrize("standard", [False, True])
def test_update_cosine_against_a_loop(over, standard):
    models, directions, unused = normal(TRIALS, ROUNDS + 1, D), normal(M, D, seed=5), normal(6, D)

    def statistic(i, u):
        if over == "final":
            moves = [models[i, -1] - models[i, 0]]
        else:
            moves = [models[i, t + 1] - models[i, t] for t in range(ROUNDS)]
        cosines = [float(u @ m / (u.norm() * m.norm())) for m in moves]
        return max(cosines) if over == "max" else sum(cosines) / len(cosines)

    attack = UpdateCosine(over=over, unused=unused if standard else None)
    found = attack.score(peer(models), directions)
    for i, j in each():
        wanted = statistic(i, directions[j])
        if standard:
            null = [statistic(i, u) for u in unused]
            wanted = (wanted - np.mean(null)) / np.std(null, ddof=1)
        assert float(found[i, j]) == pytest.approx(wanted, rel=1e-9)
    scaled = attack.score(peer(7.0 * models), 0.01 * directions)
    torch.testing.assert_close(scaled, found)


def test_update_cosine_of_one_client_and_of_nothing():
    uploads = normal(TRIALS, ROUNDS, CLIENTS, D)
    uploads[:, :, 1] = 0.0
    view, u = server(uploads=uploads), normal(1, D, seed=3)
    found = UpdateCosine(client=0, over="max").score(view, u)
    wanted = torch.nn.functional.cosine_similarity(uploads[:, :, 0], u.unsqueeze(0), dim=2)
    torch.testing.assert_close(found[:, 0], wanted.amax(dim=1))
    assert torch.equal(UpdateCosine(client=1).score(view, u), torch.zeros(TRIALS, 1).double())


@pytest.mark.parametrize("over", ["mean", "max", "final"])
def test_a_canary_in_gaussian_noise_is_seen_as_far_as_it_can_be(over):
    n, d, rounds, sigma = 4000, 400, 4, 1.0
    u = normal(1, d, seed=9)
    u = u / u.norm()
    worlds = []
    for present in (1, 0):
        moves = sigma * normal(n, rounds, d, seed=present) + present * u
        start = torch.zeros(n, 1, d).double()
        worlds.append(peer(torch.cat([start, moves.cumsum(dim=1)], dim=1)))
    inside, outside = (UpdateCosine(over=over).score(w, u)[:, 0].numpy() for w in worlds)
    mu, area = math.sqrt(rounds) / sigma, auc(inside, outside)
    reached = math.sqrt(2) * float(norm.ppf(area))
    if over == "max":
        # One of four rounds is looked at: independent maxima of N(1, 1) and N(0, 1).
        z = np.linspace(-6, 8, 20_001)
        law = norm.cdf(z) ** rounds * np.gradient(norm.cdf(z - 1) ** rounds, z)
        exact = float(np.trapezoid(law, z))
        assert area == pytest.approx(exact, abs=5 * math.sqrt(1 / (6 * n)))
        assert exact < float(norm.cdf(mu / math.sqrt(2)))
    else:
        assert reached == pytest.approx(mu, rel=0.07)  # 5 standard errors


class Drawn:
    """Scores of rounds that were drawn, in place of an attack."""

    def __init__(self, scores):
        self.scores = scores

    def per_round(self, view, candidates):
        return self.scores.unsqueeze(-1)


def test_all_rounds_weighted_by_the_likelihood_ratio_reach_the_whole_mu():
    n, shift = 20_000, torch.tensor([0.2, 1.0, 0.0, 3.0]).double()
    sigma = torch.tensor([1.0, 1.0, 5.0, 6.0]).double()
    world = [sigma * normal(n, 4, seed=s) + s * shift for s in (0, 1)]
    own = [sigma * normal(n, 4, seed=2 + s) + s * shift for s in (0, 1)]
    mu = float((shift / sigma).norm())
    view = server()

    def reached(**known):
        area = auc(
            *(
                AllRounds(attack=Drawn(w), **known).score(view, RECORDS).numpy()[:, 0]
                for w in world[::-1]
            )
        )
        return math.sqrt(2) * float(norm.ppf(area))

    best = reached(out=own[0], inside=own[1])
    assert best == pytest.approx(mu, abs=0.05)
    blind = reached(out=own[0])  # no more than the variances is known
    weights = 1 / sigma**2
    assert blind == pytest.approx(float(weights @ shift / (weights * sigma).norm()), abs=0.05)
    plain = float(shift.sum() / sigma.norm())
    assert plain + 0.1 < blind < best - 0.1


def test_all_rounds_against_a_loop_and_bad_calibrations():
    view, each_ = server(), GradientDifference(kernel=NET, client=0)
    out, inside = normal(7, ROUNDS, seed=3), normal(5, ROUNDS, seed=4)
    found = AllRounds(attack=each_, out=out, inside=inside).score(view, RECORDS)
    scores = each_.per_round(view, RECORDS)
    for i, j in each():
        total = 0.0
        for t in range(ROUNDS):
            a, b = out[:, t].numpy(), inside[:, t].numpy()
            pooled = (6 * np.var(a, ddof=1) + 4 * np.var(b, ddof=1)) / 10
            total += (b.mean() - a.mean()) / pooled * (float(scores[i, t, j]) - a.mean())
        assert float(found[i, j]) == pytest.approx(total, rel=1e-9)
    with pytest.raises(DesignError, match="calibrated on 3 rounds, but the view has 4"):
        AllRounds(attack=each_, out=out[:, :3]).score(view, RECORDS)
    for wrong, said in (
        ({"out": out[:1]}, "k >= 2"),
        ({"out": out, "inside": inside[:, 1:]}, r"inside must be float64\[k, 4\]"),
        ({"out": out * math.nan}, "NaN"),
        ({"out": torch.ones(5, ROUNDS)}, "all equal"),
    ):
        with pytest.raises(DesignError, match=said):
            AllRounds(attack=each_, **wrong)


def test_a_planted_prompt_is_moved_as_far_as_its_slot():
    # mlp((3, 2)): "1.weight" is a pool of three slots of two numbers.
    attack = PlantedPrompt(kernel=NET, prompts="1.weight", client=3)
    view = server()
    found = attack.score(view, torch.tensor([2, 0]))
    for i in range(TRIALS):
        for j, slot in enumerate((2, 0)):
            wanted = sum(
                float(view.uploads[i, t, 3, :6].view(3, 2)[slot].norm()) for t in range(ROUNDS)
            )
            assert float(found[i, j]) == pytest.approx(wanted, rel=1e-12)
    for wrong in (torch.tensor([3]), torch.tensor([-1]), torch.tensor([0.0])):
        with pytest.raises(DesignError, match="slots 0 .. 2"):
            attack.score(view, wrong)
    with pytest.raises(DesignError, match="only the server sees"):
        attack.score(peer(view.models), torch.tensor([0]))
    with pytest.raises(DesignError, match="the kernel's parameters are"):
        PlantedPrompt(kernel=NET, prompts="pool", client=0)


def test_keys_that_cannot_be_told_apart_are_refused():
    queries, decoys = normal(3, D, seed=1), normal(2, D, seed=2)
    torch.testing.assert_close(PlantedPrompt.plant(queries, decoys)[:3], queries)
    for wrong, said in (
        ((queries, queries[:1] * 2.0), "the same way"),
        ((queries, decoys[:, :-1]), "have the shapes"),
        ((queries, decoys[:0]), "at least one decoy"),
        ((queries * 0.0, decoys), "no key may be zero"),
    ):
        with pytest.raises(DesignError, match=said):
            PlantedPrompt.plant(*wrong)


def test_directions_that_are_none_are_refused():
    view = peer(normal(TRIALS, ROUNDS + 1, D))
    for wrong, said in (
        (normal(M, D - 1), r"directions must be float64\[m, 8\]"),
        (torch.zeros(1, D).double(), "length zero"),
    ):
        with pytest.raises(DesignError, match=said):
            UpdateCosine().score(view, wrong)
    with pytest.raises(DesignError, match="k >= 2"):
        UpdateCosine(unused=normal(1, D))
    with pytest.raises(DesignError, match="looks at models"):
        UpdateCosine(over="final", client=1)
    with pytest.raises(DesignError, match="needs the first model"):
        UpdateCosine(over="final").score(
            Updates(adversary="outsider", models=normal(TRIALS, 1, D)), normal(1, D)
        )
    with pytest.raises(DesignError, match="the same cosine"):
        UpdateCosine(unused=normal(1, D).expand(3, -1)).score(view, normal(1, D))
    with pytest.raises(ParameterError, match="over"):
        UpdateCosine(over="median")


@pytest.mark.parametrize(
    "attack",
    [
        AllRounds,
        FedMia,
        GradientAscent,
        GradientCanary,
        GradientDifference,
        InformedLinear,
        LikelihoodRatio,
        PlantedPrompt,
        PrototypeDistance,
        UpdateCosine,
        UpdateNorm,
    ],
)
def test_every_attack_says_who_it_is(attack):
    assert attack.adversaries and set(attack.adversaries) <= set(ADVERSARIES)
    assert attack.needs and attack.cost and attack.source
    malicious = any("malicious" in need for need in attack.needs)
    assert malicious == (attack in (GradientAscent, PlantedPrompt))
