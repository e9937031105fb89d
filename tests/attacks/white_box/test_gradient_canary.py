import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from privassay.accountant.account import account
from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.membership.gradient_canary import (
    GradientCanary,
    NoisySteps,
    clipped_gradients,
)
from privassay.audit_reports.estimators.auc import auc
from privassay.fl_core.clients import ClientData
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.base import cross_entropy, flatten
from privassay.fl_core.kernels.stacked import mlp
from privassay.fl_core.optimizers import PlainSgd
from privassay.fl_core.private_training import train_privately
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.dpsgd import DpSgd

D = 5


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def steps(sums):
    return NoisySteps(adversary="server", models=torch.zeros_like(sums), sums=sums)


def log_density(value, mean, sigma):
    return float(norm.logpdf(value.numpy(), mean.numpy(), sigma).sum())


@pytest.mark.parametrize("known", ["always", "drawn", "hidden"])
def test_it_is_the_log_likelihood_ratio(known):
    sigma, rate = 1.7, 0.3
    sums, gradients, background = (normal(4, 6, D, seed=s) for s in range(3))
    drawn = normal(4, 6, seed=4) > 0
    attack = GradientCanary(
        noise_stddev=sigma,
        sampling_rate=1.0 if known == "always" else rate,
        drawn=drawn if known == "drawn" else None,
        background=background,
    )
    found = attack.score(steps(sums), gradients)
    for trial in range(4):
        total = 0.0
        for t in range(6):
            seen, b, g = sums[trial, t], background[trial, t], gradients[trial, t]
            out, inside = log_density(seen, b, sigma), log_density(seen, b + g, sigma)
            if known == "hidden":
                total += math.log((1 - rate) * math.exp(out) + rate * math.exp(inside)) - out
            elif known == "always" or drawn[trial, t]:
                total += inside - out
        assert float(found[trial]) == pytest.approx(total, rel=1e-10, abs=1e-10)


def unit(*shape, seed):
    vectors = normal(*shape, seed=seed)
    return vectors / vectors.norm(dim=-1, keepdim=True)


def test_full_steps_at_the_clip_norm_reach_the_proven_mu():
    n, count, sigma = 20_000, 6, 1.5
    gradients = unit(n, count, D, seed=1)  # another direction in each step
    noise = sigma * normal(2, n, count, D, seed=2)
    attack = GradientCanary(noise_stddev=sigma)
    inside = attack.score(steps(noise[0] + gradients), gradients)
    outside = attack.score(steps(noise[1]), gradients)
    mu = math.sqrt(count) / sigma
    for scores, sign in ((inside, 1), (outside, -1)):
        assert float(scores.mean()) == pytest.approx(sign * mu**2 / 2, abs=5 * mu / n**0.5)
        assert float(scores.std()) == pytest.approx(mu, rel=5 / math.sqrt(2 * n))
    event = DpSgd(clip_norm=1.0, noise_multiplier=sigma, sampling_rate=1.0, expected_batch=1.0)
    assert account(event.event(count), adjacency="add-remove").mu.upper == pytest.approx(mu)


def test_hidden_participation_reaches_the_proven_advantage():
    n, count, sigma, rate = 40_000, 6, 1.0, 0.3
    gradients = unit(1, count, D, seed=1)
    noise = sigma * normal(2, n, count, D, seed=2)
    drawn = torch.from_numpy(np.random.default_rng(3).random((n, count, 1)) < rate)
    worlds = [noise[0] + drawn * gradients, noise[1]]
    optimal = GradientCanary(noise_stddev=sigma, sampling_rate=rate)
    scores = [optimal.score(steps(world), gradients) for world in worlds]
    advantage = float((scores[0] > 0).double().mean() - (scores[1] > 0).double().mean())
    mechanism = DpSgd(clip_norm=1.0, noise_multiplier=sigma, sampling_rate=rate, expected_batch=1.0)
    proven = account(mechanism.event(count), adjacency="add-remove").advantage()
    assert advantage == pytest.approx(proven.upper, abs=5 * math.sqrt(0.5 / n)), proven
    # To act as if the record took part in every step is worse, to know when is better.
    known = GradientCanary(noise_stddev=sigma, sampling_rate=rate, drawn=drawn[..., 0])
    areas = []
    for attack in (GradientCanary(noise_stddev=sigma), optimal, known):
        areas.append(auc(*(attack.score(steps(w), gradients).numpy() for w in worlds)))
    assert areas[0] + 0.005 < areas[1] < areas[2] - 0.005, areas


def test_what_is_orthogonal_or_known_changes_nothing():
    sums, gradients = normal(3, 4, D, seed=1), normal(3, 4, D, seed=2)
    gradients[..., 0] = 0.0
    plain = GradientCanary(noise_stddev=2.0, sampling_rate=0.5)
    base = plain.score(steps(sums), gradients)
    aside = sums.clone()
    aside[..., 0] += 100.0
    torch.testing.assert_close(plain.score(steps(aside), gradients), base)
    others = normal(3, 4, D, seed=3)
    informed = GradientCanary(noise_stddev=2.0, sampling_rate=0.5, background=others)
    torch.testing.assert_close(informed.score(steps(sums + others), gradients), base)
    # One gradient for all trials and steps is broadcast.
    one = gradients[:1, :1]
    torch.testing.assert_close(
        plain.score(steps(sums), one), plain.score(steps(sums), one.expand(3, 4, D))
    )


def test_ratios_far_beyond_the_range_of_exp_stay_finite():
    sums = torch.full((1, 2, 1), 1000.0, dtype=torch.float64)
    sums[0, 1] = -1000.0
    gradient = torch.ones(1, 1, 1, dtype=torch.float64)
    found = GradientCanary(noise_stddev=0.1, sampling_rate=0.25).per_round(steps(sums), gradient)
    ratio = (1000.0 - 0.5) / 0.01
    assert found[0].tolist() == pytest.approx([math.log(0.25) + ratio, math.log(0.75)])


def test_clipped_gradients_are_those_of_autograd():
    kernel = mlp((3, 4, 2))
    size = sum(math.prod(shape) for shape in kernel.shapes().values())
    models, x = normal(2, 3, size, seed=5), torch.tensor([1.0, -2.0, 3.0])
    for clip in (0.3, 1e3):
        found = clipped_gradients(kernel, models, x, 1, clip_norm=clip)
        for trial in range(2):
            for t in range(3):
                theta = models[trial, t].clone().requires_grad_()
                w1, b1, w2, b2 = theta.split([12, 4, 8, 2])
                hidden = torch.relu(x.double() @ w1.view(3, 4) + b1)
                logits = hidden @ w2.view(4, 2) + b2
                loss = torch.nn.functional.cross_entropy(logits, torch.tensor(1))
                (gradient,) = torch.autograd.grad(loss, theta)
                wanted = gradient * min(1.0, clip / float(gradient.norm()))
                torch.testing.assert_close(found[trial, t], wanted, rtol=1e-10, atol=1e-12)
                assert float(found[trial, t].norm()) <= clip


class Watched(PlainSgd):
    """Plain SGD that keeps what it was given."""

    def update(self, params, gradients, rows):
        self.seen.append(flatten(gradients).clone())
        super().update(params, gradients, rows)


def test_the_noisy_sums_are_read_off_the_models():
    kernel, divisor = mlp((3, 4, 2)), 2.5
    x, y = normal(6, 3, seed=1), torch.tensor([0, 1, 0, 1, 1, 0])
    data = ClientData.of(x, y, [range(6), range(3)], clients=[0, 0], replicas=[0, 1])
    key, optimizer = SeededKey(3), Watched(0.25)
    object.__setattr__(optimizer, "seen", [])
    start = kernel.initial(Counter.of(key, "model"), data.clients, data.replicas)
    params = {name: value.double() for name, value in start.items()}
    mechanism = DpSgd(
        clip_norm=1.0, noise_multiplier=2.0, sampling_rate=0.5, expected_batch=divisor
    )
    models = [flatten(params)]
    for step in range(3):
        train_privately(
            kernel,
            params,
            data,
            mechanism=mechanism,
            steps=1,
            loss=cross_entropy,
            optimizer=optimizer,
            key=key,
            round=step,
        )
        models.append(flatten(params))
    view = NoisySteps.of_sgd(
        torch.stack(models, dim=1), learning_rate=0.25, divisor=divisor, adversary="server"
    )
    torch.testing.assert_close(view.sums, divisor * torch.stack(optimizer.seen, dim=1))
    assert torch.equal(view.models, torch.stack(models[:-1], dim=1))


def test_views_and_candidates_that_do_not_fit_are_refused():
    sums, attack = normal(3, 4, D), GradientCanary(noise_stddev=1.0)
    for shape in ((4, D), (2, 4, D), (3, 4, D + 1), (3, 5, D)):
        with pytest.raises(DesignError, match="candidates must be float64"):
            attack.score(steps(sums), torch.ones(shape, dtype=torch.float64))
    wrong = GradientCanary(noise_stddev=1.0, background=torch.ones(1, 2, D))
    with pytest.raises(DesignError, match="background must be float64"):
        wrong.score(steps(sums), sums)
    wrong = GradientCanary(noise_stddev=1.0, drawn=torch.ones(3, 4))
    with pytest.raises(DesignError, match=r"drawn must be bool\[3, 4\]"):
        wrong.score(steps(sums), sums)
    with pytest.raises(DesignError, match="NaN"):
        steps(sums / 0.0)
    with pytest.raises(DesignError, match="shapes"):
        NoisySteps(adversary="server", models=sums[:, :2], sums=sums)
    with pytest.raises(DesignError, match="float64"):
        NoisySteps.of_sgd(sums.float(), learning_rate=1.0, divisor=1.0, adversary="server")
    with pytest.raises(DesignError, match="at least one step"):
        NoisySteps.of_sgd(sums[:, :1], learning_rate=1.0, divisor=1.0, adversary="server")
    for change in ({"noise_stddev": 0.0}, {"sampling_rate": 0.0}, {"sampling_rate": 1.5}):
        with pytest.raises(ParameterError):
            GradientCanary(**{"noise_stddev": 1.0} | change)
