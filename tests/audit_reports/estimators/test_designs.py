import numpy as np
import pytest

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.scores import DESIGNS
from privassay.audit_reports.estimators.designs import ALLOWED, DEFAULTS
from privassay.audit_reports.estimators.estimate import ALL_METHODS, METHODS, estimate

THRESHOLDS = ("clopper_pearson", "bayesian")


def options(design, method):
    needs = method in THRESHOLDS or design in ("per_round", "sequential")
    return {"threshold": 0.5} if needs else {}


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("method", ALL_METHODS)
def test_every_pair_works_or_says_what_would(make_claim, design, method):
    rng = np.random.default_rng(0)
    data = (rng.normal(2, 1, 300), rng.normal(size=300))
    claim = make_claim(mu=0.1)
    if method in ALLOWED[design]:
        found = estimate(
            *data, design=design, claim=claim, method=method, **options(design, method)
        )
        assert found.method == method and found.confidence == 0.95 and found.delta == 1e-5
        assert found.epsilon_lower > 0.0
        if method != "bayesian":
            assert found.guarantee == "exact" and found.refutes(claim)
    else:
        with pytest.raises(DesignError, match=DEFAULTS[design]) as caught:
            estimate(*data, design=design, claim=claim, method=method)
        for valid in ALLOWED[design]:
            assert f'"{valid}"' in str(caught.value)


@pytest.mark.parametrize("design", DESIGNS)
def test_the_default_is_picked_by_design(make_claim, design):
    threshold = {"threshold": 0.5} if DEFAULTS[design] == "e_process" else {}
    found = estimate([1.0] * 100, [0.0] * 100, design=design, claim=make_claim(mu=0.1), **threshold)
    assert found.method == DEFAULTS[design]


def test_names():
    assert METHODS == ("band", "split", "clopper_pearson")
    assert set(ALL_METHODS) == set().union(*ALLOWED.values())
    assert all(DEFAULTS[design] in ALLOWED[design] for design in DESIGNS)


def test_options_that_belong_to_others_raise(make_claim):
    data, claim = ([1.0] * 9, [0.0] * 9), make_claim(mu=0.1)
    for method in ("dkw", "multi_split", "one_run_fdp"):
        with pytest.raises(DesignError, match="choose their own"):
            estimate(*data, design="many_runs", claim=claim, method=method, threshold=0.5)
    with pytest.raises(DesignError, match="guesses="):
        estimate(*data, design="many_runs", claim=claim, method="band", guesses=(1, 1))
    with pytest.raises(DesignError, match="bayesian"):
        estimate(*data, design="many_runs", claim=claim, method="bayesian")
    with pytest.raises(ParameterError, match="'e_process'"):
        estimate(*data, design="many_runs", claim=claim, method="e_proces")
