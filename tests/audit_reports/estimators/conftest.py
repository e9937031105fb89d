"""Shared by the estimator tests: a private cache folder, scores and claims."""

import numpy as np
import pytest

from privassay.accountant.claim import PrivacyClaim
from privassay.attacks.scores import Scores


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIVASSAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def make_scores():
    def make(values_in, values_out, design="many_runs", adjacency="add-remove", unit="example"):
        return Scores(
            values_in=np.asarray(values_in, dtype=float),
            values_out=np.asarray(values_out, dtype=float),
            design=design,
            adversary="server",
            attack="test",
            adjacency=adjacency,
            unit=unit,
        )

    return make


@pytest.fixture
def counts_scores(make_scores):
    """Scores 1 and 0 with the given four counts, for the threshold 0.5."""

    def make(tp, fn, fp, tn):
        return make_scores([1.0] * tp + [0.0] * fn, [1.0] * fp + [0.0] * tn)

    return make


@pytest.fixture
def make_claim():
    def make(**guarantee):
        terms = {"adjacency": "add-remove", "unit": "example"}
        return PrivacyClaim(**{**terms, **guarantee})

    return make
