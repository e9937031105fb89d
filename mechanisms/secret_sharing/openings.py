"""Who sees which value, per mode, as data; and a board that refuses every other opening."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from ...accountant import check
from ...accountant.errors import LedgerError

Mode = Literal["as_described", "sound_mpc", "sound_dp"]
Reader = Literal["server", "all", "client", "members", "nobody"]

MODES: tuple[str, ...] = get_args(Mode)
VALUES = (
    "slice_distances",
    "distances",
    "assignment",
    "sizes",
    "centres",
    "cluster_prompt",
    "iterations",
    "clusters",
)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """One value that leaves the shares.

    Attributes:
        value: which, one of `VALUES`.
        to: who reads it; "client" is the client that it is about; "nobody" says that it stays.
        noisy: whether noise with an account was added.
        is_public: a constant of the configuration: it tells nothing about the data.
        note: what is doubtful about it.
    """

    value: str
    to: Reader
    noisy: bool = False
    is_public: bool = False
    note: str = ""


_UNVERIFIED = "the paper's reader is not verified; assumed, so that the worst is shown"

OPENINGS: dict[Mode, tuple[Opening, ...]] = {
    "as_described": (
        Opening(value="slice_distances", to="server", note="follows from opening the polynomial"),
        Opening(value="distances", to="server"),
        Opening(value="assignment", to="all", note="the server computes and announces it"),
        Opening(value="sizes", to="all"),
        Opening(value="centres", to="nobody", note="coded; trilateration works on the distances"),
        Opening(value="cluster_prompt", to="members"),
        Opening(value="cluster_prompt", to="server", note=_UNVERIFIED),
        Opening(value="iterations", to="all", note="depends on the data"),
        Opening(value="clusters", to="all", note="depends on the data"),
    ),
    "sound_mpc": (
        Opening(value="slice_distances", to="nobody"),
        Opening(value="distances", to="client"),
        Opening(value="assignment", to="client"),
        Opening(value="sizes", to="all", note="before and after small clusters are dissolved"),
        Opening(value="centres", to="nobody"),
        Opening(value="cluster_prompt", to="members"),
        Opening(value="iterations", to="all", is_public=True),
        Opening(value="clusters", to="all", is_public=True),
    ),
    "sound_dp": (
        Opening(value="slice_distances", to="nobody"),
        Opening(value="distances", to="nobody", note="a client computes its own, on its device"),
        Opening(value="assignment", to="client"),
        Opening(value="sizes", to="all", noisy=True),
        Opening(value="centres", to="all", noisy=True),
        Opening(value="cluster_prompt", to="all", noisy=True, note="all blocks are released"),
        Opening(value="iterations", to="all", is_public=True),
        Opening(value="clusters", to="all", is_public=True),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What was opened at run time.

    Attributes:
        value: which, one of `VALUES`.
        to: who reads it.
        round: number of the round.
        step: number of the iteration within the round.
        data: the opened numbers, as the reader has them.
    """

    value: str
    to: Reader
    round: int
    step: int
    data: Tensor


class Board:
    """Everything that was opened in a run; refuses what the mode's list does not hold.

    >>> import torch
    >>> Board("sound_mpc").open("distances", to="server", data=torch.zeros(3), round=1, step=1)
    Traceback (most recent call last):
        ...
    privassay.accountant.errors.LedgerError: mode sound_mpc does not open distances to server; it \
opens distances to client.
      Use the mode that lists it, and report it.
    """

    def __init__(self, mode: Mode) -> None:
        check.one_of(MODES, mode=mode)
        self.mode = mode
        self.opened: list[Opened] = []
        self._rounds: set[int] = set()

    def begin(self, round: int) -> None:
        """Note that a round starts.

        Raises:
            LedgerError: it ran before: its masks would be drawn twice, and sums differenced.
        """
        if round in self._rounds:
            raise LedgerError(
                f"round {round} ran before on this board.\n  Give every round its own number."
            )
        self._rounds.add(round)

    def open(self, value: str, *, to: Reader, data: Tensor, round: int, step: int) -> None:
        """Record an opening.

        Raises:
            LedgerError: the mode does not list it.
        """
        readers = [o.to for o in OPENINGS[self.mode] if o.value == value]
        if to == "nobody" or to not in readers:
            raise LedgerError(
                f"mode {self.mode} does not open {value} to {to}; it opens {value} to "
                f"{' and '.join(readers) or 'nobody'}.\n  Use the mode that lists it, and report "
                "it."
            )
        self.opened.append(Opened(value=value, to=to, round=round, step=step, data=data))

    def seen(self, value: str, *, to: Reader) -> list[Opened]:
        """What `to` saw of `value`, in order."""
        return [o for o in self.opened if o.value == value and o.to == to]


def opened_values() -> list[dict[str, str]]:
    """The table of section 5.1 as rows: value, then a column per mode."""
    rows = []
    for value in VALUES:
        row = {"value": value}
        for mode, listed in OPENINGS.items():
            row[mode] = ", ".join(
                ("noisy, " if o.noisy else "constant, " if o.is_public else "") + o.to
                for o in listed
                if o.value == value
            )
        rows.append(row)
    return rows
