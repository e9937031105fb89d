import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from privassay.accountant.errors import ConfigError
from privassay.accountant.ledger import Ledger
from privassay.fl_core import config, simulate, worlds
from privassay.mechanisms import catalog
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.prototypes import PrototypeDesign

CLIENTS, CLASSES, DIM, ROUNDS = 3, 2, 10, 2
DESIGN = PrototypeDesign(
    mu=1.0,
    rounds=ROUNDS,
    adjacency="add-remove",
    clip_norm=2.0,
    group_sizes=(4, 6),
    group_norms=(1.5, 1.0),
    public_count=8,
)
KINDS = ("none", "igpp", "vpp", "groupwise_global_clip", "noise_halved")


@pytest.fixture(scope="module")
def task():
    """What worlds look at: features, labels, names. Client 2 has no record of class 1."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(CLIENTS, 16, DIM, generator=generator, dtype=torch.float64)
    y = torch.arange(16).remainder(2).repeat(CLIENTS, 1)
    y[2] = 0
    return SimpleNamespace(
        clients=("a", "b", "c"), classes=CLASSES, class_names=("0", "1"), train_x=x, train_y=y
    )


def mechanism(kind="igpp"):
    return catalog.build(kind, DESIGN)


def target_of(task, kind="igpp", client=0, label=1):
    return worlds.choose_target(task, mechanism(kind), client=client, label=label)


def run(task, indices, kind="igpp", *, adjacency="add-remove", peers=False, seed=1, target=None):
    blocks = list(
        worlds.trials(
            task,
            mechanism(kind),
            target or target_of(task, kind),
            indices=indices,
            adjacency=adjacency,
            rounds=ROUNDS,
            with_peers=peers,
            key=SeededKey(seed),
        )
    )
    joined = torch.cat([b[0] for b in blocks])
    uploads = [torch.cat([b[w].uploads for b in blocks]) for w in (1, 2)]
    broadcasts = [torch.cat([b[w].broadcasts for b in blocks]) for w in (1, 2)]
    return joined, uploads, broadcasts


def prototype(kind, records):
    labels = torch.zeros(len(records), dtype=torch.int64)
    return mechanism(kind).statistic(records, labels, 1)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_strongest_record_attains_the_maximum(task, kind):
    target = target_of(task, kind)
    assert target.records.shape == (8, DIM)
    shifts = []
    for i in range(8):
        one = mechanism(kind).contribution(target.records[i : i + 1])[0]
        variance = 0.0
        start = 0
        for size, stddev in zip(
            mechanism(kind).group_sizes, mechanism(kind).noise_stddevs, strict=True
        ):
            part = one[start : start + size]
            variance += float(part @ part) / (stddev**2 if stddev > 0 else 1.0)
            start += size
        shifts.append(variance)
    assert shifts[target.strongest] == pytest.approx(max(shifts), rel=1e-12), shifts


def test_a_target_that_does_not_exist_is_refused(task):
    with pytest.raises(ConfigError, match="target_class = 2, but the classes are 0..1"):
        target_of(task, label=2)
    with pytest.raises(ConfigError, match="client c holds fewer than 2 records of 1"):
        target_of(task, client=2)


def test_neighbours_of_the_three_adjacencies():
    records = torch.arange(1.0, 9.0, dtype=torch.float64).reshape(4, 2)
    kept = records.clone()
    gone = worlds.neighbour(records, 1, "add-remove")
    assert torch.equal(gone, records[[0, 2, 3]])
    zeroed = worlds.neighbour(records, 1, "zero-out")
    swapped = worlds.neighbour(records, 1, "replace-one")
    for changed, row in ((zeroed, torch.zeros(2).double()), (swapped, -records[1])):
        assert torch.equal(changed[1], row)
        assert torch.equal(changed[[0, 2, 3]], records[[0, 2, 3]])
    assert torch.equal(records, kept), "the records themselves were changed"
    for index in (0, 3):
        assert len(worlds.neighbour(records, index, "add-remove")) == 3
    assert worlds.neighbour(records[:1], 0, "add-remove").shape == (0, 2)


@pytest.mark.parametrize("kind", ["none", "vpp", "noise_halved"])
@pytest.mark.parametrize("adjacency", ["add-remove", "zero-out", "replace-one"])
def test_the_worlds_differ_by_the_record_s_contribution(task, kind, adjacency):
    target = target_of(task, kind)
    index = 3
    count = 2 if kind == "none" else 4000
    _, (present, absent), _ = run(
        task, torch.full((count,), index), kind, adjacency=adjacency, target=target
    )
    one = mechanism(kind).contribution(target.records[index : index + 1])[0]
    wanted = one * (2.0 if adjacency == "replace-one" else 1.0) / DESIGN.public_count
    found = present.mean(dim=(0, 1, 2, 3)) - absent.mean(dim=(0, 1, 2, 3))
    if kind == "none":
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-15)
        return
    error = worlds.noise_scale(mechanism(kind)) * math.sqrt(2 / (count * ROUNDS))
    z = float(((found - wanted) / error).abs().max())
    assert z < 5.5, f"off by {z} standard errors"
    if kind == "vpp":  # and the difference is there: the test would see it missing
        assert float((wanted / error).abs().max()) > 6


def test_each_trial_lacks_its_own_record(task):
    target = target_of(task, "none")
    indices = torch.tensor([2, 0, 7, 2])
    joined, (present, absent), _ = run(task, indices, "none")
    assert torch.equal(joined, indices)
    for trial, index in enumerate(indices.tolist()):
        rest = torch.arange(8) != index
        wanted = prototype("none", target.records[rest])
        for round_ in range(ROUNDS):
            torch.testing.assert_close(absent[trial, round_, 0, 0], wanted)
            torch.testing.assert_close(
                present[trial, round_, 0, 0], prototype("none", target.records)
            )


def test_no_noise_is_shared_by_trials_rounds_clients_or_worlds(task):
    target = target_of(task, "igpp")
    _, uploads, _ = run(task, torch.full((600,), 1), peers=True)
    means = torch.stack([prototype("igpp", target.records)] + [torch.zeros(DIM).double()] * 2)
    noise = torch.stack([u[:, :, :, 0] - means for u in uploads])
    assert noise.shape == (2, 600, ROUNDS, CLIENTS, DIM)
    # Coordinates of the others carry their own mean, which is the same everywhere: remove it.
    values = noise[..., 0].flatten(1)
    assert len(torch.unique(values.round(decimals=12))) == values.numel()
    centred = noise - noise.mean(dim=(0, 1, 2), keepdim=True)
    columns = centred.permute(1, 0, 2, 3, 4).flatten(1)
    columns = columns / columns.std(dim=0)
    off = (columns.T @ columns / 600).fill_diagonal_(0.0).abs()
    assert float(off.max()) < 6.5 / 600**0.5, f"correlation {float(off.max())}"


@pytest.mark.parametrize("peers", [False, True])
def test_fewer_trials_are_the_first_of_more(task, peers):
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(0, 8, (1203,), generator=generator)
    _, more, more_sent = run(task, indices, peers=peers)
    for count in (1, 499, 500, 501, 1000):
        _, few, few_sent = run(task, indices[:count], peers=peers)
        for world in (0, 1):
            assert torch.equal(few[world], more[world][:count]), f"{count} trials, world {world}"
            assert torch.equal(few_sent[world], more_sent[world][:count])


def test_a_block_does_not_depend_on_the_blocks_before_it(task, monkeypatch):
    indices = torch.full((1100,), 1)
    _, whole, _ = run(task, indices)
    other = indices.clone()
    other[:500] = 2
    _, changed, _ = run(task, other)
    for world in (0, 1):
        assert torch.equal(whole[world][500:], changed[world][500:])


def test_seeds_change_the_noise(task):
    first, second = (run(task, torch.full((5,), 1), seed=s)[1][0] for s in (1, 2))
    assert not torch.equal(first, second)


def test_the_peer_view_has_the_noise_of_all_clients(task):
    count = 4000
    _, uploads, broadcasts = run(task, torch.full((count,), 1), "vpp", peers=True)
    assert uploads[0].shape == (count, ROUNDS, CLIENTS, 1, DIM)
    for world in (0, 1):
        torch.testing.assert_close(broadcasts[world][:, 0], uploads[world][:, 0].mean(dim=1))
        torch.testing.assert_close(
            broadcasts[world][:, -1], uploads[world].mean(dim=(1, 2)), rtol=1e-9, atol=1e-12
        )
    noise = broadcasts[1][:, -1, 0] - broadcasts[1][:, -1, 0].mean(dim=0)
    wanted = worlds.noise_scale(mechanism("vpp")) / math.sqrt(CLIENTS * ROUNDS)
    ratio = noise.std(dim=0) / wanted
    assert float((ratio - 1).abs().max()) < 5.5 / math.sqrt(2 * count), ratio
    # The target is the first row; a client without a record of the class sends noise around zero.
    x, y = task.train_x, task.train_y
    for row, client in ((1, 1), (2, 2)):
        records = x[client][y[client] == 1]
        gap = uploads[0][:, :, row, 0].mean(dim=(0, 1)) - prototype("vpp", records)
        error = worlds.noise_scale(mechanism("vpp")) / math.sqrt(count * ROUNDS)
        assert float((gap / error).abs().max()) < 5.5


def test_without_peers_only_the_target_uploads(task):
    _, uploads, _ = run(task, torch.full((3,), 1))
    assert uploads[0].shape == (3, ROUNDS, 1, 1, DIM)


def test_noise_scale_is_the_declared_one_and_one_where_there_is_none():
    scale = worlds.noise_scale(mechanism("vpp"))
    quiet, loud = mechanism("vpp").noise_stddevs
    assert scale.tolist() == [quiet] * 4 + [loud] * 6
    assert worlds.noise_scale(mechanism("none")).tolist() == [1.0] * 10
    halved = worlds.noise_scale(mechanism("noise_halved"))
    assert torch.equal(halved, worlds.noise_scale(mechanism("igpp")))


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_broadcasts_equal_a_loop(lead):
    uploads = torch.randn(*lead, 4, 3, 2, 5, generator=torch.Generator().manual_seed(0))
    whole = worlds.heard(uploads)
    assert whole.uploads is uploads and whole.broadcasts.shape == (*lead, 4, 2, 5)
    for index in itertools.product(*[range(n) for n in lead]):
        for round_ in range(4):
            total = torch.zeros(2, 5)
            for r in range(round_ + 1):
                for client in range(3):
                    total += uploads[(*index, r, client)]
            wanted = total / (3 * (round_ + 1))
            torch.testing.assert_close(
                whole.broadcasts[(*index, round_)], wanted, rtol=1e-5, atol=1e-6
            )


class Tape:
    """A key that hands out known normals: to the run round by round, to a trial by client."""

    fingerprint = "system"

    def __init__(self, normals, label, rounds=None, names=()):
        self.normals, self.label, self.names = normals, label, names
        self.rounds = iter(normals) if rounds is None else rounds

    def child(self, *names):
        return Tape(self.normals, self.label, self.rounds, (*self.names, *names))

    def normal(self, *shape):
        if self.names[0] == "noise":
            found = next(self.rounds)
        else:  # ("in" or "out", block, client, and what the mechanism adds)
            found = self.normals[:, self.names[2], self.label].view(1, ROUNDS, 1, DIM)
        assert found.shape == shape
        return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adjacency", ["add-remove", "zero-out", "replace-one"])
def test_a_trial_is_what_the_federation_releases_given_the_same_normals(
    task, kind, adjacency, tmp_path
):
    label, index, used = 1, 3, mechanism(kind)
    generator = torch.Generator().manual_seed(7)
    normals = torch.randn(ROUNDS, CLIENTS, CLASSES, DIM, generator=generator, dtype=torch.float64)
    ((_, present, absent),) = worlds.trials(
        task,
        used,
        target_of(task, kind),
        indices=torch.tensor([index]),
        adjacency=adjacency,
        rounds=ROUNDS,
        with_peers=True,
        key=Tape(normals, label),
    )
    audit = config.parse(
        {
            "title": "small",
            "claim": {"mu": 1.0, "adjacency": adjacency, "unit": "example"},
            "data": {"source": "optdigits"},
            "release": {"clip_norm": 2.0, "public_count": 8, "rounds": ROUNDS},
            "mechanism": [{"name": "igpp", "kind": "igpp"}],
            "attack": [{"name": "informed_linear", "adversary": "server"}],
        }
    )
    # A record that is absent adds what a record of zeros adds: nothing.
    other = task.train_x.clone()
    place = (task.train_y[0] == label).nonzero()[index, 0]
    other[0, place] = -other[0, place] if adjacency == "replace-one" else 0.0
    for name, trial, x in (("in", present, task.train_x), ("out", absent, other)):
        whole = simulate.release(
            SimpleNamespace(**{**vars(task), "train_x": x}),
            used,
            audit,
            key=Tape(normals, label),
            ledger=Ledger(adjacency="add-remove", unit="example"),
            folder=tmp_path / name,
            name="test",
        )
        one = slice(label, label + 1)
        for found, wanted in (
            (whole.uploads[:, :, one], trial.uploads[0]),
            (whole.broadcasts[:, one], trial.broadcasts[0]),
        ):
            # A recording has single precision; sums of records may differ in their last bit.
            torch.testing.assert_close(found, wanted.float(), rtol=2e-7, atol=1e-12)
    gap = present.uploads - absent.uploads
    assert float(gap[:, :, 0].abs().max()) > 0.01, "the worlds do not differ"
