"""SecFPP's defects S1 to S6 and S11 to S13: what is opened, and who computes what from it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..base import Key, SeededKey
from ..probes import outbox
from ..probes.finding import Finding
from ..probes.recovery import recovered
from ..secret_sharing.clustering import plain_distances
from ..secret_sharing.exposure import differences, subtract, trilaterate
from ..secret_sharing.field import PrimeField
from ..secret_sharing.fixed_point import FixedPoint
from ..secret_sharing.lagrange import LagrangeCode
from ..secret_sharing.session import zero_polynomial
from .twins import Defect, both, defect, mu_claim

CLIENTS, DIMENSION, COLLUDERS = 10, 4, 2
FIELD, ENCODING = PrimeField(), FixedPoint(bits=16)
CODE = LagrangeCode(clients=CLIENTS, slices=2, colluders=COLLUDERS, within=FIELD)
_KEY = SeededKey(41)
PROMPTS = (0.4 * _KEY.child("prompts").normal(CLIENTS, DIMENSION)).clamp(-1.0, 1.0)
"""float64[10, 4]: one reduced prompt a client, within the bound of the encoding."""
OTHER = torch.cat([-PROMPTS[:1], PROMPTS[1:]])
"""The same with the prompt of client 0 replaced by its opposite."""
ASSIGNMENT = torch.tensor([0] + [1] * 9)
"""Client 0 is alone in its cluster."""
THREE = torch.tensor([1] + [0] * 3 + [1] * 6)
"""Clients 1 to 3 are a cluster."""
CENTRES = 0.5 * _KEY.child("centres").normal(6, DIMENSION).clamp(-2.0, 2.0)
NOISE = 2.0  # of a sum of vectors clipped to 1: mu = 1 for an exchanged client


def field_uniform(key: Key, within: PrimeField, *shape: int) -> Tensor:
    """int64[shape], uniform over the field, from the key of a test."""
    return torch.from_numpy(key.generator().integers(0, within.modulus, shape))


def _clipped(rows: Tensor) -> Tensor:
    clipped: Tensor = rows / rows.norm(dim=-1, keepdim=True).clamp(min=1.0)
    return clipped


def _noise(key: Key, like: Tensor) -> Tensor:
    return NOISE * key.child("noise").normal(*like.shape)


def _cluster_sums(noised: bool) -> outbox.Step:
    """S1: sums of the prompts of each cluster."""

    def step(prompts: Tensor, key: Key) -> dict[str, Tensor]:
        sums = torch.nn.functional.one_hot(ASSIGNMENT).T.double() @ _clipped(prompts)
        return {"cluster sums": sums + _noise(key, sums) if noised else sums}

    return step


def _server_view(opens: bool) -> outbox.Step:
    """S2: distances of client 0 to six known centres: opened, or relayed to it under its pads."""

    def step(prompts: Tensor, key: Key) -> dict[str, Tensor]:
        rows = torch.cat([prompts[:1], CENTRES])
        slices = torch.stack(ENCODING.encode(rows, FIELD).chunk(CODE.slices, dim=-1))
        shares = CODE.share(slices, field_uniform(key, FIELD, COLLUDERS, *slices.shape[1:]))
        gap = FIELD.sub(shares[:, :1], shares[:, 1:])
        replies = FIELD.sum(FIELD.mul(gap, gap), -1)
        if opens:
            squares = FIELD.sum(CODE.open(replies, range(CLIENTS), product=True), 0)
            return {"seen": squares.double().sqrt() / 2.0**ENCODING.bits}
        pads = field_uniform(key.child("pads"), FIELD, *replies.shape)
        return {"seen": FIELD.add(replies, pads).double()}

    return step


def _s2(step: outbox.Step) -> Finding:
    """The server takes the last six numbers that it sees for distances."""
    guess = trilaterate(CENTRES, step(PROMPTS, _KEY)["seen"].flatten()[-len(CENTRES) :])
    return recovered(guess, PROMPTS[0], by="the server, from what it sees of six distances,")


Clustering = Callable[[Tensor], tuple[Tensor, Tensor]]


def _means(start: Tensor, min_size: int) -> Clustering:
    """Prompts -> (means, assignment); members of clusters below `min_size` move to the nearest."""

    def cluster(prompts: Tensor) -> tuple[Tensor, Tensor]:
        distances = plain_distances(prompts)(start)
        small = torch.bincount(start) < min_size
        moved = distances.masked_fill(small, torch.inf).argmin(dim=1)
        assignment = torch.where(small[start], moved, start)
        member = torch.nn.functional.one_hot(assignment, len(small)).T.double()
        return member @ prompts / member.sum(dim=1, keepdim=True).clamp(min=1.0), assignment

    return cluster


def _s3(cluster: Clustering) -> Finding:
    means, assignment = cluster(PROMPTS)
    return recovered(means[assignment[0]], PROMPTS[0], by="a reader of the cluster prompts")


def _s4(cluster: Clustering) -> Finding:
    """Clients 2 and 3 subtract what they put in."""
    means, assignment = cluster(PROMPTS)
    size = int((assignment == assignment[1]).sum())
    rest = subtract(means[assignment[1]], size, PROMPTS[2:4])
    return recovered(rest, PROMPTS[1], by="two colluding members of a cluster")


def _two_rounds(noised: bool) -> outbox.Step:
    """S5: sums of a cluster with client 0, and in the next round without."""

    def step(prompts: Tensor, key: Key) -> dict[str, Tensor]:
        rows = _clipped(prompts)
        sums = torch.stack([rows[:4].sum(dim=0), rows[1:4].sum(dim=0)])
        return {"sums": sums + _noise(key, sums) if noised else sums}

    return step


def _s5(step: outbox.Step) -> Finding:
    sums = list(step(PROMPTS, _KEY)["sums"])
    found = differences(sums, [frozenset(range(4)), frozenset(range(1, 4))])
    return recovered(found[0], _clipped(PROMPTS)[0], by="the server, from two rounds,")


def _reduced(pooled: bool) -> outbox.Step:
    """S6: the basis of the reduction, fitted to all prompts or public; with a noised sum."""

    def step(prompts: Tensor, key: Key) -> dict[str, Tensor]:
        fit = prompts if pooled else SeededKey(0).child("public basis").normal(CLIENTS, DIMENSION)
        basis = torch.linalg.svd(fit)[2][:2]
        total = _clipped(prompts @ basis.T).sum(dim=0)
        return {"basis": basis, "sum": total + _noise(key, total)}

    return step


def _served(noised: bool) -> outbox.Step:
    """S11: the prompt that client 0 serves: a public one plus its local one."""

    def step(prompts: Tensor, key: Key) -> dict[str, Tensor]:
        local = _clipped(prompts[0])
        return {"served": 0.5 + (local + _noise(key, local) if noised else local)}

    return step


def _opened(step: outbox.Step) -> Finding:
    return outbox.unnoised(step, PROMPTS, OTHER)


Row = tuple[outbox.Step, float | None]


def _s12(row: Row) -> Finding:
    """A row of a table: what leaves, and the epsilon that is printed for it."""
    step, epsilon = row
    found = outbox.unnoised(step, PROMPTS, OTHER)
    fired = found.fired and epsilon is not None
    return Finding(
        probe=found.probe,
        fired=fired,
        text=f"epsilon {'is not' if epsilon is None else f'{epsilon:g} is'} printed; {found.text}",
        fix="print 'no DP claim' for rows without noise, and no common axis" if fired else "",
    )


SMALL = LagrangeCode(clients=6, slices=2, colluders=1, within=PrimeField(10007))


def _opened_slices(zero_sharing: bool) -> Callable[[], Tensor]:
    """S13: two clients' points (3, -4) and (1, 2); what shows of n^2 d^2 of the first, by slice."""

    def opened() -> Tensor:
        within = SMALL.within
        points = (torch.tensor([3, -4]), torch.tensor([1, 2]))
        shares = [SMALL.share(within.from_signed(x), torch.tensor([mask]))
                  for x, mask in zip(points, (17, 29), strict=True)]  # fmt: skip
        gap = within.sub(within.scale(shares[0], 2), within.add(*shares))
        replies = within.mul(gap, gap)
        if zero_sharing:
            free = torch.tensor([123, 456, 789, 1011])
            replies = within.add(replies, zero_polynomial(SMALL, "sum", free))
        return SMALL.open(replies, range(6), product=True)

    return opened


def _s13(opened: Callable[[], Tensor]) -> Finding:
    return recovered(opened().double(), torch.tensor([4.0, 36.0]),
                     by=f"a reader of the opened polynomial {opened().tolist()}")  # fmt: skip


_defect = partial(defect, "secfpp")
_CLIENT = mu_claim(adjacency="replace-one", unit="client")


def _stepped(
    code: str,
    reason: str,
    steps: tuple[outbox.Step, outbox.Step],
    check: Callable[[outbox.Step], Finding] = _opened,
    claim: dict[str, Any] = _CLIENT,
) -> Defect:
    """A defect that shows in what leaves: (broken, correct) are run as samplers too."""
    return _defect(code, reason, *steps, check, both(*steps, OTHER, PROMPTS), claim)


DEFECTS = (
    _stepped("S1", "cluster prompts are opened without a bound on what they say",
             (_cluster_sums(False), _cluster_sums(True))),
    _stepped("S2", "the server learns every distance", (_server_view(True), _server_view(False)),
             _s2),
    _defect("S3", "the average of a cluster of one is its member's prompt", _means(ASSIGNMENT, 1),
            _means(ASSIGNMENT, 4), _s3),
    _defect("S4", "all members but one collude and subtract", _means(THREE, COLLUDERS + 1),
            _means(THREE, COLLUDERS + 2), _s4),
    _stepped("S5", "sums of two rounds differ by the client that moved",
             (_two_rounds(False), _two_rounds(True)), _s5,
             mu_claim(2.0**0.5, "replace-one", "client")),
    _stepped("S6", "the basis of the reduction is fitted to pooled prompts",
             (_reduced(True), _reduced(False))),
    _stepped("S11", "the local prompt is served", (_served(False), _served(True))),
    _defect("S12", "secret sharing is printed with an epsilon", (_cluster_sums(False), 0.0),
            (_cluster_sums(False), None), _s12),
    _defect("S13", "the product polynomial shows each slice's distance", _opened_slices(False),
            _opened_slices(True), _s13),
)  # fmt: skip
