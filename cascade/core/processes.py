"""Child processes that import nothing from the current folder, which may hold what others wrote."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context

_VARIABLE = "PYTHONSAFEPATH"


@contextmanager
def safe_path() -> Iterator[None]:
    """
    Have Python processes that start in this block leave the current folder out of their module search path.

    A spawned process, and the one with which `multiprocessing` tracks its semaphores, is ``python -c``, which puts the
    current folder first: a ``multiprocessing.py`` in it would run. A child still gets the search path of its parent.
    """
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before


def exit_reason(code: int | None) -> str:
    """How a process ended, by its return code, for messages."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with status {code}"


@contextmanager
def process_pool(n_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Spawned worker processes, which import nothing from the current folder."""
    with safe_path():
        pool = ProcessPoolExecutor(n_workers, mp_context=get_context("spawn"))
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)  # a signal that ends the command does not wait for what has not begun
