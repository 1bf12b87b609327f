"""
A store of previews: made once from FITS, appended to night by night, an input of `cascade run`.

::

    PREVIEWS.zarr/                   Zarr v3
      preview                        (exposure, y, x) uint8, one chunk an exposure, 64 a shard, zstd
      expnum, band, mjd_obs, ra, dec, exptime
    PREVIEWS.headers/part-00000.parquet     what the headers say of the same exposures, the WCS of every CCD among it
    PREVIEWS.headers/extent.json            how many parts and exposures there are

A part is written after the previews it describes, so a batch that was killed is cut off again on the next opening; the
extent comes last, so a part that is lost is told from one that was never written.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
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
from cascade.inputs.headers import HEADER_SCHEMA
from cascade.inputs.preview_files import (
    HEADERS,
    SHARD,
    STORED,
    headers_folder,
    open_array,
    part_name,
    read_extent,
    read_parts,
    shard_file,
    stored_values,
    write_extent,
)
from cascade.inputs.preview_losses import Losses, find_losses
from cascade.storage.atomic import written_aside

_ZSTD_LEVEL = 3


class PreviewStore:
    """
    A store of previews, open for appending by this process alone; see `open_store`.

    Parameters
    ----------
    path : Path
        The Zarr store.
    group : zarr.Group
    """

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self._group = group
        self._path = path
        self._headers = headers_folder(path)
        self.lost = find_losses(path, group)
        known = self.lost.table
        self._n_parts = len(read_parts(path)) + len(self.lost.parts)
        self.paths = set(known["path"].to_pylist())
        self.expnums = set(known["expnum"].drop_null().to_pylist())
        self._length = self.lost.length
        self._cut(self._length)
        for name in self.lost.columns:
            values = np.asarray(open_array(group, name)[:])
            values[self.lost.row_of] = stored_values(known, name)
            open_array(group, name)[:] = values

    def __len__(self) -> int:
        return self._length

    def lost_exposures(self) -> dict[int, int]:
        """
        Rows of the store that must be made again before anything is added, by the number of their exposure.

        Raises
        ------
        StoreError
            If a number is missing or there twice, so that the exposures cannot be told.
        """
        rows = self.lost.rows
        numbers = np.asarray(open_array(self._group, "expnum")[:])[rows].tolist()
        found = {int(expnum): row for expnum, row in zip(numbers, rows, strict=True) if expnum >= 0}
        if len(found) < len(rows):
            msg = (
                f"{self._headers}: expected the number of each of {len(rows)} exposures whose previews or headers are "
                f"lost, got {len(found)}; make a new store from the FITS exposures"
            )
            raise StoreError(msg)
        return found

    def restore(self, made: Mapping[int, Entry]) -> None:
        """Put all that was lost back, by row of the store; header parts come last, as they say that it is there."""
        rows = sorted(made)
        images = open_array(self._group, "preview")
        for shard in sorted({row // SHARD for row in rows}):
            inside = [row for row in rows if row // SHARD == shard]
            first, stop = shard * SHARD, min((shard + 1) * SHARD, self._length)
            planes = np.zeros((stop - first, *PREVIEW_SHAPE), np.uint8)
            if shard not in self.lost.shards:
                planes[:] = images[first:stop]
            planes[[row - first for row in inside]] = [made[row].image for row in inside]
            images[first:stop] = planes
        for part, (start, stop) in self.lost.parts.items():
            table = _header_rows([made[row] for row in range(start, stop)])
            for name in HEADER_SCHEMA.names:
                open_array(self._group, name)[start:stop] = stored_values(table, name)
            self._write_part(part, table)
        write_extent(self._path, self._n_parts, self._length)
        self.paths.update(entry.source.path for entry in made.values())
        self.expnums.update(entry.source.expnum for entry in made.values() if entry.source.expnum is not None)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add previews; they are kept once this returns, and not before."""
        if not entries:
            return
        start, stop = self._length, self._length + len(entries)
        table = _header_rows(entries)
        columns = {name: stored_values(table, name) for name in HEADER_SCHEMA.names}
        columns["preview"] = np.stack([e.image for e in entries])
        for name, values in columns.items():
            array = open_array(self._group, name)
            array.resize((stop, *array.shape[1:]))
            array[start:stop] = values
        self._write_part(self._n_parts, table)
        self._n_parts += 1
        self._length = stop
        write_extent(self._path, self._n_parts, self._length)
        self.paths.update(e.source.path for e in entries)
        self.expnums.update(e.source.expnum for e in entries if e.source.expnum is not None)

    def _write_part(self, number: int, table: pa.Table) -> None:
        """Write a part of the header table."""
        with written_aside(self._headers / part_name(number)) as aside:
            parquet.write_table(table, aside, compression="zstd")

    def _cut(self, length: int) -> None:
        """Take away what a killed process wrote beyond its last part."""
        for name in ("preview", *HEADER_SCHEMA.names):
            array = open_array(self._group, name)
            array.resize((length, *array.shape[1:]))


def _header_rows(entries: Sequence[Entry]) -> pa.Table:
    """Rows of the header table."""
    rows = [
        {
            "path": e.source.path, "expnum": e.source.expnum, **asdict(e.source.header), "noise": e.noise,
            "n_ccds": e.n_ccds, "remarks": list(e.remarks), "ccds": [asdict(patch) for patch in e.patches],
        }
        for e in entries
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, HEADERS)


@contextmanager
def open_store(path: Path, camera: str) -> Iterator[PreviewStore]:
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
    PreviewStore

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
        yield PreviewStore(path, _open_group(path, camera))


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
        If a part is damaged or lost.
    """
    parts = read_parts(Path(path))
    for number in range(max(max(parts, default=-1) + 1, read_extent(Path(path))[0])):
        if number not in parts:
            msg = (
                f"{headers_folder(Path(path))}/{part_name(number)}: expected a part of the header table, got none; "
                "`cascade preview` with the same FITS exposures makes it again"
            )
            raise StoreError(msg)
    return pa.concat_tables([HEADERS.empty_table(), *parts.values()])


def verify_store(path: Path) -> list[str]:
    """
    Read a store of previews back: header table, columns, and every preview.

    Returns
    -------
    list of str
        What is wrong, one line each; none if all is well.

    Raises
    ------
    StoreError
        If it is no store of previews, or so damaged that a new one must be made.
    """
    if not headers_folder(path).is_dir():
        msg = f"{path}: expected a store with its header table {headers_folder(path).name} beside it, got none"
        raise StoreError(msg)
    try:
        group = zarr.open_group(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        msg = f"{path}: expected a store of previews, got {error!r}"
        raise StoreError(msg) from error
    losses = find_losses(path, group)
    problems = losses.problems(path)
    images = open_array(group, "preview")
    lengths = {name: open_array(group, name).shape[0] for name in ("preview", *HEADER_SCHEMA.names)}
    problems += [
        f"{path.name}/{name}: expected {losses.length} exposures, as in the header table, got {length}: a process was "
        "killed, or its last part is lost; `cascade preview` cuts off what has no headers and makes it again"
        for name, length in lengths.items()
        if length != losses.length
    ]
    for shard in range(-(-losses.length // SHARD)):
        if shard not in losses.shards:
            problems += _unreadable(path, images, shard, losses)
    return problems


def _unreadable(path: Path, images: zarr.Array[Any], shard: int, losses: Losses) -> list[str]:
    """What is wrong with a shard of previews."""
    first, stop = shard * SHARD, min((shard + 1) * SHARD, losses.length)
    try:
        empty = np.flatnonzero(~np.asarray(images[first:stop]).any(axis=(1, 2)))
    except Exception as error:  # decoders raise all sorts
        return [f"{path.name}/{shard_file(shard)}: expected previews, got {error!r}; delete it, and `cascade preview`"]
    return [f"{path.name}[{first + row}]: expected a preview, got nothing but zeros" for row in empty]


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
        dtype, _ = STORED[field.type]
        group.create_array(field.name, shape=(0,), chunks=(4096,), dtype=dtype)
    group.create_array(
        "preview",
        shape=(0, *PREVIEW_SHAPE),
        chunks=(1, *PREVIEW_SHAPE),
        shards=(SHARD, *PREVIEW_SHAPE),
        dtype="uint8",
        compressors=ZstdCodec(level=_ZSTD_LEVEL, checksum=True),  # else a changed byte is another sky
        dimension_names=("exposure", "y", "x"),
    )
    return group
