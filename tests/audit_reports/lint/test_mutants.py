"""Every field of every sound declaration, changed: the lint speaks, or a reason says why not.

A change counts as noticed if it gives a finding above information, or if the reader refuses it.
"""

import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from privassay.accountant.errors import ConfigError
from privassay.audit_reports.lint import reader
from privassay.audit_reports.lint.run import lint

from .mutants import mutants

PLAUSIBLE = Path(__file__).parent / "plausible"
# Pure and Gaussian together, or Poisson samples: half a second for each number.
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("vpdr_frozen", "fedavg")]
SOUND = [
    "local",
    "ellipsoid",
    "vpdr_sound",
    "dp_fpl_sound",
    "dp_fedlora_sound",
    "secfpp_sound_mpc",
    "secfpp_sound_dp",
]

# {what is changed: why nothing is lost by it}. The first word is the declaration.
HARMLESS = {
    # DP-FedAvg, Poisson samples
    r"fedavg claim\.delta / 10": "epsilon is 5 and has room up to 8",
    r"fedavg sampling\.rate / 10": "amplified more than accounted",
    r"fedavg sampling\.accounted_rate x 10": "amplified more than accounted",
    r"fedavg release\.1\.(clip|clip_set|formula) -> \w+": "the trusted server's raw uploads",
    r"fedavg release\.1\.(clips_weights|joint|charged) -> \w+": "the trusted server's raw uploads",
    r"fedavg release\.1\.divisor_source -> (private|not stated)": "the server's raw uploads",
    r"fedavg release\.1\.(divisor|tensors|releases|per_round) ([x/] 10|\+ 1)": "raw uploads",
    r"fedavg release\.1\.(rounds|accounted_releases) added": "the trusted server's raw uploads",
    r"fedavg release\.0\.joint -> False": "alone on its records",
    # randomised response
    r"local claim\.delta / 10": "randomised response needs no delta",
    r"local claim\.unit -> (example|client)": "one record each",
    r"local release\.0\.(answers / 2|keep_probability / 10|pure_epsilon x 10)": "it claims less",
    r"local release\.0\.accounted_releases added": "the number that is made, here one",
    r"local release\.0\.joint -> False": "alone on its records",
    # a weaker claim
    r"\w+ claim\.delta x 10": "it claims less",
    r"(vpdr_\w+|dp_fpl_sound|ellipsoid) claim\.epsilon x 10": "it claims less",
    r"\w+ claim\.views without \w+": "it claims less",
    r"\w+ claim\.adjacency -> zero-out": "half of replace-one, and as far as add-remove",
    r"(vpdr_frozen|ellipsoid) claim\.adjacency -> add-remove": "half, at a public divisor",
    r"(vpdr_frozen|dp_fedlora_sound|ellipsoid) claim\.delta / 10": "sigma is computed from it",
    # more noise, a smaller reach or fewer counted than made
    r"\w+ release\.\d\.sigma x 10": "more noise",
    r"\w+ release\.\d\.assumed_sensitivity x 10": "more noise",
    r"\w+ release\.\d\.formula_epsilon / 10": "more noise",
    r"(dp_\w+|vpdr_frozen|ellipsoid) release\.0\.formula_releases (x 10|\+ 1)": "more noise",
    r"vpdr_frozen release\.1\.pure_epsilon / 10": "more noise",
    r"(dp_\w+|ellipsoid) release\.0\.formula -> rdp": "valid, and more noise",
    r"vpdr_frozen release\.0\.formula -> exact": "what is proven for the claimed part",
    r"vpdr_frozen release\.0\.budget_shares first / 10": "as much noise, or more",
    r"vpdr_frozen release\.0\.clip_set -> both": "clips more",
    r"\w+ release\.\d\.clip_norm / 10": "clips more; the noise stays",
    r"vpdr_frozen release\.0\.clip_norm left out": "the same: it is the norm of all groups",
    r"(?!vpdr_frozen release\.1|local)\w+ release\.\d\.divisor x 10": "a record moves less",
    r"vpdr_\w+ release\.0\.group_norms first (x|/) 10": "noise in units of the group's norm",
    r"ellipsoid release\.0\.group_norms first / 10": "clips more; the noise stays",
    r"vpdr_frozen release\.1\.(score_range (x|/) 10|chosen (\+ 1|/ 2))": "the noise follows",
    r"vpdr_frozen release\.1\.tensors .*": "counted; the claim has room for it",
    r"\w+ release\.\d\.accounted_tensors added": "the number that is made, here one",
    r"vpdr_sound release\.\d\.accounted_releases added": "the number that is made, here one",
    # nothing is computed from it here
    r"vpdr_frozen release\.1\.dimension .*": "only says whether the choice is at chance",
    r"\w+ release\.\d\.records_per_unit added": "one example, or an upload clipped as a whole",
    r"\w+ release\.\d\.sampled -> True": "nothing is amplified unless Poisson sampling runs",
    r"(vpdr_frozen|dp_fpl_sound|local) sampling\.used -> (all|shuffled|fixed-size)": "no rate",
    r"(ellipsoid|secfpp_sound_dp) sampling\.used -> (shuffled|fixed-size)": "no rate",
    r"(dp_\w+|secfpp_sound_mpc) sampling\.rate added": "nothing is amplified",
    r"\w+ release\.\d\.inputs emptied": "the component is public or noised",
    r"((dp_f\w+|ellipsoid) release\.0|secfpp_sound_dp release\.2)\.joint -> False": "alone",
    r"dp_fedlora_sound sampling\.rounds (x 10|\+ 1|/ 2)": "participations count, not rounds",
    r"\w+ statement\.\d\.protects -> True": "what the text says is what the code does",
    # facts that nothing else in the file can contradict
    r"(?!fedavg release\.1)\w+ release\.\d\.views with \w+": "counted for that view",
    r"vpdr_sound release\.\d\.views without \w+": "only the author knows who sees it",
    r"secfpp_sound_dp release\.2\.views without server": "only the author knows who sees it",
    r"(?!vpdr_frozen|secfpp_sound_dp)\w+ claim\.views with querier": "sees less than outsiders",
    r"\w+ randomness\.arithmetic -> .*": "information in each case (H12)",
    r"\w+ tuning\.tuned_on -> (nothing|public)": "neither reads private records",
    r"\w+ sampling\.schedule -> noised": "reads noised releases only; all rounds are counted",
    r"(?!vpdr_frozen release\.1|local)\w+ release\.\d\.divisor_source -> noised": "the least",
    r"(vpdr_frozen|dp_f\w+|secfpp_sound_dp) parameter\.\d\.noise_count added": "counts are fixed",
    # secret sharing: enough clients, and a field with room
    r"\w+ mpc\.clients (x 10|\+ 1)": "more of them are honest",
    r"secfpp_sound_mpc mpc\.clients / 2": "7 replies, 3 dropouts and 2 colluders fit in 10 as well",
    r"\w+ mpc\.slices (\+ 1|/ 2)": "9 replies and 3 dropouts fit in 20",
    r"\w+ mpc\.dropouts / 2": "it claims less",
    r"secfpp_sound_mpc mpc\.dropouts \+ 1": "7 replies and 4 dropouts fit in 20",
    r"secfpp_sound_dp mpc\.noise_shares / 2": "more noise",
    r"secfpp_sound_mpc mpc\.noise_from -> \w+": "nothing is noised",
    r"\w+ mpc\.colluders / 2": "it claims less",
    r"\w+ mpc\.fraction_bits (\+ 1|/ 2)": "the field has room; the rest is accuracy",
    r"\w+ mpc\.(coordinate_bound|dimension) (x 10|/ 10|\+ 1|/ 2)": "it has room",
    r"\w+ mpc\.bound_source -> noised": "post-processing",
    r"\w+ mpc\.min_cluster \+ 1": "larger clusters hide more",
    r"\w+ mpc\.membership_changes -> False": "less is shown",
    r"\w+ mpc\.byzantine -> checked": "16 clients are enough for replies, dropouts and two wrong",
    r"\w+ mpc\.opened\.\d\.per_client .*": "its own client knows its input, and others see noise",
    r"\w+ mpc\.opened\.4\.source -> noised": "post-processing",
    r"secfpp_sound_dp mpc\.opened\.[0-2]\.kind -> (?!schedule).*": "what is noised may be anything",
    r"secfpp_sound_dp mpc\.opened\.3\.kind -> (size|centre|aggregate)": "listed as unprotected",
    r"secfpp_sound_mpc mpc\.opened\.[0-3]\.kind -> (size|centre|aggregate|served)": "listed",
    r"secfpp_sound_mpc mpc\.opened\.1\.kind -> assignment": "its own client may know it",
    r"secfpp_sound_dp mpc\.opened\.\d\.to -> \w+": "noised, listed or fixed beforehand",
    r"secfpp_sound_mpc mpc\.opened\.[0234]\.to -> \w+": "listed or fixed beforehand",
    # no differential privacy is claimed of the outputs
    r"secfpp_sound_mpc claim\.(unit|adjacency) -> .*": "nothing is claimed for it",
    r"secfpp_sound_mpc claim\.views with outsider": "openings count for every reader",
    r"secfpp_sound_mpc (sampling|tuning|conduct)\.\w+ -> .*": "it can break nothing",
}


def load(name):
    folder = files("privassay.audit_reports.lint") / "systems"
    if (PLAUSIBLE / f"{name}.toml").exists():
        folder = PLAUSIBLE
    return tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))


def is_noticed(data):
    try:
        declaration = reader.parse(data)
    except ConfigError:
        return True
    return any(finding.severity != "info" for finding in lint(declaration))


@pytest.mark.parametrize("name", [*SOUND, *SLOW])
def test_every_change_is_noticed_or_harmless_for_a_reason(name):
    data = load(name)
    assert not is_noticed(data)
    seen = {f"{name} {what}": is_noticed(changed) for what, changed in mutants(data)}
    excused = {what for what in seen if any(re.fullmatch(pattern, what) for pattern in HARMLESS)}
    silent = {what for what, noticed in seen.items() if not noticed}
    assert len(seen) > 90 and silent == excused, {
        "overlooked": sorted(silent - excused),
        "noticed, and yet excused": sorted(excused - silent),
    }
