"""Real Ray processes: the same shadows as in this one."""

import os
from functools import partial

import pytest
import torch

from privassay.accountant.errors import ConfigError, DesignError, ParameterError
from privassay.attacks.shadow import train_shadows
from privassay.fl_core.optimizers import PlainSgd
from privassay.mechanisms.base import SeededKey

from .conftest import momentum, recipe

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One for all tests of this file: starting it is what takes long."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_shards_give_equal_models_and_fill_the_cache(pool, design, tmp_path):
    work = partial(train_shadows, recipe(optimizer=momentum), *pool, design, key=SeededKey(1))
    lines = []
    here, there = work(), work(shards=2, chunk=2, folder=tmp_path)
    for name, value in here.params.items():
        assert (there.params[name] - value).abs().max() < 1e-10
        there.params[name].add_(0.0)  # memory of our own, not Ray's read-only store
    assert torch.equal(here.member, there.member)
    work(shards=2, chunk=2, folder=tmp_path, say=lines.append)
    assert lines == [f"models {a} to {a + 1} from the cache" for a in (0, 2, 4)]


def test_errors_come_through_in_our_words(pool, design):
    explodes = recipe(optimizer=lambda p: PlainSgd(1e200))
    with pytest.raises(DesignError, match="models diverged"):
        train_shadows(explodes, *pool, design, key=SeededKey(1), shards=2)
    with pytest.raises(ParameterError, match="shards"):
        train_shadows(recipe(), *pool, design, key=SeededKey(1), shards=0)


def test_a_lost_process_is_asked_again(pool, design, tmp_path):
    def dies(times):
        def optimizer(params):
            lives = tmp_path / f"{times}-{len(list(tmp_path.iterdir()))}"
            if len(list(tmp_path.glob(f"{times}-*"))) < times:
                lives.touch()
                os._exit(1)
            return momentum(params)

        return recipe(optimizer=optimizer)

    here = train_shadows(recipe(optimizer=momentum), *pool, design, key=SeededKey(1))
    there = train_shadows(dies(1), *pool, design, key=SeededKey(1), shards=1)
    for name, value in here.params.items():
        assert (there.params[name] - value).abs().max() < 1e-10
    assert len(list(tmp_path.iterdir())) == 1  # it did die
    with pytest.raises(ConfigError, match="could not be replaced"):
        train_shadows(dies(9), *pool, design, key=SeededKey(1), shards=1)
