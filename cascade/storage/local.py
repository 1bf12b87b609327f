"""A folder on a local disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import ENOSPC
from io import BufferedReader
from pathlib import Path

from cascade.core.errors import StoreError, reason
from cascade.core.plain_files import NotPlainError, open_plain
from cascade.storage.atomic import aside_of, sync, written_aside
from cascade.storage.base import T, check_folder, check_key, check_size


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """
    A folder, which is created when the first file is written.

    Nothing in it is taken that is no plain file, or that a link leads out to: StoreError.

    Attributes
    ----------
    folder
        Its path.
    """

    folder: Path

    @property
    def url(self) -> str:
        """The path as text."""
        return str(self.folder)

    @property
    def path(self) -> Path:
        """The path."""
        return self.folder

    @property
    def can_append(self) -> bool:
        """True: files can be appended to."""
        return True

    @property
    def writes_aside(self) -> bool:
        """True: files are written under a temporary name and then renamed."""
        return True

    def absolute(self) -> LocalStorage:
        """The same folder, by its absolute path."""
        return LocalStorage(self.folder.resolve())

    def read(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Read a file."""
        with self._opened(key) as stream:
            data = stream.read() if max_bytes is None else stream.read(max_bytes + 1)
        check_size(len(data), max_bytes)
        return data

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Read files one after the other."""
        return map(self.read, keys)

    def download(self, key: str, file: Path, *, max_bytes: int) -> None:
        """Copy a file."""
        with self._opened(key) as stream:
            check_size(os.fstat(stream.fileno()).st_size, max_bytes)
            with file.open("wb") as out:
                shutil.copyfileobj(stream, out)

    def write(self, key: str, data: bytes) -> None:
        """Write a file under a temporary name, sync and rename it."""
        path = self._free(key)
        with written_aside(path) as aside:
            aside.write_bytes(data)

    def create(self, key: str, data: bytes) -> bool:
        """Write a file under a temporary name, and link it to its name if that is free."""
        path = self._free(key)
        aside = aside_of(path)
        try:
            aside.write_bytes(data)
            sync(aside)
            path.hardlink_to(aside)  # unlike a rename, this fails if the file exists
        except FileExistsError:
            return self._holds(key, data)
        finally:
            aside.unlink(missing_ok=True)
        sync(path.parent)
        return True

    def append(self, key: str, data: bytes) -> None:
        """Append all or nothing: a partial write, on a full disk say, is truncated again."""
        path = self._free(key)
        with path.open("ab", buffering=0) as file:
            start = file.seek(0, os.SEEK_END)
            if file.write(data) != len(data):
                file.truncate(start)
                raise OSError(ENOSPC, os.strerror(ENOSPC), str(path))

    def names(self, folder: str = "") -> list[str]:
        """Names in a folder."""
        try:
            return sorted(path.name for path in self._below(folder).iterdir())
        except FileNotFoundError:
            return []

    def files_below(self, folder: str = "") -> Iterator[str]:
        """Keys of all files below a folder."""
        for path, _, files in os.walk(self._below(folder)):
            below = Path(path).relative_to(self.folder)
            yield from ((below / name).as_posix() for name in files)

    def check_open(self, folder: str = "") -> None:
        """Look into a folder."""
        with suppress(FileNotFoundError), os.scandir(self._below(folder)):
            pass

    def delete(self, key: str) -> None:
        """Delete a file."""
        self._path(key).unlink(missing_ok=True)

    def delete_below(self, folder: str) -> None:
        """Delete a folder."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._path(folder))

    def zarr(self, key: str) -> Path:
        """The path."""
        return self._below(key)

    def retried(self, request: Callable[[], T], name: str) -> T:
        """Run the request once: local disks are not retried."""
        return request()

    def _path(self, key: str) -> Path:
        """The path of a file, in a folder to which no link leads out."""
        check_key(key)
        path = self.folder / key
        if path.parent != self.folder:
            self._check_inside(path.parent)
        return path

    def _below(self, folder: str) -> Path:
        """The path of a folder, which may be this one."""
        check_folder(folder)
        path = self.folder / folder
        if folder:
            self._check_inside(path)
        return path

    def _check_inside(self, path: Path) -> None:
        """Refuse a path below the folder that links lead out of it."""
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder)):
            msg = f"{path}: expected a file or folder of {self.folder}, got a link that leads out of it"
            raise StoreError(msg)

    def _opened(self, key: str) -> BufferedReader:
        """A file that is open to be read."""
        path = self._path(key)
        if path.is_symlink():
            self._check_inside(path)
        try:
            return open_plain(path)
        except NotPlainError as error:
            msg = f"{path}: {reason(error)}"
            raise StoreError(msg) from error

    def _holds(self, key: str, data: bytes) -> bool:
        """Whether a file has this content."""
        try:
            return self.read(key) == data
        except StoreError:
            return False

    def _free(self, key: str) -> Path:
        """The path of a file, whose folder is created."""
        path = self._path(key)
        missing = []
        for parent in path.parents:
            if parent.exists():
                break
            missing.append(parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        for parent in missing:
            sync(parent.parent)  # or a power cut could lose the folder of a synced file
        return path
