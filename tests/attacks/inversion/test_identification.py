import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from privassay.accountant.errors import ParameterError
from privassay.attacks.inversion import projection
from privassay.attacks.inversion.blind import BlindGuess, best_guess
from privassay.attacks.inversion.candidates import Candidates, SeenPrototypes
from privassay.attacks.inversion.identification import (
    FeatureMatch,
    PrototypeMatch,
    identified,
    pixel_match,
)
from privassay.attacks.inversion.metrics import psnr

DIM, POOL = 6, 40


def pool(seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(POOL, 3, 2, 2, generator=generator)
    return images, torch.randn(POOL, DIM, generator=generator, dtype=torch.float64)


def candidates(trials=7, count=10, seed=0):
    images, features = pool()
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(trials, POOL, generator=generator).argsort(dim=1)[:, :count]
    return Candidates(images=images, features=features, rows=rows)


def test_a_tie_is_a_miss():
    truth = torch.tensor([0, 1, 2])
    scores = torch.tensor([[1.0, 0.0, 1.0], [0.0, 3.0, 2.0], [5.0, 4.0, 4.5]])
    assert identified(scores, truth).tolist() == [False, True, False]
    assert not identified(torch.zeros(3, 4), truth).any()


def test_pixel_match_is_the_correlation_about_the_candidates_mean():
    among = candidates()
    images = torch.rand(7, 3, 2, 2, generator=torch.Generator().manual_seed(3))
    found = pixel_match(images, among)
    assert found.shape == (7, 10)
    for t in range(7):
        rows = among.images[among.rows[t]].double().flatten(1).numpy()
        centre = rows.mean(axis=0)
        own = images[t].double().flatten().numpy() - centre
        for m in range(10):
            other = rows[m] - centre
            wanted = own @ other / np.linalg.norm(own) / np.linalg.norm(other)
            assert float(found[t, m]) == pytest.approx(wanted, abs=1e-9)
    truth = torch.arange(7)
    copies = among.images[among.rows.gather(1, truth[:, None])[:, 0]]
    assert identified(pixel_match(copies, among), truth).all()


def test_feature_match_encodes_the_reconstruction_again():
    images, _ = pool()

    def encode(pictures):
        return pictures.double().flatten(1)[:, :DIM]

    among = Candidates(images=images, features=encode(images), rows=candidates().rows)
    truth = torch.arange(7)
    copies = images[among.rows.gather(1, truth[:, None])[:, 0]]
    # a picture with the right features scores as the record, whatever else it shows
    fakes = copies.clone()
    fakes.flatten(1)[:, DIM:] = 0.0
    assert identified(FeatureMatch(encode)(fakes, among), truth).all()
    assert not identified(pixel_match(fakes, among), truth).all()


@pytest.mark.parametrize("records", [1, 3])
def test_prototype_match_is_the_gaussian_likelihood(records):
    _, features = pool()
    space = projection.fit(features)
    among = candidates()
    generator = torch.Generator().manual_seed(4)
    stddevs = torch.tensor([[0.3, 0.3, 1.0, 1.0, 2.0, 2.0]]).double()
    uploads = torch.randn(7, 1, DIM, generator=generator, dtype=torch.float64)
    found = PrototypeMatch(space=space, records=records).score(
        SeenPrototypes(uploads=uploads, noise_stddevs=stddevs), among
    )
    noise = np.diag(stddevs[0].numpy() ** 2)
    covariance = noise + (records - 1) / records**2 * space.covariance().numpy()
    for t in range(7):
        wanted = [
            multivariate_normal(
                (features[row].numpy() + (records - 1) * space.centre.numpy()) / records, covariance
            ).logpdf(uploads[t, 0].numpy())
            for row in among.rows[t]
        ]
        gaps = found[t].numpy() - np.array(wanted)
        np.testing.assert_allclose(gaps, gaps[0], atol=1e-8)  # up to a constant of the trial


def test_whitening_pays_when_groups_have_unlike_noise():
    _, features = pool()
    space, trials = projection.fit(features), 400
    among = candidates(trials, 10)
    truth = torch.arange(trials) % 10
    target = features[among.rows.gather(1, truth[:, None])[:, 0]]
    stddevs = torch.tensor([[0.2, 0.2, 5.0, 5.0, 5.0, 5.0]]).double()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(trials, 1, DIM, generator=generator, dtype=torch.float64)
    uploads = target[:, None] + noise * stddevs

    def hits(declared):
        view = SeenPrototypes(uploads=uploads, noise_stddevs=declared)
        return int(identified(PrototypeMatch(space=space).score(view, among), truth).sum())

    whitened, plain = hits(stddevs), hits(torch.ones(1, DIM).double())
    assert whitened > 2 * plain, (whitened, plain)


def test_a_blind_guess_is_right_once_in_m():
    """Candidates are exchangeable, so a class-typical guess gains nothing."""
    images, _ = pool()
    trials, count = 4000, 10
    among = candidates(trials, count)
    truth = torch.randint(count, (trials,), generator=torch.Generator().manual_seed(8))
    view = SeenPrototypes(uploads=torch.zeros(trials, 1, 2), noise_stddevs=torch.zeros(1, 2))
    blind = BlindGuess(images.mean(dim=0, keepdim=True))
    hits = int(identified(blind.score(view, among), truth).sum())
    spread = math.sqrt(trials * 0.1 * 0.9)
    assert abs(hits - trials / count) < 4 * spread, hits
    assert torch.equal(blind.reconstruct(view)[0], blind.reconstruct(view)[-1])


def test_the_best_guess_hits_more_than_the_mean_where_there_are_two_kinds():
    generator = torch.Generator().manual_seed(0)
    dark = 0.2 + 0.01 * torch.rand(30, 3, 4, 4, generator=generator)
    light = 0.8 + 0.01 * torch.rand(12, 3, 4, 4, generator=generator)
    public = torch.cat([dark, light])
    guess = best_guess(public, least_psnr=30.0)
    hits = int((psnr(guess[None], public) >= 30.0).sum())
    of_mean = int((psnr(public.mean(dim=0, keepdim=True), public) >= 30.0).sum())
    assert hits == 30 and of_mean == 0
    # among equals the one that is nearest to what it hits: better than any of the pictures
    errors = [float((picture - dark).square().mean()) for picture in (guess, *dark)]
    assert errors[0] < min(errors[1:]), errors
    with pytest.raises(ParameterError, match="n >= 1"):
        best_guess(public[:0], least_psnr=30.0)
