"""The file of a comparison: methods and mechanisms at the same budgets, on the same records.

TOML in the style of an audit file, with the same sections where they mean the same. Controls are
not chosen here: every comparison has them (`comparison_variants.py`).
"""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from ..accountant import check
from ..accountant.adjacency import Adjacency, Unit
from ..accountant.errors import ConfigError
from ..mechanisms import catalog
from . import config
from .config import Count, DataSection, ModelSection, Positive, Rounds, Section, Seed, Width
from .config_errors import explain
from .config_file import override, read

F = TypeVar("F", bound=Section)

METHODS: dict[str, str] = {
    "fedproto": "privassay.fl_core.algorithms.fedproto:FedProto",
    "fedpcl": "privassay.fl_core.algorithms.fedpcl:FedPcl",
    "fpl": "privassay.fl_core.algorithms.fpl:Fpl",
    "fedtgp": "privassay.fl_core.algorithms.fedtgp:FedTgp",
    "fedplvm": "privassay.fl_core.algorithms.fedplvm:FedPlvm",
    "mpft": "privassay.fl_core.algorithms.mpft:Mpft",
}
"""Methods that share prototypes, by name."""

FEDAVG = "fedavg"  # shares models, without noise: a reference, never at equal budget
LOCAL_ONLY, DISTILLED = "local-only", "local-only+dcr"  # training alone, a method by itself
NEAREST = "nearest-prototype"  # no training: what released prototypes are worth by themselves
BASELINE, NONE = "igpp", "none"  # what other mechanisms are compared with; no noise
RANDOM_PROTOTYPES, RANDOM_ONCE = "random-prototypes", "random-once"  # fresh, or always the same
RANDOM_GROUPS = "random-groups"  # VPP on other dimensions
ONCE = (RANDOM_ONCE, "dppl_mean")  # upload in the first round alone
BUILT_HERE = ("igpp_textbook", "dppl_mean")  # mechanisms besides those of the catalog
_PLANTED = "noise_halved"  # adds less noise than it accounts: nothing is at its budget


class ClaimSection(Section):
    """[claim]: in what sense the budgets are equal. Adjacency and unit have no default."""

    adjacency: Adjacency
    unit: Unit
    delta: Annotated[float, Field(gt=0, lt=1)]

    @field_validator("unit")
    @classmethod
    def _is_example(cls, unit: Unit) -> Unit:
        if unit != "example":
            raise ValueError('mechanisms clip single records: write unit = "example"')
        return unit


class ReleaseSection(config.ReleaseSection):
    """[release]: as in an audit file, and the group clip bounds of all mechanisms that have some.

    `group_norm_share` are fractions of clip_norm; norms of public images decide if not given.
    """

    group_norm_share: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None

    @field_validator("group_norm_share")
    @classmethod
    def _are_shares(cls, shares: list[float] | None) -> list[float] | None:
        if shares is not None and not all(0 < share <= 1 for share in shares):
            raise ValueError("must lie in (0, 1]: fractions of clip_norm")
        return shares


class TrainingSection(Section):
    """[training]: what each client does in every round, by AdamW."""

    local_epochs: Rounds = 2
    batch_size: Count = 256
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5e-4
    adapter_width: Width = 64
    hidden_width: Width = 64


class CompareSection(Section):
    """[compare]: what is run. `igpp` must be there: differences are to it."""

    methods: Annotated[list[str], Field(min_length=1)]
    mechanisms: Annotated[list[str], Field(min_length=1)]
    epsilons: Annotated[list[Positive], Field(min_length=1, max_length=100)]
    seeds: Annotated[int, Field(ge=5, le=1000)] = 5
    distillation: bool = False

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, names: list[str]) -> list[str]:
        for name in names:
            check.one_of((*METHODS, FEDAVG), method=name)
        if set(names) == {FEDAVG}:
            raise ValueError("fedavg is a reference without noise; name a prototype method, too")
        return _distinct(names)

    @field_validator("mechanisms")
    @classmethod
    def _known_mechanisms(cls, names: list[str]) -> list[str]:
        for name in names:
            if name == _PLANTED:
                raise ValueError(
                    f"{name!r} adds half the noise that it accounts; it is a control of audits, "
                    "and its accuracy belongs to no budget"
                )
            check.one_of((*catalog.homes(), *BUILT_HERE), mechanism=name)
        if BASELINE not in names:
            raise ValueError(f"add {BASELINE!r}: the others are compared with it")
        return _distinct(names)

    @field_validator("epsilons")
    @classmethod
    def _rising(cls, epsilons: list[float]) -> list[float]:
        if epsilons != sorted(set(epsilons)):
            raise ValueError("must rise, each once")
        return epsilons


class ComparisonFile(Section):
    """The whole file. [method.NAME] changes numbers of a method."""

    title: str
    seed: Seed = 0
    claim: ClaimSection
    data: DataSection
    model: ModelSection = ModelSection()
    release: ReleaseSection
    training: TrainingSection = TrainingSection()
    compare: CompareSection
    method: dict[str, dict[str, int | float | bool]] = {}

    @model_validator(mode="after")
    def _options_belong_to_a_method(self) -> "ComparisonFile":
        for name in self.method:
            if name not in self.compare.methods or name == FEDAVG:
                known = ", ".join(n for n in self.compare.methods if n != FEDAVG)
                raise ValueError(f"method.{name}: none of the compared methods, {known}")
        return self


def plan(compare: CompareSection) -> list[tuple[str, float | None]]:
    """(variant, epsilon asked for) of every prototype method, controls first."""
    names = [name for name in compare.mechanisms if name != NONE]
    if "vpp" in names:
        names.insert(names.index("vpp") + 1, RANDOM_GROUPS)
    pairs = [(name, epsilon) for name in names for epsilon in compare.epsilons]
    return [(NONE, None), (RANDOM_PROTOTYPES, None), (RANDOM_ONCE, None), *pairs]


def rows(compare: CompareSection) -> list[tuple[str, str, float | None]]:
    """(method, variant, epsilon asked for) of everything that is run, in order."""
    found: list[tuple[str, str, float | None]] = []
    for method in (LOCAL_ONLY, NEAREST, *compare.methods):
        if method == LOCAL_ONLY:
            found += [(method, LOCAL_ONLY, None), (method, DISTILLED, None)]
        elif method == FEDAVG:
            found.append((method, NONE, None))
        else:
            found += [(method, name, epsilon) for name, epsilon in plan(compare)]
    return found


def load(path: Path, overrides: dict[str, Any] | None = None) -> ComparisonFile:
    """The comparison file at `path`; arguments and errors as those of `content`."""
    return parse(content(path, overrides), name=str(path))


def content(path: Path, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the file at `path` says, before any check of it.

    Args:
        path: a TOML file.
        overrides: {"compare.seeds": 10, ...} replaces values.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    wanted = "a comparison file (TOML), such as examples/vpdr_digits.toml"
    missing = f"{path} cannot be read: there is no such file.\n  Give {wanted}."
    data = read(path, wanted=wanted, missing=missing)
    for key, value in (overrides or {}).items():
        override(data, key, value)
    return data


def parse(data: dict[str, Any], *, name: str = "the comparison file") -> ComparisonFile:
    """The comparison file with this content.

    Raises:
        ConfigError: something in it is wrong; the message lists all of it.
    """
    return checked(ComparisonFile, data, name=name)


def checked(kind: type[F], data: dict[str, Any], *, name: str) -> F:
    """A file of this kind with this content.

    Raises:
        ConfigError: something in it is wrong; the message lists all of it.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        lines = dict.fromkeys(explain(dict(e), kind) for e in error.errors())
        raise ConfigError(
            f"{name} is not a valid comparison file:\n  " + "\n  ".join(lines)
        ) from None


def _distinct(names: list[str]) -> list[str]:
    doubled = sorted({n for n in names if names.count(n) > 1})
    if doubled:
        raise ValueError(f"{doubled[0]!r} is named twice")
    return names
