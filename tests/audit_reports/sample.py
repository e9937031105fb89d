"""A SYNTHETIC record: scores are simulated normals, accuracies and pictures are made up.

Nothing in it was measured on any system. Texts that a user controls hold hostile strings, which
every rendering must show as text.
"""

import base64
import io
import math
import os
import tempfile
from functools import lru_cache
from unittest import mock

import numpy as np

from privassay.accountant import gaussian
from privassay.accountant.assumption import Assumption
from privassay.accountant.bounds import Interval, ProvenBound
from privassay.accountant.claim import PrivacyClaim
from privassay.attacks.scores import Scores
from privassay.audit_reports.estimators.estimate import estimate_scores
from privassay.audit_reports.estimators.power import RefutablePower
from privassay.audit_reports.hazards import checklist
from privassay.audit_reports.record import SCHEMA_VERSION, AuditRecord
from privassay.audit_reports.results import (
    AttackResult,
    Environment,
    EqualPowerRow,
    InversionRow,
    MechanismResult,
    UtilityRow,
)
from privassay.audit_reports.verdict import judge, overall

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> $x^$ {{ 7*7 }} é 漢字 \\u003c"
TRAP = "<!--<script> </script> <\\/ --> \u202e"
DELTA, TRIALS, CONFIDENCE = 1e-5, 2000, 0.95
CLIENTS = ("mnist", "optdigits", "mnist_m", 'synth"><b>')


def sample_claim(**changes):
    terms = {
        "epsilon": 2.0,
        "delta": DELTA,
        "curve": "gaussian",
        "adjacency": "add-remove",
        "unit": "example",
        "adversaries": ("server", "peer"),
        "covers": f"all rounds of one run; tuning is not covered {HOSTILE}",
        "unprotected": ("class names", "public_count"),
    }
    return PrivacyClaim(**{**terms, **changes})


@lru_cache
def shared_record():
    """`sample_record()`, made once; band levels are not kept in the user's own cache."""
    with tempfile.TemporaryDirectory() as folder:
        with mock.patch.dict(os.environ, {"PRIVASSAY_CACHE": folder}):
            return sample_record()


@lru_cache
def sample_attack(claim, attack, adversary, true_mu, seed, trials=TRIALS):
    random = np.random.default_rng(seed)
    scores = Scores(
        values_in=random.normal(size=trials) + min(true_mu, 30.0),
        values_out=random.normal(size=trials),
        design="many_runs",
        adversary=adversary,
        attack=attack,
        adjacency=claim.adjacency,
        unit=claim.unit,
        seed=seed,
    )
    confidence = 1.0 - (1.0 - CONFIDENCE) / 2
    bound = estimate_scores(scores, claim, confidence=confidence)
    above = (scores.values_in[:, None] > scores.values_out[None, :500]).mean()
    # the power of this design as `smallest_refutable` gives it for the claim of 2 at 1e-5
    power = RefutablePower(
        mu=0.7284, multiple=1.4523, epsilon=3.0467, delta=DELTA, probability=0.9, how="lower bound"
    )
    return AttackResult(
        attack=attack,
        adversary=adversary,
        sees="every noisy prototype" if adversary == "server" else "what is broadcast",
        design="many_runs",
        seed=seed,
        trials=bound.n_in,
        question=f"is one of the 60 records of class 3 present, or is it absent? {HOSTILE}",
        optimal=attack == "informed_linear" and adversary == "server",
        attainable_mu=0.49 if attack == "informed_linear" and true_mu < 30 else None,
        error_share=0.5,
        auc=float(above),
        scores_sha256="5" * 64,
        seconds=12.345,
        bound=bound,
        power=power,
    )


def sample_mechanism(name, *, proven_mu, true_mu, expect=None, claim=None, seed=1, broken=False):
    claim = sample_claim() if claim is None else claim
    proven = ProvenBound(
        mu=Interval(proven_mu, proven_mu * (1 + 1e-12) if math.isfinite(proven_mu) else math.inf),
        adjacency=claim.adjacency,
        unit=claim.unit,
    )
    assumptions = (
        Assumption(text="The divisor is public.", how="public_count = 60", holds=not broken),
        Assumption(text="Arithmetic is exact.", how="not checked: double precision", holds=None),
    )
    attacks = (
        sample_attack(claim, "informed_linear", "server", true_mu, seed),
        sample_attack(claim, "prototype_distance", "peer", true_mu / 4, seed + 50),
    )
    return MechanismResult(
        name=name,
        kind="none",
        description=f"synthetic row {HOSTILE}",
        expect=expect,
        parameters={"dimensions": 160, "noise_stddevs (prototype units)": [0.125, 0.5]},
        event={"class": "SelfComposedDpEvent", "count": 5, "note": TRAP},
        assumptions=assumptions,
        proven=proven,
        proven_epsilon=proven.epsilon(DELTA),
        profile=tuple((e, proven.delta(e).upper) for e in (0.0, 0.5, 1.0, 2.0, 4.0)),
        releases=5,
        ledger_sha256="1" * 64,
        clipped=(0.25, 0.031),
        attacks=attacks,
        verdict=judge(
            claim,
            proven=proven,
            assumptions=assumptions,
            measured=attacks,
            releases=5,
            power_multiple=3.0,
        ),
    )


def sample_utility(names):
    random = np.random.default_rng(5)
    centre = {
        "igpp": 0.66,
        "vpp": 0.71,
        "none": 0.82,
        "local-only": 0.735,
        "random-prototypes": 0.6,
    }
    rows = []
    for variant in [*names, "local-only", "random-prototypes"]:
        for metric in ("head", "prototype"):
            if metric == "prototype" and variant == "local-only":
                continue
            base = centre.get(variant, 0.68) - (0.12 if metric == "prototype" else 0.0)
            base = 0.1 if variant == "random-prototypes" and metric == "prototype" else base
            values = [base + 0.08 * float(random.normal()) for _ in CLIENTS]
            for client, mean in [*zip(CLIENTS, values, strict=True), ("mean", base)]:
                half = 0.012 if client == "mean" else 0.03
                rows.append(
                    UtilityRow(
                        variant=variant,
                        client=client,
                        metric=metric,
                        mean=mean,
                        lower=max(0.0, mean - half),
                        upper=min(1.0, mean + half),
                        seeds=5,
                        equal_budget=variant in ("igpp", "vpp"),
                    )
                )
    return tuple(rows)


def picture(seed):
    from PIL import Image

    random = np.random.default_rng(seed)
    pixels = (random.random((28, 28, 3)) * 90).astype(np.uint8)
    pixels[6:22, 9 + seed % 5 : 14 + seed % 5] = 230
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def sample_inversion():
    cases = (
        ("one record, no noise (positive control)", 19.4, 12.1),
        ("vpp, mean of 60 records", 11.3, 11.6),
        ("none, mean of 60 records", 12.2, 11.7),
    )
    return tuple(
        InversionRow(
            case=case,
            label=label,
            adversary="server",
            cosine=0.913,
            psnr=psnr - place,
            control_psnr=control - place,
            pictures=None if label == "9" else (picture(place), picture(place + 1), picture(3)),
        )
        for place, label in enumerate(("3", HOSTILE, "9"))
        for case, psnr, control in cases
    )


def sample_record(**changes):
    """A synthetic record of five mechanisms; any field can be replaced before it is sealed."""
    claim = sample_claim()
    mu = claim.gaussian_mu().lower * (1 - 1e-9)
    mechanisms = (
        sample_mechanism("igpp", proven_mu=mu, true_mu=0.5, seed=1),
        sample_mechanism("vpp", proven_mu=mu, true_mu=0.42, seed=2),
        sample_mechanism(
            "groupwise_global_clip", proven_mu=1.1, true_mu=0.6, expect="UNSUPPORTED", seed=3
        ),
        sample_mechanism("noise_halved", proven_mu=mu, true_mu=1.0, expect="REFUTED", seed=4),
        sample_mechanism("none", proven_mu=math.inf, true_mu=30.0, expect="UNSUPPORTED", seed=5),
    )
    fields = {
        "schema_version": SCHEMA_VERSION,
        "title": f"SYNTHETIC sample {HOSTILE}",
        "claim": claim,
        "claimed_mu": claim.gaussian_mu(),
        "confidence": CONFIDENCE,
        "power_multiple": 3.0,
        "mechanisms": mechanisms,
        "utility": sample_utility([m.name for m in mechanisms]),
        "equal_power": tuple(
            EqualPowerRow(
                quiet_fraction=0.3,
                noise_ratio=4.0,
                isotropic_epsilon=isotropic,
                epsilon=Interval(*gaussian.epsilon_interval(DELTA, mu=mu_ * 1.9)),
                delta=DELTA,
            )
            for isotropic, mu_ in ((1.0, 0.268), (2.0, 0.5015), (8.0, 1.666))
        ),
        "inversion": sample_inversion(),
        "hazards": checklist(claim, mechanisms, same_encoder=True),
        "limits": ("Everything here is synthetic.", f"A second limit {HOSTILE}"),
        "given": f'title = "{HOSTILE}"\n# {TRAP}\n[claim]\nepsilon = 2.0\n',
        "changes": (f"--set title={HOSTILE!r}",),
        "resolved": {"title": HOSTILE, "trap": TRAP, "seed": 7},
        "seed": 7,
        "environment": Environment(
            created="2026-01-01T00:00:00+00:00",
            seconds=612.3,
            python="3.11.7",
            platform="Linux x86_64",
            packages={"privassay": "0.1.0", "numpy": "2.0.0"},
            source_sha256="2" * 64,
            git_revision="not a checkout",
            config_sha256="3" * 64,
            data_sha256={"encoder": "4" * 64, HOSTILE: "6" * 64},
        ),
        "verdict": overall([(m.name, m.verdict.word, m.expect) for m in mechanisms]),
    }
    return AuditRecord(**(fields | changes)).sealed()
