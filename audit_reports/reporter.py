"""Where progress goes."""

from collections.abc import Callable
from typing import Protocol


class Reporter(Protocol):
    """Where progress goes; the command line gives one that draws bars on stderr."""

    def say(self, text: str) -> None: ...  # noqa: D102

    def bar(self, name: str) -> Callable[[int, int], None]: ...  # noqa: D102


class Silent:
    """A reporter that says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def bar(self, name: str) -> Callable[[int, int], None]:
        """A callback that does nothing."""
        return lambda done, total: None
