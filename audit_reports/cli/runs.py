"""Verbs that make a run: init, run."""

from pathlib import Path
from typing import Any

import typer

from ...accountant.errors import ConfigError
from .output import Json, Quiet, Terminal, print_json


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(init)
    app.command()(run)


def init(
    folder: Path = typer.Argument(Path("."), help="Where to write audit.toml."),
    as_json: bool = Json,
) -> None:
    """Write a commented audit.toml that runs in under a minute and needs no download."""
    from importlib.resources import files

    target = folder / "audit.toml"
    if target.exists():
        raise ConfigError(f"{target} exists already; remove it or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    text = (files("privassay.audit_reports") / "templates" / "audit.toml").read_text("utf-8")
    target.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"written": str(target)})
    else:
        typer.echo(f"wrote {target}\nnext: privassay run {target}")


def run(
    file: Path = typer.Argument(..., help="The audit file (TOML)."),
    out: Path | None = typer.Option(None, help="Run folder; runs/NAME if not given."),
    seed: int | None = typer.Option(None, help="Root seed, instead of the file's."),
    only: str | None = typer.Option(None, help="Audit this mechanism alone; exit with its code."),
    change: list[str] = typer.Option([], "--set", help="section.key=value, instead of the file's."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be done, and its power."),
    fresh: bool = typer.Option(False, "--fresh", help="Forget earlier results of this folder."),
    as_json: bool = Json,
    quiet: bool = Quiet,
) -> None:
    """Simulate, account, attack, estimate, judge; write record.json and report.html.

    The exit code is that of the verdict.
    """
    overrides = dict(assignment(text) for text in change)
    if seed is not None:
        overrides["seed"] = seed
    if dry_run:
        from .dry_run import dry_run as say_what_would_be_done

        say_what_would_be_done(file, overrides, only, as_json)
        return
    from ..render.terminal import box, summary
    from ..run import run as run_audit

    folder = out or Path("runs") / (file.stem if only is None else f"{file.stem}-{only}")
    record = run_audit(
        file,
        out=folder,
        overrides=overrides,
        only=only,
        fresh=fresh,
        reporter=Terminal(quiet=quiet),
    )
    if as_json:
        print_json(record)
    else:
        typer.echo("\n".join([*summary(record), *box(record)]))
        typer.echo(f"report   {folder / 'report.html'}")
    raise typer.Exit(record.verdict.exit_code)


def assignment(text: str) -> tuple[str, Any]:
    """Key and value of "section.key=value"; a value that is no TOML is text.

    Raises:
        ConfigError: there is no key, or more than one value, or a number too long to be read.
    """
    import tomllib

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set wants section.key=value, but got {text!r}")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return key, value
    except ValueError:  # Python reads no number of more than 4,300 digits
        raise ConfigError(f"--set {key}: the value holds a number of thousands of digits") from None
    if set(parsed) != {"value"}:
        raise ConfigError(f"--set takes one value, but got {text!r}; repeat --set for another key")
    return key, parsed["value"]
