import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from privassay.accountant.errors import DesignError
from privassay.attacks.membership.informed_linear import InformedLinear
from privassay.attacks.membership.likelihood_ratio import LikelihoodRatio
from privassay.attacks.membership.prototype_distance import PrototypeDistance
from privassay.fl_core.worlds import heard

DIM, ROUNDS = 4, 3


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def view(prototypes):
    """The server's view of runs whose uploads are float64[trials, rounds, dim]."""
    return heard(prototypes[:, :, None, None]).view("server")


def covariance(seed=3):
    root = normal(DIM, DIM, seed=seed)
    return root @ root.mT + 0.1 * torch.eye(DIM)


def test_it_is_the_log_likelihood_ratio_of_two_gaussians():
    sigma, background, shifts = covariance(), normal(DIM, seed=4), normal(5, DIM, seed=5)
    uploads = normal(5, ROUNDS, DIM)
    found = LikelihoodRatio(background=background, covariance=sigma).score(view(uploads), shifts)
    for trial in range(5):
        seen = uploads[trial].mean(dim=0).numpy()
        wanted = multivariate_normal.logpdf(
            seen, background + shifts[trial], sigma
        ) - multivariate_normal.logpdf(seen, background, sigma)
        assert float(found[trial]) == pytest.approx(wanted, rel=1e-9)


def test_independent_dimensions_are_a_diagonal_and_the_informed_attack_is_their_multiple():
    scale = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    background, shift, seen = normal(DIM, seed=4), normal(DIM, seed=5), view(normal(6, ROUNDS, DIM))
    variance = scale.square() / ROUNDS  # of the mean over rounds
    one = LikelihoodRatio(background=background, covariance=variance).score(seen, shift)
    two = LikelihoodRatio(background=background, covariance=variance.diag()).score(seen, shift)
    three = InformedLinear(background=background, noise_scale=scale).score(seen, shift)
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(one, three * ROUNDS)


@pytest.mark.parametrize(
    "attack",
    [
        PrototypeDistance(),
        InformedLinear(background=torch.ones(DIM), noise_scale=torch.full((DIM,), 2.0)),
        LikelihoodRatio(background=torch.ones(DIM).double(), covariance=covariance()),
    ],
)
def test_many_candidates_are_scored_as_one_after_the_other(attack):
    seen, candidates = view(normal(6, ROUNDS, DIM)), normal(3, DIM, seed=7)
    together = attack.score(seen, candidates.unsqueeze(1))
    assert together.shape == (3, 6)
    for row, candidate in zip(together, candidates, strict=True):
        torch.testing.assert_close(row, attack.score(seen, candidate))
    for wrong in (candidates[:, :-1], candidates.long(), torch.tensor(1.0)):
        with pytest.raises(DesignError, match="candidates must be float"):
            attack.score(seen, wrong)


def separation(inside, outside):
    spread = math.sqrt((float(inside.var()) + float(outside.var())) / 2)
    return float(inside.mean() - outside.mean()) / spread


def test_whoever_knows_the_correlation_reaches_more():
    n, shift, sigma = 20_000, normal(DIM, seed=5), covariance()
    root = torch.linalg.cholesky(sigma)
    worlds = [view((normal(n, 1, DIM, seed=s) @ root.mT) + s * shift) for s in (0, 1)]
    mu = math.sqrt(float(shift @ torch.linalg.solve(sigma, shift)))
    found = []
    for known in (sigma, sigma.diagonal()):
        attack = LikelihoodRatio(background=torch.zeros(DIM).double(), covariance=known)
        found.append(separation(*(attack.score(w, shift) for w in reversed(worlds))))
    error = math.sqrt(2 / n + mu**2 / (4 * n))
    assert abs(found[0] - mu) < 5 * error and found[1] < found[0] - 5 * error, (found, mu)


def test_who_knows_only_the_population_is_as_good_as_its_covariance_says():
    # The prototype is the sum of seven unknown records and perhaps one known, over 8, plus noise.
    n, population, noise, candidate = 20_000, covariance(), 0.2, normal(DIM, seed=5)
    root, mean = torch.linalg.cholesky(population), normal(DIM, seed=6)
    worlds = []
    for present in (1, 0):
        records = normal(n, 7, DIM, seed=present) @ root.mT + mean
        total = (records.sum(dim=1) + present * candidate) / 8
        worlds.append(view((total + noise * normal(n, DIM, seed=9 + present)).unsqueeze(1)))
    spread = population * 7 / 64 + noise**2 * torch.eye(DIM)
    attack = LikelihoodRatio(background=mean * 7 / 8, covariance=spread)
    inside, outside = (attack.score(world, candidate / 8) for world in worlds)
    shift = candidate / 8
    mu = math.sqrt(float(shift @ torch.linalg.solve(spread, shift)))
    error = math.sqrt(2 / n + mu**2 / (4 * n))
    assert abs(separation(inside, outside) - mu) < 5 * error
    assert float(inside.mean()) == pytest.approx(mu**2 / 2, abs=5 * mu / n**0.5)


def test_independent_dimensions_need_no_matrix():
    dim = 100_000  # as a matrix: 80 GB
    variance = 0.5 + torch.rand(dim, generator=torch.Generator().manual_seed(0)).double()
    seen, shift = normal(2, 1, dim), normal(dim, seed=5)
    attack = LikelihoodRatio(background=torch.zeros(dim).double(), covariance=variance)
    wanted = ((seen[:, 0] - shift / 2) * shift / variance).sum(dim=1)
    torch.testing.assert_close(attack.score(view(seen), shift), wanted)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        variance[7] = wrong
        with pytest.raises(DesignError, match="symmetric and positive definite"):
            LikelihoodRatio(background=torch.zeros(dim).double(), covariance=variance)


def test_a_covariance_in_single_precision_is_solved_in_double():
    sigma, shifts, seen = covariance().float(), normal(5, DIM, seed=5), view(normal(5, 1, DIM))
    background = torch.zeros(DIM).double()
    wide = LikelihoodRatio(background=background, covariance=sigma.double())
    narrow = LikelihoodRatio(background=background, covariance=sigma)
    assert torch.equal(narrow.score(seen, shifts), wide.score(seen, shifts))
    single = narrow.score(seen, shifts.float())
    assert torch.equal(single, wide.score(seen, shifts.float().double()))


def test_what_cannot_be_a_covariance_is_refused():
    background = torch.zeros(DIM).double()
    skew = covariance()
    skew[0, 1] += 1.0
    for wrong in (-torch.eye(DIM), torch.zeros(DIM), skew, torch.full((DIM,), torch.nan)):
        with pytest.raises(DesignError, match="symmetric and positive definite"):
            LikelihoodRatio(background=background, covariance=wrong.double())
    with pytest.raises(DesignError, match="but has the shape"):
        LikelihoodRatio(background=background, covariance=torch.eye(DIM + 1))
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(DesignError, match="noise_scale"):
            InformedLinear(background=background, noise_scale=torch.full((DIM,), scale))
