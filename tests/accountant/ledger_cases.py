"""Entries and ledgers that the tests of ledgers share."""

import dp_accounting.dp_event as dpe

from privassay.accountant.event_json import to_dict
from privassay.accountant.ledger import Ledger, LedgerEntry


def gaussian(multiplier):
    return to_dict(dpe.GaussianDpEvent(multiplier))


def entry(client="a", label="x", round_=0, multiplier=2.0, noise="system", **more):
    event = more.pop("event", None) or gaussian(multiplier)
    kind = more.pop("release", "prototype")
    return LedgerEntry(
        release=kind, client=client, label=label, round=round_, event=event, noise=noise
    )


def ledger(path=None, adjacency="add-remove"):
    return Ledger(adjacency=adjacency, unit="example", path=path)


def releases(path):
    """Lines of the file behind its header."""
    return path.read_text().splitlines()[1:]
