"""Prototype federations that the tests of methods and of their privacy share."""

from privassay.fl_core.algorithms.fedpcl import FedPcl
from privassay.fl_core.algorithms.fedplvm import FedPlvm
from privassay.fl_core.algorithms.fedproto import FedProto
from privassay.fl_core.algorithms.fedtgp import FedTgp
from privassay.fl_core.algorithms.fpl import Fpl
from privassay.fl_core.algorithms.mpft import Mpft
from privassay.fl_core.algorithms.personal_model import adam_w, personal_model
from privassay.fl_core.algorithms.personal_training import PrivateTraining
from privassay.fl_core.algorithms.prototypes import PrototypeFederation
from privassay.fl_core.algorithms.releases import NoisyMeans, SumsOverCounts
from privassay.mechanisms import prototypes, vpp
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.class_means import DpplMean
from privassay.mechanisms.clipping import Clip
from privassay.mechanisms.dpsgd import DpSgd

ROUNDS, CLIENTS, RECORDS = 3, 4, 60
KEY = SeededKey(1)
DESIGN = prototypes.PrototypeDesign(
    mu=1.666,  # epsilon 8 at delta 1e-5
    rounds=ROUNDS,
    adjacency="add-remove",
    clip_norm=4.0,
    group_sizes=(20, 44),
    group_norms=(2.0, 3.5),
    public_count=6,
)
METHODS = {
    "fedproto": FedProto(),
    "fedpcl": FedPcl(clients=CLIENTS),
    "fpl": Fpl(clients=CLIENTS),
    "fedtgp": FedTgp(server_epochs=10),
    "fedplvm": FedPlvm(clients=CLIENTS, centres=2),
    "fedplvm, broadcast": FedPlvm(clients=CLIENTS, centres=2, assignment="broadcast"),
    "mpft": Mpft(hidden=16),
}
RELEASES = {
    "non_private": NoisyMeans(prototypes.non_private(DESIGN)),
    "igpp": NoisyMeans(prototypes.isotropic(DESIGN)),
    "vpp": NoisyMeans(prototypes.groupwise(DESIGN)),
    "dppl": NoisyMeans(
        DpplMean(clip_norm=2.0, noise_multiplier=ROUNDS**0.5 / 1.666, public_count=6, pool=2)
    ),
    "sums and counts": SumsOverCounts(
        vpp.SumsAndCounts(
            clip=Clip(joint_norm=4.0), group_sizes=(64,), noise_stddevs=(4.0,), count_stddev=1.0
        )
    ),
}


def federation(method="fedproto", release="non_private", **changes):
    settings = {
        "method": METHODS.get(method, method),
        "release": RELEASES.get(release, release),
        "kernel": personal_model(64, 10, adapter_width=8, hidden=16),
        "dim": 64,
        "classes": 10,
        "epochs": 5,
        "batch_size": 16,
        "optimizer": adam_w(0.01),
    }
    return PrototypeFederation(**(settings | changes))


def private(noise=1.0, rate=0.5, steps=4, clip=1.0):
    mechanism = DpSgd(
        clip_norm=clip, noise_multiplier=noise, sampling_rate=rate, expected_batch=rate * 21
    )
    return PrivateTraining(mechanism=mechanism, steps=steps)
