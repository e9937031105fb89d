import pytest
import torch

from privassay.accountant.errors import DesignError
from privassay.attacks.inversion.candidates import Candidates, SeenPrototypes, seen_prototypes
from privassay.fl_core.transcript import Transcript


def seen(stddevs, trials=4, seed=0):
    stddevs = torch.tensor(stddevs, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(trials, *stddevs.shape, generator=generator, dtype=torch.float64)
    return SeenPrototypes(uploads=draws * stddevs, noise_stddevs=stddevs)


def test_rounds_are_weighted_by_inverse_variance():
    view = seen([[1.0, 2.0, 0.1], [3.0, 2.0, 0.2], [0.5, 2.0, 7.0]])
    found = view.combined()
    weights = 1.0 / view.noise_stddevs.square()  # naive twin
    wanted = (view.uploads * weights).sum(dim=1) / weights.sum(dim=0)
    torch.testing.assert_close(found.mean, wanted)
    torch.testing.assert_close(found.stddev, weights.sum(dim=0).rsqrt())


def test_equal_noise_gives_the_plain_mean_and_root_t():
    view = seen([[0.3] * 5] * 4)
    torch.testing.assert_close(view.combined().mean, view.uploads.mean(dim=1))
    torch.testing.assert_close(view.combined().stddev, torch.full((5,), 0.15).double())


def test_the_stated_noise_is_that_of_the_combination():
    view = seen([[1.0, 0.2], [2.0, 0.2], [0.7, 5.0]], trials=40_000)
    found = view.combined()
    ratio = found.mean.std(dim=0) / found.stddev
    assert (ratio - 1.0).abs().max() < 0.02, ratio  # 5.6 standard errors of a spread
    others = view.uploads.mean(dim=1).std(dim=0)
    assert (found.stddev < 0.9 * others).all()  # and less than that of the plain mean


def test_where_a_round_has_no_noise_only_such_rounds_count():
    view = SeenPrototypes(
        uploads=torch.tensor([[[5.0, 1.0], [7.0, 2.0], [6.0, 4.0]]]),
        noise_stddevs=torch.tensor(
            [[1.0, 1e-200], [0.0, 1e200], [0.0, 1e-200]], dtype=torch.float64
        ),
    )
    found = view.combined()
    assert found.mean[0, 0] == 6.5 and found.stddev[0] == 0.0
    assert found.mean[0, 1] == 2.5 and 0.0 < found.stddev[1] < 1e-200  # no overflow either


def test_each_adversary_sees_its_own_releases():
    uploads = torch.randn(6, 3, 2, 4, 5)  # replicas, rounds, clients, classes, dim
    transcript = Transcript(uploads=uploads, broadcasts=uploads.mean(dim=2))
    stddevs = torch.rand(5).double()
    found = {
        name: seen_prototypes(
            transcript.view(name), client=1, label=2, noise_stddevs=stddevs
        ).uploads.float()
        for name in ("server", "peer", "outsider")
    }
    assert torch.equal(found["server"], uploads[:, :, 1, 2])
    assert torch.equal(found["peer"], uploads.mean(dim=2)[:, :, 2])
    assert torch.equal(found["outsider"], uploads.mean(dim=2)[:, -1:, 2])
    alone = Transcript(uploads=uploads[0], broadcasts=uploads[0].mean(dim=1)).view("server")
    one = seen_prototypes(alone, client=0, label=3, noise_stddevs=stddevs)
    assert one.uploads.shape == (1, 3, 5) and one.noise_stddevs.shape == (3, 5)


@pytest.mark.parametrize(
    ("uploads", "stddevs", "said"),
    [
        ((2, 3, 4), (2, 4), r"\[2, 3, 4\] and \[2, 4\]"),
        ((2, 0, 4), (0, 4), "nothing was seen"),
        ((3, 4), (4,), "uploads must be"),
    ],
)
def test_views_that_contradict_themselves_are_refused(uploads, stddevs, said):
    with pytest.raises(DesignError, match=said):
        SeenPrototypes(uploads=torch.zeros(uploads), noise_stddevs=torch.zeros(stddevs))


def test_numbers_that_are_none_are_refused():
    good = {"uploads": torch.zeros(1, 1, 2), "noise_stddevs": torch.zeros(1, 2)}
    for change, said in (
        ({"uploads": torch.full((1, 1, 2), torch.nan)}, "finite"),
        ({"noise_stddevs": torch.full((1, 2), torch.inf)}, "finite"),
        ({"noise_stddevs": torch.full((1, 2), -1.0)}, ">= 0"),
    ):
        with pytest.raises(DesignError, match=said):
            SeenPrototypes(**good | change)


def test_candidates_must_be_in_the_pool():
    images, features = torch.zeros(5, 3, 2, 2), torch.zeros(5, 4)
    Candidates(images=images, features=features, rows=torch.tensor([[0, 4]]))
    for rows in ([[0, 5]], [[-1, 0]]):
        with pytest.raises(DesignError, match="0..4"):
            Candidates(images=images, features=features, rows=torch.tensor(rows))
    with pytest.raises(DesignError, match="int64"):
        Candidates(images=images, features=features, rows=torch.zeros(1, 2))
    with pytest.raises(DesignError, match="pool"):
        Candidates(images=images, features=features[:4], rows=torch.tensor([[0]]))
