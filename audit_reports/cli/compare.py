"""The verb `compare`: mechanisms at the same budgets, or a whole system beside its controls."""

from pathlib import Path

import typer

from .output import Json, Quiet, Terminal, print_json
from .runs import assignment


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(compare)


def compare(
    file: Path = typer.Argument(..., help="The comparison file (TOML)."),
    out: Path | None = typer.Option(None, help="Folder; runs/NAME if not given."),
    change: list[str] = typer.Option([], "--set", help="section.key=value, instead of the file's."),
    fresh: bool = typer.Option(False, "--fresh", help="Forget earlier results of this folder."),
    fetch: bool = typer.Option(False, "--fetch", help="First fetch missing models and data."),
    workers: int | None = typer.Option(
        None, min=1, help="Rows of a system at a time; one for each processor, up to 4."
    ),
    as_json: bool = Json,
    quiet: bool = Quiet,
) -> None:
    """Accuracy at equal budgets, beside controls; write comparison.json, .csv, .md and .html.

    A file with a [system] table compares a published system instead, beside what it claims.

    The exit code is 0: a comparison ranks, it does not judge.
    """
    from ..comparison.entry import compare as run
    from ..comparison.entry import needed

    overrides, terminal = dict(assignment(text) for text in change), Terminal(quiet=quiet)
    if fetch:
        from ...fl_core.data.assets import fetch_all

        fetch_all(needed(file, overrides), say=terminal.say)
    folder = out or Path("runs") / file.stem
    record, lines = run(
        file,
        out=folder,
        overrides=overrides,
        fresh=fresh,
        workers=workers,
        reporter=terminal,
    )
    if as_json:
        print_json(record)
    else:
        typer.echo("\n".join([*lines, "", f"report   {folder / 'comparison.html'}"]))
