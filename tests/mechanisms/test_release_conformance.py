"""What every entry of `catalog.RELEASES` must do."""

import dataclasses
import inspect
import json
import math

import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.assumption import Assumption
from privassay.accountant.errors import ParameterError
from privassay.accountant.event_json import from_dict, to_dict
from privassay.mechanisms import catalog
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.clipping import Clip
from privassay.mechanisms.prototypes import NoisyPrototypes
from privassay.mechanisms.secure_sum import Cohort
from privassay.mechanisms.sums import noisy

DIM = 6
# name -> (arguments, kind of payload, adjacency)
CASES = {
    "discrete_gaussian_sum": (
        {"step": 0.01, "clip_steps": 100, "sigma_steps": 150.0, "dimension": DIM},
        "rows",
        "add-remove",
    ),
    "discrete_laplace_sum": (
        {"step": 0.01, "clip_steps": 100, "noise_parameter": 0.01},
        "rows",
        "add-remove",
    ),
    "dp_sgd": (
        {"clip_norm": 1.0, "noise_multiplier": 1.1, "sampling_rate": 0.5, "expected_batch": 4.0},
        "rows",
        "add-remove",
    ),
    "dppl_mean": (
        {"clip_norm": 1.0, "noise_multiplier": 1.1, "public_count": 9},
        "any",
        "zero-out",
    ),
    "dppl_public": ({"epsilon": 1.0}, "scores", "replace-one"),
    "gumbel_top_k": (
        {"k": 2, "dimension": DIM, "cap": 0.1, "epsilon_each": 0.3},
        "scores",
        "replace-one",
    ),
    "joint_delta_sum": (
        {"clip_norm": 1.0, "noise_multiplier": 2.0, "sampling_rate": 0.5, "cohort": 3.0},
        "rows",
        "add-remove",
    ),
    "joint_delta_upload": ({"clip_norm": 1.0, "noise_multiplier": 2.0}, "uploads", "replace-one"),
    "kary_response": ({"categories": 4, "replaced": 0.4}, "labels", "replace-one"),
    "laplace_sum": ({"l1_norm": 1.0, "noise_multiplier": 2.0}, "rows", "add-remove"),
    "laplace_top_k": (
        {"k": 2, "dimension": DIM, "cap": 0.1, "epsilon": 0.3},
        "scores",
        "replace-one",
    ),
    "prompt_gradients": (
        {"clip_norm": 1.0, "noise_multiplier": 2.0, "batch": 8},
        "rows",
        "zero-out",
    ),
    "second_moments": (
        {"clip_norm": 1.0, "noise_multiplier": 2.0, "public_count": 8},
        "rows",
        "add-remove",
    ),
    "secure_discrete_sum": (
        {
            "step": 0.01,
            "clip_steps": 100,
            "share_sigma": 90.0,
            "dimension": DIM,
            "cohort": Cohort(fewest_survivors=3),
        },
        "clients",
        "zero-out",
    ),
    "secure_gaussian_sum": (
        {"clip_norm": 1.0, "noise_multiplier": 2.0, "cohort": Cohort(fewest_survivors=3)},
        "clients",
        "zero-out",
    ),
    "sums_and_counts": (
        {
            "clip": Clip(joint_norm=1.0),
            "group_sizes": (DIM - 1,),
            "noise_stddevs": (2.0,),
            "count_stddev": 3.0,
        },
        "any",
        "add-remove",
    ),
    "unary_encoding": ({"categories": 4, "epsilon": 1.0}, "labels", "replace-one"),
}
every = pytest.mark.parametrize("name", catalog.RELEASES)
summing = pytest.mark.parametrize(
    "name", [n for n, c in CASES.items() if c[1] in ("rows", "clients")]
)
summing_or_uploading = pytest.mark.parametrize(
    "name", [n for n, c in CASES.items() if c[1] in ("rows", "clients", "uploads")]
)
every_lead = pytest.mark.parametrize("lead", [(), (3,), (2, 3)])


def build(name):
    return catalog.release_class(name)(**CASES[name][0])


def payload(name, lead=(), n=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    if CASES[name][1] == "labels":
        return torch.randint(0, 4, (*lead, n), generator=generator)
    return torch.randn(*lead, n, DIM, generator=generator, dtype=dtype)


def test_the_cases_are_the_catalog():
    assert set(CASES) == set(catalog.RELEASES)
    with pytest.raises(ParameterError, match="did you mean 'dp_sgd'"):
        catalog.release_class("dp_sdg")


@every
@every_lead
def test_seeds_reproduce_and_leads_are_independent(name, lead):
    x = payload(name, lead)
    mechanism = build(name)
    key = SeededKey(1).child("a")
    first = mechanism.release(x, key)
    assert torch.equal(first, mechanism.release(x, key))
    assert first.shape[: len(lead)] == lead
    wide = payload(name, (40,)), SeededKey(2), SeededKey(3)
    assert not torch.equal(*(mechanism.release(wide[0], k) for k in wide[1:]))
    assert not torch.equal(*(mechanism.release(wide[0], SystemKey()) for _ in range(2)))
    # Equal data in two places get different noise.
    same = payload(name, ()).unsqueeze(0).expand(40, *payload(name, ()).shape).contiguous()
    assert len(torch.unique(mechanism.release(same, key).double().flatten(1), dim=0)) > 3


@summing
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_is_one_of_zeros(name, bad):
    x = payload(name)
    zero, x = x.clone(), x.clone()
    zero[4], x[4, 2] = 0.0, bad
    key = SeededKey(1)
    assert torch.equal(build(name).release(x, key), build(name).release(zero, key))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@summing_or_uploading
def test_a_narrow_type_is_added_up_and_noised_in_doubles(name, dtype):
    # 4112 rows inside the clip: bfloat16 sums of them stop growing at 256 entries.
    x = torch.full((4112, DIM), 0.125, dtype=dtype)
    mechanism, key = build(name), SeededKey(5)
    narrow, wide = mechanism.release(x, key), mechanism.release(x.double(), key)
    assert torch.equal(narrow, wide.to(narrow.dtype)), (narrow - wide).abs().max()
    if CASES[name][1] != "uploads" and name != "laplace_sum":
        assert torch.finfo(narrow.dtype).bits >= 32, "the noise is there, but cannot be seen"


@pytest.mark.parametrize("name", ["dppl_mean", "dppl_public", "sums_and_counts"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_statistic_that_was_rounded_is_refused(name, dtype):
    with pytest.raises(ParameterError, match="must be float64"):
        build(name).release(payload(name).to(dtype), SeededKey(1))


@pytest.mark.parametrize("name", ["gumbel_top_k", "laplace_top_k"])
def test_scores_of_a_narrow_type_get_noise_in_doubles(name):
    x = payload(name, (200,)).bfloat16()
    narrow, wide = (build(name).release(v, SeededKey(5)) for v in (x, x.double()))
    assert torch.equal(narrow, wide)


def test_sums_that_a_caller_rounded_are_refused():
    rows = torch.ones(4112, 1, dtype=torch.bfloat16)
    step = catalog.release_class("dp_sgd")(
        clip_norm=1.0, noise_multiplier=1.0, sampling_rate=1.0, expected_batch=1.0
    )
    drawn = torch.stack([step.release(rows, SeededKey(i)) for i in range(2000)]) - 4112.0
    assert abs(float(drawn.mean())) < 0.1 and float(drawn.std()) == pytest.approx(1.0, rel=0.06)
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(ParameterError, match="forgets records"):
            step.noisy_mean(torch.ones(3, dtype=dtype), SeededKey(1))
        with pytest.raises(ParameterError, match="forgets records"):
            build("joint_delta_sum").noisy_sum(torch.ones(3, dtype=dtype), SeededKey(1))


@pytest.mark.parametrize("stddev", [0.32, 1 / 3, 1e-300, 1e300])
def test_the_noise_has_the_declared_scale_to_the_last_bit(stddev):
    zeros, key = torch.zeros(3, 5, dtype=torch.float64), SeededKey(2)
    for scale in (stddev, torch.full((5,), stddev, dtype=torch.float64)):
        assert torch.equal(noisy(zeros, scale, key), stddev * key.normal(3, 5))


def test_one_key_gives_each_kind_of_release_other_noise():
    # Also those that draw the same shape: two of them would show the difference of their sums.
    key, zeros = SeededKey(1), torch.zeros(1, DIM, dtype=torch.float64)
    names = ["dp_sgd", "joint_delta_sum", "joint_delta_upload", "prompt_gradients",
             "second_moments", "secure_gaussian_sum", "dppl_mean", "sums_and_counts"]  # fmt: skip
    prototypes = NoisyPrototypes(
        clip=Clip(joint_norm=1.0), group_sizes=(DIM,), noise_stddevs=(1.0,), public_count=1
    )
    found = [prototypes.perturb(zeros, key)] + [
        build(n).release(zeros.expand(3, DIM) if n.startswith("secure") else zeros, key)
        for n in names
    ]
    unit = [v.flatten()[:3] / v.flatten()[0] for v in found]
    seen = {tuple(round(float(u), 9) for u in v) for v in unit}
    assert len(seen) == len(found), seen
    assert any("A key is used for one release." == a.text for a in prototypes.assumptions())


def test_groups_must_fit_the_clip():
    made = catalog.release_class("sums_and_counts")
    with pytest.raises(ParameterError, match="norm_bounds"):
        made(clip=Clip(group_norms=(1.0,)), group_sizes=(2, 3), noise_stddevs=(1.0, 1.0),
             count_stddev=1.0)  # fmt: skip
    fits = made(clip=Clip(joint_norm=1.0), group_sizes=(2, 3), noise_stddevs=(1.0, 1.0),
                count_stddev=1.0)  # fmt: skip
    with pytest.raises(ParameterError, match="features must be"):
        fits.statistic(torch.ones(4, 6), torch.zeros(4, dtype=torch.int64), 1)
    with pytest.raises(ParameterError, match="norm_bounds"):
        Clip(group_norms=(1.0,)).apply(torch.ones(2, 5), (2, 3))


@summing
def test_no_row_at_all(name):
    if CASES[name][1] == "clients":
        with pytest.raises(ParameterError, match="alive"):
            build(name).release(payload(name, n=0), SeededKey(1))
    else:
        out = build(name).release(payload(name, n=0), SeededKey(1))
        assert out.shape == (DIM,) and torch.isfinite(out).all()


@summing
def test_a_contribution_does_not_depend_on_the_other_rows(name):
    x, mechanism = 5 * payload(name, n=20), build(name)
    together = mechanism.contribution(x)
    for i in range(20):
        assert torch.equal(together[i : i + 1], mechanism.contribution(x[i : i + 1]))


@every
def test_the_event_is_accounted_and_survives_json(name):
    event = build(name).event()
    assert from_dict(json.loads(json.dumps(to_dict(event)))) == event
    bound = account(event, adjacency=CASES[name][2])
    epsilon = bound.epsilon(1e-5)
    assert 0.0 < epsilon.upper < math.inf


@every
def test_it_is_frozen_documented_and_says_what_its_proof_needs(name):
    mechanism = build(name)
    assert dataclasses.is_dataclass(mechanism)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(mechanism, dataclasses.fields(mechanism)[0].name, 1)
    text = inspect.getdoc(type(mechanism)) + inspect.getmodule(type(mechanism)).__doc__
    assert "Source" in text or "arXiv" in text, "no source"
    found = mechanism.assumptions()
    assert found and all(isinstance(a, Assumption) for a in found)
    assert all(a.text.endswith(".") and a.how for a in found)
    assert all(a.holds is not False for a in found)
    assert mechanism.point in ("per_example", "per_upload", "aggregate")


@every
def test_numbers_out_of_range_are_refused(name):
    arguments = CASES[name][0]
    for field, value in arguments.items():
        if isinstance(value, float | int):
            for bad in (-1, math.nan):
                with pytest.raises(ParameterError):
                    catalog.release_class(name)(**{**arguments, field: bad})
