r"""Absolute paths cut to their last part: a record is passed on, and names nobody's folders.

Text is cut as it stands in a file, escapes included, and again as a file says it: both must give
the same. So a single backslash starts no path (\n, \u00e9), and a path of slashes has none in it.
"""

import re
from typing import TypeVar

T = TypeVar("T")

_NAME = r"""[^\s"'/\\<>]"""
_SLASHES = r"(?:~[^\s/\\\"']*)?/+"
# C:\ or \\server\, as they are and with every backslash escaped
_DRIVE = rf"(?:[A-Za-z]:[/\\]|(?<!\\)\\\\{_NAME}+\\(?!\\))"
_ESCAPED = rf"(?:[A-Za-z]:\\\\|(?<!\\)\\\\\\\\{_NAME}+\\\\)"
_START = rf"(?:{_SLASHES}|{_ESCAPED}|{_DRIVE})"
# In quotes a name may hold spaces; elsewhere a path ends at one. A URL or a relative path is none.
_QUOTED = re.compile(
    rf"""(?<!\\)"(?P<double>{_START}(?:[^"\\\n]|\\[^n\n])*)"
    | (?<!\\)'(?P<single>(?:{_SLASHES}(?:[^'\\\n]|\\[^n\n'])*|(?:{_ESCAPED}|{_DRIVE})[^'\n]*))'
    | (?P<open>\\+["'])(?P<inner>{_START}(?:(?!(?P=open))[^\n])*)(?P=open)""",
    re.VERBOSE,
)
_PLAIN = re.compile(
    rf"""(?:(?<![\w./\\:<>*?~-])|(?<=\\[nrtbf]))
    (?:{_SLASHES}{_NAME}(?:[^\s"'<>\\]|\\(?![nrtbf"']))*
    | {_ESCAPED}{_NAME}(?:[^\s"'<>\\]|\\\\)*
    | {_DRIVE}{_NAME}[^\s"'<>]*)""",
    re.VERBOSE,
)


def without_folders(value: T) -> T:
    """Text, or lists and tables of it, without the folders of its absolute paths.

    >>> without_folders('encoder = "/home/jo smith/clip"  # as in ~/old/clip, not in models/clip')
    'encoder = "clip"  # as in clip, not in models/clip'
    >>> without_folders({"encoder": "/data/clip/", "rank": 2})
    {'encoder': 'clip', 'rank': 2}
    """
    found: object = value
    if isinstance(value, str):
        if re.match(_START, value) and "\n" not in value:
            return _last(value)  # type: ignore[return-value]
        found = _PLAIN.sub(lambda m: _last(m[0]), _QUOTED.sub(_unquoted, value))
    elif isinstance(value, dict):
        found = {key: without_folders(each) for key, each in value.items()}
    elif isinstance(value, list):
        found = [without_folders(each) for each in value]
    return found  # type: ignore[return-value]


def _unquoted(match: re.Match[str]) -> str:
    """The last part of a path, in the quotes that it had."""
    path = match["double"] or match["single"] or match["inner"]
    return match[0].replace(path, _last(path))


def _last(path: str) -> str:
    """What a folder or file is called."""
    if re.match(_SLASHES, path):
        return path.rstrip("/").rpartition("/")[2]
    return re.split(r"[/\\]+", path.rstrip("/\\"))[-1]
