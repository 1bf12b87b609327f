"""What makes work on an exposure fail that is no fault of the exposure: memory, disk space, open files, modules."""

from __future__ import annotations

import resource
from errno import EDQUOT, EMFILE, ENFILE, ENOMEM, ENOSPC

import numpy as np

USUAL_BYTES = 2**28
"""Memory that an exposure may need: a DECam exposure of 62 CCDs takes half of it, one CCD at a time."""

_ERRNOS = (ENOMEM, ENOSPC, EDQUOT, EMFILE, ENFILE)


def machine_fault(error: BaseException) -> str | None:
    """
    Tell whether an error, or one that it was raised from, is the machine's and not the input's.

    Parameters
    ----------
    error : BaseException
        Of work on one exposure.

    Returns
    -------
    str or None
        What is missing, in one clause. Lack of memory counts where `USUAL_BYTES` are not there either: where they are,
        the exposure asked for too much.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) and not _has_memory():
            return memory_fault()
        if isinstance(cause, OSError) and cause.errno in _ERRNOS:
            return memory_fault() if cause.errno == ENOMEM else str(cause.strerror)
        if isinstance(cause, ImportError):
            return f"expected the module {cause.name or cause.path}, got {cause}"
        cause = cause.__cause__
    return None


def memory_fault() -> str:
    """What to say where memory is short: how much an exposure needs, and the limit of this process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    got = "got less" if limit == resource.RLIM_INFINITY else f"got a limit of {limit >> 20} MiB (ulimit -v)"
    return f"expected {USUAL_BYTES >> 20} MiB of memory beside the networks, {got}"


def _has_memory() -> bool:
    """Whether a usual exposure finds memory."""
    try:
        np.empty(USUAL_BYTES, np.uint8)
    except MemoryError:
        return False
    return True
