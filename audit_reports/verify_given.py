"""The file that a record shows, with its options, must be what its `resolved` says was run."""

import ast
from collections.abc import Callable, Sequence
from typing import Any

from ..accountant.errors import ConfigError, RecordError
from ..fl_core import config_file
from .verify_checks import same_list
from .without_folders import without_folders


def check_given(
    given: str,
    changes: Sequence[str],
    resolved: dict[str, Any],
    completed: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Read the file again, change it, complete it, and compare; folders are not compared.

    Args:
        given: text of the file.
        changes: options of the command, "--set key=value" or "--only name".
        resolved: what was run.
        completed: from a file's content to that with every default filled in.

    Raises:
        RecordError: something does not fit.
    """
    only = None
    try:
        data = config_file.parse(given, name="the file")
        for change in changes:
            option, _, words = change.partition(" ")
            if option == "--only":
                only = words
                continue
            key, equals, value = words.partition("=")
            if option != "--set" or not equals:
                raise ConfigError(f"{change!r} is no option that changes a file")
            config_file.override(data, key, ast.literal_eval(value))
        found = completed(data)
    except (ConfigError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise RecordError(
            f"the file that the record shows (given, changes) cannot be what was run: {error}"
        ) from None
    if only is not None:
        _keep(found, only)
    found, wanted = without_folders(found), without_folders(resolved)
    keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    for key in keys:
        raise RecordError(
            f"the file that the record shows (given, changes) says {key} = {found.get(key)!r}, "
            f"but what was run (resolved) has {wanted.get(key)!r}"
        )


def _keep(found: dict[str, Any], name: str) -> None:
    """As `run --only`: one mechanism, as a subject."""
    rows = found.get("mechanism", [])
    same_list("--only", [name], [row["name"] for row in rows if row["name"] == name])
    found["mechanism"] = [row | {"expect": None} for row in rows if row["name"] == name]
    found["inversion"] = None
