"""What docs/lint.md tells a reader to write is what the lint reads."""

import re
import tomllib
from pathlib import Path

from privassay.audit_reports.lint import reader
from privassay.audit_reports.lint.patterns import PATTERNS
from privassay.audit_reports.lint.run import lint

TEXT = (Path(__file__).parents[3] / "docs" / "lint.md").read_text()
WHOLE, *PARTS = (tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", TEXT, re.S))


def loud(data):
    return [(f.code, f.reason) for f in lint(reader.parse(data)) if f.severity != "info"]


def test_the_declaration_is_sound():
    assert not loud(WHOLE)


def test_the_answers_have_the_epsilon_that_is_stated():
    (part,) = (p for p in PARTS if "release" in p)
    claim = WHOLE["claim"] | {"epsilon": 10.84, "delta": 0.0}
    sampling = WHOLE["sampling"] | {"rounds": 4}
    assert not loud(WHOLE | part | {"claim": claim, "sampling": sampling})
    part["release"][0]["pure_epsilon"] = 2.708
    assert "D2" in dict(loud(WHOLE | part | {"claim": claim, "sampling": sampling}))


def test_poisson_samples_are_amplified():
    (part,) = (p for p in PARTS if "sampling" in p)
    claim = WHOLE["claim"] | {"epsilon": 1.0, "adjacency": "add-remove"}
    step = {"sampled": True, "sigma": 1.5, "assumed_sensitivity": 0.3125, "releases": 1000}
    kept = {k: v for k, v in WHOLE["release"][0].items() if not k.startswith("formula")}
    changed = WHOLE | part | {"claim": claim, "release": [kept | step]}
    assert not loud(changed)
    del changed["release"][0]["sampled"]
    assert {"D7", "V1"} <= set(dict(loud(changed)))


def test_every_pattern_of_accounting_is_in_the_table():
    for code, pattern in PATTERNS.items():
        if code[0] in "DV":
            assert f"| {code} | {pattern.title}" in TEXT, code
