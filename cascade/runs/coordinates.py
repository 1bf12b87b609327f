"""
The coordinates of the mask planes, as arrays beside them: which exposure, its number and its time.

``exposure`` counts the planes, so that `xarray.Dataset.sel` takes the column of that name of any table; once inputs are
added, some planes hold no exposure, see `cascade.runs.config.batches`. ``expnum`` and ``mjd_obs`` have a chunk a batch,
which is written with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zarr
from numcodecs.zstd import Zstd
from zarr.codecs import ZstdCodec

from cascade.inputs.headers import HEADER_SCHEMA

POSITIONS = "exposure"
"""Name of the coordinate along the planes."""

_CHUNK = 16384  # positions
_POSITIONS_LEVEL = 9  # of Zstandard: half of what a lower one leaves
_LEVEL = 3


@dataclass(frozen=True, slots=True, eq=False)
class Coordinate:
    """
    A column of the exposures table, as an array beside the planes.

    Attributes
    ----------
    fill
        Stands for unknown, and for positions without an exposure; says the type.
    attributes
        As the CF conventions have them.
    """

    fill: np.generic
    attributes: Mapping[str, Any]


COORDINATES: Mapping[str, Coordinate] = {
    "expnum": Coordinate(
        np.int64(-1), {"long_name": "exposure number", "comment": "-1: unknown, or no exposure at this position"}
    ),
    "mjd_obs": Coordinate(
        np.float64(np.nan),
        {
            "long_name": HEADER_SCHEMA.field("mjd_obs").metadata[b"meaning"].decode(),
            "units": "d",
            "comment": "NaN: unknown, or no exposure at this position",
        },
    ),
}
"""By name of the column."""


def create_coordinates(group: zarr.Group, n_positions: int, batch_size: int) -> None:
    """Describe the arrays in a group."""
    group.create_array(
        POSITIONS,
        shape=(n_positions,),
        chunks=(_CHUNK,),
        dtype="int64",
        compressors=ZstdCodec(level=_POSITIONS_LEVEL),
        dimension_names=(POSITIONS,),
        attributes={"long_name": "position in the run, the column exposure of its tables"},
    )
    for name, coordinate in COORDINATES.items():
        group.create_array(
            name,
            shape=(n_positions,),
            chunks=(batch_size,),
            dtype=coordinate.fill.dtype,
            fill_value=coordinate.fill.item(),
            compressors=ZstdCodec(level=_LEVEL),
            dimension_names=(POSITIONS,),
            attributes=dict(coordinate.attributes),
        )


def position_chunks(n_positions: int) -> dict[str, bytes]:
    """The chunks of the positions, by key in the group; a longer run has the same and more."""
    return {f"{POSITIONS}/c/{k}": _positions(k) for k in range(-(-n_positions // _CHUNK))}


@lru_cache(maxsize=4)
def _positions(number: int) -> bytes:
    """A chunk of the positions, whole although the array may end within."""
    return _encoded(np.arange(number * _CHUNK, (number + 1) * _CHUNK), "<i8", _POSITIONS_LEVEL)


def chunk_names(index: int) -> list[str]:
    """Keys, in the group, of the chunks of a batch."""
    return [f"{name}/c/{index}" for name in COORDINATES]


def coordinate_chunks(exposures: pa.Table, batch_size: int) -> list[bytes]:
    """The chunks of a batch, of which these are the rows of the exposures table, in the order of `chunk_names`."""
    chunks = []
    for name, values in coordinate_values(exposures).items():
        fill = COORDINATES[name].fill
        padded = np.full(batch_size, fill)
        padded[: len(values)] = values
        chunks.append(_encoded(padded, fill.dtype.newbyteorder("<").str, _LEVEL))
    return chunks


def coordinate_values(exposures: pa.Table) -> dict[str, npt.NDArray[Any]]:
    """The (B,) values at B exposures, by name, from their rows of the exposures table."""
    return {
        name: np.array(
            [coordinate.fill if value is None else value for value in exposures[name].to_pylist()],
            coordinate.fill.dtype,
        )
        for name, coordinate in COORDINATES.items()
    }


def _encoded(values: npt.NDArray[Any], dtype: str, level: int) -> bytes:
    """A chunk, to the bytes that Zarr would write."""
    encoded: bytes = Zstd(level=level).encode(np.ascontiguousarray(values, dtype))
    return encoded
