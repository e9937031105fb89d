"""DP-FPL as released: batch clip, noise C/B on three tensors, un-noised uploads, shared state.

Source: arXiv:2501.13904 and its public code at cce74b4.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.adjacency import ADJACENCIES, FIXED_SIZE, Adjacency
from ...accountant.assumption import Assumption
from ...accountant.errors import ParameterError
from ...accountant.events import RestrictedDpEvent
from ..base import Key, Point
from ..clipping import Clip
from ..prompt import Factors, Sign, rebuild, refactor
from .dp_fpl_declared import declaration
from .dp_fpl_defects import defects
from .dp_fpl_training import Training, momentum_steps, seeded_draws
from .dp_fpl_training import called_members as called_members
from .dp_fpl_training import global_generator_noise as global_generator_noise
from .dp_fpl_training import promptfl_stddev as promptfl_stddev
from .dp_fpl_training import shared_momentum as shared_momentum
from .dp_fpl_training import train_round as train_round

View = Literal["server", "peer", "outsider"]
State = Literal["shared", "per_client"]


class Sent(NamedTuple):
    """One batch of all clients.

    Attributes:
        uploads: float[clients, length, width], clipped gradients of the global prompt: the server
            gets them without noise (P9).
        g_u: float[clients, length, rank], noised; g_v: float[clients, rank, width], noised.
        personal: float[clients, length, width], gradients of the personal prompts.
        broadcast: float[length, width], the noisy mean of the uploads.
    """

    uploads: Tensor
    g_u: Tensor
    g_v: Tensor
    personal: Tensor
    broadcast: Tensor


@dataclass(frozen=True, kw_only=True)
class AsReleasedDpFpl:
    """The public code, with its switches.

    Attributes:
        epsilon: claimed; delta: claimed.
        rounds: T.
        batch: B.
        clip_norm: C.
        clip: "batch" clips the gradient of the mean loss (P1); "example" each example's.
        state: "shared" gives every client the last client's personal gradient (P6).
        buffer: "shared" steps one momentum buffer once for every client (P7).
        reload: each batch of a round starts from the weights before the round (P16).
        aliasing: uploads are references to one tensor that the last client overwrites (P13).
        sign: of the doubly projected part.
        seed: of the global generator that all noise comes from, 1, 2 or 3 in the public code (P12);
            None draws noise from the key, so that the rest can be accounted.
        lr: of SGD; momentum: of SGD; weight_decay: of SGD.
    """

    point: ClassVar[Point] = "per_upload"
    epsilon: float = 0.4
    delta: float = 1e-5
    rounds: int = 100
    batch: int = 32
    clip_norm: float = 10.0
    clip: Literal["batch", "example"] = "batch"
    state: State = "shared"
    buffer: State = "shared"
    reload: bool = True
    aliasing: bool = False
    sign: Sign = "plus"
    seed: int | None = None
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        check.positive(epsilon=self.epsilon, clip_norm=self.clip_norm, lr=self.lr)
        check.open_probability(delta=self.delta)
        check.count(rounds=self.rounds, batch=self.batch)
        check.one_of(("batch", "example"), clip=self.clip)
        check.one_of(get_args(State), state=self.state)
        check.one_of(get_args(State), buffer=self.buffer)
        check.one_of(get_args(Sign), sign=self.sign)
        check.probability(momentum=self.momentum, weight_decay=self.weight_decay)
        if self.seed is not None:
            check.whole(seed=self.seed)

    @property
    def sigma(self) -> float:
        """P3: sqrt(T ln(1/delta)) / epsilon, the asymptotic form without its constant.

        >>> round(AsReleasedDpFpl().sigma, 2)
        84.83
        """
        return math.sqrt(self.rounds * math.log(1.0 / self.delta)) / self.epsilon

    @property
    def stddev(self) -> float:
        """Noise on one client's gradient of the mean loss, sigma C / B."""
        return self.sigma * self.clip_norm / self.batch

    def gradient(self, examples: Tensor) -> Tensor:
        """Clipped mean gradient, float[..., length, width], of float[..., B, length, width].

        Raises:
            ParameterError: another number of examples than noise and account are made for.
        """
        if examples.shape[-3] != self.batch:
            raise ParameterError(
                f"a batch has {examples.shape[-3]} examples, but noise C/B and its account are for "
                f"B = {self.batch}.\n  Give batch={examples.shape[-3]}, or full batches."
            )
        flat = examples.flatten(-2)
        rule = Clip(joint_norm=self.clip_norm)
        if self.clip == "example":
            mean = rule.apply(flat).sum(dim=-2) / self.batch
        else:
            mean = rule.apply(flat.mean(dim=-2))
        return mean.reshape(*mean.shape[:-1], *examples.shape[-2:])

    def clean(self, examples: Tensor, factors: Factors) -> dict[str, Tensor]:
        """The gradients before noise: each clipped by itself, all from the same batch (P2)."""
        return {
            "G": self.gradient(examples),
            "U": self.gradient(examples @ factors.v.unsqueeze(-3).mT),
            "V": self.gradient(factors.u.unsqueeze(-3).mT @ examples),
        }

    def step(self, examples: Tensor, factors: Factors, key: Key, *, batch: int = 0) -> Sent:
        """One batch of float[clients, B, length, width] per-example gradients.

        Args:
            examples: gradients with respect to the sum of the two prompts.
            factors: of the personal prompts.
            key: of the noise, unless it comes from the seeded global generator (P12).
            batch: how many batches the run had before; only that generator asks.
        """
        found, clients = self.clean(examples, factors), len(examples)
        shapes = {"U": found["U"].shape, "V": found["V"].shape, "G": found["G"].shape[1:]}
        if self.seed is None:
            drawn = {name: key.child(name).normal(*shape) for name, shape in shapes.items()}
        else:
            drawn = seeded_draws(self.seed, {n: tuple(s) for n, s in shapes.items()}, batch)
        noise = {name: self.stddev * value.to(examples) for name, value in drawn.items()}
        g_u, g_v = found["U"] + noise["U"], found["V"] + noise["V"]
        uploads = found["G"]
        if self.aliasing:
            uploads = uploads[-1:].expand_as(uploads)
        personal = 0.1 * rebuild(g_u, g_v, factors, sign=self.sign)
        if self.state == "shared":
            personal = personal[-1:].expand_as(personal)
        return Sent(uploads, g_u, g_v, personal, uploads.mean(dim=0) + noise["G"] / clients)

    def train_round(
        self,
        before: Training,
        batches: Sequence[Callable[[Tensor], Tensor]],
        key: Key,
        *,
        rank: int = 8,
        earlier: int = 0,
    ) -> Training:
        """One round: the prompts and momentum of all clients after its batches.

        Args:
            before: after the last round.
            batches: contexts float[clients, length, width] -> per-example gradients
                float[clients, B, length, width], one function a batch.
            key: of the noise and of the refactoring.
            rank: of the refactoring.
            earlier: batches of the rounds before.
        """
        now = before
        for index, gradients in enumerate(batches):
            base = before if self.reload else now
            here = key.child("batch", earlier + index)
            factors = refactor(base.personal, rank, here.child("start"))
            examples = gradients(base.shared + base.personal)
            sent = self.step(examples, factors, here, batch=earlier + index)
            weights = torch.stack([base.shared, base.personal], dim=1)
            found = torch.stack([sent.broadcast.expand_as(sent.personal), sent.personal], dim=1)
            buffers = momentum_steps(
                now.buffers,
                found + self.weight_decay * weights,
                momentum=self.momentum,
                shared=self.buffer == "shared",
            )
            shared, personal = (weights - self.lr * buffers).unbind(dim=1)
            now = Training(shared, personal, buffers)
        return now

    def event(
        self,
        view: View = "outsider",
        *,
        moved: float | None = None,
        adjacency: Adjacency | None = None,
    ) -> dpe.DpEvent:
        """What all rounds cost one example, seen by `view`; zero-out, or replace-one.

        Batches have a fixed size: a record more or less moves others between batches, and may cut
        every client to another size, so that accounting under add-remove is refused.

        Args:
            view: "peer" is who sees the broadcast and nothing else: with shared state a client's
                own prompt holds more, and it is an "outsider", who sees the personal prompt too;
                "server" sees uploads without noise.
            moved: how far one example moves a clipped gradient under zero-out, in units of C/B, one
                of `moves`; `worst_move` if None, with the batch clip 2B (P1), whatever happens to
                the example: under replace-one accounting doubles it. 1 is what the paper counts,
                and too little with the batch clip.
            adjacency: the one that the event will be accounted under, if that is known. With the
                batch clip an exchanged example moves the gradient no further than a removed one,
                so that under "replace-one" half of it is named, which accounting doubles; that
                event is refused under zero-out. If None, the event holds under both and costs twice
                as much as need be under replace-one.

        With `aliasing` one client's upload is the whole mean, whose noise is divided by the number
        of clients; nothing is counted for it, so nothing is proven. Noise from a public `seed`
        protects nothing.

        Raises:
            ParameterError: another `moved`.
        """
        check.one_of(get_args(View), view=view)
        if adjacency is not None:
            check.one_of(ADJACENCIES, adjacency=adjacency)
        exchanged = adjacency == "replace-one" and self.clip == "batch" and moved is None
        moved = self.worst_move if moved is None else moved
        if moved not in self.moves:
            known = ", ".join(f"{move:g}" for move in self.moves)
            raise ParameterError(
                f"moved must be one of {known}, but is {moved!r}: the program keeps nothing to "
                "less.\n  Leave it out for the worst, or give 1 for what the paper counts."
            )
        if view == "server" or self.aliasing or self.seed is not None:
            return dpe.NonPrivateDpEvent()
        mechanisms = 3 if view == "outsider" else 1
        one = dpe.GaussianDpEvent(self.sigma / (0.5 * moved if exchanged else moved))
        whole = dpe.SelfComposedDpEvent(one, mechanisms * self.rounds)
        return RestrictedDpEvent(whole, ("replace-one",) if exchanged else FIXED_SIZE)

    @property
    def worst_move(self) -> float:
        """How far one example can move a clipped gradient, in units of C/B."""
        return 2.0 * self.batch if self.clip == "batch" else 1.0

    @property
    def moves(self) -> tuple[float, ...]:
        """What `event` can be asked for: the paper's count and the worst, removed or exchanged."""
        return tuple(sorted({1.0, 2.0, self.worst_move, 2.0 * self.worst_move}))

    def assumptions(self, *, clients: int = 10, rank: int = 8) -> tuple[Assumption, ...]:
        """What the claim would need; those with holds=False are the defects.

        Args:
            clients: N, for the noise on a mean over them.
            rank: of the refactoring.
        """
        return defects(self, clients=clients, rank=rank)

    def declaration(
        self, *, clients: int = 10, rank: int = 8, length: int = 16, width: int = 512
    ) -> dict[str, Any]:
        """What a lint reads, as nested dicts of the format in docs/lint.md.

        Args:
            clients: N.
            rank: of the refactoring.
            length: rows of a prompt.
            width: columns of a prompt.
        """
        return declaration(self, clients=clients, rank=rank, length=length, width=width)
