"""The verb `dossier`: everything known about a published system. No data is needed."""

import time
from collections.abc import Callable
from pathlib import Path

import typer

from .output import Json, Quiet, Terminal, print_json

_PATIENCE = 3.0  # seconds before progress is shown


def dossier(
    system: str = typer.Argument(..., help="vpdr, dp-fpl, secfpp or dp-fedlora."),
    html: Path | None = typer.Option(None, help="Write a self-contained page here too."),
    as_json: bool = Json,
    quiet: bool = Quiet,
) -> None:
    """Everything known about a published system: claim, exact accounting, findings, tables.

    Every number is computed anew. The exit code is 0: a dossier describes, a lint judges.
    """
    from ...accountant.errors import ParameterError
    from ..dossier.build import dossier as build

    if html is not None and not html.parent.is_dir():
        raise ParameterError(f"--html {html}: the folder {html.parent} does not exist; make it")
    if html is not None and html.is_dir():
        raise ParameterError(f"--html {html} is a folder; name a file in it, as {html / 'x.html'}")
    made = build(system, _progress(system, quiet))
    if html is not None:
        from ..dossier.page import render

        html.write_text(render(made), encoding="utf-8")
    if as_json:
        print_json(made.to_dict())
    else:
        from ..dossier.terminal import lines

        typer.echo("\n".join(lines(made)))


def _progress(system: str, quiet: bool) -> Callable[[int, int], None]:
    draw, start = Terminal(quiet=quiet).bar(f"dossier {system}"), time.monotonic()

    def step(done: int, total: int) -> None:
        if time.monotonic() - start > _PATIENCE:
            draw(done, total)

    return step
