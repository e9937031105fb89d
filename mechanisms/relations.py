"""Events that hold under some neighbour relations only: accounting under another is refused.

An event carries no relation, and an accountant doubles every contribution for replace-one. Where
that is not enough to be right, a part is added that costs nothing and is proven for the same
relations only, so that a bound cannot be computed under a wrong one.
"""

import dp_accounting.dp_event as dpe

from ..accountant.events import ShuffledBatchesDpEvent


def fixed_size(*parts: dpe.DpEvent) -> dpe.DpEvent:
    """`parts` composed, which hold under zero-out and replace-one; accounting refuses add-remove.

    For programs in which a record that is gone changes more than a sum: batches, counts, who
    uploads. The added part is one batch of all records, of which nothing is released.
    """
    return dpe.ComposedDpEvent([*parts, ShuffledBatchesDpEvent(1, dpe.NoOpDpEvent())])


def exchanges_only(event: dpe.DpEvent) -> dpe.DpEvent:
    """`event`, which holds under replace-one alone; accounting refuses the others.

    The added part is a randomised response that nobody gives: sampled at rate 0.
    """
    answer = dpe.RandomizedResponseDpEvent(1.0, 2)
    return dpe.ComposedDpEvent([event, dpe.PoissonSampledDpEvent(0.0, answer)])
