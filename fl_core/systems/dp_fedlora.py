"""DP-FedLoRA as a comparison: the file. `dp_fedlora_plan` has its rows, `dp_fedlora_run` runs them.

Source: Xu et al., arXiv:2509.09097, and its public code at 648254e.
"""

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ..config import Count, Positive, Section
from . import dp_fedlora_limits, dp_fedlora_plan
from .base import Metric, Part, Prepared, RowPlan, Say, SystemFile, SystemSection
from .dp_fedlora_plan import FFA

Rule = Literal["ffa", "rolora", "average", "stack", "residual", "svd"]
ServerRule = Literal["fedavgm", "fedadam", "fedyogi", "fedadagrad"]

_RULES: list[Rule] = ["ffa", "rolora", "average", "stack", "residual", "svd"]
_MAIL = (
    Metric(name="neighbour", words="accuracy on test texts of all other clients"),
    Metric(name="local", words="accuracy on a client's own test texts"),
    Metric(
        name="log-loss", words="mean cross-entropy on a client's own test texts",
        unit="nats", upper=math.inf, better="lower",
    ),
)  # fmt: skip
_LINES = (
    Metric(
        name="log-loss", words="mean cross-entropy of a token in a client's own held-out lines",
        unit="nats per token", upper=math.inf, better="lower",
    ),
    Metric(
        name="neighbour log-loss", words="the same in held-out lines of all other clients",
        unit="nats per token", upper=math.inf, better="lower",
    ),
)  # fmt: skip


class DpFedLoraSection(SystemSection):
    """[system]: public constants, sound and of the released program.

    `rules` are the ways to combine adapters that are run, without noise and, if linear, with noise
    at the sum; `local_noise` those that are also run with noise at each client. `server_rules` are
    optimisers that the server applies to the mean of FFA-LoRA; their rate is the published one
    unless `server_learning_rate` is given. `fedprox` and `dp_sgd_inside` are rows of their own.
    `claims` are epsilons that the released program is run with; its schedule takes
    `released_cohort` clients a round.
    """

    name: Literal["dp_fedlora"]
    rank: Count = 2
    alpha: Positive = 4.0
    clip_norm: Positive
    example_clip_norm: Positive = 1.0
    rules: Annotated[list[Rule], Field(min_length=1)] = _RULES
    local_noise: list[Rule] = []
    server_rules: list[ServerRule] = []
    server_learning_rate: Positive | None = None
    fedprox: bool = True
    dp_sgd_inside: bool = True
    claims: list[Positive] = []
    released_clip_norm: Positive = 0.1
    released_cohort: Count = 2
    released_rounds: Count = 25
    scaffold_rate: Positive = 0.3

    @field_validator("claims", "rules", "local_noise", "server_rules")
    @classmethod
    def _each_once(cls, given: list[float]) -> list[float]:
        if len(set(given)) < len(given):
            raise ValueError("must name each once")
        return given

    @model_validator(mode="after")
    def _server_fits(self) -> "DpFedLoraSection":
        if self.server_rules and FFA not in self.rules:
            raise ValueError(
                f"server_rules change what the server does with the mean of {FFA!r} and are "
                f"compared with it: put {FFA!r} in rules, too"
            )
        if self.server_learning_rate is not None and not self.server_rules:
            raise ValueError("server_learning_rate is for server_rules, but none is named")
        return self


class DataSection(Section):
    """[data]: texts of clients.

    "spam": texts of two classes, as many of each (`per_class`), dealt out by each seed anew in
    unequal mixtures of them; `mixture` is the sum of the Dirichlet parameters (1 if not given): the
    smaller, the fewer classes per client. "shakespeare": a client is a speaker of a play, and its
    texts are pieces of one length of that speaker's lines; each seed splits them anew.
    `neighbour_sample` other clients' texts judge a local-only model.
    """

    source: Literal["spam", "shakespeare"] = "spam"
    per_class: Count | None = None
    clients: Annotated[int, Field(ge=2, le=10_000)]
    train_each: Count
    test_each: Count
    mixture: Positive | None = None
    neighbour_sample: Count = 64
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _fits(self) -> "DataSection":
        each = self.train_each + self.test_each
        if self.source == "shakespeare":
            given = {"per_class": self.per_class, "mixture": self.mixture}
            for name, value in given.items():
                if value is not None:
                    raise ValueError(
                        f'{name} is for source = "spam", whose texts have classes; lines of '
                        "speakers have none: leave it out"
                    )
        elif self.per_class is None:
            raise ValueError('source = "spam" needs per_class, the number of texts of each class')
        elif self.clients * each > 2 * self.per_class:
            raise ValueError(
                f"data.clients = {self.clients} with {self.train_each} + {self.test_each} texts "
                f"each need more than the 2 * {self.per_class} that data.per_class gives"
            )
        if self.neighbour_sample > (self.clients - 1) * self.test_each:
            raise ValueError(
                f"data.neighbour_sample is {self.neighbour_sample}, but all other clients hold "
                f"{(self.clients - 1) * self.test_each} test texts"
            )
        return self


class ModelSection(Section):
    """[model]: its last layer alone has adapters, so that a text passes the others once.

    "minilm" sorts texts; "smollm2-135m" predicts the next token of each of the last `predicted`
    tokens of a text, and has no other head than its own.
    """

    source: Literal["minilm", "smollm2-135m"] = "minilm"
    length: Annotated[int, Field(ge=4, le=256)] = 32
    predicted: Count | None = None

    @model_validator(mode="after")
    def _fits(self) -> "ModelSection":
        if self.source == "minilm":
            if self.predicted is not None:
                raise ValueError("minilm sorts texts and predicts no tokens: leave out predicted")
        elif self.predicted is None:
            raise ValueError(
                f"{self.source} needs predicted: how many tokens of a text are predicted, its last"
            )
        elif self.predicted >= self.length:
            raise ValueError(
                f"predicted = {self.predicted} must be less than length = {self.length}: what is "
                "predicted follows something"
            )
        return self


class TrainingSection(Section):
    """[training]: what each client does in every round, by AdamW without decay.

    `unclipped_rate` is the learning rate where nothing is clipped, `alone_rate` (the same if not
    given) that where nothing is averaged either, which damps what one client does; `private_rate`
    that under DP-SGD. `private_steps` are those of DP-SGD, on samples of half a client's records.
    """

    rounds: Count
    epochs: Count = 1
    batch_size: Count
    learning_rate: Positive
    unclipped_rate: Positive
    alone_rate: Positive | None = None
    private_steps: Count = 2
    private_rate: Positive = 0.1
    central_batch_size: Count = 64


class DpFedLoraFile(SystemFile):
    """A comparison file of DP-FedLoRA."""

    system: DpFedLoraSection
    data: DataSection
    model: ModelSection = ModelSection()
    training: TrainingSection

    @model_validator(mode="after")
    def _fits(self) -> "DpFedLoraFile":
        if self.claim.unit != "client":
            raise ValueError('whole updates are clipped: write claim.unit = "client"')
        if self.claim.adjacency != "zero-out":
            raise ValueError(
                "an upload shows who takes part, and the rows are compared in one sense: write "
                'claim.adjacency = "zero-out" (one client\'s update becomes nothing)'
            )
        if self.causal != (self.data.source == "shakespeare"):
            raise ValueError(
                f'model.source = "{self.model.source}" does not fit data.source = '
                f'"{self.data.source}": minilm sorts spam, smollm2-135m continues lines of '
                "shakespeare. Change one of them"
            )
        if self.system.released_cohort > self.data.clients:
            raise ValueError("system.released_cohort exceeds data.clients")
        return self

    @property
    def causal(self) -> bool:
        """Whether tokens are predicted, and nothing but adapters is trained."""
        return self.model.source != "minilm"

    def assets(self) -> tuple[str, ...]:
        """Texts and the model."""
        return ("shakespeare" if self.causal else "spam-assassin", self.model.source)

    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy and loss of a classifier, or losses of a model of next tokens."""
        return _LINES if self.causal else _MAIL

    def parts(self) -> tuple[Part, ...]:
        """One part; what a client holds changes with the seed, so that no group stands out."""
        names = tuple(f"client {number + 1}" for number in range(self.data.clients))
        return (Part(clients=names, groups={}),)

    def rows(self) -> tuple[RowPlan, ...]:
        """See `dp_fedlora_plan`."""
        return dp_fedlora_plan.rows(self)

    def label(self) -> str:
        """What stands in for the publication's model and data."""
        if self.causal:
            return (
                "SmolLM2-135M last-layer stand-in for LLaMA-2-7B, on lines of plays instead of "
                "instructions"
            )
        return "MiniLM last-layer stand-in for LLaMA-2-7B, on mails instead of instructions"

    def limits(self) -> tuple[str, ...]:
        """See `dp_fedlora_limits`."""
        return dp_fedlora_limits.limits(self)

    def prepare(self, folder: Path, say: Say) -> Prepared:
        """See `SystemFile`."""
        from .dp_fedlora_run import prepare

        return prepare(self, say)
