import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privassay.accountant.errors import ConfigError, ParameterError
from privassay.fl_core.data import canary
from privassay.fl_core.data.membership import coins
from privassay.fl_core.data.partition import dirichlet
from privassay.fl_core.data.pool import Pool
from privassay.fl_core.data.sources import load

PICTURES = load("synth", per_class=4, seed=0)
VECTORS = load("digits_table").take(np.arange(300))
MAKERS = {
    "mislabelled": (canary.mislabelled, PICTURES),
    "blank": (canary.blank, PICTURES),
    "checkerboard": (canary.checkerboard, PICTURES),
    "gradient": (canary.gradient, VECTORS),
}


@pytest.mark.parametrize("name", MAKERS)
def test_canaries_are_appended_and_marked(name):
    make, pool = MAKERS[name]
    planted = make(pool, 12, seed=0)
    assert planted.canaries.tolist() == list(range(len(pool), len(pool) + 12))
    assert np.array_equal(planted.x[: len(pool)], pool.x)
    assert np.array_equal(planted.y[: len(pool)], pool.y)
    content = {(record.tobytes(), int(y)) for record, y in zip(planted.x, planted.y, strict=True)}
    assert len(content) == len(planted)
    assert make(pool, 12, seed=0).sha256 == planted.sha256
    assert make(pool, 12, seed=1).sha256 != planted.sha256 != pool.sha256
    assert "12 " in planted.provenance
    other = {"norm": 1.0} if name == "gradient" else {}  # the same directions again
    assert len(make(planted, 3, seed=5, **other).canaries) == 15


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(MAKERS)), st.integers(1, 12), st.integers(0, 10**6))
def test_planted_canaries_go_through_a_design(name, count, seed):
    make, pool = MAKERS[name]
    planted = make(pool, count, seed=seed)
    partition = dirichlet(planted.y, 3, alpha=1.0, seed=seed, min_size=0)
    design = coins(partition, planted.canaries, seed=seed)
    held = np.concatenate(design.parts(0))
    inside = set(planted.canaries[design.member[0]].tolist())
    assert set(held.tolist()) == inside | set(range(len(pool)))
    assert len(held) == len(inside) + len(pool)


def test_mislabelled_canaries_are_real_pictures_of_another_class():
    planted = canary.mislabelled(PICTURES, 40, seed=0)
    true = {record.tobytes(): int(y) for record, y in zip(PICTURES.x, PICTURES.y, strict=True)}
    wrong = [
        true[planted.x[row].tobytes()] != planted.y[row] for row in planted.canaries
    ]  # KeyError if it were no record of the pool
    assert all(wrong) and len(wrong) == 40
    with pytest.raises(ConfigError, match="has 40 and 10"):
        canary.mislabelled(PICTURES, 41, seed=0)


def test_blank_and_boards_look_like_it():
    blank = canary.blank(PICTURES, 5, seed=0)
    for picture in blank.x[blank.canaries]:
        assert (picture == picture[0, 0]).all()
    boards = canary.checkerboard(PICTURES, 20, seed=0)
    for picture in boards.x[boards.canaries]:
        colours = np.unique(picture.reshape(-1, 3), axis=0)
        assert len(colours) == 2
        dark = (picture == colours[0]).all(axis=2)
        assert 0.4 < dark.mean() < 0.6
        assert (dark[0] != dark[-1]).all() or (dark[0] == dark[-1]).all()


def gradients(x, y, weight, bias):
    """float[n, classes * (dim + 1)]: gradient of each record's loss in a linear head."""
    found = []
    for record, label in zip(x, y, strict=True):
        parameters = [part.clone().requires_grad_() for part in (weight, bias)]
        loss = torch.nn.functional.cross_entropy(parameters[0] @ record + parameters[1], label)
        each = torch.autograd.grad(loss, parameters)
        found.append(torch.cat([each[0].flatten(), each[1]]))
    return torch.stack(found)


def test_gradient_canaries_are_orthogonal_and_loud():
    planted = canary.gradient(VECTORS, 5, seed=0)
    x, y = torch.tensor(planted.x).double(), torch.tensor(planted.y)
    generator = torch.Generator().manual_seed(0)
    weight = 0.01 * torch.randn(10, 64, generator=generator, dtype=torch.float64)
    found = gradients(x, y, weight, torch.zeros(10, dtype=torch.float64))
    own, others = found[planted.canaries, : 10 * 64], found[: len(VECTORS), : 10 * 64]
    own_norm = own.norm(dim=1)
    cosine = (own / own_norm[:, None]) @ (others / others.norm(dim=1)[:, None]).T
    assert cosine.abs().max() < 1e-5  # the weight parts do not meet
    between = (own / own_norm[:, None]) @ (own / own_norm[:, None]).T - torch.eye(5)
    assert between.abs().max() < 1e-5
    # As long as the longest record: clipping does not make them quieter than the others.
    longest = np.linalg.norm(VECTORS.x, axis=1).max()
    norms = np.linalg.norm(planted.x[planted.canaries], axis=1)
    assert norms == pytest.approx([longest] * 5, rel=1e-5)
    assert own_norm.min() > 0.9 * others.norm(dim=1).max()
    # Power: a random record of the pool is not orthogonal.
    natural = others[:5] / others[:5].norm(dim=1)[:, None]
    assert (natural @ (others / others.norm(dim=1)[:, None]).T)[:, 5:].abs().median() > 1e-3


def test_gradient_canaries_take_the_quietest_directions():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 6)) * [5, 4, 3, 2, 0.1, 0.2]).astype(np.float32)
    pool = Pool(
        name="made up",
        x=x,
        y=np.zeros(500, dtype=np.int64),
        classes=("a",),
        domain=np.zeros(500, dtype=np.int64),
        domains=("all",),
        provenance="made up",
    )
    planted = canary.gradient(pool, 2, seed=0, norm=3.0)
    assert np.abs(planted.x[500:]).argmax(axis=1).tolist() == [4, 5]
    assert np.linalg.norm(planted.x[500:], axis=1) == pytest.approx([3.0, 3.0], rel=1e-6)


def test_unfit_requests_are_refused():
    with pytest.raises(ConfigError, match="holds vectors"):
        canary.blank(VECTORS, 1, seed=0)
    with pytest.raises(ConfigError, match="encode it first"):
        canary.gradient(PICTURES, 1, seed=0)
    with pytest.raises(ConfigError, match="65 orthogonal canaries need as many dimensions"):
        canary.gradient(VECTORS, 65, seed=0)
    with pytest.raises(ParameterError, match="norm must be"):
        canary.gradient(VECTORS, 1, seed=0, norm=0.0)
    same = PICTURES.x[:1], PICTURES.y[:1], PICTURES.domain[:1]
    with pytest.raises(ConfigError, match="equal to another record with the same label"):
        canary.append(PICTURES, *same, what="a copy")
    other_label = PICTURES.x[:1], 1 - PICTURES.y[:1], PICTURES.domain[:1]
    two = (np.concatenate([part, part]) for part in other_label)
    with pytest.raises(ConfigError, match="equal to another record"):
        canary.append(PICTURES, *two, what="twins")
    with pytest.raises(ConfigError, match=r"must be uint8\[28, 28, 3\]"):
        canary.append(PICTURES, PICTURES.x[:1, :9], *same[1:], what="a strip")
