import json

from privassay.accountant.bounds import Interval
from privassay.audit_reports.stages import Stages


def test_a_stage_is_computed_once_per_inputs(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return Interval(0.1, float("inf"))

    for inputs, total in (("a" * 64, 1), ("a" * 64, 1), ("b" * 64, 2), ("b" * 64, 2)):
        found = Stages(tmp_path, inputs, lambda text: None).json("x", Interval, compute)
        assert found == Interval(0.1, float("inf"))
        assert len(calls) == total, (inputs, calls)


def test_results_of_other_inputs_are_removed(tmp_path):
    Stages(tmp_path, "a" * 64, print).json("x", Interval, lambda: Interval(0, 1))
    Stages(tmp_path, "b" * 64, print)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_result_is_computed_again(tmp_path):
    stages = Stages(tmp_path, "a" * 64, lambda text: None)
    stages.json("x", Interval, lambda: Interval(0.0, 1.0))
    (path,) = tmp_path.iterdir()
    for damage in (
        "{",
        "[]",
        "{}",
        path.read_text().replace("1.0", "2.0"),
        json.dumps({"sha256": "0", "value": {"lower": 0, "upper": 5}}),
    ):
        path.write_text(damage)
        found = stages.json("x", Interval, lambda: Interval(0, 3))
        assert found == Interval(0, 3), damage
        path.write_text("")
