"""What all verbs share: one way to print results, one way to show progress."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import typer

Json = typer.Option(False, "--json", help="Print JSON and nothing else on stdout.")
Quiet = typer.Option(False, "--quiet", help="No progress on stderr.")


def print_json(value: Any) -> None:
    """JSON on stdout; infinities as strings."""
    from ...accountant.jsonio import dump

    typer.echo(json.dumps(dump(value), indent=2, sort_keys=True, allow_nan=False))


class Terminal:
    """Progress on stderr: bars where it is a terminal, a line per step where it is not."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()

    def say(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def bar(self, name: str) -> Callable[[int, int], None]:
        """A callback (done, total) that draws a bar."""
        start, last = time.monotonic(), -1

        def draw(done: int, total: int) -> None:
            nonlocal last
            percent = 100 * done // total
            if self._quiet or percent == last:
                return
            if self._live:
                filled = "#" * (percent // 5)
                spent = time.monotonic() - start
                left = spent / done * (total - done) if done else 0.0
                text = f"\r{name:<45.45} [{filled:<20}] {percent:3d} % {left:4.0f} s left"
                print(text, end="\n" if done >= total else "", file=sys.stderr, flush=True)
            elif done >= total:
                print(f"{name}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
            last = percent

        return draw
