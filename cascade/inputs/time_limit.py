"""
How long the decoding of one exposure may take.

Counted in seconds of CPU, which slow disks, stores and neighbours do not use up: only what the input makes us do
counts. Decoders ask after each piece (a CCD, a few megabytes), and pieces are bounded in size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from cascade.core.errors import ConfigError, input_error
from cascade.core.exposure import Exposure, Source
from cascade.inputs.base import Reader

READ_LIMIT_S = 600.0
"""CPU seconds that reading an exposure may take; a raw DECam exposure of 62 CCDs takes 30, a preview a thousandth."""


@dataclass(slots=True)
class _Budget:
    """What is left of the time of an exposure."""

    limit: float
    started: float  # of `time.thread_time`
    elsewhere: float = 0.0  # seconds of other processes


_BUDGET: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit what is read in this block, in this thread, to so many seconds of CPU."""
    token = _BUDGET.set(_Budget(seconds, time.thread_time()))
    try:
        yield
    finally:
        _BUDGET.reset(token)


def seconds_left() -> float:
    """Seconds of CPU that are left; `READ_LIMIT_S` where there is no limit."""
    budget = _BUDGET.get()
    return READ_LIMIT_S if budget is None else budget.limit - (time.thread_time() - budget.started) - budget.elsewhere


def check_time(path: str, elsewhere: float = 0.0) -> None:
    """
    Refuse an exposure that takes too long.

    Parameters
    ----------
    path : str
        How the error names it.
    elsewhere : float
        Seconds of CPU that another process spent on it since the last call.

    Raises
    ------
    InputError
        If no time is left.
    """
    budget = _BUDGET.get()
    if budget is None:
        return
    budget.elsewhere += elsewhere
    if seconds_left() < 0:
        raise input_error(path, f"expected to read it in {budget.limit:g} s of CPU, got no end of it")


@dataclass(frozen=True, slots=True, eq=False)
class Limited:
    """
    A reader with a limit on the time that reading an exposure may take.

    Attributes
    ----------
    reader
        The exposures.
    seconds
        Of CPU.
    """

    reader: Reader
    seconds: float

    def __len__(self) -> int:
        return len(self.reader)

    def source(self, index: int) -> Source:
        """Say where an exposure comes from, without touching its pixels."""
        return self.reader.source(index)

    def read(self, index: int) -> Exposure:
        """Read one exposure, in time."""
        with time_limit(self.seconds):
            return self.reader.read(index)

    def part(self, start: int, stop: int) -> Reader:
        """Take the exposures `start` to `stop - 1`."""
        return Limited(self.reader.part(start, stop), self.seconds)


def limited(reader: Reader, seconds: float) -> Limited:
    """
    The reader with a limit.

    Raises
    ------
    ConfigError
        Unless the limit is positive.
    """
    if not (seconds > 0 and math.isfinite(seconds)):
        msg = f"read limit: expected a positive number of seconds, got {seconds}"
        raise ConfigError(msg)
    return Limited(reader, seconds)
