"""SecFPP's defects S7 to S10: fields that are too small, masks that do not hide, wrong openings."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from ..base import Key, SeededKey
from ..probes import theorem
from ..probes.finding import Finding
from ..probes.recovery import recovered, same_law
from ..secret_sharing.exposure import change_from_reused_masks
from ..secret_sharing.field import M31, M61, PrimeField
from ..secret_sharing.lagrange import LagrangeCode, lagrange_weights
from .secfpp_openings import CODE, COLLUDERS, ENCODING, FIELD, PROMPTS, field_uniform
from .twins import Sample, defect, mu_claim

_KEY = SeededKey(43)


def squared_distance(modulus: int, *, clients: int = 10, dimension: int = 32, bits: int = 16
                     ) -> int:  # fmt: skip
    """Largest n^2 d^2 as the server decodes it, for coordinates within 1.

    >>> squared_distance(M61), squared_distance(M31)
    (54975581388800, 25600)
    """
    within = PrimeField(modulus)
    gap = within.from_signed(torch.full((dimension,), 2 * clients * 2**bits))
    return int(within.to_signed(within.sum(within.mul(gap, gap), 0)))


def _s7(modulus: int) -> Finding:
    exact = 32 * (2 * 10 * 2**16) ** 2
    return theorem.agrees(torch.tensor([float(squared_distance(modulus))]),
                          torch.tensor([float(exact)]), what="the decoded distance")  # fmt: skip


ONE_SLICE = LagrangeCode(clients=5, slices=1, colluders=1, within=FIELD)
Rounds = Callable[[Tensor, Tensor, Key], tuple[Tensor, Tensor]]


def _shares_of_two_rounds(reused: bool) -> Rounds:
    """Client 3's shares of a prompt in two rounds."""

    def run(first: Tensor, second: Tensor, key: Key) -> tuple[Tensor, Tensor]:
        shares = []
        for number, prompt in enumerate((first, second)):
            masks = field_uniform(key.child(0 if reused else number), FIELD, 1, len(prompt))
            slices = ENCODING.encode(prompt, FIELD).unsqueeze(0)
            shares.append(ONE_SLICE.share(slices, masks)[3])
        return shares[0], shares[1]

    return run


def _s7_masks(run: Rounds) -> Finding:
    """The holder of one share takes the difference of two rounds."""
    before, after = PROMPTS[0], 0.8 * PROMPTS[0]
    change = change_from_reused_masks(ONE_SLICE, 3, *run(before, after, _KEY))
    guess = FIELD.to_signed(change).double() / 2.0**ENCODING.bits
    return recovered(guess, after - before, by="the holder of one share in two rounds")


Share = Callable[[int, Key], Tensor]


def _share(over_reals: bool) -> Share:
    """One client's share of the secret -1 or 1 under one mask; points 1, 2 and 3."""

    def draw(which: int, key: Key) -> Tensor:
        secret = 2 * which - 1
        if over_reals:  # the weights of secret and mask at point 3 are -1 and 2
            mask = torch.from_numpy(key.generator().uniform(-2.0, 2.0, 1))
            return 2.0 * mask - secret
        mask = field_uniform(key, FIELD, 1)
        code = LagrangeCode(clients=2, slices=1, colluders=1, within=FIELD, products=False)
        return code.share(FIELD.from_signed(torch.tensor([[secret]])), mask.unsqueeze(0))[0]

    return draw


def _s8(share: Share) -> Finding:
    return same_law(share, draws=600, what="one share")


def _share_sampler(share: Share) -> Sample:
    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        return torch.stack([share(world, key.child(i)).double() for i in range(n)])

    return Sample(draw)


Opening = Callable[[Tensor], Tensor]


def _replies() -> Tensor:
    """int64[10]: every client's reply for the squared distance of prompts 0 and 1."""
    slices = torch.stack(ENCODING.encode(PROMPTS[:2], FIELD).chunk(CODE.slices, dim=-1))
    shares = CODE.share(slices, field_uniform(_KEY, FIELD, COLLUDERS, *slices.shape[1:]))
    gap = FIELD.sub(shares[:, 0], shares[:, 1])
    return FIELD.sum(FIELD.mul(gap, gap), -1)


def _interpolated(count: int) -> Opening:
    """Opens from the first `count` replies and looks at no more."""

    def opened(replies: Tensor) -> Tensor:
        weights = lagrange_weights(FIELD, CODE.alphas[:count], CODE.betas[: CODE.slices])
        return FIELD.combine(weights, replies[:count])

    return opened


def _checked(replies: Tensor) -> Tensor:
    return CODE.open(replies, range(len(replies)), product=True)


def _distance_agrees(opened: Tensor) -> Finding:
    distance = FIELD.sum(opened, 0).double().sqrt() / 2.0**ENCODING.bits
    plain = (PROMPTS[0] - PROMPTS[1]).norm()
    return theorem.agrees(distance, plain, what="the opened distance", tolerance=1e-3)


def _s9(opening: Opening) -> Finding:
    return _distance_agrees(opening(_replies()))


def _s10(opening: Opening) -> Finding:
    """Client 2 sends a wrong share."""
    replies = _replies()
    replies[2] = FIELD.add(replies[2], torch.tensor(2**50))
    try:
        return _distance_agrees(opening(replies))
    except ParameterError as error:
        text = f"a wrong share is refused: {str(error).splitlines()[0]}"
        return Finding(probe=theorem.PROBE, fired=False, text=text)


_defect = partial(defect, "secfpp")
_SHARES = _share(over_reals=True), _share(over_reals=False)
DEFECTS = (
    _defect("S7", "distances wrap around a modulus that is too small", M31, M61, _s7),
    _defect("S7 masks", "masks are used in two rounds", _shares_of_two_rounds(True),
            _shares_of_two_rounds(False), _s7_masks),
    _defect("S8", "masks are uniform real numbers", *_SHARES, _s8,
            (_share_sampler(_SHARES[0]), _share_sampler(_SHARES[1])),
            mu_claim(0.1, "replace-one", "client"), 1_000),
    _defect("S9", "a product is opened from the replies that a sum needs",
            _interpolated(CODE.needed(product=False)), _interpolated(CODE.needed(product=True)),
            _s9),
    _defect("S10", "a wrong share changes the result and nobody sees it",
            _interpolated(CODE.needed(product=True)), _checked, _s10),
)  # fmt: skip
