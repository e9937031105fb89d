"""What the published programs do, done by the objects: training, noise, scores, odd payloads."""

import math
from dataclasses import replace

import dp_accounting.dp_event as dpe
import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError, UnsupportedEventError
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.prompt import refactor
from privassay.mechanisms.released import dp_fpl, dp_fpl_training, vpdr
from privassay.mechanisms.released.dp_fedlora import AsReleasedDpFedLora
from privassay.mechanisms.selection import f_scores

KEY = SeededKey(5)
CLIENTS, LENGTH, WIDTH = 3, 4, 6
PLAIN = dp_fpl.AsReleasedDpFpl(
    batch=4, state="per_client", buffer="per_client", reload=False, lr=0.1, weight_decay=0.0
)


def prompts(seed=1):
    personal = 0.1 * SeededKey(seed).normal(CLIENTS, LENGTH, WIDTH)
    return dp_fpl_training.start(torch.zeros(LENGTH, WIDTH, dtype=torch.float64), personal)


def batches(count, changed=None, client=0):
    """Gradients that depend on the context, with one client's data of one batch changed."""
    found = []
    for index in range(count):
        data = KEY.child("data", index).normal(CLIENTS, 4, LENGTH, WIDTH)
        if index == changed:
            data[client] = -3.0 * data[client]
        found.append(lambda context, data=data: data + context.unsqueeze(1))
    return found


def trained(system, count=3, changed=None, client=0):
    return system.train_round(prompts(), batches(count, changed, client), KEY, rank=2)


def test_a_round_against_a_loop():
    """The twin without P6, P7 and P16 is plain SGD with momentum, client by client."""
    now, buffers = prompts(), torch.zeros(CLIENTS, 2, LENGTH, WIDTH, dtype=torch.float64)
    shared, personal = now.shared.clone(), now.personal.clone()
    for index, gradients in enumerate(batches(3)):
        here = KEY.child("batch", index)
        factors = refactor(personal, 2, here.child("start"))
        sent = PLAIN.step(gradients(shared + personal), factors, here)
        for i in range(CLIENTS):
            buffers[i, 0] = 0.9 * buffers[i, 0] + sent.broadcast
            buffers[i, 1] = 0.9 * buffers[i, 1] + sent.personal[i]
            shared[i] = shared[i] - 0.1 * buffers[i, 0]
            personal[i] = personal[i] - 0.1 * buffers[i, 1]
    found = trained(PLAIN)
    torch.testing.assert_close(found.shared, shared)
    torch.testing.assert_close(found.personal, personal)
    assert torch.equal(found.shared[0], found.shared[2])  # one global prompt


def test_one_momentum_buffer_gives_clients_multiples_and_each_others_history():
    """P7."""
    system = replace(PLAIN, buffer="shared")
    found = trained(system, count=1)
    steps = found.shared / found.shared[0]  # from a prompt of zeros
    wanted = torch.tensor([1.0, 1.9, 1.0 + 0.9 * 1.9], dtype=torch.float64)
    torch.testing.assert_close(steps, wanted[:, None, None].expand_as(steps))

    def moves(system):  # client 0's data change: whose personal prompts move?
        one, other = trained(system, count=1), trained(system, count=1, changed=0)
        return (one.personal != other.personal).flatten(1).any(dim=1).tolist()

    assert moves(PLAIN) == [True, False, False]
    assert moves(system) == [True, True, True]


def test_only_the_last_batch_of_a_round_survives():
    """P16."""
    system = replace(PLAIN, reload=True, momentum=0.0)
    assert torch.equal(trained(system).personal, trained(system, changed=0).personal)
    assert not torch.equal(trained(system).personal, trained(system, changed=2).personal)
    twin = replace(PLAIN, momentum=0.0)
    assert not torch.equal(trained(twin).personal, trained(twin, changed=0).personal)
    # with momentum an earlier batch acts, and through the buffer only
    last = replace(PLAIN, reload=True)
    moved = trained(last).personal - trained(last, changed=0).personal
    through = trained(last).buffers - trained(last, changed=0).buffers
    assert moved.any()
    torch.testing.assert_close(moved, -0.1 * through[:, 1])


def test_every_personal_prompt_takes_the_last_clients_gradient():
    """P6."""
    system = replace(PLAIN, state="shared")
    one, other = trained(system, count=1), trained(system, count=1, changed=0)
    assert torch.equal(one.personal, other.personal)  # client 0's data are not used at all
    last = trained(system, count=1, changed=0, client=2)
    assert (one.personal != last.personal).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_anyone_can_compute_noise_from_a_public_seed(seed):
    """P12: with the seed and nothing else the noise is subtracted."""
    system = replace(PLAIN, seed=seed)
    examples = KEY.normal(CLIENTS, 4, LENGTH, WIDTH)
    factors = refactor(KEY.child("p").normal(CLIENTS, LENGTH, WIDTH), 2, KEY)
    sent = system.step(examples, factors, SeededKey(99))
    assert torch.equal(sent.g_u, system.step(examples, factors, SeededKey(100)).g_u)
    clean = system.clean(examples, factors)
    again = dp_fpl.global_generator_noise(seed, tuple(sent.g_u.shape))
    torch.testing.assert_close(sent.g_u - system.stddev * again, clean["U"], atol=1e-9, rtol=0)
    later = system.step(examples, factors, KEY, batch=1)
    drawn = dp_fpl_training.seeded_draws(
        seed, {"U": (CLIENTS, LENGTH, 2), "V": (CLIENTS, 2, WIDTH), "G": (LENGTH, WIDTH)}, 1
    )
    assert not torch.equal(later.g_v, sent.g_v)
    bare = later.broadcast - system.stddev / CLIENTS * drawn["G"]
    torch.testing.assert_close(bare, clean["G"].mean(dim=0), atol=1e-9, rtol=0)
    fresh = [PLAIN.step(examples, factors, SeededKey(s)).g_u for s in (99, 100)]
    assert not torch.equal(*fresh)
    for view in ("peer", "outsider"):
        assert isinstance(system.event(view), dpe.NonPrivateDpEvent)
        assert account(PLAIN.event(view), adjacency="zero-out").mu.upper < math.inf


def test_noise_of_a_public_seed_has_the_right_law():
    drawn = dp_fpl_training.seeded_draws(1, {"U": (200, 200), "V": (50,)}, 0)
    assert float(drawn["U"].std()) == pytest.approx(1.0, rel=0.02)
    assert abs(float(drawn["U"].mean())) < 0.03


# ----------------------------------------------------------------------- VPDR
def test_the_older_code_divides_scores_by_their_largest():
    """F2: the same records give other scores once one dimension of any record stands out."""
    x, y = SeededKey(3).normal(40, 8), torch.arange(40) % 4
    new = vpdr.AsReleasedVpdr(epsilon=1e9)
    old = replace(new, generation="legacy")
    torch.testing.assert_close(new.scores(x, y, 4), f_scores(x, y, 4))
    plain = old.scores(x, y, 4)
    torch.testing.assert_close(plain, f_scores(x, y, 4) / f_scores(x, y, 4).max())
    assert float(plain.max()) == 1.0
    far = x.clone()
    far[:, 7] = 1000.0 * y.double() + 1e-3 * x[:, 7]
    assert float(old.scores(far, y, 4)[:7].max()) < 1e-3 < float(plain[:7].min())
    # what is chosen follows: below the clamp the order counts, above it nothing does
    assert not torch.equal(
        old.upload(far, y, 4, SeededKey(1)).group, new.upload(far, y, 4, SeededKey(1)).group
    )
    assert not old.scores(torch.ones(6, 3).double(), torch.arange(6) % 2, 2).isnan().any()


@pytest.mark.parametrize("generation", ["current", "legacy"])
@pytest.mark.parametrize("scheme", ["vpp", "igpp"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_record_that_is_not_finite_is_a_row_of_zeros(generation, scheme, bad):
    system = vpdr.AsReleasedVpdr(generation=generation, scheme=scheme)
    x, y = SeededKey(3).normal(12, 8), torch.arange(12) % 3
    x[4, 2] = bad
    zeroed = x.clone()
    zeroed[4] = 0.0
    found, wanted = (system.upload(rows, y, 3, KEY) for rows in (x, zeroed))
    assert torch.isfinite(found.prototypes).all()
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


def test_noise_that_follows_the_true_count_has_no_event_under_add_remove():
    for system in (
        vpdr.AsReleasedVpdr(frozen_encoder=True),
        vpdr.AsReleasedVpdr(frozen_encoder=True, generation="legacy"),
        vpdr.AsReleasedVpdr(),
    ):
        with pytest.raises(ParameterError, match="true number"):
            system.event(adjacency="add-remove")
        with pytest.raises(ParameterError, match="true number"):
            system.event_if_trained(23, adjacency="add-remove")
    frozen = vpdr.AsReleasedVpdr(frozen_encoder=True)
    for event in (frozen.event(), frozen.event_if_trained(23)):
        with pytest.raises(UnsupportedEventError, match="add-remove"):
            account(event, adjacency="add-remove")
    zeroed, replaced = (
        account(frozen.event(adjacency=a).events[0], adjacency=a).mu
        for a in ("zero-out", "replace-one")
    )
    assert replaced.upper == pytest.approx(2.0 * zeroed.upper, rel=1e-12)


# ----------------------------------------------------------------- DP-FedLoRA
def test_more_tensors_than_accounted_for_are_refused():
    values = {name: KEY.child(name).normal(2, 3, 4) for name in "ABC"}
    start = {name: torch.zeros(3, 4).double() for name in values}
    system = AsReleasedDpFedLora(tensors=2)
    for run in (
        lambda s: s.clean(values, start),
        lambda s: s.upload(values, start, KEY),
    ):
        with pytest.raises(ParameterError, match="holds 3 tensors, but 2 are accounted"):
            run(system)
        run(replace(system, tensors=3))
        run(replace(system, clip="joint_delta", tensors=1))  # one clip, one release
