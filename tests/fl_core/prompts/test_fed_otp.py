"""FedOTP's transport under DP-SGD: scores against loops, and what one record can do to a sum."""

import pytest
import torch

from privassay.fl_core.algorithms.fed_otp import Transport, fed_otp
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.base import cross_entropy, flatten
from privassay.mechanisms.base import SeededKey

from .conftest import CLASSES, DIM

PLACES, BATCH, CLIP = 4, 7, 1.0
NAN, ZERO, HUGE = 4, 5, 6  # records of their own kind


@pytest.fixture(scope="module")
def kernel(text):
    transport = Transport(places=PLACES, share=0.8, iterations=20)
    return fed_otp(text, scale=20.0, clients=2, transport=transport).kernel


@pytest.fixture(scope="module")
def params(kernel):
    rows = torch.arange(2)
    return kernel.initial(Counter.of(SeededKey(1), "model"), rows, rows * 0)


@pytest.fixture(scope="module")
def batch():
    """Ordinary records; then one that is not finite, one of zeros, and a very long one."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, BATCH, PLACES, DIM, generator=generator, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (2, BATCH), generator=generator)
    x[:, NAN], x[:, ZERO] = float("nan"), 0.0
    x[:, HUGE] *= 1e30
    return x.flatten(2), y


def slow_scores(x, words):
    """float[classes] of x float[places, dim]: class by class, prompts float[2, classes, dim]."""
    found = []
    image = x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)
    for c in range(words.shape[1]):
        cosines = image @ words[:, c].T
        with torch.no_grad():
            near = torch.exp(-(1.0 - cosines) / 0.1)
            v = torch.ones(2, dtype=x.dtype)
            for _ in range(20):
                u = torch.minimum(1.0 / PLACES / (near @ v), torch.ones(PLACES, dtype=x.dtype))
                v = 0.8 / 2 / (near.T @ u)
            plan = torch.diag(u) @ near @ torch.diag(v)
        found.append((plan * cosines).sum())
    return torch.stack(found)


def slow_gradient(kernel, params, row, x, y):
    """float[parameters] of one record's loss, through the encoder and the loops."""
    own = {n: v[row : row + 1].clone().requires_grad_() for n, v in params.items()}
    words = kernel.class_features(own)[0]
    logits = 20.0 * slow_scores(x.view(PLACES, DIM), words)
    loss = torch.nn.functional.cross_entropy(logits, y)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(own.values()))])


def sums(kernel, params, x, y, weights):
    found = kernel.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=CLIP)
    return flatten(found)


def test_scores_equal_loops_also_for_a_text_of_each_records_own(kernel, params, batch):
    x, _ = batch
    with torch.no_grad():
        words = kernel.class_features(params)[:, None]
    own = kernel.score(x, words.expand(-1, BATCH, -1, -1, -1))
    for found in (kernel.score(x, words), own):
        for row in range(2):
            for record in set(range(BATCH)) - {NAN}:
                wanted = slow_scores(x[row, record].view(PLACES, DIM), words[row, 0])
                assert torch.allclose(found[row, record], wanted, atol=1e-12), (row, record)


def test_each_record_adds_its_own_clipped_gradient(kernel, params, batch):
    x, y = batch
    clipped = kept = 0
    for record in set(range(BATCH)) - {NAN, HUGE}:
        alone = torch.zeros(2, BATCH, dtype=torch.float64)
        alone[:, record] = 1.0
        found = sums(kernel, params, x, y, alone)
        for row in range(2):
            wanted = slow_gradient(kernel, params, row, x[row, record], y[row, record])
            norm = float(wanted.norm())
            clipped, kept = clipped + (norm > CLIP), kept + (0.0 < norm <= CLIP)
            wanted = wanted * min(1.0, CLIP / max(norm, 1e-300))
            assert torch.allclose(found[row], wanted, atol=1e-10), (record, row)
    assert clipped >= 4 and kept >= 1, f"{clipped} clipped, {kept} not: both must be tried"


def test_no_record_moves_the_sum_further_than_the_bound(kernel, params, batch):
    """The definition of zero-out, and of replacing a record by any other."""
    x, y = batch
    every = torch.ones(2, BATCH, dtype=torch.float64)
    whole, longest = sums(kernel, params, x, y, every), 0.0
    assert bool(torch.isfinite(whole).all())
    for record in range(BATCH):
        without = every.clone()
        without[:, record] = 0.0
        moved = (whole - sums(kernel, params, x, y, without)).norm(dim=1)
        assert float(moved.max()) <= CLIP * (1.0 + 1e-9), (record, moved)
        longest = max(longest, float(moved.max()))
        for other in (NAN, HUGE, 0):
            changed, label = x.clone(), y.clone()
            changed[:, record], label[:, record] = x[:, other], y[:, other]
            moved = (whole - sums(kernel, params, changed, label, every)).norm(dim=1)
            assert float(moved.max()) <= 2.0 * CLIP * (1.0 + 1e-9), (record, other, moved)
    assert longest > 0.99 * CLIP, "some record should use the bound"


def test_single_precision_keeps_the_bound(kernel, params, batch):
    """As it runs: the largest temperatures and cosines of any sign leave nothing infinite."""
    x, text = batch[0].float(), torch.randn(2, 1, 2, CLASSES, DIM)
    text = torch.nn.functional.normalize(text, dim=-1)
    for temperature in (0.03, 0.1, 100.0):
        for share in (0.05, 0.8, 1.0):
            score = Transport(places=PLACES, share=share, temperature=temperature)
            cold = torch.full((2, PLACES, 2), -1.0)
            cold[0, 0, 0] = 1.0
            assert bool(torch.isfinite(score.plan(cold)).all()), (temperature, share)
            keep = torch.tensor([r for r in range(BATCH) if r not in (NAN, HUGE)])
            assert bool(torch.isfinite(score(x[:, keep], text)).all()), (temperature, share)
