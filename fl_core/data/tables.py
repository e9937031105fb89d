"""Plain tables that scikit-learn brings along: no asset, no network, no pictures."""

from importlib.metadata import version

import numpy as np

from .pool import Pool


def digits_table() -> Pool:
    """1,797 digits as 64 grey values in [0, 1], in scikit-learn's order."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return _table(
        "digits_table",
        data.data / 16,  # the greatest value a pixel can have
        data.target,
        tuple("0123456789"),
        "digits, 8x8 pixels divided by 16",
    )


def breast_cancer_table() -> Pool:
    """569 biopsies with 30 measurements, each scaled to [0, 1] by its range.

    The ranges are those over all records, which the data set's own description publishes.
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    low, high = data.data.min(axis=0), data.data.max(axis=0)
    return _table(
        "breast_cancer_table",
        (data.data - low) / (high - low),
        data.target,
        tuple(str(name) for name in data.target_names),
        "breast_cancer, columns scaled to [0, 1] by their published ranges",
    )


def _table(name: str, x: np.ndarray, y: np.ndarray, classes: tuple[str, ...], what: str) -> Pool:
    return Pool(
        name=name,
        x=x.astype(np.float32),
        y=y.astype(np.int64),
        classes=classes,
        domain=np.zeros(len(y), dtype=np.int64),
        domains=(name,),
        provenance=f"scikit-learn {version('scikit-learn')} {what}",
    )
