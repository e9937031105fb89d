import math

import numpy as np
import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError, LedgerError
from privassay.accountant.ledger import Ledger
from privassay.fl_core import config, simulate
from privassay.fl_core.task import build, group_sizes
from privassay.mechanisms import catalog
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.prototypes import PrototypeDesign

SETTINGS = {
    "title": "small",
    "claim": {"mu": 1.0, "adjacency": "add-remove", "unit": "example"},
    "data": {"source": "optdigits", "clients": 3, "train_per_class": 5, "test_per_class": 3},
    "model": {"backbone": "pixels", "image_size": 8, "dimensions": 12, "public_images": 64},
    "release": {"clip_norm": 1.0, "public_count": 5, "rounds": 3},
    "training": {"seeds": 2, "local_epochs": 2, "batch_size": 16, "adapter_width": 4},
    "mechanism": [{"name": "igpp", "kind": "igpp"}],
    "attack": [{"name": "informed_linear", "adversary": "server"}],
}
ROUNDS = 3


def audit(**changes):
    sections = {**SETTINGS, **changes}
    return config.parse(sections)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("PRIVASSAY_CACHE", str(tmp_path_factory.mktemp("cache")))
    with patch.context():
        made = build(audit(), folder=tmp_path_factory.mktemp("audit"), say=lambda text: None)
    patch.undo()
    return made


def design(task, **changes):
    fields = {
        "mu": 1.0,
        "rounds": ROUNDS,
        "adjacency": "add-remove",
        "clip_norm": 1.0,
        "group_sizes": task.group_sizes,
        "group_norms": (0.8, 0.6),
        "public_count": 5,
    }
    return PrototypeDesign(**(fields | changes))


def ledger():
    return Ledger(adjacency="add-remove", unit="example")


def release(task, kind="igpp", key=None, book=None, rounds=ROUNDS):
    mechanism = catalog.build(kind, design(task))
    key = SeededKey(1) if key is None else key
    return simulate.release(
        task, mechanism, rounds=rounds, key=key, ledger=ledger() if book is None else book
    )


def test_the_task_holds_what_the_file_asks_for(task):
    assert task.clients == ("optdigits-0", "optdigits-1", "optdigits-2")
    assert task.train_x.shape == (3, 50, 12) and task.train_x.dtype == torch.float64
    assert task.test_x.shape == (3, 30, 12)
    for row in task.train_y:
        assert row.bincount().tolist() == [5] * 10
    assert sum(task.group_sizes) == 12 and task.group_sizes == (4, 8)
    assert torch.isfinite(task.train_x).all()
    assert len(task.hashes) == 7


def test_features_are_those_of_the_pictures_through_the_differentiable_path(task):
    pictures = torch.from_numpy(task.train[1].images).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(task.encode(pictures), task.train_x[1], rtol=1e-5, atol=1e-5)


def test_no_picture_is_held_twice(task):
    seen = [image.tobytes() for s in (*task.train, *task.test) for image in s.images]
    assert len(set(seen)) == len(seen) == 3 * 80


@pytest.mark.parametrize("kind", ["igpp", "vpp", "noise_halved"])
def test_uploads_are_the_statistic_plus_noise_of_the_declared_size(task, kind):
    from scipy.stats import chi2

    mechanism = catalog.build(kind, design(task))
    found = release(task, kind, rounds=40)
    assert found.uploads.shape == (40, 3, 10, 12)
    statistic = mechanism.statistic(task.train_x, task.train_y, 10)
    noise = found.uploads - statistic
    true = 0.5 if kind == "noise_halved" else 1.0
    parts = noise.split(mechanism.group_sizes, dim=-1)
    for part, stddev in zip(parts, mechanism.noise_stddevs, strict=True):
        low, high = (chi2.ppf(p, part.numel()) / part.numel() for p in (5e-7, 1 - 5e-7))
        ratio = float(part.square().mean()) / (true * stddev) ** 2
        assert low < ratio < high, f"{ratio} not in {low}..{high}"
    assert len(torch.unique(noise)) == noise.numel(), "noise is shared between uploads"


def test_without_noise_uploads_are_the_class_sums(task):
    found = release(task, "none")
    for client in range(3):
        for label in range(10):
            rows = task.train_x[client][task.train_y[client] == label]
            wanted = sum(r * min(1.0, 1.0 / float(r.norm())) for r in rows) / 5
            for round_ in range(ROUNDS):
                torch.testing.assert_close(found.uploads[round_, client, label], wanted)
    torch.testing.assert_close(found.broadcasts[0], found.uploads[0].mean(dim=0))
    torch.testing.assert_close(found.final, found.broadcasts[0])


def test_the_same_key_gives_the_same_run_and_another_key_another(task):
    first, again, other = (release(task, key=SeededKey(s)) for s in (1, 1, 2))
    assert torch.equal(first.uploads, again.uploads)
    assert not torch.equal(first.uploads, other.uploads)


def test_earlier_rounds_do_not_depend_on_the_number_of_rounds(task):
    few, many = release(task, rounds=2), release(task, rounds=5)
    assert torch.equal(few.uploads, many.uploads[:2])
    assert torch.equal(few.broadcasts, many.broadcasts[:2])


def test_the_ledger_holds_every_release_and_costs_the_budget(task):
    with ledger() as book:
        release(task, book=book)
        assert len(book.entries) == ROUNDS * 3 * 10
        places = {(e.client, e.label, e.round) for e in book.entries}
        assert len(places) == len({e.noise for e in book.entries}) == ROUNDS * 3 * 10
        mu = account(book.event(), adjacency="add-remove").mu.upper
        assert 1 - 1e-9 < mu <= 1.0
        release(task, book=book)  # the same seeded noise again: the same values
        assert account(book.event(), adjacency="add-remove").mu.upper == mu
        release(task, book=book, key=SystemKey())
        both = account(book.event(), adjacency="add-remove").mu.upper
        assert both == pytest.approx(2**0.5, rel=1e-9)


def test_another_release_under_the_same_noise_is_refused_before_it_leaves(task):
    with ledger() as book:
        release(task, book=book)
        with pytest.raises(LedgerError, match="already used"):
            release(task, "vpp", book=book)
        assert len(book.entries) == ROUNDS * 3 * 10


def test_it_is_in_the_ledger_before_the_value_is_made(task):
    told = []

    class Book:
        def write(self, entries):
            told.append(len(list(entries)))

    class Watched:
        twin = catalog.build("igpp", design(task))

        def __getattr__(self, name):
            return getattr(self.twin, name)

        def perturb(self, prototypes, key):
            assert told, "a value was made before it was written down"
            calls.append(sum(told))
            return self.twin.perturb(prototypes, key)

    calls = []
    simulate.release(task, Watched(), rounds=2, key=SeededKey(0), ledger=Book())
    assert calls == [30] * 3 + [60] * 3


def test_a_ledger_that_refuses_stops_the_release(task):
    class Full:
        def write(self, entries):
            raise OSError("disk full")

    mechanism = catalog.build("igpp", design(task))
    with pytest.raises(OSError, match="disk full"):
        simulate.release(task, mechanism, rounds=1, key=SeededKey(0), ledger=Full())


def test_a_nan_record_in_the_task_equals_an_absent_one(task):
    from dataclasses import replace

    bad, absent = task.train_x.clone(), task.train_y.clone()
    bad[1, 7, 3] = math.nan
    absent[1, 7] = -1
    key = SeededKey(3)
    first = release(replace(task, train_x=bad), key=key)
    assert torch.isfinite(first.uploads).all()
    assert torch.equal(first.uploads, release(replace(task, train_y=absent), key=key).uploads)


@pytest.fixture(scope="module")
def accuracies(task):
    section = audit().training
    broadcasts = {
        name: [release(task, kind, key=SeededKey(s)).broadcasts for s in range(2)]
        for name, kind in (("a", "igpp"), ("b", "none"), ("alone", "none"))
    }

    def compute(names):
        return simulate.utility(
            task,
            {n: broadcasts[n] for n in names},
            section,
            key=SeededKey(9),
            local_only="alone",
        )

    return compute


def test_utility_does_not_depend_on_the_other_variants_of_the_stack(accuracies):
    whole = accuracies(["a", "b", "alone"])
    for name in whole:
        alone = accuracies([name])[name]
        assert whole[name].head.shape == (2, 3)
        torch.testing.assert_close(alone.head, whole[name].head, rtol=0, atol=1e-12)
        torch.testing.assert_close(alone.prototype, whole[name].prototype, rtol=0, atol=1e-12)
    assert ((whole["b"].prototype > 0.3) & (whole["b"].prototype <= 1)).all()  # chance is 0.1


def test_random_prototypes_have_the_norms_but_not_the_directions(task):
    like = release(task).broadcasts
    found = simulate.random_prototypes(like, SeededKey(1))
    torch.testing.assert_close(found.norm(dim=-1), like.norm(dim=-1))
    cosine = torch.nn.functional.cosine_similarity(found, like, dim=-1)
    assert abs(float(cosine.mean())) < 5 / math.sqrt(12 * cosine.numel())
    assert torch.equal(simulate.random_prototypes(0 * like, SeededKey(1)), 0 * like)


def test_names_that_would_share_noise_are_refused(task):
    from dataclasses import replace

    with pytest.raises(ConfigError, match="names of clients must differ"):
        replace(task, clients=("a", "a", "b"))


def test_clients_that_lack_a_class_are_refused_with_the_numbers(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for domain, classes in (("a", "xy"), ("b", "x")):
        for name in classes:
            folder = tmp_path / "pictures" / domain / name
            folder.mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    data = {"source": "folder", "path": "pictures", "clients": 2}
    changed = audit(data=data | {"train_per_class": 2, "test_per_class": 1})
    with pytest.raises(ConfigError, match=r"same classes.*'a': .'x', 'y'., 'b': .'x'."):
        build(changed, folder=tmp_path, say=lambda text: None)


@pytest.mark.parametrize(("fraction", "dimensions"), [(0.1, 4), (0.9, 4), (0.01, 30)])
def test_an_empty_group_is_refused(fraction, dimensions):
    changed = audit(
        model=SETTINGS["model"] | {"dimensions": dimensions},
        release=SETTINGS["release"] | {"leading_fraction": fraction},
    )
    with pytest.raises(ConfigError, match="leaves a group empty"):
        group_sizes(changed)
