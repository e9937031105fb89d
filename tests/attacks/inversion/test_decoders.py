import pytest
import torch

from privassay.accountant.errors import ParameterError
from privassay.attacks.inversion import decoder, decoder_cache
from privassay.attacks.inversion.candidates import SeenPrototypes
from privassay.attacks.inversion.decoder import LinearDecoding
from privassay.attacks.inversion.noisy_decoder import NeuralDecoding, Training, train

DIM, PIXELS = 5, 12
SHAPE = (3, 2, 2)
NOISE = torch.tensor([0.1, 0.1, 0.5, 0.5, 0.5], dtype=torch.float64)


def public(count=60, seed=0):
    """Pictures in three classes whose pixels are a linear map of the features, plus a remainder."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centres = torch.randn(3, DIM, generator=generator, dtype=torch.float64)
    features = centres[labels] + 0.5 * torch.randn(count, DIM, generator=generator).double()
    shared = torch.Generator().manual_seed(5)
    matrix = torch.randn(DIM, PIXELS, generator=shared, dtype=torch.float64)
    rest = 0.02 * torch.randn(count, PIXELS, generator=generator)
    flat = 0.5 + 0.05 * features @ matrix + rest
    return features, flat.clamp(0.0, 1.0).reshape(-1, *SHAPE), labels


def sampled(features, images, labels, *, records, draws, seed=0):
    """What the closed form is the limit of: noisy means of a picture and others of its class."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(features), (draws,), generator=generator)
    total = features[first].clone()
    for _ in range(records - 1):
        place = torch.randint(len(features) // 3, (draws,), generator=generator)
        total += features[3 * place + labels[first]]  # labels are 0, 1, 2, 0, 1, 2, ...
    noise = torch.randn(draws, DIM, generator=generator, dtype=torch.float64) * NOISE
    return total / records + noise, images[first]


@pytest.mark.parametrize("records", [1, 4])
def test_the_closed_form_is_the_limit_of_regression_on_noisy_means(records):
    features, images, labels = public()
    found = decoder.fit(
        features, images, ridge=1e-9, noise_stddevs=NOISE, labels=labels, records=records
    )
    means, targets = sampled(features, images, labels, records=records, draws=200_000)
    wanted = decoder.fit(means, targets, ridge=1e-9)
    torch.testing.assert_close(found.weights, wanted.weights, rtol=0.0, atol=3e-3)
    clean = decoder.fit(features, images, ridge=1e-9)
    assert (clean.weights - wanted.weights).abs().max() > 0.02  # so the test can tell them apart


@pytest.mark.parametrize("records", [1, 4])
def test_it_is_the_best_linear_decoder_of_fresh_noisy_means(records):
    features, images, labels = public()
    means, targets = sampled(features, images, labels, records=records, draws=20_000, seed=3)
    known = {"noise_stddevs": NOISE, "labels": labels, "records": records}

    def error(**kwargs):
        guess = decoder.fit(features, images, ridge=1e-6, **kwargs)(means)
        return float((guess - targets).square().mean())

    informed = error(**known)
    assert informed < 0.97 * error(), (informed, error())
    if records > 1:
        assert informed < error(noise_stddevs=NOISE), informed
    assert informed < error(**known | {"noise_stddevs": 5 * NOISE})


def test_fits_that_contradict_themselves_are_refused():
    features, images, labels = public()
    for change, said in (
        ({"records": 0}, "records"),
        ({"ridge": -1.0}, "ridge"),
        ({"noise_stddevs": NOISE[:2]}, r"float\[5\]"),
        ({"labels": labels[:5]}, r"int64\[60\]"),
    ):
        with pytest.raises(ParameterError, match=said):
            decoder.fit(features, images, **change)
    with pytest.raises(ParameterError, match="same N"):
        decoder.fit(features[:5], images)


def view_of(features):
    uploads = torch.stack([features + 0.1, features - 0.1], dim=1)
    return SeenPrototypes(uploads=uploads, noise_stddevs=torch.full((2, DIM), 0.1).double())


def test_linear_decoding_decodes_the_combination_of_all_rounds():
    features, images, _ = public()
    model = decoder.fit(features, images)
    torch.testing.assert_close(
        LinearDecoding(decoder=model).reconstruct(view_of(features)), model(features)
    )


QUICK = {
    "mlp": Training(kind="mlp", width=32, steps=300, learning_rate=1e-2),
    "conv": Training(kind="conv", width=8, steps=300, learning_rate=1e-2),
}


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_a_trained_decoder_beats_the_mean_picture(kind):
    features, images, _ = public(300)
    images = images.float()
    model = train(features, images, QUICK[kind])
    fresh, truth, _ = public(300)
    guess = NeuralDecoding(decoder=model).reconstruct(view_of(fresh))
    assert guess.shape == images.shape and 0.0 <= float(guess.min()) <= float(guess.max()) <= 1.0
    error = float((guess - truth).square().mean())
    blind = float((images.mean(dim=0) - truth).square().mean())
    assert error < 0.5 * blind, (error, blind)


def test_training_on_noisy_means_beats_training_on_clean_features():
    features, images, labels = public(300)
    known = {"noise_stddevs": 2 * NOISE, "labels": labels, "records": 3}
    noisy = train(features, images.float(), QUICK["mlp"], **known)
    clean = train(features, images.float(), QUICK["mlp"])
    generator = torch.Generator().manual_seed(3)
    means, targets = sampled(features, images, labels, records=3, draws=4000, seed=4)
    extra = 3**0.5 * NOISE * torch.randn(4000, DIM, generator=generator, dtype=torch.float64)
    means = means + extra  # 1 + 3 = 4 times the variance
    errors = [float((model(means) - targets).square().mean()) for model in (noisy, clean)]
    assert errors[0] < 0.9 * errors[1], errors


def test_equal_seeds_give_equal_decoders_and_odd_sizes_are_kept():
    features, images, _ = public()
    wide = torch.nn.functional.interpolate(images.float(), size=[7, 5])
    short = Training(kind="conv", width=4, steps=3)
    first, second = (train(features, wide, short) for _ in range(2))
    assert first(features).shape == wide.shape
    assert torch.equal(first(features), second(features))
    other = train(features, wide, Training(kind="conv", width=4, steps=3, seed=1))
    assert not torch.equal(first(features), other(features))
    assert not any(w.requires_grad for w in first.weights.values())


def test_the_cache_gives_what_training_gives_and_mends_itself(tmp_path, monkeypatch):
    features, images, labels = public()
    short = Training(width=8, steps=5)
    given = (features, images.float(), short)
    wanted = train(*given, labels=labels, records=2)(features)
    assert torch.equal(
        decoder_cache.cached_decoder(tmp_path, *given, labels=labels, records=2)(features), wanted
    )
    (file,) = tmp_path.iterdir()
    trainings = []
    monkeypatch.setattr(
        decoder_cache, "train", lambda *a, **k: trainings.append(1) or train(*a, **k)
    )
    again = decoder_cache.cached_decoder(tmp_path, *given, labels=labels, records=2)
    assert torch.equal(again(features), wanted) and trainings == []
    file.write_bytes(file.read_bytes()[:-1] + b"x")  # damaged: trained anew
    mended = decoder_cache.cached_decoder(tmp_path, *given, labels=labels, records=2)
    assert torch.equal(mended(features), wanted) and trainings == [1]
    decoder_cache.cached_decoder(tmp_path, *given, labels=labels, records=3)
    assert trainings == [1, 1] and len(list(tmp_path.iterdir())) == 2


def test_trainings_that_cannot_be_are_refused():
    features, images, _ = public()
    with pytest.raises(ParameterError, match="kind"):
        Training(kind="gan")
    with pytest.raises(ParameterError, match="steps"):
        Training(steps=0)
    with pytest.raises(ParameterError, match="features must be"):
        train(features[:3], images.float(), Training())
    with pytest.raises(ParameterError, match="diverged"):
        train(features, torch.full_like(images, torch.nan).float(), Training(steps=2))
