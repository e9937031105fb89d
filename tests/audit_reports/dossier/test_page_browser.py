"""The pages in a real browser, with the network off."""

import pytest

from privassay.audit_reports.dossier.build import SYSTEMS
from privassay.audit_reports.dossier.page import render

from ..browser import Browser, find_chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no chromium"),
]

# Boxes that stick out of their column, and neighbours in a row that overlap.
OVERLAPS = """
(() => {
  const found = [];
  for (const row of document.querySelectorAll("tr, .bar, dl > div")) {
    const cells = [...row.children].filter(c => c.getBoundingClientRect().width > 0);
    for (const cell of cells)
      if (cell.scrollWidth > cell.clientWidth + 1 && !cell.closest(".axis"))
        found.push("sticks out: " + cell.textContent.slice(0, 60));
    for (let i = 1; i < cells.length; i++) {
      const a = cells[i - 1].getBoundingClientRect(), b = cells[i].getBoundingClientRect();
      if (a.right > b.left + 1 && a.bottom > b.top + 1 && b.bottom > a.top + 1)
        found.push("overlaps: " + cells[i].textContent.slice(0, 60));
    }
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dossiers")
    for system in SYSTEMS:
        (folder / f"{system}.html").write_text(render(made[system]), encoding="utf-8")
    return folder


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 420])
@pytest.mark.parametrize("system", SYSTEMS)
def test_nothing_overlaps_overflows_or_complains(browser, pages, system, width, dark):
    path = pages / f"{system}.html"
    browser.open(path, width=width, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(OVERLAPS) == []
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
