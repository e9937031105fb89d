"""DP-FedLoRA's defects L1 to L15, each with its twin and the probe that tells them apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import gaussian
from ...accountant.calibrate import calibrate_gaussian
from ..base import Key, SeededKey
from ..clipping import Clip
from ..lora_aggregate import (
    Adapter,
    gauge_noise,
    ideal,
    one_factor_noise,
    plain_average,
    product_noise,
    residual_corrected,
)
from ..probes import declared, flags, noise, outbox, theorem
from ..probes.finding import Finding, worst
from ..probes.sensitivity import Pair, neighbours, sensitivity
from ..released import dp_fedlora as released
from ..released.dp_fedlora import AsReleasedDpFedLora
from .twins import Defect

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


def _calibrated(rounds: int) -> dpe.DpEvent:
    mu = gaussian.mu_interval(25.0, 1e-5)[0]
    sigma = calibrate_gaussian(mu=mu, rounds=rounds, adjacency="zero-out")
    return dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(sigma), rounds)


def _quoted(event: dpe.DpEvent) -> Finding:
    return declared.quoted(event, adjacency="zero-out", epsilon=25.0, delta=1e-5,
                           what="all releases of one client")  # fmt: skip


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


def _l4(declared_moves: float) -> Finding:
    """One tensor; declared in units of C."""
    return sensitivity(
        lambda values: _SYSTEM.clean(values, BROADCAST)["A 0"][0] / _SYSTEM.clip_norm,
        _upload_pairs(True),
        declared=declared_moves,
        what="move of a clipped tensor over C",
    )


def _l5(local: Callable[[Tensor], Tensor]) -> Finding:
    records = _KEY.child("records").normal(12, 5)
    return sensitivity(local, neighbours(records, "zero-out"), declared=1.0,
                       what="move by one record over the clip of one record")  # fmt: skip


def _unclipped_step(records: Tensor) -> Tensor:
    return torch.nan_to_num(records).sum(dim=0)


def _clipped_step(records: Tensor) -> Tensor:
    return Clip(joint_norm=1.0).apply(records, (5,)).sum(dim=0)


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """An averaged factor: bound on its signal, noise of a factor, its size, weights."""

    clip_norm: float
    stddev: float
    side: int
    weights: tuple[float, ...]


def _l6(case: Averaged) -> Finding:
    norm = released.noise_norm(case.stddev, 8, case.side, case.weights)
    return theorem.at_least(case.clip_norm / norm, 1.0,
                            what=f"bound on the signal over noise of norm {norm:.3g}")  # fmt: skip


def _l7(aggregate: Callable[[Tensor, Tensor, Tensor], Adapter]) -> Finding:
    return theorem.agrees(aggregate(B, A, WEIGHTS).update(), ideal(B, A, WEIGHTS),
                          what="the aggregate")  # fmt: skip


def _l8(system: AsReleasedDpFedLora) -> Finding:
    def step(values: dict[str, Tensor], key: Key) -> dict[str, Tensor]:
        return system.upload(values, BROADCAST, key, controls={"A 0": values["A 0"]})

    return outbox.unnoised(step, VALUES, {name: value.flip(0) for name, value in VALUES.items()})


def _l9(arguments: Mapping[str, Any]) -> Finding:
    return declared.amplification(**arguments)


def _l10(system: AsReleasedDpFedLora) -> Finding:
    values = {"A": torch.zeros(2, 40, 40, dtype=torch.float64)}
    sent = system.upload(values, {"A": values["A"][0]}, _KEY)["A"]
    return worst([
        noise.reproducible(sent[0], lambda seed: released.default_noise((40, 40), seed), (0, 42)),
        noise.independence({"client 0": sent[0], "client 1": sent[1]}),
        noise.variance(sent, stddev=system.sigma),
        noise.normality(sent, stddev=system.sigma),
    ])  # fmt: skip


def _l11(power: Callable[[float], float]) -> Finding:
    found = torch.tensor([power(0.1), power(10.0)], dtype=torch.float64)
    return theorem.agrees(found, torch.full((2,), power(1.0), dtype=torch.float64), tolerance=1e-6,
                          what="noise power on BA at scales .1 and 10")  # fmt: skip


def _l12(before: bool) -> Finding:
    logged, _ = released.logged_statistics(
        VALUES["A 0"][0], _SYSTEM.clip_norm, _SYSTEM.sigma, before=before
    )
    return theorem.at_most(
        logged, _SYSTEM.clip_norm * (1 + 1e-9), what="logged norm of what was released"
    )


def _l13(made_on: Mapping[str, str]) -> Finding:
    return declared.choices(made_on)


def _l14(system: AsReleasedDpFedLora) -> Finding:
    def run(on: bool) -> Tensor:
        return replace(system, use_dp=on).upload(VALUES, BROADCAST, _KEY)["A 0"]

    return flags.switch(run, "use_dp")


def _l15(branch: Callable[[str], str]) -> Finding:
    return flags.branches(branch, released.ALGORITHMS)


def _slip(variance: Callable[[Tensor, Tensor, float], float]) -> Finding:
    """Against noise that was drawn."""
    b, a, stddev = B[0], A[0], 0.3
    draws = 20_000
    beta = stddev * _KEY.child("beta").normal(draws, M, RANK)
    alpha = stddev * _KEY.child("alpha").normal(draws, RANK, N)
    power = ((b + beta) @ (a + alpha) - b @ a).square().sum(dim=(1, 2)).mean()
    return theorem.agrees(torch.tensor([variance(b, a, stddev)]), power.reshape(1), tolerance=0.03,
                          what="variance of the noise on BA by the formula")  # fmt: skip


def _defect(code: str, reason: str, bad: object, good: object,
            check: Callable[..., Finding]) -> Defect:  # fmt: skip
    return Defect(code=code, system="dp-fedlora", reason=reason, bad=bad, good=good, check=check)


DEFECTS = (
    _defect("L1", "the quoted number is of one upload", replace(
                _SYSTEM, tensors=1).event(participations=20, moved=1.0), _calibrated(20), _quoted),
    _defect("L2", "each tensor has a bound of its own", _SYSTEM, _SOUND, _l2),
    _defect("L3", "the classical formula at epsilon 25",
            replace(_SYSTEM, tensors=1).event(moved=1.0), _calibrated(1), _quoted),
    _defect("L4", "sensitivity C for what can move by 2C", 1.0, 2.0, _l4),
    _defect("L5", "nothing is clipped per record", _unclipped_step, _clipped_step, _l5),
    _defect("L6", "the averaged adapter is noise",
            Averaged(clip_norm=0.1, stddev=_SYSTEM.sigma, side=4096, weights=(0.5, 0.5)),
            Averaged(clip_norm=1.0, stddev=0.035, side=64, weights=(1.0 / 1000,) * 1000), _l6),
    _defect("L7", "factors are averaged one by one", plain_average, residual_corrected, _l7),
    _defect("L8", "control variates leave without noise", replace(_SYSTEM, scaffold_leak=True),
            _SYSTEM, _l8),
    _defect("L9", "amplification for a schedule that anyone can compute",
            {"sampler": "poisson", "secret": False, "rate": 0.1},
            {"sampler": "poisson", "secret": True, "rate": 0.1}, _l9),
    _defect("L10", "the generator is seeded again before each upload",
            replace(_SYSTEM, reseeded=True), _SYSTEM, _l10),
    _defect("L11", "noise on both factors depends on their scale",
            lambda c: gauge_noise(B[0], A[0], 0.3, c).total,
            lambda c: one_factor_noise(A[0], M, torch.ones(1), 0.3).total, _l11),
    _defect("L12", "norms before the clip are logged with the noise after it", True, False, _l12),
    _defect("L13", "learning rate, epsilon and C are swept on evaluation tasks",
            {"lr": "MMLU", "C": "MMLU"}, {"lr": "public", "C": "charged"}, _l13),
    _defect("L14", "the switch does not reach the release",
            replace(_SYSTEM, flag_reaches_noise=False), _SYSTEM, _l14),
    _defect("L15", "a misspelt branch runs plain averaging", released.branch_as_released,
            released.branch, _l15),
    _defect("slip", "m and n are exchanged in the variance", released.swapped_variance,
            lambda b, a, s: product_noise(b, a, s).total, _slip),
)  # fmt: skip
