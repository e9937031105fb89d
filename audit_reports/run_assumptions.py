"""What every run rests on, whatever its mechanism; `verify` reads it without torch."""

from ..accountant.assumption import Assumption

LABELS = Assumption(
    text="Labels are fixed: a record has one label, so that classes compose in parallel.",
    how="each record enters the sum of its own label only",
    holds=True,
)
_EVIDENCE = {
    True: "packaged weights with a pinned hash, unchanged by the run; public photographs",
    None: "a local model, unchanged by the run; what it was trained on is not known here",
    False: "its parameters or buffers changed during the run",
}


def encoder(holds: bool | None) -> Assumption:
    """About the encoder: packaged and unchanged (True), local (None) or changed (False)."""
    return Assumption(
        text="The encoder and the projection do not depend on private records.",
        how=_EVIDENCE[holds],
        holds=holds,
    )
