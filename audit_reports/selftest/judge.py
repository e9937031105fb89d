"""What a control's outcome says of its attack, by tests that are exact under the null.

A correct attack fails a test of chance or of a ceiling with probability at most `RISK` each, so
that a run of a hundred of them raises a false alarm once in a thousand.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from ...accountant.errors import DesignError
from ...attacks.scores import Scores
from ..estimators.auc import auc
from ..estimators.band import band_bound
from ..estimators.clopper_pearson import lower_limit
from ..estimators.reconstruction import ceiling
from ..estimators.refute import refutes
from ..estimators.tradeoff import TradeOff
from .control import Found, Outcome, Separated

RISK = 1e-5
Kind = Literal["positive", "noise", "bounded"]
_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One control of one attack.

    Attributes:
        passed: whether it is as it must be.
        measured: AUC, share of hits, or mu, as `words` say.
        required: what it was compared with.
        words: one line for the reader.
    """

    passed: bool
    measured: float
    required: float
    words: str


def judge(kind: Kind, outcome: Outcome, *, at_least: float, reaches: float = 0.0) -> Judgement:
    """Whether `outcome` is what a control of this kind must show.

    Args:
        kind: "positive" must reach `at_least` and be no accident; "noise" must be compatible with
            chance; "bounded" must be compatible with its mu, and reach `reaches` of it.
        outcome: what the control returned.
        at_least: AUC or share of hits.
        reaches: share of mu.

    Raises:
        DesignError: a bounded control without mu, or with dependent trials.
    """
    if isinstance(outcome, Found):
        if not 0 <= outcome.hits <= outcome.trials or not 0.0 <= outcome.chance < 1.0:
            raise DesignError(f"hits, trials and chance contradict each other: {outcome}")
        return _FOUND[kind](outcome, at_least, reaches)
    return _SEPARATED[kind](outcome, at_least, reaches)


def _succeeds(outcome: Separated, at_least: float, reaches: float) -> Judgement:
    found, p = auc(outcome.values_in, outcome.values_out), _chance(outcome)
    return Judgement(
        passed=found >= at_least and p < RISK,
        measured=found,
        required=at_least,
        words=f"AUC {found:.3f}, at least {at_least:g} (p {p:.0e} under chance)",
    )


def _at_chance(outcome: Separated, at_least: float, reaches: float) -> Judgement:
    found, p = auc(outcome.values_in, outcome.values_out), _chance(outcome)
    return Judgement(
        passed=p >= RISK, measured=found, required=0.5, words=f"AUC {found:.3f}, chance (p {p:.2g})"
    )


def _below_ceiling(outcome: Separated, at_least: float, reaches: float) -> Judgement:
    if outcome.mu is None or not outcome.independent:
        raise DesignError("a ceiling is tested on independent runs of a release with a proven mu")
    scores = Scores(
        values_in=outcome.values_in,
        values_out=outcome.values_out,
        design="many_runs",
        adversary="the control's",
        attack="the control's",
        adjacency="add-remove",
    )
    over = refutes(TradeOff.gaussian(outcome.mu), scores, confidence=1.0 - RISK)
    # The separation of two Gaussians that have this AUC: what the attack gets out of mu.
    area = auc(outcome.values_in, outcome.values_out)
    reached = math.sqrt(2.0) * _NORMAL.inv_cdf(area) if 0.0 < area < 1.0 else math.inf
    lower = band_bound(scores, confidence=0.95, delta=0.0).mu_lower
    said = f"mu {outcome.mu:.3g} proven, {reached:.3g} from the AUC, at least {lower:.3g} certified"
    if over.refuted:
        rates = f"FPR <= {over.fpr_upper:.3g}, FNR <= {over.fnr_upper:.3g}"
        said = f"ABOVE ITS CEILING, a bug of attack or release: {said} ({rates})"
    return Judgement(
        passed=not over.refuted and (reaches == 0.0 or reached >= reaches * outcome.mu),
        measured=reached,
        required=outcome.mu,
        words=f"{said}, {reaches:.0%} must be reached" if reaches else said,
    )


def _chance(outcome: Separated) -> float:
    """P-value of "who is a member is independent of the scores".

    Ranks and the largest distance of the two distributions, both with their permutation law: exact
    for independent trials and for one run whose members were drawn at random.
    """
    from scipy.stats import ks_2samp, mannwhitneyu

    inside, outside = outcome.values_in, outcome.values_out
    ranks = mannwhitneyu(inside, outside, method="auto").pvalue
    shape = ks_2samp(inside, outside, method="auto").pvalue
    return min(1.0, 2.0 * float(min(ranks, shape)))


def _finds(outcome: Found, at_least: float, reaches: float) -> Judgement:
    share = outcome.hits / outcome.trials
    surely = float(lower_limit(outcome.hits, outcome.trials, RISK))
    return Judgement(
        passed=share >= at_least and surely > outcome.chance,
        measured=share,
        required=at_least,
        words=f"{_hits(outcome)}, at least {at_least:.0%}; chance {outcome.chance:.3g}",
    )


def _guesses(outcome: Found, at_least: float, reaches: float) -> Judgement:
    surely = float(lower_limit(outcome.hits, outcome.trials, RISK))
    return Judgement(
        passed=surely <= outcome.chance,
        measured=outcome.hits / outcome.trials,
        required=outcome.chance,
        words=f"{_hits(outcome)}, chance {outcome.chance:.3g}",
    )


def _below_reconstruction_ceiling(outcome: Found, at_least: float, reaches: float) -> Judgement:
    if outcome.mu is None:
        raise DesignError("a ceiling is tested on a release with a proven mu")
    most = ceiling(outcome.chance, TradeOff.gaussian(outcome.mu))
    surely, share = float(lower_limit(outcome.hits, outcome.trials, RISK)), outcome.hits
    below = surely <= most
    bug = "" if below else "ABOVE ITS CEILING, a bug of attack or release: "
    return Judgement(
        passed=below and share / outcome.trials >= reaches * most,
        measured=share / outcome.trials,
        required=most,
        words=f"{bug}{_hits(outcome)}; at most {most:.3g} at mu {outcome.mu:.3g}",
    )


def _hits(outcome: Found) -> str:
    return f"{outcome.hits} of {outcome.trials} hit ({outcome.hits / outcome.trials:.1%})"


_SEPARATED = {"positive": _succeeds, "noise": _at_chance, "bounded": _below_ceiling}
_FOUND = {"positive": _finds, "noise": _guesses, "bounded": _below_reconstruction_ceiling}
