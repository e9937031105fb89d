"""What membership attacks on a federation look at: models and uploads, replicas as trials."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.claim import AdversaryName
from ...accountant.errors import DesignError
from ...fl_core.clients import ClientData
from ...fl_core.kernels.base import Kernel, Loss, Params, flatten, rows_of, unflatten
from ...fl_core.kernels.per_record import blocks

_RECORDS = 1 << 14  # losses computed at once; bounds the memory


@dataclass(frozen=True, kw_only=True, eq=False)
class Updates:
    """What one adversary saw of a federation that averages differences of models.

    A vector holds all parameters of a model, in the order of the kernel's shapes.

    Attributes:
        adversary: "server": everything; "peer": the models; "outsider": the last model, and the
            first if it is public.
        models: float64[trials, models, d], what was sent: the initial model, then that after each
            round. An outsider has one or two of them.
        uploads: float64[trials, rounds, clients, d], zero where nothing arrived; server only.
        arrived: bool[trials, rounds, clients], whose upload was heard; server only.

    Raises:
        DesignError: shapes contradict each other or the adversary, or a number is not finite.
    """

    adversary: AdversaryName
    models: Tensor
    uploads: Tensor | None = None
    arrived: Tensor | None = None

    def __post_init__(self) -> None:
        check.one_of(("server", "peer", "outsider"), adversary=self.adversary)
        if self.models.ndim != 3 or self.models.shape[1] < 1:
            raise DesignError(
                "models must be float64[trials, models, d] with at least one model, but have the "
                f"shape {list(self.models.shape)}"
            )
        if (self.uploads is None) != (self.adversary != "server") or (
            (self.uploads is None) != (self.arrived is None)
        ):
            raise DesignError(
                f"a server sees uploads and who was heard, others neither; this is the view of a "
                f"{self.adversary}"
            )
        trials, sent, d = self.models.shape
        if self.uploads is not None and self.arrived is not None:
            wanted = (trials, sent - 1, self.uploads.shape[2], d)
            if tuple(self.uploads.shape) != wanted or self.arrived.shape != wanted[:3]:
                raise DesignError(
                    f"with models {list(self.models.shape)} uploads must be [{trials}, {sent - 1}, "
                    f"clients, {d}] and arrived [{trials}, {sent - 1}, clients], but they are "
                    f"{list(self.uploads.shape)} and {list(self.arrived.shape)}"
                )
        for value in (self.models, self.uploads):
            if value is not None and not bool(value.isfinite().all()):
                raise DesignError("a run that diverged to NaN or infinity cannot be scored")

    @property
    def rounds(self) -> int:
        """Number of rounds between the models."""
        return self.models.shape[1] - 1

    def take(self, trials: slice) -> "Updates":
        """The view of some trials."""
        return Updates(
            adversary=self.adversary,
            models=self.models[trials],
            uploads=None if self.uploads is None else self.uploads[trials],
            arrived=None if self.arrived is None else self.arrived[trials],
        )

    def of_clients(self, attack: str) -> tuple[Tensor, Tensor]:
        """Uploads and who was heard.

        Raises:
            DesignError: the view holds none.
        """
        if self.uploads is None or self.arrived is None:
            raise DesignError(
                f"{attack} needs each client's upload, which only the server sees; this is the "
                f"view of a {self.adversary}"
            )
        return self.uploads, self.arrived

    def moves(self, client: int | None, attack: str) -> Tensor:
        """float64[trials, rounds, d]: one client's uploads, or the steps of the model.

        Args:
            client: whose uploads; None for the difference of successive models, which everybody
                sees who sees the models.
            attack: who asks, for the message.

        Raises:
            DesignError: the view holds no such upload, or fewer than two models.
        """
        if client is not None:
            uploads, _ = self.of_clients(attack)
            if not 0 <= client < uploads.shape[2]:
                raise DesignError(f"client must be 0 .. {uploads.shape[2] - 1}, but is {client}")
            return uploads[:, :, client]
        if not self.rounds:
            raise DesignError(f"{attack} needs successive models, but the view holds one model")
        return self.models[:, 1:] - self.models[:, :-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """Candidates of an attack that computes their loss or gradient.

    Attributes:
        x: float[m, ...].
        y: int64[m].

    Raises:
        DesignError: there is none, or the lengths differ.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not len(self.y) or self.y.ndim != 1:
            raise DesignError(f"{len(self.x)} records with labels of shape {list(self.y.shape)}")

    def __len__(self) -> int:
        return len(self.y)


class PerRound(Protocol):
    """An attack on updates that says something in every round."""

    def per_round(self, view: Updates, candidates: Records) -> Tensor:
        """float64[trials, rounds, m]; larger means more likely a member."""


def recorded(
    seen: Mapping[str, np.ndarray],
    adversary: AdversaryName,
    *,
    initial: Params,
    data: ClientData,
) -> Updates:
    """The view of a recording (`fl_core.recorder.Recording.view`).

    Args:
        seen: what the adversary saw.
        adversary: who; server or peer.
        initial: what was sent in the first round, float[replicas, ...] each, in the kernel's
            order; it is public.
        data: the rows of the run, for their clients and replicas.

    Raises:
        DesignError: something is missing, or a replica lacks a client.
    """
    missing = [name for name in initial if f"broadcast-{name}" not in seen]
    if missing:
        raise DesignError(f"the recording holds no broadcast of {missing}")
    after = [
        torch.from_numpy(np.array(seen[f"broadcast-{name}"])).double().flatten(2)
        for name in initial
    ]
    first = flatten({name: value.double() for name, value in initial.items()}).unsqueeze(0)
    models = torch.cat([first, torch.cat(after, dim=2)]).transpose(0, 1).contiguous()
    if adversary != "server":
        return Updates(adversary=adversary, models=models)
    if "uploads" not in seen or "arrived" not in seen:
        raise DesignError("the view of a server holds uploads and arrived; take view('server')")
    place = torch.searchsorted(data.replicas.unique(), data.replicas)
    slot = torch.searchsorted(data.clients.unique(), data.clients)
    count = int(slot.max()) + 1
    order = (place * count + slot).argsort()
    if len(order) != len(models) * count:
        raise DesignError(f"{len(order)} rows are not {len(models)} replicas of {count} clients")
    shape = (len(models), count)
    uploads = torch.from_numpy(np.array(seen["uploads"]))[:, order].double().flatten(2)
    arrived = torch.from_numpy(np.array(seen["arrived"]))[:, order].bool()
    return Updates(
        adversary=adversary,
        models=models,
        uploads=uploads.unflatten(1, shape).transpose(0, 1).contiguous(),
        arrived=arrived.unflatten(1, shape).transpose(0, 1).contiguous(),
    )


def one_record(
    x: Tensor, y: int | Tensor, rows: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """One record as a batch of one in every row: x, y and weights of a kernel."""
    value = x.to(dtype) if x.is_floating_point() else x
    return (
        value.expand(rows, 1, *value.shape),
        torch.as_tensor(y).expand(rows, 1),
        torch.ones(rows, 1, dtype=dtype),
    )


def record_gradients(
    kernel: Kernel, models: Tensor, records: Records, loss: Loss
) -> Iterator[Tensor]:
    """float64[..., d] for each record: its gradient at each of the models, float64[..., d].

    One record after the other, so that memory does not grow with their number.
    """
    flat = models.flatten(0, -2)
    params = unflatten(flat, kernel.shapes())
    for x, y in zip(records.x, records.y, strict=True):
        found = kernel.gradients(params, *one_record(x, y, len(flat), flat.dtype), loss, {})
        yield flatten({name: found[name] for name in kernel.shapes()}).view(models.shape)


def record_losses(kernel: Kernel, models: Tensor, records: Records, loss: Loss) -> Tensor:
    """float64[..., m]: loss of each record at each of the models, float64[..., d].

    Some models and records at a time, so that memory beyond the result does not grow with them.
    """
    flat = models.flatten(0, -2)
    params = unflatten(flat, kernel.shapes())
    x = records.x.to(flat.dtype) if records.x.is_floating_point() else records.x
    found = flat.new_empty(len(flat), len(records))
    for rows, some in blocks(len(flat), len(records), _RECORDS):
        here = found[rows, some]
        batch = x[some].expand(len(here), *x[some].shape)
        outputs = kernel.outputs(rows_of(params, rows), batch)
        here.copy_(loss(outputs, records.y[some].expand(len(here), -1), {}))
    return found.view(*models.shape[:-1], len(records))


def descent(gradients: Tensor, moves: Tensor, *, cosine: bool) -> Tensor:
    """float64[...]: how far moves go down a record's gradient: minus their inner product.

    Args:
        gradients: float64[..., d].
        moves: float64[..., d], broadcastable; what is broadcast is not copied.
        cosine: divide by both norms; where one of them is zero the cosine is 0.
    """
    product = -torch.einsum("...d,...d->...", gradients, moves)
    if not cosine:
        return product
    size = gradients.norm(dim=-1) * moves.norm(dim=-1)
    return torch.where(size > 0, product / size.clamp(min=torch.finfo(size.dtype).tiny), 0.0)
