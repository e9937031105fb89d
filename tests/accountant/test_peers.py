import math

import dp_accounting.dp_event as dpe
import pytest

from privassay.accountant import peers
from privassay.accountant.account import account
from privassay.accountant.bounds import Interval
from privassay.accountant.errors import ParameterError
from privassay.accountant.peers import compare, cross_check, pld_epsilon, prv_epsilon, rdp_epsilon


def bound_of(mu):
    return account(dpe.GaussianDpEvent(1.0 / mu), adjacency="add-remove")


@pytest.mark.parametrize("mu", [0.01, 0.25, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-12])
def test_the_peers_agree(mu, delta):
    results = {result.peer: result for result in cross_check(bound_of(mu), delta)}
    assert set(results) == {"dp-accounting RDP", "dp-accounting PLD", "prv-accountant"}
    truth = bound_of(mu).epsilon(delta)
    for result in results.values():
        assert result.note == "agrees" or result.note.startswith("loose by"), result
        assert result.epsilon_lower <= truth.upper and result.epsilon_upper >= truth.lower
        assert result.seconds > 0.0
    if truth.lower > 0.0:
        assert results["dp-accounting PLD"].note == "agrees"
        assert results["dp-accounting PLD"].epsilon_lower > 0.98 * truth.lower - 1e-9


def test_the_adapters_enclose_a_known_value():
    truth = 4.37717809568122  # mu 1, delta 1e-5
    for ask, width in ((pld_epsilon, 2e-3), (prv_epsilon, 3e-2)):
        lower, upper = ask(1.0, 1e-5)
        assert lower <= truth <= upper < lower + width
    assert truth < rdp_epsilon(1.0, 1e-5)[1] < 1.2 * truth


def test_a_wrong_claim_of_ours_would_be_contradicted():
    # our interval, for a mechanism that leaks 1 % more or less
    for scale in (0.99, 1.01):
        wrong = bound_of(scale).epsilon(1e-5)
        notes = [compare(wrong, *ask(1.0, 1e-5)) for ask in (pld_epsilon, prv_epsilon)]
        assert notes == ["contradicts our interval"] * 2
    assert compare(Interval(5.0, 5.0), 0.0, 4.9) == "contradicts our interval"
    assert compare(Interval(5.0, 5.0), 0.0, 6.0) == "loose by 20 %"
    assert compare(Interval(5.0, 5.0), 0.0, 5.1) == "agrees"


@pytest.mark.parametrize(
    "mu, delta, note",
    [
        (1.0, 1e-13, "below its floor"),
        (0.0, 1e-5, "mu = 0"),
        (math.inf, 1e-5, "mu = inf"),
    ],
)
def test_not_asked(mu, delta, note):
    event = {0.0: dpe.NoOpDpEvent(), math.inf: dpe.NonPrivateDpEvent()}.get(
        mu, dpe.GaussianDpEvent(1.0)
    )
    for result in cross_check(account(event, adjacency="add-remove"), delta):
        assert result.note.startswith("not asked") and note in result.note
        assert (result.epsilon_lower, result.epsilon_upper) == (0.0, math.inf)


def test_pld_is_not_asked_where_it_underflows():
    results = {result.peer: result for result in cross_check(bound_of(50.0), 1e-5)}
    assert "above its range" in results["dp-accounting PLD"].note
    # If this fails, PLD was mended upstream and the guard can go.
    assert pld_epsilon(50.0, 1e-5)[0] > bound_of(50.0).epsilon(1e-5).upper


def test_an_error_of_prv_is_reported_in_its_own_words(monkeypatch):
    def refuse(mu, delta):
        raise RuntimeError("Cannot compute epsilon")

    monkeypatch.setitem(peers._PEERS, "prv-accountant", (refuse, peers._PRV_ERRORS))
    last = cross_check(bound_of(1.0), 1e-5)[-1]
    assert last.note == "gave no answer: RuntimeError: Cannot compute epsilon"
    assert last.epsilon_upper == math.inf


def test_delta_is_checked():
    with pytest.raises(ParameterError, match="delta"):
        cross_check(bound_of(1.0), 0.0)
