"""Images and FITS exposures on an object store: below a prefix, by a pattern or by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from logging import getLogger
from pathlib import PurePosixPath

import pyarrow as pa

from cascade.core.errors import ConfigError, input_error, printable, reason
from cascade.core.exposure import UInt8Array
from cascade.inputs.base import ListedReader, Reader, Row, chain
from cascade.inputs.decode import MAX_BYTES, decode_image
from cascade.inputs.fits.reader import fits_names, is_exposure_name, is_fits_name
from cascade.inputs.fits.remote import open_remote_fits
from cascade.inputs.images import IMAGE_SUFFIXES, is_image_name, name_array
from cascade.inputs.left_out import exposures_among
from cascade.inputs.unreadable import unreadable
from cascade.storage import open_bucket, open_storage
from cascade.storage.stores import split_url, without_password

logger = getLogger(__name__)

_WILD = "*?["


@dataclass(frozen=True, slots=True, eq=False)
class RemoteReader(ListedReader):
    """
    One image object an exposure; the column ``name`` is its key below `folder`, or a URL of its own.

    Attributes
    ----------
    folder
        URL of the prefix, or empty.
    """

    folder: str

    def path(self, row: Row) -> str:
        """The URL, without a password."""
        return printable(without_password(self._url(row)))

    def pixels(self, row: Row, path: str) -> UInt8Array:
        """Get and decode the object; OutageError if the store is unavailable."""
        url = self._url(row)
        try:
            split_url(url)
        except ConfigError as error:  # a row of a manifest: the others are not to blame
            raise input_error(path, reason(error)) from error
        bucket, key = open_bucket(url)
        try:
            data = bucket.read(key, max_bytes=MAX_BYTES)
        except (OSError, ValueError) as error:
            raise unreadable(bucket, key, path, error)  # noqa: B904 - which sets the cause
        return decode_image(data, path)

    def _url(self, row: Row) -> str:
        """Where the object lies."""
        name = row["name"].decode("utf-8", "surrogateescape")
        return f"{self.folder}/{name}" if self.folder else name


def open_remote(names: Sequence[str], *, camera: str = "decam") -> Reader:
    """
    Open images and FITS exposures on an object store, in the order given.

    Parameters
    ----------
    names : sequence of str
        URLs of prefixes that hold images or FITS exposures, patterns (``*`` stands for slashes,
        too) of either, and single ones.
    camera : str
        The camera of FITS exposures.

    Raises
    ------
    InputError
        If there is no image, or the kind of input is not read from an object store.
    """
    readers: list[Reader] = []
    # A set of files of one CCD each comes as neighbours.
    for folder, group in groupby(names, key=_folder_of_fits):
        if folder is None:
            readers += [_open_one(name, camera) for name in group]
        else:
            readers.append(open_remote_fits([name[len(folder) + 1 :] for name in group], folder, camera=camera))
    return chain(readers)


def _folder_of_fits(name: str) -> str | None:
    """The folder of a single FITS file, None for other inputs."""
    return name.rpartition("/")[0] if is_fits_name(name) and not _is_pattern(name) else None


def _is_pattern(name: str) -> bool:
    """Whether a URL holds wildcards."""
    return any(character in name for character in _WILD)


def _open_one(name: str, camera: str) -> Reader:
    """Open one URL."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in (".zip", ".npy"):
        raise input_error(name, f"expected a local {suffix} file: copy it, or make it a Zarr store of previews")
    if _is_pattern(name):
        folder = name[: min(name.index(c) for c in _WILD if c in name)].rpartition("/")[0]
        pattern = name[len(folder) + 1 :]
        return _listed(name, folder, lambda key: fnmatchcase(key, pattern), camera)
    if is_image_name(name):
        return RemoteReader(pa.record_batch({"name": name_array([name])}), "")
    return _listed(name, name.rstrip("/"), lambda _key: True, camera)


def _listed(name: str, folder: str, wanted: Callable[[str], bool], camera: str) -> Reader:
    """The images and the FITS exposures below a prefix, each sorted by key; nothing that is hidden."""
    keys = [key for key in exposures_among(open_storage(folder).files_below(), name) if wanted(key)]
    images = sorted(filter(is_image_name, keys))
    files = fits_names(keys)
    readers: list[Reader] = []
    if images:
        readers.append(RemoteReader(pa.record_batch({"name": name_array(images)}), folder))
        files = list(filter(is_exposure_name, files))
    if files:
        readers.append(open_remote_fits(files, folder, camera=camera))
    if not readers:
        raise input_error(name, f"expected images ({', '.join(IMAGE_SUFFIXES)}) or FITS exposures there, found none")
    if len(readers) > 1:
        logger.warning(
            "%s: holds %d images and %d FITS exposures, and all are taken", printable(name), *map(len, readers)
        )
    return chain(readers)
