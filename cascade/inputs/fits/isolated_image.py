"""
Compressed images, unpacked by a process of their own.

Their tiles are unpacked by C code, some of which reads beyond its input where a stream is damaged. What that may do to
a process must not end a season, nor each attempt to resume it. The process stays for the next image: passing a DECam
CCD through it adds 15 % to the 0.2 s that unpacking takes, a process for each would add a second.
"""

from __future__ import annotations

import atexit
import math
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM, SIGXCPU
from threading import Lock
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from cascade.core.errors import InputError, OutageError, input_error
from cascade.core.machine import USUAL_BYTES, memory_fault
from cascade.core.processes import exit_reason
from cascade.inputs.fits.structure import Hdu, checked_hdu
from cascade.inputs.time_limit import check_time, seconds_left

_WIDEST_PIXEL = 8  # bytes
_NO_MEMORY = "memory"
_FROM_OUTSIDE = (-SIGKILL, -SIGTERM)  # the system, short of memory, or a person
_UNPACK = """
import io, os, resource, signal, sys, time, warnings
signal.signal(signal.SIGINT, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
import numpy
from astropy.io import fits
warnings.simplefilter("ignore")
answers.write(b"ready\\n")
answers.flush()
hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
while request := requests.readline():
    n_bytes, seconds = map(int, request.split())
    started = time.process_time()
    end = int(started) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (end if hard < 0 else min(end, hard), hard))
    values = numpy.empty(0)
    try:
        content = requests.read(n_bytes)
        with fits.open(io.BytesIO(content), memmap=False) as hdus:
            values = numpy.ascontiguousarray(hdus[1].data)
        answer = f"{values.dtype.str} {' '.join(map(str, values.shape))}"
    except MemoryError:
        answer = "! memory"
    except Exception as error:
        answer = "! " + ascii(str(error) or type(error).__name__)[1:-1]
    answers.write(f"{time.process_time() - started} {answer}\\n".encode())
    answers.write(values.data.cast("B") if values.size else b"")
    answers.flush()
    if answer == "! memory":
        break
"""


class _Ended(Exception):  # noqa: N818 - no error yet
    """The process has ended; its argument is the return code."""


class _Unpacker:
    """A process that unpacks one image after the other."""

    def __init__(self) -> None:
        try:
            # -P: a module in the current folder must not be taken for one of ours.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _UNPACK],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            msg = f"cannot start a process that unpacks images: {error}"
            raise OutageError(msg) from error
        if self._pipes()[1].readline() != b"ready\n":
            msg = f"a process that unpacks images {exit_reason(self.end())} as it started: {memory_fault()}"
            raise OutageError(msg)

    def unpack(self, content: bytes, seconds: int) -> tuple[float, str, npt.NDArray[Any] | None]:
        """CPU seconds, what was wrong or nothing, and the image in a FITS file; _Ended if the process dies of it."""
        requests, answers = self._pipes()
        try:
            requests.write(b"%d %d\n" % (len(content), seconds))
            requests.write(content)
            requests.flush()
            spent, _, answer = answers.readline().decode().strip().partition(" ")
            if not answer:
                raise _Ended(self.end())
            if answer.startswith("!"):
                return float(spent), answer.removeprefix("! "), None
            dtype, *shape = answer.split()
            values = np.empty([int(side) for side in shape], dtype)
            if values.size and answers.readinto(values.data.cast("B")) < values.nbytes:  # type: ignore[attr-defined]
                raise _Ended(self.end())
        except BrokenPipeError as error:
            raise _Ended(self.end()) from error
        return float(spent), "", values

    def kill(self) -> None:
        """End the process whatever it does."""
        self._process.kill()
        self.end()

    def end(self) -> int:
        """End the process, and give its return code."""
        for pipe in self._pipes():
            with suppress(OSError):
                pipe.close()
        return self._process.wait()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Requests and answers."""
        if self._process.stdin is None or self._process.stdout is None:
            msg = "a process without pipes"
            raise OutageError(msg)
        return self._process.stdin, self._process.stdout


_IDLE: list[_Unpacker] = []  # each thread that reads takes one, so there are as many as threads
_TAKING = Lock()


def read_isolated(file: Path, hdu: Hdu, name: str) -> npt.NDArray[Any]:
    """
    Read the image of a compressed HDU in another process.

    Raises
    ------
    InputError
        If the HDU is damaged, the process dies of it, or it takes longer than the exposure may.
    OutageError
        If the process cannot be started, or something else ended it.
    """
    content = checked_hdu(file, hdu, name)
    with _TAKING:
        unpacker = _IDLE.pop() if _IDLE else None
    unpacker = unpacker or _Unpacker()
    seconds = max(1, math.ceil(seconds_left()))
    try:
        spent, problem, values = unpacker.unpack(content, seconds)
    except _Ended as ended:
        raise _death(ended.args[0], seconds, hdu.name, name) from ended
    except BaseException:  # interrupted between question and answer
        unpacker.kill()
        raise
    if problem == _NO_MEMORY:
        unpacker.end()
        if math.prod(hdu.shape) * _WIDEST_PIXEL > USUAL_BYTES:
            raise input_error(name, f"{hdu.name}: expected an image that fits into memory, got {hdu.shape}")
        msg = f"{name}: {hdu.name}: {memory_fault()}; the run can be resumed"
        raise OutageError(msg)
    with _TAKING:
        _IDLE.append(unpacker)
    check_time(name, spent)
    if values is None:
        raise input_error(name, f"{hdu.name}: cannot read its pixels: {problem}")
    return values


def _death(code: int, seconds: int, hdu: str, name: str) -> InputError | OutageError:
    """What the end of a process says."""
    if code == -SIGXCPU:
        return input_error(name, f"{hdu}: expected to unpack it in {seconds} s of CPU, got no end of it")
    if code in _FROM_OUTSIDE:
        return OutageError(f"{name}: {hdu}: the process that unpacked it {exit_reason(code)}: {memory_fault()}?")
    return input_error(name, f"{hdu}: cannot read its pixels: the process that unpacked it {exit_reason(code)}")


@atexit.register
def _end_all() -> None:
    """End the processes with this one."""
    while _IDLE:
        _IDLE.pop().kill()


os.register_at_fork(after_in_child=_IDLE.clear)  # they are the parent's
