"""A kit's file counts the verdicts, so that one error is shared over processes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest

from privassay.accountant import jsonio
from privassay.accountant.errors import DesignError, RecordError
from privassay.audit_reports import record as records
from privassay.audit_reports.one_run import OneRunAudit
from privassay.audit_reports.one_run_book import Asked, Book, enter
from privassay.audit_reports.verify import verify

CLAIM = {"epsilon": 1e-4, "delta": 0.0, "adjacency": "add-remove", "unit": "example"}
FIXED = {"guesses": (50, 50), "method": "guess_count"}


def saved(folder, seed=3, size=200):
    path = folder / f"kit{seed}.json"
    OneRunAudit(np.arange(float(size)), seed=seed).save(path)
    return path


def noise(seed, size=200):
    return np.random.default_rng(seed).normal(size=size)


def ask(path, seed, **options):
    return OneRunAudit.load(path).verdict(
        noise(seed), CLAIM, **{"attack": f"attack {seed}", **FIXED, **options}
    )


def test_a_loaded_kit_remembers_what_was_spent(tmp_path):
    path = saved(tmp_path)
    first = ask(path, 0)
    with pytest.raises(DesignError, match="number 2 from the same coins, and 1 of the allowed"):
        ask(path, 1)
    again = ask(path, 0)  # the same question is free
    assert again.verdict == first.verdict and again.resolved == first.resolved
    for changed in ({"confidence": 0.9}, {"attack": "another"}, {"guesses": (40, 40)}):
        with pytest.raises(DesignError, match="same coins"):
            ask(path, 0, **changed)
    book = json.loads(path.read_text())["verdicts"]
    assert [(one["attack"], one["share"], one["confidence"]) for one in book] == [
        ("attack 0", 1.0, 0.95)
    ]
    assert os.stat(path).st_mode & 0o077 == 0 and os.listdir(tmp_path) == [path.name]


def test_shares_and_numbers_go_on_after_loading(tmp_path):
    path = saved(tmp_path)
    found = [ask(path, seed, share=0.25) for seed in range(4)]
    assert [r.resolved["verdict_number"] for r in found] == [1, 2, 3, 4]
    assert [r.resolved["share_spent_before"] for r in found] == [0.0, 0.25, 0.5, 0.75]
    assert found[0].resolved["verdicts_counted"] == "in the kit's file, from the first one on"
    with pytest.raises(DesignError, match="number 5"):
        ask(path, 4, share=0.01)


def test_the_kit_that_was_saved_and_the_one_that_is_loaded_share_a_book(tmp_path):
    kit, path = OneRunAudit(np.arange(200.0), seed=3), tmp_path / "kit.json"
    kit.verdict(noise(0), CLAIM, share=0.5, attack="before saving", **FIXED)
    kit.save(path)
    with pytest.raises(DesignError, match="count on its own"):
        kit.save(tmp_path / "second.json")
    kit.verdict(noise(1), CLAIM, share=0.25, attack="after saving", **FIXED)
    with pytest.raises(DesignError, match="number 3"):
        ask(path, 2, share=0.5)
    assert ask(path, 2, share=0.25).resolved["share_spent_before"] == 0.75
    with pytest.raises(DesignError, match="number 4"):
        kit.verdict(noise(3), CLAIM, share=0.25, attack="too late", **FIXED)


def test_a_link_to_the_file_is_the_file(tmp_path):
    path = saved(tmp_path)
    (tmp_path / "link.json").symlink_to(path)
    ask(tmp_path / "link.json", 0)
    with pytest.raises(DesignError, match="same coins"):
        ask(path, 1)


def test_no_verdict_without_an_entry(tmp_path):
    path = saved(tmp_path)
    kit = OneRunAudit.load(path)
    path.rename(tmp_path / "moved.json")
    with pytest.raises(DesignError, match="no verdict is given.*(?s:.*)load it again if you moved"):
        kit.verdict(noise(0), CLAIM, **FIXED)
    path.mkdir()
    with pytest.raises(DesignError, match="no verdict is given"):
        kit.verdict(noise(0), CLAIM, **FIXED)
    path.rmdir()
    saved(tmp_path, seed=4).rename(path)
    with pytest.raises(RecordError, match="other coins"):
        kit.verdict(noise(0), CLAIM, **FIXED)
    path.unlink()
    (tmp_path / "moved.json").rename(path)
    assert kit.verdict(noise(0), CLAIM, **FIXED).resolved["verdict_number"] == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written(tmp_path):
    path = saved(tmp_path)
    path.chmod(0o400)
    with pytest.raises(DesignError, match="no verdict is given"):
        ask(path, 0)


def test_an_older_file_starts_a_book_and_says_so(tmp_path):
    path = saved(tmp_path)
    content = json.loads(path.read_text())
    del content["verdicts"], content["verdicts_whole"]
    path.write_text(json.dumps(content))
    first = ask(path, 0, share=0.5)
    assert "earlier ones are not known" in first.resolved["verdicts_counted"]
    second = ask(path, 1, share=0.5)
    assert "earlier ones are not known" in second.resolved["verdicts_counted"]
    with pytest.raises(DesignError, match="number 3"):
        ask(path, 2, share=0.5)


@pytest.mark.parametrize(
    "change",
    [
        {"verdicts": None},
        {"verdicts": [{"question": "q", "attack": "a", "confidence": 0.95, "share": -1.0}]},
        {"verdicts": [{"question": "q", "attack": "a", "confidence": 0.95, "share": float("nan")}]},
        {"verdicts": [{"question": 3, "attack": "a", "confidence": 0.95, "share": 0.5}]},
        {"verdicts": [{"share": 0.5}]},
        {"verdicts_whole": "yes"},
    ],
)
def test_a_damaged_book_is_no_empty_one(tmp_path, change):
    path = saved(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RecordError, match="holds no one-run audit"):
        OneRunAudit.load(path)


ATTACKER = """
import sys
import numpy as np
from pathlib import Path
from privassay.accountant.errors import DesignError
from privassay.audit_reports.one_run_book import Asked, enter
path, seal, name = sys.argv[1:]
given = 0
for number in range(40):
    try:
        enter(Path(path), seal, Asked(question=f"{name}{number}", attack=name, confidence=0.95,
                                      share=1 / 64))
        given += 1
    except DesignError as error:
        assert "same coins" in str(error), error
print(given)
"""


def test_processes_at_the_same_time_spend_no_more_than_there_is(tmp_path):
    path = saved(tmp_path)
    seal = OneRunAudit.load(path).seal
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ATTACKER, str(path), seal, name], stdout=subprocess.PIPE
        )
        for name in "ab"
    ]
    given = [int(process.communicate(timeout=60)[0]) for process in running]
    assert sum(given) == 64, given
    assert len(json.loads(path.read_text())["verdicts"]) == 64


@pytest.mark.parametrize("share", [1.0, pytest.param(0.05, marks=pytest.mark.slow)])
def test_twenty_attacks_on_a_kit_refute_a_correct_claim_at_the_nominal_rate(tmp_path, share):
    """Nothing leaks; each attack reads the kit from its file, as its own process would."""
    kits, false = 40, 0
    for seed in range(kits):
        path, words = saved(tmp_path, seed), []
        for attack in range(20):
            try:
                words.append(ask(path, 1000 * seed + attack, share=share).verdict.word)
            except DesignError as error:
                assert "same coins" in str(error)
        assert len(words) == (1 if share == 1.0 else 20)
        false += "REFUTED" in words
    # forgotten shares give 0.64 of the kits
    test = binomtest(false, kits, 0.05, alternative="greater")
    assert test.pvalue > 1e-3, f"{false} of {kits} kits"


def test_verify_reads_what_was_spent(tmp_path):
    path = saved(tmp_path)
    ask(path, 0, share=0.5)
    record, file = ask(path, 1, share=0.5), tmp_path / "record.json"
    records.write(record, file)
    assert any("overall verdict" in line for line in verify(file))
    for changes in ({"share_spent_before": 0.75}, {"share_of_the_error": 0.25}):
        data = jsonio.dump(record)
        data["resolved"].update(changes)
        data["digest"] = records.content_digest(data)
        file.write_text(jsonio.canonical(data))
        with pytest.raises(RecordError, match="allowed error"):
            verify(file)
    data = jsonio.dump(record)
    for name in ("share_spent_before", "verdicts_counted"):  # as before there was a book
        del data["resolved"][name]
    data["digest"] = records.content_digest(data)
    file.write_text(jsonio.canonical(data))
    assert verify(file)


def test_the_book(tmp_path):
    one = Asked(question="q", attack="a", confidence=0.95, share=0.75)
    two = Asked(question="r", attack="a", confidence=0.95, share=0.25)
    book = Book().entered(one).entered(two)
    assert (book.number(one), book.number(two)) == (1, 2)
    assert (book.before(one), book.before(two)) == (0.0, 0.75)
    assert book.entered(one) is book
    with pytest.raises(DesignError, match="1 of the allowed error is spent"):
        book.entered(Asked(question="s", attack="a", confidence=0.95, share=1e-6))
    with pytest.raises(DesignError, match="share must be"):
        Asked(question="s", attack="a", confidence=0.95, share=0.0)
    with pytest.raises(DesignError, match="no verdict is given"):
        enter(tmp_path / "nothing.json", "seal", one)
