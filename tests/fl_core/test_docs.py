"""The examples of the page are run."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "federation.md"


def test_the_examples_of_the_page_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("Interval(lower=3.59")
    assert printed[1] == "(3, 100, 9610)"
    assert printed[2].startswith("Interval(lower=")
