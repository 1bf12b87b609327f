"""FITS exposures on an object store: copied aside, one at a time, and made into previews there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from cascade.core.errors import OutageError, input_error, printable, reason
from cascade.core.exposure import Exposure, UInt8Array
from cascade.inputs.base import ListedReader, Row
from cascade.inputs.fits.ccds import mask_name
from cascade.inputs.fits.reader import FitsReader, named_groups, record_groups
from cascade.inputs.unreadable import unreadable
from cascade.storage import ObjectError, open_storage

_MAX_FILE_BYTES = 2**33  # as for what a local .gz may unpack to: 62 CCDs in 32 bits are 2.1 GB


@dataclass(frozen=True, slots=True, eq=False)
class RemoteFitsReader(ListedReader):
    """
    One FITS exposure a row: ``name`` and ``files`` are keys below a folder.

    Attributes
    ----------
    folder
        URL of a bucket or prefix.
    camera
        Name of the camera of all of them.
    """

    folder: str
    camera: str

    def path(self, row: Row) -> str:
        """The URL, or a pattern of the URLs of a set."""
        return printable(f"{self.folder}/{os.fsdecode(row['name'])}")

    def pixels(self, row: Row, path: str) -> UInt8Array:
        """Make the preview."""
        return self._exposure(row, path).image

    def read(self, index: int) -> Exposure:
        """Make the preview of one exposure; its headers give its fields."""
        row = self._row(index)
        return self._exposure(row, self.path(row))

    def _exposure(self, row: Row, path: str) -> Exposure:
        """Copy the files of a row, and the masks beside them, and read them as local ones."""
        with TemporaryDirectory(prefix="cascade-fits-") as scratch:
            keys = [os.fsdecode(file) for file in row["files"]]
            for key in keys:
                self._download(key, Path(scratch), path)
                mask = mask_name(PurePosixPath(key).name)
                if mask is not None:
                    self._download(str(PurePosixPath(key).with_name(mask)), Path(scratch), path, optional=True)
            rows = record_groups({path: (row["expnum"], [PurePosixPath(key).name for key in keys])})
            return FitsReader(rows, Path(scratch), self.camera, cutouts=False).read(0)

    def _download(self, key: str, scratch: Path, path: str, *, optional: bool = False) -> None:
        """Copy one object; OutageError if the store is unavailable."""
        folder = open_storage(self.folder)
        try:
            folder.download(key, scratch / PurePosixPath(key).name, max_bytes=_MAX_FILE_BYTES)
        except FileNotFoundError as error:
            if not optional:
                raise input_error(path, f"no such object: {PurePosixPath(key).name}") from error
        except (PermissionError, ObjectError, ValueError) as error:
            raise unreadable(folder, key, path, error)  # noqa: B904 - which sets the cause
        except OSError as error:  # of this machine's disk: the exposure is not to blame
            msg = f"{path}: no place to copy it to: {reason(error)}"
            raise OutageError(msg) from error


def open_remote_fits(keys: Sequence[str], folder: str, *, camera: str) -> RemoteFitsReader:
    """
    List FITS exposures on an object store; none is opened.

    Parameters
    ----------
    keys : sequence of str
        Of the files, below the folder; see `cascade.inputs.fits.reader.open_fits` for what becomes of them.
    folder : str
        URL of a bucket or prefix.
    camera : str
        Name of the camera, see `Camera.load`.

    Raises
    ------
    InputError
        If only masks and weights are left, or the packages that FITS needs are not installed.
    """
    return RemoteFitsReader(record_groups(named_groups(keys, camera)), folder, camera)
