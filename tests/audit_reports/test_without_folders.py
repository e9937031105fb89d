"""Absolute paths are cut, and what an honest record says can be read again."""

import tomllib

import pytest

from privassay.audit_reports.verify_given import check_given
from privassay.audit_reports.without_folders import without_folders

HONEST = [
    r'title = "Audit \u2013 digits"',
    r'title = "\u00e9tude"',
    r'title = "x \tb"',
    r'title = "two lines (a)\nb"',
    r'title = "a\n\nb"',
    r'title = "a: \\epsilon"',
    r'title = "(\\epsilon, \\delta)"',
    r"title = '$\epsilon$ and $\delta$'",
    r'title = "$\\epsilon$"',
    r'title = "see /a/b\n/c d"',
    r'title = "/a/b\n/c d"',
    r'title = "say \"/x/y\" now"',
    r'title = "say \"/x y/z w\" now"',
    r'title = "/x/y \"q\" z"',
    r'path = "/home/jo smith/\u00e9tude"',
    r"path = 'C:\data\new\'",
    r"path = ['C:\data\', 'C:\new x\b\']",
    r'path = "C:\\data\\new x\\"',
    r"path = '\\server\share\new'",
    r'path = "\\\\server\\share\\new"',
    r'title = "in C:\\a\\b\nmore"',
    'description = """a\\\n   b /x/y\n"""',
]


@pytest.mark.parametrize("given", HONEST)
def test_an_honest_file_says_what_was_run(given):
    resolved = tomllib.loads(given)
    check_given(without_folders(given), [], without_folders(resolved), lambda data: data)
    if "/" not in given and ":\\" not in given and "server" not in given:
        assert without_folders(given) == given, "there is no path in it"


@pytest.mark.parametrize("value", ["a)\nb", "x \tb", "é \n b", "say '/x/y' \"now\"", "/a/b c"])
def test_an_honest_option_says_what_was_run(value):
    changes = without_folders([f"--set title={value!r}"])
    check_given("", changes, without_folders({"title": value}), lambda data: data)


@pytest.mark.parametrize(
    "path",
    [
        "/home/folder/clip",
        "~/folder/clip",
        "~jo/folder/clip",
        r"C:\folder\clip",
        "C:/folder/clip",
        r"C:\\folder\\clip",
        r"\\folder\share\clip",
        r"\\\\folder\\share\\clip",
    ],
)
@pytest.mark.parametrize(
    "words",
    ["{}", 'a = "{}"', "a = '{}'", "a = ['x', '{}']", "# in {} it is", r"say \"{}\" now", "({})",
     r'"first\n{} and"', r'"first\t{}"'],
)  # fmt: skip
def test_folders_are_cut_wherever_they_stand(path, words):
    assert without_folders(words.format(path)) == words.format("clip")
