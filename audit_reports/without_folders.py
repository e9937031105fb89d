"""Absolute paths cut to their last part: a record is passed on, and names nobody's folders."""

import re
from typing import TypeVar

T = TypeVar("T")

_START = r"(?:~[^\s/\\\"']*|[A-Za-z]:|\\\\)?[/\\]+|\\\\+"
# In quotes a name may hold spaces; elsewhere a path ends at one. A URL or a relative path is none.
_QUOTED = re.compile(
    rf"""(?P<quote>["'])(?:{_START})(?P<path>(?:(?!(?P=quote))[^\n])*)(?P=quote)"""
)
_PLAIN = re.compile(rf"""(?<![\w./\\:<>*?~-])(?:{_START})(?P<path>[^\s"'/\\<>][^\s"'<>]*)""")


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
        found = _QUOTED.sub(lambda m: m["quote"] + _last(m["path"]) + m["quote"], value)
        found = _PLAIN.sub(lambda m: _last(m["path"]), str(found))
    elif isinstance(value, dict):
        found = {key: without_folders(each) for key, each in value.items()}
    elif isinstance(value, list):
        found = [without_folders(each) for each in value]
    return found  # type: ignore[return-value]


def _last(path: str) -> str:
    """What a folder or file is called."""
    return re.split(r"[/\\]+", path.rstrip("/\\"))[-1]
