"""SecFPP as a comparison: the file, and its rows. What runs them is `secfpp_run`.

Source: Hou, Li & Buyukates, arXiv:2505.22447.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ...accountant.adjacency import FIXED_SIZE, Adjacency, Unit
from ..config import Count, Positive
from . import prompt_files
from .base import (
    NO_RECORDS,
    DpLine,
    Metric,
    Part,
    Prepared,
    RowPlan,
    Say,
    SystemFile,
    SystemSection,
)
from .prompt_files import METRICS, ModelSection, TrainingSection

ZERO_SHOT, LOCAL, ONE = "zero-shot", "local-only prompt", "one cluster"
ORACLE, RANDOM, FED_PGP = "clusters by domain", "random clusters", "fedpgp"
DESCRIBED, MPC, DP = "as_described", "sound_mpc", "sound_dp"
TWIN = " in the clear"
SEVERAL, SINGLE = "several domains", "one domain"
DOMAINS: dict[str, tuple[str, ...]] = {
    "emoji": ("noto", "twemoji"),
    "digit_domains": ("mnist", "optdigits", "mnist_m", "synth"),
}
_MEMBERS = "members: cluster prompts and sums; served prompts: no bound"
_SERVED = "outsider: served prompts"


class SecFppSection(SystemSection):
    """[system]: public constants; see `Setting`, `AdaptiveRule`, `SoundDp`."""

    name: Literal["secfpp"]
    rounds: Annotated[int, Field(ge=1, le=10_000)]
    period: Count
    dimension: Annotated[int, Field(ge=1, le=10_000)] = 16
    slices: Count = 2
    colluders: Count = 2
    clusters: Count = 4
    iterations: Annotated[int, Field(ge=1, le=1_000)] = 3
    split_above: Positive
    merge_below: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    clip_point: Positive = 1.0
    clip_prompt: Positive = 1.0
    fedpgp_rank: Count = 2


class DataSection(prompt_files.DataSection):
    """[data]: `clients` in all, as many of each domain; all classes each."""

    source: Literal["emoji", "digit_domains"]


class SecFppFile(SystemFile):
    """A comparison file of SecFPP."""

    system: SecFppSection
    data: DataSection
    model: ModelSection = ModelSection()
    training: TrainingSection

    @model_validator(mode="after")
    def _fits(self) -> "SecFppFile":
        if self.claim.unit != "client":
            raise ValueError('noise hides a whole client: write claim.unit = "client"')
        if self.claim.adjacency not in FIXED_SIZE:
            raise ValueError(f"who takes part is public: claim.adjacency is one of {FIXED_SIZE}")
        if self.data.clients % len(self.domains):
            raise ValueError(
                f"data.clients = {self.data.clients} are not as many for each of the "
                f"{len(self.domains)} domains {', '.join(self.domains)}"
            )
        system = self.system
        if system.period > system.rounds:
            raise ValueError(
                f"system.period is {system.period}, but must be at most system.rounds = "
                f"{system.rounds}: clients are grouped anew every so many rounds"
            )
        if system.merge_below > system.split_above:
            raise ValueError(
                f"system.merge_below is {system.merge_below:g}, but must be at most "
                f"system.split_above = {system.split_above:g}: else what is split is merged again"
            )
        if system.clusters > self.data.clients:
            raise ValueError(
                f"system.clusters is {system.clusters}, but must be at most data.clients = "
                f"{self.data.clients}"
            )
        if system.fedpgp_rank > self.model.context_length:
            raise ValueError(
                f"system.fedpgp_rank is {system.fedpgp_rank}, but must be at most "
                f"model.context_length = {self.model.context_length}"
            )
        return self

    @property
    def domains(self) -> tuple[str, ...]:
        """Of the source."""
        return DOMAINS[self.data.source]

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
        """Clients of several domains; and clients who all share one, where clusters cannot help."""
        count, each = self.data.clients, self.data.clients // len(self.domains)
        groups = {d: tuple(range(i * each, (i + 1) * each)) for i, d in enumerate(self.domains)}
        names = tuple(f"{d} {k + 1}" for d in self.domains for k in range(each))
        first = self.domains[0]
        alike = tuple(f"{first} {k + 1}" for k in range(count))
        return (
            Part(name=SEVERAL, clients=names, groups=groups),
            Part(name=SINGLE, clients=alike, groups={first: tuple(range(count))}),
        )

    def rows(self) -> tuple[RowPlan, ...]:
        """In both parts: controls, the three modes, two without shares, one without records."""
        found = []
        for part in (SEVERAL, SINGLE):
            controls = (LOCAL, ONE, ORACLE, RANDOM) if part == SEVERAL else (LOCAL, ONE, RANDOM)
            found += [
                replace(
                    _row(part, ZERO_SHOT, "hand-written prompt; no record enters", self),
                    control=True, records=False,
                ),
                _row(part, LOCAL, "nothing is shared", self, control=True),
                _row(
                    part,
                    ONE,
                    "own prompt + one that all average",
                    self,
                    control=True,
                    against=(ZERO_SHOT, LOCAL),
                ),
            ]  # fmt: skip
            if part == SEVERAL:
                words = "own prompt + one averaged in the client's own domain, which is known"
                against = (ZERO_SHOT, LOCAL, ONE, RANDOM)
                found.append(_row(part, ORACLE, words, self, control=True, against=against))
            words = f"own prompt + one averaged in {len(self.domains)} equal groups by chance"
            found.append(_row(part, RANDOM, words, self, control=True))
            found.append(
                _row(
                    part, FED_PGP, "shared + own low-rank context, with contrast; no noise", self,
                    against=(ZERO_SHOT, LOCAL, ONE),
                )
            )  # fmt: skip
            for mode in (DESCRIBED, MPC):
                words = "secret shares; a server learns distances and assignments"
                if mode == MPC:
                    words = "secret shares; distances and assignments stay with their client"
                twin, against = f"{mode}{TWIN}", (*controls, f"{mode}{TWIN}", ZERO_SHOT)
                found.append(_row(part, mode, words, self, dp="no DP claim", against=against))
                found.append(_row(part, twin, "the same decisions without shares", self))
            words = "integer noise in secure sums of centres, counts and prompts; own prompt local"
            against = (ZERO_SHOT, *controls, DP + NO_RECORDS)
            for asked in self.compare.epsilons:
                row = _row(part, DP, words, self, asked=asked, against=against, view=_MEMBERS)
                found += [row, row.twin]
        return tuple(found)

    def limits(self) -> tuple[str, ...]:
        """What the comparison does not show."""
        return (
            "Seeds deal out pictures of one pool anew: intervals are narrower than over new "
            "pictures.",
            "Secret sharing protects what clients send from those who compute; differential "
            "privacy protects what comes out from those who read it. Neither replaces the other, "
            "and no figure or table here puts the three modes on one axis.",
            "sound_dp bounds cluster prompts, centres and counts. The own prompts that clients "
            "train stay without any bound; once a prompt is served, so is what it says about them.",
            "as_described follows a description; no code of the authors is known.",
            "Confidentiality, membership and theft of prompts are three results; accuracies are "
            "none of them. See `privassay dossier secfpp`.",
            f"Small: {self.data.clients} clients, few pictures of each class, "
            f"{self.system.rounds} rounds; thresholds of clusters and rates "
            "were chosen by hand, partly on pictures of the same pool.",
        )

    def prepare(self, folder: Path, say: Say) -> Prepared:
        """See `SystemFile`."""
        from .secfpp_run import prepare

        return prepare(self, folder, say)


def _row(
    part: str,
    name: str,
    protection: str,
    file: SecFppFile,
    *,
    asked: float | None = None,
    control: bool = False,
    dp: DpLine = "accounted",
    against: tuple[str, ...] = (),
    view: str = _SERVED,
) -> RowPlan:
    adjacency: Adjacency = file.claim.adjacency
    unit: Unit = "client"
    return RowPlan(
        part=part,
        name=name,
        asked=asked,
        protection=protection,
        control=control,
        dp=dp,
        unit=unit,
        adjacency=adjacency,
        view=view,
        against=against,
    )
