"""CSV files (RFC 4180): the numbers of the record at full precision, units in the header."""

import os
from pathlib import Path
from typing import Any

from ..record import AuditRecord
from .reading import trials_text


def write_tables(record: AuditRecord, folder: Path) -> tuple[Path, ...]:
    """Write bounds.csv, utility.csv and inversion.csv to `folder`, each atomically.

    A table without rows is not written; one that is there from another record is removed.
    """
    import pandas

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, rows in (
        ("bounds.csv", _bounds(record)),
        ("utility.csv", _utility(record)),
        ("inversion.csv", _inversion(record)),
    ):
        path = folder / name
        if not rows:
            path.unlink(missing_ok=True)
            continue
        partial = path.with_suffix(".partial")
        frame = pandas.DataFrame(rows).map(harmless)
        frame.to_csv(partial, index=False, lineterminator="\r\n", encoding="utf-8")
        os.replace(partial, path)
        written.append(path)
    return tuple(written)


def harmless(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def _bounds(record: AuditRecord) -> list[dict[str, Any]]:
    return [
        {
            "mechanism": m.name,
            "role": "subject" if m.expect is None else "control",
            "verdict": m.verdict.word,
            "exit_code": m.verdict.exit_code,
            "proven_mu_lower (no unit)": m.proven.mu.lower,
            "proven_mu_upper (no unit)": m.proven.mu.upper,
            "proven_epsilon_lower (nats)": m.proven_epsilon.lower,
            "proven_epsilon_upper (nats)": m.proven_epsilon.upper,
            "attack": a.attack,
            "adversary": a.adversary,
            "inside_claim": a.adversary in record.claim.adversaries,
            "measured_mu_lower (no unit)": a.bound.mu_lower,
            "measured_epsilon_lower_gaussian (nats)": a.bound.epsilon_lower_gaussian,
            "measured_epsilon_lower (nats)": a.bound.epsilon_lower,
            "delta (probability)": a.bound.delta,
            "confidence (probability)": a.bound.confidence,
            "power_epsilon (nats)": a.power.epsilon,
            "power_probability (probability)": a.power.probability,
            "auc (fraction)": a.auc,
            "trials": trials_text(a),
        }
        for m in record.mechanisms
        for a in m.attacks
    ]


def _utility(record: AuditRecord) -> list[dict[str, Any]]:
    return [
        {
            "variant": row.variant,
            "client": row.client,
            "metric": row.metric,
            "mean_accuracy (fraction)": row.mean,
            "lower_95 (fraction)": row.lower,
            "upper_95 (fraction)": row.upper,
            "seeds (count)": row.seeds,
            "equal_budget": row.equal_budget,
        }
        for row in record.utility
    ]


def _inversion(record: AuditRecord) -> list[dict[str, Any]]:
    return [
        {
            "case": row.case,
            "label": row.label,
            "adversary": row.adversary,
            "cosine (no unit)": row.cosine,
            "psnr (dB)": row.psnr,
            "control_psnr (dB)": row.control_psnr,
            "difference (dB)": row.psnr - row.control_psnr,
        }
        for row in record.inversion
    ]
