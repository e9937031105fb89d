"""What SecFPP declares: assumptions, refusals, and no claim where there is no noise."""

import math

import dp_accounting.dp_event as dpe
import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import (
    ClaimError,
    LedgerError,
    ParameterError,
    UnsupportedEventError,
)
from privassay.accountant.ledger import Ledger
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.secfpp import NO_CLAIM, SecFPP
from privassay.mechanisms.secret_sharing.masks import (
    SeededSource,
    SystemSource,
)
from privassay.mechanisms.secret_sharing.openings import (
    MODES,
    Board,
)
from privassay.mechanisms.secret_sharing.setting import Setting
from privassay.mechanisms.secret_sharing.sound_mpc import SoundMpc

from .secfpp_cases import SMALL, noise

# -- declarations ---------------------------------------------------------------------------------


def test_no_dp_claim_without_noise():
    for mode in MODES[:2]:
        system = SecFPP(mode=mode, setting=SMALL)
        assert system.dp_line(delta=1e-5) == NO_CLAIM == "no DP claim"
        assert isinstance(system.event("add-remove"), dpe.NonPrivateDpEvent)
        with pytest.raises(ClaimError, match="no DP guarantee"):
            system.bound("add-remove")
        bound = account(system.event("add-remove"), adjacency="add-remove", unit="client")
        assert bound.epsilon(1e-5).upper == math.inf
    line = SecFPP(mode="sound_dp", setting=SMALL, noise=noise(SMALL)).dp_line(delta=1e-5)
    assert line.startswith("epsilon <= ") and "one client" in line


def test_assumptions_say_what_holds():
    def held(source=None, **fields):
        system = SecFPP(**({"setting": SMALL} | fields))
        return {a.text.partition(":")[0]: a.holds for a in system.assumptions(source)}

    bad = held(mode="as_described", basis="pooled", source=SeededSource(1))
    good = held(mode="sound_mpc", source=SystemSource())
    for defect in ("S2", "S3, S4", "S8", "S13"):
        assert bad[defect] is False and good[defect] is True, defect
    assert good["S10"] is None and good["S5"] is None
    # A basis that is only declared public is not known to be: a run tells.
    assert bad["S6"] is False and good["S6"] is None
    assert held(mode="as_described", zero_sharing=True, dissolve=True)["S13"] is True
    assert held(mode="sound_dp", noise=noise(SMALL))["S5"] is True
    small = Setting(clients=10, dimension=16, prompt_dimension=7, min_size=3)  # t = 2 needs 4
    assert held(mode="as_described", dissolve=True, setting=small)["S3, S4"] is False


@pytest.mark.parametrize(("colluders", "least"), [(1, 3), (2, 4), (3, 5)])
def test_sound_mpc_refuses_clusters_that_colluders_see_through(colluders, least):
    fields = {"clients": 12, "dimension": 4, "prompt_dimension": 8, "colluders": colluders}
    for size in range(1, least):
        small = Setting(**fields, min_size=size)
        for build in (SoundMpc, lambda **f: SecFPP(mode="sound_mpc", **f)):
            with pytest.raises(ParameterError, match=rf"max\(3, colluders \+ 2\) = {least}"):
                build(setting=small)
    assert SecFPP(mode="sound_mpc", setting=Setting(**fields, min_size=least))


def test_only_a_run_that_made_its_basis_says_that_it_is_public():
    setting = Setting(clients=10, dimension=4, prompt_dimension=8)
    system = SecFPP(mode="sound_mpc", setting=setting, prompt_rounds=2, period=1)
    prompts = SeededKey(1).normal(10, 8).clamp(-1.0, 1.0)

    def held(run):
        found = system.assumptions(run=run)
        return next(a.holds for a in found if a.text.startswith("S6"))

    run = system.begin(source=SystemSource())
    assert held(run) is None
    run.round(prompts)
    assert held(run) is True
    run.round(prompts, points=prompts[:, :4])
    assert held(run) is False
    later = system.begin(source=SystemSource(), ledger=run.ledger, clustered=run.clustered)
    assert held(later) is None


def test_a_seeded_source_gives_a_mask_once_whatever_the_session():
    setting = Setting(clients=10, dimension=4, prompt_dimension=8)
    mpc, source = SoundMpc(setting=setting), SeededSource(1)
    points = SeededKey(1).normal(10, 4).clamp(-1.0, 1.0)

    def cluster(source, round):
        return mpc.cluster(points, source=source, board=Board("sound_mpc"), round=round)

    first = cluster(source, 1)
    for same in (source, source.child()):
        with pytest.raises(LedgerError, match="drawn before"):
            cluster(same, 1)
    assert torch.equal(cluster(source, 2).assignment, first.assignment)
    assert torch.equal(cluster(SystemSource(), 1).assignment, first.assignment)
    cluster(SystemSource(), 1)


def test_sound_dp_is_refused_under_add_remove_like_the_sums_that_it_is_made_of():
    dp = noise(SMALL)
    system = SecFPP(mode="sound_dp", setting=SMALL, noise=dp)
    for what in (dp.point_sum, dp.count_sum, dp.prompt_sum):
        with pytest.raises(UnsupportedEventError, match="add-remove"):
            account(what.event(), adjacency="add-remove")
    with pytest.raises(UnsupportedEventError, match="add-remove"):
        account(system.event("zero-out"), adjacency="add-remove", unit="client")
    with pytest.raises(UnsupportedEventError, match="add-remove"):
        account(dp.prompt_event, adjacency="add-remove", unit="client")
    ledger = Ledger(adjacency="add-remove", unit="client")
    for ask in (
        lambda: system.event("add-remove"),
        lambda: system.dp_line(delta=1e-5, adjacency="add-remove"),
        lambda: system.begin(source=SystemSource(), ledger=ledger),
    ):
        with pytest.raises(ParameterError, match="zero-out"):
            ask()
    assert system.begin(source=SystemSource()).ledger.adjacency == "zero-out"
    assert "zero-out" in system.dp_line(delta=1e-5)


def test_declarations_that_contradict_themselves_are_refused():
    with pytest.raises(ParameterError, match="needs noise"):
        SecFPP(mode="sound_dp", setting=SMALL)
    with pytest.raises(ParameterError, match="others have none"):
        SecFPP(mode="sound_mpc", setting=SMALL, noise=noise(SMALL))
    with pytest.raises(ParameterError, match="did you mean"):
        SecFPP(mode="sound_mcp", setting=SMALL)
    with pytest.raises(ParameterError, match="same setting"):
        other = Setting(clients=12, dimension=16, prompt_dimension=7)
        SecFPP(mode="sound_dp", setting=SMALL, noise=noise(other))
    with pytest.raises(ParameterError, match="min_size"):
        Setting(clients=10, dimension=4, prompt_dimension=4, min_size=11)
