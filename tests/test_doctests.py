"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import privassay


def modules():
    for folder in ("accountant", "mechanisms", "fl_core", "attacks", "audit_reports"):
        package = importlib.import_module(f"privassay.{folder}")
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            yield found.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_doctests(name):
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.attempted} examples of {name}"


def test_there_are_examples():
    found = [doctest.DocTestFinder().find(importlib.import_module(name)) for name in modules()]
    assert sum(bool(test.examples) for tests in found for test in tests) > 30
    assert privassay.__doc__
