"""The report in a real browser, with the network off."""

import pytest

from privassay.audit_reports.render.html import render

from .browser import Browser, find_chromium
from .sample import shared_record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no chromium"),
]


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render(shared_record()), encoding="utf-8")
    return file


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 400])
def test_fits_and_does_not_complain(browser, path, width, dark):
    browser.open(path, width=width, dark=dark)
    page = "document.documentElement"
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate(f"{page}.scrollWidth") <= width
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]


def test_hostile_text_did_not_run(browser, path):
    browser.open(path, width=1200)
    assert browser.evaluate("document.scripts.length") == 2
    assert browser.evaluate("document.querySelectorAll('section').length") == 15
    assert browser.evaluate("document.title").endswith("\\u003c")
    text = "JSON.parse(document.getElementById('privassay-record').textContent).title"
    assert browser.evaluate(text) in browser.evaluate("document.title")
    loaded = "Array.from(document.images).every(i => i.complete && i.naturalWidth === 28)"
    assert browser.evaluate(loaded)


def test_tables_sort(browser, path):
    browser.open(path, width=1200)
    head = "document.querySelectorAll('#verdict thead button')[4]"
    cells = (
        "Array.from(document.querySelectorAll('#verdict tbody tr'))"
        ".map(r => parseFloat(r.cells[4].textContent.replace('inf', '1e9')))"
    )
    browser.evaluate(f"{head}.click()")
    found = browser.evaluate(cells)
    assert found == sorted(found) and len(found) == 5
    browser.evaluate(f"{head}.click()")
    assert browser.evaluate(cells) == sorted(found, reverse=True)


def test_readable_without_script(browser, path):
    browser.open(path, width=1200, script=False)
    root = browser.call("DOM.getDocument", depth=0)["root"]["nodeId"]
    html = browser.call("DOM.getOuterHTML", nodeId=root)["outerHTML"]
    assert "<button" not in html and html.count("<svg ") == 7
