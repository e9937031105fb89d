"""`AuditRecord`: the product. Versioned JSON with a checked-in schema; everything else renders it.

A record holds numbers, words and hashes: no data, no pickles, no user name, no host name and no
absolute path. Its `digest` covers every other field, so one changed digit is noticed.
"""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..accountant import jsonio
from ..accountant.bounds import Interval
from ..accountant.claim import PrivacyClaim
from ..accountant.errors import RecordError
from .results import (
    Environment,
    EqualPowerRow,
    Hazard,
    InversionRow,
    MechanismResult,
    UtilityRow,
)
from .verdict import Verdict

SCHEMA_VERSION = 2
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """Everything that an audit found.

    Attributes:
        schema_version: of this format.
        title: of the audit.
        claim: what was asserted.
        claimed_mu: of its Gaussian curve; None for a point claim.
        confidence: of each mechanism's verdict, all attacks together.
        power_multiple: what CONSISTENT needs.
        mechanisms: a row each.
        utility, equal_power, inversion, hazards: the sections of the report.
        limits: what was not tested, in the reader's words.
        given: the audit file as it was; changes: options of the command that changed it;
            resolved: what was run, with every default filled in.
        seed: root of all noise of this audit, which is therefore no production noise.
        environment: where and when.
        verdict: on the whole run.
        digest: SHA-256 of all the rest.
    """

    schema_version: int
    title: str
    claim: PrivacyClaim
    claimed_mu: Interval | None
    confidence: float
    power_multiple: float
    mechanisms: tuple[MechanismResult, ...]
    utility: tuple[UtilityRow, ...]
    equal_power: tuple[EqualPowerRow, ...]
    inversion: tuple[InversionRow, ...]
    hazards: tuple[Hazard, ...]
    limits: tuple[str, ...]
    given: str
    changes: tuple[str, ...]
    resolved: dict[str, Any]
    seed: int
    environment: Environment
    verdict: Verdict
    digest: str = ""

    def sealed(self) -> "AuditRecord":
        """The same record with its digest filled in."""
        return replace(self, digest=content_digest(jsonio.dump(self)))

    def text(self) -> str:
        """The bytes of record.json, as text."""
        return jsonio.canonical(jsonio.dump(self))

    def mechanism(self, name: str) -> MechanismResult:
        """One row.

        Raises:
            RecordError: there is none of this name.
        """
        for row in self.mechanisms:
            if row.name == name:
                return row
        known = ", ".join(row.name for row in self.mechanisms)
        raise RecordError(f"the record has no mechanism {name!r}; it has {known}")

    def to_frame(self) -> Any:
        """The attack results as a pandas DataFrame, a row per mechanism and attack."""
        import pandas

        from .render.reading import trials_text

        return pandas.DataFrame(
            [
                {
                    "mechanism": m.name,
                    "verdict": m.verdict.word,
                    "exit_code": m.verdict.exit_code,
                    "proven_mu_upper": m.proven.mu.upper,
                    "proven_epsilon_upper": m.proven_epsilon.upper,
                    "attack": a.attack,
                    "adversary": a.adversary,
                    "mu_lower": a.bound.mu_lower,
                    "epsilon_lower_gaussian": a.bound.epsilon_lower_gaussian,
                    "epsilon_lower": a.bound.epsilon_lower,
                    "delta": a.bound.delta,
                    "confidence": a.bound.confidence,
                    "auc": a.auc,
                    "trials": trials_text(a),
                }
                for m in self.mechanisms
                for a in m.attacks
            ]
        )


def content_digest(data: dict[str, Any]) -> str:
    """SHA-256 of a dumped record without its digest."""
    rest = {key: value for key, value in data.items() if key != "digest"}
    return hashlib.sha256(jsonio.canonical(rest).encode()).hexdigest()


def parse(text: str, *, name: str = "the record") -> AuditRecord:
    """The record in `text`, its digest checked.

    Raises:
        RecordError: not JSON, another schema version, not a record, or changed since it was sealed.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers with too many digits
        raise RecordError(f"{name} is not valid JSON: {error}") from None
    if not isinstance(data, dict) or "schema_version" not in data:
        raise RecordError(f"{name} is not an audit record: it has no schema_version")
    if data["schema_version"] != SCHEMA_VERSION:
        raise RecordError(
            f"{name} was written by another version: it has schema version "
            f"{data['schema_version']!r}, this privassay reads {SCHEMA_VERSION}.\n"
            "  Use the version named under environment.packages.privassay."
        )
    # Byte for byte: a changed seventeenth digit can still read as the same number.
    try:
        intact = data.get("digest") == content_digest(data) and jsonio.canonical(data) == text
    except (ValueError, RecursionError):  # NaN, lone surrogates: we never wrote this
        intact = False
    if not intact:
        raise RecordError(
            f"{name} was changed after it was written: its content does not give its digest.\n"
            "  Nothing in it can be relied on. Ask for the original, or run the audit again."
        )
    return loaded(AuditRecord, data, name=name)


def loaded(kind: type[R], data: dict[str, Any], *, name: str) -> R:
    """The sealed content as this kind of record, with nothing left over and nothing filled in.

    Raises:
        RecordError: a field is unknown, missing or of another type than is written here.
    """
    advice = "\n  Use the version named under environment.packages.privassay and git_revision."
    try:
        record = jsonio.load(kind, data)
    except RecordError as error:
        raise RecordError(f"{name} was written by another version: {error}{advice}") from None
    faults = _differences(data, jsonio.dump(record), "")
    if faults:
        more = " and others" if len(faults) > 5 else ""
        raise RecordError(
            f"{name} was written by another version: {'; '.join(faults[:5])}{more}{advice}"
        )
    return record


def _differences(found: Any, ours: Any, place: str) -> list[str]:
    """Where content is not what reading and writing it gives, in words."""
    if isinstance(found, dict) and isinstance(ours, dict):
        start = f"{place}." if place else ""
        return [
            *(f"unknown field {start}{key}" for key in found if key not in ours),
            *(f"missing field {start}{key}" for key in ours if key not in found),
            *(
                fault
                for key in found
                if key in ours
                for fault in _differences(found[key], ours[key], f"{start}{key}")
            ),
        ]
    if isinstance(found, list) and isinstance(ours, list) and len(found) == len(ours):
        return [
            fault
            for number, pair in enumerate(zip(found, ours, strict=True))
            for fault in _differences(*pair, f"{place}[{number}]")
        ]
    # In Python true equals 1, but it is no number; 1 and 1.0 are the same one.
    if found != ours or isinstance(found, bool) != isinstance(ours, bool):
        return [f"{place} is {found!r}, where {ours!r} would be written"]
    return []


def write(record: AuditRecord, path: Path) -> None:
    """Write record.json, atomically."""
    partial = path.with_suffix(".partial")
    partial.write_text(record.text(), encoding="utf-8")
    os.replace(partial, path)


def schema() -> dict[str, Any]:
    """JSON Schema of record.json. Infinities are strings, because JSON has none."""

    def widen(node: Any) -> Any:
        if isinstance(node, list):
            return [widen(item) for item in node]
        if not isinstance(node, dict):
            return node
        if node.get("type") == "number":
            rest = {key: value for key, value in node.items() if key != "type"}
            return rest | {"anyOf": [{"type": "number"}, {"enum": ["Infinity", "-Infinity"]}]}
        return {key: widen(value) for key, value in node.items()}

    result: dict[str, Any] = widen(jsonio.schema(AuditRecord))
    return result


if __name__ == "__main__":  # prints the schema that is checked in beside this file
    print(jsonio.canonical(schema()), end="")
