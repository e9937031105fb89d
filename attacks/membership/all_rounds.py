"""All rounds of an attack, each weighted by what it is worth.

Early rounds move a lot, late ones say little, and noise differs. From scores of records that are
known not to be in, and perhaps of some that are, measured in runs of the adversary's own: weights
(mean in - mean out) / variance, which is the likelihood ratio of independent rounds with Gaussian
scores of equal variance; or 1 / variance, its best guess where nothing is known of members and
every round shifts alike. Source: Neyman & Pearson, 1933 (for Gaussian scores, Fisher's linear rule
with independent features); sums over rounds as in Zhu et al., arXiv:2402.06289.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...accountant.errors import DesignError
from .updates import PerRound, Records, Updates


@dataclass(frozen=True, kw_only=True, eq=False)
class AllRounds:
    """Weighted sum over rounds of another attack's scores.

    Attributes:
        attack: what says something in every round.
        out: float64[k, rounds], k >= 2 scores of records that are not in, of the adversary's own
            runs or of records that nobody holds; never the candidates' own.
        inside: float64[k, rounds], the same of members; None if there are none.

    Raises:
        DesignError: shapes do not fit, numbers are not finite, or a round has no variance.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer")
    needs: ClassVar[tuple[str, ...]] = (
        "what the attack of each round needs",
        "scores of known non-members, and better also of members, in runs of its own",
    )
    cost: ClassVar[str] = "that of the attack of each round; a shadow federation to calibrate"
    source: ClassVar[str] = "Neyman & Pearson, 1933; rounds as in Zhu et al., arXiv:2402.06289"

    attack: PerRound
    out: Tensor
    inside: Tensor | None = None

    def __post_init__(self) -> None:
        rounds = self.out.shape[-1]
        for name, value in (("out", self.out), ("inside", self.inside)):
            if value is None:
                continue
            if value.ndim != 2 or len(value) < 2 or value.shape[1] != rounds:
                raise DesignError(
                    f"{name} must be float64[k, {rounds}] with k >= 2, but has the shape "
                    f"{list(value.shape)}"
                )
            if not bool(value.isfinite().all()):
                raise DesignError(f"{name} holds NaN or infinity")
        if not bool((self._variance() > 0).all()):
            raise DesignError("the scores of some round are all equal, so it has no weight")

    def score(self, view: Updates, candidates: Records) -> Tensor:
        """float64[trials, m]; larger means more likely a member.

        Raises:
            DesignError: the rounds are not those of the calibration, or the attack's own.
        """
        each = self.attack.per_round(view, candidates)
        if each.shape[1] != self.out.shape[1]:
            raise DesignError(
                f"calibrated on {self.out.shape[1]} rounds, but the view has {each.shape[1]}"
            )
        centred = each - self.out.mean(dim=0).unsqueeze(-1)
        return (self.weights().unsqueeze(-1) * centred).sum(dim=1)

    def weights(self) -> Tensor:
        """float64[rounds]."""
        if self.inside is None:
            return 1.0 / self._variance()
        return (self.inside.mean(dim=0) - self.out.mean(dim=0)) / self._variance()

    def _variance(self) -> Tensor:
        """float64[rounds], pooled over the two worlds."""
        variance: Tensor = self.out.var(dim=0)
        if self.inside is None:
            return variance
        a, b = len(self.out) - 1, len(self.inside) - 1
        return (a * variance + b * self.inside.var(dim=0)) / (a + b)
