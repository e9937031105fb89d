"""Sections 8 to 14 of the report: utility, reconstruction, hazards, limits, how to repeat it."""

import json
import re

from ..figures import Drawing
from ..hazards import FAILED, NONE, OK
from ..record import AuditRecord
from ..results import InversionRow, UtilityRow
from ..text import at_least, at_most
from .blocks import (
    Block,
    Code,
    Facts,
    Figures,
    Gallery,
    Items,
    Picture,
    Reconstruction,
    Section,
    Table,
    Tag,
    Text,
)
from .outcomes import (
    METRICS,
    SMALL_GAP,
    accuracy,
    inversion_readings,
    leakage,
    leaks,
    utility_readings,
    variants,
)
from .reading import delta_of

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_SEVERITY = {
    "C": "breaks the guarantee",
    "T": "breaks the proof as written",
    "N": "negligible unless scaled",
}
_GLOSSARY = (
    ("epsilon", "privacy loss in nats: odds of a right guess change by at most e^epsilon"),
    ("delta", "probability mass that epsilon may leave out; epsilon is stated at this delta"),
    ("mu, mu-GDP", "no attack separates the two worlds better than two unit normals mu apart"),
    ("adjacency", "how two neighbouring data sets differ"),
    ("unit", "whose data differs between neighbours"),
    ("FPR, TPR", "share of trials without, and with, the record where the attack says member"),
    ("ROC, AUC", "TPR against FPR over all thresholds; the area under it, 0.5 is chance"),
    ("certified", "FPR upper and TPR lower Clopper-Pearson limits, for all thresholds at once"),
    ("confidence", "the chance that a lower bound is not too high, over repeats of the audit"),
    ("power", "the chance that these trials would refute a mechanism with a given leakage"),
    ("proven", "upper bound on epsilon by accounting, whatever the attack"),
    ("measured", "lower bound on epsilon from attacks that were made"),
    ("subject, control", "a mechanism under audit; a mechanism whose verdict was known before"),
    ("PSNR", "peak signal-to-noise ratio in dB, larger is closer to the record"),
    ("INVALID", "the claim is incomplete, nothing was released, or a control failed; exit 2"),
    ("UNSUPPORTED", "accounting does not give the claim; exit 3"),
    ("REFUTED", "measured leakage exceeds the claim, inside its threat model; exit 3"),
    ("INCONCLUSIVE", "nothing refuted, but the audit had too little power; exit 4"),
    ("CONSISTENT", "proven within the claim, not refuted, and the audit had power; exit 0"),
)


def utility(record: AuditRecord) -> Section | None:
    """Section 8."""
    if not record.utility:
        return None
    names = [*variants(record, equal_budget=True), *variants(record, equal_budget=False)]
    equal = {r.variant for r in record.utility if r.equal_budget}
    clients = list(dict.fromkeys(r.client for r in record.utility))
    found = {(r.variant, r.client, r.metric): r for r in record.utility}
    seeds = " or ".join(sorted({str(r.seeds) for r in record.utility}))
    tables = tuple(
        Table(
            caption=f"{words.capitalize()} per client (fraction of its test set): mean over "
            f"{seeds} seeds and 95 % Student t interval.",
            header=("variant", "group", *clients),
            rows=tuple(
                (
                    name,
                    "equal budget" if name in equal else "control",
                    *(_accuracy(found.get((name, client, metric))) for client in clients),
                )
                for name in names
                if any((name, client, metric) in found for client in clients)
            ),
            numeric=tuple(range(2, 2 + len(clients))),
        )
        for metric, words in METRICS.items()
        if any(r.metric == metric for r in record.utility)
    )
    return Section("utility", "Utility", (Items(tuple(utility_readings(record))), *tables))


def _accuracy(row: UtilityRow | None) -> str:
    return "not applicable" if row is None else accuracy(row)


def comparison(record: AuditRecord, drawings: dict[str, Drawing]) -> Section | None:
    """Section 9."""
    blocks: list[Block] = []
    claim = record.claim
    if "utility" in drawings:
        caption = (
            f"Budget of the upper group: {claim.text()}. Dots: mean over clients and seeds; "
            "lines: 95 % intervals. Squares below the rule are controls at other budgets and "
            "baselines without one: they do not compete."
        )
        blocks.append(Figures(figures=(("utility", drawings["utility"], caption),)))
    if record.equal_power:
        blocks += [
            Text(
                "Equal power is not equal privacy. Noise that is smaller in some dimensions, at "
                "the same total power and under one global clip only, leaks most where it is "
                "quiet. Both epsilons are for one release, at the same delta."
            ),
            Table(
                caption="Groupwise noise under a global clip, at the power of isotropic noise.",
                header=(
                    "quiet share of the dimensions",
                    "loud over quiet noise",
                    "isotropic epsilon (nats)",
                    "groupwise epsilon, exact, at least",
                    "at most",
                    "times larger, at least",
                    "delta",
                ),
                rows=tuple(
                    (
                        f"{row.quiet_fraction:.3g}",
                        f"{row.noise_ratio:g}",
                        f"{row.isotropic_epsilon:g}",
                        at_least(row.epsilon.lower),
                        at_most(row.epsilon.upper),
                        _times(row.epsilon.lower, row.isotropic_epsilon),
                        f"{row.delta:g}",
                    )
                    for row in record.equal_power
                ),
                numeric=(0, 1, 2, 3, 4, 5, 6),
            ),
        ]
    return Section("comparison", "Comparison at equal budget", tuple(blocks)) if blocks else None


def _times(value: float, base: float) -> str:
    return at_least(value / base, 3) if base > 0 else "not defined"


def reconstruction(record: AuditRecord) -> Section | None:
    """Section 10."""
    if not record.inversion:
        return None
    blocks: list[Block] = [
        Text(
            "Each reconstruction stands beside that of a control: the same attack on a prototype "
            "of other records of the same class. What the control shows as well was learned from "
            f"the class, not from these records. Differences below {SMALL_GAP:g} dB, a factor two "
            "in squared error, are not read: a single pair of pictures has no interval. One "
            "attack with one prior; a failure shows nothing about stronger ones."
        ),
        Items(tuple(inversion_readings(record))),
        Gallery(tuple(_reconstruction(row) for row in record.inversion)),
        Table(
            caption="The same in numbers: PSNR in dB to the nearest record, larger is closer.",
            header=(
                "case",
                "class",
                "adversary",
                "cosine of features",
                "PSNR (dB)",
                "PSNR of the control (dB)",
                "difference (dB)",
                "reading",
            ),
            rows=tuple(
                (
                    row.case,
                    row.label,
                    row.adversary,
                    f"{row.cosine:.3f}",
                    f"{row.psnr:.1f}",
                    f"{row.control_psnr:.1f}",
                    f"{row.psnr - row.control_psnr:+.1f}",
                    leakage(row),
                )
                for row in record.inversion
            ),
            numeric=(3, 4, 5, 6),
        ),
    ]
    return Section("reconstruction", "Reconstruction", tuple(blocks))


def _reconstruction(row: InversionRow) -> Reconstruction:
    about = f"class {row.label}, {row.case}"
    shown = row.pictures or (None, None, None)
    names = ("nearest record", "reconstruction", "reconstruction of the control")
    values = ("", f"PSNR {row.psnr:.1f} dB", f"PSNR {row.control_psnr:.1f} dB")
    return Reconstruction(
        title=f"Class {row.label}: {row.case} ({row.adversary})",
        pictures=tuple(
            Picture(caption=name, alt=f"{name}, {about} {value}".strip(), data=_checked(data))
            for name, value, data in zip(names, values, shown, strict=True)
        ),
        numbers=f"PSNR {row.psnr:.1f} dB, control {row.control_psnr:.1f} dB",
        reading=leakage(row),
        leaks=leaks(row),
    )


def _checked(data: str | None) -> str | None:
    """`data` if it is base64 of a PNG, else nothing."""
    if data is None or not data.startswith("iVBORw0KGgo"):
        return None
    return data if _BASE64.fullmatch(data) else None


def hazards(record: AuditRecord) -> Section | None:
    """Section 11."""
    if not record.hazards:
        return None
    kinds = {OK: "ok", FAILED: "failed", NONE: "none"}
    table = Table(
        caption="What breaks guarantees in practice, and how each item stands here.",
        header=("item", "hazard", "severity", "status", "evidence"),
        rows=tuple(
            (
                h.item,
                h.text,
                f"{h.severity}: {_SEVERITY.get(h.severity, 'unknown')}",
                Tag(h.status, kinds.get(h.status, "open")),
                h.evidence,
            )
            for h in record.hazards
        ),
    )
    return Section("hazards", "Hazards", (table,))


def limits(record: AuditRecord) -> Section | None:
    """Section 12."""
    if not record.limits:
        return None
    return Section("limits", "Limits of this audit", (Items(record.limits),))


def reproduce(record: AuditRecord) -> Section:
    """Section 13."""
    where = record.environment
    data = tuple((f"data: {name}", value) for name, value in sorted(where.data_sha256.items()))
    facts = (
        ("root seed of the audit", str(record.seed)),
        ("audit file (SHA-256)", where.config_sha256),
        *((f"{name} (SHA-256)", value) for name, value in data),
        ("privassay source (SHA-256)", where.source_sha256),
        ("git revision", where.git_revision),
        ("record digest (SHA-256)", record.digest or "not sealed"),
        ("schema version", str(record.schema_version)),
        ("finished (UTC)", where.created),
        ("wall time (s)", f"{where.seconds:g}"),
        ("Python", where.python),
        ("platform", where.platform),
        ("packages", ", ".join(f"{k} {v}" for k, v in sorted(where.packages.items()))),
    )
    if "made_by" in record.resolved:
        return Section(
            "reproduce",
            "Reproduce",
            (
                Text(
                    "This file holds the whole record: the command recomputes bounds, power and "
                    "verdict from it alone. The mechanism's own code is not in it. Epsilon is "
                    f"stated at delta = {delta_of(record):g} throughout."
                ),
                Code("Command", "privassay verify report.html"),
                Facts(tuple(fact for fact in facts if fact[1])),
                Code(
                    "How it was asked for",
                    json.dumps(record.resolved, indent=1, sort_keys=True, ensure_ascii=False),
                    folded=True,
                ),
            ),
        )
    blocks = (
        Text(
            "This file holds the whole record: the first command recomputes bounds and verdict "
            "from it alone, without data. The second repeats the audit from the audit file below."
        ),
        Code(
            "Commands",
            "privassay verify report.html\n"
            + " ".join(["privassay run audit.toml --out run-again", *record.changes]),
        ),
        Text(
            f"All noise of this audit is drawn from the published seed {record.seed}, so that it "
            "can be repeated. It is therefore no production noise: whoever knows the seed can "
            "subtract it. A deployed system must draw its noise from a secret source. "
            f"Epsilon is stated at delta = {delta_of(record):g} throughout."
        ),
        Facts(facts),
        Code("Audit file as given", record.given, folded=True),
        Code(
            "With every default filled in",
            json.dumps(record.resolved, indent=1, sort_keys=True, ensure_ascii=False),
            folded=True,
        ),
    )
    return Section("reproduce", "Reproduce", blocks)


def glossary(record: AuditRecord) -> Section:
    """Section 14."""
    return Section("glossary", "Glossary", (Facts(_GLOSSARY),))
