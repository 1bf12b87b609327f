"""A prefix of an object store: Amazon S3, Google Cloud Storage or Azure, whatever `cascade.storage.stores` lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from errno import EACCES, ENOENT
from io import UnsupportedOperation
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.core.errors import OutageError
from cascade.storage.base import T, check_folder, check_key, check_size
from cascade.storage.stores import connect, first_line

if TYPE_CHECKING:
    from obstore.store import ObjectStore
    from zarr.storage import StorePath

_N_CONNECTIONS = 16  # requests at a time where many small files are read
_PART_BYTES, _N_PARTS = 2**23, 4  # of a large object, in flight at a time; 30 s are enough for each
_N_ATTEMPTS = 5  # of the requests below: obstore does not retry connections that break within a response
_FIRST_PAUSE_S = 0.5  # then twice as long each time


@dataclass(frozen=True, slots=True)
class ObjectStorage:
    """
    A prefix of a bucket. Region, endpoint and credentials come from the environment of each process.

    Attributes
    ----------
    url
        Such as ``s3://bucket/prefix``.
    """

    url: str

    @property
    def folder(self) -> None:
        """None: not on this machine."""
        return

    @property
    def path(self) -> str:
        """The URL."""
        return self.url

    @property
    def can_append(self) -> bool:
        """False: objects are written as a whole."""
        return False

    @property
    def writes_aside(self) -> bool:
        """False: an interrupted put leaves nothing."""
        return False

    def absolute(self) -> ObjectStorage:
        """The same."""
        return self

    def read(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Read an object; its size is checked first."""
        import obstore

        def get() -> bytes:
            found = obstore.get(self._store(), key)
            check_size(found.meta["size"], max_bytes)
            return bytes(found.bytes())

        return self._request(get, key)

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Read objects, a few at a time."""
        with ThreadPoolExecutor(_N_CONNECTIONS) as pool:
            yield from pool.map(self.read, keys)

    def download(self, key: str, file: Path, *, max_bytes: int) -> None:
        """Copy an object to a file, in parts; its size is checked first."""
        import obstore

        size = int(self._request(lambda: obstore.head(self._store(), key), key)["size"])
        check_size(size, max_bytes)
        starts = range(0, size, _PART_BYTES)

        def part(start: int) -> bytes:
            end = min(start + _PART_BYTES, size)
            return self._request(lambda: bytes(obstore.get_range(self._store(), key, start=start, end=end)), key)

        with file.open("wb") as out, ThreadPoolExecutor(_N_PARTS) as pool:
            for first in range(0, len(starts), _N_PARTS):  # no more of them in memory
                out.writelines(pool.map(part, starts[first : first + _N_PARTS]))

    def write(self, key: str, data: bytes) -> None:
        """Put an object."""
        import obstore

        self._request(lambda: obstore.put(self._store(), key, data), key)

    def create(self, key: str, data: bytes) -> bool:
        """Put an object only if none exists (on S3, ``If-None-Match: *``)."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            self._request(lambda: obstore.put(self._store(), key, data, mode="create"), key)
        except AlreadyExistsError:
            # Perhaps our own write: the store accepted it, but its response was lost.
            return self.read(key) == data
        return True

    def append(self, key: str, data: bytes) -> None:
        """Refuse."""
        msg = f"{self.url}/{key}: object stores cannot append; write the object again as a whole"
        raise UnsupportedOperation(msg)

    def names(self, folder: str = "") -> list[str]:
        """Names up to the next slash."""
        import obstore

        check_folder(folder)
        listed = self.retried(
            lambda: obstore.list_with_delimiter(self._store(), folder or None), f"{self.url}/{folder}"
        )
        found = [*listed["common_prefixes"], *(entry["path"] for entry in listed["objects"])]
        return sorted(key.rsplit("/", 1)[-1] for key in found)

    def files_below(self, folder: str = "") -> Iterator[str]:
        """Keys of all objects below a prefix."""
        import obstore

        check_folder(folder)
        # An interrupted listing is retried as a whole, so it is collected first.
        listed = self.retried(lambda: list(obstore.list(self._store(), folder or None)), f"{self.url}/{folder}")
        return (entry["path"] for chunk in listed for entry in chunk)

    def delete(self, key: str) -> None:
        """Delete an object."""
        import obstore

        with suppress(FileNotFoundError):
            self._request(lambda: obstore.delete(self._store(), key), key)

    def delete_below(self, folder: str) -> None:
        """Delete all objects below a prefix."""
        check_key(folder)
        for key in list(self.files_below(folder)):
            self.delete(key)

    def zarr(self, key: str) -> StorePath:
        """A path in a read-only store of Zarr."""
        from zarr.storage import ObjectStore, StorePath

        check_folder(key)
        return StorePath(ObjectStore(self._store(), read_only=True), key)

    def retried(self, request: Callable[[], T], name: str) -> T:
        """
        Run a request, with retries while the store is unavailable.

        Raises
        ------
        FileNotFoundError, PermissionError
            If the store reports so.
        OutageError
            If it is still unavailable after some minutes.
        """
        from obstore import exceptions

        problem = ""
        for attempt in range(_N_ATTEMPTS):
            if attempt:
                time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
            try:
                return request()
            except (FileNotFoundError, exceptions.NotFoundError) as error:
                raise FileNotFoundError(ENOENT, f"{name}: no such object, or no such bucket") from error
            except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
                raise PermissionError(EACCES, f"{name}: access denied: {first_line(error)}") from error
            except exceptions.AlreadyExistsError:
                raise
            except (exceptions.BaseError, OSError) as error:
                problem = first_line(error)
        msg = f"{name}: the store is unavailable: {problem}"
        raise OutageError(msg)

    def _request(self, request: Callable[[], T], key: str) -> T:
        """Make a request for an object."""
        check_key(key)
        return self.retried(request, f"{self.url}/{key}")

    def _store(self) -> ObjectStore:
        """The store, with its connections."""
        return connect(self.url)
