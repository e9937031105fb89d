"""`run --dry-run`: what would be done, and its power. It refuses what the run would refuse."""

import math
from pathlib import Path
from typing import Any

import typer

from ...accountant import check
from ...accountant.errors import ConfigError
from ...accountant.jsonio import dump
from ...fl_core import config, task
from ...fl_core.config import AuditFile
from ...fl_core.models.backbone import load_backbone
from ...fl_core.models.model_folder import is_hub_name
from .. import declared, membership
from ..estimators.power import smallest_refutable
from ..text import at_most
from .output import print_json

_NOT_CHECKED = "what the encoder makes of the pictures"


def dry_run(file: Path, overrides: dict[str, Any], only: str | None, as_json: bool) -> None:
    """Print claim, mechanisms and the power of each attack.

    Args:
        file: the audit file.
        overrides: {"training.seeds": 3} replaces values of the file.
        only: the mechanism that would be audited; None is all.
        as_json: print JSON instead of lines.

    Raises:
        ConfigError: the file or the data are wrong, as in a run; AssetError: as in a run.
    """
    audit = config.load(file, overrides)
    claim = audit.claim.claim()
    names = [m.name for m in audit.mechanism]
    if only is not None:
        check.one_of(names, only=only)
        names = [only]
    for section in audit.mechanism:
        if section.name in names:
            declared.build(audit, section, task.group_sizes(audit), (1.0, 1.0))
    _check_data(audit, file.parent)
    _check_encoder(audit, file.parent)
    powers = [
        smallest_refutable(
            attack.trials,
            attack.trials,
            claim,
            confidence=1.0 - error,
            method=audit.estimate.method,
        )
        for attack, error in zip(audit.attack, membership.allowed_errors(audit), strict=True)
    ]
    if as_json:
        attacks = [
            {"attack": a.name, "adversary": a.adversary, "power": dump(p)}
            for a, p in zip(audit.attack, powers, strict=True)
        ]
        print_json(
            {
                "claim": claim.text(),
                "mechanisms": names,
                "attacks": attacks,
                "not_checked": [_NOT_CHECKED],
            }
        )
        return
    typer.echo(f"claim       {claim.text()}")
    typer.echo(f"mechanisms  {', '.join(names)}")
    for attack, power in zip(audit.attack, powers, strict=True):
        best = (
            f"at its best it refutes epsilon >= {at_most(power.epsilon)} at delta "
            f"{power.delta:g} with probability {power.probability:g}"
            if power.epsilon < math.inf
            else "too few to refute anything; raise attack.trials"
        )
        typer.echo(
            f"attack      {attack.name} by the {attack.adversary}, {attack.trials} + "
            f"{attack.trials} trials: {best}"
        )
    typer.echo(f"not checked {_NOT_CHECKED}")


def _check_data(audit: AuditFile, folder: Path) -> None:
    """Raise what a run would raise about the data; grey pixels stand in for the slow encoder."""
    quick = config.ModelSection(backbone="pixels", image_size=8, dimensions=2, public_images=16)
    release = audit.release.model_copy(update={"leading_fraction": 0.5})
    data = task.build(
        audit.model_copy(update={"model": quick, "release": release}),
        folder=folder,
        say=lambda text: None,
    )
    membership.check_file(audit, data)


def _check_encoder(audit: AuditFile, folder: Path) -> None:
    """Raise what a run would raise about the encoder; one of the hub is not fetched for this."""
    local = folder / audit.model.backbone
    name = str(local) if local.is_dir() else audit.model.backbone
    if is_hub_name(name) and not Path(name).is_dir():
        return
    found = load_backbone(name, image_size=audit.model.image_size)
    if audit.model.dimensions > found.dimension:
        raise ConfigError(
            f"model.dimensions = {audit.model.dimensions}, but the encoder gives "
            f"{found.dimension} features.\n  Lower model.dimensions."
        )
