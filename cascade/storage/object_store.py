"""A prefix of an object store: Amazon S3, Google Cloud Storage or Azure, whatever `cascade.storage.stores` lists."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from errno import EACCES, EIO, ENOENT
from http import HTTPStatus
from io import UnsupportedOperation
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from cascade.core.errors import ConfigError, OutageError
from cascade.storage.base import ObjectError, T, check_folder, check_key, check_size
from cascade.storage.stores import NOWHERE, connect, first_line

if TYPE_CHECKING:
    from obstore.store import ObjectStore
    from zarr.storage import StorePath

_N_CONNECTIONS = 16  # requests at a time where many small files are read
_PART_BYTES, _N_PARTS = 2**23, 4  # of a large object, in flight at a time; 30 s are enough for each
_N_ATTEMPTS = 5  # of the requests below: obstore does not retry connections that break within a response
_FIRST_PAUSE_S = 0.5  # then twice as long each time
_N_ATTEMPTS_AT_500 = 2  # rounds where the server says that it fails, each of which obstore has retried some times
_SERVER_FAILS = "500 Internal Server Error"
_REDIRECT = "Received redirect"
_STATUS = re.compile(r"status code: (\d{3})")  # as obstore writes it


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

    def check_open(self, folder: str = "") -> None:
        """Ask for the first keys below a prefix."""
        import obstore

        check_folder(folder)
        self.retried(lambda: next(iter(obstore.list(self._store(), folder or None)), None), f"{self.url}/{folder}")

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
        ConfigError
            If a listing has a key that obstore does not accept, or the store redirects to another one.
        ObjectError
            If the store answers status 500 for this object but is available otherwise.
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
            except exceptions.InvalidPathError as error:
                problem = f"{first_line(error)}; give the others in a manifest"
                msg = f"{name}: expected keys without empty, '.' or '..' parts, got {problem}"
                raise ConfigError(msg) from error
            except exceptions.AlreadyExistsError:
                raise
            except (exceptions.BaseError, OSError) as error:
                problem = first_line(error)
                _refuse_redirect(error, name)
                _refuse_status(problem, name, error)
                if _SERVER_FAILS in problem and attempt + 1 >= _N_ATTEMPTS_AT_500 and self._answers():
                    raise ObjectError(EIO, f"{name}: the store fails on this object: {problem}") from error
        msg = f"{name}: the store is unavailable: {problem}"
        raise OutageError(msg)

    def _answers(self) -> bool:
        """Whether the store answers a question about an object that is not there."""
        import obstore
        from obstore import exceptions

        try:
            obstore.head(self._store(), f"no-such-object-{uuid4().hex}")
        except (FileNotFoundError, exceptions.NotFoundError, exceptions.PermissionDeniedError, PermissionError):
            return True
        except (exceptions.BaseError, OSError):
            return False
        return True

    def _request(self, request: Callable[[], T], key: str) -> T:
        """Make a request for an object."""
        check_key(key)
        return self.retried(request, f"{self.url}/{key}")

    def _store(self) -> ObjectStore:
        """The store, with its connections."""
        return connect(self.url)


def _refuse_redirect(error: Exception, name: str) -> None:
    """Raise what obstore takes for a passing error of the network: that nobody listens where redirects go to."""
    if f"{NOWHERE}," in str(error):
        msg = f"{name}: expected the store itself, got a redirect to another host, which is refused"
        raise ConfigError(msg) from error


def _refuse_status(problem: str, name: str, error: Exception) -> None:
    """Raise what obstore takes for a passing error of the store, although it will not pass: in listings, all are."""
    found = _STATUS.search(problem)
    status = 0 if found is None else int(found[1])
    if status == HTTPStatus.NOT_FOUND:
        raise FileNotFoundError(ENOENT, f"{name}: no such object, or no such bucket") from error
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise PermissionError(EACCES, f"{name}: access denied: {problem}") from error
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST or _REDIRECT in problem:
        msg = f"{name}: expected the store itself, got that it is elsewhere; check its region and endpoint: {problem}"
        raise ConfigError(msg) from error
