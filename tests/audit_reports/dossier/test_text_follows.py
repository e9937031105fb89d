"""No number is typed: change a parameter of the system, and captions, readings and rows follow."""

import re
from dataclasses import replace

import pytest

from privassay.audit_reports.dossier import (
    dp_fedlora,
    dp_fedlora_factors,
    dp_fpl,
    dp_fpl_noise,
    secfpp,
    vpdr,
    vpdr_leaks,
    vpdr_noise,
)
from privassay.audit_reports.dossier.sections import number
from privassay.audit_reports.lint import reader


def words(table):
    """All text of a table that is not a row's number."""
    labels = [cell for row in table.rows for cell in row if isinstance(cell, str)]
    return " ".join([table.caption, table.reading, *table.header, *labels])


def numbers(table):
    return [c for row in table.rows for c in row[1:] if not isinstance(c, str)]


def has(text, value):
    """Whether the number stands in the text by itself, not inside another one."""
    return re.search(rf"(?<![\d.,]){re.escape(value)}(?![\d]|[.,]\d)", text) is not None


@pytest.mark.parametrize(
    ("part", "old", "changed", "gone", "there"),
    [
        (vpdr.sigmas, vpdr.RELEASED, {"rounds": 7}, ["20"], ["7"]),
        pytest.param(vpdr.totals, vpdr.RELEASED, {"rounds": 7}, ["20"], ["7"],
                     marks=pytest.mark.slow),
        (vpdr.sigmas, vpdr.RELEASED, {"delta": 1e-6}, ["1e-05"], ["1e-06"]),
        (vpdr.counterexample, vpdr.RELEASED, {"delta": 1e-6}, ["1e-05"], ["1e-06"]),
        (vpdr.counterexample, vpdr.RELEASED, {"fraction": 0.2}, ["38 %", "1.883"], ["0.2"]),
        (vpdr.attack_ceilings, vpdr.RELEASED, {"delta": 1e-6}, ["1e-05"], ["1e-06"]),
        (vpdr_noise.noise_ratios, vpdr.RELEASED, {"fraction": 0.2}, ["154", "12.6", "38"], ["103"]),
        (vpdr_noise.choice, vpdr.RELEASED, {"rounds": 7}, ["T 20"], ["7"]),
        (vpdr_noise.choice, vpdr.RELEASED, {"fraction": 0.2}, ["154", "30"], ["103", "20"]),
        (vpdr_noise.choice, vpdr.RELEASED, {"cap": 0.2}, ["0.1"], ["0.2"]),
        (vpdr_noise.signal, vpdr.RELEASED, {"epsilon": 2.0}, ["1"], ["2"]),
        (vpdr_leaks.legacy, vpdr.RELEASED, {"fraction": 0.2}, ["1.82"], []),
        (vpdr_leaks.trained_encoder, vpdr.RELEASED, {"epsilon": 2.0}, ["0.268"], ["0.502"]),
        (vpdr_leaks.count_leak, vpdr.RELEASED, {"delta": 1e-6}, ["1e-05"], ["1e-06"]),
        (dp_fpl.views, dp_fpl.RELEASED, {"epsilon": 0.2}, ["0.4"], ["0.2"]),
        (dp_fpl.views, dp_fpl.RELEASED, {"batch": 16}, ["64"], ["32"]),
        (dp_fpl.views, dp_fpl.RELEASED, {"rounds": 50}, ["100"], ["50"]),
        (dp_fpl.calibration, dp_fpl.RELEASED, {"delta": 1e-7}, ["1e-05"], ["1e-07"]),
        (dp_fpl.cases, dp_fpl.RELEASED, {"batch": 16}, ["32", "140.3"], ["16"]),
        (dp_fpl.levels, dp_fpl.RELEASED, {"batch": 16}, ["64"], ["32"]),
        (dp_fpl.attack_ceilings, dp_fpl.RELEASED, {"epsilon": 0.2}, ["0.4"], ["0.2"]),
        (dp_fpl_noise.noise, dp_fpl.RELEASED, {"epsilon": 0.2}, ["0.4", "170"], ["0.2", "339"]),
        (dp_fpl.canary, dp_fpl.RELEASED, {"epsilon": 8.0}, ["Enough", "0.4"], ["8"]),
        (dp_fedlora.composition, dp_fedlora.RELEASED, {"epsilon": 10.0},
         ["25", "500", "35,195"], ["10", "200"]),
        (dp_fedlora.composition, dp_fedlora.RELEASED, {"tensors": 64}, ["128"], ["64"]),
        (dp_fedlora.cases, dp_fedlora.RELEASED, {"tensors": 64}, ["128", "11.31"], ["64", "8"]),
        (dp_fedlora.calibration, dp_fedlora.RELEASED, {"delta": 1e-6}, ["1e-05"], ["1e-06"]),
        (dp_fedlora.classical, dp_fedlora.RELEASED, {"delta": 1e-6}, ["1e-05"], ["1e-06"]),
        (dp_fedlora.canary, dp_fedlora.RELEASED, {"epsilon": 10.0}, ["25", "176"], ["10"]),
        (dp_fedlora_factors.noise, dp_fedlora.RELEASED, {"epsilon": 10.0}, ["25", "218"], ["10"]),
        (dp_fedlora_factors.gauge, dp_fedlora.RELEASED, {"epsilon": 10.0}, ["0.01938"], []),
        (secfpp.multipliers, secfpp.RELEASED, {"prompt_rounds": 10}, ["20"], ["10"]),
        (secfpp.totals, secfpp.RELEASED, {"prompt_rounds": 10}, ["20"], ["10"]),
    ],
)  # fmt: skip
def test_text_and_numbers_follow_the_system(part, old, changed, gone, there):
    before, after = part(old), part(replace(old, **changed))
    text = words(after)
    for value in gone:
        assert has(words(before), value), f"{value} was not in the text before"
        assert not has(text, value), f"{value} is typed: {text}"
    for value in there:
        assert has(text, value), text
    if part is not dp_fpl.canary:  # which compares its numbers with the claim
        assert numbers(before) != numbers(after)


@pytest.mark.parametrize(
    ("module", "changed"),
    [
        pytest.param(vpdr, {"epsilon": 2.0}, marks=pytest.mark.slow),
        (vpdr, {"rounds": 7}),
        (dp_fpl, {"epsilon": 0.2}),
        (dp_fpl, {"rounds": 50}),
        (dp_fedlora, {"tensors": 64}),
        (secfpp, {"prompt_rounds": 10}),
    ],
)
def test_accounts_follow_the_system(module, changed):
    """Every bounded account moves, or is calibrated to the claim again."""
    before = module.accounts()
    after = module.accounts(replace(module.RELEASED, **changed))
    released = [a.epsilon for a in before if a.mode == "released" and a.epsilon.upper < 1e300]
    moved = [a.epsilon for a in after if a.mode == "released" and a.epsilon.upper < 1e300]
    assert len(released) == len(moved)
    assert all(x != y for x, y in zip(released, moved, strict=True))
    for account in after:
        if account.mode == "sound":
            assert 0.999 * account.claimed < account.epsilon.upper <= account.claimed


def test_numbers_quoted_in_the_declarations_are_the_computed_ones(made):
    """Statements and notes of the shipped declarations are text; their decimals must be right."""
    computed = {
        system: {number(abs(n)) for t in found.tables for n in numbers(t) if n < 1e300}
        for system, found in made.items()
    }
    looked = 0
    for name, system in (
        ("vpdr_as_released", "vpdr"),
        ("dp_fpl_as_released", "dp-fpl"),
        ("dp_fedlora_as_released", "dp-fedlora"),
    ):
        declaration = reader.system(name)
        notes = [s.does for s in declaration.statement] + [r.note for r in declaration.release]
        for text in re.findall(r"(?<![\w.:])\d+\.\d+(?![\w.:])", " ".join(notes)):
            looked += 1
            assert any(rounded(value, text) for value in computed[system]), (name, text)
    assert looked > 0


def rounded(value, text):
    """Whether a shown number, or a hundred times it (percents), rounds to the text."""
    try:
        x = float(value.replace(",", ""))
    except ValueError:
        return False
    places = len(text.partition(".")[2])
    return any(abs(x * f - float(text)) <= 0.5 * 10.0**-places * 1.001 for f in (1.0, 100.0))
