"""Child processes that import nothing from the current folder, which may hold what others wrote."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from typing import Any, TypeVar

T = TypeVar("T")

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


def results_in_order(
    n_workers: int, function: Callable[..., T], calls: Iterable[tuple[Any, ...]]
) -> Generator[T, None, None]:
    """
    Results of calls in other processes, in order; at most twice as many calls as processes are under way.

    Parameters
    ----------
    n_workers : int
    function : callable
        Importable, as its arguments and results are pickled.
    calls : iterable of tuple
        Its arguments.
    """
    with process_pool(n_workers) as pool:
        waiting: deque[Future[T]] = deque()
        for arguments in calls:
            waiting.append(pool.submit(function, *arguments))
            if len(waiting) >= 2 * n_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
