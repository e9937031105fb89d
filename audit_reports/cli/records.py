"""Verbs on finished runs: show, report, verify, list."""

from pathlib import Path

import typer

from ...accountant.errors import ConfigError
from .output import Json, print_json

_Run = typer.Argument(
    ..., help="Folder of a run or a comparison, record.json, report.html or comparison.json."
)


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
    """Print the verdict of a finished run, or the tables of a comparison.

    The exit code is that of the verdict; a comparison has none, and exits with 0.
    """
    from ..render.terminal import box, summary
    from ..verify import comparison_of, load

    compared = comparison_of(run)
    if compared is not None:
        _show_comparison(compared, mechanism, as_json)
        return
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


def _show_comparison(path: Path, mechanism: str | None, as_json: bool) -> None:
    from ..comparison.kinds import load, terminal

    if mechanism is not None:
        raise ConfigError(f"{path} is a comparison, which has no verdict; leave out --mechanism")
    record = load(path)
    if as_json:
        print_json(record)
    else:
        typer.echo("\n".join(terminal(record)))


def report(
    run: Path = typer.Argument(..., help="Folder of a run or a comparison."),
    pdf: bool = typer.Option(False, "--pdf", help="report.pdf too (needs privassay[pdf])."),
    as_json: bool = Json,
) -> None:
    """Write report.html, tables and figures again, from the record alone.

    Of a comparison comparison.html, .md and .csv.
    """
    from ..render.folder import write_report
    from ..sums import write_sums
    from ..verify import comparison_of, load

    if not run.is_dir():
        raise ConfigError(f"{run} is no run folder; give the folder that holds record.json")
    compared = comparison_of(run)
    if compared is not None:
        if pdf:
            raise ConfigError("--pdf is for the report of an audit; print comparison.html instead")
        _report_comparison(compared, as_json)
        return
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


def _report_comparison(path: Path, as_json: bool) -> None:
    from ..comparison.folder import PAGES, held
    from ..comparison.kinds import load, write_all

    folder = path.parent
    with held(folder):
        write_all(load(path), folder)
    written = [str(folder / name) for name in PAGES]
    if as_json:
        print_json({"written": written})
    else:
        typer.echo("\n".join(written))


def verify(run: Path = _Run, as_json: bool = Json) -> None:
    """Recompute bounds and verdict, or all numbers of a comparison, from the record alone.

    Of a folder, pages that people read are rendered again and compared, and ledgers are read. What
    was not looked at is listed. Nothing is written. Exit 2 if anything does not fit.
    """
    from ..verify import verify as check

    found = check(run)
    if as_json:
        print_json(
            {
                "verified": list(found.done),
                "not_checked": list(found.unchecked),
                "words_verified": found.words,
            }
        )
    else:
        typer.echo("\n".join([found.heading, *(f"  {line}" for line in found)]))


def list_kind(
    kind: str = typer.Argument(..., help="mechanisms, attacks, events, adversaries or assets."),
    as_json: bool = Json,
) -> None:
    """What there is, by name. Attacks that an audit file can name are marked."""
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
        from ...mechanisms import catalog

        return {name: _summary(home) for name, home in catalog.homes().items()}
    if kind == "attacks":
        from ...attacks.catalog import homes
        from ...fl_core.config import RUNNABLE

        return {
            name: f"{'[audit file] ' if name in RUNNABLE else ''}{_summary(home)}"
            for name, home in homes().items()
        }
    if kind == "events":
        from ...accountant.event_json import CLASSES

        return {name: _first_line(event.__doc__) for name, event in CLASSES.items()}
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
