import hashlib

import numpy as np
import pytest
import torch

from privassay.accountant.errors import ParameterError, RecordError
from privassay.fl_core.recorder import Layout, Recorder
from privassay.fl_core.transcript import Transcript
from privassay.fl_core.worlds import heard


def transcript(lead=(), rounds=3, clients=2, classes=4, dim=5):
    generator = torch.Generator().manual_seed(0)
    uploads = torch.randn(
        *lead, rounds, clients, classes, dim, generator=generator, dtype=torch.float64
    )
    return heard(uploads)


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


def recorded(folder, whole):
    """The recording of a run in which `whole` left."""
    rounds, clients, classes, dim = whole.uploads.shape
    layout = Layout(
        rounds=rounds,
        rows=clients,
        replicas=1,
        upload=(classes, dim),
        broadcast={"prototypes": (classes, dim)},
    )
    recorder = Recorder(folder, layout)
    for round_ in range(rounds):
        here = torch.ones(clients, dtype=torch.bool)
        recorder.uploads(round_, torch.arange(clients), whole.uploads[round_], here, None)
        recorder.broadcast(round_, {"prototypes": whole.broadcasts[round_].unsqueeze(0)})
    return recorder.hashes()


def test_a_recording_is_loaded_as_what_left(tmp_path):
    whole = transcript()
    hashes = recorded(tmp_path, whole)
    names = ["arrived.npy", "broadcast-prototypes.npy", "uploads.npy"]
    assert sorted(hashes) == names
    for name in names:
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == hashes[name]
    found = Transcript.load(tmp_path)
    for name in ("uploads", "broadcasts", "final"):
        assert getattr(found, name).dtype == torch.float32
        assert torch.equal(getattr(found, name), getattr(whole, name).float())


def test_a_transcript_that_is_not_there_or_has_another_shape_is_refused(tmp_path):
    with pytest.raises(RecordError, match="no transcript in none"):
        Transcript.load(tmp_path / "none")
    recorded(tmp_path, transcript())
    np.save(tmp_path / "uploads.npy", np.zeros((3, 2, 4, 4), dtype=np.float32))
    with pytest.raises(RecordError, match="not the array that the transcript's index names"):
        Transcript.load(tmp_path)
