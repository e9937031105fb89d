"""D11-D14: noise generators, tuning, shared state and evidence, and code that differs from text."""

import math
import re
import unicodedata
from collections.abc import Iterator

from ....accountant.digits import at_least, at_most
from .. import exact, formulas
from ..declaration import Declaration
from ..findings import Finding
from ..release import Release
from ..sections import Evidence
from .common import finding, unpaid


def randomness(d: Declaration) -> Iterator[Finding]:
    """D11: noise that others can compute again is no noise."""
    found = d.randomness
    if (d.claim.kind == "none" and d.mpc is None) or found.generator == "system":
        return
    what = "noise" if d.mpc is None else "noise and masks"
    note = f". {found.note}" if found.note else ""
    if found.generator == "not stated":
        yield finding(
            "D11",
            "warning",
            "randomness",
            f"where {what} come{'s' if d.mpc is None else ''} from is not stated{note}",
            "state randomness.generator; draw noise from the operating system's generator",
            refs=found.refs,
        )
        return
    how = {
        "seeded": "noise comes from a generator with a seed that others know or can try: they "
        "subtract it, and nothing protects the records",
        "reused": "the same stream of noise is drawn more than once: differences of two releases "
        "are free of noise",
    }[found.generator]
    yield finding(
        "D11",
        "error",
        "randomness",
        how + note,
        "draw noise from the operating system's generator; keep seeds for tests",
        refs=found.refs,
    )


def tuning(d: Declaration) -> Iterator[Finding]:
    """D12: what was looked at to choose parameters, rounds or checkpoints."""
    found = d.tuning
    if d.claim.kind == "none":
        return
    note = f". {found.note}" if found.note else ""
    if found.tuned_on == "not stated" or found.reported == "not stated":
        yield finding(
            "D12",
            "warning",
            "tuning",
            f"on what parameters or the reported result were chosen is not stated{note}",
            "state [tuning]; tune on public data, or count every run",
            refs=found.refs,
        )
    elif (found.tuned_on == "private" or found.reported == "best") and not found.charged:
        yield finding(
            "D12",
            "error",
            "tuning",
            "parameters or the reported result were chosen on private data, and the runs behind "
            f"the choice are not counted{note}",
            "tune on public data, fix the choice beforehand, or count all runs",
            refs=found.refs,
        )
    elif found.charged and (gap := unpaid(d, found.paid_by, own=True)):
        yield finding(
            "D12",
            "warning",
            "tuning",
            f"the runs behind the choice are said to be counted, but {gap}{note}",
            "declare a [[release]] with rounds = 0 for these runs, outside the rounds of the "
            "reported one, and name it in tuning.paid_by",
            refs=found.refs,
        )


def shared_state(d: Declaration) -> Iterator[Finding]:
    """D13: one client's data in another client's state, and evidence that shows nothing."""
    for state in d.state:
        if state.held == "shared":
            yield finding(
                "D13",
                "error",
                f"state {state.name}",
                f"{state.name} is shared between clients: one client's records reach another's "
                "model outside the accounted releases" + (f". {state.note}" if state.note else ""),
                "give each client its own weights, optimiser and random stream",
                refs=state.refs,
            )
    for evidence in d.evidence:
        wrong, unknown = _invalid(evidence)
        if wrong:
            yield finding(
                "D13",
                "error",
                f"evidence {evidence.name}",
                f"the evidence is not valid: {'; '.join(wrong)}"
                + (f". {evidence.note}" if evidence.note else ""),
                "take members from the log of what was trained on; print no epsilon from it",
                refs=evidence.refs,
            )
        elif unknown:
            yield finding(
                "D13",
                "warning",
                f"evidence {evidence.name}",
                f"not stated: {'; '.join(unknown)}",
                "state it in [[evidence]]",
                refs=evidence.refs,
            )


def _invalid(evidence: Evidence) -> tuple[list[str], list[str]]:
    wanted = {
        "its members were trained on": evidence.members_trained,
        "its non-members were not trained on": evidence.nonmembers_untrained,
        "both are drawn and processed alike": evidence.same_mix,
    }
    wrong = [f"it is not so that {text}" for text, value in wanted.items() if value is False]
    return wrong, [f"whether {text}" for text, value in wanted.items() if value is None]


def fidelity(d: Declaration) -> Iterator[Finding]:
    """D14: statements against the code, choices at chance level, noise against signal."""
    for statement in d.statement:
        if _meaning(statement.says) != _meaning(statement.does):
            yield finding(
                "D14",
                "error" if statement.protects else "warning",
                statement.about,
                f"the text says: {statement.says}; the code does: {statement.does}",
                "make them agree; test the code against the theorem",
                refs=statement.refs,
            )
    for release in d.release:
        yield from _choice(release)
        yield from _signal(d, release)


def _meaning(text: str) -> str:
    """`text` without what only its spelling differs in: case, spaces, hyphens between letters.

    A hyphen before a number is a sign, and one between a space and a word is an option: they stay.

    >>> _meaning(" Client-level  noise. ") == _meaning("client_level noise")
    True
    >>> _meaning("weight -1") == _meaning("weight 1")
    False
    """
    plain = unicodedata.normalize("NFC", text).casefold()
    joined = re.sub(r"(?<=[^\W\d_])[-_\u2010-\u2015](?=[^\W\d_])", " ", plain)
    return " ".join(joined.split()).rstrip(".")


def _choice(release: Release) -> Iterator[Finding]:
    if release.kind != "pure" or release.score_range is None or release.chosen is None:
        return
    scaled_to = release.assumed_sensitivity or 2.0 * release.chosen * release.score_range
    scale = scaled_to / float(release.pure_epsilon or math.inf)
    if scale <= 10.0 * release.score_range:
        return
    share = f" of {release.dimension}" if release.dimension else ""
    level = (
        f"; the choice is at chance, {at_most(release.chosen / release.dimension, 4)} of the true "
        "top on average"
        if release.dimension
        else ""
    )
    yield finding(
        "D14",
        "info",  # it costs utility; the guarantee stands
        f"release {release.name}",
        f"Laplace noise of scale {at_least(scale, 6)} is added to scores in a range of "
        f"{release.score_range:g} to choose {release.chosen}{share}{level}",
        "spend the budget on a smooth score of low sensitivity, or take public groups",
        refs=release.refs,
    )


def _signal(d: Declaration, release: Release) -> Iterator[Finding]:
    if release.kind != "gaussian" or release.signal_norm is None or release.dimension is None:
        return
    sigma = formulas.sigma(release, exact.delta(d))
    stddevs = exact.noise_stddevs(release, sigma)
    noise = max(stddevs) * math.sqrt(release.dimension)
    if noise > release.signal_norm:
        yield finding(
            "D14",
            "info",
            f"release {release.name}",
            f"the norm of the noise is about {at_least(noise, 3)} in {release.dimension} "
            f"coordinates, that of the signal at most {release.signal_norm:g}: what is released "
            "is mostly noise, and attacks near chance prove nothing about the mechanism",
            "average more contributions, release less often or in fewer dimensions",
            refs=release.refs,
        )
