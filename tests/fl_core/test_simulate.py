import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError, LedgerError
from privassay.accountant.ledger import Ledger
from privassay.fl_core import config, simulate
from privassay.fl_core.algorithms.method import Uploads
from privassay.fl_core.task import build, group_sizes
from privassay.fl_core.transcript import Transcript
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


@pytest.fixture
def release(task, tmp_path_factory):
    """(kind, ...) -> what left a run, by default in a folder of its own."""

    def build_and_run(
        kind="igpp", *, key=None, book=None, rounds=ROUNDS, of=None, mechanism=None, folder=None
    ):
        return simulate.release(
            of or task,
            mechanism or catalog.build(kind, design(task)),
            audit(release=SETTINGS["release"] | {"rounds": rounds}),
            key=SeededKey(1) if key is None else key,
            ledger=ledger() if book is None else book,
            folder=folder or tmp_path_factory.mktemp("transcript"),
            name="test",
        )

    return build_and_run


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
def test_uploads_are_the_statistic_plus_noise_of_the_declared_size(task, release, kind):
    from scipy.stats import chi2

    mechanism = catalog.build(kind, design(task))
    found = release(kind, rounds=40)
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


def test_without_noise_uploads_are_the_class_sums(task, release):
    found = release("none")
    for client in range(3):
        for label in range(10):
            rows = task.train_x[client][task.train_y[client] == label]
            wanted = sum(r * min(1.0, 1.0 / float(r.norm())) for r in rows) / 5
            for round_ in range(ROUNDS):
                torch.testing.assert_close(found.uploads[round_, client, label].double(), wanted)
    torch.testing.assert_close(found.broadcasts[0], found.uploads[0].mean(dim=0))
    torch.testing.assert_close(found.final, found.broadcasts[0])


def test_the_same_key_gives_the_same_run_and_another_key_another(release):
    first, again, other = (release(key=SeededKey(s)) for s in (1, 1, 2))
    assert torch.equal(first.uploads, again.uploads)
    assert not torch.equal(first.uploads, other.uploads)


def test_earlier_rounds_do_not_depend_on_the_number_of_rounds(release):
    few, many = release(rounds=2), release(rounds=5)
    assert torch.equal(few.uploads, many.uploads[:2])
    assert torch.equal(few.broadcasts, many.broadcasts[:2])


def test_the_ledger_holds_every_release_and_costs_the_budget(task, release):
    with ledger() as book:
        release(book=book)
        assert len(book.entries) == ROUNDS * 3 * 10
        places = {(e.client, e.label, e.round) for e in book.entries}
        assert len(places) == len({e.noise for e in book.entries}) == ROUNDS * 3 * 10
        assert {e.release for e in book.entries} == {"prototype of run test"}
        assert {e.client for e in book.entries} == set(task.clients)
        assert {e.label for e in book.entries} == set(task.class_names)
        assert {e.round for e in book.entries} == set(range(ROUNDS))
        mu = account(book.event(), adjacency="add-remove").mu.upper
        assert 1 - 1e-9 < mu <= 1.0
        release(book=book)  # the same seeded noise again: the same values
        assert account(book.event(), adjacency="add-remove").mu.upper == mu
        release(book=book, key=SystemKey())
        both = account(book.event(), adjacency="add-remove").mu.upper
        assert both == pytest.approx(2**0.5, rel=1e-9)


def test_another_release_under_the_same_noise_is_refused_before_it_leaves(release, tmp_path):
    with ledger() as book:
        release(book=book)
        with pytest.raises(LedgerError, match="already used"):
            release("vpp", book=book, folder=tmp_path)
        assert len(book.entries) == ROUNDS * 3 * 10
    assert not Transcript.load(tmp_path).uploads.any(), "something left"


def test_it_is_in_the_ledger_before_the_value_is_made(task, release):
    told, calls = [], []

    class Book(Ledger):
        def write(self, entries):
            super().write(entries)
            told.append(len(self.entries))

    class Watched:
        twin = catalog.build("igpp", design(task))

        def __getattr__(self, name):
            return getattr(self.twin, name)

        def perturb(self, prototypes, key):
            assert told, "a value was made before it was written down"
            calls.append((told[-1], len(prototypes)))
            return self.twin.perturb(prototypes, key)

    release(mechanism=Watched(), rounds=2, book=Book(adjacency="add-remove", unit="example"))
    assert calls == [(30, 3), (60, 3)]  # a call makes a round of all clients


def test_a_ledger_that_refuses_stops_the_release(release, tmp_path):
    class Full(Ledger):
        def write(self, entries):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        release(book=Full(adjacency="add-remove", unit="example"), rounds=1, folder=tmp_path)
    assert not Transcript.load(tmp_path).uploads.any(), "something left"


def test_a_damaged_transcript_is_written_anew(release, tmp_path):
    whole = release(folder=tmp_path)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    (tmp_path / "uploads.npy").unlink()
    (tmp_path / "broadcast-prototypes.npy").write_bytes(b"torn")
    again = release(folder=tmp_path)
    assert torch.equal(again.uploads, whole.uploads)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files


def test_a_nan_record_in_the_task_equals_an_absent_one(task, release):
    bad = task.train_x.clone()
    bad[1, 7, 3] = math.nan
    first = release(of=replace(task, train_x=bad)).uploads.double()
    assert torch.isfinite(first).all()
    mechanism = catalog.build("igpp", design(task))
    absent = task.train_y.clone()
    absent[1, 7] = -1  # padding, to a mechanism
    with_it, without = (mechanism.statistic(task.train_x, y, 10) for y in (task.train_y, absent))
    moved = (release().uploads.double() - first) - (with_it - without)
    assert float(moved.abs().max()) < 2e-7 < 1e-3 < float((with_it - without).abs().max())


WEIGHTED = {**SETTINGS["training"], "learning_rate": 0.5}


@pytest.fixture(scope="module")
def accuracies(task):
    def compute(kinds, **training):
        used = {name: catalog.build(kind, design(task)) for name, kind in kinds.items()}
        return simulate.utility(task, used, audit(training=WEIGHTED | training), key=SeededKey(9))

    return compute


def test_utility_does_not_depend_on_the_other_variants(accuracies):
    whole = accuracies({"a": "none", "b": "igpp"})
    assert list(whole) == ["a", "b", "random-prototypes", "local-only"]
    alone = accuracies({"a": "none"})
    for name, found in alone.items():
        assert found.head.shape == found.prototype.shape == (2, 3)
        assert torch.equal(found.head, whole[name].head), name
        assert torch.equal(found.prototype, whole[name].prototype), name
    assert ((whole["a"].prototype > 0.3) & (whole["a"].prototype <= 1)).all()  # chance is 0.1
    assert (whole["random-prototypes"].prototype < 0.3).all()


def test_training_alone_ignores_what_it_receives(accuracies):
    first, second = (accuracies({"a": kind}) for kind in ("none", "igpp"))
    assert torch.equal(first["local-only"].head, second["local-only"].head)
    assert not torch.equal(first["a"].prototype, second["a"].prototype)


def test_variants_share_initial_models_and_orders(accuracies):
    """Without a pull nothing is left in which they differ."""
    found = accuracies({"a": "none", "b": "igpp"}, prototype_weight=0.0)
    for name, one in found.items():
        assert torch.equal(one.head, found["local-only"].head), name
    assert not torch.equal(found["a"].head[0], found["a"].head[1]), "seeds do not differ"
    pulled = accuracies({"a": "none"}, prototype_weight=1.0)
    assert not torch.equal(pulled["a"].head, found["a"].head), "the pull does nothing"


def test_utility_is_what_the_released_prototypes_are_worth(task, accuracies, release):
    """The replica of seed 0 receives what the audited run with the same key releases."""
    found = accuracies({"a": "igpp"})["a"].prototype[0]
    final = release(key=SeededKey(9)).final
    for client in range(3):
        x = task.test_x[client].float()
        cosine = torch.nn.functional.normalize(final, dim=1) @ x.T
        right = (cosine.argmax(dim=0) == task.test_y[client]).double().mean()
        assert found[client] == right


def test_random_prototypes_have_the_norms_but_not_the_directions(task):
    generator = torch.Generator().manual_seed(0)
    arriving = torch.randn(2, 3, 10, 1, 12, generator=generator, dtype=torch.float64)
    arriving[:, :, 4] = 0.0
    method = simulate.RandomDirections(weight=1.0, average_rounds=True)
    here, replicas = torch.ones(2, 3, dtype=torch.bool), torch.arange(2)

    def served(key, rounds):
        state = method.start(replicas, classes=10, dim=12, key=key)
        for round_ in range(rounds):
            received = Uploads((round_ + 1.0) * arriving, here, replicas)
            state = method.serve(state, received, round=round_, key=key)
        return state

    key = SeededKey(1)
    for rounds in (1, 2):
        found, like = served(key, rounds)["random"], arriving.mean(dim=1)[:, :, 0]
        like = like * (1 + rounds) / 2  # the mean over the rounds
        torch.testing.assert_close(found.norm(dim=-1), like.norm(dim=-1))
        cosine = torch.nn.functional.cosine_similarity(found, like, dim=-1)
        assert abs(float(cosine.mean())) < 5 / math.sqrt(12 * cosine.numel())
        assert not found[:, 4].any()
    first, second = (served(key, rounds)["random"] for rounds in (1, 2))
    unit = torch.nn.functional.cosine_similarity(first, second, dim=-1)
    assert float(unit.abs().max()) < 0.99, "directions are drawn anew in every round"
    assert torch.equal(served(key, 2)["random"], second)
    assert not torch.equal(second[0], second[1]), "replicas differ"
    assert method.context({"random": first})["held"].sum() == 2 * 9


def test_names_that_would_share_noise_are_refused(task):
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
