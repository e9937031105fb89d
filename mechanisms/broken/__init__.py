"""Deliberately broken programs, each with a correct twin.

An audit or a probe that does not catch the broken one has no power; one that also rejects the twin
has no validity. `samplers()` are caught by a black-box audit, `defects()` by a probe.
"""

from .prototypes import NoiseHalved as NoiseHalved
from .prototypes import noise_halved as noise_halved
from .twins import Defect as Defect
from .twins import SamplerTwin as SamplerTwin


def samplers() -> tuple[SamplerTwin, ...]:
    """Broken samplers of all systems with their twins."""
    from . import samplers_general, samplers_systems

    return (*samplers_general.TWINS, *samplers_systems.TWINS)


def defects() -> tuple[Defect, ...]:
    """Every numbered defect of the published systems: a program, its twin and a probe."""
    from . import dp_fedlora, dp_fpl, vpdr

    return (*vpdr.DEFECTS, *dp_fpl.DEFECTS, *dp_fedlora.DEFECTS)
