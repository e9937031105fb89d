"""Rows of a system's comparison side by side, in processes of their own.

A row depends on the file, the data and its own name alone, so that it does not matter who runs it,
nor when.
"""

import os
import signal
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

from ...accountant.errors import ConfigError
from ...fl_core.systems.base import Outcome, Prepared, RowPlan, SystemFile
from .system_verify import checked_row

_MOST = 4  # each holds models and data


def default_workers() -> int:
    """One for each processor that this process may use, up to four."""
    try:
        return min(len(os.sched_getaffinity(0)), _MOST)
    except AttributeError:  # macOS
        return min(os.cpu_count() or 1, _MOST)


def outcomes(
    file: SystemFile,
    folder: Path,
    plans: Sequence[RowPlan],
    *,
    hashes: dict[str, str],
    workers: int,
) -> Generator[tuple[RowPlan, Outcome, float], None, None]:
    """Rows as they are finished, and the seconds that each took.

    Args:
        file: of the comparison.
        folder: relative paths in it start here.
        plans: rows of the file, at least one.
        hashes: of models and data; every process must find the same.
        workers: number of processes.

    Raises:
        ConfigError: a process was killed, or found other models or data.
    """
    others = set(active_children())
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(plans)),
        mp_context=get_context("spawn"),  # a fork of a process with threads of torch can hang
        initializer=_obey,
        initargs=(file, folder, hashes),
    )
    try:
        asked = {pool.submit(_row, plan): plan for plan in plans}
        for done in as_completed(asked):
            yield asked[done], *done.result()
    except BrokenProcessPool as error:
        raise ConfigError(
            f"one of {workers} processes ended before its row was done; finished rows are kept.\n"
            "  Memory may have run out, or a script that started them has no "
            'if __name__ == "__main__": of its own. Try again with --workers 1.'
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(active_children()) - others:
            process.terminate()  # nobody will read what is unfinished


_given: tuple[SystemFile, Path, dict[str, str]] | None = None


def _obey(file: SystemFile, folder: Path, hashes: dict[str, str]) -> None:
    """In a new process: it lives as long as its parent, which alone hears the keyboard."""
    global _given  # noqa: PLW0603  a pool has no other place for what all tasks need
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _given = file, folder, hashes


def _end_with_parent() -> None:
    """One that is killed ends nobody else."""
    parent = parent_process()
    assert parent is not None  # this runs in a child alone
    parent.join()
    os._exit(1)


@lru_cache(maxsize=1)
def _prepared() -> tuple[SystemFile, Prepared]:
    """Models and data, once in each process."""
    assert _given is not None  # by the initializer
    file, folder, hashes = _given
    system = file.prepare(folder, lambda text: None)
    if system.hashes != hashes:
        raise ConfigError(
            f"models or data changed while the comparison ran: {hashes} became {system.hashes}"
        )
    return file, system


def _row(plan: RowPlan) -> tuple[Outcome, float]:
    file, system = _prepared()
    start = time.monotonic()
    outcome = system.run(plan, lambda done, of: None)
    checked_row(file, plan, outcome)
    return outcome, time.monotonic() - start
