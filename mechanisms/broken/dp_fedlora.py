"""DP-FedLoRA's defects L1 to L5, L8, L10, L12 and L14: what a client uploads, and its noise."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ...accountant import gaussian
from ...accountant.calibrate import calibrate_gaussian
from ..base import Key, SeededKey
from ..clipping import Clip
from ..probes import flags, noise, outbox, theorem
from ..probes.finding import Finding, worst
from ..probes.sensitivity import Pair, neighbours, quoted, sensitivity
from ..released import dp_fedlora as released
from ..released.dp_fedlora import AsReleasedDpFedLora
from .twins import (
    Additive,
    both,
    defect,
    mu_claim,
    people,
)

CLIENTS, M, N, RANK = 3, 6, 4, 2
_KEY = SeededKey(31)
_SYSTEM = AsReleasedDpFedLora()
_SOUND = replace(_SYSTEM, clip="joint_delta", tensors=1)
VALUES = {
    f"{name} {layer}": _KEY.child(name, layer).normal(CLIENTS, *shape)
    for layer in range(3)
    for name, shape in (("A", (RANK, N)), ("B", (M, RANK)))
}
BROADCAST = {name: torch.zeros_like(value[0]) for name, value in VALUES.items()}
B, A = VALUES["B 0"], VALUES["A 0"]
WEIGHTS = torch.full((CLIENTS,), 1.0 / CLIENTS, dtype=torch.float64)


def _exact_sigma(rounds: int) -> float:
    mu = gaussian.mu_interval(25.0, 1e-5)[0]
    return calibrate_gaussian(mu=mu, rounds=rounds, adjacency="zero-out")


def _uploads(rounds: int, stddev: float) -> Additive:
    """One clipped tensor of a client in several rounds."""

    def clean(values: dict[str, Tensor]) -> dict[str, Tensor]:
        first = _SYSTEM.clean(values, BROADCAST)["A 0"][0]
        return {"uploads": first.expand(rounds, *first.shape)}

    return Additive(clean=clean, stddevs={"uploads": stddev})


def _quoted(program: Additive) -> Finding:
    return quoted(program.clean, _upload_pairs(False), stddevs=program.stddevs,
                  epsilon=25.0, delta=1e-5)  # fmt: skip


def _upload_pairs(opposite: bool) -> list[Pair]:
    other = {name: -value if opposite else 0.0 * value for name, value in VALUES.items()}
    return [Pair("all data exchanged" if opposite else "all zero", VALUES, other)]


def _l2(system: AsReleasedDpFedLora) -> Finding:
    return sensitivity(
        lambda values: {n: v[0] for n, v in system.clean(values, BROADCAST).items()},
        _upload_pairs(False),
        declared=system.clip_norm,
        what="move of an upload",
    )


def _l4(program: Additive) -> Finding:
    """Noise for one clip bound, or for two, at a declared mu of 1."""
    return sensitivity(program.clean, _upload_pairs(True), declared=1.0, stddevs=program.stddevs,
                       what="mu of a clipped tensor")  # fmt: skip


def _l5(local: Callable[[Tensor], Tensor]) -> Finding:
    records = _KEY.child("records").normal(12, 5)
    return sensitivity(local, neighbours(records, "zero-out"), declared=1.0,
                       what="move by one record over the clip of one record")  # fmt: skip


def _unclipped_step(records: Tensor) -> Tensor:
    return torch.nan_to_num(records).sum(dim=0)


def _clipped_step(records: Tensor) -> Tensor:
    return Clip(joint_norm=1.0).apply(records, (5,)).sum(dim=0)


def _l8(system: AsReleasedDpFedLora) -> Finding:
    def step(values: dict[str, Tensor], key: Key) -> dict[str, Tensor]:
        return system.upload(values, BROADCAST, key, controls={"A 0": values["A 0"]})

    return outbox.unnoised(step, VALUES, {name: value.flip(0) for name, value in VALUES.items()})


def _l10(system: AsReleasedDpFedLora) -> Finding:
    values = {"A": torch.zeros(2, 40, 40, dtype=torch.float64)}
    sent = system.upload(values, {"A": values["A"][0]}, _KEY)["A"]
    return worst([
        noise.reproducible(sent[0], lambda seed: released.default_noise((40, 40), seed), (0, 42)),
        noise.independence({"client 0": sent[0], "client 1": sent[1]}),
        noise.variance(sent, stddev=system.sigma),
        noise.normality(sent, stddev=system.sigma),
    ])  # fmt: skip


def _l12(before: bool) -> Finding:
    logged, _ = released.logged_statistics(
        VALUES["A 0"][0], _SYSTEM.clip_norm, _SYSTEM.sigma, before=before
    )
    return theorem.at_most(
        logged, _SYSTEM.clip_norm * (1 + 1e-9), what="logged norm of what was released"
    )


def _l14(system: AsReleasedDpFedLora) -> Finding:
    def run(on: bool) -> Tensor:
        return replace(system, use_dp=on).upload(VALUES, BROADCAST, _KEY)["A 0"]

    return flags.switch(run, "use_dp")


_defect = partial(defect, "dp-fedlora")
_CLIENT = mu_claim(adjacency="zero-out", unit="client")
_25 = {"mu": gaussian.mu_interval(25.0, 1e-5)[0], "adjacency": "zero-out", "unit": "client"}
_HEADLINE = _uploads(20, _SYSTEM.sigma), _uploads(20, 0.1 * _exact_sigma(20))
_CLASSICAL = _uploads(1, _SYSTEM.sigma), _uploads(1, 0.1 * _exact_sigma(1))
_RECORDS = people(0)[:, :5], people(1)[:, :5]


def _local_step(step: Callable[[Tensor], Tensor]) -> outbox.Step:
    return Additive(clean=lambda rows: {"step": step(rows)}, stddevs={"step": 1.0}).step


def _exchanged(stddev: float) -> Additive:
    return Additive(
        clean=lambda v: {"A": _SYSTEM.clean(v, BROADCAST)["A 0"][0]}, stddevs={"A": stddev}
    )


_ZERO = {name: 0.0 * value for name, value in VALUES.items()}

DEFECTS = (
    _defect("L1", "the quoted number is of one upload", *_HEADLINE, _quoted,
            both(_HEADLINE[0].step, _HEADLINE[1].step, _ZERO, VALUES), _25, 4_000),
    _defect("L2", "each tensor has a bound of its own", _SYSTEM, _SOUND, _l2),
    _defect("L3", "the classical formula at epsilon 25", *_CLASSICAL, _quoted,
            both(_CLASSICAL[0].step, _CLASSICAL[1].step, _ZERO, VALUES), _25, 4_000),
    _defect("L4", "sensitivity C for what can move by 2C", _exchanged(_SYSTEM.clip_norm),
            _exchanged(2.0 * _SYSTEM.clip_norm), _l4),
    _defect("L5", "nothing is clipped per record", _unclipped_step, _clipped_step, _l5,
            both(_local_step(_unclipped_step), _local_step(_clipped_step), *_RECORDS), mu_claim()),
    _defect("L8", "control variates leave without noise", replace(_SYSTEM, scaffold_leak=True),
            _SYSTEM, _l8),
    _defect("L10", "the generator is seeded again before each upload",
            replace(_SYSTEM, reseeded=True), _SYSTEM, _l10),
    _defect("L12", "norms before the clip are logged with the noise after it", True, False, _l12),
    _defect("L14", "the switch does not reach the release",
            replace(_SYSTEM, flag_reaches_noise=False), _SYSTEM, _l14),
)  # fmt: skip
