"""The area under the curve: a description of scores, without a bound."""

import numpy as np
from numpy.typing import NDArray


def auc(values_in: NDArray[np.float64], values_out: NDArray[np.float64]) -> float:
    """Chance that an in-score is above an out-score, ties counted half.

    >>> auc(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    0.875
    """
    sorted_out = np.sort(values_out)
    below = np.searchsorted(sorted_out, values_in, side="left")
    upto = np.searchsorted(sorted_out, values_in, side="right")
    return float((below + upto).mean() / (2 * sorted_out.size))
