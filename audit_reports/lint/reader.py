"""TOML to a `Declaration`: every key known, every value of its type, all errors in one message."""

import math
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ...accountant import check
from ...accountant.errors import ConfigError, ParameterError
from ...fl_core.config_file import read, shown
from .declaration import Declaration

_SYSTEMS = Path(__file__).resolve().parent / "systems"
_MOST = 2**63  # as whole numbers of TOML are; formulas would turn larger ones into infinities


def load(path: Path) -> Declaration:
    """The declaration in the TOML file at `path`.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or something in it is wrong.
    """
    data = read(
        path,
        wanted="a declaration (TOML)",
        missing=f"there is no file {path}, and the name of a shipped declaration must be "
        f"{_suggest(str(path))}",
    )
    return parse(data, name=str(path))


def shipped() -> tuple[str, ...]:
    """Names of the declarations that come with the package."""
    return tuple(sorted(path.stem for path in _SYSTEMS.glob("*.toml")))


def system(name: str) -> Declaration:
    """A shipped declaration by name, e.g. "dp_fpl_as_released".

    Raises:
        ConfigError: there is no such declaration; the closest name is given.
    """
    if name not in shipped():
        raise ConfigError(f"the declaration must be {_suggest(name)}")
    return load(_SYSTEMS / f"{name}.toml")


def _suggest(name: str) -> str:
    """As `check.suggest`, but a system's own name stands for what it released."""
    start = f"{name.casefold().replace('-', '_')}_"
    own = [known for known in shipped() if known.startswith(start)]  # "as_..." comes before "sound"
    if own:
        return (
            f"one of {', '.join(map(repr, shipped()))}, but is {name!r} (did you mean {own[0]!r}?)"
        )
    return check.suggest(name, shipped())


def parse(data: dict[str, Any], *, name: str = "the declaration") -> Declaration:
    """The declaration with this content.

    Raises:
        ConfigError: something in it is wrong; the message lists all of it.

    >>> parse({"title": "t", "clam": {}})
    Traceback (most recent call last):
        ...
    privassay.accountant.errors.ConfigError: the declaration is not a valid declaration:
      clam: unknown key; did you mean 'claim'?
      claim: missing
    """
    wrong: list[str] = []
    found = _section(Declaration, data, "", wrong)
    if wrong:
        raise ConfigError(f"{name} is not a valid declaration:\n  " + "\n  ".join(wrong))
    assert isinstance(found, Declaration)  # no error, so there is one
    return found


def _section(kind: Any, data: Any, where: str, wrong: list[str]) -> Any:
    """A dataclass from a table; None, and lines in `wrong`, if it does not fit."""
    import difflib

    if not isinstance(data, dict):
        wrong.append(f"{where}: must be a table [{where}], but is {_shown(data)}")
        return None
    hints, before = get_type_hints(kind), len(wrong)
    known = {field.name: field for field in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in data.items():
        place = f"{where}.{key}" if where else key
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            wrong.append(f"{place}: unknown key; {hint}")
        else:
            values[key] = _value(hints[key], value, place, wrong)
    for key, field in known.items():
        if key not in data and field.default is MISSING and field.default_factory is MISSING:
            wrong.append(f"{where}.{key}: missing" if where else f"{key}: missing")
    if len(wrong) > before:
        return None
    try:
        return kind(**values)
    except ParameterError as error:
        wrong.append(str(error))
        return None


def _value(kind: Any, value: Any, where: str, wrong: list[str]) -> Any:
    """`value` as `kind`; None, and a line in `wrong`, if it does not fit."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):  # only "or None" occurs, and TOML has no null
        return _value(next(k for k in inside if k is not type(None)), value, where, wrong)
    if is_dataclass(kind):
        return _section(kind, value, where, wrong)
    if origin is tuple:
        if not isinstance(value, list):
            wrong.append(f"{where}: must be a list, but is {_shown(value)}")
            return None
        item = inside[0]
        many = [_value(item, v, f"{where}[{i + 1}]", wrong) for i, v in enumerate(value)]
        return tuple(many)
    if origin is Literal:
        if value not in inside or not isinstance(value, str):
            wrong.append(f"{where}: must be {check.suggest(value, inside)}")
        return value
    fits, wanted = _PLAIN[kind]
    if not fits(value):
        wrong.append(f"{where}: must be {wanted}, but is {_shown(value)}")
        return None
    return float(value) if kind is float else value


def _is_float(value: Any) -> bool:
    # math.isfinite alone would overflow on a huge whole number
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 and math.isfinite(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_MOST < value < _MOST


_PLAIN: dict[Any, tuple[Callable[[Any], bool], str]] = {
    str: (lambda v: isinstance(v, str), "text"),
    bool: (lambda v: isinstance(v, bool), "true or false"),
    int: (_is_int, "a whole number below 2^63"),
    float: (_is_float, "a finite number"),
}


_shown = partial(shown, most=60)
