"""All probes that fit one program, described by a few plain callables. Manual: docs/probes.md."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import contamination, flags, outbox, replay, sampling, taint
from .finding import Finding
from .forensics import forensics
from .hook import Hook as Hook
from .hook import Round as Round
from .hook import Sampler as Sampler
from .hook import Skipped as Skipped


@dataclass(frozen=True, kw_only=True)
class Report:
    """What all probes saw.

    Attributes:
        findings: of the probes that ran, in order.
        skipped: those that did not run, with the reason.
    """

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """What fired with a severity above "info"."""
        return tuple(f for f in self.findings if f.fired and f.severity != "info")

    def __str__(self) -> str:
        """A line for each finding and for each probe that was skipped."""
        lines = [str(found) for found in self.findings]
        return "\n".join([*lines, *(f"skipped {s.probe}: {s.reason}" for s in self.skipped)])


def probe(hook: Hook) -> Report:
    """Every probe that the hook allows; the rest with what they would need.

    >>> from privassay.mechanisms.base import SeededKey
    >>> from privassay.mechanisms.laplace import LaplaceSum
    >>> sum_ = LaplaceSum(l1_norm=1.0, noise_multiplier=2.0)
    >>> rows = SeededKey(0).normal(5, 3)
    >>> hook = Hook(step=lambda x, key: {"sum": sum_.release(x, key)}, data=rows, neighbour=-rows)
    >>> report = probe(hook)
    >>> [found.probe for found in report.findings], len(report.alarms), len(report.skipped)
    (['release ledger', 'freshness', 'global generator'], 0, 12)
    """
    results = list(_results(hook))
    return Report(
        findings=tuple(r for r in results if isinstance(r, Finding)),
        skipped=tuple(r for r in results if isinstance(r, Skipped)),
    )


def _results(hook: Hook) -> Iterator[Finding | Skipped]:
    yield outbox.unnoised(hook.step, hook.data, hook.neighbour)
    yield from forensics(hook)
    yield from _optional(
        "contamination",
        "clients=True, with clients on the first axis of data and releases",
        (lambda: contamination.contamination(hook.step, hook.data)) if hook.clients else None,
    )
    if not hook.switches:
        yield Skipped("flag truthfulness", "needs switches={option: run(on) -> tensor}")
    for name, run in hook.switches.items():
        yield flags.switch(run, name)
    call, branches, flow = hook.options, hook.branches, hook.flow
    yield from _optional(
        "unknown options",
        "options=call(name)",
        (lambda: flags.unknown_option(call, "no_such_option")) if call else None,
    )
    yield from _optional(
        "branches",
        "branches=(run(name) -> branch, names)",
        (lambda: flags.branches(*branches)) if branches else None,
    )
    who, program, steps = hook.sampler, hook.program, hook.round_
    yield from _optional(
        "sampling",
        "sampler=Sampler(key -> bool[units], rate)",
        (lambda: sampling.poisson(who.draw, rate=who.rate)) if who else None,
    )
    yield from _optional(
        "replay",
        "program=(data, privatise) -> releases",
        (lambda: replay.post_processing(program, hook.data, hook.neighbour)) if program else None,
    )
    yield from _optional(
        "taint",
        "flow=(nodes, names released)",
        (lambda: taint.taint(*flow)) if flow else None,
    )
    yield from _optional(
        "surviving rounds",
        "round_=Round(run, start, batches)",
        (lambda: contamination.surviving_rounds(*steps)) if steps else None,
    )


def _optional(
    name: str, needs: str, run: Callable[[], Finding] | None
) -> Iterator[Finding | Skipped]:
    yield Skipped(name, f"needs {needs}") if run is None else run()
