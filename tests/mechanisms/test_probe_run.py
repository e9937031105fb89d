"""All probes together: silent on sound mechanisms, and each planted bug is caught by one."""

import math
from dataclasses import replace

import pytest
import torch

from privassay.accountant.account import account
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.class_means import DpplMean
from privassay.mechanisms.clipping import Clip
from privassay.mechanisms.dpsgd import DpSgd
from privassay.mechanisms.lora import JointDeltaUpload
from privassay.mechanisms.probes.run import Hook, probe
from privassay.mechanisms.probes.sensitivity import neighbours
from privassay.mechanisms.prompt import PromptGradients
from privassay.mechanisms.prototypes import NoisyPrototypes
from privassay.mechanisms.vpp import SumsAndCounts

ROWS = 3 * SeededKey(9).normal(10, 6)
LABELS = torch.zeros(11, dtype=torch.int64)


def rows_hook(mechanism, *, divisor, stddev, adjacency="add-remove", **more):
    return Hook(
        step=lambda x, key: {"out": mechanism.release(x, key)},
        clean=lambda x: {"out": mechanism.contribution(x).sum(dim=-2) / divisor},
        data=ROWS,
        neighbour=ROWS[1:].roll(1, -1),
        stddevs={"out": stddev},
        mu=account(mechanism.event(), adjacency=adjacency).mu.upper,
        pairs=tuple(neighbours(ROWS, adjacency)),
        **more,
    )


def labelled_hook(mechanism, stddevs, release):
    def clean(x):
        return {"out": mechanism.statistic(x, LABELS[: len(x)], 2)}

    return Hook(
        step=lambda x, key: {"out": release(clean(x)["out"], key)},
        clean=clean,
        data=ROWS,
        neighbour=ROWS[1:].roll(1, -1),
        stddevs={"out": stddevs},
        mu=account(mechanism.event(), adjacency="add-remove").mu.upper,
        pairs=tuple(neighbours(ROWS, "add-remove")),
    )


STEP = DpSgd(clip_norm=0.5, noise_multiplier=2.0, sampling_rate=1.0, expected_batch=4.0)
PROTOTYPES = NoisyPrototypes(
    clip=Clip(group_norms=(0.5, 1.0)), group_sizes=(2, 4), noise_stddevs=(0.3, 0.4), public_count=5
)
COUNTS = SumsAndCounts(
    clip=Clip(joint_norm=1.0), group_sizes=(6,), noise_stddevs=(2.0,), count_stddev=3.0
)
UPLOAD = JointDeltaUpload(clip_norm=0.5, noise_multiplier=2.0)
PROMPT = PromptGradients(clip_norm=0.5, noise_multiplier=2.0, batch=4)
MEANS = DpplMean(clip_norm=0.5, noise_multiplier=2.0, public_count=7)
SOUND = {
    "dp-sgd": rows_hook(STEP, divisor=4.0, stddev=0.25),
    "prompt": rows_hook(PROMPT, divisor=4.0, stddev=0.25, adjacency="zero-out"),
    "prototypes": labelled_hook(
        PROTOTYPES, torch.tensor([0.3, 0.3, 0.4, 0.4, 0.4, 0.4]), PROTOTYPES.perturb
    ),
    "sums and counts": labelled_hook(COUNTS, torch.tensor([2.0] * 6 + [3.0]), COUNTS.release),
    "dppl": labelled_hook(MEANS, 1 / 7, MEANS.release),
    "upload": Hook(
        step=lambda x, key: {"out": UPLOAD.release(x, key)},
        clean=lambda x: {"out": UPLOAD.contribution(x)},
        data=ROWS,
        neighbour=-ROWS,
        stddevs={"out": 1.0},
        mu=account(UPLOAD.event(), adjacency="replace-one").mu.upper,
        pairs=tuple(neighbours(ROWS, "replace-one")),
        clients=True,
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_mechanisms_raise_no_alarm_and_use_their_budget(name):
    report = probe(SOUND[name])
    assert len(report.findings) >= 10
    assert not report.alarms, str(report)
    # The only thing that fires is what all floating-point noise does.
    assert {f.probe for f in report.findings if f.fired} == {"last bits"}
    (moved,) = [f for f in report.findings if f.probe == "sensitivity"]
    assert moved.measured > 0.99 * moved.declared  # the pairs reach the declared mu


GOOD = SOUND["dp-sgd"]


def changed(out):
    """The sound step with `out(noisy, clean, key)` in the place of what leaves."""

    def step(x, key):
        clean = GOOD.clean(x)["out"]
        return {"out": out(clean + 0.25 * key.child("n").normal(6), clean, key)}

    return replace(GOOD, step=step)


def unclipped(x):
    return {"out": x.nan_to_num().sum(dim=0) / 4.0}


BUGS = {
    "noise halved": (changed(lambda noisy, clean, key: (noisy + clean) / 2), "noise forensics"),
    "noise doubled": (changed(lambda noisy, clean, key: 2 * noisy - clean), "noise forensics"),
    "one draw for all": (
        changed(lambda noisy, clean, key: clean + 0.25 * key.normal(1)),
        "noise forensics",
    ),
    "a coordinate forgotten": (
        changed(lambda noisy, clean, key: torch.cat([noisy[:5], clean[5:]])),
        "release ledger",
    ),
    "seed fixed": (
        changed(lambda noisy, clean, key: clean + 0.25 * SeededKey(1).normal(6)),
        "release ledger",
    ),
    "uniform noise": (
        replace(
            changed(lambda noisy, clean, key: clean + 0.25 * math.sqrt(12) * torch.from_numpy(
                key.generator().random(6) - 0.5)), draws=1000),
        "noise forensics",
    ),
    "clip missing": (replace(GOOD, clean=unclipped,
                             step=lambda x, key: {"out": unclipped(x)["out"]
                                                  + 0.25 * key.normal(6)}), "sensitivity"),
    "true count": (replace(GOOD, clean=lambda x: {"out": GOOD.clean(x)["out"] * 10 / len(x)}),
                   "sensitivity"),
    "side channel": (
        replace(GOOD, step=lambda x, key: {**GOOD.step(x, key), "n": torch.tensor(len(x))}),
        "release ledger",
    ),
    "sensitivity off by two": (
        replace(GOOD, pairs=tuple(neighbours(ROWS, "replace-one"))), "sensitivity"),
    "clients mixed": (replace(SOUND["upload"], step=lambda x, key: {
        "out": UPLOAD.release(x - 0.01 * x.mean(dim=0), key)}), "contamination"),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_each_planted_bug_is_caught(name):
    hook, wanted = BUGS[name]
    report = probe(hook)
    fired = [f.probe for f in report.alarms]
    assert wanted in fired, str(report)
    assert all(f.fix and f.text for f in report.alarms)
