"""What happened in a run, as JSON lines in ``RUN/logs``: batches with their seconds per stage, retries and why."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from logging import getLogger

from cascade.core.errors import CascadeError
from cascade.storage import Storage

logger = getLogger(__name__)

_SECONDS_BETWEEN_UPLOADS = 30.0


class RunLog:
    """
    The log of one call.

    Lines are appended to a file on a disk. An object store cannot append: there, the lines so far are written again
    every half a minute and at the end. A run continues if its log cannot be written.

    Parameters
    ----------
    storage : Storage
        The run directory.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._key = f"logs/{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.jsonl"
        self._lines: list[str] = []
        self._uploaded = time.monotonic()
        self._lock = threading.Lock()

    def write(self, event: str, **details: object) -> None:
        """Add a line: the time, what happened, and any details that JSON can hold."""
        time_ = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time_, "event": event, **details}) + "\n"
        with self._lock:
            self._lines.append(line)
            late = time.monotonic() - self._uploaded >= _SECONDS_BETWEEN_UPLOADS
            if self._storage.can_append or late:
                self._flush()

    def close(self) -> None:
        """Write what is left."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        """Write the lines to the storage."""
        try:
            data = "".join(self._lines).encode()
            if self._storage.can_append:
                self._storage.append(self._key, data)
                self._lines.clear()
            else:
                self._storage.write(self._key, data)
        except (OSError, CascadeError) as error:
            logger.warning("the log could not be written: %s", error)
        self._uploaded = time.monotonic()
