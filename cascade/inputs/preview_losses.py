"""What a store of previews has lost: parts of its header table, shards of previews, columns beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from cascade.core.errors import StoreError
from cascade.inputs.headers import HEADER_SCHEMA
from cascade.inputs.preview_files import (
    HEADERS,
    SHARD,
    headers_folder,
    open_array,
    part_name,
    read_extent,
    read_parts,
    shard_file,
    stored_values,
)


@dataclass(frozen=True, slots=True)
class Losses:
    """
    What was lost.

    Attributes
    ----------
    length
        Exposures of the store, lost or not.
    table
        What is left of the header table.
    row_of
        Row of the store of each row of `table`.
    parts
        Rows of the store, start and stop, that each lost part of the header table described.
    shards
        Numbers of the shards of previews that are not there.
    columns
        Names of the arrays that are not what the header table says, where that is left.
    """

    length: int
    table: pa.Table
    row_of: list[int]
    parts: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    shards: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def rows(self) -> list[int]:
        """Rows that must be made again, rising."""
        lost = {row for start, stop in self.parts.values() for row in range(start, stop)}
        lost |= {row for shard in self.shards for row in range(shard * SHARD, min((shard + 1) * SHARD, self.length))}
        return sorted(lost)

    def problems(self, path: Path) -> list[str]:
        """One line on each."""
        folder = headers_folder(path).name
        found = [f"{folder}/{part_name(part)}: expected a part of the header table, got none" for part in self.parts]
        found += [f"{path.name}/{shard_file(shard)}: expected previews, got none" for shard in self.shards]
        return found + [f"{path.name}/{name}: expected what {folder} says, got other values" for name in self.columns]


def find_losses(path: Path, group: zarr.Group) -> Losses:
    """
    Compare a store with its header table, by what files there are and by the columns that both have.

    Raises
    ------
    StoreError
        If a part is damaged, or lost together with what would say which rows it described.
    """
    parts = read_parts(path)
    n_parts, n_exposures = read_extent(path)
    expnums = np.asarray(open_array(group, "expnum")[:])
    n_previews = open_array(group, "preview").shape[0]
    start = 0
    lost: dict[int, tuple[int, int]] = {}
    row_of: list[int] = []
    gap: list[int] = []
    for number in range(max(parts, default=-1) + 1):
        if number not in parts:
            gap.append(number)
            continue
        if gap:  # where this part begins says how many rows those before it had; the first of them gets all
            begin = _find(stored_values(parts[number], "expnum"), expnums, start, path, gap[0])
            lost |= {gap[0]: (start, begin), **dict.fromkeys(gap[1:], (begin, begin))}
            start, gap = begin, []
        row_of += range(start, start + len(parts[number]))
        start += len(parts[number])
    last = range(max(parts, default=-1) + 1, n_parts)  # no part follows on these, so the extent says where they end
    if last:
        first = gap[0] if gap else last[0]
        stop = max(start, n_exposures)
        lost |= {first: (start, stop), **dict.fromkeys(range(first + 1, n_parts), (stop, stop))}
        start = stop
    table = pa.concat_tables([HEADERS.empty_table(), *(parts[number] for number in sorted(parts))])
    if n_previews < start:
        msg = f"{headers_folder(path)}: expected {start} previews in the store, got {n_previews} in 'preview'"
        raise StoreError(msg)
    shards = tuple(k for k in range(-(-start // SHARD)) if not (path / shard_file(k)).is_file())
    columns = tuple(name for name in HEADER_SCHEMA.names if _differs(group, name, table, row_of, path))
    return Losses(start, table, row_of, lost, shards, columns)


def _find(values: Any, expnums: Any, start: int, path: Path, part: int) -> int:  # noqa: ANN401
    """Row at which a part begins that follows on lost ones, by its exposure numbers."""
    for begin in range(start, len(expnums) - len(values) + 1):
        if np.array_equal(expnums[begin : begin + len(values)], values) and (values >= 0).any():
            return begin
    msg = (
        f"{headers_folder(path)}/{part_name(part)}: expected a part of the header table, got none, and the exposure "
        "numbers do not say which previews it described; make a new store from the FITS exposures"
    )
    raise StoreError(msg)


def _differs(group: zarr.Group, name: str, table: pa.Table, row_of: list[int], path: Path) -> bool:
    """Whether an array holds other values than the header table."""
    array = open_array(group, name)
    n_rows, n_found = max(row_of, default=-1) + 1, array.shape[0]
    if n_found < n_rows:
        msg = f"{headers_folder(path)}: expected {n_rows} previews in the store, got {n_found} in {name!r}"
        raise StoreError(msg)
    found, expected = np.asarray(array[:])[row_of], stored_values(table, name)
    return not np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")
