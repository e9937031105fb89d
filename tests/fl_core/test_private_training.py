"""DP-SGD of many rows: against a plain loop, and the laws of sample and noise."""

import math
from dataclasses import replace

import dp_accounting.dp_event as dpe
import pytest
import torch
from scipy import stats

from privassay.accountant.errors import ConfigError, ParameterError
from privassay.fl_core.clients import ClientData
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.base import cross_entropy, flatten
from privassay.fl_core.kernels.functional import Functional
from privassay.fl_core.kernels.stacked import mlp
from privassay.fl_core.optimizers import AdamW, PlainSgd, Sgd
from privassay.fl_core.private_training import _drawn, train_privately
from privassay.fl_core.row_key import of_rows
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.dpsgd import DpSgd

KEY = SeededKey(5).child("local")
SIZES = (5, 4, 3)
NET = mlp(SIZES)
LENGTHS = (9, 0, 30, 1)
STEP = DpSgd(clip_norm=0.4, noise_multiplier=0.8, sampling_rate=0.5, expected_batch=4.0)


def world(dtype=torch.float64, lengths=LENGTHS, replicas=None):
    generator = torch.Generator().manual_seed(0)
    count = sum(lengths)
    x = 2 * torch.randn(count, SIZES[0], generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randint(0, SIZES[-1], (count,), generator=generator)
    parts, first = [], 0
    for length in lengths:
        parts.append(range(first, first + length))
        first += length
    data = ClientData.of(x, y, parts, replicas=replicas)
    initial = NET.initial(Counter.of(KEY, "model"), data.clients, data.replicas)
    return data, {name: value.to(dtype) for name, value in initial.items()}


def trained(data, params, *, mechanism=STEP, steps=3, optimizer=None, key=KEY, **more):
    own = {name: value.clone() for name, value in params.items()}
    train_privately(
        NET, own, data, mechanism=mechanism, steps=steps, loss=cross_entropy,
        optimizer=optimizer(own) if callable(optimizer) else optimizer or PlainSgd(0.5), key=key,
        **more,
    )  # fmt: skip
    return own


def as_torch(value):
    return value.mT if len(value) > 1 else value[0]


def sampled(data, key, round=0):
    """The records of each row's sample."""
    records, weights = _drawn(STEP, data, key, round)
    return [r[w > 0].tolist() for r, w in zip(records, weights, strict=True)]


OPTIMIZERS = {
    "plain": (PlainSgd(0.5), lambda p: torch.optim.SGD(p, lr=0.5)),
    "momentum": (
        lambda like: Sgd(0.3, momentum=0.9, weight_decay=0.01, like=like),
        lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, weight_decay=0.01),
    ),
    "adamw": (lambda like: AdamW(0.05, like=like), lambda p: torch.optim.AdamW(p, lr=0.05)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_against_a_plain_loop(name):
    """One client, one record after another, torch's own modules and optimisers."""
    ours, theirs = OPTIMIZERS[name]
    data, params = world()
    found = trained(data, params, optimizer=ours, round=7)
    for row in range(len(data)):
        module = torch.nn.Sequential(
            torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)
        ).double()
        for twin, value in zip(module.parameters(), params.values(), strict=True):
            twin.data = as_torch(value[row]).clone()
        optimizer = theirs(module.parameters())
        for step in range(3):
            own = KEY.child("step", step)
            total = [torch.zeros_like(p) for p in module.parameters()]
            for record in sampled(data, own, 7)[row]:
                at = slice(record, record + 1)
                loss = torch.nn.functional.cross_entropy(module(data.x[at]), data.y[at])
                gradients = torch.autograd.grad(loss, list(module.parameters()))
                norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
                for value, gradient in zip(total, gradients, strict=True):
                    value.add_(gradient, alpha=min(1.0, 0.4 / norm))
            noise = of_rows(own, data, 7).child("noise").normal(len(data), 39)[row]
            parts = noise.split([20, 4, 12, 3])
            shapes = [(5, 4), (1, 4), (4, 3), (1, 3)]
            for p, value, part, shape in zip(
                module.parameters(), total, parts, shapes, strict=True
            ):
                p.grad = (value + 0.8 * 0.4 * as_torch(part.view(shape))) / 4.0
            optimizer.step()
        for twin, value in zip(module.parameters(), found.values(), strict=True):
            torch.testing.assert_close(
                as_torch(value[row]), twin.data, rtol=1e-12, atol=1e-12, msg=f"row {row}"
            )


def test_chunks_order_and_company_change_nothing():
    data, params = world()
    whole = trained(data, params)
    for limit in (1, 3, 17):
        torch.testing.assert_close(trained(data, params, max_records=limit), whole)
    back = torch.tensor([3, 0, 2])
    some = trained(data.take(back), {n: v[back] for n, v in params.items()})
    for name in whole:
        torch.testing.assert_close(some[name], whole[name][back])


def test_replicas_rounds_keys_and_steps_draw_their_own():
    data, params = world(lengths=(30,))
    one = flatten(trained(data, params, steps=1))
    other = replace(data, replicas=data.replicas + 1)
    for found in (
        trained(other, params, steps=1),
        trained(data, params, steps=1, round=1),
        trained(data, params, steps=1, key=KEY.child("other")),
    ):
        assert not torch.isclose(flatten(found), one).any()
    samples = [sampled(data, KEY.child("step", step))[0] for step in range(4)]
    assert len({tuple(sample) for sample in samples}) == 4


def test_the_law_of_the_noise():
    """Rows without records move by noise alone: std multiplier x clip / divisor, each step."""
    rows = 400
    data, params = world(lengths=(0,) * rows + (1,))
    found = trained(data, params, steps=2, optimizer=PlainSgd(1.0))
    moved = (flatten(found) - flatten(params))[:rows]
    scaled = moved / (0.8 * 0.4 / 4.0 * math.sqrt(2))
    assert stats.kstest(scaled.flatten().numpy(), "norm").pvalue > 1e-3
    assert float(scaled.var()) == pytest.approx(1.0, abs=5 * math.sqrt(2 / scaled.numel()))
    across = (scaled[1:] * scaled[:-1]).mean()
    assert abs(float(across)) < 5 / math.sqrt(scaled.numel())
    again = flatten(trained(data, params, steps=1, optimizer=PlainSgd(1.0)))
    first = again - flatten(params)
    second = flatten(found) - again
    product = (first * second)[:rows].mean() / (0.08**2)
    assert abs(float(product)) < 5 / math.sqrt(scaled.numel())  # steps are independent


def test_the_law_of_the_sample():
    rows, length = 3000, 10
    data, _ = world(lengths=(length,) * rows)
    for key in (KEY, SystemKey()):
        rare = replace(STEP, sampling_rate=0.3)
        records, weights = _drawn(rare, data, key, 0)
        counts = weights.sum(dim=1)
        wanted = stats.binom(length, 0.3).pmf(range(length + 1)) * rows
        found = torch.bincount(counts.long(), minlength=length + 1).numpy()
        few = wanted >= 5
        wanted = [*wanted[few], wanted[~few].sum()]
        found = [*found[few], found[~few].sum()]
        assert stats.chisquare(found, wanted).pvalue > 1e-3
        # Every record of a row as often as every other, and only its own.
        inside = weights > 0
        owner = torch.arange(rows).unsqueeze(1).expand_as(records)
        assert torch.equal((records // length)[inside], owner[inside])
        place = torch.bincount((records % length)[inside], minlength=length)
        assert stats.chisquare(place.numpy()).pvalue > 1e-3
        assert all(
            len(set(r)) == len(r)
            for r in (row[w > 0].tolist() for row, w in zip(records, weights, strict=True))
        )


def test_rate_one_takes_everything():
    data, _ = world()
    everything = replace(STEP, sampling_rate=1.0)
    records, weights = _drawn(everything, data, KEY, 0)
    for row, length in enumerate(LENGTHS):
        assert records[row][weights[row] > 0].tolist() == data.index[row, :length].tolist()


def test_a_record_that_is_not_finite_adds_zero():
    data, params = world()
    everything = replace(STEP, sampling_rate=1.0)
    spoiled = replace(data, x=data.x.clone())
    spoiled.x[12] = math.nan
    assert 12 in spoiled.index[2].tolist()
    found = trained(spoiled, params, mechanism=everything)
    without = replace(data, index=data.index.clone(), lengths=data.lengths.clone())
    kept = [record for record in data.index[2, :30].tolist() if record != 12]
    without.index[2, :29] = torch.tensor(kept)
    without.lengths[2] = 29
    wanted = trained(without, params, mechanism=everything)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_one_record_moves_a_step_by_at_most_clip_over_divisor():
    data, params = world()
    everything = replace(STEP, sampling_rate=1.0)
    before = flatten(trained(data, params, mechanism=everything, steps=1, optimizer=PlainSgd(1.0)))
    moves = []
    for record in range(9, 39):
        other = replace(data, x=data.x.clone())
        other.x[record] = math.nan  # the same as without it
        after = trained(other, params, mechanism=everything, steps=1, optimizer=PlainSgd(1.0))
        moves.append(float((flatten(after) - before).norm()))
    assert max(moves) <= 0.4 / 4.0 * (1 + 1e-12)
    assert max(moves) > 0.99 * 0.4 / 4.0  # the bound is reached, so clipping was tried


def test_system_keys_are_fresh():
    data, params = world()
    one, other = (flatten(trained(data, params, key=SystemKey())) for _ in range(2))
    assert not torch.isclose(one, other, rtol=0, atol=1e-12).any()
    scale = 0.8 * 0.4 / 4.0 * 0.5 * math.sqrt(3)
    empty = (one - flatten(params))[1] / scale
    assert stats.kstest(empty.numpy(), "norm").pvalue > 1e-4


def test_another_kernel_gives_the_same():
    data, params = world(torch.float32)
    module = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    kernel = Functional(module.eval())
    quiet = replace(STEP, noise_multiplier=1e-12)  # parameters are laid out in another order
    own = {
        name: torch.stack([as_torch(v) for v in value]).clone()
        for name, value in zip(kernel.shapes(), params.values(), strict=True)
    }
    train_privately(
        kernel, own, data, mechanism=quiet, steps=3, loss=cross_entropy,
        optimizer=PlainSgd(0.5), key=KEY,
    )  # fmt: skip
    wanted = trained(data, params, mechanism=quiet)
    for found, value in zip(own.values(), wanted.values(), strict=True):
        torch.testing.assert_close(
            found, torch.stack([as_torch(v) for v in value]), rtol=1e-5, atol=1e-6
        )


def batch_mean(outputs, y, context):
    """Wrong: centred over the batch, so that records see each other."""
    each = cross_entropy(outputs, y, {})
    return each * (1 + 0.1 * outputs.logits.mean(dim=(1, 2)).unsqueeze(1))


def over_the_batch(outputs, y, context):
    """Wrong: the usual mean, which depends on how many records there are."""
    return cross_entropy(outputs, y, {}) / y.shape[1]


def over_the_rows(outputs, y, context):
    """Wrong: one row's loss depends on another row."""
    return cross_entropy(outputs, y, {}) * (1 + 0.1 * outputs.logits.square().mean())


@pytest.mark.parametrize("loss", [batch_mean, over_the_batch, over_the_rows])
def test_a_loss_that_mixes_records_is_refused(loss):
    data, params = world(torch.float32)
    with pytest.raises(ConfigError, match="changes by"):
        train_privately(
            NET, params, data, mechanism=STEP, steps=1, loss=loss,
            optimizer=PlainSgd(0.1), key=KEY,
        )  # fmt: skip


def test_a_record_that_is_held_twice_is_refused():
    data, params = world()
    twice = replace(data, index=data.index.clone())
    twice.index[2, 4] = twice.index[2, 17]
    with pytest.raises(ConfigError, match="row 2 holds a record twice"):
        trained(twice, params)


def test_what_does_not_fit_is_refused():
    data, params = world()
    with pytest.raises(ConfigError, match="parameters must be"):
        trained(data, {n: v[:3] for n, v in params.items()})
    with pytest.raises(ConfigError, match="parameters must be"):
        trained(data, {n: v for n, v in params.items() if n != "2.bias"})
    with pytest.raises(ConfigError, match="context 'target' has 3 rows"):
        trained(data, params, context={"target": torch.zeros(3, 2)})
    for wrong in ({"steps": 0}, {"max_records": 0}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            trained(data, params, **wrong)


def test_no_rows_are_no_work():
    data, params = world()
    none = torch.zeros(0, dtype=torch.int64)
    empty = trained(data.take(none), {n: v[none] for n, v in params.items()})
    assert all(len(value) == 0 for value in empty.values())


def test_the_event_is_that_of_the_mechanism():
    step = dpe.PoissonSampledDpEvent(0.5, dpe.GaussianDpEvent(0.8))
    assert STEP.event(3) == dpe.SelfComposedDpEvent(step, 3)


def test_noisy_mean_is_the_end_of_release():
    payload = SeededKey(1).child("x").normal(3, 8, 5)
    key = SeededKey(2)
    taken = STEP.sample((3, 8), key)
    total = torch.where(taken.unsqueeze(-1), STEP.contribution(payload), 0.0).sum(dim=-2)
    assert torch.equal(STEP.release(payload, key), STEP.noisy_mean(total, key))
    noise = key.child("noise").normal(3, 5)
    torch.testing.assert_close(STEP.noisy_mean(total, key), (total + 0.32 * noise) / 4.0)
    with pytest.raises(ParameterError, match="floating point"):
        STEP.noisy_mean(torch.zeros(3, 5, dtype=torch.int64), key)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_is_the_cpu():
    data, params = world(torch.float32)
    wanted = trained(data, params)
    found = trained(data.to("cuda"), {name: value.cuda() for name, value in params.items()})
    torch.testing.assert_close(
        {name: value.cpu() for name, value in found.items()}, wanted, rtol=1e-4, atol=1e-4
    )
