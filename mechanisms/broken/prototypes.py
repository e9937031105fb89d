"""A mechanism of prototypes that is broken, for audit files."""

from dataclasses import dataclass, replace

import dp_accounting.dp_event as dpe
from torch import Tensor

from ...accountant.assumption import Assumption
from ..base import Key, Point
from ..prototypes import NoisyPrototypes, PrototypeDesign, isotropic


@dataclass(frozen=True, kw_only=True)
class NoiseHalved:
    """Declares the noise of `twin`, adds half of it. The account cannot see this; an attack can."""

    twin: NoisyPrototypes

    @property
    def point(self) -> Point:
        """As the twin."""
        return self.twin.point

    @property
    def dimension(self) -> int:
        """As the twin."""
        return self.twin.dimension

    @property
    def noise_stddevs(self) -> tuple[float, ...]:
        """The declared noise, not the true one."""
        return self.twin.noise_stddevs

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """As the twin."""
        return self.twin.group_sizes

    @property
    def public_count(self) -> int:
        """As the twin."""
        return self.twin.public_count

    def with_noise(self, noise_stddevs: tuple[float, ...]) -> "NoiseHalved":
        """The same with this declared noise."""
        return replace(self, twin=self.twin.with_noise(noise_stddevs))

    def contribution(self, rows: Tensor) -> Tensor:
        """As the twin."""
        return self.twin.contribution(rows)

    def statistic(self, features: Tensor, labels: Tensor, classes: int) -> Tensor:
        """As the twin."""
        return self.twin.statistic(features, labels, classes)

    def perturb(self, prototypes: Tensor, key: Key) -> Tensor:
        """The bug: half of the twin's noise."""
        return prototypes + 0.5 * (self.twin.perturb(prototypes, key) - prototypes)

    def event(self) -> dpe.DpEvent:
        """As the twin: the declaration is what is wrong."""
        return self.twin.event()

    def assumptions(self) -> tuple[Assumption, ...]:
        """As the twin."""
        return self.twin.assumptions()


def noise_halved(design: PrototypeDesign) -> NoiseHalved:
    """IGPP with half of the noise that it declares."""
    return NoiseHalved(twin=isotropic(design))
