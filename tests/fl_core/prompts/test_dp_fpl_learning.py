"""DP-FPL on real prompts: sound, and as the public program does it."""

from dataclasses import replace

import pytest
import torch
from scipy import stats

import privassay as pa
from privassay.accountant.errors import ConfigError, LedgerError, UnsupportedEventError
from privassay.fl_core.algorithms.dp_fpl import DpFpl, without_records
from privassay.fl_core.algorithms.dp_fpl_released import ReleasedDpFpl
from privassay.fl_core.algorithms.prompt_evaluation import accuracy
from privassay.fl_core.cohort import Poisson
from privassay.fl_core.federation import Federation, run
from privassay.fl_core.models.dual_encoder import clip_text
from privassay.fl_core.protection import Unprotected
from privassay.fl_core.row_key import of_rows
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.prompt import PromptGradients, participations, rebuild, refactor
from privassay.mechanisms.released.dp_fpl import AsReleasedDpFpl

from .conftest import LENGTH, NAMES, WIDTH, letters, some_clients, tiny_clip

SIZES, BATCH, BATCHES, CLIP, NOISE = (8, 11, 5), 4, 2, 0.5, 3.0
KEY = SeededKey(3)


def system(text, noise=NOISE, clip=CLIP, **settings):
    mechanism = PromptGradients(clip_norm=clip, noise_multiplier=noise, batch=BATCH)
    settings = {"batches": BATCHES, "clients": 3, "rank": 2, "learning_rate": 0.1} | settings
    return DpFpl(text=text, scale=20.0, mechanism=mechanism, **settings)


def go(algorithm, data, rounds=4, *, key=KEY, adjacency="zero-out", book=None, **settings):
    book = pa.Ledger(adjacency=adjacency, unit="example") if book is None else book
    protection = algorithm.protection() if algorithm.noise else Unprotected()
    federation = Federation(
        algorithm=algorithm, data=data, rounds=rounds, key=key, protection=protection,
        **{name: value for name, value in settings.items() if name in ("chunk", "cohort")},
    )  # fmt: skip
    rest = {name: value for name, value in settings.items() if name not in ("chunk", "cohort")}
    return run(federation, book, **rest), book


def first_round(algorithm, data, *, key=KEY, rounds=1):
    """Uploads and personal state, round by round, on the first broadcast."""
    sent = algorithm.broadcast(algorithm.start(torch.zeros(1, dtype=torch.int64), key))
    received = {n: v.expand(len(data), *v.shape[1:]) for n, v in sent.items()}
    personal, found = algorithm.personal(data, key), []
    for number in range(rounds):
        upload, personal = algorithm.update(received, personal, data, round=number, key=key)
        found.append((upload, personal))
    return found


@pytest.mark.parametrize("settings", [{}, {"variant": "joint"}, {"residual": False}])
def test_stacked_clients_equal_one_after_another(text, settings):
    algorithm, data = system(text, **settings), some_clients(SIZES)
    both = [go(algorithm, data, chunk=chunk)[0] for chunk in (512, 1)]
    for group in ("state", "personal"):
        for name, value in getattr(both[0], group).items():
            assert torch.allclose(value, getattr(both[1], group)[name], atol=1e-10), name


@pytest.mark.parametrize("variant", ["flat", "joint"])
def test_a_round_is_what_the_page_says(text, variant):
    """Client by client, record by record, with the mechanism's own noise."""
    algorithm, data = system(text, variant=variant), some_clients(SIZES)
    upload, personal = first_round(algorithm, data)[0]
    before = algorithm.personal(data, KEY)
    shared = algorithm.start(torch.zeros(1, dtype=torch.int64), KEY)["shared"][0]
    factors = refactor(before["own"], 2, of_rows(KEY.child("refactor"), data, 0))
    size = LENGTH * WIDTH + (2 * (LENGTH + WIDTH) if variant == "joint" else 0)
    own_key = of_rows(KEY.child("gradient noise"), data, 0)
    noise = algorithm.mechanism.release(torch.zeros(3, 1, size).double(), own_key) * BATCH
    for row in range(3):
        context = (shared + before["own"][row]).requires_grad_()
        total = torch.zeros(size)
        u, v, residual = (factor[row] for factor in factors)
        assert torch.allclose(u @ v + residual, before["own"][row], atol=1e-12)
        for place in personal["order"][row, :BATCH].tolist():
            record = int(data.index[row, place])
            features = text.features(context[None])[0]
            x = torch.nn.functional.normalize(data.x[record], dim=0)
            loss = torch.nn.functional.cross_entropy(20.0 * features @ x, data.y[record])
            (g,) = torch.autograd.grad(loss, context)
            parts = [g, g @ v.T, u.T @ g] if variant == "joint" else [g]
            flat = torch.cat([part.flatten() for part in parts])
            total = total + flat * min(1.0, CLIP / float(flat.norm()))
        noisy = (total + noise[row]) / BATCH
        whole = noisy[: LENGTH * WIDTH].view(LENGTH, WIDTH)
        assert torch.allclose(upload[row], whole, atol=1e-9)
        left, right = whole @ v.T, u.T @ whole
        if variant == "joint":
            left = noisy[LENGTH * WIDTH :][: LENGTH * 2].view(LENGTH, 2)
            right = noisy[-2 * WIDTH :].view(2, WIDTH)
        step = left @ v + u @ right - u @ (u.T @ left) @ v + 5e-4 * before["own"][row]
        assert torch.allclose(personal["own"][row], before["own"][row] - 0.1 * step, atol=1e-9)


def test_noise_has_the_law_that_the_event_says(text):
    noisy, clean = system(text), system(text, noise=NOISE)
    clean = replace(clean, noise=False)
    data = some_clients((8,) * 40)
    gap = [
        (a[0] - b[0]).flatten(1) * BATCH / CLIP
        for a, b in zip(first_round(noisy, data), first_round(clean, data), strict=True)
    ][0]
    assert stats.kstest(gap.flatten() / NOISE, "norm").pvalue > 1e-3
    together = torch.corrcoef(gap).fill_diagonal_(0.0)
    assert float(together.abs().max()) < 0.65, "clients share noise"
    empty = first_round(noisy, without_records(data))[0][0].flatten() * BATCH / CLIP / NOISE
    assert stats.kstest(empty, "norm").pvalue > 1e-3, "a client without records releases noise"


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(text):
    algorithm, data = system(text), some_clients(SIZES)
    here = first_round(algorithm, data, rounds=2)
    there = first_round(replace(algorithm, text=on_cuda()), data.to("cuda"), rounds=2)
    for (upload, own), (other, theirs) in zip(here, there, strict=True):
        assert torch.allclose(upload, other.cpu(), atol=1e-8)
        assert torch.allclose(own["own"], theirs["own"].cpu(), atol=1e-8)


def on_cuda():
    """The same classes on the graphics card."""
    return clip_text(tiny_clip().double().to("cuda"), letters).classes(NAMES, length=LENGTH)


def test_one_example_moves_a_gradient_by_the_clip_bound_at_most(text):
    algorithm = replace(system(text), noise=False)
    data = some_clients(SIZES)
    upload, personal = first_round(algorithm, data)[0]
    record = int(data.index[0, personal["order"][0, 0]])
    moved = []
    for seed in range(8):
        x = data.x.clone()
        x[record] = 9.0 * torch.randn(x.shape[1], generator=torch.Generator().manual_seed(seed))
        other = replace(data, x=x, y=data.y.index_fill(0, torch.tensor(record), seed % 5))
        found = first_round(algorithm, other)[0][0]
        moved.append(float((found[0] - upload[0]).norm()))
        assert torch.equal(found[1:], upload[1:]), "another client's gradient has changed"
    assert max(moved) <= 2.0 * CLIP / BATCH * (1 + 1e-6), moved
    assert max(moved) > CLIP / BATCH, f"{moved}: replacing should move more than zeroing out"
    x = data.x.clone()
    x[record] = float("nan")  # counts as zero
    found = first_round(algorithm, replace(data, x=x))[0][0]
    assert float((found[0] - upload[0]).norm()) <= CLIP / BATCH * (1 + 1e-6)


@pytest.mark.parametrize("key", [KEY, SystemKey()])
def test_a_record_is_in_one_batch_of_an_epoch_even_where_nothing_repeats(text, key):
    algorithm, data = system(text), some_clients(SIZES)
    orders = [p["order"] for _, p in first_round(algorithm, data, key=key, rounds=4)]
    assert torch.equal(orders[0], orders[1]) and torch.equal(orders[2], orders[3])
    assert not torch.equal(orders[0], orders[2]), "the order of the second epoch"
    for order in (orders[0], orders[2]):
        for row, size in enumerate(SIZES):
            places = order[row, : min(BATCH * BATCHES, size)]
            assert participations(places, size) == 1


def test_ledger_holds_an_epoch_before_its_first_batch(text):
    algorithm, data = system(text), some_clients(SIZES)
    done, book = go(algorithm, data, rounds=3)
    assert [(e.client, e.round) for e in book.entries] == [
        (client, round) for round in (0, 2) for client in "012"
    ]
    for adjacency, factor in (("zero-out", 1.0), ("replace-one", 2.0)):
        _, book = go(algorithm, data, rounds=3, adjacency=adjacency)
        mu = pa.account(book.event(), adjacency=adjacency, unit="example").mu
        assert mu.upper == pytest.approx(factor * 2**0.5 / NOISE), adjacency
    with pytest.raises(UnsupportedEventError):
        go(algorithm, data, adjacency="add-remove")
    with pytest.raises(ConfigError, match="Everyone"):
        go(algorithm, data, cohort=Poisson(0.5))
    with pytest.raises(ConfigError, match="noise is off"):
        replace(algorithm, noise=False).protection()


def test_an_interrupted_epoch_goes_on_in_its_own_order(text, tmp_path):
    algorithm, data = system(text), some_clients(SIZES)
    whole, book = go(algorithm, data, rounds=4)

    class Killed(Exception):
        pass

    def say(done):
        if done == 3:
            raise Killed

    own = pa.Ledger(adjacency="zero-out", unit="example")
    with pytest.raises(Killed):
        go(algorithm, data, rounds=4, folder=tmp_path, name="a", book=own, say=say)
    assert len(own.entries) == 6, "the second epoch is paid for before its first batch"
    resumed, _ = go(algorithm, data, rounds=4, folder=tmp_path, name="a", book=own)
    assert resumed.digest == whole.digest
    assert len(own.entries) == len(book.entries) == 6


def test_it_learns_without_noise_and_not_with_much(text, centres):
    """With much noise the class names alone classify: the context drowns them, or adds nothing."""
    data = some_clients((24, 24, 24), centres=centres, spread=0.2)
    found = {}
    for noise in (1e-6, 500.0):
        algorithm = system(text, noise=noise, clip=5.0, batches=6, learning_rate=0.05)
        done, _ = go(algorithm, data, rounds=36)
        prompts = algorithm.prompts(done.state, done.personal, data)
        found[noise] = float(accuracy(algorithm.kernel, prompts, data).local.mean())
    assert found[1e-6] > 0.9 > 0.85 > found[500.0], found


def test_without_residual_the_context_has_the_rank_of_the_factors(text):
    algorithm, data = system(text, residual=False), some_clients(SIZES)
    done, _ = go(algorithm, data)
    used = algorithm.prompts(done.state, done.personal, data)["context"] - done.state["shared"]
    values = torch.linalg.svdvals(used)
    assert float(values[:, 2:].max()) < 1e-10 < float(values[:, 1].min())
    best = torch.linalg.svdvals(done.personal["own"])[:, :2]
    assert torch.allclose(values[:, :2], best, atol=1e-10), "its magnitude is kept"


# As released


def released(text, **switches):
    switches = {"epsilon": 50.0, "rounds": 1, "batch": BATCH, "clip_norm": CLIP} | switches
    return ReleasedDpFpl(text=text, scale=20.0, system=AsReleasedDpFpl(**switches), rank=2)


def trained(program, data, adjacency="zero-out"):
    book = pa.Ledger(adjacency=adjacency, unit="example")
    return list(program.run(data, book, KEY))[-1], book


def other_records(data, client):
    x = data.x.clone()
    own = data.index[client, : data.lengths[client]]
    x[own] = x[own].flip(0) * torch.tensor([1.0, -1.0] * 6)
    return replace(data, x=x)


def test_the_released_program_is_accounted_as_it_runs_or_not_at_all(text):
    data = some_clients((4, 4, 4))
    program = released(text)
    with pytest.raises(ConfigError, match="as much as an outsider"):
        replace(program, view="peer")
    assert replace(released(text, state="per_client", buffer="per_client"), view="peer")
    for unit in ("client", "user"):
        with pytest.raises(ConfigError, match=f"ledger is for one {unit}"):
            next(program.run(data, pa.Ledger(adjacency="zero-out", unit=unit), KEY))
    book = pa.Ledger(adjacency="zero-out", unit="example")
    with pytest.raises(ConfigError, match="virtual"):
        next(program.run(replace(data, virtual=True), book, KEY))
    list(program.run(data, book, KEY))
    with pytest.raises(ConfigError, match="give the run a name"):
        next(program.run(other_records(data, 0), book, KEY))
    with pytest.raises(LedgerError, match="already used"):  # other values under the same noise
        next(program.run(other_records(data, 0), book, KEY, name="other"))


def test_stale_gradient_gives_every_client_the_last_ones_step(text):
    data = some_clients((4, 4, 4))
    for state, stale in (("shared", True), ("per_client", False)):
        program = released(text, state=state, buffer="per_client", momentum=0.0)
        now, _ = trained(program, data)
        changed, _ = trained(program, other_records(data, 0))
        same = torch.equal(now.personal[0], changed.personal[0])
        assert same == stale, f"{state}: client 0's records and its own prompt"


def test_shared_momentum_gives_clients_different_global_prompts(text):
    data = some_clients((4, 4, 4))
    for buffer, apart in (("shared", True), ("per_client", False)):
        now, _ = trained(released(text, buffer=buffer), data)
        gap = float((now.shared - now.shared[:1]).abs().max())
        assert (gap > 1e-6) == apart, f"{buffer}: {gap}"


def test_reloading_forgets_all_but_the_last_batch(text):
    data = some_clients((8, 8, 8))
    program = {
        reload: released(text, reload=reload, momentum=0.0, buffer="per_client", epsilon=1e6)
        for reload in (True, False)
    }
    lengths = {}
    for reload, each in program.items():
        now, _ = trained(each, data)
        begin = each._drawn(KEY, "shared prompt", torch.zeros(1).long(), torch.zeros(1).long())
        lengths[reload] = float((now.shared[0] - begin[0]).norm())
    assert lengths[False] > 1.3 * lengths[True], lengths


def test_batch_clip_lets_one_example_move_more_and_the_account_says_so(text):
    data = some_clients((4, 4, 4))
    moved, mu = {}, {}
    for clip in ("batch", "example"):
        program = released(text, clip=clip, clip_norm=1e-3, rounds=2)
        kernel = program.kernel
        contexts = torch.zeros(3, LENGTH, WIDTH, dtype=torch.float64)

        def clean(data, program=program, kernel=kernel, contexts=contexts):
            each = program._gradients(data, data.index)(contexts)
            return program.system.gradient(each)

        x = data.x.clone()
        x[0] = -50.0 * x[:4].sum(dim=0)
        gap = (clean(data) - clean(replace(data, x=x)))[0].norm()
        moved[clip] = float(gap) / (1e-3 / BATCH)
        _, book = trained(program, data)
        mu[clip] = pa.account(book.event(), adjacency="zero-out", unit="example").mu.upper
    assert moved["example"] <= 2.0 + 1e-6 < moved["batch"] <= 2.0 * BATCH + 1e-6, moved
    assert mu["batch"] == pytest.approx(2 * BATCH * mu["example"])


def test_program_without_noise_in_view_has_no_bound(text):
    data = some_clients((4, 4, 4))
    for program in (
        replace(released(text), view="server"),
        released(text, seed=1),
        released(text, aliasing=True),
    ):
        _, book = trained(program, data)
        bound = pa.account(book.event(), adjacency="zero-out", unit="example")
        assert bound.epsilon(1e-5).upper == float("inf")


def test_program_needs_full_batches(text):
    with pytest.raises(ConfigError, match="at least a batch"):
        trained(released(text), some_clients((4, 3)))


def test_signs_differ_in_the_doubly_projected_part():
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randn(LENGTH, WIDTH, generator=generator, dtype=torch.float64)
    g = torch.randn(LENGTH, WIDTH, generator=generator, dtype=torch.float64)
    factors = refactor(prompt, 2, KEY)
    u, v, _ = factors
    minus, plus = (rebuild(g @ v.T, u.T @ g, factors, sign=s) for s in ("minus", "plus"))
    assert torch.allclose(plus - minus, 2.0 * u @ (u.T @ g @ v.T) @ v, atol=1e-12)
