"""
What a storage can do: a place for files, a folder on disk or a prefix of an object store.

A file appears whole or not at all in every storage. Missing files raise FileNotFoundError and refused ones
PermissionError; an object store that fails is retried for a while, and then OutageError says so, or ObjectError if the
store fails on the one object alone.
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
        """The folder on this machine; None if the place is elsewhere."""
        ...

    @property
    def path(self) -> Path | str:
        """The folder, or the URL of a place elsewhere."""
        ...

    @property
    def can_append(self) -> bool:
        """Whether `append` works."""
        ...

    @property
    def writes_aside(self) -> bool:
        """Whether a killed process may leave files under the names that `is_aside` knows."""
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
        """Write a file, replacing one that is there."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Write a file unless there is one of other content; whether it is now there as given."""
        ...

    def append(self, key: str, data: bytes) -> None:
        """Append all of the data to a file or nothing; UnsupportedOperation if the storage cannot."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders in a folder, sorted; none if there is no such folder."""
        ...

    def files_below(self, folder: str = "") -> Iterator[str]:
        """Keys of all files below a folder, in no order."""
        ...

    def delete(self, key: str) -> None:
        """Delete a file, if it is there."""
        ...

    def delete_below(self, folder: str) -> None:
        """Delete a folder and all in it, if it is there."""
        ...

    def zarr(self, key: str) -> Path | StorePath:
        """What Zarr takes to read an array or group."""
        ...

    def retried(self, request: Callable[[], T], name: str) -> T:
        """Make a request of somebody else, such as Zarr, retried like the storage's own; errors call it `name`."""
        ...


def check_key(key: str) -> None:
    """Refuse what is not the key of a file."""
    if any(part in ("", ".", "..") for part in key.split("/")):
        msg = f"{key!r}: expected the key of a file, such as ledger/batch-00000.json"
        raise ValueError(msg)


def check_folder(key: str) -> None:
    """Refuse what is not the key of a folder."""
    if key:
        check_key(key)


def check_size(n_bytes: int, max_bytes: int | None) -> None:
    """Refuse files that are too large."""
    if max_bytes is not None and n_bytes > max_bytes:
        msg = f"expected at most {max_bytes >> 20} MiB, got a larger file"
        raise ValueError(msg)
