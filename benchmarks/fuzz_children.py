"""Trying cases in child processes with limits: what crashes, hangs or takes all memory is told, and the next tried."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

LIMIT_MB = 2500  # of address space above what the imports take
PEAK_MB = 700  # of memory above what was in use before; more is a finding though it went well
LIMIT_S = 40.0
_M_ARENA_MAX = -8  # malloc.h

Case = Callable[[], tuple[str, str]]
"""Tries one input; gives what came of it (``right``, ``refused`` or a finding) and a remark."""


def tried(cases: Sequence[Case]) -> Iterator[tuple[int, str, str]]:
    """Try all cases in forked children; number, outcome and remark of each."""
    start = 0
    while start < len(cases):
        for number, outcome, remark in _one_child(cases, start):
            yield number, outcome, remark
            start = number + 1


def in_child(make: Callable[[], None]) -> None:
    """Run something in a child alone, so that this process stays without threads and may fork."""
    ((_, outcome, remark),) = tried([lambda: (make() or "done", "")])
    if outcome != "done":
        message = f"could not make the files to damage: {outcome}: {remark}"
        raise RuntimeError(message)


def _one_child(cases: Sequence[Case], start: int) -> Iterator[tuple[int, str, str]]:
    """Results from one child until it has tried all or has ended otherwise."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads: none of them locks
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(cases, start, writing)
    os.close(writing)
    pending, buffer, killed = start, b"", False
    try:
        while True:
            ready, _, _ = select.select([reading], [], [], LIMIT_S)
            if not ready:
                killed = True
                os.kill(pid, signal.SIGKILL)
                break
            data = os.read(reading, 1 << 16)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                number, outcome, remark = json.loads(line)
                pending = number + 1
                yield number, outcome, remark
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if pending < len(cases):
        code = os.waitstatus_to_exitcode(status)
        outcome = f"hangs longer than {LIMIT_S:.0f} s" if killed else f"crash: the process ended with {code}"
        yield pending, outcome, ""


def _child(cases: Sequence[Case], start: int, writing: int) -> None:
    """Try cases and write a line about each; never returns."""
    faulthandler.disable()  # the parent tells
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)  # else each thread takes address space
    used_mb = _kilobytes("VmSize") >> 10
    resource.setrlimit(resource.RLIMIT_AS, ((used_mb + LIMIT_MB) << 20, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(start, len(cases)):
        _reset_peak()
        before = _kilobytes("VmRSS")
        began = time.monotonic()
        try:
            outcome, remark = cases[number]()
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)
            last = next((frame for frame in reversed(frames) if "/cascade/" in frame.filename), frames[-1])
            outcome = f"exception {type(error).__name__} at {Path(last.filename).name}:{last.name}"
            remark = str(error)[:300]
        peak_mb = (_kilobytes("VmHWM") - before) >> 10
        if outcome in ("right", "refused") and peak_mb > PEAK_MB:
            outcome, remark = "memory", f"{peak_mb} MB; {remark}"
        remark = f"{remark} [{time.monotonic() - began:.1f} s]"
        os.write(writing, (json.dumps([number, outcome, remark]) + "\n").encode())
    os._exit(0)


def _reset_peak() -> None:
    """Have the kernel forget the peak of the memory in use."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _kilobytes(name: str) -> int:
    """A figure of this process from /proc."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(f"{name}:")).split()[1])
