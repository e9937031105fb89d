"""Verbs on declared systems: lint, dossier. Nothing is run, no data is needed."""

import typer

from .dossier import dossier
from .output import Json, print_json


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(lint)
    app.command()(dossier)


def lint(
    file: str = typer.Argument(
        ..., help="A declaration (TOML), or the name of a shipped one, as dp_fpl_sound."
    ),
    as_json: bool = Json,
) -> None:
    """Hazards of a declared system: findings, exact epsilon, and what would mend them.

    Exit code 0 if nothing is above information, 4 if there are warnings only, 3 with errors.
    """
    from ..lint.findings import exit_code
    from ..lint.run import lint as find
    from ..lint.run import resolve
    from ..lint.show import lines, plain_declaration

    declaration = resolve(file)
    found = find(declaration)
    code = exit_code(found)
    if as_json:
        print_json(
            {
                "declaration": plain_declaration(declaration),
                "findings": [finding.to_dict() for finding in found],
                "exit_code": code,
            }
        )
    else:
        typer.echo("\n".join(lines(declaration, found)))
    raise typer.Exit(code)
