"""What an audit did not test, in the reader's words."""

from ..fl_core.config import AuditFile


def limits(audit: AuditFile) -> tuple[str, ...]:
    """A sentence each; they follow from the file alone, so that `verify` can compare them."""
    return (
        "One pair of neighbouring data sets was tested per mechanism: a real class with and "
        "without one real record (or as the adjacency says). Other pairs may leak more, up to the "
        "proven bound.",
        "The local models are not released and not audited; serving one is a release that the "
        "claim does not cover.",
        "Inversion is one attack with one prior; a failed reconstruction shows nothing about "
        "stronger ones.",
        "Utility is measured on small public image sets with a packaged encoder; it says nothing "
        "about other data.",
        f"Noise is drawn from the published seed {audit.seed}, so that this audit can be repeated. "
        "Noise of a deployed system must never be.",
    )
