import numpy as np
import pytest
import torch

from privassay.accountant.errors import ConfigError
from privassay.fl_core.data import canary
from privassay.fl_core.data.features import client_data, feature_pool, tensors
from privassay.fl_core.data.membership import coins
from privassay.fl_core.data.partition import iid
from privassay.fl_core.data.sources import load
from privassay.fl_core.models.backbone import load_backbone


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path / "cache"))


def test_from_pictures_to_clients():
    pool = canary.checkerboard(load("optdigits", per_class=5, seed=0), 4, seed=0)
    backbone = load_backbone("pixels", image_size=8)
    said = []
    found = feature_pool(pool, backbone, said.append)
    assert np.array_equal(found.x, backbone.features(np.array(pool.x)))
    assert found.canaries.tolist() == [50, 51, 52, 53]
    assert found.sha256 != pool.sha256
    assert backbone.sha256[:16] in found.provenance and "pooling none" in found.provenance
    assert feature_pool(pool, backbone, said.append).sha256 == found.sha256
    assert "from the cache" in said[-1]
    partition = iid(found.y, 6, seed=0)
    data = client_data(found, partition)
    assert len(data) == 6 and data.x.dtype == torch.float32
    for row, part in enumerate(partition.parts):
        held = data.index[row, : data.lengths[row]]
        assert held.tolist() == part.tolist()
        assert torch.equal(data.x[held], torch.tensor(found.x[part]))
        assert data.y[held].tolist() == found.y[part].tolist()
    worlds = coins(partition, found.canaries, seed=0, replicas=3).client_data(*tensors(found))
    assert len(worlds) == 18


def test_wrong_kinds_and_wrong_pools_are_refused():
    pictures, table = load("synth", per_class=1, seed=0), load("digits_table")
    with pytest.raises(ConfigError, match="holds vectors already"):
        feature_pool(table, load_backbone("pixels"))
    with pytest.raises(ConfigError, match="use feature_pool with a backbone first"):
        client_data(pictures, iid(pictures.y, 2, seed=0))
    with pytest.raises(ConfigError, match="of other labels"):
        client_data(table, iid(pictures.y, 2, seed=0))
    assert len(client_data(table, [np.array([1, 2]), np.array([5])])) == 2
