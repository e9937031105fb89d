"""Is a membership attack that supports a claim one at all?"""

from collections.abc import Mapping

from .finding import Finding


def members(
    members: Mapping[int, int], non_members: Mapping[int, int], trained_on: set[int]
) -> Finding:
    """Fires where a membership attack is not one: wrong members, or another mix of classes.

    Args:
        members: record -> class, called members.
        non_members: record -> class.
        trained_on: records in the log of the training.
    """
    outside = sum(record not in trained_on for record in members)
    inside = sum(record in trained_on for record in non_members)
    mixes = [sorted(group.values()) for group in (members, non_members)]
    fired = bool(outside or inside or mixes[0] != mixes[1])
    return Finding(
        probe="audit validity",
        fired=fired,
        text=f"{outside} of {len(members)} members were not trained on, {inside} of "
        f"{len(non_members)} non-members were; class mixes are "
        f"{'equal' if mixes[0] == mixes[1] else 'different'}",
        fix="take members from the log of the training, and both groups from one mix"
        if fired
        else "",
        measured=float(outside + inside),
        declared=0.0,
    )
