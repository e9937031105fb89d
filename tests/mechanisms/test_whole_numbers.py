"""Noise must not be cut off: whole numbers are refused where the noise is continuous."""

import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError, UnsupportedEventError
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.class_means import DpplMean
from privassay.mechanisms.clipping import Clip
from privassay.mechanisms.lora import JointDeltaUpload
from privassay.mechanisms.released.dp_fpl import AsReleasedDpFpl
from privassay.mechanisms.secure_sum import Cohort, SecureGaussianSum
from privassay.mechanisms.vpp import SumsAndCounts

KEY = SeededKey(1)


def sums():
    clip = Clip(joint_norm=1.0)
    return SumsAndCounts(clip=clip, group_sizes=(2,), noise_stddevs=(0.9,), count_stddev=0.9)


@pytest.mark.parametrize(
    "mechanism, payload",
    [
        (sums(), torch.tensor([[3, 4, 5]])),
        (JointDeltaUpload(clip_norm=1.0, noise_multiplier=4.0), torch.ones(3, 4).long()),
        (DpplMean(clip_norm=1.0, noise_multiplier=4.0, public_count=5), torch.ones(3, 4).long()),
    ],
)
def test_refused(mechanism, payload):
    with pytest.raises(ParameterError, match="floating point"):
        mechanism.release(payload, KEY)
    noisy = mechanism.release(payload.double(), KEY)
    assert noisy.dtype == torch.float64 and not torch.equal(noisy, noisy.round())


def test_a_secure_sum_knows_no_absent_client():
    mechanism = SecureGaussianSum(
        cohort=Cohort(fewest_survivors=5), clip_norm=1.0, noise_multiplier=2.0
    )
    with pytest.raises(UnsupportedEventError, match="add-remove"):
        account(mechanism.event(), adjacency="add-remove")
    assert mechanism.event().event.noise_multiplier == 2.0


def test_the_batch_clip_is_counted_by_default():
    released = AsReleasedDpFpl()
    real = account(released.event(), adjacency="zero-out").mu.lower
    claimed = account(released.event(moved=1.0), adjacency="zero-out").mu.upper
    assert real == pytest.approx(2 * released.batch * claimed)
    aliased = AsReleasedDpFpl(clip="example", aliasing=True).event("peer")
    assert account(aliased, adjacency="zero-out").epsilon(1e-5).lower == float("inf")
