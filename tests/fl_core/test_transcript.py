import hashlib

import numpy as np
import pytest
import torch

from privassay.accountant.errors import ParameterError
from privassay.fl_core.algorithms import fedproto
from privassay.fl_core.transcript import Transcript


def transcript(lead=(), rounds=3, clients=2, classes=4, dim=5):
    generator = torch.Generator().manual_seed(0)
    uploads = torch.randn(
        *lead, rounds, clients, classes, dim, generator=generator, dtype=torch.float64
    )
    return Transcript(uploads=uploads, broadcasts=fedproto.aggregate(uploads))


@pytest.mark.parametrize("lead", [(), (6,), (2, 3)])
def test_each_adversary_sees_what_it_should_and_nothing_else(lead):
    whole = transcript(lead)
    last = whole.broadcasts[..., -1, :, :]
    assert last.shape == (*lead, 4, 5)
    server, peer, outsider = (whole.view(a) for a in ("server", "peer", "outsider"))
    assert server.uploads is whole.uploads and server.broadcasts is whole.broadcasts
    assert peer.uploads is None and peer.broadcasts is whole.broadcasts
    assert outsider.uploads is None and outsider.broadcasts is None
    for view, name in ((server, "server"), (peer, "peer"), (outsider, "outsider")):
        assert view.adversary == name
        assert torch.equal(view.final, last)
        assert set(vars(view)) == {"adversary", "uploads", "broadcasts", "final"}


@pytest.mark.parametrize("name", ["querier", "oracle", "", "Server"])
def test_no_other_adversary_has_a_view(name):
    with pytest.raises(ParameterError, match="'server', 'peer', 'outsider'"):
        transcript().view(name)


def test_saved_arrays_have_the_hashes_that_are_returned_and_can_be_read(tmp_path):
    whole = transcript()
    hashes = whole.save(tmp_path / "new" / "folder")
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert (
        [f.name for f in files] == ["broadcasts.npy", "final.npy", "uploads.npy"] == sorted(hashes)
    )
    for file in files:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == hashes[file.name]
        array = np.load(file, allow_pickle=False)
        assert array.dtype == np.float32
        wanted = getattr(whole, file.stem).numpy().astype(np.float32)
        assert np.array_equal(array, wanted)
    assert whole.save(tmp_path / "other") == hashes
    assert whole.save(tmp_path / "other") == hashes  # over itself
    changed = Transcript(uploads=whole.uploads + 1e-3, broadcasts=whole.broadcasts)
    assert changed.save(tmp_path / "third")["uploads.npy"] != hashes["uploads.npy"]
