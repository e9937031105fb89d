"""Every broken program against every instrument: lint, probes, black-box audit.

A row is a numbered defect or a planted bug. A cell names what an instrument caught, says "silent"
where it was run and saw nothing, and "-" where it has nothing to run on.
"""

from dataclasses import astuple, dataclass
from functools import cache

import privassay as pa
from privassay.audit_reports.lint.reader import shipped
from privassay.audit_reports.lint.run import lint
from privassay.mechanisms import broken
from privassay.mechanisms.probes.run import probe

CONFIDENCE = 0.999  # of each audit: about 60 correct twins, 0.06 false alarms in all
FILES = {"vpdr": "vpdr", "dp-fpl": "dp_fpl", "dp-fedlora": "dp_fedlora", "secfpp": "secfpp"}
SILENT, NOTHING = "silent", "-"
HEAD = ("defect", "what is wrong", "lint", "probes", "black-box audit")


@dataclass(frozen=True)
class Row:
    """One broken program; `twin` is what any instrument says against the correct one."""

    name: str
    reason: str
    lint: str
    probes: str
    audit: str
    twin: tuple[str, ...]


def programs():
    """(name, reason, system, defect or None, samplers): all defects, then bugs without a number."""
    samplers = broken.samplers()
    found = []
    for defect in broken.defects():
        own = [twin for twin in samplers if twin.code == defect.code]
        own += [] if defect.audit is None else [defect.audit]
        found.append((defect.code, defect.reason, defect.system, defect, own))
    found += [(t.name, t.reason, t.system, None, [t]) for t in samplers if not t.code]
    return found


def row(program, *, audited=True):
    """Run everything on one program and its twin."""
    name, reason, system, defect, samplers = program
    caught, twin = [], []
    if defect is not None:
        caught += [defect.check(defect.bad)]
        twin += [f"probe: {f.text}" for f in [defect.check(defect.good)] if f.fired]
    for sampler in samplers:
        caught += probe(sampler.hook(sampler.bad)).findings
        good = probe(sampler.hook(sampler.good))
        twin += [f"probe: {f.text}" for f in good.alarms]
    probes = dict.fromkeys(f.probe for f in caught if f.fired and f.severity != "info")
    words = [] if audited else ["not run"]
    for sampler in samplers if audited else []:
        words.append(word(sampler, sampler.bad))
        twin += ["audit: REFUTED"] if word(sampler, sampler.good) == "REFUTED" else []
    return Row(
        name,
        reason,
        _lint(name, system, defect),
        ", ".join(probes) or SILENT,
        _audit(words) if samplers else NOTHING,
        tuple(twin),
    )


def _audit(words):
    return next((word for word in ("REFUTED", "not run") if word in words), SILENT)


def word(sampler, sample):
    """The verdict of a black-box audit."""
    record = pa.audit_mechanism(
        sample, sampler.claim, trials=sampler.trials, confidence=CONFIDENCE, seed=1
    )
    return record.verdict.word


def _lint(name, system, defect):
    """Patterns above information in the released system's declaration that name this defect."""
    if defect is None:
        return NOTHING
    code = name.split()[0]
    found = set()
    for declaration in shipped():
        if declaration.startswith(FILES[system]) and "sound" not in declaration:
            found |= {f.code for f in _findings(declaration) if code in f.refs or code == f.code}
    return ", ".join(sorted(found, key=lambda c: (c[0], int(c[1:])))) or SILENT


def sound_declarations():
    """{name: codes above information} of the correct twins of the declarations."""
    return {name: [f.code for f in _findings(name)] for name in shipped() if "sound" in name}


@cache
def _findings(declaration):
    return [f for f in lint(declaration) if f.severity != "info"]


def matrix(*, audited=True):
    """All rows; without audits in seconds."""
    return [row(program, audited=audited) for program in programs()]


def table(rows):
    """The rows as the table of docs/probes.md."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(astuple(r)[:5]) + " |" for r in rows]
    return "\n".join(lines)
