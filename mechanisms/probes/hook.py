"""`Hook`: what a user tells about a program, and what a probe that lacks something says."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from ..base import Key
from . import outbox, replay, taint
from .inputs import noise_scale
from .noise import Law
from .sensitivity import Pair


class Sampler(NamedTuple):
    """Who takes part: key -> bool[units] for one round, and the rate of the account."""

    draw: Callable[[Key], Tensor]
    rate: float


class Round(NamedTuple):
    """A round of training: (state, batches) -> state, the state before it, and its batches."""

    run: Callable[[Any, Sequence[Any]], Any]
    start: Any
    batches: Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A user's program: three fields are needed, each further one allows more probes.

    Attributes:
        step: (data, key) -> {name: tensor}: everything that leaves. Noise comes from the key
            (`key.generator()` is a numpy generator) or from wherever the program takes it.
        data: a data set.
        neighbour: another, that moves every statistic. Give a true neighbour in the relation of
            mu or epsilon, or `pairs` of such.
        stddevs: {name: declared standard deviation of the noise}, a number or a tensor that
            broadcasts; 0 for public values.
        law: of that noise, "gaussian" or "laplace"; None if it is another.
        clean: data -> {name: tensor}: the same before noise. Without it, noise is isolated as the
            difference of two releases, and moves as the difference of two releases with one key.
        mu: declared for one call, Gaussian; epsilon: declared for one call, Laplace noise.
        pairs: neighbouring data sets for the sensitivity; (data, neighbour) alone if empty.
        clients: whether the first axis of the data, and of what leaves, are clients.
        draws: calls whose noise is examined.
        system: whether `step` takes keys of the operating system, so that freshness can be seen.
        seeds: that an attacker would try.
        switches: {option: run(on) -> tensor}: must change what is released.
        options: call(name) -> anything: must refuse names that it does not know.
        branches: (run(name) -> name of the branch executed, all names).
        sampler: who takes part in a round.
        program: (data, privatise) -> {name: tensor}, see `replay.post_processing`.
        flow: (nodes, names released), see `taint.taint`.
        round_: of training, see `contamination.surviving_rounds`.
    """

    step: outbox.Step
    data: Any
    neighbour: Any
    stddevs: Mapping[str, Any] = field(default_factory=dict)
    law: Law | None = "gaussian"
    clean: Callable[[Any], Mapping[str, Tensor]] | None = None
    mu: float | None = None
    epsilon: float | None = None
    pairs: Iterable[Pair] = ()
    clients: bool = False
    draws: int = 400
    system: bool = True
    seeds: Sequence[int] = (*range(11), 42, 123, 1234, 2023, 2024, 2025)
    switches: Mapping[str, Callable[[bool], Tensor]] = field(default_factory=dict)
    options: Callable[[str], object] | None = None
    branches: tuple[Callable[[str], str], Sequence[str]] | None = None
    sampler: Sampler | None = None
    program: replay.Program | None = None
    flow: tuple[Sequence[taint.Node], Sequence[str]] | None = None
    round_: Round | None = None

    def __post_init__(self) -> None:
        if self.law is not None:
            check.one_of(get_args(Law), law=self.law)
        check.count(draws=self.draws)
        for name, value in (("mu", self.mu), ("epsilon", self.epsilon)):
            if value is not None:
                check.non_negative(**{name: value})
        if not isinstance(self.stddevs, Mapping):
            raise ParameterError(
                f"stddevs must be {{name: stddev}}, but is {self.stddevs!r}.\n  Name each thing "
                'that leaves as step does: stddevs={"out": ...}.'
            )
        for name, stddev in self.stddevs.items():
            noise_scale(name, stddev)


class Skipped(NamedTuple):
    """A probe that was not run, and what it would need."""

    probe: str
    reason: str
