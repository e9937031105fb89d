"""`OneRunAudit`: audit your own training run, with your own training loop.

The kit flips a fair coin for each candidate record, hands back the training set with those that
came up, and seals the coins: their hash can be published before training. After training it takes
one score per candidate and gives the record. One run is enough, whatever the training does with
the candidates together. Source: Steinke, Nasr & Jagielski, arXiv:2305.08846.
"""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..accountant import check, jsonio
from ..accountant.account import account
from ..accountant.assumption import Assumption
from ..accountant.claim import PrivacyClaim, as_claim
from ..accountant.errors import ClaimError, DesignError, RecordError
from ..accountant.event_json import to_dict
from ..attacks.scores import Scores
from .blackbox import adversary, declared, nothing_proven, plain, seal
from .containers import joined, size_of, taken
from .estimators.auc import auc
from .estimators.clopper_pearson import risk
from .estimators.estimate import claim_delta, estimate_scores
from .estimators.one_run_power import one_run_power
from .estimators.power import RefutablePower
from .record import AuditRecord
from .results import PROFILE, AttackResult, MechanismResult
from .stages import array_hash
from .verdict import judge_black_box

KIND = "training run"
FEWEST = 20


class OneRunAudit:
    """Fair coins for candidates, sealed before training.

    Args:
        candidates: records that may be trained on or not: an array, a tuple of arrays (such as
            features and labels), a list, a pandas DataFrame, a torch Dataset or a Hugging Face
            Dataset. Unusual records leak more, mislabelled ones for example.
        data: records that are always trained on, of the same kind; none if None.
        seed: of the coins, >= 0. None (default) draws them from the system's generator, so that
            nobody, the training code included, can know them.
        name: of the training, in the record.

    Attributes:
        included: bool[m], which candidates are in the training set. Whoever scores the candidates
            must not look at it.
        seal: SHA-256 of a random salt and the coins. Publish it before training.

    Raises:
        DesignError: fewer than 20 candidates, or a kind of data that is not known.

    >>> kit = OneRunAudit(np.arange(1000.0), seed=1)
    >>> model = set(kit.training_set.tolist())     # a training that remembers everything
    >>> scores = [float(x in model) for x in np.arange(1000.0)]
    >>> claim = {"epsilon": 2.0, "delta": 1e-5, "adjacency": "add-remove", "unit": "example"}
    >>> kit.verdict(scores, claim).verdict.word
    'REFUTED'
    """

    def __init__(
        self,
        candidates: Any,
        *,
        data: Any = None,
        seed: int | None = None,
        name: str = "training run",
    ) -> None:
        count = size_of(candidates)
        if count < FEWEST:
            raise DesignError(
                f"at least {FEWEST} candidates are needed, but there are {count}; the audit of one "
                "run rests on their number"
            )
        if seed is None:
            bits = np.frombuffer(secrets.token_bytes(count), dtype=np.uint8) & 1
            salt = secrets.token_hex(16)
        else:
            check.whole(seed=seed)
            generator = np.random.default_rng([seed, 0x0C0135])
            bits = generator.integers(0, 2, count)
            salt = generator.bytes(16).hex()
        self._set(bits.astype(bool), salt, seed, name)
        self._candidates, self._data = candidates, data

    def _set(self, included: NDArray[np.bool_], salt: str, seed: int | None, name: str) -> None:
        included.flags.writeable = False
        self.included, self._salt, self.seed, self.name = included, salt, seed, name
        self.seal = seal_of(salt, included)
        self._spent: dict[str, float] = {}

    @property
    def training_set(self) -> Any:
        """`data` and the candidates whose coin came up, of the kind that was given.

        The candidates come last: shuffle as you would anyhow.
        """
        if self._candidates is None:
            raise DesignError("this kit was read from a file, which holds the coins but no data")
        return joined(self._data, taken(self._candidates, np.flatnonzero(self.included)))

    def save(self, path: str | Path) -> None:
        """Keep the coins (not the data) in a file that only its owner can read; never overwrite."""
        text = json.dumps(
            {
                "kit": "privassay one-run audit",
                "name": self.name,
                "seed": self.seed,
                "salt": self._salt,
                "included": self.included.astype(int).tolist(),
                "seal": self.seal,
            }
        )
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)

    @classmethod
    def load(cls, path: str | Path) -> "OneRunAudit":
        """The kit that `save` wrote; it can give a verdict, but no training set.

        Raises:
            RecordError: not such a file, or changed since.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            included = np.array(found["included"])
            salt, seed, name, sealed = (found[k] for k in ("salt", "seed", "name", "seal"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} holds no one-run audit: {error!r}") from None
        if not np.isin(included, (0, 1)).all() or seal_of(salt, included.astype(bool)) != sealed:
            raise RecordError(f"the coins in {path} do not give their seal: the file was changed")
        kit = cls.__new__(cls)
        kit._set(included.astype(bool), salt, seed, name)
        kit._candidates = kit._data = None
        return kit

    def verdict(
        self,
        scores: ArrayLike,
        claim: PrivacyClaim | Mapping[str, Any],
        *,
        confidence: float = 0.95,
        event: dpe.DpEvent | None = None,
        method: str | None = None,
        guesses: tuple[int, int] | None = None,
        power: float = 3.0,
        attack: str = "canary score",
        share: float = 1.0,
        control: AuditRecord | None = None,
    ) -> AuditRecord:
        """What the scores show about `claim`.

        Args:
            scores: float[m], one per candidate in their order; larger means more likely included.
                Computed without looking at `included`.
            claim: a `PrivacyClaim` or a dictionary of its fields; adjacency "add-remove" or
                "zero-out", since a candidate is there or not.
            confidence: a correct claim is refuted with probability at most 1 - confidence.
            event: what the training is meant to be; with it the accountant's bound is recorded and
                the verdict can be CONSISTENT.
            method: "one_run_fdp" (default) or "guess_count".
            guesses: (how many to call in, how many out), fixed before the scores were seen; chosen
                on half of the candidates if None.
            power: CONSISTENT needs an audit that would have refuted this multiple of the claim.
            attack: how the scores were made, in words.
            share: part of the allowed error 1 - confidence that this verdict may spend. Several
                attacks, checkpoints or methods on one kit share it; asking again the same is free.
            control: the record of another kit: the same claim, attack and method on a run that is
                known to leak at least `power` times the claim. It must be REFUTED; without it
                nothing shows that the attack works, and the verdict is never CONSISTENT.

        Raises:
            ClaimError: a claim about replaced records.
            DesignError: not one finite score per candidate, a share that is spent, or a control
                that is none.
        """
        start = time.monotonic()
        claim = as_claim(claim)
        if hasattr(scores, "detach"):  # a torch tensor
            scores = scores.detach().cpu()
        try:
            values = np.asarray(scores, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DesignError(f"scores must be numbers: {error}") from None
        if values.shape != self.included.shape:
            raise DesignError(
                f"scores must be one number per candidate, float[{self.included.size}], but have "
                f"shape {values.shape}"
            )
        check.open_probability(confidence=confidence)
        if claim.adjacency == "replace-one":
            raise ClaimError(
                "a candidate is trained on or not: that tests add-remove or zero-out, not "
                "replace-one.\n  State the claim under add-remove."
            )
        event = declared(claim, event)
        made = Scores(
            values_in=values[self.included],
            values_out=values[~self.included],
            design="one_run",
            adversary=adversary(claim),
            attack=attack,
            adjacency=claim.adjacency,
            unit=claim.unit,
            seed=self.seed,
            # in the order of the candidates, which says nothing about the coins
            order=np.concatenate([np.flatnonzero(self.included), np.flatnonzero(~self.included)]),
        )
        result = one_run_result(
            made,
            claim,
            confidence=confidence,
            share=share,
            method=method,
            guesses=guesses,
            start=start,
        )
        if control is not None:
            _check_control(control, claim, result)
        self._spend(share, [array_hash(values), jsonio.dump(claim), method, guesses, attack])
        proven = nothing_proven(claim) if event is None else account(
            event, adjacency=claim.adjacency, unit=claim.unit
        )  # fmt: skip
        assumptions = self._assumptions()
        row = MechanismResult(
            name=self.name,
            kind=KIND,
            description=f"one training run, {values.size} candidates with a coin each",
            expect=None,
            parameters={"candidates": values.size, "included": int(self.included.sum())},
            event=to_dict(dpe.UnsupportedDpEvent() if event is None else event),
            assumptions=assumptions,
            proven=plain(proven),
            proven_epsilon=proven.epsilon(claim_delta(claim)),
            profile=() if event is None else tuple((e, proven.delta(e).upper) for e in PROFILE),
            releases=0,
            ledger_sha256="",
            clipped=(),
            attacks=(result,),
            verdict=judge_black_box(
                claim,
                proven=None if event is None else proven,
                assumptions=assumptions,
                measured=(result,),
                power_multiple=power,
                control=None if control is None else True,
            ),
        )
        return seal(
            claim,
            (row,),
            title=f"One-run audit of {self.name}",
            confidence=confidence,
            power=power,
            seed=self.seed or 0,
            resolved={
                "made_by": "OneRunAudit",
                "coins_sha256": self.seal,
                "salt": self._salt,
                "verdict_number": len(self._spent),
                "share_of_the_error": share,
                "control_sha256": None if control is None else control.digest,
            },
            start=start,
        )

    def _spend(self, share: float, asked: list[Any]) -> None:
        """Enter a verdict; the same question may be asked again for nothing."""
        if not 0.0 < share <= 1.0:
            raise DesignError(f"share must be in (0, 1], but is {share!r}")
        name = json.dumps([*asked, share])
        if name in self._spent:
            return
        if sum(self._spent.values()) + share > 1.0 + 1e-12:
            raise DesignError(
                f"a verdict with share {share:g} would be number {len(self._spent) + 1} from the "
                f"same coins, and {sum(self._spent.values()):g} of the allowed error is spent.\n"
                "  Give every verdict its share= beforehand (0.5 each for two), or make a new kit."
            )
        self._spent[name] = share

    def _assumptions(self) -> tuple[Assumption, ...]:
        return (
            Assumption(
                text="Each candidate was included by its own fair coin.",
                how=f"flipped by the kit; SHA-256 of salt and coins, sealed before: {self.seal}",
                holds=True,
            ),
            Assumption(
                text="Exactly the kit's training set was trained on, and the scores were made "
                "without knowing the coins.",
                how="the caller's word",
                holds=None,
            ),
        )


def _check_control(control: AuditRecord, claim: PrivacyClaim, result: AttackResult) -> None:
    """Raise `DesignError` unless the record shows that this attack refutes this claim."""
    made = control.resolved.get("made_by") == "OneRunAudit" and control.mechanisms[0].attacks[0]
    fits = (
        made
        and control.verdict.word == "REFUTED"
        and jsonio.dump(control.claim) == jsonio.dump(claim)
        and (made.attack, made.bound.method) == (result.attack, result.bound.method)
        and made.trials <= result.trials
    )
    if not fits:
        raise DesignError(
            "control must be the record of a one-run audit that REFUTED the claim, by the same "
            f"attack and method, with no more candidates; it is {control.verdict.word} about "
            f"{control.claim.text()}"
        )


def seal_of(salt: str, included: NDArray[np.bool_]) -> str:
    """SHA-256 of the salt and the coins, hexadecimal."""
    coins = "".join("1" if bit else "0" for bit in included)
    return hashlib.sha256(f"{salt}:{coins}".encode()).hexdigest()


@lru_cache(maxsize=32)
def _power(canaries: int, text: str, confidence: float, method: str) -> RefutablePower:
    """`one_run_power`, kept: it simulates."""
    claim = jsonio.load(PrivacyClaim, json.loads(text))
    return one_run_power(canaries, claim, confidence=confidence, method=method)


def one_run_result(
    scores: Scores,
    claim: PrivacyClaim,
    *,
    confidence: float,
    share: float,
    method: str | None,
    guesses: tuple[int, int] | None,
    start: float,
) -> AttackResult:
    """The bound of one run's scores as a record's row."""
    confidence = 1.0 - risk(confidence) * share
    bound = estimate_scores(
        scores, claim, confidence=confidence, method=method, guesses=guesses, seed=0
    )
    n_in, n_out = scores.values_in.size, scores.values_out.size
    return AttackResult(
        attack=scores.attack,
        adversary=scores.adversary,
        sees="whatever the scores were computed from",
        design=scores.design,
        seed=scores.seed or 0,
        trials=n_in + n_out,
        question="trained on against not trained on, for each candidate",
        optimal=False,
        attainable_mu=None,
        error_share=share,
        auc=auc(scores.values_in, scores.values_out),
        scores_sha256=array_hash(scores.values_in, scores.values_out),
        seconds=round(time.monotonic() - start, 3),
        bound=bound,  # type: ignore[arg-type]  # one_run methods give a GuessBound
        power=_power(n_in + n_out, jsonio.canonical(jsonio.dump(claim)), confidence, bound.method),
    )
