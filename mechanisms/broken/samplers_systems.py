"""Broken samplers in the manner of VPDR, DP-FPL and DP-FedLoRA."""

import math
from typing import Any

import torch
from torch import Tensor

from ..base import SeededKey
from ..clipping import Clip
from ..lora import JointDeltaUpload
from ..prompt import PromptGradients
from ..prototypes import NoisyPrototypes
from ..released.dp_fedlora import default_noise
from ..vpp import SumsAndCounts
from .twins import (
    DIM,
    OTHERS,
    TARGET,
    Draw,
    Sample,
    SamplerTwin,
    System,
    copies,
    mu_claim,
    people,
)

_UNIT = Clip(joint_norm=1.0)
ROOT2 = math.sqrt(2.0)


def _prototype(public_count: bool) -> Draw:
    """Mean of one or two clipped records with noise 2R/n, n public or true."""

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        rows = people(world)[-2 if world else -1 :]
        count = 2 if public_count else len(rows)
        mean = _UNIT.apply(rows, (DIM,)).sum(dim=0) / count
        return mean + 2.0 / count * key.normal(n, DIM)

    return draw


def _groups(public: bool) -> Draw:
    """The three quiet dimensions are fixed, or the largest of the sum; the choice is seen."""
    mechanism = NoisyPrototypes(
        clip=Clip(group_norms=(0.5, 0.8)),
        group_sizes=(3, 3),
        noise_stddevs=(0.5 * ROOT2, 0.8 * ROOT2),
        public_count=1,
    )

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        rows = people(world)
        places = torch.arange(DIM) if public else rows.sum(dim=0).abs().argsort(descending=True)
        total = mechanism.contribution(rows[:, places]).sum(dim=0)
        noisy = mechanism.perturb(copies(total, n), key)
        return torch.cat([noisy, copies(places[:3].double(), n)], dim=1)

    return draw


def _counts(noised: bool) -> Draw:
    mechanism = SumsAndCounts(
        clip=_UNIT, group_sizes=(DIM,), noise_stddevs=(ROOT2,), count_stddev=ROOT2
    )

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        rows = people(world)
        exact = mechanism.statistic(rows, torch.zeros(len(rows), dtype=torch.int64), 1)
        released = mechanism.release(copies(exact, n), key)
        if not noised:
            released = torch.cat([released[..., :-1], copies(exact[..., -1:], n)], dim=-1)
        return released

    return draw


def _present(all_classes: bool) -> Draw:
    """The target is the only record of its class; absent classes are left out (NaN)."""

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        clipped = _UNIT.apply(people(world), (DIM,))
        sums = torch.stack([clipped[:20].sum(dim=0), clipped[20:].sum(dim=0)])
        noisy = sums + key.normal(n, 2, DIM)
        if not world and not all_classes:
            noisy[:, 1] = math.nan
        return noisy

    return draw


def _quiet_group(group_clip: bool) -> Draw:
    """F5: noise sqrt(d_g / D) of the isotropic one; the record lies in the quiet group."""
    norms = (0.5, 1.0)
    stddevs = tuple(norm * ROOT2 for norm in norms)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        rows = people(world).clone()
        rows[20:, 3:] = 0.0
        rule = Clip(group_norms=norms) if group_clip else Clip(joint_norm=math.hypot(*norms))
        total = rule.apply(rows, (3, 3)).sum(dim=0)
        scale = torch.tensor(stddevs, dtype=torch.float64).repeat_interleave(3)
        return total + scale * key.normal(n, DIM)

    return draw


BATCH = 8


def _batch(world: int) -> Tensor:
    """float64[8, 6]: gradients; the last one dominates, or is zero."""
    last = 40.0 * TARGET * world
    return torch.cat([OTHERS[: BATCH - 1], last.unsqueeze(0)])


def _prompt(clip_batch: bool) -> Draw:
    mechanism = PromptGradients(clip_norm=1.0, noise_multiplier=1.0, batch=BATCH)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        rows = _batch(world)
        if not clip_batch:
            return mechanism.release(copies(rows, n), key)
        mean = _UNIT.apply(rows.mean(dim=0), (DIM,))
        return mean + key.normal(n, DIM) / BATCH

    return draw


def _three(stddev: float, *, bare_upload: bool = False) -> Draw:
    """The gradient of the global prompt and two projections of it, each clipped and noised."""

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        rows = _batch(world)
        total = _UNIT.apply(rows, (DIM,)).sum(dim=0)
        noisy = copies(total, 3) + stddev * key.normal(n, 3, DIM)
        if bare_upload:
            noisy = torch.cat([noisy, copies(total.unsqueeze(0), n)], dim=1)
        return noisy

    return draw


TENSORS = 6


def _adapters(joint: bool) -> Draw:
    """Six tensors of a client that is there (world 1) or has changed nothing (world 0)."""
    mechanism = JointDeltaUpload(clip_norm=1.0, noise_multiplier=1.0)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        delta = world * 9.0 * OTHERS[:TENSORS]
        if joint:
            return mechanism.release(copies(delta.flatten(), n), key)
        return (_UNIT.apply(delta, (DIM,)) + key.normal(n, TENSORS, DIM)).flatten(1)

    return draw


def _weights(deltas: bool) -> Draw:
    """L4: weights near the bound go from one side to the other; noise for a bound of one."""
    start = 2.0 * TARGET
    mechanism = JointDeltaUpload(clip_norm=1.0, noise_multiplier=2.0 if deltas else 1.0)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        value = start if world else -start
        return mechanism.release(copies(value, n), key)

    return draw


def _control(leak: bool) -> Draw:
    mechanism = JointDeltaUpload(clip_norm=1.0, noise_multiplier=1.0)

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        delta = world * TARGET
        if not leak:  # the control variate is in the clipped vector
            return mechanism.release(copies(torch.cat([delta, -delta]), n), key)
        return torch.cat([mechanism.release(copies(delta, n), key), copies(-delta, n)], dim=1)

    return draw


def _reseeded(fresh: bool) -> Draw:
    """Noise of an upload: from the run's key, or from a generator with a default seed."""

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        delta = _UNIT.apply(world * TARGET, (DIM,))
        others = _UNIT.apply(0.3 * key.child("other clients").normal(n, DIM), (DIM,))
        noise = key.normal(n, 2, DIM)
        if not fresh:
            noise = default_noise((DIM,)).expand(n, 2, DIM)
        return torch.stack([delta.expand(n, DIM), others], dim=1) + noise

    return draw


def _twin(
    system: System,
    code: str,
    name: str,
    bad: Draw,
    good: Draw,
    reason: str,
    adjacency: str = "add-remove",
    unit: str = "example",
    trials: int = 4_000,
    stddevs: tuple[Any, Any] | None = None,
) -> SamplerTwin:
    return SamplerTwin(
        name=name,
        code=code,
        system=system,
        bad=Sample(bad),
        good=Sample(good),
        claim=mu_claim(1.0, adjacency, unit),
        reason=reason,
        trials=trials,
        stddevs=stddevs,
    )


_CLIENT = ("zero-out", "client")
_QUIET = torch.tensor([0.5] * 3 + [1.0] * 3, dtype=torch.float64) * ROOT2
_GROUPS = torch.tensor([0.5] * 3 + [0.8] * 3 + [0.0] * 3, dtype=torch.float64) * ROOT2
TWINS = (
    _twin("vpdr", "F8", "count leak", _prototype(False), _prototype(True),
          "mean and noise follow the true number of records (F8)", stddevs=(1.0, 1.0)),
    _twin("vpdr", "", "data-dependent groups", _groups(False), _groups(True),
          "the quiet dimensions are chosen by the records, and released",
          stddevs=(_GROUPS, _GROUPS)),
    _twin("vpdr", "F8", "count without noise", _counts(False), _counts(True),
          "the sums are noised, the counts are not", stddevs=(ROOT2, ROOT2)),
    _twin("vpdr", "F8", "only present classes", _present(False), _present(True),
          "that a class is missing shows", stddevs=(1.0, 1.0)),
    _twin("vpdr", "F5", "quiet group, global clip", _quiet_group(False), _quiet_group(True),
          "a record puts its whole norm into the quiet group (F5)", stddevs=(_QUIET, _QUIET)),
    _twin("dp-fpl", "P1", "batch clip", _prompt(True), _prompt(False),
          "the mean of the batch is clipped: one example moves it by up to 2 C (P1)",
          "zero-out", stddevs=(1.0 / BATCH, 1.0 / BATCH)),
    _twin("dp-fpl", "P2", "three mechanisms, one budget", _three(1.0), _three(math.sqrt(3.0)),
          "U, V and G each spend the whole budget (P2)", "zero-out", trials=10_000,
          stddevs=(1.0, math.sqrt(3.0))),
    _twin("dp-fpl", "P9", "un-noised upload", _three(math.sqrt(3.0), bare_upload=True),
          _three(math.sqrt(3.0)), "the server gets a gradient without noise (P9)", "zero-out",
          stddevs=(math.sqrt(3.0), math.sqrt(3.0))),
    _twin("dp-fedlora", "L2", "each tensor clipped", _adapters(False), _adapters(True),
          "six tensors with one bound each (L2)", *_CLIENT, stddevs=(1.0, 1.0)),
    _twin("dp-fedlora", "L4", "weights exchanged", _weights(False), _weights(True),
          "clipped weights are up to 2 C apart (L4)", "replace-one", "client", stddevs=(1.0, 2.0)),
    _twin("dp-fedlora", "L8", "control variate", _control(True), _control(False),
          "SCAFFOLD's variate leaves without noise (L8)", *_CLIENT, stddevs=(1.0, 1.0)),
    _twin("dp-fedlora", "L10", "noise from a default seed", _reseeded(False), _reseeded(True),
          "every upload has the same, known noise (L10)", *_CLIENT),
)  # fmt: skip
"""Caught by a black-box audit."""
