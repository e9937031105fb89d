"""VPDR's defects F6 to F8, F10 and F14 to F16: what is trained on the records, and what leaves."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..base import Key, SeededKey
from ..clipping import Clip
from ..probes import outbox, replay, theorem
from ..probes.finding import Finding
from ..probes.sensitivity import distance, neighbours, sensitivity
from ..prototypes import NoisyPrototypes
from ..released import vpdr_training as training
from ..released.vpdr import AsReleasedVpdr
from .twins import (
    DIM,
    OTHERS,
    Additive,
    Sample,
    both,
    defect,
    mu_claim,
    people,
    with_noise,
)

_KEY = SeededKey(12)
_UNIT = Clip(joint_norm=1.0)


def _trained_mean(records: Tensor) -> dict[str, Tensor]:
    """Two steps of training an adapter on the records, then their clipped mean."""
    adapter = torch.eye(DIM, dtype=torch.float64)
    for _ in range(2):
        adapter = adapter - 0.5 * (records @ adapter - records.roll(1, 0)).T @ records / 20.0
    return {"mean": Clip(joint_norm=1.0).apply(records @ adapter, (DIM,)).sum(dim=0) / 20.0}


def _frozen_mean(records: Tensor) -> dict[str, Tensor]:
    return {"mean": _UNIT.apply(records, (DIM,)).sum(dim=0) / 20.0}


_FINITE = [
    pair for pair in neighbours(OTHERS, "replace-one", huge=3.0)
    if torch.isfinite(pair.other).all() and torch.isfinite(pair.one).all()
]  # fmt: skip
_TRAINED, _FROZEN = (
    Additive(clean=mean, stddevs={"mean": 2.0 / 20.0}) for mean in (_trained_mean, _frozen_mean)
)
_FARTHEST = max(_FINITE, key=lambda pair: distance(_trained_mean, pair))


def _f6(prototype: Additive) -> Finding:
    return sensitivity(prototype.clean, _FINITE, declared=1.0, stddevs=prototype.stddevs,
                       what="mu of the mean")  # fmt: skip


def _clustered(records: Tensor) -> Tensor:
    """Centres times n_k / 2R, so that the declared sensitivity is 1."""
    cluster = training.first_neighbour_clusters(records)
    rows = _UNIT.apply(records, (DIM,))
    sizes = torch.bincount(cluster).unsqueeze(1).double()
    return training.cluster_means(rows, cluster) * sizes / 2.0


def _nearest_public(records: Tensor) -> Tensor:
    """The twin: sums of the records next to each of four public centres, over 2R."""
    centres = SeededKey(5).normal(4, DIM)
    rows = _UNIT.apply(records, (DIM,))
    near = (rows @ centres.T).argmax(dim=1)
    member = (near.unsqueeze(0) == torch.arange(4).unsqueeze(1)).double()
    return member @ rows / 2.0


def _f7(f: Callable[[Tensor], Tensor]) -> Finding:
    return sensitivity(f, neighbours(OTHERS, "replace-one"), declared=1.0,
                       what="move of the centres over 2R/n_k")  # fmt: skip


Labelled = tuple[Tensor, Tensor]


def _released_upload(data: Labelled, key: Key) -> dict[str, Tensor]:
    found = AsReleasedVpdr(scheme="igpp", radius=1.0).upload(*data, 3, key)
    return {"prototypes": found.prototypes, "present": found.present}


def _sound_upload(data: Labelled, key: Key) -> dict[str, Tensor]:
    mechanism = NoisyPrototypes(clip=_UNIT, group_sizes=(DIM,), noise_stddevs=(1.0,),
                                public_count=10)  # fmt: skip
    return {"prototypes": mechanism.perturb(mechanism.statistic(*data, 3), key)}


def _f8(upload: outbox.Step) -> Finding:
    labels = torch.cat([torch.arange(20) % 2, torch.tensor([2])])
    return outbox.unnoised(upload, (people(1), labels), (people(0), labels[:20]))


def _f10(loss: Callable[[Tensor, Tensor], Tensor]) -> Finding:
    own = SeededKey(3).normal(8, DIM)
    return theorem.gradient_vanishes(lambda features: loss(features, own), own)


Aggregate = Callable[[Tensor, Tensor, Tensor], Tensor]


def _broadcast(aggregate: Aggregate) -> replay.Program:
    """Private sizes -> what the server sends back, from prototypes that the clients noised."""
    prototypes = SeededKey(4).normal(3, 2, DIM)
    present = torch.tensor([[True, True], [True, False], [True, True]])

    def program(sizes: Tensor, privatise: replay.Privatise) -> dict[str, Tensor]:
        return {"aggregate": aggregate(privatise("prototypes", prototypes), present, sizes)}

    return program


_SIZES = torch.tensor([100, 10, 55]), torch.tensor([100, 1000, 55])


def _f14(program: replay.Program) -> Finding:
    return replay.post_processing(program, *_SIZES)


def _encoded(training_mode: bool) -> replay.Program:
    """Records -> noised mean feature, and the encoder that is handed on."""
    encode = training.normalising_encoder(training_mode)

    def program(records: Tensor, privatise: replay.Privatise) -> dict[str, Tensor]:
        features, buffers = encode(records)
        mean = _UNIT.apply(features, (DIM,)).sum(dim=0)
        return {"mean": privatise("mean", mean), **buffers}

    return program


def _f15(program: replay.Program) -> Finding:
    return replay.post_processing(program, people(0), people(1)[1:])


def _f16(inputs: Callable[[Tensor, Key], Tensor]) -> Finding:
    images = SeededKey(6).normal(16, 3, 4)
    return theorem.agrees(inputs(images, _KEY), images, what="the test set as it is loaded")


_REPLACED = OTHERS, people(1)[1:]


def _audited(bad: replay.Program, good: replay.Program, data: tuple[Tensor, Tensor]
             ) -> tuple[Sample, Sample]:  # fmt: skip
    """The two programs as samplers, noise for a sum that moves by two clip bounds."""
    return both(with_noise(bad, 2.0), with_noise(good, 2.0), *data)


_defect = partial(defect, "vpdr")
DEFECTS = (
    _defect("F6", "adapters are trained on the records between uploads", _TRAINED, _FROZEN, _f6,
            both(_TRAINED.step, _FROZEN.step, _FARTHEST.one, _FARTHEST.other),
            mu_claim(adjacency="replace-one"), 6_000),
    _defect("F7", "clusters of the client's own records, noise 2R/n_k", _clustered,
            _nearest_public, _f7),
    _defect("F8", "true counts scale the noise, absent classes are left out", _released_upload,
            _sound_upload, _f8),
    _defect("F10", "the alignment loss is broadcast over the batch",
            training.alignment_loss_as_released, training.alignment_loss, _f10),
    _defect("F14", "clients are weighted by true sizes", _broadcast(training.weighted_by_size),
            _broadcast(training.equally_weighted), _f14,
            _audited(_broadcast(training.weighted_by_size),
                     _broadcast(training.equally_weighted), _SIZES),
            mu_claim(adjacency="replace-one", unit="client")),
    _defect("F15", "running statistics of private batches stay in the encoder", _encoded(True),
            _encoded(False), _f15, _audited(_encoded(True), _encoded(False), _REPLACED)),
    _defect("F16", "the test set inherits random flips",
            lambda x, key: training.loaded_test_set(x, key, inherited=True),
            lambda x, key: training.loaded_test_set(x, key, inherited=False), _f16),
)  # fmt: skip
