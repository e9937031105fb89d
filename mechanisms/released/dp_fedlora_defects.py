"""DP-FedLoRA as released: what its claim would need and does not hold, in its own numbers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...accountant.assumption import Assumption
from ..assumed import fails
from .dp_fedlora_training import branch_as_released, noise_norm, start_norm, tracker_epsilon

if TYPE_CHECKING:  # the mechanism imports this module
    from .dp_fedlora import AsReleasedDpFedLora


def defects(
    system: "AsReleasedDpFedLora", *, rank: int, side: int, uploads: int
) -> tuple[Assumption, ...]:
    """Assumptions that do not hold, L1 to L15."""
    return (
        *_of_the_account(system, uploads),
        *_of_the_upload(system, rank, side),
        *_of_the_code(system),
    )


def _of_the_account(system: "AsReleasedDpFedLora", uploads: int) -> Iterator[Assumption]:
    c = system.clip_norm
    yield fails(
        "L1",
        "The quoted epsilon covers all releases.",
        f"{system.epsilon:g} covers one tensor of one upload; the code's own tracker says "
        f"{tracker_epsilon(system.epsilon, uploads):g} after {uploads} uploads",
    )
    if system.clip == "per_tensor_weights":
        yield fails(
            "L2",
            "The sensitivity is that of everything in an upload.",
            f"{system.tensors} tensors, each with its own C: together they move "
            f"{system.tensors**0.5:.4g} times as far",
        )
    if system.epsilon > 1.0:
        yield fails(
            "L3",
            "The formula of sigma is valid where it is used.",
            f"proven for epsilon <= 1, used at {system.epsilon:g}",
        )
    yield fails(
        "L4",
        "The sensitivity covers exchanged data.",
        f"C = {c:g} is used; two clipped tensors can be 2C = {2.0 * c:g} apart",
    )
    yield fails(
        "L5",
        "The named unit is what is clipped.",
        "nothing is clipped per record; an upload depends on all of them",
    )
    yield fails(
        "L9",
        "Who takes part is secret.",
        "clients and records are drawn from a generator seeded with the round",
    )
    yield fails(
        "L13", "Learning rate, epsilon and C are charged or public.", "swept on evaluation tasks"
    )


def _of_the_upload(system: "AsReleasedDpFedLora", rank: int, side: int) -> Iterator[Assumption]:
    if system.clip == "per_tensor_weights":
        norm = noise_norm(system.sigma, rank, side, (1.0,))
        yield fails(
            "L6",
            "What is released carries the update.",
            f"weights, of norm {start_norm(rank, side):.3g} at the start, are cut to "
            f"{system.clip_norm:g}, then noise of norm {norm:.3g} is added (rank {rank}, side "
            f"{side})",
        )
    yield fails(
        "L7",
        "The aggregate is unbiased.",
        "factors are averaged one by one; the error is their covariance",
    )
    if system.scaffold_leak:
        yield fails("L8", "Nothing leaves without noise.", "control variates do")
    if system.reseeded:
        yield fails("L10", "Noise is fresh.", "the generator is seeded again before it is drawn")
    yield fails(
        "L11",
        "The noise does not depend on how the product is split into factors.",
        f"noise of {system.sigma:.3g} on each factor scales with the other one",
    )


def _of_the_code(system: "AsReleasedDpFedLora") -> Iterator[Assumption]:
    yield fails(
        "L12",
        "Logged statistics are those of what was released.",
        f"norms before the clip to {system.clip_norm:g} are set beside noise of "
        f"{system.sigma:.3g} after it; the second client of a round overwrites the first",
    )
    if not system.use_dp or not system.flag_reaches_noise:
        yield fails("L14", "The switch turns noise on.", "it does not reach the release, or is off")
    yield fails(
        "L15",
        "An algorithm's name reaches the branch of that name.",
        f"a run named fedadgrad executes {branch_as_released('fedadgrad')}",
    )
