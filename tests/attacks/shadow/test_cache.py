"""The cache of shadows: it goes on after a kill, and never gives those of another training."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn

from privassay.attacks.shadow import train_shadows
from privassay.attacks.shadow_batches import WithReplacement
from privassay.attacks.shadow_cache import Cache
from privassay.attacks.shadow_design import equal_coins
from privassay.attacks.shadow_recipe import Recipe
from privassay.fl_core.algorithms.personal_training import PrivateTraining
from privassay.fl_core.kernels.adapters import Adapters
from privassay.fl_core.kernels.base import cross_entropy
from privassay.fl_core.kernels.functional import Functional
from privassay.fl_core.kernels.stacked import mlp
from privassay.fl_core.optimizers import AdamW, PlainSgd, Sgd
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.dpsgd import DpSgd

from .conftest import plain, recipe

KEY = SeededKey(1)


def counted(counts):
    """A recipe that notes how many models it trains."""

    class Counted(Recipe):
        def train(self, data, key):
            counts.append(len(data))
            return super().train(data, key)

    return Counted(
        kernel=mlp((64, 12, 10)), training=WithReplacement(steps=30, batch_size=10),
        optimizer=plain, dtype=torch.float64,
    )  # fmt: skip


def equal(one, other):
    return all(torch.equal(value, other.params[name]) for name, value in one.params.items())


def test_a_finished_training_is_not_repeated(pool, design, tmp_path):
    counts, lines = [], []
    work = partial(train_shadows, counted(counts), *pool, design, key=KEY, chunk=4)
    first = work(folder=tmp_path / "new")
    again = work(folder=tmp_path / "new", say=lines.append)
    assert counts == [4, 2] and equal(first, again) and equal(first, work())
    assert lines == ["models 0 to 3 from the cache", "models 4 to 5 from the cache"]
    assert list(again.params) == list(first.params)
    modes = {file.stat().st_mode & 0o077 for file in (tmp_path / "new").iterdir()}
    assert modes == {0}  # nobody else reads models of private records


def test_what_was_killed_goes_on(pool, design, tmp_path):
    """A real kill, after the second of three chunks."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import numpy as np, torch\n"
        "from sklearn.datasets import load_digits\n"
        "from privassay.attacks.shadow import train_shadows\n"
        "from privassay.attacks.shadow_batches import WithReplacement\n"
        "from privassay.attacks.shadow_design import equal_coins\n"
        "from privassay.attacks.shadow_recipe import Recipe\n"
        "from privassay.fl_core.kernels.stacked import mlp\n"
        "from privassay.fl_core.optimizers import PlainSgd\n"
        "from privassay.mechanisms.base import SeededKey\n"
        "torch.set_num_threads(1)\n"
        "def plain(params):\n"
        "    return PlainSgd(0.3)\n"
        "plain.__module__ = sys.argv[2]\n"
        "x, y = load_digits(return_X_y=True)\n"
        "x, y = torch.from_numpy(x[:200] / 16), torch.from_numpy(y[:200].astype(np.int64))\n"
        "recipe = Recipe(kernel=mlp((64, 12, 10)), optimizer=plain, dtype=torch.float64,\n"
        "                training=WithReplacement(steps=30, batch_size=10))\n"
        "def say(line):\n"
        "    if line.startswith('models 2 to 3'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "train_shadows(recipe, x, y, equal_coins(y.numpy(), models=6, seed=4),\n"
        "              key=SeededKey(1), chunk=2, folder=Path(sys.argv[1]), say=say)\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), plain.__module__],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    (tmp_path / ".new-left-behind").write_bytes(b"half a file")
    counts = []
    work = partial(train_shadows, counted(counts), *pool, design, key=KEY, chunk=2)
    whole = work(folder=tmp_path)
    assert counts == [2]  # the last chunk only
    assert equal(whole, work())


def test_a_damaged_file_is_trained_again(pool, design, tmp_path):
    counts, lines = [], []
    work = partial(train_shadows, counted(counts), *pool, design, key=KEY, folder=tmp_path)
    first = work(chunk=3)
    file = sorted(tmp_path.iterdir())[0]
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    assert equal(first, work(chunk=3, say=lines.append)) and counts == [3, 3, 3]
    assert "is damaged; training these models again" in lines[0]


def test_a_folder_that_cannot_be_written_costs_nothing_else(pool, design, tmp_path):
    blocked, lines = tmp_path / "file", []
    blocked.write_bytes(b"")
    work = partial(train_shadows, recipe(), *pool, design, key=KEY)
    assert equal(work(), work(folder=blocked / "below", say=lines.append))
    assert lines[0] == "models could not be kept in the cache (NotADirectoryError)"


def other_loss(outputs, y, context):
    return 0.5 * cross_entropy(outputs, y, context)


def smoothed(amount):
    def loss(outputs, y, context):
        return cross_entropy(outputs, y, context) - amount * outputs.logits.mean(dim=2)

    return loss


def private(noise):
    mechanism = DpSgd(clip_norm=1.0, noise_multiplier=noise, sampling_rate=0.2, expected_batch=18.0)
    return PrivateTraining(mechanism=mechanism, steps=5)


def net(seed, activation):
    torch.manual_seed(seed)
    return Functional(nn.Sequential(nn.Linear(64, 3), activation, nn.Linear(3, 10)).double().eval())


def adapters(alpha):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(64, 12), nn.Tanh()).double().eval().requires_grad_(False)
    return Adapters(encoder=encoder, targets=("0",), rank=2, alpha=alpha, head=mlp((12, 10)))


RECIPES = {
    "as it is": {},
    "steps": {"training": WithReplacement(steps=31, batch_size=10)},
    "batch": {"training": WithReplacement(steps=30, batch_size=11)},
    "private": {"training": private(0.8)},
    "noise": {"training": private(0.9)},
    "rate": {"optimizer": lambda p: PlainSgd(0.31)},
    "momentum": {"optimizer": lambda p: Sgd(0.3, momentum=0.9, weight_decay=0.0, like=p)},
    "decay": {"optimizer": lambda p: Sgd(0.3, momentum=0.9, weight_decay=1e-5, like=p)},
    "adam": {"optimizer": lambda p: AdamW(0.3, like=p)},
    "tiny eps": {"optimizer": lambda p: AdamW(0.3, like=p, eps=1e-30)},
    "loss": {"loss": other_loss},
    "a": {"loss": smoothed(0.1)},
    "b": {"loss": smoothed(0.2)},
    "width": {"kernel": mlp((64, 13, 10))},
    "dtype": {"dtype": torch.float32},
    "module": {"kernel": net(0, nn.ReLU())},
    "other start": {"kernel": net(1, nn.ReLU())},
    "other activation": {"kernel": net(0, nn.GELU())},
    "adapters": {"kernel": adapters(2.0)},
    "alpha": {"kernel": adapters(2.5)},  # starts as the identity: hidden at first
}


def run_of(pool, design, key=KEY, **changed):
    how = recipe(**changed)
    x = pool[0].to(how.dtype)
    data = design.client_data(x, pool[1])
    return Cache.of(Path("nowhere"), how, data, design_sha256=design.sha256, key=key).run


def test_whatever_changes_the_models_changes_the_name(pool, design):
    x, y = pool
    found = {name: run_of(pool, design, **changed) for name, changed in RECIPES.items()}
    found["key"] = run_of(pool, design, key=SeededKey(2))
    found["design"] = run_of(pool, equal_coins(y.numpy(), models=6, seed=5))
    late = x.clone()
    late[199, 63] += 1e-9
    found["a record"] = run_of((late, y), design)
    labels = y.clone()
    labels[199] = (labels[199] + 1) % 10
    found["a label"] = run_of((x, labels), design)
    assert len(set(found.values())) == len(found)
    again = {name: run_of(pool, design, **changed) for name, changed in RECIPES.items()}
    assert again == {name: found[name] for name in again}


def test_an_optimizer_that_hides_its_settings_is_never_found(pool, design):
    class Late(PlainSgd):
        """Changes its rate after the trial steps."""

        def __repr__(self):
            return object.__repr__(self)

    kept = [Late(0.3), Late(0.3)]
    one, other = (run_of(pool, design, optimizer=lambda p, k=k: k) for k in kept)
    assert one != other
