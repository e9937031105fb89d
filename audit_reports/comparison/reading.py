"""What the numbers of a comparison say, in sentences that follow from them alone."""

from collections.abc import Sequence

from ...fl_core.comparison import (
    BASELINE,
    DISTILLED,
    FEDAVG,
    LOCAL_ONLY,
    NEAREST,
    NONE,
    ONCE,
    RANDOM_GROUPS,
    RANDOM_ONCE,
    RANDOM_PROTOTYPES,
    CompareSection,
    ComparisonFile,
)
from .statistics import Contrast, Mean

NOT_VISIBLE = "no difference visible"


def reading(contrasts: Sequence[Contrast], compare: CompareSection) -> tuple[str, ...]:
    """One honest paragraph, a sentence or two per question."""
    alone = DISTILLED if compare.distillation else LOCAL_ONLY
    methods = [m for m in compare.methods if m != FEDAVG]
    sentences = [_distilled(contrasts), *_do_prototypes_help(contrasts, methods, alone)]
    sentences.append(from_which_epsilon(contrasts, compare))
    for name in compare.mechanisms:
        if name not in (BASELINE, NONE):
            sentences.append(_against(contrasts, methods, name, BASELINE))
        if name in ONCE:  # its prototypes stay the same, which by itself may help
            sentences.append(_against(contrasts, methods, name, RANDOM_ONCE))
    if "vpp" in compare.mechanisms:
        sentences.append(_against(contrasts, methods, RANDOM_GROUPS, "vpp"))
    sentences.append(_nearest(contrasts, compare))
    if FEDAVG in compare.methods:
        (found,) = (c for c in contrasts if c.method == FEDAVG)
        sentences.append(
            "FedAvg, which shares models without noise and is at no budget, differs from "
            f"training alone by {shown(found.difference)}."
        )
    shared = [c for c in contrasts if c.against in (BASELINE, "vpp")]
    sentences.append(
        f"Each interval holds with 95 % by itself: of {len(shared)} that compare mechanisms, "
        f"about {round(0.05 * len(shared))} would exclude 0 by chance if nothing differed; "
        f"{sum(c.difference.excludes_zero for c in shared)} do."
    )
    return tuple(s for s in sentences if s)


def limits(file: ComparisonFile) -> tuple[str, ...]:
    """What the comparison does not show."""
    of_methods = {
        "fedplvm": "FedPLVM gives each record to the nearest centre that the server sent. As "
        "published a client's own records decide on its clusters, and nothing is proven.",
        "fpl": "FPL does not average models here, which it does as published, without any bound.",
        "fedpcl": "FedPCL classifies by the nearest of a client's own prototypes, training alone "
        "by a head: their difference is not due to what is shared alone.",
    }
    return (
        "Clients release means of frozen public features. Where adapters are trained between "
        "uploads on what is uploaded, as in the published programs, no epsilon is proven at all.",
        *(words for method, words in of_methods.items() if method in file.compare.methods),
        "The local models are not released, and no budget covers them.",
        "Numbers of methods and training were not tuned under differential privacy.",
        f"Seeds deal the same small pool of records anew; {file.data.source} says nothing about "
        "other data.",
        f"All noise comes from the published seed {file.seed}; noise of a deployed system must not "
        "come from any.",
    )


def shown(difference: Mean) -> str:
    """A difference, its interval, and in words whether one is visible."""
    text = f"{difference.value:+.3f} [{difference.lower:+.3f}, {difference.upper:+.3f}]"
    return text if difference.excludes_zero else f"{text}, {NOT_VISIBLE}"


def _distilled(contrasts: Sequence[Contrast]) -> str:
    (found,) = (c for c in contrasts if c.name == DISTILLED and c.against == LOCAL_ONLY)
    return (
        f"DCR alone, without any prototypes, changes training alone by {shown(found.difference)}."
    )


def _do_prototypes_help(contrasts: Sequence[Contrast], methods: list[str], alone: str) -> list[str]:
    def better(name: str, against: str) -> list[str]:
        return [
            c.method
            for c in contrasts
            if c.method in methods
            and (c.name, c.against) == (name, against)
            and c.difference.lower > 0.0
        ]

    fresh, fixed = better(NONE, RANDOM_PROTOTYPES), better(NONE, RANDOM_ONCE)
    informed = [m for m in fresh if m in fixed]
    consequence = (
        "only there can a better mechanism matter for what it lets through"
        if informed
        else "what they hold is of no visible use, whatever the noise"
    )
    return [
        f"Against {alone}, prototypes without noise are visibly better in "
        f"{_named(better(NONE, alone), methods)}; random prototypes, which hold no information, in "
        f"{_named(better(RANDOM_PROTOTYPES, alone), methods)} if they are drawn in every round, "
        f"and in {_named(better(RANDOM_ONCE, alone), methods)} if they stay the same.",
        "Prototypes without noise beat both kinds of random ones in "
        f"{_named(informed, methods)}: {consequence}.",
    ]


def from_which_epsilon(contrasts: Sequence[Contrast], compare: CompareSection) -> str:
    """From where on private prototypes are better than none, and than random ones."""
    alone = DISTILLED if compare.distillation else LOCAL_ONLY
    return (
        f"With IGPP's noise, prototypes are visibly better than {alone} in "
        f"{_upward(contrasts, compare, (alone,))}, and than both kinds of random prototypes in "
        f"{_upward(contrasts, compare, (RANDOM_PROTOTYPES, RANDOM_ONCE))}."
    )


def _upward(
    contrasts: Sequence[Contrast], compare: CompareSection, against: tuple[str, ...]
) -> str:
    parts = []
    for method in (m for m in compare.methods if m != FEDAVG):
        wins = [
            {
                c.asked
                for c in contrasts
                if (c.method, c.name, c.against) == (method, BASELINE, other)
                and c.difference.lower > 0.0
            }
            for other in against
        ]
        both = set.intersection(*wins)
        # From the top down: a lonely win at a small epsilon is chance.
        found = [e for i, e in enumerate(compare.epsilons) if both.issuperset(compare.epsilons[i:])]
        if found:
            parts.append(f"{method} from epsilon {found[0]:g} on")
    return ", ".join(parts) or "no method, not even at the largest epsilon"


def _against(contrasts: Sequence[Contrast], methods: list[str], name: str, other: str) -> str:
    found = [c for c in contrasts if c.method in methods and (c.name, c.against) == (name, other)]
    if not found:
        return f"{name} is at no budget at which it can be compared with {other}."
    equal = "" if other == RANDOM_ONCE else " at equal epsilon"
    up = sum(c.difference.lower > 0.0 for c in found)
    down = sum(c.difference.upper < 0.0 for c in found)
    largest = max(found, key=lambda c: abs(c.difference.value))
    start = f"{name} against {other}{equal}, {len(found)} pairs"
    if not up and not down:
        return f"{start}: {NOT_VISIBLE} (largest {largest.difference.value:+.3f})."
    return (
        f"{start}: {up} visibly better, {down} visibly worse, {len(found) - up - down} without "
        f"a visible difference (largest {largest.difference.value:+.3f}, {largest.method} at "
        f"epsilon {largest.asked:g})."
    )


def _nearest(contrasts: Sequence[Contrast], compare: CompareSection) -> str:
    """The prototypes by themselves, which show a mechanism before any method smooths it."""
    parts = []
    for name in (*compare.mechanisms, RANDOM_GROUPS):
        found = [
            c
            for c in contrasts
            if c.method == NEAREST
            and c.name == name
            and c.against == ("vpp" if name == RANDOM_GROUPS else BASELINE)
        ]
        if found:
            up = sum(c.difference.lower > 0.0 for c in found)
            down = sum(c.difference.upper < 0.0 for c in found)
            parts.append(
                f"{name} is visibly better than {found[0].against} at {up} and worse at {down} "
                f"of {len(found)} epsilons"
            )
    if not parts:
        return ""
    return f"As classifiers by themselves (nearest prototype): {'; '.join(parts)}."


def _named(found: list[str], methods: list[str]) -> str:
    if not found:
        return f"none of {len(methods)} methods"
    return f"{len(found)} of {len(methods)} methods ({', '.join(found)})"
