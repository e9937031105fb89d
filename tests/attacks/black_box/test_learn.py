import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.black_box import learn
from privassay.attacks.black_box.ranking import Goal, worth


def draw(rng, n, *shape):
    return rng.normal(size=(n, *shape))


SHAPES = {
    "float32": lambda r, n, w: (draw(r, n, 3) + w).astype(np.float32),
    "float16": lambda r, n, w: (draw(r, n, 3) + w).astype(np.float16),
    "bool": lambda r, n, w: r.random((n, 4)) < 0.4 + 0.2 * w,
    "integers": lambda r, n, w: r.integers(0, 3 + w, n),
    "uint64": lambda r, n, w: r.integers(0, 2**64, (n, 2), dtype=np.uint64) >> np.uint64(w),
    "complex": lambda r, n, w: draw(r, n, 2) + 1j * (draw(r, n, 2) + w),
    "texts": lambda r, n, w: np.array(["yes", "no"])[(r.random(n) < 0.3 + 0.4 * w).astype(int)],
    "lengths": lambda r, n, w: np.array([list(draw(r, k)) for k in r.integers(1, 5 + 2 * w, n)],
                                        dtype=object),
    "four axes": lambda r, n, w: draw(r, n, 2, 3, 2) + 0.3 * w,
    "NaN": lambda r, n, w: np.where(r.random((n, 2)) < 0.1 + 0.2 * w, np.nan, draw(r, n, 2)),
    "infinite": lambda r, n, w: np.where(r.random((n, 2)) < 0.1 + 0.2 * w, np.inf, draw(r, n, 2)),
    "only NaN": lambda r, n, w: np.full((n, 2), np.nan),
    "constant": lambda r, n, w: np.ones((n, 2)),
    "constants": lambda r, n, w: np.full((n, 2), float(w)),
    "huge": lambda r, n, w: (draw(r, n, 2) + w) * 1e307,
    "tiny": lambda r, n, w: (draw(r, n, 2) + w) * 1e-309,
    "two sizes": lambda r, n, w: np.sign(draw(r, n, 2)) * 1.7e308 if w else draw(r, n, 2),
    "heavy": lambda r, n, w: r.standard_cauchy((n, 2)) + w,
    "one column": lambda r, n, w: draw(r, n) + w,
}  # fmt: skip


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_any_outputs_get_finite_scores_each_by_itself(shape):
    rng = np.random.default_rng(2)
    a, b = SHAPES[shape](rng, 300, 1), SHAPES[shape](rng, 300, 0)
    attack = learn(a, b, rng=rng)
    scores = attack.score(a)
    assert scores.shape == (300,) and scores.dtype == np.float64 and np.isfinite(scores).all()
    pieces = np.concatenate([attack.score(a[i : i + 7]) for i in range(0, 300, 7)])
    assert np.array_equal(scores, pieces)
    strange = np.array([[np.inf], [-np.inf], [np.nan], [1e308], [-1e308]])
    if a.dtype.kind == "f" and a.ndim == 2 and a.dtype == np.float64:
        assert np.isfinite(attack.score(strange.repeat(a.shape[1], axis=1))).all()


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30, 60])
def test_few_outputs_are_enough_to_run(n):
    rng = np.random.default_rng(n)
    attack = learn(draw(rng, n, 3) + 1.0, draw(rng, n, 3), rng=rng)
    assert np.isfinite(attack.score(draw(rng, 20, 3))).all()


def test_unequal_numbers_of_outputs():
    rng = np.random.default_rng(0)
    attack = learn(draw(rng, 40, 2) + 3.0, draw(rng, 900, 2), rng=rng)
    assert attack.trained_on == (40, 900)
    assert worth(attack.score(draw(rng, 500, 2) + 3.0), attack.score(draw(rng, 500, 2)), Goal()) > 2


def test_the_same_generator_gives_the_same_attack():
    a, b = draw(np.random.default_rng(0), 400, 3) + 0.5, draw(np.random.default_rng(1), 400, 3)
    first, second = (learn(a, b, rng=np.random.default_rng(9)) for _ in range(2))
    assert first.ranking == second.ranking
    assert np.array_equal(first.score(a), second.score(a))


def test_the_inputs_are_left_alone():
    rng = np.random.default_rng(0)
    a, b = draw(rng, 300, 3), draw(rng, 300, 3)
    kept = a.copy(), b.copy()
    learn(a, b, rng=rng).score(a)
    assert np.array_equal(a, kept[0]) and np.array_equal(b, kept[1])


def test_an_attack_is_frozen_and_says_what_it_is():
    rng = np.random.default_rng(0)
    attack = learn(draw(rng, 300, 3) + 1.0, draw(rng, 300, 3), rng=rng, families=["linear"])
    assert attack.name == "linear" and "3 coordinates" in attack.description
    assert attack.ranking[0][0] == "linear"
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.name = "other"


def test_nothing_to_tell_apart_is_said():
    attack = learn(np.ones((50, 2)), np.ones((50, 2)), rng=np.random.default_rng(0))
    assert attack.name == "constant" and attack.ranking == ()
    assert attack.score(np.zeros((3, 2))).tolist() == [0.0, 0.0, 0.0]


def test_wrong_requests_are_refused():
    rng = np.random.default_rng(0)
    a = draw(rng, 50, 2)
    with pytest.raises(ParameterError, match="linear"):
        learn(a, a, rng=rng, families=["liner"])
    with pytest.raises(ParameterError, match="at least one of"):
        learn(a, a, rng=rng, families=["combined"])
    with pytest.raises(ParameterError, match="budget"):
        learn(a, a, rng=rng, budget="endless")
    with pytest.raises(DesignError, match="at least 2"):
        learn(a[:1], a, rng=rng)


def test_scores_on_new_outputs_do_not_depend_on_labels_that_mean_nothing():
    """Learnt on noise, the in-sample fit must not survive on new outputs."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(3):
        attack = learn(draw(rng, 500, 20), draw(rng, 500, 20), rng=rng)
        found.append(worth(attack.score(draw(rng, 2000, 20)), attack.score(draw(rng, 2000, 20)),
                           Goal()))  # fmt: skip
    assert max(found) < 0.2, found


@pytest.mark.parametrize("dense", [False, True])
def test_many_coordinates(dense):
    rng = np.random.default_rng(6)
    d = 5_000

    def outputs(n, shift):
        x = rng.standard_normal((n, d), dtype=np.float32)
        if dense:
            x += np.float32(shift * 5.0 / d**0.5)
        else:
            x[:, 777] += 4.0 * shift
        return x

    attack = learn(outputs(300, 1), outputs(300, 0), rng=rng)
    found = worth(attack.score(outputs(200, 1)), attack.score(outputs(200, 0)), Goal())
    assert found > 2.0, (found, attack.ranking)


def test_an_audit_of_usual_size_is_quick():
    rng = np.random.default_rng(0)
    a, b = draw(rng, 5000, 10) + 0.3, draw(rng, 5000, 10)
    learn(a[:200], b[:200], rng=rng)  # imports
    start = time.process_time()
    learn(a, b, rng=rng)
    assert time.process_time() - start < 6.0  # about 1 s on a quiet machine


def test_without_scikit_learn_the_other_families_work():
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('sklearn', 'torch', 'threadpoolctl'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import numpy as np\n"
        "from privassay.attacks.black_box import learn\n"
        "r = np.random.default_rng(0)\n"
        "x = learn(r.normal(1, 1, (200, 2)), r.normal(0, 1, (200, 2)), rng=r)\n"
        "print(x.skipped)\n"
        "try:\n"
        "    learn(r.normal(1, 1, (9, 2)), r.normal(0, 1, (9, 2)), rng=r, families=['trees'])\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "trees" in done.stdout and "privassay[run]" in done.stdout
