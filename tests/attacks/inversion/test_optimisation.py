import math

import pytest
import torch

from privassay.accountant.errors import ParameterError
from privassay.attacks.inversion import decoder, projection
from privassay.attacks.inversion.candidates import Candidates, SeenPrototypes
from privassay.attacks.inversion.identification import FeatureMatch, identified
from privassay.attacks.inversion.latent_prior import (
    LatentInversion,
    principal_latent,
    trained_latent,
)
from privassay.attacks.inversion.noisy_decoder import Training
from privassay.attacks.inversion.prototype import PrototypeInversion, Variation, invert

SHAPE = (3, 6, 6)
PIXELS = math.prod(SHAPE)
DIM, LATENT = 16, 6


def pictures(count, seed=0):
    """A linear family of 6 dimensions inside [0, 1]; its directions are the same for all seeds."""
    shared = torch.Generator().manual_seed(77)
    axes = torch.linalg.qr(torch.randn(PIXELS, LATENT, generator=shared)).Q
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, LATENT, generator=generator).clamp(-2.5, 2.5)
    scale = torch.tensor([0.5, 0.4, 0.3, 0.3, 0.2, 0.2])
    return (0.5 + (z * scale) @ axes.T).clamp(0.0, 1.0).reshape(-1, *SHAPE)


def encode(images):
    """Not linear, 16 numbers for 108 pixels."""
    shared = torch.Generator().manual_seed(78)
    matrix = torch.randn(PIXELS, DIM, generator=shared, dtype=torch.float64) / 3.0
    return torch.tanh((images.double().flatten(1) - 0.5) @ matrix)


def view(records, sigma, rounds=2, seed=0):
    features = encode(records).detach()
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(len(records), rounds, DIM, generator=generator, dtype=torch.float64)
    stddevs = torch.full((rounds, DIM), sigma, dtype=torch.float64)
    return SeenPrototypes(uploads=features[:, None] + sigma * draws, noise_stddevs=stddevs)


@pytest.fixture(scope="module")
def known():
    public = pictures(400)
    features = encode(public)
    return public, projection.fit(features), decoder.fit(features, public, ridge=1e-3)


def attacks(known, **changes):
    public, space, guess = known
    shared = {"encode": encode, "space": space, "decoder": guess}
    return {
        "pixels": PrototypeInversion(**shared | {"steps": 80} | changes),
        "latent": LatentInversion(latent=principal_latent(public, LATENT), **shared),
    }


@pytest.mark.parametrize("name", ["pixels", "latent"])
def test_it_comes_nearer_to_the_features_than_the_decoder_from_which_it_starts(known, name):
    records = pictures(20, seed=5)
    seen = view(records, 0.0)
    found = attacks(known)[name].reconstruct(seen)
    assert found.shape == records.shape and 0.0 <= float(found.min()) <= float(found.max()) <= 1.0
    start = known[2](seen.combined().mean)
    ratio = (encode(found) - encode(records)).norm() / (encode(start) - encode(records)).norm()
    assert ratio < 0.35, float(ratio)


def test_the_latent_prior_finds_the_picture_where_its_family_is_known(known):
    records = pictures(20, seed=5)
    found = attacks(known)["latent"].reconstruct(view(records, 0.0))
    start = known[2](encode(records))
    error, before = (float((p - records).square().mean()) for p in (found, start))
    assert error < 0.1 * before and error < 2e-4, (error, before)


def test_with_noise_the_latent_mode_is_that_of_a_linear_gaussian_model():
    """Oracle: for a linear encoder the mode is a linear solve."""
    public = pictures(400)
    matrix = torch.randn(PIXELS, DIM, generator=torch.Generator().manual_seed(1)).double()

    def linear(images):
        return (images.double().flatten(1) - 0.5) @ matrix

    latent, space = principal_latent(public, LATENT), projection.fit(linear(public))
    records, sigma = 0.5 + 0.3 * (pictures(5, seed=5) - 0.5), 0.5
    seen = SeenPrototypes(
        uploads=linear(records)[:, None] + 0.2, noise_stddevs=torch.full((1, DIM), sigma).double()
    )
    found = LatentInversion(
        encode=linear, space=space, latent=latent, steps=600, learning_rate=0.02
    ).reconstruct(seen)
    design = (matrix.T @ latent.axes) / sigma
    gap = (seen.combined().mean - (latent.centre - 0.5) @ matrix) / sigma
    hessian = design.T @ design + torch.eye(LATENT, dtype=torch.float64)
    wanted = latent.decode(torch.linalg.solve(hessian, design.T @ gap.T).T)
    torch.testing.assert_close(found, wanted, rtol=0.0, atol=2e-3)


@pytest.mark.parametrize("name", ["pixels", "latent"])
def test_one_record_without_noise_is_identified_and_pure_noise_is_not(known, name):
    pool = pictures(100, seed=5)
    among = Candidates(images=pool, features=encode(pool), rows=torch.arange(100).expand(40, -1))
    truth = torch.arange(40)
    attack = attacks(known)[name]
    assert int(identified(attack.score(view(pool[:40], 0.0), among), truth).sum()) >= 37
    features = FeatureMatch(encode)
    by_features = attacks(known, match=features)["pixels"].score(view(pool[:40], 0.0), among)
    assert int(identified(by_features, truth).sum()) >= 39
    nothing = view(torch.full((40, *SHAPE), 0.5), 0.5, seed=3)
    assert int(identified(attack.score(nothing, among), truth).sum()) <= 4


def test_more_rounds_help(known):
    records = pictures(60, seed=5)
    attack = attacks(known)["latent"]

    def error(rounds):
        found = attack.reconstruct(view(records, 1.0, rounds=rounds))
        return float((found - records).square().mean())

    few, many = error(1), error(16)
    assert many < 0.6 * few, (many, few)


def test_a_start_at_the_mean_picture_is_enough_without_a_decoder(known):
    public, space, _ = known
    alone = LatentInversion(
        encode=encode, space=space, latent=principal_latent(public, LATENT), steps=300
    )
    records = pictures(10, seed=5)
    assert float((alone.reconstruct(view(records, 0.0)) - records).square().mean()) < 5e-4


def test_latents_are_whitened_and_undo_themselves():
    public = pictures(400)
    latent = principal_latent(public, LATENT)
    z = latent.encode(public)
    torch.testing.assert_close(z.T.cov(), torch.eye(LATENT).double(), atol=1e-6, rtol=0.0)
    assert float((latent.decode(z) - public).abs().max()) < 0.1  # clamped pictures are not linear
    fine = trained_latent(public, LATENT, Training(width=64, steps=300, learning_rate=5e-3))
    assert torch.equal(fine.encode(public), z)
    error, blind = (
        float((p - public).square().mean()) for p in (fine.decode(z), public.mean(dim=0))
    )
    assert error < 0.3 * blind, (error, blind)
    with pytest.raises(ParameterError, match="vary in"):
        principal_latent(public[:3], 3)


def test_variation_moves_by_whole_pixels_and_keeps_what_it_must():
    images = torch.rand(2, 3, 5, 5)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(Variation(shift=0).apply(images, generator), images)
    moved = [Variation(shift=1).apply(images, generator) for _ in range(60)]
    inner = images[..., 1:-1, 1:-1]
    places = {
        (y, x)
        for m in moved
        for y in range(3)
        for x in range(3)
        if torch.equal(m[..., y : y + 3, x : x + 3], inner)
    }
    assert places == {(y, x) for y in range(3) for x in range(3)}  # every shift occurs
    flipped = [Variation(shift=0, flip=True).apply(images, generator) for _ in range(20)]
    kinds = {torch.equal(f, images) for f in flipped}
    assert kinds == {True, False} and any(torch.equal(f, images.flip(-1)) for f in flipped)
    with pytest.raises(ParameterError, match="copies"):
        Variation(copies=0)
    with pytest.raises(ParameterError, match="shift"):
        Variation(shift=-1)


def test_consistency_makes_shifted_pictures_match_better(known):
    records = pictures(10, seed=5)
    target, start = encode(records), known[2](encode(records))

    def shifted_cosine(variation):
        found, _ = invert(
            target, encode, start=start, steps=80, smoothness=0.0, variation=variation
        )
        generator = torch.Generator().manual_seed(9)
        cosines = [
            torch.cosine_similarity(encode(Variation().apply(found, generator)), target)
            for _ in range(20)
        ]
        return float(torch.stack(cosines).mean())

    without, consistent = shifted_cosine(None), shifted_cosine(Variation())
    assert consistent > without + 0.02, (consistent, without)
    assert consistent == shifted_cosine(Variation())  # seeded
