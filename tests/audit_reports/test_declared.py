"""From an audit file to its mechanisms: kinds clipped by group, and what accounting needs."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError
from privassay.audit_reports import declared
from privassay.audit_reports.run import run
from privassay.fl_core import config
from privassay.fl_core.task import group_sizes
from privassay.mechanisms import catalog

TEMPLATE = Path(__file__).resolve().parents[2] / "audit_reports" / "templates" / "audit.toml"
SHARES = [0.9, 0.4]


def audit_file(tmp_path, kind, **options):
    """The template with this kind as its subject, and fewer of everything."""
    lines = [f"{name} = {value}" for name, value in options.items()]
    text = TEMPLATE.read_text().replace('kind = "igpp"', "\n".join([f'kind = "{kind}"', *lines]))
    path = tmp_path / "audit.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", catalog.BY_GROUP)
def test_all_rounds_of_a_kind_clipped_by_group_cost_the_claim(tmp_path, kind):
    audit = config.load(audit_file(tmp_path, kind, group_norm_share=SHARES))
    event = declared.declared_events(audit)["mine"]
    claimed = audit.claim.claim().gaussian_mu().lower
    mu = account(event, adjacency=audit.claim.adjacency).mu
    assert claimed * (1 - 1e-9) < mu.lower <= mu.upper <= claimed


@pytest.mark.parametrize("kind", catalog.BY_GROUP)
def test_accounting_refuses_clip_bounds_that_only_a_run_knows(tmp_path, kind):
    audit = config.load(audit_file(tmp_path, kind))
    with pytest.raises(ConfigError, match="group_norm_share"):
        declared.declared_events(audit)
    # a run knows the public norms
    assert declared.build(audit, audit.mechanism[0], group_sizes(audit), (2.0, 1.0))


def test_group_norms_go_with_these_kinds_only(tmp_path):
    with pytest.raises(ConfigError, match="goes with kind vpp or vpp_ellipsoid"):
        config.load(audit_file(tmp_path, "igpp", group_norm_share=SHARES))


def test_an_ellipsoid_costs_what_its_radii_over_its_noise_say(tmp_path):
    audit = config.load(audit_file(tmp_path, "vpp_ellipsoid", group_norm_share=SHARES))
    mechanism = declared.build(audit, audit.mechanism[0], group_sizes(audit), (1.0, 1.0))
    worst = max(
        radius / stddev / mechanism.public_count
        for radius, stddev in zip(
            mechanism.clip.ellipsoid_radii, mechanism.noise_stddevs, strict=True
        )
    )
    mu = account(mechanism.event(), adjacency="add-remove").mu
    assert mu.lower <= worst * (1 + 1e-12) and worst * (1 - 1e-12) <= mu.upper
    # half of one group's noise: the worst record moves into that group
    quiet, loud = mechanism.noise_stddevs
    halved = replace(mechanism, noise_stddevs=(quiet, loud / 2))
    assert account(halved.event(), adjacency="add-remove").mu.upper == pytest.approx(2 * worst)


def test_an_ellipsoid_runs_from_an_audit_file_to_a_verdict(tmp_path):
    path = audit_file(tmp_path, "vpp_ellipsoid", group_norm_share=SHARES)
    quick = {"training.seeds": 2, "training.local_epochs": 1}
    record = run(path, out=tmp_path / "run", overrides=quick, only="mine")
    mine = record.mechanism("mine")
    assert mine.verdict.word == "CONSISTENT"
    (attack,) = mine.attacks
    assert 0.5 * mine.proven.mu.lower < attack.bound.mu_lower <= mine.proven.mu.upper < math.inf
