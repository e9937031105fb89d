"""The audit file: TOML, every key known, every number in its range.

Each section is a small frozen model with its defaults, so this file is also the reference of
what may be written. A wrong file gives one message with all that is wrong in it.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ..accountant import check
from ..accountant.adjacency import Adjacency, Unit
from ..accountant.claim import NOT_STATED, AdversaryName, PrivacyClaim
from ..accountant.errors import ConfigError
from ..mechanisms import catalog
from .config_errors import explain
from .config_file import override, read

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# Upper limits are far above what anybody runs; beyond them no machine has the room or the time.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Clients = Annotated[int, Field(ge=1, le=100_000)]
Rounds = Annotated[int, Field(ge=1, le=100_000)]
Width = Annotated[int, Field(ge=1, le=16_384)]
Divisor = Annotated[int, Field(ge=1, le=1_000_000_000)]  # a number only: nothing has this size
Label = Annotated[int, Field(ge=0, lt=1_000_000)]  # number of a class, from 0
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # as whole numbers of TOML are
RESERVED = ("local-only", "random-prototypes")  # variants that the comparison adds by itself
VerdictWord = Literal["INVALID", "UNSUPPORTED", "REFUTED", "INCONCLUSIVE", "CONSISTENT"]
AttackName = Literal["informed_linear", "prototype_distance"]
RUNNABLE: tuple[str, ...] = get_args(AttackName)  # attacks that a run can give what they need
_NORMS = (1e-15, 1e15)  # in float32, with squares and room for the noise
_LARGEST = 1e6  # as an epsilon or a mu: beyond it any output gives everything away


def _has_room(value: float) -> float:
    if not _NORMS[0] <= value <= _NORMS[1]:
        raise ValueError(
            f"must lie in [{_NORMS[0]:g}, {_NORMS[1]:g}], but is {value:g}; scale the features"
        )
    return value


Norm = Annotated[Positive, AfterValidator(_has_room)]


class Section(BaseModel):
    """Unknown keys and silent conversions are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ClaimSection(Section):
    """[claim]: what is asserted. Adjacency and unit have no default on purpose."""

    adjacency: Adjacency
    unit: Unit
    epsilon: float | None = None
    delta: float | None = None
    mu: float | None = None
    curve: Literal["point", "gaussian"] = "point"
    adversaries: Annotated[list[AdversaryName], Field(min_length=1)] = ["server"]
    covers: str = NOT_STATED
    unprotected: list[str] = []
    source: str = NOT_STATED

    @field_validator("unit")
    @classmethod
    def _is_example(cls, unit: Unit) -> Unit:
        """The mechanisms prove, and the attacks test, something about one record alone."""
        if unit != "example":
            raise ValueError(
                "these mechanisms clip single records: what they prove and what is attacked "
                'concerns one example; write unit = "example", or account for all records of a '
                f"{unit} with `privassay account --group-size`"
            )
        return unit

    @model_validator(mode="after")
    def _is_a_claim(self) -> "ClaimSection":
        self.claim()
        if self.epsilon is not None and not 0.0 < (self.delta or 0.0) < 1.0:
            raise ValueError(
                f"delta must be a number strictly between 0 and 1, but is {self.delta!r}: Gaussian "
                "noise gives no pure differential privacy, and delta = 1 claims nothing"
            )
        for name in ("epsilon", "mu"):
            value = getattr(self, name)
            if value is not None and value > _LARGEST:
                raise ValueError(f"{name} = {value:g} claims nothing; give at most {_LARGEST:g}")
        return self

    def claim(self) -> PrivacyClaim:
        """The claim itself, checked."""
        fields = self.model_dump() | {
            "adversaries": tuple(self.adversaries),
            "unprotected": tuple(self.unprotected),
        }
        return PrivacyClaim(**fields)


class DataSection(Section):
    """[data]: which records, held by whom."""

    source: Literal["digit_domains", "optdigits", "folder"]
    path: str | None = None
    clients: Clients = 4
    train_per_class: Count = 60
    test_per_class: Count = 20
    seed: Seed = 0

    @model_validator(mode="after")
    def _path_goes_with_folder(self) -> "DataSection":
        if (self.source == "folder") != (self.path is not None):
            raise ValueError('path goes with source = "folder", and only with it')
        return self


class ModelSection(Section):
    """[model]: the frozen public encoder and the public projection behind it."""

    backbone: str = "efficientnet-lite0"
    image_size: Annotated[int, Field(ge=8, le=512)] | None = None
    dimensions: Annotated[int, Field(ge=2, le=16_384)] = 160
    public_images: Annotated[int, Field(ge=2, le=100_000)] = 512

    @model_validator(mode="after")
    def _public_images_span(self) -> "ModelSection":
        if self.dimensions >= self.public_images:
            raise ValueError(
                f"dimensions must be below public_images, but is {self.dimensions}: "
                f"{self.public_images} public images span at most {self.public_images - 1}"
            )
        return self


class ReleaseSection(Section):
    """[release]: public parameters of the prototypes. Groups are leading and other dimensions."""

    rounds: Rounds = 5
    clip_norm: Norm
    public_count: Divisor
    leading_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3


class TrainingSection(Section):
    """[training]: what each client does between the rounds."""

    local_epochs: Rounds = 2
    batch_size: Count = 64
    learning_rate: Positive = 0.05
    prototype_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    adapter_width: Width = 32
    seeds: Annotated[int, Field(ge=2, le=1_000)] = 5


class MechanismSection(Section):
    """[[mechanism]]: one row of the comparison. With `expect` it is a control, else a subject."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")]
    kind: str
    description: str = ""
    group_norm_share: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    noise_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    noise_stddevs: Annotated[list[Norm], Field(min_length=1, max_length=2)] | None = None
    expect: VerdictWord | None = None

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        check.one_of(catalog.homes(), kind=kind)
        return kind

    @model_validator(mode="after")
    def _options_fit(self) -> "MechanismSection":
        if self.name in RESERVED:
            raise ValueError(f"name {self.name!r} is that of a control of every comparison")
        if self.noise_ratio is not None and self.kind != "groupwise_global_clip":
            raise ValueError('noise_ratio goes with kind = "groupwise_global_clip"')
        if self.noise_stddevs is not None and self.kind == "none":
            raise ValueError('noise_stddevs does not go with kind = "none"')
        if self.group_norm_share is not None:
            if self.kind not in catalog.BY_GROUP:
                raise ValueError(f"group_norm_share goes with kind {' or '.join(catalog.BY_GROUP)}")
            if not all(0 < share <= 1 for share in self.group_norm_share):
                raise ValueError("group_norm_share must lie in (0, 1]: fractions of clip_norm")
        return self


class AttackSection(Section):
    """[[attack]]: a membership attack; the error budget is shared equally unless given."""

    name: AttackName
    adversary: Literal["server", "peer", "outsider"]
    trials: Annotated[int, Field(ge=100, le=100_000)] = 5000
    error_share: Annotated[float, Field(gt=0, le=1)] | None = None

    @field_validator("name", mode="before")
    @classmethod
    def _can_be_run(cls, name: Any) -> Any:
        if name not in RUNNABLE:
            raise ValueError(
                f"must be {check.suggest(name, RUNNABLE)}; other attacks of `privassay list "
                "attacks` need what a run does not have, and are called from Python"
            )
        return name


class EstimateSection(Section):
    """[estimate]: how scores become a bound."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    method: Literal["band", "split"] = "band"
    target_client: str | None = None
    target_class: Label = 0


class GateSection(Section):
    """[gate]: how much power CONSISTENT needs."""

    power_multiple: Annotated[float, Field(gt=1, le=3)] = 2.0


class InversionSection(Section):
    """[inversion]: reconstruct images from the released prototypes of one client."""

    client: str
    classes: Annotated[list[Label], Field(min_length=1, max_length=4)]
    mechanisms: Annotated[list[str], Field(max_length=4)] = []
    steps: Annotated[int, Field(ge=1, le=5000)] = 150


class AuditFile(Section):
    """The whole file."""

    title: str
    seed: Seed = 0
    claim: ClaimSection
    data: DataSection
    model: ModelSection = ModelSection()
    release: ReleaseSection
    training: TrainingSection = TrainingSection()
    mechanism: Annotated[list[MechanismSection], Field(min_length=1, max_length=100)]
    attack: Annotated[list[AttackSection], Field(min_length=1)]
    estimate: EstimateSection = EstimateSection()
    gate: GateSection = GateSection()
    inversion: InversionSection | None = None

    @model_validator(mode="after")
    def _sections_fit(self) -> "AuditFile":
        names = [m.name for m in self.mechanism]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ValueError(f"two mechanisms are named {doubled[0]!r}; names must differ")
        attacks = [f"{a.name} by the {a.adversary}" for a in self.attack]
        repeated = sorted({a for a in attacks if attacks.count(a) > 1})
        if repeated:  # they would draw the same noise: one experiment, counted twice
            raise ValueError(f"two attacks are {repeated[0]!r}; raise the trials of one instead")
        for name in self.inversion.mechanisms if self.inversion else ():
            if name not in names:
                raise ValueError(f"inversion.mechanisms names {name!r}, which is none of {names}")
        shares = [a.error_share for a in self.attack]
        given = [s for s in shares if s is not None]
        if given and (len(given) != len(shares) or math.fsum(given) > 1 + 1e-12):
            raise ValueError("error_share: give it to every attack, with a sum of at most 1")
        return self


def load(path: Path, overrides: dict[str, Any] | None = None) -> AuditFile:
    """The audit file at `path`.

    Args:
        path: a TOML file.
        overrides: {"training.seeds": 3, ...} replaces values before the check.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or something in it is wrong.
    """
    data = read(
        path,
        wanted="an audit file (TOML)",
        missing=f"there is no file {path}. `privassay init` writes one.",
    )
    for key, value in (overrides or {}).items():
        override(data, key, value)
    return parse(data, name=str(path))


def parse(data: dict[str, Any], *, name: str = "the audit file") -> AuditFile:
    """The audit file with this content.

    Raises:
        ConfigError: something in it is wrong; the message lists all of it.
    """
    try:
        audit = AuditFile.model_validate(data)
    except ValidationError as error:
        lines = dict.fromkeys(explain(dict(e), AuditFile) for e in error.errors())
        raise ConfigError(f"{name} is not a valid audit file:\n  " + "\n  ".join(lines)) from None
    return audit
