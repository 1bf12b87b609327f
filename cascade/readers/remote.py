"""Previews on an object store: image objects below a prefix, by a pattern or by a manifest, and Zarr stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import pyarrow as pa

from cascade.errors import input_error, printable, reason
from cascade.exposure import UInt8Array
from cascade.readers.base import ListedReader, Reader, Row, chain
from cascade.readers.decode import MAX_BYTES, decode_image
from cascade.readers.fits import is_fits_name
from cascade.readers.images import IMAGE_SUFFIXES, is_image_name, name_array
from cascade.storage import open_storage, split_url

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
        """The URL."""
        return printable(self._url(row))

    def pixels(self, row: Row, path: str) -> UInt8Array:
        """Get and decode the object; OutageError if the store is away."""
        bucket, key = split_url(self._url(row))
        try:
            data = open_storage(f"s3://{bucket}").read(key, max_bytes=MAX_BYTES)
        except (OSError, ValueError) as error:
            raise input_error(
                path, "no such object" if isinstance(error, FileNotFoundError) else reason(error)
            ) from error
        return decode_image(data, path)

    def _url(self, row: Row) -> str:
        """Where the object lies."""
        name = row["name"].decode("utf-8", "surrogateescape")
        return f"{self.folder}/{name}" if self.folder else name


def open_remote(names: Sequence[str], *, camera: str = "decam") -> Reader:
    """
    Open inputs on an object store, in the order given.

    Parameters
    ----------
    names : sequence of str
        ``s3://…`` URLs of prefixes that hold images, patterns (``*`` stands for slashes, too), images, Zarr stores of
        previews (``….zarr``) and manifests (``….csv``, ``….parquet``).
    camera : str
        The camera that stores of previews must be of, if they say one.

    Raises
    ------
    InputError
        If there is no image, or the kind of input is not read from an object store.
    """
    return chain(_open_one(name, camera) for name in names)


def _open_one(name: str, camera: str) -> Reader:
    """Open one URL."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".zarr":
        from cascade.readers.stacks import open_zarr

        return open_zarr(name.rstrip("/"), camera=camera)
    if suffix in (".csv", ".parquet"):
        from cascade.readers.manifest import open_manifest

        return open_manifest(name)
    if suffix in (".zip", ".npy"):
        raise input_error(name, f"expected a local {suffix} file: copy it, or make it a Zarr store of previews")
    if is_fits_name(name):
        raise input_error(name, "expected FITS files on this machine; their previews (cascade preview) may lie there")
    if any(character in name for character in _WILD):
        folder = name[: min(name.index(c) for c in _WILD if c in name)].rpartition("/")[0]
        pattern = name[len(folder) + 1 :]
        return _listed(name, folder, lambda key: fnmatchcase(key, pattern))
    if is_image_name(name):
        return RemoteReader(pa.record_batch({"name": name_array([name])}), "")
    return _listed(name, name.rstrip("/"), lambda _key: True)


def _listed(name: str, folder: str, wanted: Callable[[str], bool]) -> RemoteReader:
    """The images below a prefix, sorted by key."""
    keys = sorted(key for key in open_storage(folder).files_below() if is_image_name(key) and wanted(key))
    if not keys:
        raise input_error(name, f"expected images ({', '.join(IMAGE_SUFFIXES)}) there, found none")
    return RemoteReader(pa.record_batch({"name": name_array(keys)}), folder)
