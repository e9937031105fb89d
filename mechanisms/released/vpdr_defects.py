"""VPDR as released: what its claim would need and does not hold, in its own numbers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from scipy.special import fdtr

from ...accountant.assumption import Assumption
from ...accountant.digits import at_least
from ...accountant.geometry import clip_mu
from ..assumed import fails
from .vpdr_training import prototype_snr

if TYPE_CHECKING:  # the mechanism imports this module
    from .vpdr import AsReleasedVpdr


def defects(
    system: "AsReleasedVpdr", *, count: int, dimension: int, native: int
) -> tuple[Assumption, ...]:
    """Assumptions that do not hold, F1 to F16, for a class of `count` records."""
    return (
        *_of_the_choice(system, count, dimension),
        *_of_the_noise(system, count, dimension, native),
        *_of_the_training(system, count),
    )


def _of_the_choice(system: "AsReleasedVpdr", count: int, dimension: int) -> Iterator[Assumption]:
    choice = system.choice(dimension)
    if choice.scale > 10.0 * choice.cap:
        yield fails(
            "F1",
            "Chosen dimensions are the informative ones.",
            f"noise of scale {choice.scale:g} is added to scores in [0, {system.cap:g}], to choose "
            f"{choice.k} of {dimension}: the choice is at chance, {choice.k / dimension:.4f} of "
            "the true top on average",
        )
    yield fails("F2", "Scores differ after the clamp.", _clamp(system, count))
    if system.scheme == "igpp" and system.generation == "current":
        spent = system.epsilon + system.rounds * system.budget.selection
        yield fails(
            "F9",
            "Everything that reads the records is paid for.",
            f"the partition is still chosen, and not paid for: {spent:g} is spent of "
            f"{system.epsilon:g}",
        )


def _clamp(system: "AsReleasedVpdr", count: int) -> str:
    if system.generation == "legacy":
        return (
            "scores are divided by the largest, a number of the private records, and then clamped "
            f"at {system.cap:g}"
        )
    classes = system.classes
    below = float(fdtr(classes - 1, classes * (count - 1), system.cap)) if count > 1 else 0.0
    return (
        f"an F statistic of order 1 is clamped at {system.cap:g}; without any signal "
        f"{100.0 * below:.2g} % of the dimensions stay below, for {classes} classes of {count}"
    )


def _of_the_noise(
    system: "AsReleasedVpdr", count: int, dimension: int, native: int
) -> Iterator[Assumption]:
    sigma = system.sigma
    if system.scheme == "vpp":
        yield from _of_the_groups(system, dimension)
    leak = system.count_leak(count, dimension)
    yield fails(
        "F8",
        "Noise scale and uploaded classes do not depend on private counts.",
        f"noise is 2R/n with the true n: that of one upload shows epsilon "
        f"{at_least(leak, 3)} or more "
        f"of a count of {count}; absent classes are left out",
    )
    if native < dimension:
        yield fails(
            "F11",
            "Noise is added in as many dimensions as the features have.",
            f"{native} are projected to {dimension} before; {100.0 * native / dimension:.1f} % of "
            "its power is left after projecting back",
        )
    snr = prototype_snr(count, sigma, dimension)
    if snr < 1.0:
        yield fails(
            "F12",
            "Prototypes stand out from the noise.",
            f"for a class of {count} the signal is at most {snr:.2g} times the noise",
        )
    if system.conversion == "rdp":
        yield _conversion(system, sigma)


def _conversion(system: "AsReleasedVpdr", sigma: float) -> Assumption:
    needed = replace(system, conversion="exact").sigma
    return fails(
        "F13",
        "The conversion to epsilon is exact.",
        f"the classic conversion of Renyi divergences adds {100.0 * (sigma / needed - 1.0):.0f} % "
        f"more noise than epsilon = {system.prototype_epsilon:g} over {system.rounds} rounds needs",
    )


def _of_the_groups(system: "AsReleasedVpdr", dimension: int) -> Iterator[Assumption]:
    bounds, stddevs = system.shape(dimension)
    chosen = system.choice(dimension).k
    sizes = chosen, dimension - chosen
    joint = 1.0 if system.generation == "legacy" else None
    mu = clip_mu(stddevs, norm_bounds=bounds, joint_norm_bound=joint)
    power = mu**2 * sum(d * s * s for d, s in zip(sizes, stddevs, strict=True)) / dimension
    yield fails(
        "F3",
        "Noise by group costs no accuracy on average.",
        f"its power is {power:.3g} times that of isotropic noise of the same mu",
    )
    if system.generation == "legacy":
        yield fails(
            "F4",
            "The allocation fits the data.",
            "with one global clip no allocation by group is better than isotropic noise",
        )
        yield fails(
            "F5",
            "The noise covers a record in the quietest group.",
            "noise is scaled by sqrt(d_g/D), the clip is global: mu is "
            f"{mu:.2f} times the accounted one; the choices spend {system.rounds} times their "
            f"share, {system.budget.spent:g} of {system.epsilon:g} in all",
        )
        return
    worth = [c * c / (d * s**4) for c, d, s in zip(bounds, sizes, stddevs, strict=True)]
    yield fails(
        "F4",
        "The allocation fits the data.",
        f"optimal only if a chosen dimension is worth {worth[0] / worth[1]:.3g} others",
    )


def _of_the_training(system: "AsReleasedVpdr", count: int) -> Iterator[Assumption]:
    if not system.frozen_encoder:
        yield fails(
            "F6",
            "The encoder does not depend on the private records.",
            "adapters are trained on the same records between uploads: at worst mu is "
            f"{count} times as large, for a class of {count}",
        )
        yield fails(
            "F15",
            "A frozen encoder stays as it is.",
            "ResNet backbones normalise in training mode: statistics of the private batches stay "
            "in their buffers",
        )
    yield fails(
        "F7",
        "Parts of a class are public or paid for.",
        "with FedPLVM the centres of a client's own clusters get noise of "
        f"{2.0 * system.radius * system.sigma:.3g} over the size of the cluster; exchanging one "
        "record moves others between clusters, so that nothing bounds it",
    )
    yield fails(
        "F10",
        "Each feature is pulled to the prototype of its class.",
        f"with FedProto and FPL the loss is broadcast to {system.batch} x {system.batch} pairs of "
        "a batch: every feature is pulled to the average prototype",
    )
    yield fails(
        "F14",
        "Weights of the server do not depend on private sizes.",
        "FedProto weights clients by their true sizes over the total, missing classes included",
    )
    yield fails(
        "F16",
        "The held-out part is evaluated as it is.",
        "where no train and test folders exist it inherits the random transform of the training",
    )
