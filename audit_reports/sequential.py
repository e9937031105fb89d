"""A black-box audit that looks after every trial and stops as soon as the claim is refuted.

In each trial a fair coin picks the world and an attack that was learnt on all earlier outputs
guesses it; the attack is learnt anew whenever the number of outputs has doubled. What the guesses
show may be looked at at any time (`estimators.e_process`), so stopping early costs nothing.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..accountant.claim import PrivacyClaim
from ..attacks.black_box import Attack, learn
from ..attacks.black_box.rounding import Rounding
from .blackbox_record import (
    FIRST,
    QUESTION,
    SEES,
    Budget,
    FloatingPoint,
    Outputs,
    adversary,
    most_guesses,
)
from .estimators.auc import auc
from .estimators.clopper_pearson import distinct_counts
from .estimators.e_process import EProcess, process_bound
from .estimators.estimate import claim_delta
from .estimators.one_run_power import e_process_power
from .estimators.tradeoff import TradeOff
from .results import AttackResult
from .sampler import Progress, Sampler, join, seed_of
from .stages import array_hash

_LOOK = 32  # trials between two looks; the evidence counts trial by trial all the same


def sequential_result(
    sampler: Sampler,
    claim: PrivacyClaim,
    *,
    trials: int,
    confidence: float,
    seed: int,
    budget: Budget,
    families: tuple[str, ...] | None,
    floating_point: FloatingPoint,
    progress: Progress | None,
) -> tuple[AttackResult, str]:
    """The result of at most 2 * trials outputs, and what the last attack looked at.

    Args:
        sampler: draws outputs.
        claim: what is to be refuted.
        trials: outputs in each world at most, those for learning included.
        confidence: in (0, 1).
        seed: root of coins and attacks.
        budget: as in `audit_mechanism`.
        families: as there.
        floating_point: as there.
        progress: called with (outputs drawn, most outputs).
    """
    start = time.monotonic()
    curve = TradeOff.of_claim(claim)
    process = EProcess(delta=claim_delta(claim), confidence=confidence)
    coins = np.random.default_rng(seed_of(seed, "coins"))
    past = [sampler.draw("first", world, FIRST) for world in (0, 1)]
    seen: tuple[list[float], list[float]] = ([], [])  # scores without and with the record
    drawn, most = 2 * FIRST, 2 * trials
    guesser = None
    while drawn < most and not process.refutes(curve):
        guesser = _Guesser.learnt(past, claim, coins, budget, families, floating_point)
        included = coins.integers(0, 2, min(drawn, most - drawn)).astype(bool)
        fresh = [
            sampler.draw(f"trials {drawn}", world, int((included == bool(world)).sum()))
            for world in (0, 1)
        ]
        scores = np.empty(included.size)
        for world in (0, 1):
            if len(fresh[world]):
                scores[included == bool(world)] = guesser.score(fresh[world])
                past[world] = join([past[world], fresh[world]])
        for begin in range(0, included.size, _LOOK):
            part = slice(begin, begin + _LOOK)
            process.update(np.where(scores[part] >= guesser.cut, 1, -1), included[part])
            for score, inside in zip(scores[part], included[part], strict=True):
                seen[int(inside)].append(float(score))
            if process.refutes(curve):
                break
        drawn += included.size
        if progress is not None:
            progress(drawn, most)
    outside, inside = np.array(seen[0]), np.array(seen[1])
    bound = process_bound(
        process,
        adjacency=claim.adjacency,
        unit=claim.unit,
        source="learnt on earlier trials, threshold and all",
    )
    result = AttackResult(
        attack="none" if guesser is None else guesser.attack.name,
        adversary=adversary(claim),
        sees=SEES,
        design="sequential",
        seed=seed,
        trials=process.trials,
        question=QUESTION,
        optimal=False,
        attainable_mu=None,
        error_share=1.0,
        auc=auc(inside, outside) if inside.size and outside.size else 0.5,
        scores_sha256=array_hash(inside, outside),
        seconds=round(time.monotonic() - start, 3),
        bound=bound,
        power=e_process_power(most_guesses(trials), claim, confidence=confidence),
    )
    looks = "nothing" if guesser is None else guesser.attack.description
    return result, (
        f"stopped after {process.trials} guesses and {drawn} outputs; the last attack looks at "
        f"{looks}"
    )


@dataclass(frozen=True)
class _Guesser:
    """An attack and the score from which on it says "in"."""

    attack: Attack
    rounding: Rounding | None
    cut: float

    @classmethod
    def learnt(
        cls,
        past: list[Outputs],
        claim: PrivacyClaim,
        rng: np.random.Generator,
        budget: Budget,
        families: tuple[str, ...] | None,
        floating_point: FloatingPoint,
    ) -> "_Guesser":
        """From earlier outputs: two thirds teach the attack, the rest choose its threshold."""
        mixed = [world[rng.permutation(len(world))] for world in past]
        rounding = None if floating_point == "refute" else Rounding.learn(mixed[1], mixed[0])
        if rounding is not None:
            mixed = [rounding.apply(world) for world in mixed]
        ends = [2 * len(world) // 3 for world in mixed]
        attack = learn(
            mixed[1][: ends[1]],
            mixed[0][: ends[0]],
            rng=rng,
            budget=budget,
            families=families,
            criterion="epsilon" if claim.epsilon is not None and not claim.is_curve else "mu",
            delta=claim.delta or 0.0,
        )
        inside, outside = attack.score(mixed[1][ends[1] :]), attack.score(mixed[0][ends[0] :])
        thresholds, tp, fp = distinct_counts(inside, outside)
        best = int(np.argmax(tp / inside.size - fp / outside.size))
        return cls(attack, rounding, float(thresholds[best]))

    def score(self, outputs: Outputs) -> NDArray[np.float64]:
        """float[n]."""
        return self.attack.score(outputs if self.rounding is None else self.rounding.apply(outputs))
