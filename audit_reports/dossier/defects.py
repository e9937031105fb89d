"""Every numbered defect of a system, shown now: a small program, its twin, and the probe."""

from ...mechanisms import broken
from .reference import RefTable


def defects(system: str) -> RefTable:
    """The table of one system."""
    found = [d for d in broken.defects() if d.system == system]
    rows, caught = [], 0
    for defect in found:
        bad, good = defect.check(defect.bad), defect.check(defect.good)
        caught += bad.fired and not good.fired
        rows.append((defect.code, defect.reason, bad.text, good.text))
    return RefTable(
        key="defects",
        caption="each defect as a small program and its correct twin, probed now; the numbers are "
        "those of the small programs",
        header=("defect", "what is wrong", "probe of the defect", "probe of the twin"),
        rows=tuple(rows),
        reading=f"{caught} of {len(found)} defects are found, their twins are not.",
    )
