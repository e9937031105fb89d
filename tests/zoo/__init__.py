"""The zoo: mechanisms as arrays-in, arrays-out samplers, correct and broken, each with a claim.

An audit has to refute every broken one and must not refute a correct one.
"""

from .entry import Entry as Entry
from .gaussian import ENTRIES as _GAUSSIAN
from .pure import ENTRIES as _PURE
from .selection import ENTRIES as _SELECTION

ZOO: dict[str, Entry] = {entry.name: entry for entry in (*_GAUSSIAN, *_PURE, *_SELECTION)}
CORRECT = [entry for entry in ZOO.values() if entry.correct]
BROKEN = [entry for entry in ZOO.values() if not entry.correct]
