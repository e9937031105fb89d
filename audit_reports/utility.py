"""Utility at equal budget: every mechanism beside the mandatory controls, over seeds."""

from collections.abc import Mapping, Sequence

from scipy.special import stdtrit
from torch import Tensor

from ..fl_core import simulate
from ..fl_core.config import AuditFile
from ..fl_core.task import Task
from ..mechanisms.base import Key, Mechanism
from .results import UtilityRow


def compare(
    task: Task,
    mechanisms: Mapping[str, Mechanism],
    equal_budget: Sequence[str],
    audit: AuditFile,
    *,
    key: Key,
) -> tuple[UtilityRow, ...]:
    """Accuracy of each mechanism, of local training alone and of meaningless prototypes.

    Args:
        task: the records.
        mechanisms: name -> mechanism.
        equal_budget: names of the mechanisms whose proven bound is the claimed one.
        audit: the audit file.
        key: root of the seeds' random numbers.
    """
    found = simulate.utility(task, mechanisms, audit, key=key)
    rows = []
    for name, result in found.items():
        for metric, values in (("head", result.head), ("prototype", result.prototype)):
            if metric == "prototype" and name == simulate.LOCAL_ONLY:
                continue  # it has no global prototypes
            columns = {client: values[:, i] for i, client in enumerate(task.clients)}
            for client, column in (columns | {"mean": values.mean(dim=1)}).items():
                mean, lower, upper = _interval(column)
                rows.append(
                    UtilityRow(
                        variant=name,
                        client=client,
                        metric=metric,
                        mean=mean,
                        lower=lower,
                        upper=upper,
                        seeds=audit.training.seeds,
                        equal_budget=name in equal_budget,
                    )
                )
    return tuple(rows)


def _interval(values: Tensor) -> tuple[float, float, float]:
    """Mean and 95 % Student t interval, cut to [0, 1]."""
    mean, count = float(values.mean()), len(values)
    half = float(stdtrit(count - 1, 0.975)) * float(values.std()) / count**0.5
    return mean, max(0.0, mean - half), min(1.0, mean + half)
