"""Every change of one field of a declaration, made by the type of the field."""

import copy
from dataclasses import fields, is_dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from privassay.audit_reports.lint.declaration import Declaration

# Names, words and references: nothing is computed from them.
WORDS = {"title", "system", "mode", "source", "note", "refs", "name", "value", "about", "covers"}
WORDS |= {"data"}  # which releases read the same; all that a view sees is added up anyway

# A field that a sound declaration leaves out is filled in with something that should matter.
ABSENT = {
    "claim.mu": [0.01],
    "sampling.rate": [0.5],
    "sampling.accounted_rate": [0.01],
    "sampling.participations": [7],
    "release.group_norms": [[1.0, 2.0]],
    "release.budget_shares": [[2.0, 3.0]],
    "release.records_per_unit": [50],
    "release.sigma": [0.01],
    "release.formula_epsilon": [100.0],
    "release.pure_epsilon": [10.0],
    "release.score_range": [1.0],
    "release.answers": [4],
    "release.keep_probability": [0.99],
    "release.accounted_tensors": [1],
    "release.accounted_releases": [1],
    "release.rounds": [3],
    "parameter.noise_count": [5],
    "mpc.noise_shares": [15],
    "statement.protects": [True],
}
# A sampler without its rate is refused, which would hide what the lint says about it.
WITH = {
    ("sampling.used", "poisson"): {"rate": 0.01},
    ("sampling.accounted", "poisson"): {"accounted_rate": 0.01},
}


def mutants(data):
    """("place change", mutated copy) of each field of each section of a parsed TOML file."""
    yield from _section(Declaration, data, (), data)


def _section(kind, table, path, whole):
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint, here = _plain(hints[field.name]), (*path, field.name)
        value = table.get(field.name, field.default)
        if is_dataclass(hint):
            # an optional section that is absent has no fields to change
            if field.name in table or is_dataclass(value):
                yield from _section(hint, table.get(field.name, {}), here, whole)
        elif get_origin(hint) is tuple and is_dataclass(get_args(hint)[0]):
            for i, inner in enumerate(table.get(field.name, [])):
                yield from _section(get_args(hint)[0], inner, (*here, i), whole)
        elif field.name not in WORDS or (field.name == "source" and get_origin(hint) is Literal):
            place = ".".join(str(p) for p in here)
            field_name = ".".join(p for p in here if isinstance(p, str))
            for change, new in _values(field_name, hint, value, field.default):
                yield f"{place} {change}", _with(whole, here, field_name, new)


def _values(place, hint, value, default):
    if get_origin(hint) is Literal:
        yield from ((f"-> {v}", v) for v in get_args(hint) if v != value)
    elif hint is bool:
        yield f"-> {not value}", not value
    elif get_origin(hint) is tuple:
        yield from _lists(place, get_args(hint)[0], list(value or ()))
    elif value is None:
        yield from (("added", v) for v in ABSENT.get(place, []))
    elif hint is float:
        yield from (("x 10", value * 10.0), ("/ 10", value / 10.0))
    elif hint is int:
        yield from (("x 10", value * 10), ("+ 1", value + 1))
        if value > 1:
            yield "/ 2", value // 2
    elif hint is str:
        yield "other words", f"not {value}"
    if hint in (float, int) and value not in (None, default) and place not in ABSENT:
        yield "left out", None


def _lists(place, item, value):
    if not value:
        yield from (("added", v) for v in ABSENT.get(place, []))
    else:
        yield "emptied", []
    if get_origin(item) is Literal:
        kept = [] if len(value) == 1 else value
        yield from ((f"without {v}", [w for w in value if w != v]) for v in kept)
        yield from ((f"with {v}", [*value, v]) for v in get_args(item) if v not in value)
    elif item is float and value:
        yield "first x 10", [10.0 * value[0], *value[1:]]
        yield "first / 10", [0.1 * value[0], *value[1:]]


def _plain(hint):
    """`hint` without "or None"."""
    inside = [h for h in get_args(hint) if h is not type(None)]
    return inside[0] if type(None) in get_args(hint) else hint


def _with(whole, path, place, new):
    data = copy.deepcopy(whole)
    *sections, last = path
    table = data
    for part in sections:
        table = table.setdefault(part, {}) if isinstance(table, dict) else table[part]
    if new is None:
        table.pop(last, None)
    else:
        table[last] = new
    table |= WITH.get((place, new), {}) if isinstance(new, str) else {}
    return data
