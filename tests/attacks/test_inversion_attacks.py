import math

import pytest
import torch

from privassay.attacks.inversion import decoder
from privassay.attacks.inversion.metrics import leakage_gap, psnr
from privassay.attacks.inversion.prototype import invert

SHAPE = (3, 4, 4)
PIXELS = math.prod(SHAPE)


def smooth_images(count, seed=0):
    """Pictures in [0.1, 0.9] with a gradient each: total variation is low, as in photographs."""
    generator = torch.Generator().manual_seed(seed)
    slopes = torch.rand(count, 3, 2, generator=generator) - 0.5
    grid = torch.linspace(-1, 1, 4)
    rows = slopes[:, :, 0, None, None] * grid[:, None] + slopes[:, :, 1, None, None] * grid
    return 0.5 + 0.4 * rows


@pytest.fixture(scope="module")
def encode():
    """An invertible linear encoder: the picture is determined by its features."""
    generator = torch.Generator().manual_seed(7)
    matrix, _ = torch.linalg.qr(
        torch.randn(PIXELS, PIXELS, generator=generator, dtype=torch.float64)
    )

    def encoder(images):
        return (images.double() - 0.5).flatten(1) @ matrix

    return encoder


def test_the_decoder_equals_ridge_regression_by_hand(encode):
    images = smooth_images(200)
    features = encode(images)
    found = decoder.fit(features, images, ridge=0.3)
    inputs = torch.cat([features, torch.ones(200, 1, dtype=torch.float64)], dim=1)
    # naive twin: least squares on rows extended by sqrt(ridge) times the identity
    extended = torch.cat([inputs, 0.3**0.5 * torch.eye(PIXELS + 1, dtype=torch.float64)])
    wanted = torch.linalg.lstsq(
        extended, torch.cat([images.double().flatten(1), torch.zeros(PIXELS + 1, PIXELS).double()])
    ).solution
    torch.testing.assert_close(found.weights, wanted, rtol=1e-8, atol=1e-10)
    assert found.shape == SHAPE


def test_the_decoder_recovers_pictures_from_their_features(encode):
    public, private = smooth_images(500), smooth_images(20, seed=1)
    model = decoder.fit(encode(public), public, ridge=1e-6)
    guess = model(encode(private))
    assert guess.shape == private.shape and guess.dtype == torch.float32
    assert float((guess - private).abs().max()) < 1e-3
    far = model(1e6 * encode(private))
    assert float(far.min()) >= 0.0 and float(far.max()) <= 1.0


def test_a_single_picture_without_noise_is_recovered_from_a_grey_start(encode):
    record = smooth_images(1, seed=1)
    target = encode(record)
    start = torch.full((1, *SHAPE), 0.5) + 0.01 * torch.randn(
        1, *SHAPE, generator=torch.Generator().manual_seed(0)
    )
    found, cosine = invert(target, encode, start=start, steps=400, smoothness=0.0)
    assert float(cosine) > 0.999
    # Features are compared by direction, so the picture comes back up to its contrast.
    direction = torch.nn.functional.cosine_similarity(
        (found - 0.5).flatten(1), (record - 0.5).flatten(1)
    )
    assert float(direction) > 0.999


def test_from_the_decoder_s_guess_it_stays_at_the_picture(encode):
    public, record = smooth_images(500), smooth_images(1, seed=1)
    model = decoder.fit(encode(public), public, ridge=1e-6)
    found, cosine = invert(
        encode(record), encode, start=model(encode(record)), steps=100, smoothness=0.0
    )
    quality = float(psnr(found, record)[0, 0])
    assert quality > 35.0 and float(cosine) > 0.999, f"{quality} dB, cosine {float(cosine)}"


def reconstructions(encode, targets):
    public = smooth_images(500, seed=9)
    model = decoder.fit(encode(public), public, ridge=1e-6)
    images, _ = invert(targets, encode, start=model(targets), steps=60, smoothness=0.01)
    return images


def test_the_control_gap_is_positive_for_one_record_and_none_for_pure_noise(encode):
    records, others = smooth_images(1, seed=1), smooth_images(1, seed=2)
    targets = torch.cat([encode(records), encode(others)])
    attacked, control = reconstructions(encode, targets)
    gap = leakage_gap(attacked, control, records)
    assert gap.gap > 10.0, gap
    assert gap.gap == gap.attacked - gap.control and gap.nearest == 0
    generator = torch.Generator().manual_seed(0)
    gaps = []
    for _ in range(8):  # both targets are noise: nothing was learnt, on average
        noise = torch.randn(2, PIXELS, generator=generator, dtype=torch.float64)
        gaps.append(leakage_gap(*reconstructions(encode, noise), records).gap)
    mean = sum(gaps) / len(gaps)
    assert abs(mean) < 3.0, gaps


def test_equal_reconstructions_have_no_gap():
    records = smooth_images(5)
    picture = smooth_images(1, seed=3)[0]
    gap = leakage_gap(picture, picture, records)
    assert gap.gap == 0.0
    best = max(range(5), key=lambda i: -float((records[i] - picture).square().mean()))
    assert gap.nearest == best
    assert gap.attacked == pytest.approx(
        -10 * math.log10(float((records[best] - picture).square().mean())), rel=1e-5
    )


def test_psnr_of_known_pictures():
    black, grey = torch.zeros(1, *SHAPE), torch.full((1, *SHAPE), 0.1)
    assert float(psnr(black, grey)) == pytest.approx(20.0, rel=1e-5)
    assert float(psnr(black, black)) == pytest.approx(100.0)  # capped, not infinite
    assert psnr(smooth_images(2), smooth_images(3)).shape == (2, 3)


def test_no_step_returns_the_start_and_progress_is_told(encode):
    start = smooth_images(2)
    images, _ = invert(encode(start), encode, start=start, steps=0)
    torch.testing.assert_close(images, start)
    told = []
    invert(encode(start), encode, start=start, steps=3, progress=lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_pictures_stay_in_range_and_extreme_starts_give_no_nan(encode):
    target = 100 * torch.randn(2, PIXELS, generator=torch.Generator().manual_seed(0)).double()
    start = torch.stack([torch.zeros(SHAPE), torch.ones(SHAPE)])
    images, cosine = invert(target, encode, start=start, steps=50)
    assert torch.isfinite(images).all() and torch.isfinite(cosine).all()
    assert float(images.min()) >= 0.0 and float(images.max()) <= 1.0


def test_smoothness_smooths(encode):
    target = torch.randn(1, PIXELS, generator=torch.Generator().manual_seed(0)).double()

    def variation(weight):
        images, _ = invert(target, encode, start=smooth_images(1), steps=200, smoothness=weight)
        return float((images[..., 1:] - images[..., :-1]).abs().mean())

    rough, smooth = variation(0.0), variation(50.0)
    assert smooth < 0.3 * rough, f"{smooth} against {rough}"
