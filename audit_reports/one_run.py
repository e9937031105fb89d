"""`OneRunAudit`: audit your own training run, with your own training loop.

The kit flips a fair coin for each candidate record, hands back the training set with those that
came up, and seals the coins: their hash can be published before training. After training it takes
one score per candidate and gives the record. One run is enough, whatever the training does with
the candidates together. Source: Steinke, Nasr & Jagielski, arXiv:2305.08846.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..accountant import check, jsonio
from ..accountant.account import account
from ..accountant.claim import PrivacyClaim, as_claim
from ..accountant.errors import ClaimError, DesignError
from ..accountant.event_json import to_dict
from ..attacks.scores import Scores
from .blackbox_record import adversary, declared, nothing_proven, plain, seal
from .containers import joined, size_of, taken
from .estimators.estimate import claim_delta
from .one_run_book import Asked, Book, Kit, enter, read, seal_of, write_new
from .one_run_result import assumptions_about, check_control, one_run_result
from .record import AuditRecord
from .results import PROFILE, MechanismResult
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

    _book: Book
    _path: Path | None  # of the file that holds the book

    def _set(self, included: NDArray[np.bool_], salt: str, seed: int | None, name: str) -> None:
        included.flags.writeable = False
        self.included, self._salt, self.seed, self.name = included, salt, seed, name
        self.seal = seal_of(salt, included)
        self._book, self._path = Book(), None

    @property
    def training_set(self) -> Any:
        """`data` and the candidates whose coin came up, of the kind that was given.

        The candidates come last: shuffle as you would anyhow.
        """
        if self._candidates is None:
            raise DesignError("this kit was read from a file, which holds the coins but no data")
        return joined(self._data, taken(self._candidates, np.flatnonzero(self.included)))

    def save(self, path: str | Path) -> None:
        """Keep the coins (not the data) in a file that only its owner can read; never overwrite.

        From now on the file also counts the verdicts of this kit (`verdict`), so leave it there.

        Raises:
            DesignError: the kit has a file already; a second one would count on its own.
        """
        target = Path(path).resolve()
        if self._path is not None and not target.exists():
            raise DesignError(
                f"this kit is kept in {self._path}, which counts its verdicts; a second file would "
                "count on its own.\n  Load that one."
            )
        coins = self.name, self.seed, self._salt, self.included, self.seal
        write_new(target, Kit(*coins, self._book))
        self._path = target

    @classmethod
    def load(cls, path: str | Path) -> "OneRunAudit":
        """The kit that `save` wrote; it can give a verdict, but no training set.

        A file of an older version counted no verdicts: its first one now starts the book, and
        records say that earlier ones are not known.

        Raises:
            RecordError: not such a file, or changed since.
        """
        found = read(Path(path))
        kit = cls.__new__(cls)
        kit._set(found.included, found.salt, found.seed, found.name)
        kit._candidates = kit._data = None
        kit._book, kit._path = found.book, Path(path).resolve()
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
                attacks, checkpoints, methods or confidences on one kit share it, also over
                processes that load the same file; asking again the same is free.
            control: the record of another kit: the same claim, attack and method on a run that is
                known to leak at least `power` times the claim. It must be REFUTED; without it
                nothing shows that the attack works, and the verdict is never CONSISTENT.

        Raises:
            ClaimError: a claim about replaced records.
            DesignError: not one finite score per candidate, a share that is spent, a control that
                is none, or a kit's file that the verdict cannot be entered into.
            RecordError: the kit's file was changed.
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
            check_control(control, claim, result)
        asked = [array_hash(values), jsonio.dump(claim), method, guesses, attack, share, confidence]
        one = self._spend(asked, attack, confidence, share)
        proven = nothing_proven(claim) if event is None else account(
            event, adjacency=claim.adjacency, unit=claim.unit
        )  # fmt: skip
        assumptions = assumptions_about(self.seal)
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
                "verdict_number": self._book.number(one),
                "share_of_the_error": share,
                "share_spent_before": self._book.before(one),
                "verdicts_counted": self._counted(),
                "control_sha256": None if control is None else control.digest,
            },
            start=start,
        )

    def _spend(self, asked: list[Any], attack: str, confidence: float, share: float) -> Asked:
        """Enter a verdict into the book; the same question may be asked again for nothing."""
        question = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        one = Asked(question=question, attack=attack, confidence=confidence, share=share)
        if self._path is None:
            self._book = self._book.entered(one)
        else:
            self._book = enter(self._path, self.seal, one)
        return one

    def _counted(self) -> str:
        if self._path is None:
            return "by this object, which was not saved"
        if self._book.whole:
            return "in the kit's file, from the first one on"
        return "in the kit's file, which an older version made: earlier ones are not known"
