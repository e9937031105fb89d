import json
import math

import dp_accounting.dp_event as dpe
import numpy as np
import pytest
from scipy.stats import binomtest

import privassay as pa
from privassay.accountant import jsonio
from privassay.accountant.claim import as_claim
from privassay.accountant.errors import ClaimError, DesignError, RecordError
from privassay.audit_reports import record as records
from privassay.audit_reports.blackbox import audit_mechanism
from privassay.audit_reports.estimators.power import claim_mu
from privassay.audit_reports.sampler import Sampler, seed_of
from privassay.audit_reports.verify import verify

TERMS = {"adjacency": "add-remove", "unit": "example"}
STEPS = dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(0.2, dpe.GaussianDpEvent(1.0)), 10)


def gaussian(mu, d=1):
    def sample(world, n, seed):
        outputs = np.random.default_rng(seed).normal(size=(n, d))
        outputs[:, 0] += mu * world
        return outputs

    return sample


def sampled(rate):
    def sample(world, n, seed):
        generator = np.random.default_rng(seed)
        return generator.normal(size=(n, 10)) + world * (generator.random((n, 10)) < rate)

    return sample


@pytest.mark.parametrize(
    "guarantee, sample, word",
    [
        ({"mu": 1.0}, gaussian(1.0), "INCONCLUSIVE"),
        ({"mu": 1.0}, gaussian(2.0, d=3), "REFUTED"),
        ({"epsilon": 1.0, "delta": 1e-5}, gaussian(2.0), "REFUTED"),
        ({"rho": 0.5}, gaussian(1.0), "INCONCLUSIVE"),
        ({"rho": 0.5}, gaussian(2.0), "REFUTED"),
        ({"profile": [(1.0, 0.1), (2.0, 0.02)]}, gaussian(2.0), "REFUTED"),
        ({"event": STEPS}, sampled(0.2), "CONSISTENT"),
        ({"event": STEPS}, sampled(0.6), "REFUTED"),
        ({"event": dpe.GaussianDpEvent(1.0)}, gaussian(1.0), "CONSISTENT"),
    ],
)
def test_words(guarantee, sample, word):
    record = audit_mechanism(sample, {**guarantee, **TERMS}, trials=6000)
    assert record.verdict.word == word, record.verdict
    assert record.mechanisms[0].attacks[0].trials == 3000
    assert records.parse(record.text()) == record


def test_an_event_beside_the_claim():
    ask = {"mu": 1.0, **TERMS}
    weak = audit_mechanism(gaussian(1.0), ask, trials=4000, event=dpe.GaussianDpEvent(0.9))
    assert weak.verdict.word == "UNSUPPORTED" and weak.verdict.exit_code == 3
    good = audit_mechanism(gaussian(0.9), ask, trials=4000, event=dpe.GaussianDpEvent(1.1))
    assert good.verdict.word == "CONSISTENT"
    # the attack must show that it can see anything at all
    blind = audit_mechanism(gaussian(0.0), ask, trials=4000, event=dpe.GaussianDpEvent(1.1))
    assert blind.verdict.word == "INCONCLUSIVE" and "too weak" in blind.verdict.sentence


@pytest.mark.slow
def test_claims_are_refuted_too_often_only_by_chance():
    # at exactly the claim, so that each refutation is false
    false = 0
    for seed in range(60):
        found = audit_mechanism(
            gaussian(1.0), {"mu": 1.0, **TERMS}, trials=400, seed=seed, floating_point="ignore"
        )
        false += found.verdict.word == "REFUTED"
    assert binomtest(false, 60, 0.05, alternative="greater").pvalue > 1e-3


@pytest.mark.slow
def test_sequential_is_stopped_early_and_never_wrongly():
    stops = []
    for seed in range(10):
        record = audit_mechanism(
            gaussian(2.0, d=4), {"mu": 1.0, **TERMS}, seed=seed, sequential=True
        )
        assert record.verdict.word == "REFUTED"
        stops.append(record.mechanisms[0].attacks[0].trials)
    assert np.median(stops) < 500
    false = 0
    for seed in range(40):
        record = audit_mechanism(
            gaussian(1.0), {"mu": 1.0, **TERMS}, seed=seed, trials=500, sequential=True
        )
        false += record.verdict.word == "REFUTED"
    assert binomtest(false, 40, 0.05, alternative="greater").pvalue > 1e-3


def test_the_lowest_bits_are_a_hazard_and_not_a_verdict():
    ask = {"mu": 1.0, **TERMS}
    reported = audit_mechanism(gaussian(1.0), ask, trials=6000)
    (hazard,) = reported.hazards
    assert hazard.item == "H12" and hazard.status == "checked failed"
    assert reported.verdict.word == "INCONCLUSIVE"
    strict = audit_mechanism(gaussian(1.0), ask, trials=6000, floating_point="refute")
    assert strict.verdict.word == "REFUTED" and not strict.hazards

    def snapped(world, n, seed):
        return np.round(gaussian(1.0)(world, n, seed) * 2.0**16) / 2.0**16

    quiet = audit_mechanism(snapped, ask, trials=6000)
    assert quiet.hazards[0].status == "not checked"
    assert audit_mechanism(snapped, ask, trials=2000, floating_point="ignore").hazards == ()


def test_odd_outputs():
    def participation(world, n, seed):
        outputs = np.random.default_rng(seed).normal(size=(n, 2))
        if world:
            outputs[::3] = np.nan
        return outputs

    def lengths(world, n, seed):
        sizes = np.random.default_rng(seed).integers(1, 3 + 2 * world, n)
        return [np.zeros(size) for size in sizes]

    def bits(world, n, seed):
        return np.random.default_rng(seed).random(n) < (0.9 if world else 0.2)

    for sample in (participation, lengths, bits):
        record = audit_mechanism(sample, {"epsilon": 0.5, "delta": 0.0, **TERMS}, trials=2000)
        assert record.verdict.word == "REFUTED", sample


@pytest.mark.parametrize(
    "sample, message",
    [
        (lambda w, n, s: np.random.default_rng(0).normal(size=(n, 1)), "same .* outputs"),
        (lambda w, n, s: np.zeros((n + 1, 1)), "must give"),
        (lambda w, n, s: 0.5, "single value"),
        (7, "must be a function"),
    ],
)
def test_samplers_that_make_no_trials(sample, message):
    with pytest.raises(DesignError, match=message):
        audit_mechanism(sample, {"mu": 1.0, **TERMS}, trials=500)


def test_asking_wrongly():
    with pytest.raises(ClaimError, match="adjacency"):
        audit_mechanism(gaussian(1.0), {"mu": 1.0})
    with pytest.raises(ClaimError, match="claims nothing"):
        audit_mechanism(gaussian(1.0), {"event": dpe.GaussianDpEvent(0.0), **TERMS}, trials=500)
    with pytest.raises(DesignError, match="40 to 400000"):
        audit_mechanism(gaussian(1.0), {"mu": 1.0, **TERMS}, trials=10)


def test_a_deterministic_mechanism_is_no_error():
    record = audit_mechanism(
        lambda world, n, seed: np.full((n, 1), float(world)), {"mu": 5.0, **TERMS}, trials=20_000
    )
    assert record.mechanisms[0].attacks[0].bound.mu_lower > 5.0


def test_seeds_differ_and_repeat():
    drawn = {}
    sampler = Sampler(lambda w, n, s: drawn.setdefault((w, s), np.arange(n) + s % 1000), seed=3)
    sampler.draw("learn", 0, 5000)
    sampler.draw("learn", 1, 5000)
    sampler.draw("bound", 0, 5000)
    assert len(drawn) == 9  # blocks of 2,000, no seed twice
    assert seed_of(1, "a") == seed_of(1, "a") != seed_of(2, "a") < 2**32
    one, other = (audit_mechanism(gaussian(1.0), {"mu": 1.0, **TERMS}, trials=400, seed=s)
                  for s in (0, 1))  # fmt: skip
    again = audit_mechanism(gaussian(1.0), {"mu": 1.0, **TERMS}, trials=400, seed=0)
    hashes = [r.mechanisms[0].attacks[0].scores_sha256 for r in (one, other, again)]
    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.parametrize("sequential", [False, True])
def test_verify(tmp_path, sequential):
    record = audit_mechanism(
        gaussian(1.5), {"mu": 1.0, **TERMS}, trials=2000, sequential=sequential
    )
    path = tmp_path / "record.json"
    records.write(record, path)
    assert any("REFUTED" in line for line in verify(path))
    data = jsonio.dump(record)
    data["mechanisms"][0]["attacks"][0]["bound"]["mu_lower"] = 9.0
    data["digest"] = records.content_digest(data)
    path.write_text(jsonio.canonical(data))
    with pytest.raises(RecordError):
        verify(path)


def test_the_mu_of_a_claim():
    assert claim_mu(as_claim({"rho": 0.5, **TERMS})) == 1.0
    assert claim_mu(as_claim({"event": dpe.GaussianDpEvent(2.0), **TERMS})) == pytest.approx(0.5)
    assert claim_mu(as_claim({"epsilon": 1.0, "delta": 0.0, **TERMS})) == 0.0
    assert 0.5 < claim_mu(as_claim({"event": STEPS, **TERMS})) < math.sqrt(10.0)


def test_the_names_are_public():
    assert pa.audit_mechanism is audit_mechanism
    assert json.loads(audit_mechanism(gaussian(3.0), {"mu": 1.0, **TERMS}, trials=400).text())
