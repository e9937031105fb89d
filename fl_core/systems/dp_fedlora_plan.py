"""The rows of a DP-FedLoRA comparison, as its file alone determines them."""

from dataclasses import replace
from typing import TYPE_CHECKING

from .base import NO_RECORDS, RowPlan

if TYPE_CHECKING:
    from .dp_fedlora import DpFedLoraFile

BASE, HEAD = "base model", "head only"
LOCAL, CENTRAL = "local-only LoRA", "central LoRA"
FEDAVG, FEDPROX = "FedAvg, no DP", "FedProx"
FFA, INSIDE = "ffa", "ffa, DP-SGD inside"
RELEASED_TWO, RELEASED_ALL = "as released, few a round", "as released, all clients"
LEAK = "SCAFFOLD as released"
LINEAR = ("ffa", "rolora", "average")
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


def rows(file: "DpFedLoraFile") -> tuple[RowPlan, ...]:
    """Controls, rules without noise, with noise at the sum, at clients, inside, as released.

    Each row with noise is followed by its twin without records.
    """
    return (*_controls(file), *_without_noise(file), *_sound(file), *_published(file))


def served(rule: str) -> str:
    """Name of the row of FFA-LoRA with this optimiser at the server."""
    return f"{FFA}, {rule}"


def server_rule(method: str) -> str | None:
    """The optimiser at the server that a row's name tells, or None."""
    name = method.removeprefix(f"{FFA}, ")
    return name if name in ("fedavgm", "fedadam", "fedyogi", "fedadagrad") else None


def _controls(file: "DpFedLoraFile") -> list[RowPlan]:
    words = "the pretrained model" if file.causal else "random head"
    plain = _plan(file, BASE, f"no fine-tuning: {words}, adapters that do nothing")
    found = [
        replace(plain, control=True, view=_NOBODY, records=False),
        replace(
            _plan(file, LOCAL, "each client by itself; nothing is shared"),
            control=True, against=(BASE,),
        ),
        replace(
            _plan(file, CENTRAL, "one client with all texts, no noise"),
            control=True, against=_without(_compared(file), LOCAL),
        ),
    ]  # fmt: skip
    if file.causal:  # nothing but adapters is trained
        return found
    for asked in (None, *file.compare.epsilons):
        words = "no adapters: the head alone, on frozen features; clipped, "
        words += "no noise" if asked is None else "noise at the sum"
        row = replace(_plan(file, HEAD, words, asked=asked), control=True)
        found += [row] if asked is None else _with_twin(row)
    return found


def _without_noise(file: "DpFedLoraFile") -> list[RowPlan]:
    system, against = file.system, _compared(file)
    words = "each factor averaged by itself; neither clip nor noise"
    found = [_plan(file, FEDAVG, words)]
    if system.fedprox:
        words = "ffa with a pull towards the broadcast; clipped, no noise"
        found.append(_plan(file, FEDPROX, words))
    found += [
        _plan(file, name, f"{words}; clipped, no noise")
        for name, words in RULES.items()
        if name in system.rules
    ]
    found = [replace(row, against=against) for row in found]
    for rule in system.server_rules:
        row = _plan(file, served(rule), f"{_at_server(file, rule)}; clipped, no noise")
        found.append(replace(row, against=(*against, FFA)))
    if system.dp_sgd_inside:
        words = "A frozen; each record's gradient clipped, no noise"
        found.append(replace(_plan(file, INSIDE, words), unit="example", against=against))
    return found


def _sound(file: "DpFedLoraFile") -> list[RowPlan]:
    system, against = file.system, _compared(file)
    # What is for another adversary, or another unit, is not compared with the head at a budget.
    apart = _without(against, HEAD)
    found: list[RowPlan] = []
    for asked in file.compare.epsilons:
        for name in LINEAR:
            if name in system.rules:
                words = f"{RULES[name]}; update clipped, noise at the sum"
                row = _plan(file, name, words, asked=asked)
                found += _with_twin(replace(row, against=against))
        for rule in system.server_rules:
            words = f"{_at_server(file, rule)}; update clipped, noise at the sum"
            row = _plan(file, served(rule), words, asked=asked)
            found += _with_twin(replace(row, against=(*against, FFA)))
        for name in system.local_noise:
            words = f"{RULES[name]}; update clipped, noise at each client"
            row = _plan(file, f"{name}{LOCALLY}", words, asked=asked)
            found += _with_twin(replace(row, view=_UPLOADS, against=apart))
        if system.dp_sgd_inside:
            words = "A frozen; DP-SGD in each client, what follows is post-processing"
            row = _plan(file, INSIDE, words, asked=asked)
            found += _with_twin(replace(row, unit="example", view=_UPLOADS, against=apart))
    return found


def _at_server(file: "DpFedLoraFile", rule: str) -> str:
    rate = file.system.server_learning_rate
    said = "its published rate" if rate is None else f"rate {rate:g}"
    return f"{RULES[FFA]}, then {rule} at the server ({said})"


def _published(file: "DpFedLoraFile") -> list[RowPlan]:
    system = file.system
    found: list[RowPlan] = []
    words = "weights of each tensor clipped and noised by themselves, factors averaged"
    for claim in system.claims:
        few = f"{words}; {system.released_cohort} clients a round, a public schedule"
        found += _with_twin(_claimed(file, RELEASED_TWO, few, claim))
    if system.claims:
        every = _claimed(file, RELEASED_ALL, f"{words}; all clients", system.claims[0])
        leak = f"{words}; control variates go up as they are"
        found += [*_with_twin(every), _claimed(file, LEAK, leak, system.claims[0])]
    return found


def _claimed(file: "DpFedLoraFile", name: str, protection: str, claim: float) -> RowPlan:
    row = _plan(file, name, protection, asked=claim)
    return replace(row, released=True, view=_UPLOADS, against=(BASE,))


def _compared(file: "DpFedLoraFile") -> tuple[str, ...]:
    """The controls that every row of our own is compared with."""
    return (BASE, LOCAL) if file.causal else (BASE, HEAD, LOCAL)


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(each for each in names if each != name)


def _plan(
    file: "DpFedLoraFile", name: str, protection: str, *, asked: float | None = None
) -> RowPlan:
    return RowPlan(
        name=name,
        asked=asked,
        protection=protection,
        unit="client",
        adjacency=file.claim.adjacency,
        view=_SERVER,
    )


def _with_twin(row: RowPlan) -> list[RowPlan]:
    """The row, compared with its own noise too, and what it is compared with there."""
    return [replace(row, against=(*row.against, row.name + NO_RECORDS)), row.twin]
