"""The verb `compare`: methods and mechanisms at the same budgets."""

from pathlib import Path

import typer

from .output import Json, Quiet, Terminal, print_json
from .runs import _assignment


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(compare)


def compare(
    file: Path = typer.Argument(..., help="The comparison file (TOML)."),
    out: Path | None = typer.Option(None, help="Folder; runs/NAME if not given."),
    change: list[str] = typer.Option([], "--set", help="section.key=value, instead of the file's."),
    fresh: bool = typer.Option(False, "--fresh", help="Forget earlier results of this folder."),
    as_json: bool = Json,
    quiet: bool = Quiet,
) -> None:
    """Accuracy at equal budgets, beside controls; write comparison.json, .csv, .md and .html.

    The exit code is 0: a comparison ranks, it does not judge.
    """
    from ..comparison.run import compare as run
    from ..comparison.tables import terminal

    folder = out or Path("runs") / file.stem
    record = run(
        file,
        out=folder,
        overrides=dict(_assignment(text) for text in change),
        fresh=fresh,
        reporter=Terminal(quiet=quiet),
    )
    if as_json:
        print_json(record)
    else:
        typer.echo("\n".join([*terminal(record), "", f"report   {folder / 'comparison.html'}"]))
