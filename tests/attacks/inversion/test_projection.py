import numpy as np
import pytest
import torch

from privassay.accountant.errors import ParameterError
from privassay.attacks.inversion import projection
from privassay.attacks.inversion.candidates import Estimate

DIM, RANK = 8, 3


def low_rank(count, seed, offset=2.0):
    """Features in a 3-dimensional affine subspace of 8 dimensions, its spread 3, 1 and 0.3."""
    shared = torch.Generator().manual_seed(99)
    basis, _ = torch.linalg.qr(torch.randn(DIM, RANK, generator=shared, dtype=torch.float64))
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([3.0, 1.0, 0.3], dtype=torch.float64)
    return offset + (torch.randn(count, RANK, generator=generator).double() * spread) @ basis.T


STDDEV = torch.tensor([0.1] * 4 + [1.5] * 4, dtype=torch.float64)  # two groups


def noisy(count=2000, seed=1):
    clean = low_rank(count, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    noise = torch.randn(count, DIM, generator=generator, dtype=torch.float64)
    return clean, Estimate(clean + STDDEV * noise, STDDEV)


def test_the_space_is_that_of_the_public_features():
    public = low_rank(500, 0)
    space = projection.fit(public)
    assert space.basis.shape == (DIM, RANK)
    np.testing.assert_allclose(space.covariance(), np.cov(public.T), atol=1e-10)
    assert projection.fit(public, rank=2).basis.shape == (DIM, 2)


def test_the_posterior_is_that_of_a_joint_gaussian():
    """Oracle: condition the joint Gaussian of feature and observation, with full covariances."""
    space = projection.fit(low_rank(500, 0))
    _, seen = noisy(5)
    found = space.posterior(seen)
    prior, noise = np.asarray(space.covariance()), np.diag(STDDEV.numpy() ** 2)
    gain = prior @ np.linalg.inv(prior + noise)
    wanted = space.centre.numpy() + (seen.mean - space.centre).numpy() @ gain.T
    np.testing.assert_allclose(found.mean, wanted, rtol=1e-9, atol=1e-9)
    posterior = prior - gain @ prior
    inverse = np.linalg.pinv(posterior, rcond=1e-8)
    np.testing.assert_allclose(found.root @ found.root.T, inverse, rtol=1e-6, atol=1e-6)


def test_the_projection_is_weighted_least_squares():
    space = projection.fit(low_rank(500, 0))
    _, seen = noisy(4)
    found = space.project(seen)
    weights = np.diag(STDDEV.numpy() ** -2.0)
    basis = space.basis.numpy()
    gap = (seen.mean - space.centre).numpy()
    coefficients = np.linalg.inv(basis.T @ weights @ basis) @ basis.T @ weights @ gap.T
    np.testing.assert_allclose(found, space.centre.numpy() + (basis @ coefficients).T, atol=1e-9)
    # what already lies in the space stays
    inside = low_rank(3, 5)
    torch.testing.assert_close(space.project(Estimate(inside, STDDEV)), inside)


def test_shrinking_beats_projecting_beats_the_raw_target():
    space = projection.fit(low_rank(500, 0))
    clean, seen = noisy()

    def error(found):
        return float((found - clean).square().sum(dim=1).mean())

    plain_space = space.project(Estimate(seen.mean, torch.ones(DIM).double()))
    raw, unwhitened = error(seen.mean), error(plain_space)
    projected, shrunk = error(space.project(seen)), error(space.posterior(seen).mean)
    assert shrunk < projected < unwhitened < raw, (shrunk, projected, unwhitened, raw)
    assert projected < 0.25 * raw, (projected, raw)


def test_without_noise_the_target_is_kept_and_with_much_it_is_the_centre():
    space = projection.fit(low_rank(500, 0))
    clean = low_rank(3, 5)
    kept = space.posterior(Estimate(clean, torch.zeros(DIM).double()))
    torch.testing.assert_close(kept.mean, clean, rtol=1e-4, atol=1e-4)
    assert torch.isfinite(kept.root).all()
    lost = space.posterior(Estimate(clean, torch.full((DIM,), 1e6).double()))
    torch.testing.assert_close(lost.mean, space.centre.expand(3, -1), rtol=1e-6, atol=1e-6)


def test_what_cannot_be_fitted_is_refused():
    public = low_rank(500, 0)
    with pytest.raises(ParameterError, match=r"1\.\.3"):
        projection.fit(public, rank=4)
    with pytest.raises(ParameterError, match="n >= 2"):
        projection.fit(public[:1])
    with pytest.raises(ParameterError, match="finite"):
        projection.fit(torch.full((3, 2), torch.nan))
    with pytest.raises(ParameterError, match="vary"):
        projection.fit(torch.ones(3, 2))
    for ask in (projection.fit(public).posterior, projection.fit(public).project):
        with pytest.raises(ParameterError, match="5 dimensions, but the public features 8"):
            ask(Estimate(torch.zeros(1, 5).double(), torch.ones(5).double()))
