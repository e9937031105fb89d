"""DP-SGD, secure sums, prompts and adapters."""

import math
from dataclasses import replace

import dp_accounting.dp_event as dpe
import pytest
import torch
from dp_accounting.rdp import RdpAccountant

from privassay.accountant import gaussian
from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError, UnsupportedEventError
from privassay.mechanisms import lora_aggregate as agg
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.dpsgd import DpSgd, flat_gradients
from privassay.mechanisms.lora import (
    JointDeltaSum,
    JointDeltaUpload,
    joint_delta,
    split_delta,
    trained_factors,
)
from privassay.mechanisms.probes.contamination import contamination
from privassay.mechanisms.probes.sensitivity import neighbours, sensitivity
from privassay.mechanisms.prompt import (
    PromptGradients,
    TwoTierNoise,
    joint_gradients,
    participations,
    rebuild,
    refactor,
    split_joint,
)
from privassay.mechanisms.secure_sum import Cohort, SecureDiscreteSum, SecureGaussianSum

KEY = SeededKey(1)


# --------------------------------------------------------------------- DP-SGD
STEP = DpSgd(clip_norm=0.7, noise_multiplier=1.2, sampling_rate=0.3, expected_batch=6.0)


def test_dp_sgd_against_a_loop():
    x = 2 * KEY.child("x").normal(3, 8, 5)
    taken = STEP.sample((3, 8), SeededKey(4))
    noise = SeededKey(4).child("noise").normal(3, 5)
    for client in range(3):
        total = 1.2 * 0.7 * noise[client]
        for i in range(8):
            if taken[client, i]:
                total = total + x[client, i] * min(1.0, 0.7 / float(x[client, i].norm()))
        torch.testing.assert_close(STEP.release(x, SeededKey(4))[client], total / 6.0)


def test_examples_are_sampled_one_by_one():
    taken = STEP.sample((20_000, 8), KEY).double()
    assert float(taken.mean()) == pytest.approx(0.3, abs=0.006)
    counts = taken.sum(dim=1)
    assert float(counts.var()) == pytest.approx(8 * 0.3 * 0.7, rel=0.04)  # not a fixed size
    other = STEP.sample((20_000, 8), KEY.child("next")).double()
    assert abs(float(((taken - 0.3) * (other - 0.3)).mean())) < 0.002


def test_dp_sgd_event():
    event = STEP.event(steps=7)
    assert event.count == 7 and event.event.sampling_probability == 0.3
    assert event.event.event.noise_multiplier == 1.2
    assert isinstance(replace(STEP, sampling_rate=1.0).event(), dpe.GaussianDpEvent)
    clean = replace(STEP, sampling_rate=1.0, noise_multiplier=1e-9)
    found = sensitivity(
        lambda rows: clean.release(rows, KEY) * 6.0 / 0.7,
        neighbours(KEY.normal(9, 5), "add-remove"),
        declared=1.0 + 1e-6,
    )
    assert not found.fired and found.measured > 0.999


def test_clients_do_not_touch_each_other():
    assert not contamination(lambda x, k: {"g": STEP.release(x, k)}, KEY.normal(4, 6, 5)).fired


def test_gradients_of_several_parameters():
    w, b = KEY.normal(2, 7, 3, 4), KEY.child("b").normal(2, 7, 5)
    flat = flat_gradients(w, b, examples_axis=1)
    assert flat.shape == (2, 7, 17)
    assert torch.equal(flat[1, 2, :12], w[1, 2].flatten())
    with pytest.raises(ParameterError, match="leading axes"):
        flat_gradients(w, b[:, :6], examples_axis=1)
    with pytest.raises(ParameterError, match="from the front"):
        flat_gradients(w)


# ---------------------------------------------------------------- secure sums
def test_noise_of_the_smallest_sum_is_what_is_declared():
    cohort = Cohort(fewest_survivors=6, colluding=2)
    mechanism = SecureGaussianSum(clip_norm=0.5, noise_multiplier=2.0, cohort=cohort)
    zeros = torch.zeros(20_000, 10, 1, dtype=torch.float64)
    alive = torch.arange(10) < 6
    # Colluding clients tell their noise: two of the six shares are known.
    shares = mechanism.shares(zeros, KEY)
    unknown = shares[:, 2:6].sum(dim=1)
    assert float(unknown.std()) == pytest.approx(1.0, rel=0.02)
    found = mechanism.release(zeros, KEY, alive)
    assert torch.equal(found, shares[:, :6].sum(dim=1))
    with pytest.raises(ParameterError, match="5 of 10 clients are alive"):
        mechanism.release(zeros, KEY, torch.arange(10) < 5)
    with pytest.raises(ParameterError, match="no noise would be left"):
        Cohort(fewest_survivors=3, colluding=3)


def test_the_discrete_sum_adds_up_on_the_grid():
    mechanism = SecureDiscreteSum(
        step=0.25, clip_steps=8, share_sigma=3.0, dimension=2, cohort=Cohort(fewest_survivors=4)
    )
    x = torch.tensor([[0.5, -0.3], [9.0, 0.0], [math.nan, 1.0], [0.0, 0.0]]).double()
    found = mechanism.release(x.expand(5000, 4, 2), KEY)
    assert torch.equal(found * 4, (found * 4).round())
    assert found.mean(dim=0).tolist() == pytest.approx([2.5, -0.25], abs=0.15)
    # discrete Gaussians of sigma 3 have variance 9 to 1e-70
    assert found.std(dim=0).tolist() == pytest.approx([1.5, 1.5], rel=0.05)


def test_sums_modulo_a_power_of_two_wrap():
    mechanism = SecureDiscreteSum(step=1.0, clip_steps=100, share_sigma=0.5, dimension=1, bits=7,
                                  cohort=Cohort(fewest_survivors=1))  # fmt: skip
    assert abs(float(mechanism.release(torch.tensor([[100.0]]), KEY)) + 28) <= 3
    assert abs(float(mechanism.release(torch.tensor([[60.0]]), KEY)) - 60) <= 3


def test_the_event_of_a_discrete_sum():
    base = SecureDiscreteSum(
        step=1.0, clip_steps=10, share_sigma=4.0, dimension=5, cohort=Cohort(fewest_survivors=25)
    )
    assert base.distance < 1e-60
    # Below a variance of 32: zCDP, of replace-one.
    assert base.event().event.rho == pytest.approx(0.5, rel=1e-9)
    coarse = replace(base, share_sigma=0.5)
    tau = 10 * sum(math.exp(-2 * math.pi**2 * 0.25 * k / (k + 1)) for k in range(1, 25))
    assert coarse.distance == pytest.approx(tau, rel=1e-6) and tau > 1
    rho = 0.5 * (2 * 10 / 2.5 + math.sqrt(5) * tau) ** 2
    assert coarse.event().event.rho == pytest.approx(rho, rel=1e-6)
    with pytest.raises(ParameterError, match=">= 0.5"):
        replace(base, share_sigma=0.4)


@pytest.mark.parametrize("sigma", [4.0, 6.0, 60.0])
def test_a_discrete_sum_is_accounted_under_any_adjacency_or_refused(sigma):
    # Oracle: the library on the zCDP of the ideal sum, sensitivity 10 or 20, noise 5 sigma.
    base = SecureDiscreteSum(
        step=1.0, clip_steps=10, share_sigma=sigma, dimension=5, cohort=Cohort(fewest_survivors=25)
    )
    for adjacency, moved in (("zero-out", 10), ("replace-one", 20)):
        bound = account(base.event(), adjacency=adjacency)
        ideal = gaussian.delta(0.5, mu=moved / (5 * sigma))
        assert bound.delta(0.5).upper >= ideal
        oracle = RdpAccountant()
        oracle.compose(dpe.ZCDpEvent((moved / (5 * sigma)) ** 2 / 2))
        slack = 2.7 if sigma == 4.0 and adjacency == "zero-out" else 1.2
        assert bound.epsilon(1e-5).upper < slack * oracle.get_epsilon(1e-5)
    secure = SecureGaussianSum(
        clip_norm=1.0, noise_multiplier=1.0, cohort=Cohort(fewest_survivors=2)
    )
    for mechanism in (base, secure):
        with pytest.raises(UnsupportedEventError, match="add-remove"):
            account(mechanism.event(), adjacency="add-remove")
    assert account(secure.event(), adjacency="zero-out").mu.upper == 1.0
    assert account(secure.event(), adjacency="replace-one").mu.upper == 2.0


def test_who_is_alive_is_a_matter_of_yes_and_no():
    with pytest.raises(ParameterError, match="bool"):
        Cohort(fewest_survivors=1).survivors(3, torch.tensor([1, 1, 0]))


# -------------------------------------------------------------------- prompts
PROMPT = KEY.child("prompt").normal(3, 5, 7)


def test_refactoring_is_exact_and_its_bases_orthonormal():
    u, v, rest = refactor(PROMPT, 2, KEY)
    torch.testing.assert_close(u @ v + rest, PROMPT)
    eye = torch.eye(2, dtype=torch.float64).expand(3, 2, 2)
    torch.testing.assert_close(u.mT @ u, eye)
    torch.testing.assert_close(v @ v.mT, eye)


def test_minus_projects_and_plus_counts_the_middle_three_times():
    factors = refactor(PROMPT, 2, KEY)
    u, v, _ = factors
    g = KEY.child("g").normal(3, 5, 7)
    p_u, p_v = u @ u.mT, v.mT @ v
    g_u, g_v = g @ v.mT, u.mT @ g
    minus, plus = (rebuild(g_u, g_v, factors, sign=s) for s in ("minus", "plus"))
    torch.testing.assert_close(minus, g @ p_v + p_u @ g - p_u @ g @ p_v)
    torch.testing.assert_close(p_u @ plus @ p_v, 3 * p_u @ g @ p_v)
    again = rebuild(minus @ v.mT, u.mT @ minus, factors)
    torch.testing.assert_close(again, minus)  # a projection


def test_joint_rows_are_clipped_as_one():
    factors = refactor(PROMPT, 2, KEY)
    g = 5 * KEY.child("g").normal(3, 4, 5, 7)
    rows = joint_gradients(g, factors)
    assert rows.shape == (3, 4, 35 + 10 + 14)
    assert float((rows.norm(dim=-1) / g.flatten(-2).norm(dim=-1)).max()) <= 3**0.5 + 1e-12
    whole, left, right = split_joint(rows[:, 0], factors)
    torch.testing.assert_close(whole, g[:, 0])
    torch.testing.assert_close(left, g[:, 0] @ factors.v.mT)
    torch.testing.assert_close(right, factors.u.mT @ g[:, 0])
    mechanism = PromptGradients(clip_norm=1.0, noise_multiplier=1e-12, batch=4)
    found = sensitivity(
        lambda x: mechanism.contribution(x).sum(dim=-2),
        neighbours(rows[0], "zero-out"),
        declared=1.0,
    )
    assert not found.fired and found.measured > 0.999
    assert account(mechanism.event(9), adjacency="zero-out").mu.upper == pytest.approx(3e12)


def test_two_tiers():
    tiers = TwoTierNoise(clip_norm=0.5, local=3.0, central=4.0, batch=2, secure_sum=True)
    zeros = torch.zeros(8000, 3, 2, 4, dtype=torch.float64)
    assert float(tiers.release(zeros, KEY).std()) == pytest.approx(4 * 0.5 / 6, rel=0.03)
    assert float(tiers.personal(zeros, KEY).std()) == pytest.approx(3 * 0.5 / 2, rel=0.03)

    def mu(view, system=tiers):
        return account(system.event(view), adjacency="zero-out").mu.upper

    assert mu("peer") == mu("server") == pytest.approx(1 / 4)
    assert mu("outsider") == pytest.approx(math.sqrt(1 / 16 + 1 / 9))
    clear = replace(tiers, secure_sum=False)
    assert mu("server", clear) == math.inf and mu("peer", clear) == pytest.approx(1 / 4)
    assert any(a.holds is False for a in clear.assumptions())


def test_participations_come_from_the_log():
    assert participations(torch.tensor([[0, 1], [1, 2]]), 4) == 2
    assert participations(torch.tensor([], dtype=torch.int64), 4) == 0
    with pytest.raises(ParameterError, match="0..2"):
        participations(torch.tensor([3]), 3)


# ------------------------------------------------------------------- adapters
B, A = KEY.child("B").normal(4, 6, 2), KEY.child("A").normal(4, 2, 5)
W = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
IDEAL = agg.ideal(B, A, W)


def test_the_exact_aggregations_are_exact_and_the_plain_one_misses_the_covariance():
    naive = sum(w * b @ a for w, b, a in zip(W, B, A, strict=True))
    torch.testing.assert_close(IDEAL, naive)
    torch.testing.assert_close(agg.stack(list(B), list(A), W).update(), IDEAL)
    torch.testing.assert_close(agg.residual_corrected(B, A, W).update(), IDEAL)
    torch.testing.assert_close(agg.truncated_product(B, A, W, 5).update(), IDEAL)
    plain = agg.plain_average(B, A, W)
    b_bar, a_bar, _ = plain
    spread = sum(w * (b - b_bar) @ (a - a_bar) for w, b, a in zip(W, B, A, strict=True))
    torch.testing.assert_close(plain.update() - IDEAL, -spread)
    common = A[:1].expand_as(A)
    torch.testing.assert_close(agg.average_b(B, A[0], W).update(), agg.ideal(B, common, W))
    common = B[:1].expand_as(B)
    torch.testing.assert_close(agg.average_a(B[0], A, W).update(), agg.ideal(common, A, W))
    ranks = [B[0], KEY.normal(6, 3)], [A[0], KEY.normal(3, 5)]
    two = agg.stack(*ranks, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(
        two.update(), 0.5 * (ranks[0][0] @ ranks[1][0] + ranks[0][1] @ ranks[1][1])
    )


def test_the_truncated_product_is_the_best_of_its_rank():
    low = agg.truncated_product(B, A, W, 2)
    error = torch.linalg.svdvals(IDEAL)[2:].norm()
    assert float((low.update() - IDEAL).norm()) == pytest.approx(float(error), rel=1e-9)
    torch.testing.assert_close(low.b.norm(), low.a.norm())


def test_noise_formulas_against_drawn_noise():
    n, s = 20_000, 0.4
    beta, alpha = s * KEY.child("beta").normal(n, 4, 6, 2), s * KEY.child("al").normal(n, 4, 2, 5)

    def power(noise):
        return float(noise.square().sum(dim=(1, 2)).mean())

    mean_b, mean_a = torch.tensordot(W, B, dims=1), torch.tensordot(W, A, dims=1)
    w = W.reshape(1, 4, 1, 1)
    plain = (mean_b + (w * beta).sum(1)) @ (mean_a + (w * alpha).sum(1)) - mean_b @ mean_a
    assert agg.plain_average_noise(B, A, W, s).total == pytest.approx(power(plain), rel=0.03)
    exact = (w * ((B + beta) @ (A + alpha))).sum(1) - IDEAL
    assert agg.exact_noise(B, A, W, s).total == pytest.approx(power(exact), rel=0.03)
    ffa = (w * beta).sum(1) @ A[0]
    assert agg.one_factor_noise(A[0], 6, W, s).total == pytest.approx(power(ffa), rel=0.03)
    equal = torch.full((4,), 0.25, dtype=torch.float64)
    quartics = [f(B, A, equal, s).quartic for f in (agg.plain_average_noise, agg.exact_noise)]
    assert quartics[1] / quartics[0] == pytest.approx(4.0)  # K times more


def test_the_gauge():
    b, a = B[0], A[0]
    best = agg.best_gauge(b, a)
    least = agg.gauge_noise(b, a, 0.4, best)
    for factor in (0.5, 0.9, 1.1, 2.0, 100.0):
        assert agg.gauge_noise(b, a, 0.4, factor * best).total > least.total
    closed = 2 * 0.16 * math.sqrt(30) * float(b.norm() * a.norm())
    assert least.linear == pytest.approx(closed, rel=1e-9)
    with pytest.raises(ParameterError, match="zero"):
        agg.best_gauge(0 * b, a)


def test_deltas_are_one_vector_and_come_apart_again():
    values = {"A": KEY.normal(3, 2, 5), "B": KEY.child("b").normal(3, 6, 2)}
    start = {name: v[0].clone() for name, v in values.items()}
    vector = joint_delta(values, start, ("B", "A"))
    assert vector.shape == (3, 22)
    parts = split_delta(vector, {"B": (6, 2), "A": (2, 5)})
    torch.testing.assert_close(parts["A"], values["A"] - start["A"])
    torch.testing.assert_close(parts["B"], values["B"] - start["B"])
    with pytest.raises(ParameterError, match=r"\['C'\]"):
        joint_delta(values, start, ("C",))
    with pytest.raises(ParameterError, match="none"):
        joint_delta(values, start, ())


def test_which_factors_are_sent():
    assert trained_factors("both", 3) == ("A", "B")
    assert [trained_factors("ffa", t) for t in (0, 1)] == [("B",), ("B",)]
    assert [trained_factors("rolora", t) for t in (0, 1, 2)] == [("B",), ("A",), ("B",)]
    with pytest.raises(ParameterError, match="did you mean 'rolora'"):
        trained_factors("rolara", 0)


def test_uploads_and_sums():
    upload = JointDeltaUpload(clip_norm=2.0, noise_multiplier=1.5)
    noise = upload.release(torch.zeros(5000, 3).double(), KEY)
    assert float(noise.std()) == pytest.approx(3.0, rel=0.03)
    mu = account(upload.event(4), adjacency="replace-one").mu.upper
    assert mu == pytest.approx(2 * 2 / 1.5)
    total = JointDeltaSum(clip_norm=2.0, noise_multiplier=1e-9, sampling_rate=0.5, cohort=4.0)
    ones = torch.full((20_000, 8, 1), 9.0, dtype=torch.float64)
    found = total.release(ones, KEY)
    assert float(found.mean()) == pytest.approx(2.0, rel=0.02)  # 8 * .5 clients, over 4
    assert float(found.std()) == pytest.approx(math.sqrt(2) * 2 / 4, rel=0.03)
    public = replace(total, sampling_rate=1.0, noise_multiplier=2.0)
    assert account(public.event(4), adjacency="zero-out").mu.upper == pytest.approx(1.0)
