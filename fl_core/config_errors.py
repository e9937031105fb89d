"""Messages for a wrong audit file: the place, what is wrong, and what to write instead."""

import difflib
from typing import Any, get_args

from pydantic import BaseModel

from ..mechanisms import catalog
from .config_file import shown


def explain(error: dict[str, Any], model: type[BaseModel]) -> str:
    """One line for one of pydantic's errors: the place, what is wrong, what to write."""
    place = error["loc"]
    where = ".".join(str(p) if isinstance(p, str) else f"[{p + 1}]" for p in place)
    where = where.replace(".[", "[") or ("file" if not place else repr(place[0]))
    if error["type"] == "extra_forbidden":
        known = list(_fields_at(place[:-1], model))
        close = difflib.get_close_matches(str(place[-1]), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
        return f"{where}: unknown key{hint}"
    if error["type"] == "missing":
        choices = _choices(place, model)
        wanted = f"; give one of {', '.join(map(repr, choices))}" if choices else ""
        return f"{where}: missing{wanted or _form(place, model)}"
    if error["type"] in ("model_type", "list_type", "model_attributes_type") and _form(
        place, model
    ):
        return f"{where}: has the wrong form{_form(place, model)}"
    message = error["msg"].removeprefix("Value error, ")
    given = error.get("input")
    text = shown(given, 80)
    # Our own validators have said it already.
    said = isinstance(given, dict | list) or ", but is " in message
    but = "" if said else f", but is {text}"
    if error["type"] == "literal_error":
        close = difflib.get_close_matches(str(given), _choices(place, model), n=1)
        but += f" (did you mean {close[0]!r}?)" if close else ""
    return f"{where}: {message}{but}"


def _form(place: tuple[Any, ...], model: type[BaseModel]) -> str:
    """How a section is written; empty for a key with a value."""
    fields = _fields_at(tuple(p for p in place if isinstance(p, str)), model)
    if not fields:
        return ""
    many = str(place[0]) in ("mechanism", "attack")
    return f"; write a section [[{place[0]}]]" if many else f"; write a section [{place[0]}]"


def _fields_at(place: tuple[Any, ...], model: type[BaseModel]) -> dict[str, Any]:
    fields = model.model_fields
    for part in place:
        if isinstance(part, int):
            continue
        if part not in fields:
            return {}
        inner = [
            kind
            for kind in (fields[part].annotation, *_nested(fields[part].annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        fields = inner[0].model_fields if inner else {}
    return dict(fields)


def _nested(kind: Any) -> list[Any]:
    found = []
    for argument in get_args(kind):
        found += [argument, *_nested(argument)]
    return found


def _choices(place: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    if place[-1:] == ("kind",):  # a mechanism: its names are not in the annotation
        return list(catalog.homes())
    field = _fields_at(place[:-1], model).get(str(place[-1]))
    if field is None:
        return []
    return [c for c in _nested(field.annotation) if type(c) is str]
