"""What sharing and opening refuse, and masks that two sessions have in common."""

import pytest
import torch

from privassay.accountant.errors import ParameterError
from privassay.mechanisms.secret_sharing import exposure
from privassay.mechanisms.secret_sharing.assumptions import assumptions
from privassay.mechanisms.secret_sharing.field import PrimeField
from privassay.mechanisms.secret_sharing.lagrange import LagrangeCode, Shamir
from privassay.mechanisms.secret_sharing.masks import (
    MaskStore,
    SeededSource,
    SystemSource,
    uniform,
)
from privassay.mechanisms.secret_sharing.session import Session
from privassay.mechanisms.secret_sharing.setting import Setting

SMALL = PrimeField(10007)

BAD_ELEMENTS = [
    (torch.tensor([[10007]]), "0..10006"),
    (torch.tensor([[-1]]), "0..10006"),
    (torch.tensor([[0.5]]), "int64"),
    (torch.tensor([[1]], dtype=torch.int32), "int64"),
    (torch.tensor([[float("nan")]]), "int64"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_ELEMENTS)
def test_what_is_no_field_element_is_neither_shared_nor_opened(bad, message):
    code = LagrangeCode(clients=6, slices=1, colluders=1, within=SMALL)
    good = torch.tensor([[3]])
    for slices, masks in ((bad, good), (good, bad)):
        with pytest.raises(ParameterError, match=message):
            code.share(slices, masks)
    with pytest.raises(ParameterError, match=message):
        code.open(bad.expand(6, 1), range(6), product=False)
    scheme = Shamir(clients=6, colluders=1, within=SMALL)
    with pytest.raises(ParameterError, match=message):
        scheme.share(bad, SystemSource())
    with pytest.raises(ParameterError, match=message):
        scheme.reconstruct(bad.expand(3, 1), range(3))
    session = Session(code, MaskStore(SystemSource(), SMALL))
    if bad.dtype != torch.int64:
        with pytest.raises(ParameterError, match="int64"):
            session.share(bad, "x")


def test_a_field_that_is_too_small_for_the_clients_is_refused():
    for clients, modulus in ((7, 7), (8, 7), (2, 2)):
        with pytest.raises(ParameterError, match="clients < modulus"):
            Shamir(clients=clients, colluders=1, within=PrimeField(modulus))
    with pytest.raises(ParameterError, match="distinct"):
        LagrangeCode(clients=6, slices=1, colluders=1, products=False, within=PrimeField(7))
    with pytest.raises(ParameterError, match="colluders < clients"):
        Shamir(clients=3, colluders=3)
    # The largest that fits works: a point of a client may be any number but 0.
    scheme = Shamir(clients=6, colluders=3, within=PrimeField(7))
    secret = torch.tensor([0, 6, 3])
    shares = scheme.share(secret, SystemSource())
    assert torch.equal(scheme.reconstruct(shares, range(6)), secret)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"betas": (1, 2), "alphas": (2, 3, 4, 5)}, "distinct"),  # a share that is a mask
        ({"betas": (1, 2), "alphas": (1, 3, 4, 5)}, "distinct"),  # a share that is the secret
        ({"betas": (1, 2), "alphas": (3, 4, 5, 10008)}, "distinct"),  # the same modulo p
        ({"betas": (1, 2, 3)}, "2 betas and 4 alphas"),
        ({"betas": (1, 2), "alphas": (3, 4)}, "2 betas and 4 alphas"),
        ({"betas": (1.0, 2), "alphas": (3, 4, 5, 6)}, "whole numbers"),
    ],
)
def test_points_that_show_a_secret_are_refused(points, message):
    with pytest.raises(ParameterError, match=message):
        LagrangeCode(clients=4, slices=1, colluders=1, within=SMALL, **points)


@pytest.mark.parametrize(("clients", "slices", "colluders"), [(4, 2, 3), (4, 4, 1), (6, 2, 2)])
def test_a_degree_that_the_clients_cannot_open_is_refused(clients, slices, colluders):
    with pytest.raises(ParameterError, match=r"2 \(K\+t-1\) \+ 1"):
        LagrangeCode(clients=clients, slices=slices, colluders=colluders)
    if slices + colluders > clients:
        with pytest.raises(ParameterError, match=r"K \+ t"):
            LagrangeCode(clients=clients, slices=slices, colluders=colluders, products=False)
    else:  # sums can be opened, products of the same shares cannot
        code = LagrangeCode(clients=clients, slices=slices, colluders=colluders, products=False)
        shares = code.share(
            torch.ones((slices, 1), dtype=torch.int64),
            uniform(SystemSource(), code.within, colluders, 1),
        )
        assert torch.equal(
            code.open(shares, range(clients), product=False), shares[:0].new_ones((slices, 1))
        )
        with pytest.raises(ParameterError, match="replies are needed"):
            code.open(code.within.mul(shares, shares), range(clients), product=True)


@pytest.mark.parametrize(
    ("senders", "message"),
    [
        ([0, 1, 2, 2], "twice"),
        ([0, 1, 2], "one reply per sender"),
        ([0, 1, 2, 3, 4], "one reply per sender"),
        ([0, 1, 2, 6], "0..5"),
        ([-1, 0, 1, 2], "0..5"),
        ([0, 1, 2.0, 3], "whole numbers"),
    ],
)
def test_senders_are_checked(senders, message):
    code = LagrangeCode(clients=6, slices=1, colluders=2)
    scheme = Shamir(clients=6, colluders=2)
    replies = scheme.share(torch.tensor([1]), SystemSource())[:4]
    for opened in (
        lambda: code.open(replies, senders, product=False),
        lambda: scheme.reconstruct(replies, senders),
    ):
        with pytest.raises(ParameterError, match=message):
            opened()
    with pytest.raises(ParameterError, match="3 replies are needed"):
        scheme.reconstruct(replies[:2], [4, 1])


def test_zero_shares_in_a_field_with_no_points_to_spare():
    # p = 7: points 1, 2 of slice and mask, 3, 4, 5 of the clients, and 0 and 6.
    code = LagrangeCode(clients=4, slices=1, colluders=1, within=PrimeField(7))
    tight = LagrangeCode(clients=3, slices=1, colluders=1, within=PrimeField(5))
    for small in (code, tight):
        session = Session(small, MaskStore(SystemSource(), small.within))
        zeros = session.zero_shares("each", 1, like=torch.zeros(200))
        assert not bool(small.open(zeros, range(small.clients), product=True).any())
        assert len(torch.unique(zeros)) == small.within.modulus


# -- masks of two sessions ------------------------------------------------------------------------


def test_two_sessions_from_one_seed_have_the_same_masks_and_the_assumption_says_so():
    setting = Setting(clients=10, dimension=4, prompt_dimension=4, slices=1)
    secrets = torch.arange(40).reshape(10, 4), torch.arange(40).reshape(10, 4) * 7 + 1
    field = setting.within

    def recovered(sources):
        shares = [
            setting.session(source).share(secret, 1, "points")
            for source, secret in zip(sources, secrets, strict=True)
        ]
        code = setting.code(products=True)
        return exposure.change_from_reused_masks(code, 4, shares[0][4], shares[1][4])

    def held(source):
        found = assumptions(
            "sound_mpc",
            setting,
            basis="public",
            dissolves=True,
            masks_openings=True,
            honest=None,
            source=source,
        )
        return next(a for a in found if "No mask is used twice" in a.text)

    change = field.sub(*reversed(secrets))
    seeded = held(SeededSource(1))
    assert torch.equal(recovered([SeededSource(1), SeededSource(1)]), change)
    assert seeded.holds is False and "tests only" in seeded.how
    assert not bool((recovered([SystemSource(), SystemSource()]) == change).any())
    assert held(SystemSource()).holds is True and held(None).holds is None
