"""Verbs on finished runs: show, report, verify, list."""

from pathlib import Path

import typer

from ...accountant.errors import ConfigError
from .output import Json, print_json

_Run = typer.Argument(..., help="A run folder, its record.json or its report.html.")


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(show)
    app.command()(report)
    app.command()(verify)
    app.command("list")(list_kind)


def show(
    run: Path = _Run,
    mechanism: str | None = typer.Option(None, help="One mechanism; exit with its code."),
    as_json: bool = Json,
) -> None:
    """Print the verdict of a finished run. The exit code is that of the verdict."""
    from ..render.terminal import box, summary
    from ..verify import load

    record = load(run)
    if mechanism is not None:
        row = record.mechanism(mechanism)
        if as_json:
            print_json(row)
        else:
            typer.echo(f"{row.name}: {row.verdict.word}: {row.verdict.sentence}")
            for reason in row.verdict.reasons:
                typer.echo(f"  because {reason}")
            for caveat in row.verdict.caveats:
                typer.echo(f"  caveat: {caveat}")
        raise typer.Exit(row.verdict.exit_code)
    if as_json:
        print_json(record)
    else:
        typer.echo("\n".join([*summary(record), *box(record)]))
    raise typer.Exit(record.verdict.exit_code)


def report(
    run: Path = typer.Argument(..., help="A run folder."),
    pdf: bool = typer.Option(False, "--pdf", help="report.pdf too (needs privassay[pdf])."),
    as_json: bool = Json,
) -> None:
    """Write report.html, tables and figures again, from the record alone."""
    from ..render.folder import write_report
    from ..sums import write_sums
    from ..verify import load

    if not run.is_dir():
        raise ConfigError(f"{run} is no run folder; give the folder that holds record.json")
    record = load(run)
    write_report(record, run)
    written = [str(run / "report.html")]
    if pdf:
        from ..render.pdf import write_pdf

        write_pdf((run / "report.html").read_text(encoding="utf-8"), run / "report.pdf")
        written.append(str(run / "report.pdf"))
    write_sums(run)
    if as_json:
        print_json({"written": written})
    else:
        typer.echo("\n".join(written))


def verify(run: Path = _Run, as_json: bool = Json) -> None:
    """Recompute bounds and verdict from the record alone. Exit 2 if anything does not fit."""
    from ..verify import verify as check

    done = check(run)
    if as_json:
        print_json({"verified": done})
    else:
        typer.echo("\n".join(["VERIFIED against the record:", *(f"  {line}" for line in done)]))


def list_kind(
    kind: str = typer.Argument(..., help="mechanisms, attacks, events, adversaries or assets."),
    as_json: bool = Json,
) -> None:
    """What there is, by name."""
    found = _known(kind)
    if as_json:
        print_json(found)
        return
    width = max(map(len, found), default=0)
    for name, words in found.items():
        typer.echo(f"{name:<{width}}  {words}")


def _known(kind: str) -> dict[str, str]:
    from ...accountant import check

    check.one_of(("mechanisms", "attacks", "events", "adversaries", "assets"), kind=kind)
    if kind == "mechanisms":
        from ...mechanisms.catalog import MECHANISMS

        return {name: _summary(home) for name, home in MECHANISMS.items()}
    if kind == "attacks":
        from ...attacks.catalog import homes

        return {name: _summary(home) for name, home in homes().items()}
    if kind == "events":
        from ...accountant.event_json import _CLASSES

        return {name: _first_line(event.__doc__) for name, event in _CLASSES.items()}
    if kind == "adversaries":
        from ...attacks.adversary import ADVERSARIES

        return {name: f"sees {a.sees}" for name, a in ADVERSARIES.items()}
    from ...fl_core.data.assets import ASSETS, MORE_ASSETS

    every = {**ASSETS, **MORE_ASSETS}
    return {name: f"{a.what} ({a.size_mb} MB, {a.licence})" for name, a in every.items()}


def _summary(home: str) -> str:
    from importlib import import_module

    module, _, name = home.partition(":")
    return _first_line(getattr(import_module(module), name).__doc__)


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""
