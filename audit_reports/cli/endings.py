"""How the command ends when it does not succeed.

Loads nothing heavy, so that Ctrl-C is answered while the rest is still being imported.
"""

import json
import sys
from typing import NoReturn

_RESUMED = ("run", "compare")  # verbs that find their earlier results again


def failed(kind: str, message: str, *, shown: str | None = None, code: int = 2) -> NoReturn:
    """Print the message on stderr, with --json also as JSON on stdout, and exit.

    Args:
        kind: of the error, a word that a program can look for.
        message: for a reader.
        shown: on stderr, instead of the message; "" if it is there already.
        code: exit code.
    """
    if "--json" in sys.argv[1:]:
        print(json.dumps({"error": {"kind": kind, "message": message}}, indent=2))
    text = message if shown is None else shown
    if text:
        print(text, file=sys.stderr)
    sys.exit(code)


def interrupted() -> NoReturn:
    """Say so and, where it is true, that the same command goes on; exit with code 130."""
    words = sys.argv[1:]
    text = "interrupted"
    if words and words[0] in _RESUMED and "--dry-run" not in words:
        but = ", without --fresh," if "--fresh" in words else ""
        text += f"; the same command{but} goes on where it stopped"
    failed("Interrupted", text, code=130)
