"""What protects the uploads in each row of a comparison: mechanisms at equal budget, and controls.

Every method is run with every mechanism at every budget, and with the controls that a reader
needs to judge the result: no noise at all; prototypes without any information, fresh in every round
or the same in all, because a target that stays can help whatever it is; and, where VPP is compared,
VPP with a random set of dimensions in the place of its leading group. Training alone is in
`comparison_run.py`, because it uploads nothing.
"""

from dataclasses import dataclass

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant.adjacency import contribution_factor
from ..accountant.assumption import Assumption
from ..accountant.calibrate import calibrate_gaussian
from ..accountant.gaussian import mu_interval
from ..mechanisms import catalog
from ..mechanisms.base import SeededKey
from ..mechanisms.class_means import DpplMean
from ..mechanisms.clipping import Clip
from ..mechanisms.groups import Groups
from ..mechanisms.prototypes import NoisyPrototypes, PrototypeDesign, groupwise, isotropic
from ..mechanisms.released.vpdr import rdp_sigma
from .algorithms.releases import NoisyMeans
from .comparison import (
    ONCE,
    RANDOM_GROUPS,
    RANDOM_ONCE,
    RANDOM_PROTOTYPES,
    ComparisonFile,
    plan,
)
from .task import Task


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to protect the uploads of a method.

    Attributes:
        name: a mechanism or a control.
        epsilon: that it was asked to meet, total over all rounds; None for a control without.
        release: statistic and noise.
        rounds: rounds in which it uploads; in the others clients go on with the last broadcast.
    """

    name: str
    epsilon: float | None
    release: NoisyMeans
    rounds: int


@dataclass(frozen=True)
class Uninformative(NoisyMeans):
    """Noise alone: prototypes that no record enters."""

    mechanism: NoisyPrototypes

    def statistic(self, features: Tensor, labels: Tensor, count: int) -> Tensor:
        """Zeros, whatever the records are."""
        shape = (*labels.shape[:-1], count, self.mechanism.dimension)
        return torch.zeros(shape, dtype=torch.float64, device=features.device)

    def event(self) -> dpe.DpEvent:
        """Nothing: no record has any influence."""
        return dpe.NoOpDpEvent()

    def assumptions(self) -> tuple[Assumption, ...]:
        """None."""
        return ()


def variants(file: ComparisonFile, task: Task) -> list[Variant]:
    """What every prototype method is run with, in the order of `plan`.

    Raises:
        ParameterError: a mechanism cannot be built for this design.
    """
    found = []
    for name, epsilon in plan(file.compare):
        # A control without a budget needs the public sizes and bounds of a design, not its mu.
        budget = file.compare.epsilons[0] if epsilon is None else epsilon
        release = _release(name, _design(file, task, budget), file, budget)
        rounds = 1 if name in ONCE else file.release.rounds
        found.append(Variant(name=name, epsilon=epsilon, release=release, rounds=rounds))
    return found


def _design(file: ComparisonFile, task: Task, epsilon: float) -> PrototypeDesign:
    """The public parameters of every mechanism at one budget."""
    release, norms = file.release, task.public_group_norms
    total = sum(norm**2 for norm in norms) ** 0.5
    shares = release.group_norm_share or [norm / total for norm in norms]
    return PrototypeDesign(
        mu=mu_interval(epsilon, file.claim.delta)[0],
        rounds=release.rounds,
        adjacency=file.claim.adjacency,
        clip_norm=release.clip_norm,
        group_sizes=task.group_sizes,
        group_norms=tuple(release.clip_norm * share for share in shares),
        public_count=release.public_count,
    )


def _release(
    name: str, design: PrototypeDesign, file: ComparisonFile, epsilon: float
) -> NoisyMeans:
    if name == "dppl_mean":
        return NoisyMeans(_one_release(design))
    if name == "igpp_textbook":
        return NoisyMeans(_textbook(design, epsilon, file.claim.delta))
    if name in (RANDOM_PROTOTYPES, RANDOM_ONCE):
        return _uninformative(design)
    if name == RANDOM_GROUPS:
        return NoisyMeans(_random_groups(design, file.seed))
    return NoisyMeans(catalog.build(name, design))


def _uninformative(design: PrototypeDesign) -> Uninformative:
    """Of about the length of a clipped record, in random directions."""
    dim = sum(design.group_sizes)
    return Uninformative(
        NoisyPrototypes(
            clip=Clip(joint_norm=design.clip_norm),
            group_sizes=(dim,),
            noise_stddevs=(design.clip_norm / dim**0.5,),
            public_count=design.public_count,
        )
    )


def _one_release(design: PrototypeDesign) -> DpplMean:
    """DPPL-Mean: the whole budget in one release, without pooling (dimensions have no order)."""
    return DpplMean(
        clip_norm=design.clip_norm,
        noise_multiplier=calibrate_gaussian(mu=design.mu, rounds=1, adjacency=design.adjacency),
        public_count=design.public_count,
    )


def _textbook(design: PrototypeDesign, epsilon: float, delta: float) -> NoisyPrototypes:
    """IGPP with the noise of its publication: Renyi divergences and their classic conversion."""
    sensitivity = contribution_factor(design.adjacency) * design.clip_norm / design.public_count
    noise = rdp_sigma(epsilon, delta, design.rounds) * sensitivity
    return isotropic(design).with_noise((noise,))


def _random_groups(design: PrototypeDesign, seed: int) -> NoisyPrototypes:
    """VPP's clip bounds and noise, on a random set of dimensions."""
    plain = groupwise(design)
    order = SeededKey(seed).child(RANDOM_GROUPS).generator().permutation(plain.dimension)
    groups = Groups(order=tuple(order.tolist()), sizes=plain.group_sizes, origin="public")
    return NoisyPrototypes(
        clip=plain.clip,
        group_sizes=plain.group_sizes,
        noise_stddevs=plain.noise_stddevs,
        public_count=plain.public_count,
        groups=groups,
    )
