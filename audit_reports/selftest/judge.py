"""What a control's outcome says of its attack, by tests that are exact under the null.

A correct attack fails a test of chance or of a ceiling with probability at most `RISK` each, so
that a run of a hundred of them raises a false alarm once in a thousand.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from ...accountant.errors import DesignError
from ...attacks.scores import Scores
from ..estimators.auc import auc
from ..estimators.band import band_bound, pair_level
from ..estimators.clopper_pearson import distinct_counts, lower_limit, upper_limit
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
        measured: AUC, share of hits, mu or advantage, as `words` say.
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
            chance; "bounded" must be compatible with its ceiling, and reach `reaches` of it.
        outcome: what the control returned.
        at_least: AUC or share of hits.
        reaches: share of the ceiling.

    Raises:
        DesignError: a bounded control without a ceiling, with dependent trials, or with so few that
            nothing could be above it.
    """
    if isinstance(outcome, Found):
        return _FOUND[kind](outcome, at_least, reaches)
    return _SEPARATED[kind](outcome, at_least, reaches)


def _succeeds(outcome: Separated, at_least: float, reaches: float) -> Judgement:
    found, p = auc(outcome.values_in, outcome.values_out), chance(outcome)
    return Judgement(
        passed=found >= at_least and p < RISK,
        measured=found,
        required=at_least,
        words=f"AUC {found:.3f}, at least {at_least:g} (p {p:.0e} under chance)",
    )


def _at_chance(outcome: Separated, at_least: float, reaches: float) -> Judgement:
    found, p = auc(outcome.values_in, outcome.values_out), chance(outcome)
    return Judgement(
        passed=p >= RISK, measured=found, required=0.5, words=f"AUC {found:.3f}, chance (p {p:.2g})"
    )


def chance(outcome: Separated) -> float:
    """P-value of "who is a member is independent of the scores"; never too small.

    Exact for independent trials and for one run whose members were drawn at random: among the k
    largest scores of all (and the k smallest) the number of members is hypergeometric, for every k
    fixed beforehand. They are half of all scores, a quarter, and so on; ties are broken by coins
    that know nothing of membership; the smallest of the p-values is multiplied by their number.
    """
    from scipy.stats import hypergeom

    scores = np.concatenate([outcome.values_in, outcome.values_out])
    total, members = scores.size, outcome.values_in.size
    coins = np.random.default_rng(0).permutation(total)
    inside = (np.arange(total) < members)[np.lexsort((coins, scores))]
    cuts = sorted({max(1, total >> halving) for halving in range(1, total.bit_length())})
    found = []
    for cut in cuts:
        for count in (int(inside[-cut:].sum()), int(inside[:cut].sum())):
            law = hypergeom(total, members, cut)
            found.append(2.0 * min(float(law.cdf(count)), float(law.sf(count - 1))))
    return min(1.0, len(found) * min(found))


def _below_ceiling(outcome: Separated, at_least: float, reaches: float) -> Judgement:
    curve = outcome.curve if outcome.mu is None else TradeOff.gaussian(outcome.mu)
    if curve is None or not outcome.independent:
        raise DesignError(
            "a ceiling is tested on independent runs of a release with a proven mu or curve"
        )
    _require_power(outcome, curve)
    # The curve bounds both "large means member" and "small means member".
    both = [_scores(sign * outcome.values_in, sign * outcome.values_out) for sign in (1.0, -1.0)]
    over = [refutes(curve, scores, confidence=1.0 - RISK / 2.0) for scores in both]
    refuted = [test for test in over if test.refuted]
    if outcome.mu is not None:
        # The separation of two Gaussians that have this AUC: what the attack gets out of mu.
        area = auc(outcome.values_in, outcome.values_out)
        reached = math.sqrt(2.0) * _NORMAL.inv_cdf(area) if 0.0 < area < 1.0 else _infinite(area)
        required = outcome.mu
        lower = band_bound(both[0], confidence=0.95, delta=0.0).mu_lower
        said = f"mu {required:.3g} proven, {reached:.3g} from the AUC, {lower:.3g} certified"
    else:
        _, tp, fp = distinct_counts(outcome.values_in, outcome.values_out)
        reached = float(np.max(tp / outcome.values_in.size - fp / outcome.values_out.size))
        grid = np.linspace(0.0, 1.0, 1001)
        required = float(np.max(curve.tpr(grid) - grid))
        said = f"advantage {required:.3g} proven, {reached:.3g} reached"
    if refuted:
        rates = f"FPR <= {refuted[0].fpr_upper:.3g}, FNR <= {refuted[0].fnr_upper:.3g}"
        said = f"ABOVE ITS CEILING, a bug of attack or release: {said} ({rates})"
    return Judgement(
        passed=not refuted and (reaches == 0.0 or reached >= reaches * required),
        measured=reached,
        required=required,
        words=f"{said}, {reaches:.0%} must be reached" if reaches else said,
    )


def _require_power(outcome: Separated, curve: TradeOff) -> None:
    """Perfect separation at least must be above the ceiling, or the control cannot fail."""
    n_in, n_out = outcome.values_in.size, outcome.values_out.size
    level = pair_level(n_in, n_out, RISK / 2.0)
    fpr, fnr = (float(upper_limit(0, n, level)) for n in (n_out, n_in))
    if fnr >= float(curve.fnr(fpr)[0]):
        raise DesignError(
            f"even perfect separation of {n_in} + {n_out} trials could not be above the ceiling "
            f"({curve.name}) at level {RISK:g}: run more trials, or a release with a lower ceiling"
        )


def _scores(inside: np.ndarray, outside: np.ndarray) -> Scores:
    return Scores(
        values_in=inside,
        values_out=outside,
        design="many_runs",
        adversary="the control's",
        attack="the control's",
        adjacency="add-remove",
    )


def _infinite(area: float) -> float:
    return math.inf if area == 1.0 else -math.inf


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
