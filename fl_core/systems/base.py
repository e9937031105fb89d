"""What a comparison of a whole system needs: its file, its rows, and what running a row gives.

A system is a `SystemFile`: a comparison file with a [system] table. The file alone says which rows
there are, what each is compared with, and in what numbers they are judged; for that it needs
neither torch nor data, so that a record can be verified a year later. `SystemFile.prepare` loads
models and data, and gives what runs one row at a time.

To add one: a module with a subclass of `SystemFile`, and a line in `SYSTEMS`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, field_validator

from ...accountant import check
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.errors import ConfigError, ParameterError
from .. import comparison
from ..config import Positive, Section

SYSTEMS: dict[str, str] = {
    "dp_fpl": "privassay.fl_core.systems.dp_fpl:DpFplFile",
    "secfpp": "privassay.fl_core.systems.secfpp:SecFppFile",
    "dp_fedlora": "privassay.fl_core.systems.dp_fedlora:DpFedLoraFile",
}
"""Where the file class of each system is; no module may import torch."""

Say = Callable[[str], None]
Bar = Callable[[int, int], None]
"""Is told how many steps are done, and of how many."""

DpLine = Literal["accounted", "no DP claim"]
"""Whether a row's epsilon is that of its ledger (infinite where nothing is proven: "no bound"), or
the row makes no statement in the sense of differential privacy, so that none may be printed."""

NO_RECORDS = ", no records"
"""Ends the name of a row's twin: the same algorithm, shapes and noise, but clients hold nothing."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number by which rows are judged, of each seed and client.

    Attributes:
        name: short, such as "local".
        words: what it is, for a reader.
        unit: of the number.
        lower, upper: between which it lies.
        better: which end is the good one.
    """

    name: str
    words: str
    unit: str = "fraction"
    lower: float = 0.0
    upper: float = 1.0
    better: Literal["higher", "lower"] = "higher"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows on the same clients, which may be compared with each other.

    Attributes:
        name: such as "several domains"; empty if there is but one part.
        clients: their names.
        groups: name -> client numbers: over which means are shown, beside that over all.
    """

    name: str = ""
    clients: tuple[str, ...]
    groups: dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class RowPlan:
    """One row, as the file alone determines it.

    Attributes:
        name: what it is; with `asked` and `part` it tells rows apart.
        asked: epsilon that its noise was chosen for, or that the published program claims; None
            where there is no such number.
        released: `asked` is a claim of the published program, not a budget that noise was
            calibrated to; the table shows what it really costs beside it.
        protection: in a few words, where noise is added or why there is none.
        control: drawn as a level in the figure; other rows are compared with it where they say so.
        dp: see `DpLine`.
        records: whether any record has an influence; if not, its epsilon is 0 in every sense.
        unit, adjacency: of the row's epsilon.
        view: who sees what the epsilon is for, such as "outsider: served prompts".
        against: names of rows of the same part, without `asked`, from which differences are taken.
        part: name of its part.
    """

    name: str
    asked: float | None = None
    released: bool = False
    protection: str
    control: bool = False
    dp: DpLine = "accounted"
    records: bool = True
    unit: Unit
    adjacency: Adjacency
    view: str
    against: tuple[str, ...] = ()
    part: str = ""

    @property
    def key(self) -> tuple[str, str, float | None]:
        """What tells rows apart."""
        return (self.part, self.name, self.asked)

    @property
    def twin(self) -> "RowPlan":
        """The control that tells what the row's own noise leaves where there is nothing to learn.

        Noise of another method, of another multiplier or in another space is no such control.
        """
        noise = "no noise" if self.asked is None else "the same noise"
        words = f"{self.name} with {noise}, and clients that hold nothing"
        found = replace(self, name=self.name + NO_RECORDS, protection=words, against=())
        return replace(found, released=False, control=True, records=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What running one row gave.

    Attributes:
        values: metric name -> of each seed, of each client of the row's part; every planned metric.
        event: of the ledger of one seed's run (`to_dict(ledger.event())`); None exactly where the
            row's `dp` is "no DP claim".
        releases: entries of that ledger.
        notes: what else was measured, a sentence each; shown beside the row.
        digest: SHA-256 of the tensors that were judged (`checkpoint.digest`).
    """

    values: dict[str, tuple[tuple[float, ...], ...]]
    event: dict[str, Any] | None
    releases: int
    notes: tuple[str, ...] = ()
    digest: str


class Prepared(Protocol):
    """A system with models and data loaded."""

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of everything that results depend on besides the file: data, weights."""

    def run(self, row: RowPlan, bar: Bar) -> Outcome:
        """One row, all seeds. The same file, data and row give the same numbers."""


class ClaimSection(Section):
    """[claim]: terms of the epsilons that are asked for. Adjacency and unit have no default."""

    adjacency: Adjacency
    unit: Unit
    delta: Annotated[float, Field(gt=0, lt=1)]


class SystemSection(Section):
    """[system]: which one. Subclasses add its public constants."""

    name: str

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        check.one_of(SYSTEMS, name=name)
        return name


class CompareSection(Section):
    """[compare]: budgets and repetitions; controls are not chosen, every comparison has them."""

    epsilons: Annotated[list[Positive], Field(min_length=1)]
    seeds: Annotated[int, Field(ge=3, le=1000)] = 3

    @field_validator("epsilons")
    @classmethod
    def _each_once(cls, epsilons: list[float]) -> list[float]:
        if epsilons != sorted(set(epsilons), reverse=True):
            raise ValueError("must fall, each once, such as [8.0, 2.0, 0.4]")
        return epsilons


class SystemFile(Section):
    """The whole file. A subclass adds [data], [training] and what else its system has."""

    title: str
    seed: Annotated[int, Field(ge=0)] = 0
    claim: ClaimSection
    system: SystemSection
    compare: CompareSection

    def metrics(self) -> tuple[Metric, ...]:
        """The numbers of every row; the first is that of the figure."""
        raise NotImplementedError

    def parts(self) -> tuple[Part, ...]:
        """Who the clients are; one part unless rows are on different clients."""
        raise NotImplementedError

    def rows(self) -> tuple[RowPlan, ...]:
        """Everything that is run, in order."""
        raise NotImplementedError

    def prepare(self, folder: Path, say: Say) -> Prepared:
        """Load models and data; heavy imports belong in here.

        Args:
            folder: relative paths in the file start here.
            say: is told what happens.

        Raises:
            ConfigError: the data do not fit the file. AssetError: an asset is missing; the message
                names the command that fetches it.
        """
        raise NotImplementedError

    def assets(self) -> tuple[str, ...]:
        """Packaged models and data that it needs, for `compare --fetch`."""
        return ()

    def label(self) -> str:
        """What every page must say about models that stand in for others; empty if none do."""
        return ""

    def gap(self) -> tuple[str, str] | None:
        """Two metrics whose difference is shown by row, such as local less neighbour."""
        return None

    def limits(self) -> tuple[str, ...]:
        """What the comparison does not show, a sentence each."""
        return ()


@contextmanager
def budget(epsilon: float, delta: float) -> Iterator[None]:
    """Says which budget of the file no noise can be chosen for.

    Raises:
        ConfigError: instead of the `ParameterError` of a search for noise.
    """
    try:
        yield
    except ParameterError as error:
        why = str(error).partition("\n")[0]
        raise ConfigError(
            f"compare.epsilons holds {epsilon:g}, for which no noise can be chosen at claim.delta "
            f"= {delta:g}:\n  {why}\n  Ask for another budget."
        ) from None


def is_system(data: dict[str, Any]) -> bool:
    """Whether this is the content of a comparison file of a whole system."""
    return "system" in data


def load(path: Path, overrides: dict[str, Any] | None = None) -> SystemFile:
    """The comparison file at `path`; arguments and errors as `comparison.load`."""
    return parse(comparison.content(path, overrides), name=str(path))


def parse(data: dict[str, Any], *, name: str = "the comparison file") -> SystemFile:
    """The file with this content.

    Raises:
        ConfigError: something in it is wrong; the message lists all of it.
    """
    file = comparison.checked(_kind(data, name), data, name=name)
    check_terms(file.rows())
    return file


def check_terms(plans: tuple[RowPlan, ...]) -> None:
    """No difference may be taken between rows whose epsilons are of different things.

    Without a budget epsilon is 0 or infinite, without records 0: that means the same in any sense.

    Raises:
        ConfigError: two rows with a budget differ in unit, adjacency or adversary.
    """
    known = {plan.key: plan for plan in plans}
    for plan in plans:
        for name in plan.against:
            other = known.get((plan.part, name, plan.asked))
            if other is None or other.asked is None or not (plan.records and other.records):
                continue
            terms = [(each.unit, each.adjacency, each.view) for each in (plan, other)]
            if terms[0] != terms[1]:
                raise ConfigError(
                    f"row {plan.name!r} is compared with {name!r} at epsilon {plan.asked:g}, but "
                    f"their epsilons are of different things: {terms[0]} and {terms[1]}.\n"
                    "  Compare each with rows of its own unit, adjacency and adversary."
                )


def _kind(data: dict[str, Any], name: str) -> type[SystemFile]:
    section = data.get("system")
    found = section.get("name") if isinstance(section, dict) else None
    if not isinstance(found, str) or found not in SYSTEMS:
        wanted = check.suggest(found, SYSTEMS) if isinstance(found, str) else ", ".join(SYSTEMS)
        raise ConfigError(
            f"{name} is not a valid comparison file:\n  system.name: must be {wanted}"
        )
    module, _, attribute = SYSTEMS[found].partition(":")
    kind: type[SystemFile] = getattr(import_module(module), attribute)
    return kind
