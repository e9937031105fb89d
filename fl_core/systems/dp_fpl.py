"""DP-FPL as a comparison: the file, and its rows. What runs them is `dp_fpl_run`.

Source: Tran et al., arXiv:2501.13904, and the rows of its public code.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ...accountant.adjacency import FIXED_SIZE
from ..config import Count, Positive
from . import prompt_files
from .base import NO_RECORDS, Metric, Part, Prepared, RowPlan, Say, SystemFile, SystemSection
from .prompt_files import METRICS, ModelSection, TrainingSection

ZERO_SHOT = "zero-shot"
LOCAL, JOINT, MEMORY = "local-only prompt", "joint prompt", "memory alone"
RELEASED = "dpfpl as released"
FED_OTP, PFED_PROMPT = "fedotp", "pfedprompt"
METHODS: dict[str, str] = {
    "promptfl": "one context for all, averaged",
    PFED_PROMPT: "one context for all, averaged, + each client's own records in memory",
    FED_OTP: "shared and own context, matched with places of a picture by optimal transport",
    "fedotp-as-in-code": "shared + own context; as in DP-FPL's code, without optimal transport",
    "fedpgp-as-in-code": "shared + own low-rank context; as in DP-FPL's code, without contrast",
    "dplora": "shared + low-rank part of the own context",
    "dpfpl": "shared + own context, whose gradient is projected",
}
_CLASSES = 10  # of every source
_OUTSIDER = "outsider: all served prompts and broadcasts"
_MEMBERS = "members: broadcasts; served models hold records as they are: no bound"
_ALSO: dict[str, tuple[str, ...]] = {
    FED_OTP: ("fedotp-as-in-code",),
    PFED_PROMPT: (MEMORY,),
}


class DpFplSection(SystemSection):
    """[system]: public constants. `claims` are epsilons that the released program is run with.

    Those of transport are of FedOTP's public script for CIFAR-100, those of the memory of
    Tip-Adapter's public settings for ImageNet. None is chosen on the clients' records.
    """

    name: Literal["dp_fpl"]
    clip_norm: Positive
    rank: Count = 1
    transport_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    # Below that the kernel of a far pair is nothing in single precision.
    transport_temperature: Annotated[float, Field(ge=0.03, le=100)] = 0.1
    memory_weight: Positive = 1.17
    memory_sharpness: Positive = 1.0
    claims: list[Positive] = []
    released_learning_rate: Positive = 1e-3
    released_clip_norm: Positive = 10.0

    @field_validator("claims")
    @classmethod
    def _each_once(cls, claims: list[float]) -> list[float]:
        if len(set(claims)) < len(claims):
            raise ValueError("must name each once")
        return claims


class DataSection(prompt_files.DataSection):
    """[data]: disjoint blocks of classes, one per client."""

    source: Literal["fashion_mnist", "optdigits"]
    classes_each: Count = 2


class DpFplFile(SystemFile):
    """A comparison file of DP-FPL."""

    system: DpFplSection
    data: DataSection
    model: ModelSection = ModelSection()
    training: TrainingSection

    @model_validator(mode="after")
    def _fits(self) -> "DpFplFile":
        if self.claim.unit != "example":
            raise ValueError('records are clipped one by one: write claim.unit = "example"')
        if self.claim.adjacency not in FIXED_SIZE:
            raise ValueError(
                f"batches have a fixed size: claim.adjacency must be one of {FIXED_SIZE}"
            )
        if self.records % self.training.batch_size:
            raise ValueError(
                f"a client has {self.records} training records, which are no whole batches of "
                f"{self.training.batch_size}"
            )
        if self.system.rank >= self.model.context_length:
            raise ValueError(
                f"system.rank is {self.system.rank}, but must be below model.context_length = "
                f"{self.model.context_length}: else the low-rank part of a prompt is all of it"
            )
        if self.data.clients * self.data.classes_each != _CLASSES:
            raise ValueError(
                f"data.clients times data.classes_each must be {_CLASSES}: every class has one "
                "client, and no client shares one"
            )
        return self

    @property
    def records(self) -> int:
        """Training records of a client."""
        return self.data.classes_each * self.data.train_per_class

    @property
    def batches(self) -> int:
        """Of an epoch."""
        return self.records // self.training.batch_size

    @property
    def steps(self) -> int:
        """Of a run."""
        return self.training.epochs * self.batches

    def metrics(self) -> tuple[Metric, ...]:
        """Local and neighbour accuracy."""
        return METRICS

    def gap(self) -> tuple[str, str]:
        """What is left of personalisation."""
        return ("local", "neighbour")

    def assets(self) -> tuple[str, ...]:
        """Pictures and encoders."""
        return prompt_files.assets(self.data, self.model)

    def label(self) -> str:
        """Of the models."""
        return self.model.label()

    def parts(self) -> tuple[Part, ...]:
        """One part."""
        names = tuple(f"client {number + 1}" for number in range(self.data.clients))
        return (Part(clients=names, groups={name: (i,) for i, name in enumerate(names)}),)

    def rows(self) -> tuple[RowPlan, ...]:
        """Controls; each method and its twin, without noise and at each budget; as released."""
        budgets = (None, *self.compare.epsilons)
        found = [
            replace(
                self._row(ZERO_SHOT, "hand-written prompt; no record enters", control=True),
                records=False,
            ),
            self._row(LOCAL, "clipped, no noise, nothing shared", control=True),
            self._row(
                MEMORY, "hand-written prompt + each client's own records, as they are", control=True
            ),
            self._row(JOINT, "clipped, no noise, one client with all records", control=True),
        ]
        for name, what in METHODS.items():
            for asked in budgets:
                noise = "no noise" if asked is None else "noise at the client"
                words = f"{what}; each record clipped, {noise}"
                against = (ZERO_SHOT, name + NO_RECORDS, LOCAL, *_ALSO.get(name, ()))
                row = self._row(name, words, asked=asked, against=against)
                if name == PFED_PROMPT:
                    row = replace(row, view=_MEMBERS)
                found += [row, row.twin]
        for claim in self.system.claims:
            words = "the public program: batch clipped, state of all clients shared"
            against = (ZERO_SHOT, RELEASED + NO_RECORDS, LOCAL)
            row = self._row(RELEASED, words, asked=claim, released=True, against=against)
            found += [row, row.twin]
        return tuple(found)

    def limits(self) -> tuple[str, ...]:
        """What the comparison does not show."""
        return (
            "The server of the released program sees gradients without noise: no bound for it, "
            "whatever the table says about an outsider.",
            "Rows promptfl and those called as in code are the baselines of DP-FPL's code, noised "
            "once at the client; the published methods of the last two have losses that these "
            "lack, and the code noises promptfl twice.",
            "Row fedotp has the published transport, but a fixed number of iterations; its private "
            "training is no part of the publication. Its scores are of single places, those of "
            "other rows of whole pictures: compare it with its own row without records first.",
            "A model that pfedprompt serves holds the client's records as they are: its epsilon is "
            "for the broadcasts alone, and whoever is served has no bound at all. Its context is "
            "trained without the memory, and it is written from descriptions of the publication.",
            "Poisson samples (promptfl, pfedprompt, fedotp, fedpgp) and shuffled batches (dplora, "
            "dpfpl) are accounted as what they are: at equal epsilon their noise differs.",
            "Local-only, joint and noise-free rows protect nothing. Clip bound, rank, learning "
            "rate and number of steps were chosen by hand, without noise, partly on pictures of "
            "the same pool, and no budget was charged for it.",
            "Seeds deal out pictures of one pool anew: intervals are narrower than over new "
            "pictures.",
            f"Small: {self.data.clients} clients, {self.records} records each, "
            f"{self.steps} steps; the released program keeps its clip "
            "bound and learning rate, but runs as few rounds.",
        )

    def prepare(self, folder: Path, say: Say) -> Prepared:
        """See `SystemFile`."""
        from .dp_fpl_run import prepare

        return prepare(self, folder, say)

    def _row(
        self,
        name: str,
        protection: str,
        *,
        asked: float | None = None,
        released: bool = False,
        control: bool = False,
        against: tuple[str, ...] = (),
    ) -> RowPlan:
        return RowPlan(
            name=name,
            asked=asked,
            released=released,
            protection=protection,
            control=control,
            unit="example",
            adjacency=self.claim.adjacency,
            view=_OUTSIDER,
            against=against,
        )
