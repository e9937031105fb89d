"""The command `privassay`. Help loads nothing heavy; each verb imports what it needs.

Results go to stdout, progress and errors to stderr; with --json, an error is on stdout, too, as
{"error": {"kind": ..., "message": ...}}. Exit codes: 0 CONSISTENT or done, 2 INVALID or
bad input, 3 REFUTED or UNSUPPORTED, 4 INCONCLUSIVE, 1 a crash, 130 interrupted.
"""

import errno
import sys

from .endings import failed, interrupted

try:
    import typer

    from ...accountant.errors import AuditError
    from . import accounting, assets, blackbox, compare, lint, records, runs, selftest
except KeyboardInterrupt:  # in the first half second
    interrupted()

_LESS = (
    "Ask for less: fewer clients, records or rounds, smaller batches or dimensions; or take a "
    "machine with more memory."
)

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
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C
            interrupted()
        usage = getattr(end.__context__, "format_message", None)  # typer has shown it on stderr
        if usage is not None:
            failed("UsageError", usage(), shown="")
        raise
    except AuditError as error:
        kind = type(error).__name__
        failed(kind, str(error), shown=f"{kind}: {error}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("privassay"):
            raise
        failed(
            "ModuleNotFoundError",
            f"this needs {error.name}, which is not installed: pip install 'privassay[run]'",
        )
    except BrokenPipeError:  # the reader has left, as with `| head`
        sys.stderr.close()
        sys.exit(0)
    except (MemoryError, OSError, RuntimeError) as error:
        if _is_lack_of_memory(error):
            said = f" ({error})" if str(error) else ""
            failed("MemoryError", f"there is not enough memory for this{said}. {_LESS}")
        if not isinstance(error, OSError):
            raise
        where = f" ({error.filename})" if error.filename else ""
        failed("OSError", f"the file system refuses: {error.strerror or error}{where}")
    except KeyboardInterrupt:
        interrupted()


def _is_lack_of_memory(error: MemoryError | OSError | RuntimeError) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch has no class of its own for it, but on a GPU
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(part in str(error) for part in words)


if __name__ == "__main__":
    main()
