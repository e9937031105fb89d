"""Sound DP-FPL: per-example clipping of prompt gradients, and local and global noise.

A prompt is a matrix, float[length, width]; G is an example's gradient with respect to it. The
personal prompt P is refactored as U V + R with U = orth(P V0), V = orth(P^T U)^T. Since U and V
are functions of earlier noisy outputs, G V^T and U^T G can be computed from the noisy G (variant
B): one mechanism, one budget. Variant A clips and noises the three together. Source:
arXiv:2501.13904; the sound variants and the sign of `rebuild` are derived from it.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.adjacency import FIXED_SIZE
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from ..accountant.events import RestrictedDpEvent
from .assumed import DOUBLE_PRECISION, NAN_IS_ZERO, ONE_KEY, fixed_divisor, public
from .base import Key, Point
from .clipping import Clip
from .sums import noisy, restored, total

Sign = Literal["minus", "plus"]
View = Literal["server", "peer", "outsider"]


class Factors(NamedTuple):
    """U float[..., length, rank], V float[..., rank, width], R float[..., length, width]."""

    u: Tensor
    v: Tensor
    residual: Tensor


def refactor(prompt: Tensor, rank: int, key: Key) -> Factors:
    """Split float[..., length, width] so that u @ v + residual is the prompt exactly."""
    check.count(rank=rank)
    start = key.normal(*prompt.shape[:-2], prompt.shape[-1], rank).to(prompt)
    u = torch.linalg.qr(prompt @ start).Q
    v = torch.linalg.qr(prompt.mT @ u).Q.mT
    return Factors(u, v, prompt - u @ v)


def rebuild(g_u: Tensor, g_v: Tensor, factors: Factors, *, sign: Sign = "minus") -> Tensor:
    """Gradient of the personal prompt from the factors' gradients, float[..., length, width].

    With "minus" it is the orthogonal projection of G on the tangent space of rank-r matrices,
    G P_V + P_U G - P_U G P_V; "plus", as released, weights the doubly projected part by 3.
    """
    check.one_of(get_args(Sign), sign=sign)
    u, v, _ = factors
    both = u @ (u.mT @ g_u) @ v
    return g_u @ v + u @ g_v + (-both if sign == "minus" else both)


def joint_gradients(gradients: Tensor, factors: Factors) -> Tensor:
    """Variant A's rows (G, G V^T, U^T G), float[..., n, all], of float[..., n, length, width]."""
    u, v = factors.u.unsqueeze(-3), factors.v.unsqueeze(-3)
    parts = (gradients, gradients @ v.mT, u.mT @ gradients)
    return torch.cat([part.flatten(-2) for part in parts], dim=-1)


def split_joint(vector: Tensor, factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Undo `joint_gradients` for float[..., all]: (g_G, g_U, g_V)."""
    length, rank = factors.u.shape[-2:]
    width = factors.v.shape[-1]
    whole, left, right = vector.split((length * width, length * rank, rank * width), dim=-1)
    return (
        whole.unflatten(-1, (length, width)),
        left.unflatten(-1, (length, rank)),
        right.unflatten(-1, (rank, width)),
    )


@dataclass(frozen=True, kw_only=True)
class PromptGradients:
    """Clip each example's whole gradient jointly, sum, add noise, divide by a fixed number.

    For variant A the rows are `joint_gradients`, for variant B the flat gradients G. One release
    serves the global and the personal prompt. Source: derived for arXiv:2501.13904.

    Attributes:
        clip_norm: bound on one example's row, > 0.
        noise_multiplier: noise std of the sum / clip_norm, > 0.
        batch: public divisor.
    """

    point: ClassVar[Point] = "per_example"
    clip_norm: float
    noise_multiplier: float
    batch: int

    def __post_init__(self) -> None:
        check.positive(clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier)
        check.count(batch=self.batch)

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim]: each example's row clipped; one that is not finite is zero."""
        return Clip(joint_norm=self.clip_norm).apply(rows)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """Noisy mean gradients, float[..., dim], of float[..., n, dim]."""
        scale = self.noise_multiplier * self.clip_norm
        sums = noisy(total(self.contribution(payload)), scale, key.child("prompt gradients"))
        return restored(sums / self.batch, payload)

    def event(self, rounds: int = 1) -> dpe.DpEvent:
        """`rounds` rounds in each of which an example is in one batch; zero-out or replace-one.

        Accounting under add-remove is refused: an example more or less moves others to other
        batches of a fixed size.
        """
        check.count(rounds=rounds)
        one = dpe.GaussianDpEvent(self.noise_multiplier)
        return RestrictedDpEvent(dpe.SelfComposedDpEvent(one, rounds), FIXED_SIZE)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (
            Assumption(
                text="An example is in one batch of a round, and every client takes part.",
                how="to be proven from the log of batch indices (`participations`)",
                holds=None,
            ),
            Assumption(
                text="U and V are functions of earlier noisy outputs and of public starts.",
                how="the caller must not refactor a prompt that saw an un-noised gradient",
                holds=None,
            ),
            public("The clip bound, the noise scale and the sizes of clients"),
            fixed_divisor(self.batch),
            NAN_IS_ZERO,
            ONE_KEY,
            DOUBLE_PRECISION,
        )


@dataclass(frozen=True, kw_only=True)
class TwoTierNoise:
    """Central noise on the sum over clients for the global prompt, own local noise per client.

    Both are taken from the same clipped sums S_i of the clients: the broadcast is
    (sum_i S_i + N(0, (central C)^2)) / (clients * batch), client i's personal gradient
    (S_i + N(0, (local C)^2)) / batch. Source: derived for arXiv:2501.13904.

    Attributes:
        clip_norm: bound on one example's row, > 0.
        local: noise multiplier of the personal gradients, > 0.
        central: noise multiplier of the broadcast, > 0.
        batch: public divisor.
        secure_sum: whether the server sees only the noisy sum.
    """

    point: ClassVar[Point] = "per_example"
    clip_norm: float
    local: float
    central: float
    batch: int
    secure_sum: bool

    def __post_init__(self) -> None:
        check.positive(clip_norm=self.clip_norm, local=self.local, central=self.central)
        check.count(batch=self.batch)

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim]: each example's row clipped."""
        return Clip(joint_norm=self.clip_norm).apply(rows)

    def personal(self, payload: Tensor, key: Key) -> Tensor:
        """Noisy mean gradients of each client, float[..., clients, dim]."""
        sums = total(self.contribution(payload))
        found = noisy(sums, self.local * self.clip_norm, key.child("local"))
        return restored(found / self.batch, payload)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """The broadcast, float[..., dim], of float[..., clients, n, dim]."""
        sums = total(self.contribution(payload))
        found = noisy(total(sums), self.central * self.clip_norm, key.child("central"))
        return restored(found / (self.batch * sums.shape[-2]), payload)

    def event(self, view: View = "outsider") -> dpe.DpEvent:
        """One round: what `view` sees of one example.

        A peer sees the broadcast; an outsider with the personal prompt sees both; the server sees
        what a peer sees under a secure sum, and everything otherwise. Zero-out or replace-one;
        accounting under add-remove is refused, as for `PromptGradients`.
        """
        check.one_of(get_args(View), view=view)
        if view == "server" and not self.secure_sum:
            return dpe.NonPrivateDpEvent()
        seen: dpe.DpEvent = dpe.GaussianDpEvent(self.central)
        if view == "outsider":
            seen = dpe.ComposedDpEvent([seen, dpe.GaussianDpEvent(self.local)])
        return RestrictedDpEvent(seen, FIXED_SIZE)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (
            Assumption(
                text="The server learns the noisy sum of the clients and nothing else.",
                how="secure sum declared" if self.secure_sum else "uploads are in the clear",
                holds=None if self.secure_sum else False,
            ),
            public("The clip bound, the noise scales and the sizes of clients"),
            NAN_IS_ZERO,
            ONE_KEY,
            DOUBLE_PRECISION,
        )


def participations(log: Tensor, records: int) -> int:
    """Most uses of one record in a log of batch indices, int[...]; at most 1 a round is assumed.

    Raises:
        ParameterError: an index that is no record.
    """
    check.count(records=records)
    if log.numel() and not (0 <= int(log.min()) and int(log.max()) < records):
        raise ParameterError(f"indices must be in 0..{records - 1}")
    return int(torch.bincount(log.flatten(), minlength=records).max()) if log.numel() else 0
