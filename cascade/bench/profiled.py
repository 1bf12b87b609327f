"""Measurements in a fresh process, with its memory profile."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

import psutil

from cascade.core.processes import process_pool

P = ParamSpec("P")
T = TypeVar("T")

_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Profiled(Generic[T]):
    """
    Return value and memory profile of a function.

    Attributes
    ----------
    value
        Its return value.
    seconds
        (n,) time since the start of the call.
    memory_mb
        (n,) resident memory at those times, of the process and its descendants.
    """

    value: T
    seconds: tuple[float, ...]
    memory_mb: tuple[float, ...]

    @property
    def peak_mb(self) -> float:
        """Peak resident memory."""
        return max(self.memory_mb)


def profiled(function: Callable[P, T], *args: P.args, **options: P.kwargs) -> Profiled[T]:
    """
    Call a function in a new process and profile its memory.

    Parameters
    ----------
    function : callable
        Module-level function; its arguments and return value must be picklable.
    """
    started = time.monotonic()
    seconds, memory = [], []
    with process_pool(1) as pool:
        future: Future[T] = pool.submit(function, *args, **options)
        while not wait_for([future], timeout=_EVERY_S).done:
            seconds.append(time.monotonic() - started)
            memory.append(_memory_mb())
        seconds.append(time.monotonic() - started)
        memory.append(_memory_mb())
        return Profiled(future.result(), tuple(seconds), tuple(memory))


def _memory_mb() -> float:
    """Resident memory of all descendants of this process."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 2**20
