import json

from privassay.accountant.bounds import Interval
from privassay.audit_reports import run
from privassay.audit_reports.reporter import Silent
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


def test_results_of_other_inputs_are_removed_once_there_are_new_ones_and_not_unsaid(
    tmp_path,
):
    Stages(tmp_path, "a" * 64, print).json("x", Interval, lambda: Interval(0, 1))
    (old,) = tmp_path.iterdir()
    heard = []
    stages = Stages(tmp_path, "b" * 64, heard.append)
    assert list(tmp_path.iterdir()) == [old], "nothing has taken its place yet"
    assert len(heard) == 1 and "replaces the results of another file" in heard[0]
    assert str(tmp_path.parent) in heard[0]
    stages.json("x", Interval, lambda: Interval(0, 2))
    (new,) = tmp_path.iterdir()
    assert new != old
    Stages(tmp_path, "b" * 64, heard.append)
    assert len(heard) == 1, "these are the results of the same inputs"


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
        b"\xff\xfe\x00",
        "[" * 100_000,
        '{"sha256": "0", "value": ' + "9" * 5000 + "}",
    ):
        path.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
        found = stages.json("x", Interval, lambda: Interval(0, 3))
        assert found == Interval(0, 3), damage
        path.write_text("")


def test_a_run_says_that_it_takes_the_place_of_another(tmp_path):
    class Heard(Silent):
        said = ()

        def say(self, text):
            self.said += (text,)

    heard = Heard()
    for inputs, count in (("a", 0), ("a", 0), ("b", 1)):
        run._prepare_ledgers(tmp_path, inputs, heard)
        assert len(heard.said) == count, (inputs, heard.said)
    assert f"data or code: {tmp_path}" in heard.said[0]
