"""Every attack of the catalog: what it says about itself, and that it has controls."""

import dataclasses
import inspect
from pathlib import Path

import pytest

from privassay.accountant.errors import ParameterError
from privassay.attacks import catalog
from privassay.attacks.adversary import ADVERSARIES
from privassay.audit_reports.selftest import run

every_attack = pytest.mark.parametrize("name", sorted(catalog.ATTACKS))


@every_attack
def test_an_attack_states_its_adversary_needs_cost_and_source(name):
    attack = catalog.load(name)
    assert dataclasses.is_dataclass(attack) and attack.__dataclass_params__.frozen
    assert attack.adversaries and set(attack.adversaries) <= set(ADVERSARIES)
    assert attack.needs and all(isinstance(text, str) and text for text in attack.needs)
    assert isinstance(attack.cost, str) and attack.cost
    assert isinstance(attack.source, str) and attack.source
    assert len(attack.__doc__.splitlines()[0]) > 20
    assert list(inspect.signature(attack.score).parameters)[:2] == ["self", "view"]


def test_one_file_each():
    """Two attacks may share a file only where one is the other with another number."""
    homes = {}
    for name, home in catalog.ATTACKS.items():
        homes.setdefault(home.partition(":")[0], []).append(name)
    shared = {module: names for module, names in homes.items() if len(names) > 3}
    assert not shared, shared


def test_every_attack_has_a_positive_and_a_noise_control_and_an_adversary_who_can_run_it():
    found = {}
    for family, control in run.controls():
        assert control.adversary in catalog.load(control.attack).adversaries, (family, control)
        assert callable(control.positive) and callable(control.noise)
        found.setdefault(control.attack, []).append(control)
    assert set(found) == set(catalog.ATTACKS)


def test_the_page_lists_every_attack():
    page = Path(__file__).parents[2] / "docs" / "attacks.md"
    assert catalog.table() in page.read_text(encoding="utf-8"), (
        "docs/attacks.md: paste what `python -m privassay.attacks.catalog` prints"
    )


def test_a_wrong_name_is_an_error_that_names_the_nearest():
    with pytest.raises(ParameterError, match="lira"):
        catalog.load("lyra")
    with pytest.raises(ParameterError, match="rmia"):
        run.controls(["rmja"])
