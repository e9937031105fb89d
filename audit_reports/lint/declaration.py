"""`Declaration`: the whole file, and what must fit between its sections."""

from collections.abc import Iterable
from dataclasses import dataclass

from ...accountant import check
from ...accountant.errors import ParameterError
from .release import Release
from .sections import (
    NOT_STATED,
    Claim,
    Component,
    Conduct,
    Evidence,
    Parameter,
    Randomness,
    Sampling,
    State,
    Statement,
    Tuning,
)
from .sharing import Mpc as Mpc


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The whole file."""

    title: str
    system: str = NOT_STATED
    mode: str = NOT_STATED
    source: str = NOT_STATED
    claim: Claim
    sampling: Sampling = Sampling()
    randomness: Randomness = Randomness()
    tuning: Tuning = Tuning()
    conduct: Conduct = Conduct()
    release: tuple[Release, ...] = ()
    component: tuple[Component, ...] = ()
    parameter: tuple[Parameter, ...] = ()
    state: tuple[State, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    statement: tuple[Statement, ...] = ()
    mpc: Mpc | None = None

    def __post_init__(self) -> None:
        for kind, names in (
            ("release", [r.name for r in self.release]),
            ("component", [c.name for c in self.component]),
        ):
            doubled = sorted({n for n in names if names.count(n) > 1})
            if doubled:
                raise ParameterError(f"two {kind}s are named {doubled[0]!r}; names must differ")
        components = [c.name for c in self.component]
        for release in self.release:
            _known(f"release {release.name!r}: inputs", release.inputs, components, "component")
            if (release.rounds or 1) > (self.sampling.rounds or release.rounds or 1):
                raise ParameterError(
                    f"release {release.name!r}: rounds is {release.rounds}, but sampling.rounds is "
                    f"{self.sampling.rounds}"
                )
        releases = [r.name for r in self.release]
        for component in self.component:
            where = f"component {component.name!r}: paid_by"
            _known(where, component.paid_by, releases, "release")
        for parameter in self.parameter:
            where = f"parameter {parameter.name!r}: paid_by"
            _known(where, parameter.paid_by, releases, "release")
        _known("tuning.paid_by", self.tuning.paid_by, releases, "release")
        for opened in () if self.mpc is None else self.mpc.opened:
            if opened.protected_by is not None:
                where = f"mpc.opened {opened.value!r}: protected_by"
                _known(where, [opened.protected_by], releases, "release")
        computed = [r.name for r in self.release if r.kind == "gaussian" and r.formula != "given"]
        if self.claim.delta == 0.0 and computed:
            raise ParameterError(
                f"release {computed[0]!r}: its formula needs a delta, but claim.delta is 0, which "
                "Gaussian noise never gives; claim a delta > 0, or state sigma"
            )
        if self.mpc is not None and self.claim.noise_from != "not stated":
            raise ParameterError(
                f'claim.noise_from is "{self.claim.noise_from}" beside [mpc], which has its own '
                "noise_from; state it there alone"
            )
        if self.claim.kind == "dp" and not self.release:
            raise ParameterError("a claim of differential privacy needs at least one [[release]]")


def _known(where: str, names: Iterable[str], known: list[str], section: str) -> None:
    for name in names:
        if name not in known:
            wanted = check.suggest(name, known) if known else f"declared as [[{section}]]"
            raise ParameterError(f"{where} must be {wanted}")
