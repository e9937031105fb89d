"""What a broken program and its twin are, and the records that they share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..base import Key, SeededKey
from ..clipping import Clip
from ..probes.finding import Finding
from ..probes.hook import Hook
from ..probes.noise import Law
from ..probes.outbox import Step
from ..probes.replay import Program

System = Literal["general", "vpdr", "dp-fpl", "dp-fedlora", "secfpp"]
Draw = Callable[[int, int, SeededKey], Tensor]


@dataclass(frozen=True)
class Sample:
    """sample(world, n, seed) for `pa.audit_mechanism`: n outputs; world 1 has the target.

    Attributes:
        draw: (world, n, key) -> tensor[n, ...].
    """

    draw: Draw

    def __call__(self, world: int, n: int, seed: int) -> NDArray[Any]:
        """array[n, ...]."""
        found: NDArray[Any] = self.draw(world, n, SeededKey(seed)).numpy()
        return found


def stepwise(step: Step, absent: Any, present: Any) -> "Sample":
    """A sampler that runs a program once for each output; all that leaves, in one row."""

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        data = present if world else absent
        runs = (step(data, key.child(i)) for i in range(n))
        return torch.stack(
            [torch.cat([value.double().flatten() for value in run.values()]) for run in runs]
        )

    return Sample(draw)


def both(bad: Step, good: Step, absent: Any, present: Any) -> tuple["Sample", "Sample"]:
    """A broken program and its twin as samplers."""
    return stepwise(bad, absent, present), stepwise(good, absent, present)


@dataclass(frozen=True, kw_only=True)
class Additive:
    """A program that adds independent Gaussian noise to everything that leaves.

    Attributes:
        clean: data -> {name: tensor}, before noise.
        stddevs: {name: standard deviation}, a number or a tensor that broadcasts.
    """

    clean: Callable[[Any], Mapping[str, Tensor]]
    stddevs: Mapping[str, Any]

    def step(self, data: Any, key: Key) -> dict[str, Tensor]:
        """What leaves."""
        return {
            name: value + self.stddevs[name] * key.child(name).normal(*value.shape)
            for name, value in self.clean(data).items()
        }


def with_noise(program: Program, stddev: float) -> Step:
    """The step of a program whose releases get Gaussian noise of `stddev`."""

    def step(data: Any, key: Key) -> dict[str, Tensor]:
        releases = count()

        def privatise(name: str, value: Tensor) -> Tensor:
            return value + stddev * key.child(name, next(releases)).normal(*value.shape).to(value)

        return dict(program(data, privatise))

    return step


@dataclass(frozen=True, kw_only=True)
class SamplerTwin:
    """A broken sampler and its correct twin under one claim.

    Attributes:
        name: of the bug.
        code: number of the defect of which it is an instance, or "".
        system: whose.
        bad: breaks the claim; good: keeps it.
        claim: fields of a `PrivacyClaim`.
        reason: what is wrong with the broken one.
        trials: in each world, with which it is refuted reliably.
        stddevs: what each of the two says about its noise, a number or a tensor that broadcasts;
            None where it is not independent noise on every entry.
        law: of that noise.
    """

    name: str
    code: str = ""
    system: System
    bad: Sample
    good: Sample
    claim: dict[str, Any]
    reason: str
    trials: int = 4_000
    stddevs: tuple[Any, Any] | None = None
    law: Law = "gaussian"

    def hook(self, sample: Sample) -> Hook:
        """What the probes are told about `bad` or `good`: its claim and its noise, no more."""

        def step(world: int, key: Key) -> dict[str, Tensor]:
            if not isinstance(key, SeededKey):
                raise TypeError("a sampler follows its seed; it cannot be run with a system key")
            return {"out": sample.draw(world, 1, key)[0].double()}

        said = None if self.stddevs is None else self.stddevs[0 if sample is self.bad else 1]
        return Hook(
            step=step,
            data=1,
            neighbour=0,
            stddevs={} if said is None else {"out": said},
            law=self.law,
            mu=self.claim.get("mu"),
            epsilon=self.claim.get("epsilon") if self.law == "laplace" else None,
            system=False,
        )


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A numbered defect: a small program, its correct twin, and the probe that tells them apart.

    Attributes:
        code: F, P, L or S and a number.
        system: whose.
        reason: what is wrong.
        bad: the program with the defect; good: its twin, of the same type.
        check: runs a probe on a program; must fire on `bad` and be silent on `good`.
        audit: the two as samplers, where the defect shows in what leaves.
    """

    code: str
    system: System
    reason: str
    bad: Any
    good: Any
    check: Callable[[Any], Finding]
    audit: SamplerTwin | None = None


def defect(
    system: System,
    code: str,
    reason: str,
    bad: object,
    good: object,
    check: Callable[..., Finding],
    samples: tuple["Sample", "Sample"] | None = None,
    claim: dict[str, Any] | None = None,
    trials: int = 1_000,
) -> Defect:
    """A `Defect`; with `samples` (broken, correct), which keep or break `claim`, mu = 1 if None."""
    audit = None if samples is None else SamplerTwin(
        name=code, code=code, system=system, bad=samples[0], good=samples[1], reason=reason,
        claim=mu_claim(adjacency="replace-one") if claim is None else claim, trials=trials,
    )  # fmt: skip
    return Defect(
        code=code, system=system, reason=reason, bad=bad, good=good, check=check, audit=audit
    )


DIM = 6
_generator = torch.Generator().manual_seed(20_261_121)
OTHERS = Clip(joint_norm=1.0).apply(
    0.5 * torch.randn(20, DIM, generator=_generator, dtype=torch.float64), (DIM,)
)
"""float64[20, 6]: records that are always there, of norm at most 1."""
_direction = torch.randn(DIM, generator=_generator, dtype=torch.float64)
TARGET = 3.0 * _direction / _direction.norm()
"""float64[6]: the record in question, of norm 3: every clip matters to it."""


def people(world: int) -> Tensor:
    """float64[20 or 21, 6]: the records, the target last in world 1."""
    return torch.cat([OTHERS, TARGET.unsqueeze(0)]) if world else OTHERS


def copies(rows: Tensor, n: int) -> Tensor:
    """The same rows for n independent runs, float64[n, *rows.shape]; not copied in memory."""
    return rows.expand(n, *rows.shape)


def mu_claim(mu: float = 1.0, adjacency: str = "add-remove", unit: str = "example"
             ) -> dict[str, Any]:  # fmt: skip
    """A claim of the whole Gaussian curve."""
    return {"mu": mu, "adjacency": adjacency, "unit": unit}
