"""DP-FPL as released: what its claim would need and does not hold, in its own numbers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...accountant.assumption import Assumption
from ...accountant.calibrate import calibrate_gaussian
from ...accountant.gaussian import mu_interval
from ..assumed import fails
from .dp_fpl_training import promptfl_stddev

if TYPE_CHECKING:  # the mechanism imports this module
    from .dp_fpl import AsReleasedDpFpl


def defects(system: "AsReleasedDpFpl", *, clients: int, rank: int) -> tuple[Assumption, ...]:
    """Assumptions that do not hold, P1 to P17."""
    return (
        *_of_the_account(system, clients),
        *_of_the_views(system, clients),
        *_of_the_training(system),
        *_of_the_rows(system, clients, rank),
    )


def _of_the_account(system: "AsReleasedDpFpl", clients: int) -> Iterator[Assumption]:
    c, b = system.clip_norm, system.batch
    if system.clip == "batch":
        yield fails(
            "P1",
            "One example moves a clipped gradient by C/B.",
            f"the mean over the batch is clipped: it moves by up to 2C = {2.0 * c:g}, "
            f"{system.worst_move:g} times C/B = {c / b:g}",
        )
    yield fails(
        "P2",
        "Tensors from the same batch share one budget.",
        "U, V and G each have the whole of it",
    )
    needed = calibrate_gaussian(
        mu=mu_interval(system.epsilon, system.delta)[0], rounds=system.rounds, adjacency="zero-out"
    )
    yield fails(
        "P3",
        "The formula of sigma is valid where it is used.",
        "asymptotic moments accountant at sampling rate 1, where its condition fails: sigma = "
        f"{system.sigma:.5g}, where epsilon = {system.epsilon:g} over {system.rounds} rounds needs "
        f"{needed:.5g}",
    )
    yield fails(
        "P4",
        "Who takes part is proven from a log of indices.",
        f"{system.rounds} uses of an example are assumed and none is logged; batches are shuffled, "
        "so that nothing is amplified by sampling",
    )
    yield fails(
        "P10",
        "The unit is named, and the noise fits it.",
        f"s/N = {system.stddev / clients:.3g} on the mean fits one example; exchanging one client "
        f"needs 2B = {2 * b} times more",
    )


def _of_the_views(system: "AsReleasedDpFpl", clients: int) -> Iterator[Assumption]:
    yield fails(
        "P5",
        "A prompt that is split without noise never saw private data without noise.",
        "true only while noise is on for U and V and the prompt starts without data; the code "
        "splits pre-trained prompts and un-noised rows in the same way",
    )
    yield fails(
        "P9",
        "Nothing reaches the server without noise.",
        f"the clipped gradient of the global prompt does, from each of {clients} clients, for "
        "every batch",
    )
    yield fails(
        "P11",
        "What is called local differential privacy protects a client.",
        "it protects one example, with noise added at the client",
    )
    yield fails(
        "P12",
        "Noise cannot be computed by others.",
        "the public code draws it from the global generator, seeded with 1, 2 or 3; here it comes "
        "from the key"
        if system.seed is None
        else f"it comes from the global generator, seeded with {system.seed}",
    )
    yield fails(
        "P14",
        "Choices made on private or test data are charged.",
        f"best round of {system.rounds}, rank and C = {system.clip_norm:g} are chosen on test "
        "data; every client is cut to the size of the smallest",
    )


def _of_the_training(system: "AsReleasedDpFpl") -> Iterator[Assumption]:
    if system.state == "shared":
        yield fails(
            "P6",
            "Each client trains on its own data.",
            "all take the gradients that the last one left",
        )
    if system.buffer == "shared":
        yield fails(
            "P7",
            "Each client has its own momentum.",
            f"one buffer, with momentum {system.momentum:g}, is stepped once for every client: "
            "they get different multiples of a step, and each other's history",
        )
    if system.aliasing:
        yield fails("P13", "The mean is one over clients.", "all uploads are the last client's")
    if system.reload:
        yield fails(
            "P16",
            "Every batch of a round trains the prompts.",
            "the weights before the round are loaded again for each batch: the last step survives, "
            f"earlier ones through momentum {system.momentum:g} only",
        )


def _of_the_rows(system: "AsReleasedDpFpl", clients: int, rank: int) -> Iterator[Assumption]:
    yield fails(
        "P8",
        "Members of the attack were trained on.",
        "its members lie beyond the size that every client is cut to",
    )
    yield fails(
        "P15",
        "Row dplora keeps the low-rank part of the prompt.",
        f"U V has {rank} singular values of 1 whatever the prompt is, a norm of {rank**0.5:.2f}",
    )
    twice = promptfl_stddev(system.stddev, clients)
    yield fails(
        "P17",
        "Rows at equal epsilon have equal noise.",
        f"row promptfl is noised twice: {twice:.3g} on the mean, "
        f"{twice * clients / system.stddev:.3g} times the {system.stddev / clients:.3g} of others",
    )
