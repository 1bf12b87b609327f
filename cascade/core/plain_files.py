"""Files that others named or made, of which only plain ones are opened: a pipe would be waited for for ever."""

from __future__ import annotations

import os
import stat
from errno import EINVAL
from io import BufferedReader
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class NotPlainError(OSError):
    """A pipe, a device or a folder where a file was expected."""


def open_plain(path: Path) -> BufferedReader:
    """
    Open a file, or what a link leads to, to read it.

    Raises
    ------
    NotPlainError
        If it is no plain file.
    OSError
        If it is missing or cannot be opened.
    """
    _check(path.stat().st_mode, path)  # to open a device may do something
    stream = os.fdopen(os.open(path, os.O_RDONLY | _WITHOUT_WAITING), "rb")
    try:
        _check(os.fstat(stream.fileno()).st_mode, path)  # it may have been replaced
    except NotPlainError:
        stream.close()
        raise
    return stream


def read_plain(path: Path) -> bytes:
    """Read a file that `open_plain` opens; errors as there."""
    with open_plain(path) as stream:
        return stream.read()


def plain_size(path: Path) -> int:
    """Bytes of a file that `open_plain` opens, for libraries that open it themselves; errors as there."""
    status = path.stat()
    _check(status.st_mode, path)
    return status.st_size


def _check(mode: int, path: Path) -> None:
    """Refuse the mode of anything but a file."""
    if not stat.S_ISREG(mode):
        raise NotPlainError(EINVAL, f"expected a plain file, got {_KINDS.get(stat.S_IFMT(mode), 'none')}", str(path))
