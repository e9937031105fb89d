"""Deliberately broken programs, each with a correct twin.

An audit or a probe that does not catch the broken one has no power; one that also rejects the twin
has no validity. `samplers()` are caught by a black-box audit, `defects()` by a probe; which other
instrument catches which is the table of docs/probes.md, which the tests compute.
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
    from . import (
        dp_fedlora,
        dp_fedlora_server,
        dp_fpl,
        dp_fpl_training,
        secfpp_field,
        secfpp_openings,
        vpdr,
        vpdr_training,
    )

    systems = (
        vpdr.DEFECTS + vpdr_training.DEFECTS,
        dp_fpl.DEFECTS + dp_fpl_training.DEFECTS,
        dp_fedlora.DEFECTS + dp_fedlora_server.DEFECTS,
        secfpp_openings.DEFECTS + secfpp_field.DEFECTS,
    )
    return tuple(d for defects in systems for d in sorted(defects, key=_number))


def _number(defect: Defect) -> int:
    """Number in the code; what has none comes last."""
    digits = "".join(c for c in defect.code if c.isdigit())
    return int(digits) if digits else 100
