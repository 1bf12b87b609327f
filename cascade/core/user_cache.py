"""The folder of what is kept from one command to the next, which nobody but the user may write into."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from cascade.core.errors import ConfigError

CACHE_VARIABLE = "XDG_CACHE_HOME"
"""Environment variable with the root of all caches, an absolute path; default ``~/.cache``."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def user_cache() -> Path:
    """
    Give the folder; it is made if there is none.

    Raises
    ------
    ConfigError
        If it cannot be written, or belongs to or can be written by somebody else.
    """
    root = os.environ.get(CACHE_VARIABLE, "")
    try:
        # A relative path is ignored, as the XDG specification says: it would be another folder for each current folder.
        folder = (Path(root) if Path(root).is_absolute() else Path.home() / ".cache") / "ghost-cascade"
    except RuntimeError as error:
        msg = f"{CACHE_VARIABLE}: expected an absolute path, or a home folder, got neither"
        raise ConfigError(msg) from error
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_own(folder)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        msg = f"{folder}: expected a folder that can be written, got {error.strerror}"
        raise ConfigError(msg) from error


def check_own(path: Path) -> None:
    """
    Refuse a file or folder that somebody else may have written.

    Raises
    ------
    ConfigError
        If it is another user's, or others may write it.
    OSError
        If it cannot be looked at.
    """
    if os.name != "posix":
        return
    found = path.stat()
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
        msg = (
            f"{path}: expected to be of user {os.geteuid()} and writable by nobody else, got user {found.st_uid} and "
            f"mode {stat.S_IMODE(found.st_mode):o}; remove it, or mend it with chown and chmod go-w"
        )
        raise ConfigError(msg)
