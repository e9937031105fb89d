"""DP-FedLoRA as a comparison: the file, and its rows. What runs them is `dp_fedlora_run`.

Source: Xu et al., arXiv:2509.09097, and its public code at 648254e.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ..config import Count, Positive, Section
from .base import NO_RECORDS, Metric, Part, Prepared, RowPlan, Say, SystemFile, SystemSection

BASE, HEAD = "base model", "head only"
LOCAL, CENTRAL = "local-only LoRA", "central LoRA"
FEDAVG, FEDPROX = "FedAvg, no DP", "FedProx"
INSIDE = "ffa, DP-SGD inside"
RELEASED_TWO, RELEASED_ALL = "as released, few a round", "as released, all clients"
LEAK = "SCAFFOLD as released"
LINEAR, BY_UPLOAD = ("ffa", "rolora", "average"), ("stack", "residual", "svd")
RULES: dict[str, str] = {
    "ffa": "A frozen, B averaged (FFA-LoRA)",
    "rolora": "B and A in turn (RoLoRA)",
    "average": "each factor averaged by itself, as the program does",
    "stack": "products stacked and folded (FLoRA)",
    "residual": "averages, and what they miss is folded (FedEx-LoRA)",
    "svd": "the mean product, cut to the rank",
}
LOCALLY = ", local noise"

_SERVER = "outsider and peer: all broadcasts; the server or a secure sum is trusted"
_UPLOADS = "server: every upload"
_NOBODY = "nothing depends on a record"


class DpFedLoraSection(SystemSection):
    """[system]: public constants, sound and of the released program.

    `local_noise` names rules that are also run with noise at each client. `claims` are epsilons
    that the released program is run with; its schedule takes `released_cohort` clients a round.
    """

    name: Literal["dp_fedlora"]
    rank: Count = 2
    alpha: Positive = 4.0
    clip_norm: Positive
    example_clip_norm: Positive = 1.0
    local_noise: list[Literal["ffa", "rolora", "average", "stack", "residual", "svd"]] = []
    claims: list[Positive] = []
    released_clip_norm: Positive = 0.1
    released_cohort: Count = 2
    released_rounds: Count = 25
    scaffold_rate: Positive = 0.3

    @field_validator("claims", "local_noise")
    @classmethod
    def _each_once(cls, given: list[float]) -> list[float]:
        if len(set(given)) < len(given):
            raise ValueError("must name each once")
        return given


class DataSection(Section):
    """[data]: texts of two classes, dealt out by each seed anew in unequal mixtures of them.

    `mixture` is the sum of the Dirichlet parameters: the smaller, the fewer classes per client.
    `neighbour_sample` other clients' texts judge a local-only model.
    """

    source: Literal["spam"] = "spam"
    per_class: Count
    clients: Annotated[int, Field(ge=2, le=10_000)]
    train_each: Count
    test_each: Count
    mixture: Positive = 1.0
    neighbour_sample: Count = 64
    seed: Annotated[int, Field(ge=0)] = 0


class ModelSection(Section):
    """[model]: MiniLM; only its last layer has adapters, so that a text passes the others once."""

    source: Literal["minilm"] = "minilm"
    length: Annotated[int, Field(ge=4, le=256)] = 32


class TrainingSection(Section):
    """[training]: what each client does in every round, by AdamW without decay.

    `unclipped_rate` is the learning rate where nothing is clipped, `private_rate` that under
    DP-SGD. `private_steps` are those of DP-SGD, on samples of half a client's records.
    """

    rounds: Count
    epochs: Count = 1
    batch_size: Count
    learning_rate: Positive
    unclipped_rate: Positive
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
        data = self.data
        if data.clients * (data.train_each + data.test_each) > 2 * data.per_class:
            raise ValueError(
                f"data.clients = {data.clients} with {data.train_each} + {data.test_each} texts "
                f"each need more than the 2 * {data.per_class} that data.per_class gives"
            )
        if data.neighbour_sample > (data.clients - 1) * data.test_each:
            raise ValueError(
                f"data.neighbour_sample is {data.neighbour_sample}, but all other clients hold "
                f"{(data.clients - 1) * data.test_each} test texts"
            )
        if self.system.released_cohort > data.clients:
            raise ValueError("system.released_cohort exceeds data.clients")
        return self

    def assets(self) -> tuple[str, ...]:
        """Mails and the encoder."""
        return ("spam-assassin", "minilm")

    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy, and the loss on a client's own texts."""
        return (
            Metric(name="neighbour", words="accuracy on test texts of all other clients"),
            Metric(name="local", words="accuracy on a client's own test texts"),
            Metric(
                name="log-loss", words="mean cross-entropy on a client's own test texts",
                unit="nats", upper=math.inf, better="lower",
            ),
        )  # fmt: skip

    def parts(self) -> tuple[Part, ...]:
        """One part; which client holds what changes with the seed, so that no group stands out."""
        names = tuple(f"client {number + 1}" for number in range(self.data.clients))
        return (Part(clients=names, groups={}),)

    def rows(self) -> tuple[RowPlan, ...]:
        """Controls, rules without noise, with noise at the sum, at clients, inside, as released.

        Each row with noise is followed by its twin without records.
        """
        return (*self._controls(), *self._without_noise(), *self._sound(), *self._published())

    def _controls(self) -> list[RowPlan]:
        plain = self._plan(BASE, "no fine-tuning: random head, adapters that do nothing")
        plain = replace(plain, control=True, view=_NOBODY, records=False)
        found = [
            plain,
            replace(
                self._plan(LOCAL, "each client by itself; nothing is shared"),
                control=True, against=(BASE,),
            ),
            replace(
                self._plan(CENTRAL, "one client with all texts, no noise"),
                control=True, against=(BASE, HEAD),
            ),
        ]  # fmt: skip
        for asked in (None, *self.compare.epsilons):
            words = "no adapters: the head alone, on frozen features; clipped, "
            words += "no noise" if asked is None else "noise at the sum"
            row = replace(self._plan(HEAD, words, asked=asked), control=True)
            found += [row] if asked is None else _with_twin(row)
        return found

    def _without_noise(self) -> list[RowPlan]:
        found = [
            self._plan(FEDAVG, "each factor averaged by itself; neither clip nor noise"),
            self._plan(FEDPROX, "ffa with a pull towards the broadcast; clipped, no noise"),
        ]
        found += [self._plan(name, f"{words}; clipped, no noise") for name, words in RULES.items()]
        words = "A frozen; each record's gradient clipped, no noise"
        found.append(replace(self._plan(INSIDE, words), unit="example"))
        return [replace(row, against=(BASE, HEAD, LOCAL)) for row in found]

    def _sound(self) -> list[RowPlan]:
        found: list[RowPlan] = []
        against = (BASE, HEAD, LOCAL)
        for asked in self.compare.epsilons:
            for name in LINEAR:
                words = f"{RULES[name]}; update clipped, noise at the sum"
                row = self._plan(name, words, asked=asked)
                found += _with_twin(replace(row, against=against))
            # What follows is for another adversary, or another unit, than the head at a budget.
            for name in self.system.local_noise:
                words = f"{RULES[name]}; update clipped, noise at each client"
                row = self._plan(f"{name}{LOCALLY}", words, asked=asked)
                found += _with_twin(replace(row, view=_UPLOADS, against=(BASE, LOCAL)))
            words = "A frozen; DP-SGD in each client, what follows is post-processing"
            row = self._plan(INSIDE, words, asked=asked)
            row = replace(row, unit="example", view=_UPLOADS, against=(BASE, LOCAL))
            found += _with_twin(row)
        return found

    def _published(self) -> list[RowPlan]:
        system = self.system
        found: list[RowPlan] = []
        words = "weights of each tensor clipped and noised by themselves, factors averaged"
        for claim in system.claims:
            few = f"{words}; {system.released_cohort} clients a round, a public schedule"
            found += _with_twin(self._claimed(RELEASED_TWO, few, claim))
        if system.claims:
            every = self._claimed(RELEASED_ALL, f"{words}; all clients", system.claims[0])
            leak = f"{words}; control variates go up as they are"
            found += [*_with_twin(every), self._claimed(LEAK, leak, system.claims[0])]
        return found

    def _claimed(self, name: str, protection: str, claim: float) -> RowPlan:
        row = self._plan(name, protection, asked=claim)
        return replace(row, released=True, view=_UPLOADS, against=(BASE,))

    def _plan(self, name: str, protection: str, *, asked: float | None = None) -> RowPlan:
        return RowPlan(
            name=name,
            asked=asked,
            protection=protection,
            unit="client",
            adjacency=self.claim.adjacency,
            view=_SERVER,
        )

    def label(self) -> str:
        """What stands in for the publication's model and data."""
        return "MiniLM last-layer stand-in for LLaMA-2-7B, on mails instead of instructions"

    def limits(self) -> tuple[str, ...]:
        """What the comparison does not show."""
        data, training = self.data, self.training
        return (
            "The publication fine-tunes LLaMA-2-7B on instructions; here a small encoder has "
            "adapters in its last layer and sorts mails. The shape of differences is what can be "
            "compared, not the numbers.",
            "The base model has a random head, so it guesses. What the frozen features know by "
            f"themselves is the row {HEAD!r}.",
            f"Rows {INSIDE!r} protect one record, the others a client with all of its records; "
            f"noise at the sum (trusted) and noise at each client ({LOCALLY[2:]}) protect against "
            "different adversaries. Such epsilons are of different things: they are in different "
            "tables and figures, and no difference is taken between them.",
            f"Rows {LEAK!r} have no twin without records: what their control variates would be "
            "without any is not noise.",
            f"Row {RELEASED_ALL!r} averages over {data.clients} uploads, which the published runs "
            f"(2 a round) never did; row {RELEASED_TWO!r} runs {self.system.released_rounds} "
            "rounds, the publication 200. Its public learning rate is replaced by that of the file "
            "in both.",
            f"Small: {data.clients} clients of {data.train_each} texts, {training.rounds} rounds. "
            "Seeds deal out the same texts anew, so intervals are narrower than over new texts. "
            "Learning rate, clip bound and rounds were chosen on mails of the same corpus.",
            f"All rows but {LOCAL!r} have one model for everybody, whose local and neighbour "
            "accuracy are the same on average over clients.",
            f"Neighbour accuracy of {LOCAL!r} is on {data.neighbour_sample} texts of others drawn "
            "for each client.",
        )

    def prepare(self, folder: Path, say: Say) -> Prepared:
        """See `SystemFile`."""
        from .dp_fedlora_run import prepare

        return prepare(self, say)


def _with_twin(row: RowPlan) -> list[RowPlan]:
    """The row, compared with its own noise too, and what it is compared with there."""
    return [replace(row, against=(*row.against, row.name + NO_RECORDS)), row.twin]
