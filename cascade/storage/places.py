"""
Where files lie: a folder on disk or a prefix of an S3 bucket, behind the few operations that a run and readers need.

A file appears whole or not at all in both. Missing files raise FileNotFoundError and refused ones PermissionError in
both; an S3 store that cannot be reached is asked again for a while, and then raises OutageError.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from errno import EACCES, ENOENT
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import uuid4

from cascade.core.errors import ConfigError, OutageError
from cascade.storage.atomic import ASIDE_SUFFIX, sync, written_aside

if TYPE_CHECKING:
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

_S3_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_URL_OF_A_PATH = re.compile("s3://?")  # a Path that was made of a URL has lost a slash
_N_CONNECTIONS = 16  # requests at a time where many small files are read
_PART_BYTES, _N_PARTS = 2**23, 4  # of a large object, that are under way at a time; 30 s are enough for each
_N_ATTEMPTS = 5  # rounds of the requests below: connections that break in an answer are not retried by obstore
_FIRST_PAUSE_S = 0.5  # then twice as long each time
_REQUEST_TIMEOUT = timedelta(seconds=30)
_RETRY_TIMEOUT = timedelta(seconds=60)
_N_RETRIES = 8

T = TypeVar("T")


class Storage(Protocol):
    """A place for files; keys are relative paths with forward slashes."""

    @property
    def url(self) -> str:
        """The place as the user wrote it."""
        ...

    def absolute(self) -> Storage:
        """The same place, whatever the current folder of the process that uses it."""
        ...

    def read(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Read a file; ValueError if it is larger than `max_bytes`."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Write a file, replacing one that is there."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Write a file unless there is one of other content; whether it is now there as given."""
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

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Read files, in order."""
        ...

    def zarr(self, key: str) -> Path | ObjectStore[Any]:
        """What Zarr takes to read an array or group."""
        ...


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """
    A folder; it is made when a file is first written.

    Attributes
    ----------
    folder
        Its path.
    """

    folder: Path

    @property
    def url(self) -> str:
        """The path."""
        return str(self.folder)

    def absolute(self) -> LocalStorage:
        """The same folder, by its absolute path."""
        return LocalStorage(self.folder.resolve())

    def read(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Read a file."""
        with (self.folder / key).open("rb") as stream:
            data = stream.read() if max_bytes is None else stream.read(max_bytes + 1)
        _check_size(len(data), max_bytes)
        return data

    def write(self, key: str, data: bytes) -> None:
        """Write a file aside, force it onto the disk, and rename it."""
        path = self._free(key)
        with written_aside(path) as aside:
            aside.write_bytes(data)

    def create(self, key: str, data: bytes) -> bool:
        """Write a file aside, and give it its name unless that is taken."""
        path = self._free(key)
        aside = path.with_name(f".{path.name}.{uuid4().hex}{ASIDE_SUFFIX}")
        try:
            aside.write_bytes(data)
            sync(aside)
            path.hardlink_to(aside)  # unlike a rename, this fails where there is one
        except FileExistsError:
            return path.read_bytes() == data
        finally:
            aside.unlink(missing_ok=True)
        sync(path.parent)
        return True

    def names(self, folder: str = "") -> list[str]:
        """Names in a folder."""
        try:
            return sorted(path.name for path in (self.folder / folder).iterdir())
        except FileNotFoundError:
            return []

    def files_below(self, folder: str = "") -> Iterator[str]:
        """Keys of all files below a folder."""
        for path, _, files in os.walk(self.folder / folder):
            below = Path(path).relative_to(self.folder)
            yield from ((below / name).as_posix() for name in files)

    def delete(self, key: str) -> None:
        """Delete a file."""
        (self.folder / key).unlink(missing_ok=True)

    def delete_below(self, folder: str) -> None:
        """Delete a folder."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder / folder)

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Read files one after the other."""
        return map(self.read, keys)

    def zarr(self, key: str) -> Path:
        """The path."""
        return self.folder / key

    def _free(self, key: str) -> Path:
        """The path of a file, in a folder that is there."""
        path = self.folder / key
        missing = []
        for parent in path.parents:
            if parent.exists():
                break
            missing.append(parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        for parent in missing:
            sync(parent.parent)  # a power cut must not take the folder of a file that was synced
        return path


@dataclass(frozen=True, slots=True)
class S3Storage:
    """
    A prefix of a bucket. Region, endpoint and credentials come from the environment (``AWS_…``) of each process.

    Attributes
    ----------
    url
        ``s3://bucket/prefix``.
    """

    url: str

    def absolute(self) -> S3Storage:
        """The same."""
        return self

    def read(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Read an object; its size is looked at first."""
        import obstore

        def get() -> bytes:
            found = obstore.get(self._store(), key)
            _check_size(found.meta["size"], max_bytes)
            return bytes(found.bytes())

        return self._patiently(get, key)

    def download(self, key: str, file: Path, *, max_bytes: int) -> None:
        """Copy an object to a file, in parts; its size is looked at first."""
        import obstore

        size = int(self._patiently(lambda: obstore.head(self._store(), key), key)["size"])
        _check_size(size, max_bytes)
        starts = range(0, size, _PART_BYTES)

        def part(start: int) -> bytes:
            end = min(start + _PART_BYTES, size)
            return self._patiently(lambda: bytes(obstore.get_range(self._store(), key, start=start, end=end)), key)

        with file.open("wb") as out, ThreadPoolExecutor(_N_PARTS) as pool:
            for first in range(0, len(starts), _N_PARTS):  # no more of them in memory
                out.writelines(pool.map(part, starts[first : first + _N_PARTS]))

    def write(self, key: str, data: bytes) -> None:
        """Put an object."""
        import obstore

        self._patiently(lambda: obstore.put(self._store(), key, data), key)

    def create(self, key: str, data: bytes) -> bool:
        """Put an object on the condition that there is none (``If-None-Match: *``)."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            self._patiently(lambda: obstore.put(self._store(), key, data, mode="create"), key)
        except AlreadyExistsError:
            # It may have been us: the store took it, and its answer was lost.
            return self.read(key) == data
        return True

    def names(self, folder: str = "") -> list[str]:
        """Names up to the next slash."""
        import obstore

        listed = self._patiently(lambda: obstore.list_with_delimiter(self._store(), folder or None), folder)
        found = [*listed["common_prefixes"], *(entry["path"] for entry in listed["objects"])]
        return sorted(key.rsplit("/", 1)[-1] for key in found)

    def files_below(self, folder: str = "") -> Iterator[str]:
        """Keys of all objects below a prefix."""
        import obstore

        # A listing that broke halfway is asked for again as a whole, so it is collected first.
        listed = self._patiently(lambda: list(obstore.list(self._store(), folder or None)), folder)
        return (entry["path"] for chunk in listed for entry in chunk)

    def delete(self, key: str) -> None:
        """Delete an object."""
        import obstore

        with suppress(FileNotFoundError):
            self._patiently(lambda: obstore.delete(self._store(), key), key)

    def delete_below(self, folder: str) -> None:
        """Delete all objects below a prefix."""
        for key in list(self.files_below(folder)):
            self.delete(key)

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Read objects, a few at a time."""
        with ThreadPoolExecutor(_N_CONNECTIONS) as pool:
            yield from pool.map(self.read, keys)

    def zarr(self, key: str) -> ObjectStore[Any]:
        """A read-only store of Zarr."""
        from zarr.storage import ObjectStore

        return ObjectStore(_s3_store(f"{self.url}/{key}".rstrip("/")), read_only=True)

    def _store(self) -> S3Store:
        """The store, with its connections."""
        return _s3_store(self.url)

    def _patiently(self, request: Callable[[], T], key: str) -> T:
        """Make a request for a key; errors as the module says."""
        return patiently(request, f"{self.url}/{key}")


def patiently(request: Callable[[], T], url: str) -> T:
    """
    Make a request to an object store, again after a pause if the store fails.

    Raises
    ------
    FileNotFoundError, PermissionError
        If the store says so.
    OutageError
        If it still fails after some minutes.
    """
    from obstore import exceptions

    problem = ""
    for attempt in range(_N_ATTEMPTS):
        if attempt:
            time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        try:
            return request()
        except (FileNotFoundError, exceptions.NotFoundError) as error:
            raise FileNotFoundError(ENOENT, f"{url}: no such object, or no such bucket") from error
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise PermissionError(EACCES, f"{url}: refused: {_first_line(error)}") from error
        except exceptions.AlreadyExistsError:
            raise
        except (exceptions.BaseError, OSError) as error:
            problem = _first_line(error)
    msg = f"{url}: the store cannot be reached: {problem}"
    raise OutageError(msg)


def is_url(name: str) -> bool:
    """Whether a name is that of something on an object store."""
    return name.startswith("s3://")


def open_storage(place: Storage | Path | str) -> Storage:
    """
    Give the storage of a folder or of an ``s3://bucket/prefix`` URL; nothing is touched.

    Raises
    ------
    ConfigError
        If the URL is not of that form, or obstore is not installed.
    """
    if not isinstance(place, str | Path):
        return place
    if found := _URL_OF_A_PATH.match(str(place)):
        bucket, prefix = split_url(f"s3://{str(place)[found.end() :]}")
        return S3Storage(f"s3://{bucket}/{prefix}".rstrip("/"))
    return LocalStorage(Path(place))


def local_path(place: Path | str) -> Path:
    """
    Give the path of what is written to a disk alone.

    Raises
    ------
    ConfigError
        If it is a URL.
    """
    if _URL_OF_A_PATH.match(str(place)):
        msg = f"{place}: expected a place on this machine: write there, and copy it to the object store"
        raise ConfigError(msg)
    return Path(place)


def split_url(url: str) -> tuple[str, str]:
    """
    Split an S3 URL into bucket and key.

    Raises
    ------
    ConfigError
        If it is no such URL, or has empty, ``.`` or ``..`` parts.
    """
    found = _S3_URL.fullmatch(url)
    key = "" if found is None else (found[2] or "").rstrip("/")
    if found is None or any(part in ("", ".", "..") for part in key.split("/") if key):
        msg = f"{url}: expected s3://bucket/prefix, got another form"
        raise ConfigError(msg)
    return found[1], key


@lru_cache(maxsize=64)
def _s3_store(url: str) -> S3Store:
    """The store of a prefix; it keeps connections open, so there is one a process."""
    try:
        from obstore.store import S3Store
    except ImportError as error:
        msg = f"{url}: expected obstore for object stores, which is not installed: pip install 'ghost-cascade[s3]'"
        raise ConfigError(msg) from error
    bucket, prefix = split_url(url)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    options: Mapping[str, Any] = {"endpoint": endpoint} if endpoint else {}
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={"allow_http": endpoint.startswith("http://"), "timeout": _REQUEST_TIMEOUT},
        retry_config={"max_retries": _N_RETRIES, "retry_timeout": _RETRY_TIMEOUT},
        **options,
    )


def _check_size(n_bytes: int, max_bytes: int | None) -> None:
    """Refuse files that are too large."""
    if max_bytes is not None and n_bytes > max_bytes:
        msg = f"expected at most {max_bytes >> 20} MiB, got a larger file"
        raise ValueError(msg)


def _first_line(error: Exception) -> str:
    """What an error of the store says, without its debug dump."""
    return str(error).split("\n", 1)[0].strip() or type(error).__name__
