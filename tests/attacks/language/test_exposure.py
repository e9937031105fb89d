"""Ranks by brute force, the skew-normal law by scipy and mpmath, extraction by generating."""

import math

import mpmath
import pytest
import torch
from scipy.stats import skewnorm

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.language.exposure import Exposure, SampledExposure
from privassay.attacks.language.extraction import GreedyExtraction
from privassay.attacks.language.skew_normal import SkewNormal, fit_skew_normal, log_cdf
from privassay.attacks.language.token_scores import token_scores
from privassay.attacks.language.view import TokenScores


def view_of(totals):
    """float64[models, secrets] as scores of secrets with one predicted token."""
    inside = torch.ones(totals.shape[1], 1, dtype=torch.bool)
    return TokenScores(logp=totals.unsqueeze(2), inside=inside)


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_exposure_is_the_rank_by_brute_force_and_ties_count_against_it():
    totals = -5.0 + normals(4, 64).round(decimals=1)  # many ties
    found = Exposure().score(view_of(totals))
    for model in range(4):
        for secret in range(64):
            rank = sum(bool(other >= totals[model, secret]) for other in totals[model])
            assert float(found[model, secret]) == pytest.approx(6.0 - math.log2(rank))
    flat = Exposure().score(view_of(torch.full((1, 8), -1.0, dtype=torch.float64)))
    assert torch.equal(flat, torch.zeros(1, 8, dtype=torch.float64))
    some = torch.tensor([7, 3])
    assert torch.equal(Exposure().score(view_of(totals), some), found[:, some])


def test_a_secret_at_random_has_little_exposure():
    found = Exposure().score(view_of(-9.0 + normals(50, 256)))
    for bits in range(1, 9):
        assert float((found >= bits).double().mean()) == pytest.approx(2.0**-bits)


def test_reconstruction_is_the_secret_with_all_of_the_exposure():
    totals = -9.0 + normals(20, 100)
    found, best = Exposure().score(view_of(totals)), Exposure().reconstruct(view_of(totals))
    assert torch.allclose(
        found.gather(1, best[:, None]), torch.tensor(math.log2(100)).double(), atol=1e-6
    )
    # Over a reference, what counts is the gain.
    base = view_of(-9.0 + normals(1, 100, seed=1))
    gained = base.logp[0, :, 0].expand(20, -1).clone()
    gained[torch.arange(20), 3 * torch.arange(20)] += 0.5
    attack = Exposure(reference=base)
    assert attack.reconstruct(view_of(gained)).tolist() == [3 * n for n in range(20)]
    assert Exposure().reconstruct(view_of(gained)).tolist() != [3 * n for n in range(20)]
    with pytest.raises(DesignError, match="same texts"):
        attack.score(view_of(totals[:, :50]))


def test_gains_as_shares_of_own_gains_name_the_likeliest_secret_after_one_noisy_step():
    """Linear scores; brute force over the likelihood of the release itself."""
    clip, sd, secrets, models = 0.01, 0.004, 8, 500
    # Secrets are alike, and some are moved more easily than others.
    gradients = normals(1, 6, seed=1) + normals(secrets, 6, seed=2)
    gradients *= torch.linspace(0.5, 4.0, secrets).unsqueeze(1)
    step = clip * gradients / gradients.norm(dim=1, keepdim=True)
    truth = torch.arange(models) % secrets
    release = step[truth] + sd * normals(models, 6, seed=3)
    likeliest = torch.cdist(release, step).argmin(dim=1)
    base = -9.0 + normals(1, secrets, seed=4)
    attack = Exposure(reference=view_of(base), alone=view_of(base + step @ gradients.T))
    seen = view_of(base + release @ gradients.T)
    assert torch.equal(attack.reconstruct(seen), likeliest)
    by_gain = Exposure(reference=view_of(base)).reconstruct(seen)
    assert (likeliest == truth).double().mean() > (by_gain == truth).double().mean() + 0.1
    quiet = view_of(base + step[truth] @ gradients.T)
    assert torch.equal(attack.reconstruct(quiet), truth)
    assert not torch.equal(Exposure(reference=view_of(base)).reconstruct(quiet), truth)


def test_own_tuning_without_base_or_gain_is_an_error():
    base = view_of(-9.0 + normals(1, 4))
    better = view_of(base.total().expand(4, -1) + 0.1)
    with pytest.raises(DesignError, match="give `reference`"):
        Exposure(alone=better)
    with pytest.raises(DesignError, match="`alone` has 3"):
        Exposure(reference=base, alone=view_of(better.total()[:3]))
    with pytest.raises(DesignError, match="same texts"):
        Exposure(reference=base, alone=view_of(better.total()[:, :3]))
    worse = better.total().clone()
    worse[2, 2] -= 0.2
    with pytest.raises(DesignError, match="secret 2 did not become likelier"):
        Exposure(reference=base, alone=view_of(worse))


@pytest.mark.parametrize("shape", [-4.0, -0.5, 0.0, 1.0, 6.0])
def test_the_fitted_law_has_the_moments_of_the_sample(shape):
    sample = skewnorm.rvs(shape, loc=3.0, scale=2.0, size=(2, 4000), random_state=1)
    law = fit_skew_normal(torch.from_numpy(sample))
    for row in range(2):
        mean, variance, skew = skewnorm.stats(
            float(law.shape[row]), float(law.location[row]), float(law.scale[row]), moments="mvs"
        )
        values = torch.from_numpy(sample[row])
        assert float(mean) == pytest.approx(float(values.mean()), rel=1e-9)
        assert float(variance) == pytest.approx(float(values.var()), rel=1e-9)
        assert float(skew) == pytest.approx(
            float(((values - values.mean()) / values.std()).pow(3).mean()), rel=1e-6
        )
    with pytest.raises(DesignError, match="all equal"):
        fit_skew_normal(torch.ones(1, 100, dtype=torch.float64))


def exact_log_cdf(z, shape):
    def density(t):
        return mpmath.npdf(t) * mpmath.erfc(-shape * t / mpmath.sqrt(2))

    with mpmath.workdps(16):
        steps = [z - mpmath.mpf(k) for k in (20, 4, 1, 0.3, 0.1, 0.03, 0)]
        return float(mpmath.log(mpmath.quad(density, steps)))


@pytest.mark.parametrize("shape", [-3.0, 0.0, 2.0])
def test_the_lower_tail_does_not_underflow(shape):
    one = torch.tensor([0.0], dtype=torch.float64)
    law = SkewNormal(one, one + 1.0, one + shape)
    points = [-30.0, -8.0, -3.0, -0.5, 0.0, 2.0]
    found = log_cdf(torch.tensor([points], dtype=torch.float64), law)[0]
    for point, value in zip(points, found.tolist(), strict=True):
        assert value == pytest.approx(exact_log_cdf(point, shape), rel=1e-6), point
    assert bool((found.diff() > 0).all())


def test_the_estimate_is_near_the_truth_where_the_law_holds_and_never_above_all_bits():
    generator = torch.Generator().manual_seed(2)
    secrets = -50.0 + 4.0 * torch.randn(3, 4096, generator=generator, dtype=torch.float64)
    sample = view_of(secrets[:, torch.randperm(4096, generator=generator)[:2000]])
    attack = SampledExposure(sample=sample, bits=12.0)
    exact, estimate = Exposure().score(view_of(secrets)), attack.score(view_of(secrets))
    near = exact < 6.0  # a secret in 64 and commoner
    assert float((exact - estimate)[near].abs().max()) < 0.6
    assert torch.equal(exact.argmax(dim=1), estimate.argmax(dim=1))
    far = attack.score(view_of(torch.full((3, 1), -1e-3, dtype=torch.float64)))
    assert torch.equal(far, torch.full((3, 1), 12.0, dtype=torch.float64))
    with pytest.raises(DesignError, match="at least 100"):
        SampledExposure(sample=view_of(secrets[:, :99]), bits=12.0)
    with pytest.raises(DesignError, match="bits"):
        SampledExposure(sample=sample, bits=math.inf)
    with pytest.raises(DesignError, match="3 about the sample"):
        attack.score(view_of(secrets[:2]))


def test_greedy_extraction_is_what_generating_gives(model, kernel, params, adapted):
    """Some texts are made by the model itself, so that runs of all lengths occur."""
    beginning = model.tokenizer.encode(["the key"], 7)[0]
    ends, given, size = [], 7, 12
    for spoiled in (None, 3, 0, 4):
        tokens = beginning
        for step in range(size - given):
            best = int(adapted(0, tokens)[-1].argmax())
            tokens = torch.cat(
                [tokens, torch.tensor([best if step != spoiled else 1 + best % 200])]
            )
        ends.append(tokens)
    x = torch.stack(ends)
    view = token_scores(model, kernel, params, x)
    found = GreedyExtraction(given=given).score(view)
    for row in range(3):
        for number in range(len(x)):
            written, tokens = 0, beginning
            for step in range(size - given):
                tokens = torch.cat([tokens, adapted(row, tokens)[-1].argmax().view(1)])
                if int(tokens[-1]) != int(x[number, given + step]):
                    break
                written += 1
            assert float(found[row, number]) == pytest.approx(written / (size - given))
    assert found[0].tolist() == [1.0, 0.6, 0.0, 0.8]
    with pytest.raises(DesignError, match="nothing is left"):
        GreedyExtraction(given=12).score(view)
    with pytest.raises(DesignError, match="greedy"):
        GreedyExtraction(given=1).score(TokenScores(logp=view.logp, inside=view.inside))
    with pytest.raises(ParameterError, match="given"):
        GreedyExtraction(given=0)
