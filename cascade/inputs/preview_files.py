"""The files and arrays of a store of previews, and how its columns are written; see `cascade.inputs.preview_store`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from pyarrow import parquet

from cascade.core.errors import StoreError
from cascade.inputs.fits.sky_patches import PATCHES
from cascade.inputs.headers import HEADER_SCHEMA
from cascade.storage import open_storage
from cascade.storage.atomic import parse_json, write_json

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

_EXTENT = "extent.json"
_PART = re.compile(r"part-(\d{5}|[1-9]\d{5,})\.parquet")
# Of the arrays beside the previews, by type of column: what they hold, and what stands for null.
STORED: dict[pa.DataType, tuple[Any, Any]] = {
    pa.int64(): (np.dtype(np.int64), -1),
    pa.string(): (np.dtypes.StringDType(), ""),
    pa.float64(): (np.dtype(np.float64), np.nan),
}


def headers_folder(path: Path) -> Path:
    """The folder of the header table beside a store."""
    return path.with_suffix(".headers")


def part_name(number: int) -> str:
    """Name of a part of the header table."""
    return f"part-{number:05d}.parquet"


def shard_file(number: int) -> str:
    """Where a shard of previews lies in the store."""
    return f"preview/c/{number}/0/0"


def read_parts(path: Path) -> dict[int, pa.Table]:
    """
    The parts of the header table beside a store, by number, rising.

    Raises
    ------
    StoreError
        If one is damaged.
    """
    folder = open_storage(headers_folder(path))
    found = sorted(int(match[1]) for match in map(_PART.fullmatch, folder.names()) if match)
    parts = {}
    for number in found:
        try:
            with parquet.ParquetFile(pa.BufferReader(folder.read(part_name(number)))) as file:
                parts[number] = file.read().cast(HEADERS)
        except (OSError, ValueError, pa.ArrowException) as error:
            msg = f"{folder.url}/{part_name(number)}: expected a part of a header table, got {error}"
            raise StoreError(msg) from error
    return parts


def read_extent(path: Path) -> tuple[int, int]:
    """
    How many parts the header table beside a store has at least, and how many exposures they describe.

    Raises
    ------
    StoreError
        If the file that says so is damaged; zeros if there is none, as in stores of older versions.
    """
    folder = open_storage(headers_folder(path))
    name = f"{folder.url}/{_EXTENT}"
    try:
        content = parse_json(folder.read(_EXTENT), name)
    except FileNotFoundError:
        return 0, 0
    found = content.get("parts"), content.get("exposures")
    if not all(isinstance(number, int) and number >= 0 for number in found):
        msg = f"{name}: expected numbers of parts and exposures, got {content}; delete it"
        raise StoreError(msg)
    return found  # type: ignore[return-value]


def write_extent(path: Path, n_parts: int, n_exposures: int) -> None:
    """Write what `read_extent` reads."""
    write_json(headers_folder(path) / _EXTENT, {"parts": n_parts, "exposures": n_exposures})


def stored_values(table: pa.Table, name: str) -> Any:  # noqa: ANN401 - of any type of NumPy
    """A column of the header table as the array beside the previews holds it."""
    dtype, null = STORED[HEADER_SCHEMA.field(name).type]
    return np.array([null if value is None else value for value in table[name].to_pylist()], dtype)


def open_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of the store, or StoreError."""
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        msg = f"{group.store_path}: expected an array {name!r} in the store, got {array}"
        raise StoreError(msg)
    return array
