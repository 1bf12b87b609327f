"""
The interface of a storage: a place for files, a folder on disk or a prefix of an object store.

Writes are atomic in every storage. Missing files raise FileNotFoundError, denied access PermissionError; an unavailable
object store is retried for some minutes, then OutageError is raised, or ObjectError if only one object fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from zarr.storage import StorePath

T = TypeVar("T")


class ObjectError(OSError):
    """An object store always fails on one object, but is there for others."""


class Storage(Protocol):
    """
    A place for files, which can be pickled.

    Keys are names with single slashes between them, relative to the place; a folder may be the empty key, the place
    itself. Other keys raise ValueError.
    """

    @property
    def url(self) -> str:
        """The place as text, as the user wrote it."""
        ...

    @property
    def folder(self) -> Path | None:
        """The local folder; None for an object store."""
        ...

    @property
    def path(self) -> Path | str:
        """The local folder, or the URL."""
        ...

    @property
    def can_append(self) -> bool:
        """Whether `append` works."""
        ...

    @property
    def writes_aside(self) -> bool:
        """Whether a killed process may leave temporary files, see `is_aside`."""
        ...

    def absolute(self) -> Storage:
        """The same place, whatever the current folder of the process that uses it."""
        ...

    def read(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Read a file; ValueError if it is larger than `max_bytes`."""
        ...

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Read files, in order."""
        ...

    def download(self, key: str, file: Path, *, max_bytes: int) -> None:
        """Copy a file to the disk of this machine; ValueError if it is larger than `max_bytes`."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Write a file, replacing an existing one."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Create a file; returns whether it now exists with this content (an existing file is kept)."""
        ...

    def append(self, key: str, data: bytes) -> None:
        """Append to a file, all or nothing; UnsupportedOperation if the storage cannot append."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders in a folder, sorted; none if there is no such folder."""
        ...

    def files_below(self, folder: str = "") -> Iterator[str]:
        """Keys of all files below a folder, in no order."""
        ...

    def check_open(self, folder: str = "") -> None:
        """Raise PermissionError if the files below a folder cannot even be listed."""
        ...

    def delete(self, key: str) -> None:
        """Delete a file if it exists."""
        ...

    def delete_below(self, folder: str) -> None:
        """Delete a folder and its content if it exists."""
        ...

    def zarr(self, key: str) -> Path | StorePath:
        """A Zarr store or path for reading an array or group."""
        ...

    def retried(self, request: Callable[[], T], name: str) -> T:
        """Run a request of another library, such as Zarr, with the storage's retries; errors call it `name`."""
        ...


def check_key(key: str) -> None:
    """Reject anything but the key of a file."""
    if any(part in ("", ".", "..") for part in key.split("/")):
        msg = f"{key!r}: expected the key of a file, such as ledger/batch-00000.json"
        raise ValueError(msg)


def check_folder(key: str) -> None:
    """Reject anything but the key of a folder."""
    if key:
        check_key(key)


def check_size(n_bytes: int, max_bytes: int | None) -> None:
    """Reject files that are too large."""
    if max_bytes is not None and n_bytes > max_bytes:
        msg = f"expected at most {max_bytes >> 20} MiB, got a larger file"
        raise ValueError(msg)
