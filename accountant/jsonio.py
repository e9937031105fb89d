"""JSON for every frozen dataclass of the project, in one place.

`dump` gives plain JSON types, with infinities as the strings "Infinity" and "-Infinity" (JSON has
none) and NaN refused; `load` checks every field against its annotation and refuses unknown keys.
Nothing named in the data is ever imported.
"""

import json
import math
from typing import Any, TypeVar

from .errors import RecordError

T = TypeVar("T")


_ADAPTERS: dict[Any, Any] = {}  # building one costs milliseconds


def _adapter(kind: Any) -> Any:
    if kind not in _ADAPTERS:
        from pydantic import TypeAdapter

        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def dump(value: Any) -> Any:
    """Plain JSON types for a dataclass, list, tuple, dict, string or number."""
    return _plain(_adapter(type(value)).dump_python(value, mode="python"))


def load(kind: type[T], data: Any) -> T:
    """A `kind` from what `dump` gave.

    Raises:
        RecordError: a field is missing, unknown or of the wrong type; the message names each.
    """
    from pydantic import ValidationError

    try:
        result: T = _adapter(kind).validate_json(json.dumps(data))
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or kind.__name__}: {e['msg']}" for e in error.errors()
        )
        raise RecordError(f"not a valid {kind.__name__}: {found}") from None
    return result


def schema(kind: type[Any]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of `kind`."""
    result: dict[str, Any] = _adapter(kind).json_schema()
    return result


def canonical(data: Any) -> str:
    """One text for one content: sorted keys, shortest round-trip floats, two-space indent."""
    return json.dumps(data, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        if math.isnan(value):
            raise RecordError("NaN cannot be recorded: it is not a result")
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
    return value
