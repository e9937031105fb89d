"""Pictures that another matplotlib drew are left out, but not what is added in their name."""

import pytest

from privassay.audit_reports.verify_pages import _first_wrong

PAGE = "<p>one</p><svg>{}</svg><p>two</p>"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (PAGE.format("<path/>"), ""),
        (PAGE.format("<path/>") + "<svg>one more</svg>", "shows something else"),
        ("<svg>moved</svg><p>one</p><p>two</p>", "shows something else"),
        ("<p>one</p><p>two</p>", "shows something else"),
        (PAGE.format("<foreignObject><p>safe</p></foreignObject>"), "more than a drawing"),
        (PAGE.format("<script>1</script>"), "more than a drawing"),
        (PAGE.format("<a href='x'>safe</a>"), "more than a drawing"),
    ],
)
def test_pictures_that_are_not_compared(tmp_path, found, words):
    page, wanted = tmp_path / "page.html", tmp_path / "wanted.html"
    page.write_text(found)
    wanted.write_text(PAGE.format("<rect/>"))
    wrong = _first_wrong({"report.html": page}, {"report.html": wanted}, False, True)
    assert words in wrong and bool(words) == bool(wrong), wrong
