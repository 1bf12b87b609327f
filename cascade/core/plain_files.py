"""Files that a user names, opened only if they are plain ones: a pipe would be waited for without end."""

from __future__ import annotations

import os
from errno import EINVAL
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO


def open_plain(path: Path) -> IO[bytes]:
    """
    Open a file for reading.

    Raises
    ------
    OSError
        If it cannot be opened, or is a folder, a pipe or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if S_ISDIR(mode):
        raise IsADirectoryError(EINVAL, "expected a file, got a folder", str(path))
    raise OSError(EINVAL, "expected a file, got a pipe or a device", str(path))


def read_plain(path: Path) -> bytes:
    """All that a file holds; OSError as `open_plain`."""
    with open_plain(path) as file:
        return file.read()
