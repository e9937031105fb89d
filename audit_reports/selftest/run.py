"""Run the controls of all attacks, or of some."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Literal, cast

from ...accountant.errors import AssetError, ParameterError
from ...attacks.catalog import homes
from .control import Control, Outcome
from .judge import Judgement, Kind, judge

FAMILIES = (
    "membership",
    "white_box",
    "federated",
    "prototypes",
    "gradients",
    "adapter_gradients",
    "prompts",
    "language",
)
KINDS: tuple[Kind, ...] = ("positive", "noise", "bounded")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One control, run.

    Attributes:
        family: file of the controls.
        attack, adversary, setting: as in `Control`.
        kind: "positive", "noise" or "bounded".
        seed: of the control.
        status: "ok", "failed", or "not run" where a model or data set is missing.
        judgement: how it came out; None if it was not run, or raised.
        words: one line for the reader.
        seconds: wall time.
    """

    family: str
    attack: str
    adversary: str
    setting: str
    kind: Kind
    seed: int
    status: Literal["ok", "failed", "not run"]
    judgement: Judgement | None
    words: str
    seconds: float


def controls(only: Iterable[str] = ()) -> list[tuple[str, Control]]:
    """(family, control) of the attacks or families named in `only`, or of all.

    Raises:
        ParameterError: a name that is neither.
    """
    wanted, known = set(only), {*FAMILIES, *homes()}
    for name in sorted(wanted - known):
        close = get_close_matches(name, sorted(known), n=6)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ParameterError(
            f"--only {name}: no attack has this name{hint}\n  `privassay list attacks` names them "
            f"all; families are {', '.join(FAMILIES)}."
        )
    found = []
    for family in FAMILIES:
        module = import_module(f"privassay.audit_reports.selftest.{family}")
        for control in cast(tuple[Control, ...], module.CONTROLS):
            if not wanted or wanted & {family, control.attack}:
                found.append((family, control))
    return found


def run(
    chosen: list[tuple[str, Control]],
    *,
    seed: int = 0,
    say: Callable[[Result, int, int], None] | None = None,
) -> list[Result]:
    """Run every control of every attack in `chosen`, one after the other.

    Args:
        chosen: of `controls`.
        seed: of all of them. The tests of chance and of ceilings fail for one seed in 100,000; what
            the positive controls must reach leaves room for about one seed in a hundred each.
        say: is told each result, its number and how many there are.
    """
    from ...fl_core.simulate import one_thread

    work = [
        (family, control, kind, run_one)
        for family, control in chosen
        for kind in KINDS
        if (run_one := getattr(control, kind)) is not None
    ]
    results = []
    missing = cache(_missing)  # reads all of an asset: once for each
    with one_thread():
        for number, (family, control, kind, run_one) in enumerate(work, start=1):
            start = time.monotonic()
            absent = [why for name in control.assets if (why := missing(name)) is not None]
            status, judgement, words = _judged(control, kind, run_one, seed, absent)
            result = Result(
                family=family,
                attack=control.attack,
                adversary=control.adversary,
                setting=control.setting,
                kind=kind,
                seed=seed,
                status=status,
                judgement=judgement,
                words=words,
                seconds=round(time.monotonic() - start, 3),
            )
            results.append(result)
            if say is not None:
                say(result, number, len(work))
    return results


def _missing(asset: str) -> str | None:
    """Why a control that needs this asset cannot run; asked before any work is done for it."""
    from ...fl_core.data.assets import path

    try:
        path(asset)
    except AssetError as error:
        return str(error)
    return None


def _judged(
    control: Control, kind: Kind, run_one: Callable[[int], Outcome], seed: int, absent: list[str]
) -> tuple[Literal["ok", "failed", "not run"], Judgement | None, str]:
    """What is wrong with one control must not hide what the others show."""
    if absent:
        return "not run", None, f"not run: {absent[0]}"
    try:
        found = judge(kind, run_one(seed), at_least=control.at_least, reaches=control.reaches)
    except AssetError as error:
        return "not run", None, f"not run: {error}"
    except Exception as error:
        return "failed", None, f"raised {type(error).__name__}: {error}"
    return ("ok" if found.passed else "failed"), found, found.words
