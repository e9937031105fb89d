"""D7: the sampler that runs against the one that is accounted for."""

from collections.abc import Iterator

from .. import exact
from ..declaration import Declaration
from ..exact import Facts
from ..findings import Finding
from .common import finding

_WHY = {
    "all": "every record takes part, so that nothing is hidden by sampling",
    "shuffled": "shuffled batches of fixed size are not a Poisson sample",
    "fixed-size": "a sample of fixed size is not a Poisson sample",
    "public-schedule": "a schedule that others can compute hides nobody",
    "poisson": "",
}


def sampler(d: Declaration) -> Iterator[Finding]:
    """Amplification needs the sampler that its proof is about."""
    s = d.sampling
    if d.claim.kind == "none":
        return
    if s.used == "not stated" or s.accounted == "not stated":
        yield finding(
            "D7",
            "warning",
            "sampling",
            "the sampler that runs, or the one that the accounting assumes, is not stated",
            "state sampling.used and sampling.accounted",
            refs=s.refs,
        )
        return
    if "poisson" in (s.used, s.accounted) and not any(r.sampled for r in d.release):
        yield finding(
            "D7",
            "warning",
            "sampling",
            "Poisson sampling is declared, but no [[release]] says sampled = true: nothing is "
            "amplified",
            "write sampled = true in each release that sees the sample only",
            refs=s.refs,
        )
    if s.used in ("shuffled", "fixed-size") and d.claim.adjacency == "add-remove":
        yield finding(
            "D7",
            "warning",
            "sampling",
            f'under "add-remove" one record less also moves others between {s.used} batches: more '
            "than one contribution changes",
            'claim "zero-out" or "replace-one", with public sizes, or sample by Poisson',
            refs=s.refs,
        )
    if s.accounted == "all":
        if s.used != "all" and s.used != "poisson":
            note = f" ({s.note})" if s.note else ""
            yield finding(
                "D7",
                "info",
                "sampling",
                f"no amplification is claimed, and none is due: {_WHY[s.used]}{note}",
                "count the participations of the most used contributor",
                refs=s.refs,
            )
        return
    numbers = exact.account_all(d, Facts(sampling=True), "the sampler that runs")
    lower_rate = (s.rate or 1.0) > (s.accounted_rate or 1.0) and s.accounted == "poisson"
    if s.used != s.accounted or lower_rate:
        why = _WHY[s.used] or f"its rate is {s.rate:g}, above the accounted {s.accounted_rate:g}"
        yield finding(
            "D7",
            "error",
            "sampling",
            f"the accounting assumes {s.accounted!r} sampling, but {s.used!r} runs: {why}",
            "run the sampler that is accounted for, or account without amplification",
            exact=numbers,
            refs=s.refs,
        )
    elif s.used != "poisson":
        yield finding(
            "D7",
            "warning",
            "sampling",
            f"{s.used!r} sampling is accounted for, and this lint knows no amplification for it; "
            "its numbers count every record in every release",
            "use the accountant's event for this sampler, and state the result as given",
            exact=numbers,
            refs=s.refs,
        )
