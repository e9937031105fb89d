"""The command `privassay`. Help loads nothing heavy; each verb imports what it needs.

Results go to stdout, progress and errors to stderr. Exit codes: 0 CONSISTENT or done, 2 INVALID or
bad input, 3 REFUTED or UNSUPPORTED, 4 INCONCLUSIVE, 1 a crash, 130 interrupted.
"""

import sys

import typer

from ...accountant.errors import AuditError
from . import accounting, assets, blackbox, compare, lint, records, runs, selftest

app = typer.Typer(
    name="privassay",
    help="Verify differential-privacy claims: proven bound, measured bound, one verdict.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)
for module in (runs, compare, accounting, blackbox, lint, records, selftest, assets):
    module.register(app)


@app.callback(invoke_without_command=True)
def _main(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from ... import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; an `AuditError` is a message, not a traceback."""
    try:
        app(standalone_mode=True)
    except AuditError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("privassay"):
            raise
        print(
            f"this needs {error.name}, which is not installed: pip install 'privassay[run]'",
            file=sys.stderr,
        )
        sys.exit(2)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader has left, as with `| head`
            sys.stderr.close()
            sys.exit(0)
        where = f" ({error.filename})" if error.filename else ""
        print(f"the file system refuses: {error.strerror or error}{where}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
