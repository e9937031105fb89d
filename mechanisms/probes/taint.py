"""Data flow: is there a way from private records to what is released that meets no noise?

The graph is declared by the user; `outbox` checks single steps by running them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ...accountant.errors import ParameterError
from .finding import Finding


@dataclass(frozen=True, kw_only=True)
class Node:
    """A value of the program.

    Attributes:
        name: of the value.
        parents: names of what it is computed from.
        private: whether it is private records.
        noised: whether it is a differentially private output, written down in the ledger.
    """

    name: str
    parents: tuple[str, ...] = ()
    private: bool = False
    noised: bool = False


def unsafe_path(nodes: Iterable[Node], released: str) -> tuple[str, ...] | None:
    """A way from private records to `released` without noise, records first; None if there is none.

    Raises:
        ParameterError: a name that no node has.

    >>> data = Node(name="images", private=True)
    >>> noisy = Node(name="prototype", parents=("images",), noised=True)
    >>> adapter = Node(name="adapter", parents=("images", "prototype"))
    >>> unsafe_path([data, noisy, adapter], "adapter")
    ('images', 'adapter')
    >>> unsafe_path([data, noisy], "prototype") is None
    True
    """
    known = {node.name: node for node in nodes}
    seen: set[str] = set()
    stack: list[tuple[str, ...]] = [(released,)]
    while stack:
        path = stack.pop()
        if path[0] not in known:
            raise ParameterError(f"no node is called {path[0]!r}; there are {sorted(known)}")
        node = known[path[0]]
        if node.noised or node.name in seen:
            continue
        seen.add(node.name)
        if node.private:
            return path
        stack += [(parent, *path) for parent in node.parents]
    return None


def taint(nodes: Iterable[Node], released: Iterable[str]) -> Finding:
    """Fires where one of the released values is reached without noise."""
    graph = list(nodes)
    for name in released:
        path = unsafe_path(graph, name)
        if path is not None:
            return Finding(
                probe="taint",
                fired=True,
                text="private records reach " + " -> ".join(path),
                fix="put noise on this way, or compute it from noised values only",
            )
    return Finding(probe="taint", fired=False, text="every way to what is released meets noise")
