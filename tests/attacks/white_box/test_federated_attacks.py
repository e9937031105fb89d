import math

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import norm

from privassay.accountant.claim import ADVERSARIES
from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.membership import fedmia
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
from privassay.attacks.membership.updates import Records, Updates
from privassay.audit_reports.estimators.auc import auc
from privassay.fl_core.kernels.base import cross_entropy, flatten, unflatten
from privassay.fl_core.kernels.stacked import mlp

NET = mlp((3, 2))  # 8 parameters
D, TRIALS, ROUNDS, CLIENTS, M = 8, 3, 4, 5, 2
RECORDS = Records(x=torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.2, -1.0]]), y=torch.tensor([1, 0]))


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def server(models=None, uploads=None, arrived=None):
    uploads = normal(TRIALS, ROUNDS, CLIENTS, D, seed=2) if uploads is None else uploads
    shape = uploads.shape[:3]
    return Updates(
        adversary="server",
        models=normal(shape[0], shape[1] + 1, D, seed=1) if models is None else models,
        uploads=uploads,
        arrived=torch.ones(shape, dtype=torch.bool) if arrived is None else arrived,
    )


def peer(models):
    return Updates(adversary="peer", models=models)


def gradient(theta, j):
    theta = theta.clone().requires_grad_()
    logits = RECORDS.x[j].double() @ theta[:6].view(3, 2) + theta[6:]
    loss = torch.nn.functional.cross_entropy(logits, RECORDS.y[j])
    return torch.autograd.grad(loss, theta)[0], loss.item()


def each():
    return [(i, j) for i in range(TRIALS) for j in range(M)]


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


def naive_fedmia(values, arrived, target):
    """One round of one trial: float[clients], bool[clients]."""
    others = [values[k] for k in range(len(values)) if k != target and arrived[k]]
    if not arrived[target] or len(others) < 2:
        return 0.5
    return float(norm.cdf((values[target] - np.mean(others)) / np.std(others, ddof=1)))


@pytest.mark.parametrize("measure", ["cosine", "loss"])
def test_fedmia_against_a_loop(measure):
    arrived = torch.from_numpy(np.random.default_rng(1).random((TRIALS, ROUNDS, CLIENTS)) < 0.6)
    arrived[:, 0] = True
    uploads = normal(TRIALS, ROUNDS, CLIENTS, D, seed=2) * arrived.unsqueeze(-1)
    view = server(uploads=uploads, arrived=arrived)
    found = FedMia(kernel=NET, client=1, measure=measure).per_round(view, RECORDS)
    usable = 0
    for i, j in each():
        for t in range(ROUNDS):
            sent = view.models[i, t]
            values = []
            for k in range(CLIENTS):
                move = view.uploads[i, t, k]
                if measure == "cosine":
                    g = gradient(sent, j)[0]
                    values.append(-float(g @ move) / max(float(g.norm() * move.norm()), 1e-300))
                else:
                    values.append(-gradient(sent + move, j)[1])
            wanted = naive_fedmia(values, arrived[i, t].tolist(), 1)
            usable += wanted != 0.5
            assert float(found[i, t, j]) == pytest.approx(wanted, rel=1e-9)
    assert TRIALS * M < usable < TRIALS * M * ROUNDS  # both kinds of rounds were compared


def test_fedmia_does_not_ask_who_the_others_are():
    view = server()
    shuffled = server(uploads=view.uploads[:, :, [3, 1, 0, 4, 2]])
    attack = FedMia(kernel=NET, client=1)
    torch.testing.assert_close(attack.score(shuffled, RECORDS), attack.score(view, RECORDS))
    # Others that agree exactly leave no doubt, and no NaN.
    same = view.uploads[:, :, :1].expand(-1, -1, CLIENTS, -1).clone()
    assert torch.equal(
        attack.score(server(uploads=same), RECORDS), torch.full((TRIALS, M), ROUNDS / 2).double()
    )
    g = torch.stack([gradient(view.models[i, t], 0)[0] for i in range(3) for t in range(4)])
    same[:, :, 1] = -g.view(TRIALS, ROUNDS, D)
    assert torch.equal(
        attack.score(server(uploads=same), RECORDS)[:, 0], torch.full((TRIALS,), 4.0).double()
    )


@pytest.mark.parametrize("clients", [3, 5, 17])
def test_equal_uploads_agree_though_a_matrix_product_rounds_them_apart(clients):
    net = mlp((60, 5))
    d = sum(math.prod(shape) for shape in net.shapes().values())
    uploads = normal(6, 4, 1, d, seed=8).expand(-1, -1, clients, -1).clone()
    records = Records(x=normal(9, 60, seed=9), y=torch.arange(9) % 5)
    found = FedMia(kernel=net, client=0).per_round(
        server(normal(6, 5, d, seed=1), uploads), records
    )
    assert torch.equal(found, torch.full((6, 4, 9), 0.5).double())


@pytest.mark.parametrize("limit", [1, 2 * TRIALS * ROUNDS * D, 1 << 22])
def test_fedmia_does_not_depend_on_how_many_gradients_are_held(limit, monkeypatch):
    records = Records(x=normal(5, 3, seed=6), y=torch.tensor([0, 1, 1, 0, 1]))
    view, attack = server(), FedMia(kernel=NET, client=1)
    whole = attack.per_round(view, records)
    monkeypatch.setattr(fedmia, "_AT_ONCE", limit)
    torch.testing.assert_close(attack.per_round(view, records), whole, rtol=1e-12, atol=1e-14)
    one = Records(x=records.x[3:4], y=records.y[3:4])
    torch.testing.assert_close(attack.per_round(view, one), whole[:, :, 3:4], rtol=1e-12, atol=0)


def test_fedmia_needs_others():
    view = server()
    with pytest.raises(DesignError, match="only the server sees"):
        FedMia(kernel=NET, client=0).score(peer(view.models), RECORDS)
    with pytest.raises(DesignError, match=r"client must be 0 \.\. 4"):
        FedMia(kernel=NET, client=5).score(view, RECORDS)
    with pytest.raises(DesignError, match="at least two other clients"):
        FedMia(kernel=NET, client=0).score(server(uploads=view.uploads[:, :, :2]), RECORDS)
    never = torch.ones(TRIALS, ROUNDS, CLIENTS, dtype=torch.bool)
    never[1, :, 0] = False
    with pytest.raises(DesignError, match="in some trial"):
        FedMia(kernel=NET, client=0).score(server(arrived=never), RECORDS)
    with pytest.raises(ParameterError, match="measure"):
        FedMia(kernel=NET, client=0, measure="lossy")


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


def test_the_ascent_goes_up_the_loss_of_each_replicas_record():
    attack = GradientAscent(kernel=NET, client=0, rate=0.05)
    models = normal(M, D, seed=1)
    params = unflatten(models, NET.shapes()) | {"other": torch.ones(M, 2)}
    risen = attack.ascend(params, RECORDS)
    assert torch.equal(risen.pop("other"), torch.ones(M, 2))
    for j in range(M):
        g, before = gradient(models[j], j)
        torch.testing.assert_close(flatten(risen)[j], models[j] + 0.05 * g)
        assert gradient(flatten(risen)[j], j)[1] > before
    with pytest.raises(DesignError, match="2 records are not one for each of 3 replicas"):
        attack.ascend(unflatten(normal(3, D), NET.shapes()), RECORDS)


def test_the_pull_back_is_a_ratio_of_losses():
    view = server()
    found = GradientAscent(kernel=NET, client=2, rate=1.0).score(view, RECORDS)
    for i, j in each():
        total = 0.0
        for t in range(ROUNDS):
            sent = view.models[i, t]
            after = gradient(sent + view.uploads[i, t, 2], j)[1]
            total += math.log(gradient(sent, j)[1] / after)
        assert float(found[i, j]) == pytest.approx(total, rel=1e-9)
    # A loss that rounds to zero is small, not an error.
    far = torch.zeros(1, 1, 1, D).double()
    far[..., 6:] = torch.tensor([-1e4, 1e4])
    exact = server(torch.zeros(1, 2, D).double(), far)
    assert bool(
        GradientAscent(kernel=NET, client=0, rate=1.0).score(exact, RECORDS).isfinite().all()
    )
    with pytest.raises(DesignError, match="only the server sees"):
        GradientAscent(kernel=NET, client=0, rate=1.0).score(peer(view.models), RECORDS)
    with pytest.raises(DesignError, match="ratios of losses"):
        negative = GradientAscent(
            kernel=NET, client=0, rate=1.0, loss=lambda outputs, y, context: -y.double()
        )
        negative.score(view, RECORDS)
    with pytest.raises(ParameterError):
        GradientAscent(kernel=NET, client=0, rate=0.0)


def exact_log_loss(phi):
    with mpmath.workdps(400):
        return float(mpmath.log(mpmath.log1p(mpmath.exp(-mpmath.mpf(phi)))))


def test_the_pull_back_is_exact_where_the_loss_rounds_to_zero():
    phi = torch.tensor([-800.0, -20.5, 0.0, 20.0, 36.0, 36.8, 39.9, 40.1, 60.0, 700.0, 800.0])
    far = torch.zeros(len(phi), 1, 1, D).double()
    far[:, 0, 0, 6] = phi  # the bias of class 0
    records = Records(x=RECORDS.x[1:], y=RECORDS.y[1:])
    attack = GradientAscent(kernel=NET, client=0, rate=1.0)
    found = attack.score(server(torch.zeros(len(phi), 2, D).double(), far), records)[:, 0]
    wanted = [math.log(math.log(2.0)) - exact_log_loss(v) for v in phi.tolist()]
    assert found.tolist() == pytest.approx(wanted, rel=1e-14, abs=1e-14)
    # Another loss is known from its value alone: no jump where that rounds to zero.
    shapeless = GradientAscent(
        kernel=NET, client=0, rate=1.0, loss=lambda o, y, c: 2.0 * cross_entropy(o, y, c)
    )
    other = shapeless.score(server(torch.zeros(len(phi), 2, D).double(), far), records)[:, 0]
    assert other[:5].tolist() == pytest.approx(wanted[:5], rel=0.02)
    assert bool((other.diff() >= 0).all()) and float(other[-1]) < 37.0


def test_a_loss_that_is_not_a_number_is_an_error():
    nothing = GradientAscent(
        kernel=NET, client=0, rate=1.0, loss=lambda outputs, y, context: y.double() * math.nan
    )
    with pytest.raises(DesignError, match="ratios of losses"):
        nothing.score(server(), RECORDS)


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
