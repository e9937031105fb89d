import numpy as np
import pytest

from privassay.accountant.errors import AssetError, ConfigError
from privassay.fl_core.data import assets, digits
from privassay.fl_core.data.splits import OPTDIGITS_RAREST, optdigits_clients, train_test


@pytest.fixture(scope="module")
def mnist_5k():
    try:
        assets.fetch("mnist-5k")
    except AssetError as error:
        if "could not download" in str(error):
            pytest.skip(str(error))
        raise


def rows_of(image_set):
    return {image.tobytes() for image in image_set.images}


@pytest.mark.parametrize("name", digits.DOMAINS)
def test_equal_seeds_give_equal_bytes(mnist_5k, name):
    first, again = (digits.load_domain(name, per_class=4, seed=7) for _ in range(2))
    other = digits.load_domain(name, per_class=4, seed=8)
    assert first.images.shape == (40, 28, 28, 3)
    assert first.images.dtype == np.uint8
    assert np.bincount(first.labels).tolist() == [4] * 10
    assert np.array_equal(first.images, again.images)
    assert first.sha256 == again.sha256 != other.sha256
    assert first.classes == tuple("0123456789")
    assert "seed 7" in first.provenance
    assert "/" not in first.provenance and "\\" not in first.provenance


def test_mnist_and_mnist_m_never_share_a_row(mnist_5k):
    ours, theirs = (set(digits.mnist_rows(name).tolist()) for name in ("mnist", "mnist_m"))
    assert len(ours) == len(theirs) == 2500
    assert not ours & theirs
    # No digit occurs twice under two row numbers either.
    pool, _ = digits._mnist()
    assert len({image.tobytes() for image in pool}) == 5000
    # What is loaded comes from those rows: the whole half is exactly its 2,500 pictures.
    whole = digits.load_domain("mnist", per_class=250, seed=3)
    assert {image[:, :, 0].tobytes() for image in whole.images} == {
        pool[row].tobytes() for row in ours
    }


def test_mnist_m_blends_the_other_half(mnist_5k, monkeypatch):
    # On a black photograph abs(patch - digit) is the digit itself.
    monkeypatch.setattr(digits, "_photos", lambda: (np.zeros((40, 40, 3), dtype=np.uint8),))
    pool, _ = digits._mnist()
    allowed = {pool[row].tobytes() for row in digits.mnist_rows("mnist_m")}
    blended = digits.load_domain("mnist_m", per_class=20, seed=0)
    assert {image[:, :, 1].tobytes() for image in blended.images} <= allowed


@pytest.mark.parametrize(("name", "most"), [("mnist", 250), ("mnist_m", 250), ("optdigits", 174)])
def test_too_many_says_how_many_there_are(mnist_5k, name, most):
    assert len(digits.load_domain(name, per_class=most, seed=0)) == 10 * most
    with pytest.raises(ConfigError, match=f"per_class is {most + 1}, but .* has {most} digits"):
        digits.load_domain(name, per_class=most + 1, seed=0)


def test_synth_makes_any_number():
    assert len(rows_of(digits.load_domain("synth", per_class=300, seed=0))) == 3000


def test_bad_requests_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'mnist_m'"):
        digits.load_domain("mnistm", per_class=1, seed=0)
    with pytest.raises(ConfigError, match="seed must be a whole number >= 0, but is -1"):
        digits.load_domain("synth", per_class=1, seed=-1)


def test_a_missing_asset_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_ASSETS", str(tmp_path))
    with pytest.raises(AssetError, match="privassay assets fetch mnist-5k"):
        digits.load_domain("mnist", per_class=1, seed=0)


def test_public_patches():
    first, again = (digits.public_patches(50, 1) for _ in range(2))
    assert first.shape == (50, 28, 28, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, digits.public_patches(50, 2))


def test_public_patches_are_not_the_backgrounds_of_the_same_seed(mnist_5k, monkeypatch):
    pool, _ = digits._mnist()
    black = (np.zeros_like(pool), digits._mnist()[1])
    monkeypatch.setattr(digits, "_mnist", lambda: black)
    grounds = rows_of(digits.load_domain("mnist_m", per_class=20, seed=1))
    assert not grounds & {patch.tobytes() for patch in digits.public_patches(200, 1)}


def test_train_and_test_are_disjoint():
    everything = digits.load_domain("synth", per_class=9, seed=0)
    train, test = train_test(everything, train_per_class=5, test_per_class=4, seed=2)
    assert np.bincount(train.labels).tolist() == [5] * 10
    assert np.bincount(test.labels).tolist() == [4] * 10
    assert not rows_of(train) & rows_of(test)
    assert rows_of(train) | rows_of(test) == rows_of(everything)
    again = train_test(everything, train_per_class=5, test_per_class=4, seed=2)
    assert (train.sha256, test.sha256) == (again.train.sha256, again.test.sha256)
    with pytest.raises(ConfigError, match="has 9 pictures, but 6 to train and 4 to test need 10"):
        train_test(everything, train_per_class=6, test_per_class=4, seed=2)


def test_optdigits_clients_share_no_picture():
    clients = optdigits_clients(4, per_class=43, seed=0)
    assert [np.bincount(client.labels).tolist() for client in clients] == [[43] * 10] * 4
    assert [client.name for client in clients] == [f"optdigits-{i}" for i in range(4)]
    assert len(set().union(*map(rows_of, clients))) == 1720
    again = optdigits_clients(4, per_class=43, seed=0)
    assert [client.sha256 for client in again] == [client.sha256 for client in clients]
    assert len(optdigits_clients(5, seed=0)[0]) == 10 * (OPTDIGITS_RAREST // 5)
    with pytest.raises(ConfigError, match=f"need 176 of each, but .* has {OPTDIGITS_RAREST}"):
        optdigits_clients(4, per_class=44, seed=0)
    with pytest.raises(ConfigError, match="need 200 of each"):
        optdigits_clients(200, seed=0)
