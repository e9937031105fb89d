"""The code of docs/probes.md runs and prints what the page says; its probes are the probes."""

import doctest
import re
from pathlib import Path

from privassay.mechanisms.probes.run import Hook, probe

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "probes.md").read_text()


def test_the_examples_print_what_the_page_says():
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.S))
    parsed = doctest.DocTestParser().get_doctest(code, {}, "docs/probes.md", None, 0)
    runner = doctest.DocTestRunner()
    runner.run(parsed)
    assert len(parsed.examples) >= 8 and runner.summarize(verbose=False).failed == 0


def test_the_table_of_probes_is_complete():
    import torch

    bare = probe(Hook(step=lambda x, key: {"out": x + key.normal(3)}, data=torch.zeros(3).double(),
                      neighbour=torch.ones(3).double()))  # fmt: skip
    names = {f.probe for f in bare.findings} | {s.probe for s in bare.skipped}
    names -= {"unknown options", "branches"}  # parts of flag truthfulness
    rows = set(re.findall(r"^\| ([a-z ]+) \|", PAGE.split("## Every")[0], flags=re.M)) - {"probe"}
    assert rows == names
