"""What attacks on causal language models look at: how likely each token of a text was."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...accountant.errors import DesignError

_ROUNDING = 1e-4  # a probability of 1 in single precision may come out that far above it, in nats


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenScores:
    """Log probabilities of the tokens of texts under models: answers to queries.

    A text's first token is predicted by nothing, so a text of t tokens has t - 1 positions. What
    lies outside a text is never read.

    Attributes:
        logp: float64[models, texts, positions], natural logarithm of each token's probability,
            given the tokens before it.
        inside: bool[texts, positions]: the position belongs to the text.
        mean: float64[models, texts, positions], expectation of the log probability of a token
            drawn from the model at that position; None if it was not asked for.
        sd: likewise, its standard deviation.
        greedy: bool[models, texts, positions]: the token is the most likely one; None likewise.
        texts: the texts themselves, for attacks that read them; None if they were tokens only.
        lengths: int64[texts], number of positions of each text; computed here.

    Raises:
        DesignError: shapes contradict each other, a text has no position, or a number inside a
            text is no log probability.
    """

    logp: Tensor
    inside: Tensor
    mean: Tensor | None = None
    sd: Tensor | None = None
    greedy: Tensor | None = None
    texts: tuple[str, ...] | None = None
    lengths: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.logp.ndim != 3 or self.inside.shape != self.logp.shape[1:]:
            raise DesignError(
                f"logp must be float64[models, texts, positions] and inside bool[texts, "
                f"positions], but they are {list(self.logp.shape)} and {list(self.inside.shape)}"
            )
        if self.inside.dtype != torch.bool:
            raise DesignError(f"inside must be bool, but is {self.inside.dtype}")
        for name in ("logp", "mean", "sd"):
            value = getattr(self, name)
            if value is None:
                continue
            if value.shape != self.logp.shape or value.dtype != torch.float64:
                raise DesignError(
                    f"{name} must be float64{list(self.logp.shape)}, but is "
                    f"{value.dtype}{list(value.shape)}"
                )
            if not bool(torch.isfinite(value[:, self.inside]).all()):
                raise DesignError(
                    f"{name} holds NaN or infinity; a model that diverged, or that forbids a "
                    "token, cannot be scored"
                )
        if bool((self.logp[:, self.inside] > _ROUNDING).any()):
            raise DesignError("logp holds values above 0: these are no log probabilities")
        if self.sd is not None and bool((self.sd[:, self.inside] < 0.0).any()):
            raise DesignError("sd holds values below 0")
        if self.greedy is not None and (
            self.greedy.shape != self.logp.shape or self.greedy.dtype != torch.bool
        ):
            raise DesignError(f"greedy must be bool{list(self.logp.shape)}")
        if self.texts is not None and len(self.texts) != len(self.inside):
            raise DesignError(f"{len(self.texts)} texts, but scores of {len(self.inside)}")
        object.__setattr__(self, "lengths", self.inside.sum(dim=1))
        empty = torch.nonzero(self.lengths == 0).flatten().tolist()
        if empty:
            raise DesignError(
                f"text {empty[0]} has no predicted token: it needs two tokens at least"
            )

    def total(self) -> Tensor:
        """float64[models, texts]: log likelihood of each text, in nats, given its first token."""
        return torch.where(self.inside, self.logp, 0.0).sum(dim=2)

    def average(self) -> Tensor:
        """float64[models, texts]: `total` per token, minus the usual loss."""
        return self.total() / self.lengths

    def require_same_texts(self, other: "TokenScores", what: str) -> None:
        """Raise `DesignError` unless `other`, called `what`, is about the same texts."""
        same = torch.equal(self.inside, other.inside)
        if self.texts is not None and other.texts is not None:
            same = same and self.texts == other.texts
        if not same:
            raise DesignError(f"{what} must be scores of the same texts, in the same order")
