"""The figures: pure functions from the record to SVG text, a conclusion and the data behind it.

No statistics is done here beyond turning recorded counts into the limits that the record already
rests on (`clopper_pearson.upper_limit` at the recorded level).
"""

from ..estimators.bound import EmpiricalBound
from ..record import AuditRecord
from .accuracies import leaderboard
from .drawing import Drawing as Drawing
from .epsilons import bounds
from .rates import FEWEST as FEWEST
from .rates import allowed_tpr as allowed_tpr
from .rates import certified_curve as certified_curve
from .rates import proven_tpr as proven_tpr
from .rates import raw_curve as raw_curve
from .rates import raw_tpr as raw_tpr
from .tradeoffs import tradeoff, tradeoff_name


def all_figures(record: AuditRecord) -> dict[str, Drawing]:
    """Every figure for which the record has data, by file stem."""
    found = {}
    for number, row in enumerate(record.mechanisms, start=1):
        if any(isinstance(a.bound, EmpiricalBound) for a in row.attacks):
            found[tradeoff_name(number, row)] = tradeoff(record, row, number)
    if record.mechanisms:
        found["bounds"] = bounds(record)
    if record.utility:
        found["utility"] = leaderboard(record)
    return found
