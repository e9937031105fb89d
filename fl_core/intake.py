"""What the server does with uploads that are missing or broken: a row of zeros, and a count.

An upload that cannot be used never stops a round, never reaches the sum and never changes the
divisor, so the account stays what it was. Whose upload was unusable is known to the server; the
counts are of no use to anybody else and are not released.
"""

import functools
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

Fault = Literal["dropped before", "dropped after", "not finite", "infinite", "wrong shape"]
"""Dropped before or after its release: for privacy these differ, so both are recorded."""

Faults = Callable[[int, int], Fault | None]
"""(round, client) -> what goes wrong there; for tests and for studies of dropout."""


def receive(
    uploads: Tensor | Sequence[Tensor | None],
    shape: tuple[int, ...],
    tally: Tally[str],
    *,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Usable rows and zeros.

    Args:
        uploads: float[rows, *shape], or what each client sent, None for nothing.
        shape: of one upload.
        tally: "missing", "wrong shape" (or no floating-point numbers) and "not finite" are
            counted here.
        device: of the result.

    Returns:
        float[rows, *shape] and bool[rows], whose upload could be used.
    """
    if not isinstance(uploads, Tensor):
        uploads, usable = _stack(uploads, shape, tally, device)
    else:
        usable = torch.ones(len(uploads), dtype=torch.bool, device=uploads.device)
    # A sum is finite only if each term is; it may overflow, so what it suspects is looked at.
    finite = torch.isfinite(uploads.flatten(1).sum(dim=1))
    if not bool(finite.all()):
        finite = torch.isfinite(uploads).flatten(1).all(dim=1)
    broken = int((usable & ~finite).sum())
    if broken:
        tally["not finite"] += broken
        uploads = torch.where(finite.view(-1, *[1] * len(shape)), uploads, 0.0)
    return uploads, usable & finite


def _stack(
    uploads: Sequence[Tensor | None],
    shape: tuple[int, ...],
    tally: Tally[str],
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    fitting = [u for u in uploads if u is not None and _fits(u, shape)]
    # The widest type: nobody's numbers are cut to those of the client that came first.
    dtype = functools.reduce(torch.promote_types, (u.dtype for u in fitting), torch.float32)
    found = torch.zeros(len(uploads), *shape, dtype=dtype, device=device)
    usable = torch.zeros(len(uploads), dtype=torch.bool, device=device)
    for row, upload in enumerate(uploads):
        if upload is None or not _fits(upload, shape):
            tally["missing" if upload is None else "wrong shape"] += 1
            continue
        found[row] = upload
        usable[row] = True
    return found, usable


def _fits(upload: Tensor, shape: tuple[int, ...]) -> bool:
    return tuple(upload.shape) == shape and upload.is_floating_point()


def break_rows(
    uploads: Tensor, clients: Sequence[int], round: int, faults: Faults, tally: Tally[str]
) -> Tensor | list[Tensor | None]:
    """The uploads as they arrive when `faults` strike; drops are counted by their kind, too."""
    sent: list[Tensor | None] = list(uploads)
    struck = False
    for row, client in enumerate(clients):
        fault = faults(round, client)
        struck = struck or fault is not None
        value = uploads[row]
        if fault in ("dropped before", "dropped after"):
            tally[fault] += 1
            sent[row] = None
        elif fault == "not finite":
            sent[row] = torch.full_like(value, float("nan"))
        elif fault == "infinite":
            sent[row] = torch.full_like(value, float("inf"))
        elif fault == "wrong shape":
            sent[row] = value.flatten()[:-1]
    return sent if struck else uploads
