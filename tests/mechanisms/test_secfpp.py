import itertools
import math
import statistics
from fractions import Fraction

import dp_accounting.dp_event as dpe
import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import chi2

from privassay.accountant import gaussian
from privassay.accountant.account import account
from privassay.accountant.errors import (
    ClaimError,
    LedgerError,
    ParameterError,
    UnsupportedEventError,
)
from privassay.accountant.ledger import Ledger
from privassay.attacks.prompts.gram import pairwise_distances
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.secfpp import NO_CLAIM, SecFPP
from privassay.mechanisms.secret_sharing import exposure
from privassay.mechanisms.secret_sharing.clusterer import Clustered
from privassay.mechanisms.secret_sharing.clustering import (
    AdaptiveRule,
    adaptive,
    flip_gap,
    plain_distances,
)
from privassay.mechanisms.secret_sharing.field import M31, PrimeField
from privassay.mechanisms.secret_sharing.fixed_point import FixedPoint
from privassay.mechanisms.secret_sharing.lagrange import LagrangeCode
from privassay.mechanisms.secret_sharing.masks import (
    SeededSource,
    SystemSource,
    source_words,
    uniform,
)
from privassay.mechanisms.secret_sharing.openings import (
    MODES,
    OPENINGS,
    Board,
    opened_values,
)
from privassay.mechanisms.secret_sharing.session import Session
from privassay.mechanisms.secret_sharing.setting import Setting
from privassay.mechanisms.secret_sharing.sound_dp import SoundDp
from privassay.mechanisms.secret_sharing.sound_mpc import SoundMpc, fixed_schedule, plain_sizes

RULE = AdaptiveRule(split_above=0.6, merge_below=0.1)
SMALL = Setting(clients=10, dimension=16, prompt_dimension=7)


def inputs(seed, setting, domains=3):
    draw = np.random.default_rng(seed)
    middle = draw.uniform(-0.8, 0.8, (domains, setting.dimension))
    home = draw.integers(0, domains, setting.clients)
    spread = 0.1 * draw.standard_normal((setting.clients, setting.dimension))
    points = np.clip(middle[home] + spread, -1, 1)
    prompts = draw.uniform(-1, 1, (setting.clients, setting.prompt_dimension))
    return torch.from_numpy(points), torch.from_numpy(prompts)


def one_round(system, points, prompts, *, source=None, senders=None):
    """A run after its first round, and what it served."""
    run = system.begin(source=source or SystemSource())
    return run, run.round(prompts, points=points, senders=senders)


def average(prompts, assignment):
    """Slow twin of the aggregation."""
    return torch.stack([prompts[assignment == a].mean(0) for a in assignment])


def distances_by_hand(points, assignment):
    x = points.numpy()
    rows = []
    for i in range(len(x)):
        row = []
        for s in range(int(assignment.max()) + 1):
            members = [x[j] for j in range(len(x)) if assignment[j] == s]
            row.append(math.dist(x[i], sum(members) / len(members)))
        rows.append(row)
    return np.array(rows)


# -- equal to plaintext clustering, up to quantisation --------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_as_described_equals_its_plaintext_twin(seed):
    setting = Setting(
        clients=8 + seed % 5, dimension=5 + seed, prompt_dimension=7, slices=1 + seed % 2
    )
    system = SecFPP(mode="as_described", setting=setting, rule=RULE)
    points, prompts = inputs(seed, setting, domains=2 + seed % 3)
    run, served = one_round(system, points, prompts)
    twin = adaptive(plain_distances(points), RULE, setting.clients)
    assert run.clustered.assignment.tolist() == twin.tolist()
    assert float((served - average(prompts, twin)).abs().max()) <= 2.0**-17 + 1e-12
    assigned = run.board.seen("assignment", to="all")
    for seen, opened in zip(run.board.seen("distances", to="server"), assigned, strict=False):
        exact = distances_by_hand(points, opened.data)
        assert np.abs(seen.data.numpy() - exact).max() <= math.sqrt(setting.dimension) * 2.0**-16
        assert seen.step == opened.step


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dropped", [0, 3])
def test_sound_mpc_equals_its_plaintext_twin_whoever_replies(seed, dropped):
    setting = Setting(clients=12, dimension=9, prompt_dimension=5, dropouts=dropped, min_size=3,
                      colluders=1)  # fmt: skip
    system = SecFPP(mode="sound_mpc", setting=setting, seed=seed)
    points, prompts = inputs(seed, setting)
    senders = np.random.default_rng(seed).permutation(12)[dropped:].tolist()
    run, served = one_round(system, points, prompts, senders=senders)
    twin = fixed_schedule(plain_distances(points), setting, seed=seed, sizes=plain_sizes)
    assert run.clustered.assignment.tolist() == twin.tolist()
    assert float((served - average(prompts, twin)).abs().max()) <= 2.0**-17 + 1e-12
    sizes = run.clustered.sizes.tolist()
    assert min(sizes) >= 3 and sum(sizes) == 12


def test_too_few_replies_abort():
    system = SecFPP(mode="sound_mpc", setting=SMALL)
    points, prompts = inputs(0, SMALL)
    with pytest.raises(ParameterError, match="7 replies are needed"):
        one_round(system, points, prompts, senders=range(6))


def test_reference_run_of_the_specification():
    # N 10, K 2, t 2, d' 16, l 16: distance error at most 6.1e-5, identical assignments.
    assert flip_gap(dimension=16, bits=16) == pytest.approx(1.2e-4, rel=0.02)
    assert flip_gap(dimension=16, bits=8) == pytest.approx(0.031, rel=0.01)
    errors = []
    for seed in range(5):
        points, prompts = inputs(seed, SMALL)
        described = SecFPP(mode="as_described", setting=SMALL, rule=RULE)
        board = one_round(described, points, prompts)[0].board
        opened = board.seen("distances", to="server")
        assigned = board.seen("assignment", to="all")[: len(opened)]
        for distances, assignment in zip(opened, assigned, strict=True):
            exact = distances_by_hand(points, assignment.data)
            errors.append(float(np.abs(distances.data.numpy() - exact).max()))
        sound = SecFPP(mode="sound_mpc", setting=SMALL)
        found = one_round(sound, points, prompts)[0].clustered
        twin = fixed_schedule(plain_distances(points), SMALL, seed=0, sizes=plain_sizes)
        assert found.assignment.tolist() == twin.tolist()
    # Seen in the specification's run: 9.6e-6.
    assert 1e-6 < max(errors) <= 6.1e-5, f"largest distance error {max(errors)}"


def test_a_client_that_is_not_finite_counts_as_zero():
    points, prompts = inputs(1, SMALL)
    broken = points.clone(), prompts.clone()
    broken[0][4, 2], broken[1][4, 0] = math.nan, math.inf
    zeroed = points.clone(), prompts.clone()
    zeroed[0][4], zeroed[1][4] = 0.0, 0.0
    system = SecFPP(mode="sound_mpc", setting=SMALL)
    runs = [one_round(system, x, p, source=SeededSource(1))[1] for x, p in (broken, zeroed)]
    assert torch.equal(*runs) and bool(torch.isfinite(runs[0]).all())


# -- what is opened to whom -----------------------------------------------------------------------


def test_table_of_openings():
    # Section 5.1, row by row.
    table = {row["value"]: row for row in opened_values()}
    assert table["slice_distances"] == {
        "value": "slice_distances",
        "as_described": "server",
        "sound_mpc": "nobody",
        "sound_dp": "nobody",
    }
    assert [table["distances"][m] for m in MODES] == ["server", "client", "nobody"]
    assert [table["assignment"][m] for m in MODES] == ["all", "client", "client"]
    assert [table["sizes"][m] for m in MODES] == ["all", "all", "noisy, all"]
    assert [table["centres"][m] for m in MODES] == ["nobody", "nobody", "noisy, all"]
    assert table["cluster_prompt"]["as_described"] == "members, server"
    assert [table["cluster_prompt"][m] for m in MODES[1:]] == ["members", "noisy, all"]
    for value in ("iterations", "clusters"):
        assert [table[value][m] for m in MODES] == ["all", "constant, all", "constant, all"]


def noise(setting, scale=8.0, **changes):
    fields = {"noise_point": scale, "noise_count": scale, "noise_prompt": scale}
    return SoundDp(setting=setting, **(fields | changes))


def test_a_run_opens_what_its_mode_lists_and_nothing_else():
    points, prompts = inputs(2, SMALL)
    seen = {}
    for mode in MODES:
        extra = {"noise": noise(SMALL)} if mode == "sound_dp" else {}
        system = SecFPP(mode=mode, setting=SMALL, **extra)
        board = one_round(system, points, prompts)[0].board
        seen[mode] = {(o.value, o.to) for o in board.opened}
        assert seen[mode] <= {(o.value, o.to) for o in OPENINGS[mode]}
        with pytest.raises(LedgerError, match="ran before"):
            board.begin(1)
    assert not any(to == "server" for _, to in seen["sound_mpc"] | seen["sound_dp"])
    assert ("slice_distances", "server") in seen["as_described"]
    assert seen["sound_dp"] == {("sizes", "all"), ("centres", "all"), ("cluster_prompt", "all")}


def test_sizes_below_the_minimum_are_dissolved_before_anything_else_is_opened():
    for seed in range(10):
        system = SecFPP(mode="sound_mpc", setting=SMALL, seed=seed)
        points, prompts = inputs(seed, SMALL, domains=6)
        board = one_round(system, points, prompts)[0].board
        for i, opened in enumerate(board.opened):
            if opened.value in ("distances", "cluster_prompt"):
                sizes = [o.data for o in board.opened[:i] if o.value == "sizes"][-1]
                assert int(sizes.min()) >= SMALL.min_size == 4
        assert len(board.seen("distances", to="client")) == SMALL.iterations


def test_every_opened_product_of_sound_mpc_carries_shares_of_zero(monkeypatch):
    # In place of zeros, polynomials with value 1 everywhere: each opening must move by just that.
    points, prompts = inputs(2, SMALL)
    system = SecFPP(mode="sound_mpc", setting=SMALL)
    first, plain = one_round(system, points, prompts)
    asked = []

    def ones(self, kind, *name, like):
        asked.append((kind, name))
        return torch.ones((SMALL.clients, *like.shape), dtype=torch.int64)

    monkeypatch.setattr(Session, "zero_shares", ones)
    second, moved = one_round(system, points, prompts)
    assert [kind for kind, _ in asked] == ["sum"] * SMALL.iterations + ["each"] * SMALL.clients
    assert len(set(asked)) == len(asked)
    assignment, sizes = first.clustered
    assert assignment.tolist() == second.clustered.assignment.tolist()
    shift = (moved - plain) * sizes[assignment, None] * 2.0**16
    boards = [first.board, second.board]
    assert float((shift - 1.0).abs().max()) < 1e-6
    for before, after in zip(*(b.seen("distances", to="client") for b in boards), strict=True):
        sizes = [o.data for o in boards[0].seen("sizes", to="all") if o.step == before.step][0]
        codes = [(o.data * sizes * 2.0**16).square().round() for o in (before, after)]
        assert bool((codes[1] - codes[0] == SMALL.slices).all())


def test_what_a_client_interpolates_for_its_distance_shows_no_slice(monkeypatch):
    points, prompts = inputs(2, SMALL)
    seen = []
    original = Session.open

    def spy(self, shares, *, product):
        found = original(self, shares, product=product)
        if product and found.shape[1:2] == (SMALL.clients,):
            seen.append(found)
        return found

    monkeypatch.setattr(Session, "open", spy)
    for mode, is_masked in (("as_described", False), ("sound_mpc", True)):
        seen.clear()
        system = SecFPP(mode=mode, setting=SMALL)
        for _ in range(2):
            one_round(system, points, prompts)
        runs = [torch.cat([s.flatten(1) for s in half], dim=1)
                for half in (seen[: len(seen) // 2], seen[len(seen) // 2 :])]  # fmt: skip
        same = (runs[0] == runs[1]).double().mean()
        assert float(same) == (0.0 if is_masked else 1.0)
        field = SMALL.within
        assert torch.equal(*(field.sum(r, 0) for r in runs))


# -- sound_dp: the account ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "mu", "multiplier"), [(1, 0.2681, 16.68), (2, 0.5016, 8.92), (8, 1.6660, 2.68)]
)
def test_table_of_mu_and_noise_multipliers(epsilon, mu, multiplier):
    found = gaussian.mu(float(epsilon), 1e-5)
    assert found == pytest.approx(mu, abs=6e-5)
    assert math.sqrt(20) / found == pytest.approx(multiplier, abs=6e-3)
    event = dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(math.sqrt(20) / found), 20)
    assert account(event, adjacency="add-remove").epsilon(1e-5).upper == pytest.approx(epsilon)
    top = math.exp(epsilon) * ndtr(-found / 2 - epsilon / found)
    assert ndtr(found / 2 - epsilon / found) - top == pytest.approx(1e-5, rel=1e-6)


@pytest.mark.parametrize("s", [(3.0, 4.0, 5.0), (9.0, 2.0, 6.0), (0.5, 0.9, 0.7)])
def test_the_account_is_the_closed_form_from_above(s):
    setting = Setting(clients=20, dimension=16, prompt_dimension=64)
    found = noise(
        setting,
        noise_point=s[0],
        noise_count=s[1],
        noise_prompt=s[2],
        clip_point=1.5,
        clip_prompt=2.5,
    )
    cx, cg, releases, rounds = 1.5, 2.5, 25, 20
    add = releases * (cx**2 / s[0] ** 2 + 1 / s[1] ** 2) + rounds * cg**2 / s[2] ** 2
    both = max(4 * cx**2 / s[0] ** 2, 2 * cx**2 / s[0] ** 2 + 2 / s[1] ** 2)
    replace = releases * both + rounds * 4 * cg**2 / s[2] ** 2
    for adjacency, squared in (("zero-out", add), ("replace-one", replace)):
        mu = found.bound(adjacency=adjacency, clusterings=releases, prompts=rounds).mu.upper
        exact = math.sqrt(squared)
        # Above the ideal, by the rounding of the codes (sqrt(d') 2^-17 / C) and little else.
        assert exact < mu < exact * (1 + 1e-4), f"{adjacency}: {mu} against {exact}"


def test_the_account_covers_the_integers_that_are_added():
    setting = Setting(clients=20, dimension=16, prompt_dimension=64, dropouts=3)
    dp = noise(setting, 3.0)
    assert dp.honest == 15
    variance = dp.point_sum.variance
    assert variance * 15 >= (3 * 2**16) ** 2 >= variance * 15 * (1 - Fraction(1, 2**50))
    # Largest code of a clipped vector, by search over vectors on the sphere.
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn((20_000, 16), generator=draw, dtype=torch.float64)
    rows /= rows.norm(dim=1, keepdim=True)
    codes = dp.point_sum.contribution(rows * (1 + 1e-15))
    longest = math.sqrt(int(codes.square().sum(dim=1).max())) / 2**16
    event = dp.clustering_event("zero-out").event
    assert 1.0 - math.sqrt(16) * 2.0**-16 < longest <= 1.0
    assert event.noise_stddevs[0] <= math.sqrt(variance * 15 - 9) / 2**16
    assert dp.honest == dp.point_sum.cohort.honest == dp.prompt_sum.cohort.honest


def test_sound_dp_noise_is_as_declared_and_its_sums_are_right():
    setting = Setting(clients=10, dimension=6, prompt_dimension=300, clusters=2)
    dp = noise(setting, 0.5, clip_prompt=30.0)
    points, prompts = inputs(0, setting, domains=2)
    prompts = prompts * 0.5
    centres = torch.stack([points[:5].mean(0), points[5:].mean(0)])
    board = Board("sound_dp")
    unit = points / points.norm(dim=1, keepdim=True).clamp(min=1.0)
    nearest = torch.cdist(unit, centres).argmin(dim=1)
    member = torch.nn.functional.one_hot(nearest, 2).double()
    errors = []
    for round_ in range(1, 12):
        dp.iterate(points, centres, source=SystemSource(), board=board, round=round_, step=1)
        kept = Clustered(nearest, torch.ones(2))
        dp.aggregate(prompts, kept, source=SystemSource(), board=board, round=round_)
        opened = board.seen("cluster_prompt", to="all")[-1].data
        errors.append(opened - member.T @ prompts)
    errors = torch.stack(errors).flatten()
    # All ten add noise, eight of them count: 25 % more variance than declared.
    stddev = float(errors.std())
    assert stddev == pytest.approx(0.5 * math.sqrt(10 / 8), rel=0.05)
    assert abs(float(errors.mean())) < 5 * stddev / math.sqrt(len(errors))
    counts = torch.stack([o.data for o in board.seen("sizes", to="all")])
    assert float((counts - member.sum(0)).abs().max()) < 5.0


def test_the_attack_on_a_noisy_sum_stays_below_the_accounted_mu_and_comes_near():
    # The likelihood-ratio test on one release, zero-out, worst case: the client's vector is
    # known, honest noise only. TPR - FPR must not exceed 2 Phi(mu/2) - 1.
    setting = Setting(clients=5, dimension=2, prompt_dimension=1, slices=1, colluders=1, clusters=1)
    dp = noise(setting, 1.0)
    runs, target = 4000, torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    scores = []
    for present in (0.0, 1.0):
        rows = torch.zeros((setting.clients, 2), dtype=torch.float64)
        rows[0] = present * target
        noises = dp.point_sum.noise((runs, dp.honest), source_words(SystemSource())).sum(1)
        scores.append(noises.double() / 2**16 + float(rows[:, 0].sum()))
    gain = float((scores[1] > 0.5).double().mean() - (scores[0] > 0.5).double().mean())
    multiplier = dp.clustering_event("zero-out").event.noise_stddevs[0]
    ceiling = 2 * float(ndtr(0.5 / multiplier)) - 1
    assert 0.85 * ceiling < gain < ceiling + 5 * math.sqrt(0.5 / runs), f"{gain} against {ceiling}"


def test_no_client_moves_a_sum_by_more_than_its_clip():
    setting = Setting(clients=10, dimension=4, prompt_dimension=4, clusters=1)
    dp = noise(setting, 0.01, clip_point=0.5, clip_prompt=2.0)
    board = Board("sound_dp")
    points = torch.zeros((10, 4), dtype=torch.float64)
    points[0] = torch.tensor([1e6, -1e6, 1e6, 1e6])
    points[1] = math.nan
    start = torch.zeros((1, 4), dtype=torch.float64)
    _, sizes = dp.iterate(points, start, source=SystemSource(), board=board, round=1, step=1)
    kept = Clustered(torch.zeros(10, dtype=torch.int64), sizes)
    dp.aggregate(points, kept, source=SystemSource(), board=board, round=1)
    for value, clip in (("centres", 0.5), ("cluster_prompt", 2.0)):
        found = float(board.seen(value, to="all")[-1].data.norm())
        assert found == pytest.approx(clip, abs=0.1)  # 9 standard deviations


def test_noise_shares_that_are_too_coarse_are_refused():
    coarse = Setting(clients=10, dimension=4, prompt_dimension=4, points=FixedPoint(bits=1))
    with pytest.raises(ParameterError, match="more fractional bits"):
        noise(coarse, 1.0)
    with pytest.raises(ParameterError, match="fewer fractional bits"):
        noise(SMALL, 1.0e12)
    with pytest.raises(ParameterError, match="less than one step"):
        noise(SMALL, 1.0, clip_point=1e-5)


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


# -- the defects: a bad program and its good twin -------------------------------------------------


@pytest.mark.parametrize(
    ("dimension", "centres", "bits", "reference"),
    [
        (16, 8, 16, 0.76),
        (16, 17, 16, 6.5e-5),
        (16, 17, 8, 0.017),
        (16, 32, 16, 1.4e-5),
        (16, 32, 8, 3.5e-3),
        (32, 33, 16, 8.2e-5),
    ],
)
def test_s2_trilateration_from_known_centres(dimension, centres, bits, reference):
    draw = torch.Generator().manual_seed(1)
    errors = []
    for _ in range(200):
        uniform_ = torch.rand((centres + 1, dimension), generator=draw, dtype=torch.float64) * 2 - 1
        rounded = (uniform_ * 2.0**bits).round() / 2.0**bits
        opened = (rounded[0] - rounded[1:]).norm(dim=1)
        found = exposure.trilaterate(uniform_[1:], opened)
        errors.append(float((found - uniform_[0]).norm() / uniform_[0].norm()))
    assert statistics.median(errors) == pytest.approx(reference, rel=0.35)


@pytest.mark.parametrize(("clients", "clusters", "most"), [(10, 4, 4), (10, 3, 5), (20, 4, 7)])
def test_s2_all_pairwise_distances_from_the_gram_system(clients, clusters, most):
    draw = np.random.default_rng(clients + clusters)
    points = torch.from_numpy(draw.uniform(-1, 1, (clients, 16)))
    assignments, distances, needed = [], [], None
    while needed is None:
        drawn = draw.permutation(np.arange(clients * clusters) % clusters)[:clients]
        assignment = torch.from_numpy(drawn)
        if len(assignment.unique()) < clusters:
            continue
        assignments.append(assignment)
        distances.append(plain_distances(points)(assignment))
        found = pairwise_distances(assignments, distances)
        needed = len(assignments) if bool(found.determined.all()) else None
    assert 3 <= needed <= most
    assert float((found.values - torch.cdist(points, points)).abs().max()) < 1e-9


def test_s2_the_server_recovers_a_prompt_as_described_and_sees_nothing_in_sound_mpc():
    setting = Setting(clients=12, dimension=3, prompt_dimension=4, slices=1, clusters=4)
    points, prompts = inputs(4, setting, domains=4)
    bad = SecFPP(mode="as_described", setting=setting, rule=RULE)
    board = one_round(bad, points, prompts)[0].board
    distances = [o.data for o in board.seen("distances", to="server")]
    assigned = [o.data for o in board.seen("assignment", to="all")][: len(distances)]
    centres = torch.cat(
        [torch.stack([points[a == s].mean(0) for s in range(int(a.max()) + 1)]) for a in assigned]
    )
    seen = torch.cat([d[7] for d in distances])  # a server that knows the other clients' points
    assert float((exposure.trilaterate(centres, seen) - points[7]).abs().max()) < 1e-3
    good = SecFPP(mode="sound_mpc", setting=setting)
    board = one_round(good, points, prompts)[0].board
    assert not [o for o in board.opened if o.to == "server"]


def outlier_inputs(setting):
    points, prompts = inputs(5, setting, domains=1)
    points[3] = -points[3]
    return points, prompts


def test_s3_a_singleton_cluster_shows_its_prompt_and_dissolving_hides_it():
    points, prompts = outlier_inputs(SMALL)
    results = {}
    for dissolve in (False, True):
        system = SecFPP(mode="as_described", setting=SMALL, rule=RULE, dissolve=dissolve)
        run, served = one_round(system, points, prompts)
        results[dissolve] = (run.clustered, served, run.clustered.sizes.int().tolist())
    (bad, bad_served, bad_sizes), (_, good_served, good_sizes) = results[False], results[True]
    assert min(bad_sizes) == 1 and min(good_sizes) >= SMALL.min_size
    assert exposure.isolated_members(bad_sizes, colluders=2) != []
    assert exposure.isolated_members(good_sizes, colluders=2) == []
    assert float((bad_served[3] - prompts[3]).abs().max()) <= 2.0**-17
    assert float((good_served[3] - prompts[3]).abs().max()) > 0.1
    # Property inference: the assignment tells the outlier from the others.
    assert int((bad.assignment == bad.assignment[3]).sum()) == 1


def test_s4_colluders_subtract_themselves_and_the_minimum_size_leaves_two_unknowns():
    prompts = inputs(0, SMALL)[1]
    pair = exposure.subtract(prompts[:2].mean(0), 2, prompts[:1])
    assert float((pair - prompts[1]).abs().max()) < 1e-12
    assert Setting(clients=20, dimension=4, prompt_dimension=4, colluders=4).min_size == 6
    rest = exposure.subtract(prompts[:4].mean(0), 4, prompts[:2])
    assert float((rest - prompts[2:4].sum(0)).abs().max()) < 1e-12  # a sum of two, not one prompt


def test_s5_differences_of_sums_isolate_a_client_that_moves():
    prompts = inputs(0, SMALL)[1]
    groups = [frozenset({0, 1, 2, 3}), frozenset({0, 1, 2}), frozenset({4, 5, 6})]
    sums = [prompts[sorted(g)].sum(0) for g in groups]
    found = exposure.differences(sums, groups)
    assert set(found) == {3} and torch.allclose(found[3], prompts[3])
    noisy = [s + 5.0 * torch.randn(s.shape, dtype=torch.float64) for s in sums]
    assert not torch.allclose(exposure.differences(noisy, groups)[3], prompts[3], atol=0.1)
    assert exposure.differences(sums[1:], groups[1:]) == {}


def test_s7_values_that_wrap_decode_to_a_wrong_number_without_any_error():
    # p = 2^31 - 1, N 10, d' 32, l 16, B 1, the worst value of the specification.
    field = PrimeField(M31)
    worst = 4 * 32 * 10**2 * (2**16) ** 2
    assert worst == 54_975_581_388_800
    assert int(field.to_signed(torch.tensor(worst % M31))) == 25_600
    with pytest.raises(ParameterError, match="54975581388800"):
        Setting(clients=10, dimension=32, prompt_dimension=4, within=field)
    Setting(clients=10, dimension=32, prompt_dimension=4)
    with pytest.raises(ParameterError, match="can reach"):
        Setting(clients=10, dimension=32, prompt_dimension=4, points=FixedPoint(bits=24))


def test_s7_rounding_flips_only_near_ties():
    # Few bits: flips are allowed exactly where the two smallest distances are near each other.
    setting = Setting(clients=12, dimension=4, prompt_dimension=2, points=FixedPoint(bits=4))
    flips = 0
    for seed in range(40):
        points = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (12, 4)))
        start = torch.arange(12) % 4
        exact = plain_distances(points)(start)
        rounded = plain_distances((points * 16).round() / 16)(start)
        changed = exact.argmin(1) != rounded.argmin(1)
        two = exact.sort(dim=1).values
        gap = flip_gap(dimension=4, bits=4)
        assert bool(((two[:, 1] - two[:, 0])[changed] < gap).all())
        flips += int(changed.sum())
    assert flips > 0 and setting.points.bits == 4


def test_s7_reused_masks_give_the_change_from_one_share():
    code = LagrangeCode(clients=10, slices=1, colluders=2)
    field = code.within
    first, second = (uniform(SystemSource(), field, 1, 8) for _ in range(2))
    masks = uniform(SystemSource(), field, 2, 8)
    bad = [code.share(x, masks)[4] for x in (first, second)]
    change = exposure.change_from_reused_masks(code, 4, *bad)
    assert torch.equal(change, field.sub(second, first)[0])
    good = [code.share(x, uniform(SystemSource(), field, 2, 8))[4] for x in (first, second)]
    missed = exposure.change_from_reused_masks(code, 4, *good)
    assert not bool((missed == field.sub(second, first)[0]).any())
    with pytest.raises(ParameterError, match="one slice"):
        exposure.change_from_reused_masks(LagrangeCode(clients=10, slices=2), 0, *good)


def test_s8_real_masks_leak_and_are_refused():
    code = LagrangeCode(clients=10, slices=1, colluders=1)
    with pytest.raises(ParameterError, match="int64"):
        code.share(torch.tensor([[5]]), torch.rand((1, 1)))
    # One share of a fair bit under a real mask: count what the share tells.
    runs, draw = 40_000, torch.Generator().manual_seed(3)
    bit = torch.randint(0, 2, (runs,), generator=draw)
    mask = torch.rand(runs, generator=draw, dtype=torch.float64) * 16.0
    share = -2.0 * (2 * bit - 1) + 1.0 * mask  # L_1 = -2, L_2 = 1: alpha_j = beta_1 + 3 steps
    certain = (share < 2.0) | (share >= 14.0)
    leak = exposure.real_mask_leak(secret_gap=2.0, mask_range=16.0, weight=-2.0, mask_weight=1.0)
    assert leak == 0.25
    assert float(certain.double().mean()) == pytest.approx(leak, abs=0.02)
    guess = share < 2.0
    assert bool((bit[certain].bool() == guess[certain]).all())
    # The good twin: the same test on field shares finds nothing.
    field = PrimeField(11)
    good = LagrangeCode(clients=5, slices=1, colluders=1, within=field)
    shares = good.share((bit % 11)[None], uniform(SystemSource(), field, 1, runs))[2]
    table = torch.stack([torch.bincount(shares[bit == b], minlength=11) for b in (0, 1)]).double()
    expected = table.sum(1, keepdim=True) * table.sum(0) / runs
    assert chi2.sf(float(((table - expected) ** 2 / expected).sum()), 10) > 1e-6


def test_s9_too_many_colluders_or_dropouts_are_refused():
    assert (
        Setting(clients=10, dimension=4, prompt_dimension=4, dropouts=3)
        .code(products=True)
        .needed()
        == 7
    )
    with pytest.raises(ParameterError, match="7 replies are needed, plus 4 dropouts"):
        Setting(clients=10, dimension=4, prompt_dimension=4, dropouts=4)
    for colluders in (5, 6, 9):
        with pytest.raises(ParameterError, match="half of the clients"):
            Setting(clients=10, dimension=4, prompt_dimension=4, slices=1, colluders=colluders)


def test_s10_a_sybil_majority_in_a_cluster_isolates_the_victim_within_the_minimum_size():
    # Out of the claim: min_size holds, and the coalition of more than t still subtracts.
    prompts = inputs(0, SMALL)[1]
    victim = exposure.subtract(prompts[:5].mean(0), 5, prompts[1:5])
    assert float((victim - prompts[0]).abs().max()) < 1e-12
    assert exposure.isolated_members([5], colluders=4) == [0]
    assert exposure.isolated_members([5], colluders=2) == []


def test_s13_distances_per_slice_need_fewer_centres_and_zero_sharing_hides_them():
    setting = Setting(clients=12, dimension=6, prompt_dimension=2, slices=2)
    points, prompts = inputs(6, setting, domains=4)
    bad = SecFPP(mode="as_described", setting=setting, rule=RULE)
    good = SecFPP(mode="as_described", setting=setting, rule=RULE, zero_sharing=True)
    runs = [one_round(system, points, prompts)[0] for system in (bad, good)]
    assert torch.equal(*(run.clustered.assignment for run in runs))
    boards = [run.board for run in runs]
    assert boards[0].seen("slice_distances", to="server")
    assert not boards[1].seen("slice_distances", to="server")
    # d'/K + 1 = 4 centres are enough per slice where d' + 1 = 7 were needed.
    centres = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (4, 6)))
    parts = [
        exposure.trilaterate(c, (c - x).norm(dim=1))
        for c, x in zip(centres.split(3, dim=1), points[0].split(3), strict=True)
    ]
    assert float((torch.cat(parts) - points[0]).abs().max()) < 1e-9
    whole = exposure.trilaterate(centres, (centres - points[0]).norm(dim=1))
    assert float((whole - points[0]).abs().max()) > 1e-2


def test_collusion_of_t_learns_nothing_and_t_plus_one_everything():
    # p = 11, K = 1, t = 2, exhaustive: the best guess of the secret from the shares of a coalition.
    code = LagrangeCode(clients=5, slices=1, colluders=2, within=PrimeField(11))
    table = torch.tensor(list(itertools.product(range(11), repeat=3))).T
    shares = code.share(table[:1], table[1:])
    for coalition, rate in (((0, 3), 1 / 11), ((0, 3, 4), 1.0)):
        views = {}
        for secret, view in zip(
            table[0].tolist(), map(tuple, shares[list(coalition)].T.tolist()), strict=True
        ):
            views.setdefault(view, []).append(secret)
        hits = sum(max(map(seen.count, seen)) for seen in views.values())
        assert hits / table.shape[1] == pytest.approx(rate)
