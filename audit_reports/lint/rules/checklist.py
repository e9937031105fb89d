"""Items of the hazards checklist that no D pattern covers. What is not stated is not assumed."""

from collections.abc import Iterator

from ..declaration import Declaration
from ..findings import Finding
from .common import finding


def hazards(d: Declaration) -> Iterator[Finding]:
    """H5, H7, H9, H11 and H12."""
    if d.claim.kind == "none":
        return
    conduct = d.conduct
    if conduct.nonfinite != "zero":
        broken = conduct.nonfinite == "changes-path"
        yield finding(
            "H5",
            "error" if broken else "warning",
            "conduct",
            "a NaN contribution or an empty cohort changes what the code does"
            if broken
            else "what a NaN contribution or an empty cohort does is not stated",
            "count such a contribution as zero, and release as always",
            refs=conduct.refs,
        )
    if conduct.across_records is None:
        yield finding(
            "H7",
            "warning",
            "conduct",
            "whether operations mix records before the clip (batch normalisation, contrastive "
            "losses) is not stated",
            "state conduct.across_records; [] if there are none",
            refs=conduct.refs,
        )
    elif conduct.across_records:
        yield finding(
            "H7",
            "error",
            "conduct",
            f"records are mixed before the clip, by {', '.join(conduct.across_records)}: "
            "one record changes what others contribute",
            "use operations on single records (group or layer normalisation)",
            refs=conduct.refs,
        )
    if not d.claim.unprotected:
        yield finding(
            "H9",
            "warning",
            "claim.unprotected",
            "nothing is listed as unprotected; counts, class presence, client lists and metrics "
            "are often published",
            'list what is published unprotected; write ["nothing"] if there is nothing',
        )
    yield finding(
        "H11",
        "info",
        "claim",
        "differential privacy bounds what one unit adds, not what correlated records reveal",
        "nothing; say so where records of one person are spread over units",
    )
    if d.randomness.arithmetic != "exact":
        yield finding(
            "H12",
            "info",
            "randomness.arithmetic",
            "sums and noise are floating-point numbers (or it is not stated): the proof is about "
            "real numbers",
            "use an exact sampler on integers (discrete Gaussian)",
        )
