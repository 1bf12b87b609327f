"""The token of the review page: what tells the user's browser from those of other accounts."""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from cascade.core.errors import ConfigError
from cascade.core.user_cache import user_cache
from cascade.storage.atomic import written_aside

logger = logging.getLogger(__name__)

_FILE = "review-token"
_N_BYTES = 24
_FORM = re.compile(rb"[\w-]{32}", re.ASCII)  # of 24 bytes in base 64


def review_token() -> str:
    """
    Give the user's token, from a file that only they can read.

    It stays the same, so that pages that are open go on when their server was started again; who removes the file gets
    another. Where there is no place for the file, every server has a token of its own.
    """
    try:
        path = user_cache() / _FILE
    except ConfigError as error:
        logger.warning("%s; pages that are open must be opened again when the server is started again", error)
        return secrets.token_urlsafe(_N_BYTES)
    found = _own_token(path)
    if found is None:
        found = secrets.token_urlsafe(_N_BYTES)
        with written_aside(path) as aside:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(found)
    return found


def _own_token(path: Path) -> str | None:
    """The token in a file; None if there is none, or others may have read or written it."""
    with suppress(OSError):  # a link, too: it is not followed
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            own = os.name != "posix" or (about.st_uid == os.geteuid() and not about.st_mode & 0o077)
            if stat.S_ISREG(about.st_mode) and own and _FORM.fullmatch(content := file.read(64)):
                return content.decode()
    return None
