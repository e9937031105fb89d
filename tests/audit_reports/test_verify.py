"""`verify` must notice any change, and must recompute rather than trust the digest."""

import json
import re
from dataclasses import replace

import pytest

from privassay.accountant.bounds import Interval
from privassay.accountant.errors import RecordError
from privassay.audit_reports import record as records
from privassay.audit_reports.sums import check_sums, write_sums
from privassay.audit_reports.verify import load, verify


def test_folder_record_and_report_verify(finished):
    for path in (finished, finished / "record.json", finished / "report.html"):
        assert any("verdict" in line for line in verify(path)), path


def test_every_single_changed_digit_is_noticed(finished, tmp_path):
    text = (finished / "record.json").read_text()
    places = [m.start() for m in re.finditer(r"\d", text)]
    path = tmp_path / "record.json"
    for place in places[:: max(1, len(places) // 400)]:
        digit = str((int(text[place]) + 1) % 10)
        path.write_text(text[:place] + digit + text[place + 1 :])
        with pytest.raises(RecordError):
            verify(path)


def test_a_last_digit_that_changes_no_number_is_noticed_too(finished, tmp_path):
    text = (finished / "record.json").read_text()
    path = tmp_path / "record.json"
    same = 0
    for match in re.finditer(r"\d\.\d{15,}", text):
        end = match.end() - 1
        for digit in "0123456789":
            changed = text[:end] + digit + text[end + 1 :]
            if changed != text and json.loads(changed) == json.loads(text):
                same += 1
                path.write_text(changed)
                with pytest.raises(RecordError):
                    verify(path)
    assert same > 0, "no such digit in this record: the test shows nothing"


def test_a_changed_digit_in_the_report_is_noticed(finished, tmp_path):
    text = (finished / "report.html").read_text()
    place = text.index('"mu_lower": ') + len('"mu_lower": ')
    path = tmp_path / "report.html"
    path.write_text(text[:place] + "9" + text[place + 1 :])
    with pytest.raises(RecordError, match="changed after it was written"):
        verify(path)


def forge(record, **changes):
    """A forger who seals the record again: only recomputation can tell."""
    row = record.mechanisms[0]
    attack = row.attacks[0]
    bound = replace(attack.bound, **changes.pop("bound", {}))
    attack = replace(attack, bound=bound, **changes.pop("attack", {}))
    attacks = {"attacks": (attack, *row.attacks[1:])}
    row = replace(row, **(attacks | changes.pop("row", {})))
    return replace(record, mechanisms=(row, *record.mechanisms[1:]), **changes).sealed()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: {"bound": {"mu_lower": 0.1}}, "mu"),
        (lambda r: {"bound": {"epsilon_lower": 0.1}}, "epsilon"),
        (lambda r: {"bound": {"epsilon_lower_gaussian": 0.1}}, "Gaussian curve"),
        (lambda r: {"bound": {"fpr_upper": 0.5}}, "FPR limit"),
        (lambda r: {"bound": {"rate_level": 0.02}}, "miss with probability"),
        (lambda r: {"bound": {"confidence": 0.5}}, "spend"),
        (lambda r: {"row": {"proven": replace(r.proven, mu=Interval(0.1, 0.1))}}, "proven mu"),
        (lambda r: {"row": {"proven_epsilon": Interval(0.1, 0.1)}}, "proven epsilon"),
        (lambda r: {"row": {"profile": ((1.0, 0.0),)}}, "delta(1)"),
        (
            lambda r: {"row": {"verdict": replace(r.verdict, word="REFUTED")}},
            "verdict",
        ),
        (lambda r: {"row": {"releases": 0}}, "verdict"),
        (lambda r: {"row": {"expect": "CONSISTENT"}}, "mechanisms"),
        (lambda r: {"row": {"attacks": ()}}, "attacks"),
        (
            lambda r: {"row": {"verdict": replace(r.verdict, sentence="the system is safe")}},
            "verdict",
        ),
        (
            lambda r: {"row": {"proven": replace(r.proven, group_size=100)}},
            "group size",
        ),
        (lambda r: {"power_multiple": 2.9}, "power multiple"),
        (lambda r: {"claimed_mu": Interval(0.1, 0.1)}, "claimed mu"),
        (lambda r: {"seed": 99}, "seed"),
        (lambda r: {"bound": {"method": "magic"}}, "magic"),
        (
            lambda r: {"attack": {"power": replace(r.attacks[0].power, mu=0.93, multiple=1.01)}},
            "power",
        ),
        (lambda r: {"attack": {"attainable_mu": 5.0}}, "farther apart"),
        (lambda r: {"bound": {"ceiling_mu": 0.1}}, "mu without any error"),
        (lambda r: {"bound": {"ceiling_epsilon": 0.1}}, "epsilon without any error"),
        (lambda r: {"bound": {"guarantee": "asymptotic"}}, "guarantee"),
        (lambda r: {"bound": {"roc": ()}}, "curve"),
        (lambda r: {"bound": {"roc": r.attacks[0].bound.roc[:-1]}}, "curve"),
        (lambda r: {"attack": {"auc": 0.1}}, "area"),
        (lambda r: {"attack": {"sees": "nothing"}}, "sees"),
        (lambda r: {"attack": {"optimal": not r.attacks[0].optimal}}, "optimal"),
        (lambda r: {"row": {"assumptions": (r.assumptions[0], *r.assumptions[2:])}}, "assumptions"),
        (lambda r: {"attack": {"error_share": 0.1}}, "share"),
        (lambda r: {"row": {"parameters": r.parameters | {"rounds": 99}}}, "rounds"),
        (lambda r: {"row": {"parameters": {}}}, "parameters"),
        (lambda r: {"row": {"description": "the best of all"}}, "mechanisms"),
        (lambda r: {"hazards": ()}, "hazards"),
        (lambda r: {"limits": ()}, "limits"),
        (lambda r: {"utility": ()}, "utility"),
        (lambda r: {"given": "title = 'x'"}, "given"),
        (lambda r: {"given": "title = "}, "given"),
        (lambda r: {"changes": ("--set seed=99",)}, "seed"),
        (lambda r: {"changes": ("--only mine",)}, "(given, changes)"),
        (lambda r: {"changes": ("--set seed=__import__('os')",)}, "given"),
    ],
)
def test_forged_numbers_are_recomputed(finished, tmp_path, change, words):
    record = load(finished)
    path = tmp_path / "record.json"
    path.write_text(forge(record, **change(record.mechanisms[0])).text())
    with pytest.raises(RecordError) as caught:
        verify(path)
    assert words in str(caught.value), caught.value


def test_a_forged_overall_verdict_is_recomputed(finished, tmp_path):
    record = load(finished)
    forged = replace(record, verdict=replace(record.verdict, word="REFUTED")).sealed()
    path = tmp_path / "record.json"
    path.write_text(forged.text())
    with pytest.raises(RecordError, match="overall verdict"):
        verify(path)


def test_files_of_the_run_are_checked(copy):
    victim = copy / "ledger" / "mine.jsonl"
    victim.write_bytes(victim.read_bytes() + b"\n")
    with pytest.raises(RecordError, match="ledger/mine.jsonl was changed"):
        verify(copy)
    victim.unlink()
    with pytest.raises(RecordError, match="missing"):
        verify(copy)


def test_sums_name_only_files_inside(tmp_path):
    (tmp_path / "ledger").mkdir()
    for name in ("record.json", "report.html", "ledger/INPUTS", "mine.txt"):
        (tmp_path / name).write_text("a")
    write_sums(tmp_path)
    assert check_sums(tmp_path) == 3, "a file that no run writes is not part of it"
    good = (tmp_path / "SHA256SUMS").read_text()
    (tmp_path / "SHA256SUMS").write_text("")
    with pytest.raises(RecordError, match="does not cover"):
        check_sums(tmp_path)
    (tmp_path / "SHA256SUMS").write_text(good + "00  ../outside\n")
    with pytest.raises(RecordError, match="outside"):
        check_sums(tmp_path)
    for name in ("a\0b", "a" * 5000):
        (tmp_path / "SHA256SUMS").write_text(f"{good}00  {name}\n")
        with pytest.raises(RecordError, match="no file can be called"):
            check_sums(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"schema_version": 99}', '{"schema_version": 1}', "\x00"]
)
def test_what_is_no_record_is_an_error(text, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RecordError):
        verify(path)


def test_unknown_fields_are_refused_even_with_a_right_digest(finished, tmp_path):
    data = json.loads((finished / "record.json").read_text())
    data["extra"] = 1
    data["digest"] = records.content_digest(data)
    path = tmp_path / "record.json"
    path.write_text(records.jsonio.canonical(data))
    with pytest.raises(RecordError):
        verify(path)


def test_a_ledger_that_gives_another_event_is_noticed_even_with_new_sums(copy):
    path = copy / "ledger" / "mine.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    write_sums(copy)
    with pytest.raises(RecordError, match="releases"):
        verify(copy)


def test_a_record_whose_attack_found_nothing_verifies(tmp_path):
    """Limits that give a negative mu are recorded as 0; recomputing must do the same."""
    from pathlib import Path

    from privassay.audit_reports.run import run

    template = Path(records.__file__).parent / "templates" / "audit.toml"
    weak = [{"name": "prototype_distance", "adversary": "peer", "trials": 200}]
    record = run(
        template,
        out=tmp_path,
        only="mine",
        overrides={"attack": weak, "training.seeds": 2, "training.local_epochs": 1},
    )
    (attack,) = record.mechanism("mine").attacks
    assert attack.bound.mu_lower == 0.0 and record.verdict.word == "INCONCLUSIVE"
    assert verify(tmp_path)
