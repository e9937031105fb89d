import csv
import dataclasses
import math
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from privassay.accountant.errors import ConfigError, RecordError
from privassay.audit_reports import figures
from privassay.audit_reports.record import parse
from privassay.audit_reports.render import outcomes, reading
from privassay.audit_reports.render.folder import write_report
from privassay.audit_reports.render.html import extract_record, render
from privassay.audit_reports.render.pdf import write_pdf
from privassay.audit_reports.render.tables import write_tables
from privassay.audit_reports.render.terminal import box, summary
from privassay.audit_reports.text import at_least, at_most

from .sample import (
    DELTA,
    HOSTILE,
    TRAP,
    sample_attack,
    sample_claim,
    sample_mechanism,
    sample_record,
    shared_record,
)

VOID = {"meta", "img", "br", "link", "input", "hr"}
SVG_NAMES = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")


class Page(HTMLParser):
    """Elements, attributes and visible text; complains about elements closed out of order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.open, self.faults = [], [], [], []
        self.feed(text)
        self.close()
        self.faults += self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(autouse=True)
def private_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path_factory.getbasetemp() / "report-cache"))


@pytest.fixture(scope="module")
def record():
    return shared_record()


@pytest.fixture(scope="module")
def report(record):
    return render(record)


@pytest.fixture(scope="module")
def page(report):
    return Page(report)


# The file.


def test_is_one_small_well_formed_file(report, page):
    assert len(report.encode()) < 1024 * 1024
    assert page.faults == []
    assert page.all("html")[0]["lang"] == "en"
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids)), "ids of two figures collide"


def test_asks_for_nothing(report, page):
    rest = report
    for name in SVG_NAMES:
        rest = re.sub(rf'xmlns(:xlink)?="{name}"', "", rest)
    assert not re.search(r"https?://|@import|\burl\((?!#)", rest)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "data", "action", "poster"):
                assert value.startswith("data:image/png;base64,"), (tag, name, value[:40])
            if name in ("href", "xlink:href"):
                assert value.startswith("#"), (tag, value)
    policy = next(a for a in page.all("meta") if "http-equiv" in a)["content"]
    assert policy.startswith("default-src 'none';")
    assert "'self'" not in policy and "http" not in policy


def test_links_lead_somewhere(page):
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert {a["href"][1:] for a in page.all("a")} <= ids
    assert page.all("a")[0] == {"class": "skip", "href": "#verdict"}


def test_hostile_text_stays_text(report, page):
    scripts = page.all("script")
    assert len(scripts) == 2, "the record and the sorting, nothing else"
    assert all(a["src"].startswith("data:") for a in page.all("img"))
    assert not any(tag == "b" for tag, _ in page.tags)
    shown = "".join(page.text)
    # in title, description, claim, question, case, limits, hashes, config and resolved config
    assert shown.count("<script>alert(1)</script>") > 20
    assert "{{ 7*7 }}" in shown and TRAP.split("\u202e")[0] in shown
    assert "49" not in re.findall(r"é|\{\{.{1,8}", shown)
    assert HOSTILE in shown


def test_the_record_comes_back_exactly(report, record):
    assert extract_record(report) == record.text()
    assert parse(extract_record(report)) == record


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "<\\/", "\\u003c!--", "\\\\/</"])
def test_any_title_comes_back(text):
    record = sample_record(title=text, mechanisms=(), utility=(), inversion=())
    html = render(record, {})
    assert extract_record(html) == record.text()
    assert Page(html).faults == []


def test_a_report_without_its_record_is_refused(report):
    with pytest.raises(RecordError, match="no audit record,"):
        extract_record(report.replace('id="privassay-record"', ""))
    with pytest.raises(RecordError, match="2 audit records"):
        extract_record(report + report)
    with pytest.raises(RecordError, match="cut off"):
        extract_record(report[: report.index("privassay-record") + 500])


def test_same_record_same_bytes(report, record):
    assert render(parse(record.text())) == report


def test_own_settings_of_a_reader_change_no_page(report, record):
    """Else `verify` would find another page in an honest folder."""
    import matplotlib

    with matplotlib.rc_context({"lines.linewidth": 7.0, "axes.grid": True, "xtick.major.size": 9}):
        assert render(record) == report
        assert matplotlib.rcParams["lines.linewidth"] == 7.0


def test_sections_in_order(page, report):
    numbers = [int(n) for n in re.findall(r'<span class="n">(\d+)</span>', report)]
    assert numbers == list(range(15))


def test_sections_without_data_are_left_out(report):
    bare = render(sample_record(utility=(), equal_power=(), inversion=(), hazards=(), limits=()))
    numbers = [int(n) for n in re.findall(r'<span class="n">(\d+)</span>', bare)]
    assert numbers == list(range(10)), "numbered without gaps"


def test_tables_and_figures_are_accessible(report, page):
    assert len(page.all("svg")) == 7
    assert report.count("<svg ") == len(re.findall(r"<svg [^>]*>\s*<title id=", report))
    assert report.count("Data of this figure") == 7
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    assert all(a.get("alt") for a in page.all("img"))
    assert "not stated" in "".join(page.text)


# Rounding, words.


def test_lower_bounds_are_printed_down_and_upper_bounds_up(record, page):
    shown = "".join(page.text)
    for row in record.mechanisms:
        assert at_most(row.proven_epsilon.upper) in shown
        for attack in row.attacks:
            lower = attack.bound.epsilon_lower_gaussian
            assert at_least(lower) in shown
            assert float(at_least(lower)) <= lower
    for row in record.utility:
        inside = re.search(r"\[(.*), (.*)\]", outcomes.accuracy(row))
        assert float(inside[1]) <= row.lower <= row.upper <= float(inside[2])


def test_no_word_promises_privacy(report, page):
    shown = "".join(page.text).lower()
    for word in ("is private", "is safe", "passed", "\u2713", "\u2714", "\u2705"):
        assert word not in shown, word


def test_box_has_five_lines_that_fit(record):
    lines = box(record)
    assert [line.split()[0] for line in lines] == [
        "VERDICT",
        "claim",
        "proven",
        "measured",
        "controls",
    ]
    assert all(len(line) <= 100 for line in lines), lines
    assert lines[0].startswith("VERDICT   CONSISTENT (exit 0)")
    assert "power 0.9" in lines[3], "an absence is always paired with its power"
    rows = summary(record)
    assert len(rows) == 5 and all(len(row) <= 120 for row in rows)
    assert "proven mu <= inf" in rows[4] and rows[4].endswith("  expected")


def test_terminal_takes_no_control_characters():
    row = sample_mechanism("igpp", proven_mu=0.5, true_mu=0.5)
    row = dataclasses.replace(row, name="\x1b[31mred\nline" + "x" * 300)
    record = sample_record(mechanisms=(row,))
    lines = [*summary(record), *box(record)]
    assert len(lines) == 6
    assert all(line.isprintable() and len(line) <= 120 for line in lines)


def test_a_failed_control_is_said():
    row = sample_mechanism("noise_halved", proven_mu=0.5, true_mu=0.5, expect="REFUTED", seed=9)
    record = sample_record(mechanisms=(row,))
    assert "UNEXPECTED, not REFUTED" in summary(record)[0]
    assert "1 of 1 NOT as expected" in box(record)[4]
    assert "NOT as expected" in render(record)


def test_outside_the_claim_refutes_nothing():
    claim = sample_claim(adversaries=("outsider",))
    row = sample_mechanism("igpp", proven_mu=0.5, true_mu=2.0, claim=claim)
    record = sample_record(claim=claim, mechanisms=(row,))
    assert "no attack on a subject" in box(record)[3]
    assert "refutes nothing" in figures.tradeoff(record, row).conclusion
    assert "OUTSIDE: refutes nothing" in render(record)


@pytest.mark.parametrize(
    ("psnr", "control", "words"),
    [
        (19.0, 12.0, "7 dB more than the control: leakage"),
        (12.5, 12.0, "too little"),
        (12.0, 12.0, "no leakage shown"),
        (11.0, 12.0, "class-typical, no leakage shown"),
    ],
)
def test_inversion_gap_in_words(record, psnr, control, words):
    row = dataclasses.replace(record.inversion[0], psnr=psnr, control_psnr=control)
    assert words in outcomes.leakage(row)
    assert outcomes.leaks(row) == ("control: leakage" in outcomes.leakage(row))


def test_a_positive_control_that_fails_is_said(record):
    row = dataclasses.replace(record.inversion[0], psnr=10.0, control_psnr=12.0)
    said = " ".join(outcomes.inversion_readings(dataclasses.replace(record, inversion=(row,))))
    assert "the attack has no power there" in said and "up to 2 dB" in said


def test_damaged_pictures_are_not_shown(record):
    bad = ('" onerror="alert(3)', "iVBORw0KGgo<", "R0lGOD")
    row = dataclasses.replace(record.inversion[0], pictures=bad)
    page = Page(render(dataclasses.replace(record, inversion=(row,)), {}))
    assert page.all("img") == []
    assert page.text.count("not shown") == 3


def test_utility_reading_follows_the_intervals(record):
    said = " ".join(outcomes.utility_readings(record))
    assert "vpp is ahead" in said
    assert "igpp is below; " not in said  # vpp overlaps or is below too, and is listed in order
    assert "No private mechanism beats it." in said


# Figures.


def test_figures_stand_alone(record):
    for name, drawing in figures.all_figures(record).items():
        root = ET.fromstring(drawing.svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root[0].tag.endswith("title") and root[0].text
        assert "<text" in drawing.svg, "text as text"
        assert not re.search(r"<metadata|dc:date|/work|/home|site-packages", drawing.svg)
        assert drawing.conclusion and "\n" not in drawing.conclusion
        assert drawing.rows and all(len(row) == len(drawing.header) for row in drawing.rows)
        assert len(drawing.svg) < 80_000, name


def test_certified_curve_is_below_what_was_counted(record):
    bound = record.mechanisms[0].attacks[0].bound
    x, y = figures.certified_curve(bound)
    assert len(x) == len(bound.roc) and (y[1:] >= y[:-1]).all()
    for rate in (0.02, 0.1, 0.5):
        assert y[x <= rate].max() < figures.raw_tpr(bound, rate)
    assert figures.raw_tpr(bound, 0.001) is None, "2 false positives carry nothing"
    assert figures.raw_curve(bound)[0].min() * bound.n_out >= figures.FEWEST


def test_certified_curve_agrees_with_the_verdict():
    """The drawn curve leaves the drawn region exactly if the bound refutes the claim."""
    claim, seen = sample_claim(), set()
    for true_mu, seed in ((0.5, 1), (0.7, 2), (0.8, 3), (1.2, 4)):
        bound = sample_attack(claim, "informed_linear", "server", true_mu, seed).bound
        x, y = figures.certified_curve(dataclasses.replace(bound))
        pairs = zip(x, y, strict=True)
        outside = any(b > figures.allowed_tpr(claim, float(a)) for a, b in pairs)
        assert outside == bound.refutes(claim), (true_mu, bound)
        seen.add(outside)
    assert seen == {True, False}


def test_other_estimators_certify_one_point_only(record):
    bound = dataclasses.replace(record.mechanisms[0].attacks[0].bound, method="split")
    x, y = figures.certified_curve(bound)
    assert (list(x), list(y)) == ([bound.fpr_upper], [1.0 - bound.fnr_upper])


@pytest.mark.parametrize(
    ("proven_mu", "true_mu"), [(math.inf, 30.0), (0.5, 0.0), (math.inf, 0.0), (60.0, 1.0)]
)
def test_extreme_rows_render(proven_mu, true_mu):
    row = sample_mechanism("none", proven_mu=proven_mu, true_mu=true_mu, seed=11)
    record = sample_record(mechanisms=(row,), utility=())
    drawn = figures.all_figures(record)
    assert set(drawn) == {"tradeoff-1-none", "bounds"}
    if math.isinf(proven_mu):
        assert "proven &lt;= inf" in drawn["bounds"].svg
        assert "nothing is proven" in " ".join([*box(record), drawn["tradeoff-1-none"].conclusion])
    assert Page(render(record, drawn)).faults == []


@pytest.mark.parametrize(
    "changes", [{"curve": "point"}, {"epsilon": None, "delta": None, "curve": "point", "mu": 0.5}]
)
def test_other_claims_render(changes):
    claim = sample_claim(**changes)
    row = sample_mechanism("igpp", proven_mu=0.4, true_mu=0.4, claim=claim, seed=12)
    mu = claim.gaussian_mu() if claim.is_curve else None
    record = sample_record(claim=claim, claimed_mu=mu, mechanisms=(row,))
    assert Page(render(record)).faults == []
    assert reading.measured(record, row.attacks[0]) == (
        row.attacks[0].bound.epsilon_lower_gaussian
        if claim.is_curve
        else row.attacks[0].bound.epsilon_lower
    )


def test_an_empty_record_renders():
    record = sample_record(
        mechanisms=(), utility=(), equal_power=(), inversion=(), hazards=(), limits=()
    )
    assert Page(render(record)).faults == []
    assert len(box(record)) == 5 and summary(record) == []


def test_a_mechanism_without_attacks_renders():
    row = dataclasses.replace(
        sample_mechanism("igpp", proven_mu=0.5, true_mu=0.5), attacks=(), name="../_$x^"
    )
    record = sample_record(mechanisms=(row,))
    assert Page(render(record)).faults == []
    assert figures.tradeoff_name(1, row) == "tradeoff-1----_-x-"


# Files.


def test_folder(record, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "tradeoff-9-old.svg").write_text("old")
    write_report(record, tmp_path)
    first = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    names = {p.relative_to(tmp_path).as_posix() for p in first}
    assert {"report.html", "figures/bounds.svg", "figures/utility.svg"} <= names
    assert {"tables/bounds.csv", "tables/utility.csv", "tables/inversion.csv"} <= names
    assert not any("old" in n or "partial" in n for n in names)
    write_report(record, tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == first


def test_tables(record, tmp_path):
    written = write_tables(record, tmp_path)
    assert [p.name for p in written] == ["bounds.csv", "utility.csv", "inversion.csv"]
    data = (tmp_path / "bounds.csv").read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n") == 11
    with open(tmp_path / "bounds.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert (
        float(rows[0]["proven_epsilon_upper (nats)"]) == record.mechanisms[0].proven_epsilon.upper
    )
    assert float(rows[-1]["proven_mu_upper (no unit)"]) == math.inf
    assert {float(r["delta (probability)"]) for r in rows} == {DELTA}
    assert "iVBOR" not in (tmp_path / "inversion.csv").read_text(encoding="utf-8")
    renamed = dataclasses.replace(record.utility[0], variant="=1+1")
    write_tables(dataclasses.replace(record, utility=(renamed,), inversion=()), tmp_path)
    assert "'=1+1," in (tmp_path / "utility.csv").read_text(encoding="utf-8")
    assert not (tmp_path / "inversion.csv").exists()


def test_pdf_without_weasyprint(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(ConfigError, match=r"pip install 'privassay\[pdf\]'"):
        write_pdf("<p>", tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []
