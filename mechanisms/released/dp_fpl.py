"""DP-FPL as released: batch clip, noise C/B on three tensors, un-noised uploads, shared state.

Source: arXiv:2501.13904 and its public code at cce74b4.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.assumption import Assumption
from ..assumed import fails
from ..base import Key, Point
from ..clipping import Clip
from ..prompt import Factors, Sign, rebuild

View = Literal["server", "peer", "outsider"]


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
        aliasing: uploads are references to one tensor that the last client overwrites (P13).
        sign: of the doubly projected part.
    """

    point: ClassVar[Point] = "per_upload"
    epsilon: float = 0.4
    delta: float = 1e-5
    rounds: int = 100
    batch: int = 32
    clip_norm: float = 10.0
    clip: Literal["batch", "example"] = "batch"
    state: Literal["shared", "per_client"] = "shared"
    aliasing: bool = False
    sign: Sign = "plus"

    def __post_init__(self) -> None:
        check.positive(epsilon=self.epsilon, clip_norm=self.clip_norm)
        check.open_probability(delta=self.delta)
        check.count(rounds=self.rounds, batch=self.batch)
        check.one_of(("batch", "example"), clip=self.clip)
        check.one_of(("shared", "per_client"), state=self.state)
        check.one_of(get_args(Sign), sign=self.sign)

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
        """Clipped mean gradient, float[..., length, width], of float[..., B, length, width]."""
        flat = examples.flatten(-2)
        rule, size = Clip(joint_norm=self.clip_norm), (flat.shape[-1],)
        if self.clip == "example":
            mean = rule.apply(flat, size).sum(dim=-2) / self.batch
        else:
            mean = rule.apply(flat.mean(dim=-2), size)
        return mean.reshape(*mean.shape[:-1], *examples.shape[-2:])

    def clean(self, examples: Tensor, factors: Factors) -> dict[str, Tensor]:
        """The gradients before noise: each clipped by itself, all from the same batch (P2)."""
        return {
            "G": self.gradient(examples),
            "U": self.gradient(examples @ factors.v.unsqueeze(-3).mT),
            "V": self.gradient(factors.u.unsqueeze(-3).mT @ examples),
        }

    def step(self, examples: Tensor, factors: Factors, key: Key) -> Sent:
        """One batch of float[clients, B, length, width] per-example gradients."""
        found, clients = self.clean(examples, factors), len(examples)
        g_u = found["U"] + self.stddev * key.child("U").normal(*found["U"].shape).to(examples)
        g_v = found["V"] + self.stddev * key.child("V").normal(*found["V"].shape).to(examples)
        uploads = found["G"]
        if self.aliasing:
            uploads = uploads[-1:].expand_as(uploads)
        personal = 0.1 * rebuild(g_u, g_v, factors, sign=self.sign)
        if self.state == "shared":
            personal = personal[-1:].expand_as(personal)
        noise = self.stddev / clients * key.child("G").normal(*uploads.shape[1:]).to(examples)
        return Sent(uploads, g_u, g_v, personal, uploads.mean(dim=0) + noise)

    def event(self, view: View = "outsider", *, moved: float | None = None) -> dpe.DpEvent:
        """What all rounds cost one example, seen by `view`.

        Args:
            view: "peer" sees the broadcast, "outsider" the personal prompt too; "server" sees
                uploads without noise.
            moved: how far one example moves a clipped gradient under zero-out, in units of C/B;
                `worst_move` if None, with the batch clip 2B (P1). 1 is what the paper counts.

        With `aliasing` one client's upload is the whole mean, whose noise is divided by the number
        of clients; nothing is counted for it, so nothing is proven.
        """
        check.one_of(get_args(View), view=view)
        moved = self.worst_move if moved is None else moved
        check.positive(moved=moved)
        if view == "server" or self.aliasing:
            return dpe.NonPrivateDpEvent()
        mechanisms = 3 if view == "outsider" else 1
        one = dpe.GaussianDpEvent(self.sigma / moved)
        return dpe.SelfComposedDpEvent(one, mechanisms * self.rounds)

    @property
    def worst_move(self) -> float:
        """How far one example can move a clipped gradient, in units of C/B."""
        return 2.0 * self.batch if self.clip == "batch" else 1.0

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the claim would need; those with holds=False are the defects."""
        found = [
            fails(
                "P2",
                "Tensors from the same batch share one budget.",
                "U, V and G each have the whole of it",
            ),
            fails(
                "P3",
                "The formula of sigma is valid where it is used.",
                "asymptotic moments accountant at sampling rate 1, where its condition fails",
            ),
            fails(
                "P9",
                "Nothing reaches the server without noise.",
                "the clipped gradient of the global prompt does, for every batch",
            ),
            fails(
                "P10",
                "The unit is named, and the noise fits it.",
                "s/N fits one example; one client needs 2B times more",
            ),
            fails(
                "P11",
                "What is called local differential privacy protects a client.",
                "it protects one example, with noise added at the client",
            ),
            fails(
                "P12",
                "Noise cannot be computed by others.",
                "it comes from the global generator, seeded with 1, 2 or 3",
            ),
            fails(
                "P14",
                "Choices made on private or test data are charged.",
                "best round, rank, rounds and C are chosen on test data; sizes are truncated",
            ),
        ]
        if self.clip == "batch":
            found.append(
                fails(
                    "P1",
                    "One example moves a clipped gradient by C/B.",
                    "the mean over the batch is clipped: it moves by up to 2C",
                )
            )
        if self.state == "shared":
            found.append(
                fails(
                    "P6",
                    "Each client trains on its own data.",
                    "all take the gradients that the last one left",
                )
            )
        if self.aliasing:
            found.append(
                fails("P13", "The mean is one over clients.", "all uploads are the last client's")
            )
        return tuple(found)


def global_generator_noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """P12: what the global generator of torch gives after manual_seed(seed), float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def promptfl_stddev(stddev: float, clients: int) -> float:
    """P17: noise on the mean gradient in row `promptfl`, noised at the client and at the server.

    >>> round(promptfl_stddev(1.0, 10), 3)
    0.332
    """
    return stddev * math.sqrt(1.0 / clients + 1.0 / clients**2)


def train_round(
    start: Tensor, gradients: Tensor, *, lr: float, momentum: float, reload: bool
) -> Tensor:
    """P16: SGD over the batches of a round, float[batches, ...].

    With `reload`, as released, each batch starts from the weights stored before the step before it:
    earlier batches act through momentum only, and without momentum not at all.
    """
    weights, buffer = start, torch.zeros_like(start)
    for gradient in gradients:
        buffer = momentum * buffer + gradient
        base = start if reload else weights
        weights = base - lr * buffer
    return weights


def shared_momentum(
    starts: Tensor, gradients: Tensor, *, lr: float, momentum: float, shared: bool
) -> Tensor:
    """P7: one step of all clients, float[clients, ...]; `shared`: one buffer for all in turn."""
    buffer = torch.zeros_like(gradients[0])
    weights = []
    for start, gradient in zip(starts, gradients, strict=True):
        buffer = (momentum * buffer if shared else 0.0) + gradient
        weights.append(start - lr * buffer)
    return torch.stack(weights)


def called_members(sizes: tuple[int, ...]) -> tuple[dict[int, int], dict[int, int], set[int]]:
    """P8: (members, non-members, trained on) of the released membership harness.

    Clients hold records of one class each, numbered on; training keeps as many of each as the
    smallest client has, and the "members" are what the largest one lost by that.
    """
    keep = min(sizes)
    first = [sum(sizes[:i]) for i in range(len(sizes))]
    trained = {first[i] + j for i in range(len(sizes)) for j in range(keep)}
    big = sizes.index(max(sizes))
    members = {first[big] + j: big for j in range(keep, sizes[big])}
    outsiders = {sum(sizes) + j: j % len(sizes) for j in range(len(members))}
    return members, outsiders, trained
