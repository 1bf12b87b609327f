"""
Who is working on a run directory: a lease, so that a second run at once is refused.

``RUN/lease/00000007.json`` is the seventh. Whoever creates the file of the next number, which can be done once, holds
it; they renew it while they work, and others may create the one after it when it is released or has expired. Commits do
not depend on it, so a lease lost to a wrong clock only costs duplicate work.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from logging import getLogger
from pathlib import Path
from uuid import uuid4

from cascade.core.errors import CascadeError, StoreError
from cascade.core.records import read_record
from cascade.storage import Storage
from cascade.storage.atomic import json_bytes, parse_json

logger = getLogger(__name__)

EXPIRES_AFTER_S = 120.0
"""A lease that was not renewed for so long may be taken; clocks of machines must agree to within a minute of it."""

_RENEWED_EVERY_S = 20.0
_MAX_BYTES = 1 << 16
_NAME = re.compile(r"(\d{8}|[1-9]\d{8,})\.json")


@dataclass(frozen=True, slots=True)
class Holder:
    """
    The current or former holder of a lease.

    Attributes
    ----------
    host, pid
        Machine and process.
    kernel
        Boot and process namespace in which `pid` counts, or empty where the system does not say.
    started
        When the process started, in the kernel's ticks, so that another one of the same pid is told apart.
    token
        Different for every lease.
    renewed
        When it was last renewed, seconds since 1970.
    released
        Whether it was released.
    """

    host: str
    pid: int
    kernel: str
    started: str
    token: str
    renewed: float
    released: bool = False

    def is_live(self) -> bool:
        """Whether the lease is valid: not released, not expired, and its process, if on this machine, alive."""
        if self.released or abs(time.time() - self.renewed) >= EXPIRES_AFTER_S:  # a clock far ahead was wrong
            return False
        return not self.kernel or self.kernel != _kernel() or _started(self.pid) == self.started


class Lease:
    """A lease that is held; made by `hold_lease`."""

    def __init__(self, storage: Storage, number: int, holder: Holder) -> None:
        self._storage, self._number, self._holder = storage, number, holder
        self._taken_by: Holder | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """
        Raise StoreError if another run has taken the lease.

        Raises
        ------
        StoreError
            If so; it must have expired, say while this process was stopped.
        """
        if self._taken_by is not None:
            msg = f"{self._storage.url}: taken over by a run on {self._taken_by.host} (pid {self._taken_by.pid})"
            raise StoreError(msg)

    def release(self) -> None:
        """Release the lease."""
        self._ended.set()
        self._thread.join()
        if self._taken_by is None:
            try:
                self._write(released=True)
            except (OSError, CascadeError) as error:
                logger.warning("the lease could not be released: %s", error)

    def _renew(self) -> None:
        """Renew the lease until it ends or is lost; where the store is unavailable, it is retried."""
        while not self._ended.wait(_RENEWED_EVERY_S):
            try:
                number, holder = _newest(self._storage)
                if number > self._number:
                    self._taken_by = holder
                    return
                self._write(released=False)
            except (OSError, CascadeError) as error:
                logger.warning("the lease could not be renewed: %s", error)

    def _write(self, *, released: bool) -> None:
        """Write the lease with the time."""
        content = asdict(self._holder) | {"renewed": time.time(), "released": released}
        self._storage.write(_key(self._number), json_bytes(content))


@contextmanager
def hold_lease(storage: Storage) -> Iterator[Lease]:
    """
    Hold the lease of a run directory, renewing it, until the block ends.

    Parameters
    ----------
    storage : Storage
        The run directory; a new one may be empty.

    Raises
    ------
    StoreError
        If another run holds it.
    """
    number, holder = _newest(storage)
    mine = _this_process()
    if holder is None or not holder.is_live():
        created = storage.create(_key(number + 1), json_bytes(asdict(mine)))
        if created and _newest(storage)[0] == number + 1:  # not so if this process slept through several leases
            lease = Lease(storage, number + 1, mine)
            try:
                for old in range(max(1, number - 1), number + 1):
                    storage.delete(_key(old))
                yield lease
            finally:
                lease.release()
            return
        _, holder = _newest(storage)
    active = max(time.time() - (holder.renewed if holder else time.time()), 0)
    who = f"{holder.host} (pid {holder.pid})" if holder else "another machine"
    msg = (
        f"{storage.url}: expected no other active run, got one on {who}, active {active:.0f} s ago; wait until "
        f"it ends (if it was killed: {EXPIRES_AFTER_S - active:.0f} s, or `cascade unlock`)"
    )
    raise StoreError(msg)


def take_away(storage: Storage) -> Holder | None:
    """
    Release the lease of another process, even if its file is damaged; a run that is still active will stop.

    Returns
    -------
    Holder or None
        The holder until then; None if there was none, or the file does not say.

    Raises
    ------
    StoreError
        If its process is alive on this machine.
    """
    number = _newest_number(storage)
    try:
        _, holder = _newest(storage)
    except StoreError:
        holder = None
    if holder is not None and not holder.is_live():
        holder = None
    if holder is not None and holder.kernel and holder.kernel == _kernel():
        msg = f"{storage.url}: expected no active run, got one on this machine (pid {holder.pid}); end it first"
        raise StoreError(msg)
    if number:  # the holder stops when it sees a higher one
        storage.create(_key(number + 1), json_bytes(asdict(replace(_this_process(), released=True))))
    return holder


def find_holder(storage: Storage) -> Holder | None:
    """The holder of the lease, or None."""
    _, holder = _newest(storage)
    return holder if holder is not None and holder.is_live() else None


def _newest(storage: Storage) -> tuple[int, Holder | None]:
    """The number and holder of the newest lease; 0 and None if there never was one."""
    number = _newest_number(storage)
    if not number:
        return 0, None
    name = f"{storage.url}/{_key(number)}"
    try:
        data = storage.read(_key(number), max_bytes=_MAX_BYTES)
        return number, read_record(Holder, parse_json(data, name), where=f"{name}: invalid lease", error=StoreError)
    except FileNotFoundError:  # another run has just acquired it and deleted this file
        return _newest(storage)
    except ValueError as error:
        msg = f"{name}: expected a lease, {error}; `cascade unlock {storage.url}` if no run is active"
        raise StoreError(msg) from error
    except StoreError as error:
        msg = f"{error}; `cascade unlock {storage.url}` if no run is active"
        raise StoreError(msg) from error


def _newest_number(storage: Storage) -> int:
    """The number of the newest lease; 0 if there never was one."""
    return max((int(match[1]) for match in map(_NAME.fullmatch, storage.names("lease")) if match), default=0)


def _this_process() -> Holder:
    """The holder of a new lease."""
    return Holder(socket.gethostname(), os.getpid(), _kernel(), _started(os.getpid()), uuid4().hex, time.time())


def _key(number: int) -> str:
    return f"lease/{number:08d}.json"


def _kernel() -> str:
    """Boot and process namespace of this process, or empty."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return ""


def _started(pid: int) -> str:
    """When a process of this machine started, or empty if there is none; zombies have ended."""
    try:
        # After the command, which is in brackets and may hold spaces: state is the 1st field, start the 20th (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
