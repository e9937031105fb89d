"""The README's example: verdicts, power and false alarms over 20 seeds. Needs the assets."""

from pathlib import Path

import pytest

from privassay.audit_reports.run import run

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "digits_vpp.toml"
SEEDS = range(100, 120)  # not the seed of the file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least", "most"), [("noise-halved", 19, 20), ("igpp", 0, 1), ("vpp", 0, 1)]
)
def test_refuted_in_so_many_of_20_seeds(name, least, most, tmp_path):
    quick = {"training.seeds": 2, "training.local_epochs": 1}
    ratios, refuted = [], 0
    for seed in SEEDS:
        record = run(EXAMPLE, out=tmp_path / str(seed), only=name, overrides=quick | {"seed": seed})
        row = record.mechanism(name)
        refuted += row.verdict.word == "REFUTED"
        ratios.append(row.attacks[0].bound.mu_lower / row.proven.mu.upper)
    span = f"{min(ratios):.3f}..{max(ratios):.3f}"
    print(f"{name}: refuted in {refuted} of 20 seeds, measured/proven mu {span}")
    assert least <= refuted <= most, f"{name} refuted in {refuted} of 20 seeds"
    if name != "noise-halved":
        assert min(ratios) >= 0.8, ratios
