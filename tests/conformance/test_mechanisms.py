"""What every mechanism of the catalog must do. A new one is tested by being in the catalog."""

import importlib
import json
import math

import dp_accounting.dp_event as dpe
import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.assumption import Assumption
from privassay.accountant.errors import ParameterError
from privassay.accountant.event_json import from_dict, to_dict
from privassay.mechanisms import catalog
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.prototypes import PrototypeDesign

CLASSES = 4
DESIGN = PrototypeDesign(
    mu=0.7,
    rounds=3,
    adjacency="add-remove",
    clip_norm=1.3,
    group_sizes=(3, 7),
    group_norms=(1.1, 0.6),
    public_count=20,
)
every_mechanism = pytest.mark.parametrize("kind", catalog.MECHANISMS)
every_lead = pytest.mark.parametrize("lead", [(), (3,), (2, 3)])


def build(kind):
    return catalog.build(kind, DESIGN)


def data(lead, count=15, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(*lead, count, 10, generator=generator, dtype=dtype)
    return x, torch.randint(0, CLASSES, (*lead, count), generator=generator)


def release(kind, x, y, key):
    mechanism = build(kind)
    return mechanism.perturb(mechanism.statistic(x, y, CLASSES), key)


@every_mechanism
def test_seeds_reproduce(kind):
    x, y = data(())
    key = SeededKey(1).child("a")
    first = release(kind, x, y, key)
    assert torch.equal(first, release(kind, x, y, key))
    silent = not any(build(kind).noise_stddevs)
    assert torch.equal(first, release(kind, x, y, SeededKey(2).child("a"))) == silent


@every_mechanism
@every_lead
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_shapes_and_dtypes(kind, lead, dtype):
    mechanism = build(kind)
    x, y = data(lead, dtype=dtype)
    statistic = mechanism.statistic(x, y, CLASSES)
    noisy = mechanism.perturb(statistic, SeededKey(1))
    assert statistic.shape == noisy.shape == (*lead, CLASSES, 10)
    assert statistic.dtype == noisy.dtype == torch.float64, "rounded before the noise"
    assert mechanism.contribution(x).shape == x.shape
    assert mechanism.dimension == sum(mechanism.group_sizes) == 10
    assert len(mechanism.noise_stddevs) == len(mechanism.group_sizes)


@every_mechanism
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_no_type_forgets_a_record_of_a_large_class(kind, dtype):
    mechanism = build(kind)
    x, y = torch.full((4112, 10), 0.0625, dtype=dtype), torch.zeros(4112, dtype=torch.int64)
    x[-1] = -0.0625
    with_it, without = (mechanism.statistic(x[:n], y[:n], CLASSES) for n in (4112, 4111))
    moved = (without - with_it)[0] * DESIGN.public_count
    assert moved.tolist() == pytest.approx([0.0625] * 10, rel=1e-9)
    noisy = mechanism.perturb(with_it, SeededKey(1)) - with_it
    assert len(torch.unique(noisy[0])) == (10 if any(mechanism.noise_stddevs) else 1)
    with pytest.raises(ParameterError, match="must be float64"):
        mechanism.perturb(with_it.to(dtype), SeededKey(1))


@every_mechanism
@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_leading_axes_are_independent_releases(kind, lead):
    mechanism = build(kind)
    x, y = data(lead)
    found = mechanism.statistic(x, y, CLASSES)
    for place in torch.cartesian_prod(*[torch.arange(n) for n in lead]).reshape(-1, len(lead)):
        index = tuple(place.tolist())
        alone = mechanism.statistic(x[index], y[index], CLASSES)
        torch.testing.assert_close(found[index], alone, rtol=1e-13, atol=1e-15)
    noise = mechanism.perturb(torch.zeros_like(found), SeededKey(3)).reshape(-1, 10)
    if any(mechanism.noise_stddevs):
        assert len(torch.unique(noise)) == noise.numel(), "noise is shared between releases"


@every_mechanism
@every_lead
def test_no_record_at_all(kind, lead):
    x, y = data(lead, count=0)
    noisy = release(kind, x, y, SeededKey(1))
    assert noisy.shape == (*lead, CLASSES, 10)
    assert torch.isfinite(noisy).all()


@every_mechanism
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("whole", [True, False])
def test_a_record_that_is_not_finite_equals_an_absent_one_bit_for_bit(kind, bad, whole):
    x, y = data(())
    x[7, slice(None) if whole else 4] = bad
    rest = torch.arange(len(x)) != 7
    key = SeededKey(1)
    assert torch.equal(release(kind, x, y, key), release(kind, x[rest], y[rest], key))
    padded = y.clone()
    padded[7] = -1
    assert torch.equal(release(kind, x, y, key), release(kind, x, padded, key))


@every_mechanism
def test_the_event_is_supported_or_says_that_it_is_not_private(kind):
    mechanism = build(kind)
    event = mechanism.event()
    mu = account(dpe.SelfComposedDpEvent(event, DESIGN.rounds), adjacency="add-remove").mu
    assert (mu.upper == math.inf) == isinstance(event, dpe.NonPrivateDpEvent)
    assert isinstance(event, dpe.NonPrivateDpEvent) == (not any(mechanism.noise_stddevs))
    assert mu.lower > 0.0, "a release that costs nothing"


@every_mechanism
def test_the_event_survives_json(kind):
    event = build(kind).event()
    assert from_dict(json.loads(json.dumps(to_dict(event)))) == event


@every_mechanism
def test_it_is_documented_and_says_what_its_proof_needs(kind):
    module, _, name = catalog.MECHANISMS[kind].partition(":")
    builder = getattr(importlib.import_module(module), name)
    assert builder.__doc__ and builder.__doc__.strip()
    assert type(build(kind)).__doc__
    assumptions = build(kind).assumptions()
    assert assumptions and all(isinstance(a, Assumption) for a in assumptions)
    assert all(a.text.endswith(".") and a.how for a in assumptions)
    assert build(kind).point in ("per_example", "per_upload", "aggregate")


@every_mechanism
def test_it_is_frozen(kind):
    with pytest.raises(AttributeError):
        build(kind).noise_stddevs = (0.0,)
