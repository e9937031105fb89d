"""Do options do what they are called?"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .finding import Finding

PROBE = "flag truthfulness"


def switch(run: Callable[[bool], Tensor], name: str) -> Finding:
    """Fires where a release is the same with the option on and off; all else must be equal."""
    on, off = run(True), run(False)
    same = on.shape == off.shape and torch.equal(on, off)
    return Finding(
        probe=PROBE,
        fired=same,
        text=f"with {name} on and off the releases are {'the same' if same else 'different'}",
        fix=f"let {name} reach the code that releases" if same else "",
    )


def unknown_option(call: Callable[[str], object], name: str) -> Finding:
    """Fires where an option that does not exist is accepted."""
    try:
        call(name)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return Finding(probe=PROBE, fired=False, text=f"{name!r} is refused: {error}")
    return Finding(
        probe=PROBE,
        fired=True,
        text=f"{name!r} does not exist and is accepted",
        fix="refuse options that are not known",
    )


def branches(run: Callable[[str], str], names: Iterable[str]) -> Finding:
    """Fires where an algorithm's name does not reach the branch of that name.

    Args:
        run: name -> the branch that was executed.
        names: all that the program accepts.
    """
    wrong = [(name, found) for name in names if (found := run(name)) != name]
    if not wrong:
        return Finding(probe=PROBE, fired=False, text="every name reaches its branch")
    shown = ", ".join(f"{name!r} runs {found!r}" for name, found in wrong)
    return Finding(
        probe=PROBE,
        fired=True,
        text=shown,
        fix="look the name up in one table, and refuse what is not there",
        measured=float(len(wrong)),
        declared=0.0,
    )
