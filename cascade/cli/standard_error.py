"""Standard error that may be closed, a pipe without a reader, or a file on a full disk: no reason to stop."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any

_STANDARD_ERROR = 2


class _NeverFails(io.RawIOBase):
    """Writes to standard error what can be written there, and drops the rest."""

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def fileno(self) -> int:
        """Its file descriptor."""
        return _STANDARD_ERROR

    def isatty(self) -> bool:
        """Whether a person watches."""
        return os.isatty(_STANDARD_ERROR)

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        """Write all of it, or drop what cannot be written."""
        content = memoryview(data).cast("B")
        left = content
        with suppress(OSError):
            while left:
                left = left[os.write(_STANDARD_ERROR, left) :]
        return len(content)


def let_standard_error_fail() -> None:
    """
    Replace ``sys.stderr`` by a stream that never fails, and open what is closed of the three standard files.

    Otherwise the next file that is opened would take the place of a standard one, and get what is printed there.
    """
    for descriptor in range(_STANDARD_ERROR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free
    buffered = io.BufferedWriter(_NeverFails())
    sys.stderr = io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True)
