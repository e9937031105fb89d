"""Attacks on tuned prompts against naive twins, closed forms and the optimisers they undo."""

import math

import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.membership.lira import Lira
from privassay.attacks.membership.loss import Loss
from privassay.attacks.prompts.distillation import Queries
from privassay.attacks.prompts.membership import PromptMembership, leave_one_out
from privassay.attacks.prompts.nearest_tokens import NearestTokens
from privassay.attacks.prompts.peer_prompt import Broadcasts, PeerPrompt
from privassay.attacks.prompts.pipra import Pipra, _likeness, _seen
from privassay.attacks.prompts.property_inference import PropertyInference
from privassay.attacks.prompts.released import Records, Released
from privassay.attacks.prompts.update_reconstruction import (
    LocalSteps,
    UpdateReconstruction,
    Updates,
)
from privassay.audit_reports.selftest.prompt_stand_in import (
    LENGTH,
    NAMES,
    SCALE,
    WIDTH,
    stand_in,
    untouched,
)
from privassay.fl_core.algorithms.prompt_federation import LocalTraining, published_sgd
from privassay.fl_core.algorithms.prompt_fl import prompt_fl
from privassay.fl_core.algorithms.server_optimizers import Momentum
from privassay.fl_core.clients import ClientData
from privassay.fl_core.kernels.base import cross_entropy
from privassay.fl_core.optimizers import Sgd
from privassay.mechanisms.base import SeededKey

from .prompt_cases import draw, random_prompts, records


def test_membership_is_a_loss_difference_one_record_at_a_time():
    prompts, reference, some = random_prompts(3), random_prompts(2, 1), records(5)
    found = PromptMembership(references=reference).score(prompts, some)

    def loss(context, x, y):
        text = stand_in().kernel.text.features(context[None])[0]
        logits = SCALE * torch.nn.functional.normalize(x, dim=0) @ text.T
        return float(torch.nn.functional.cross_entropy(logits[None], y[None]))

    for target, context in enumerate(prompts.prompts["context"]):
        for place, (x, y) in enumerate(zip(*some, strict=True)):
            plain = [loss(other, x, y) for other in reference.prompts["context"]]
            wanted = sum(plain) / 2 - loss(context, x, y)
            assert float(found[target, place]) == pytest.approx(wanted, abs=1e-4)
    order = torch.randperm(5, generator=draw(2))
    again = PromptMembership(references=reference).score(
        prompts, Records(some.x[order], some.y[order])
    )
    assert torch.allclose(again, found[:, order], atol=1e-5)


def test_a_shadow_prompt_is_never_its_own_reference():
    prompts, some = random_prompts(6), records(8)
    member = torch.rand(6, 8, generator=draw(1)) < 0.5
    references = leave_one_out(prompts, member, some)
    assert not bool(references.allowed.diagonal().any())
    assert bool((references.allowed | torch.eye(6, dtype=torch.bool)).all())
    scores = Lira(references=references).score(prompts.answers(some))
    flipped = member.clone()
    flipped[2] = ~flipped[2]
    other = Lira(references=leave_one_out(prompts, flipped, some)).score(prompts.answers(some))
    assert torch.equal(scores[2], other[2])
    assert not torch.equal(scores[3], other[3])
    with pytest.raises(DesignError, match="at least two"):
        leave_one_out(prompts.rows(torch.tensor([0])), member[:1], some)


def test_words_are_read_back_and_lengths_matter_for_one_nearness_only():
    tower = stand_in().tower
    context = tower.words("a photo of the digit")
    numbers = [tower.tokens(word)[1] for word in "a photo of the digit".split()]
    attack = NearestTokens(embedding=tower.embedding)
    noise = 0.3 * torch.randn(context.shape, generator=draw(1))
    assert attack.reconstruct(context + noise).tolist() == numbers
    scores = attack.score((context + noise)[None], torch.arange(len(tower.embedding)))
    naive = -torch.cdist((context + noise).double(), tower.embedding.double()).square()
    assert torch.allclose(scores[0], naive, atol=1e-9)
    cosine = NearestTokens(embedding=tower.embedding, nearness="cosine")
    assert cosine.reconstruct(3.0 * context).tolist() == numbers
    chosen = torch.tensor([5, 9])
    among = attack.score(context, torch.arange(12))[:, chosen]
    assert torch.allclose(attack.score(context, chosen), among, atol=1e-12)
    with pytest.raises(DesignError, match="tokens 32"):
        attack.reconstruct(context[:, :5])
    with pytest.raises(ParameterError, match="nearness"):
        NearestTokens(embedding=tower.embedding, nearness="far")


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_constant_gradient_is_read_off_the_optimisers_own_change(steps):
    start = torch.randn(3, 7, generator=draw(1), dtype=torch.float64)
    gradient = torch.randn(3, 7, generator=draw(2), dtype=torch.float64)
    params = {"w": start.clone()}
    optimizer = Sgd(0.05, 0.9, 0.01, params)
    for _ in range(steps):
        optimizer.update(params, {"w": gradient}, slice(0, 3))
    local = LocalSteps(learning_rate=0.05, momentum=0.9, weight_decay=0.01, steps=steps)
    view = Updates(received=start, totals=params["w"] - start, known=start.new_zeros(3, 0, 7))
    attack = UpdateReconstruction(local=local)
    assert torch.allclose(attack.gradients(view), gradient, atol=1e-12)
    assert torch.allclose(attack.reconstruct(view), params["w"], atol=1e-12)
    with pytest.raises(DesignError, match="give `local`"):
        UpdateReconstruction().gradients(view)


def uploads(clients, each, rate=0.05):
    world = stand_in()
    training = LocalTraining(optimizer=published_sgd(rate), batch_size=each)
    algorithm = prompt_fl(
        world.kernel.text, scale=SCALE, clients=clients, training=training, words="a photo of a"
    )
    parts = torch.randperm(len(world.y), generator=draw(3))[: clients * each].view(clients, each)
    data = ClientData.of(world.x, world.y, parts.tolist())
    start = untouched().prompts["context"]
    received = {"context": start.expand(clients, LENGTH, WIDTH)}
    found, _ = algorithm.update(received, {}, data, round=0, key=SeededKey(1))
    return start, found, parts


def test_the_gradient_behind_a_real_upload_is_the_clients():
    start, found, parts = uploads(4, 6)
    world = stand_in()
    local = LocalSteps(learning_rate=0.05, momentum=0.9, weight_decay=5e-4)
    flat = start.flatten(1)
    view = Updates(received=flat, totals=found.sum(dim=0, keepdim=True), known=found[None, 1:])
    gradient = UpdateReconstruction(local=local).gradients(view)
    wanted = world.kernel.gradients(
        {"context": start}, world.x[parts[:1]], world.y[parts[:1]], torch.full((1, 6), 1 / 6),
        cross_entropy, {},
    )["context"]  # fmt: skip
    assert float((gradient - wanted.flatten(1)).norm() / wanted.norm()) < 1e-3
    both = Updates(
        received=flat, totals=found.sum(dim=0, keepdim=True), known=found[None, 2:], unknown=2
    )
    mean = flat + found[:2].mean(dim=0)
    assert torch.allclose(UpdateReconstruction().reconstruct(both), mean.double(), atol=1e-5)
    scores = UpdateReconstruction().score(view, (flat + found)[None])
    assert int(scores[0].argmax()) == 0
    with pytest.raises(DesignError, match="known"):
        Updates(received=flat, totals=flat, known=flat)


def test_a_peer_undoes_the_servers_momentum():
    rounds, clients, dim = 4, 3, 6
    changes = torch.randn(rounds, clients, dim, generator=draw(1), dtype=torch.float64)
    rule = Momentum(learning_rate=0.7, momentum=0.8)
    params = {"p": torch.randn(1, dim, generator=draw(2), dtype=torch.float64)}
    kept, seen = rule.start(params), [params["p"]]
    for change in changes:
        params, kept = rule.step(kept, params, {"p": change.sum(dim=0, keepdim=True) / 5.0})
        seen.append(params["p"])
    view = Broadcasts(prompts=torch.stack(seen, dim=1), own=changes[None, :, 1:])
    attack = PeerPrompt(clients=3, divisor=5.0, learning_rate=0.7, momentum=0.8)
    assert torch.allclose(attack.changes(view)[0], changes[:, 0], atol=1e-10)
    prompts = view.prompts[:, :-1]
    assert torch.allclose(attack.reconstruct(view)[0], (prompts + changes[:, 0])[0], atol=1e-10)
    candidates = prompts.unsqueeze(1) + changes.transpose(0, 1)[None]
    assert int(attack.score(view, candidates).argmax()) == 0
    with pytest.raises(DesignError, match="nobody is left"):
        PeerPrompt(clients=2, divisor=2.0).changes(view)
    with pytest.raises(DesignError, match="rounds"):
        Broadcasts(prompts=view.prompts, own=view.own[:, 1:])


def test_property_inference_is_ridge_regression_in_any_number_of_dimensions():
    prompts = random_prompts(14)
    has = torch.arange(14) % 3 == 0
    found = PropertyInference.fit(prompts, has, space="context", ridge=0.1)
    rows = prompts.prompts["context"].double().flatten(1)
    apart = rows - rows.mean(dim=0)
    sign = torch.where(has, 1.0, -1.0).double()
    penalty = 0.1 * apart.square().sum(dim=1).mean()
    gram = apart.T @ apart + penalty * torch.eye(apart.shape[1], dtype=torch.float64)
    wanted = torch.linalg.solve(gram, apart.T @ (sign - sign.mean()))
    assert torch.allclose(found.weights, wanted, atol=1e-10)
    scores = PropertyInference.fit(prompts, has).score(prompts)
    assert float(scores[has].min()) > float(scores[~has].max()), "it separates what it was fit on"
    with pytest.raises(DesignError, match="both kinds"):
        PropertyInference.fit(prompts, torch.ones(14, dtype=torch.bool))
    with pytest.raises(DesignError, match=r"bool\[14\]"):
        PropertyInference.fit(prompts, has[:3])


def test_pipra_is_deterministic_and_scores_each_record_alone():
    prompts, some = random_prompts(6), records(20)
    member = torch.rand(6, 20, generator=draw(1)) < 0.5
    fit = [
        Pipra.fit(prompts, some, member, reference=untouched(), steps=10, seed=3) for _ in range(2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(fit[0].judge, fit[1].judge, strict=True))
    whole = fit[0].score(prompts, some)
    part = fit[0].score(
        prompts.rows(torch.tensor([4, 1])), Records(some.x[[7, 2, 11]], some.y[[7, 2, 11]])
    )
    assert torch.allclose(part, whole[[4, 1]][:, [7, 2, 11]], atol=1e-4)
    with pytest.raises(DesignError, match="members and non-members"):
        Pipra.fit(prompts, some, torch.ones_like(member), reference=untouched())
    with pytest.raises(DesignError, match=r"bool\[6, 20\]"):
        Pipra.fit(prompts, some, member[:, :3], reference=untouched())
    with pytest.raises(DesignError, match="one reference prompt"):
        Pipra(reference=prompts, judge=fit[0].judge).score(prompts, some)


def test_the_projector_and_the_discriminator_learn_from_different_shadows():
    prompts, some = random_prompts(6), records(40)
    member = torch.rand(6, 40, generator=draw(1)) < 0.5

    def text(inside):
        return Pipra.fit(prompts, some, inside, reference=untouched(), steps=5).judge

    whole, moved = text(member), []
    for row in range(6):
        flipped = member.clone()
        flipped[row] = ~flipped[row]
        other = text(flipped)
        moved.append(not torch.equal(other.text, whole.text))
        assert not torch.equal(other.out, whole.out), "everything reaches the discriminator"
    assert sum(moved) == 3, "half of the shadows reach the projector"


def test_turns_are_kept_by_class_and_give_the_likeness_of_each_record():
    prompts, some = random_prompts(3), records(50)
    turned, _ = _seen(prompts, untouched(), some)
    assert turned.turn.shape == (3, len(NAMES), 64), "whatever the number of records"
    maps = [torch.randn(64, 4, generator=draw(n)) for n in (1, 2)]
    found = _likeness(turned, *maps)
    for target in range(3):
        for n in range(50):
            left, right = turned.turn[target, some.y[n]] @ maps[0], turned.image[n] @ maps[1]
            wanted = torch.nn.functional.cosine_similarity(left, right, dim=0)
            assert float(found[target, n]) == pytest.approx(float(wanted), abs=1e-5)


def test_released_prompts_are_checked():
    kernel = stand_in().kernel
    with pytest.raises(DesignError, match="at least one target"):
        Released(kernel=kernel, prompts={"context": torch.zeros(0, LENGTH, WIDTH)})
    with pytest.raises(DesignError, match="prompts must be"):
        Released(kernel=kernel, prompts={"other": torch.zeros(1, LENGTH, WIDTH)})
    with pytest.raises(DesignError, match="NaN"):
        Released(kernel=kernel, prompts={"context": torch.full((1, LENGTH, WIDTH), math.nan)})
    some = records(4)
    answers = untouched().answers(some)
    wanted = torch.nn.functional.cross_entropy(answers.logits[0], some.y, reduction="none")
    assert torch.allclose(Loss().score(answers)[0], -wanted.double(), atol=1e-5)
    with pytest.raises(DesignError, match="answers must be"):
        Queries(x=some.x, answers=answers.logits[:, :2])
    with pytest.raises(DesignError, match="NaN"):
        Queries(x=some.x, answers=answers.logits * math.nan)
