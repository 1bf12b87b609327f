"""
A store of previews: made once from FITS, appended to night by night, an input of `cascade run`.

::

    PREVIEWS.zarr/                   Zarr v3
      preview                        (exposure, y, x) uint8, one chunk an exposure, 64 a shard, zstd
      expnum, band, mjd_obs, ra, dec, exptime
    PREVIEWS.headers/part-00000.parquet     what the headers say of the same exposures, the WCS of every CCD among it

A part is written after the previews it describes, so a batch that was killed is cut off again on the next opening.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from pyarrow import parquet
from zarr.codecs import ZstdCodec

from cascade.core.errors import StoreError
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.inputs.fits.entry import Entry
from cascade.inputs.fits.sky_patches import PATCHES
from cascade.inputs.headers import HEADER_SCHEMA
from cascade.storage import Storage, open_storage
from cascade.storage.atomic import written_aside

SHARD = 64
"""Exposures a shard."""

HEADERS = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        *(field.remove_metadata() for field in HEADER_SCHEMA),
        pa.field("noise", pa.float32(), nullable=False),
        pa.field("n_ccds", pa.int16(), nullable=False),
        pa.field("remarks", pa.list_(pa.string()), nullable=False),
        pa.field("ccds", PATCHES, nullable=False),
    ]
)
"""Columns of the header table: one row an exposure, in the order of the previews."""

_ZSTD_LEVEL = 3
_PART = re.compile(r"part-(\d{5,})\.parquet")
# Of the arrays beside the previews, by type of column: what they hold, and what stands for null.
_STORED: dict[pa.DataType, tuple[Any, Any]] = {
    pa.int64(): (np.dtype(np.int64), -1),
    pa.string(): (np.dtypes.StringDType(), ""),
    pa.float64(): (np.dtype(np.float64), np.nan),
}


class PreviewLibrary:
    """
    A store of previews, open for appending by this process alone; see `open_library`.

    Parameters
    ----------
    path : Path
        The Zarr store.
    group : zarr.Group
    """

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self._group = group
        self._headers = headers_folder(path)
        self._n_parts = len(_parts(open_storage(self._headers)))
        known = header_table(path)
        self.paths = set(known["path"].to_pylist())
        self.expnums = set(known["expnum"].drop_null().to_pylist())
        self._length: int = known.num_rows
        self._cut(self._length)

    def __len__(self) -> int:
        return self._length

    def append(self, entries: Sequence[Entry]) -> None:
        """Add previews; they are kept once this returns, and not before."""
        if not entries:
            return
        start, stop = self._length, self._length + len(entries)
        headers = [{"expnum": e.source.expnum, **asdict(e.source.header)} for e in entries]
        columns: dict[str, Any] = {}
        for field in HEADER_SCHEMA:
            dtype, null = _STORED[field.type]
            values = [header[field.name] for header in headers]
            columns[field.name] = np.array([null if value is None else value for value in values], dtype)
        columns["preview"] = np.stack([e.image for e in entries])
        for name, values in columns.items():
            array = _array(self._group, name)
            array.resize((stop, *array.shape[1:]))
            array[start:stop] = values
        rows = [
            {
                "path": e.source.path, **header, "noise": e.noise,
                "n_ccds": e.n_ccds, "remarks": list(e.remarks), "ccds": [asdict(patch) for patch in e.patches],
            }
            for e, header in zip(entries, headers, strict=True)
        ]  # fmt: skip
        with written_aside(self._headers / f"part-{self._n_parts:05d}.parquet") as aside:
            parquet.write_table(pa.Table.from_pylist(rows, HEADERS), aside, compression="zstd")
        self._n_parts += 1
        self._length = stop
        self.paths.update(e.source.path for e in entries)
        self.expnums.update(e.source.expnum for e in entries if e.source.expnum is not None)

    def _cut(self, length: int) -> None:
        """Take away what a killed process wrote beyond its last part."""
        for name in ("preview", *HEADER_SCHEMA.names):
            array = _array(self._group, name)
            if array.shape[0] < length:
                msg = f"{self._headers}: expected {length} previews in the store, got {array.shape[0]} in {name!r}"
                raise StoreError(msg)
            array.resize((length, *array.shape[1:]))


@contextmanager
def open_library(path: Path, camera: str) -> Iterator[PreviewLibrary]:
    """
    Make a store of previews, or open one to append to.

    Parameters
    ----------
    path : Path
        A folder ending in ``.zarr``: missing, or a store of the same camera.
    camera : str
        Name of the camera.

    Yields
    ------
    PreviewLibrary

    Raises
    ------
    StoreError
        If the path is something else, belongs to another camera, or another process is writing.
    """
    if path.suffix != ".zarr":
        msg = f"{path}: expected a name ending in .zarr"
        raise StoreError(msg)
    folder = headers_folder(path)
    if path.exists() and not folder.is_dir():
        msg = f"{path}: expected a new store or one with its header table {folder.name} beside it; choose another --out"
        raise StoreError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            msg = f"{path}: another process is writing to it"
            raise StoreError(msg) from error
        yield PreviewLibrary(path, _open_group(path, camera))


def headers_folder(path: Path) -> Path:
    """The folder of the header table beside a store."""
    return path.with_suffix(".headers")


def header_table(path: Path | str) -> pa.Table:
    """
    The header table beside a store, in the order of the previews; empty if there is none.

    Parameters
    ----------
    path : Path or str
        The store, or its URL.

    Raises
    ------
    StoreError
        If a part is damaged.
    """
    folder = open_storage(headers_folder(Path(path)))
    parts = [HEADERS.empty_table()]
    for name in _parts(folder):
        try:
            with parquet.ParquetFile(pa.BufferReader(folder.read(name))) as file:
                parts.append(file.read().cast(HEADERS))
        except (OSError, ValueError) as error:
            msg = f"{folder.url}/{name}: expected a part of a header table, got {error}"
            raise StoreError(msg) from error
    return pa.concat_tables(parts)


def _parts(folder: Storage) -> list[str]:
    """Names of the parts of the header table, in order."""
    named = ((_PART.fullmatch(name), name) for name in folder.names())
    return [name for _, name in sorted((int(match[1]), name) for match, name in named if match)]


def _open_group(path: Path, camera: str) -> zarr.Group:
    """The Zarr group, made if it is not there."""
    if not (path / "preview" / "zarr.json").is_file():
        return _create_group(path, camera)
    try:
        group = zarr.open_group(path, mode="r+")
        found = group.attrs.get("camera")
    except (OSError, ValueError, KeyError) as error:
        msg = f"{path}: expected a store of previews, got {error!r}"
        raise StoreError(msg) from error
    if found != camera:
        msg = f"{path}: expected previews of {camera}, got a store of {found}; choose another --out"
        raise StoreError(msg)
    return group


def _create_group(path: Path, camera: str) -> zarr.Group:
    """An empty store; the previews come last, for they say that it is complete."""
    group = zarr.create_group(path, overwrite=True, attributes={"camera": camera})
    for field in HEADER_SCHEMA:
        dtype, _ = _STORED[field.type]
        group.create_array(field.name, shape=(0,), chunks=(4096,), dtype=dtype)
    group.create_array(
        "preview",
        shape=(0, *PREVIEW_SHAPE),
        chunks=(1, *PREVIEW_SHAPE),
        shards=(SHARD, *PREVIEW_SHAPE),
        dtype="uint8",
        compressors=ZstdCodec(level=_ZSTD_LEVEL),
        dimension_names=("exposure", "y", "x"),
    )
    return group


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of the store, or StoreError."""
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        msg = f"{group.store_path}: expected an array {name!r} in the store, got {array}"
        raise StoreError(msg)
    return array
