"""
Writing the mask planes of a run and their coordinates: Zarr arrays, to which a batch adds one shard and one chunk each.

A clean exposure takes no space in the planes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import google_crc32c
import numpy as np
import pyarrow as pa
import zarr
from numcodecs.zstd import Zstd
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from cascade.core.errors import StoreError
from cascade.core.exposure import PREVIEW_SHAPE, UInt8Array
from cascade.runs.classes import RunClass
from cascade.runs.config import RunConfig
from cascade.runs.coordinates import (
    COORDINATES,
    POSITIONS,
    chunk_names,
    coordinate_chunks,
    create_coordinates,
    position_chunks,
)
from cascade.storage import Storage

FOLDER = "masks.zarr"
"""The Zarr group in a run directory."""

ARRAY = "mask"
"""The planes in it."""

_METADATA = f"{FOLDER}/{ARRAY}/zarr.json"
OLDEST_METADATA = (f"{FOLDER}/zarr.json", _METADATA)
"""Metadata of runs without coordinates."""

_ZSTD_LEVEL = 3  # higher levels gain little on masks: a plane is a few long runs
_NO_CHUNK = 2**64 - 1  # stands for an empty plane


def shard_key(index: int) -> str:
    """Where the shard of a batch lies in the run directory."""
    return f"{FOLDER}/{ARRAY}/c/{index}/0/0"


def encode_shard(planes: UInt8Array, batch_size: int) -> bytes:
    """
    Encode the (B, 400, 400) uint8 planes of a batch, B at most `batch_size`, as one shard.

    These are the bytes that Zarr writes: compressed planes, then where each begins and how long it is, then a
    checksum (Zarr v3, sharding codec, index at the end). Written here because Zarr takes 25 times as long.
    """
    codec = Zstd(level=_ZSTD_LEVEL)
    index = np.full((batch_size, 2), _NO_CHUNK, "<u8")
    chunks, offset = [], 0
    for position in np.flatnonzero(planes.any(axis=(1, 2))):
        chunk = codec.encode(np.ascontiguousarray(planes[position]))
        index[position] = offset, len(chunk)
        chunks.append(chunk)
        offset += len(chunk)
    checksum = google_crc32c.value(index.tobytes()).to_bytes(4, "little")
    return b"".join([*chunks, index.tobytes(), checksum])


def coordinate_keys(index: int) -> list[str]:
    """Where the coordinates of the planes of a batch lie in the run directory."""
    return [f"{FOLDER}/{key}" for key in chunk_names(index)]


def coordinate_files(exposures: pa.Table, index: int, batch_size: int) -> dict[str, bytes]:
    """The coordinates of the planes of a batch, from its rows of the exposures table, as files by key."""
    chunks = coordinate_chunks(exposures, batch_size)
    return dict(zip(coordinate_keys(index), chunks, strict=True))


def create_masks(storage: Storage, n_positions: int, batch_size: int, classes: Sequence[RunClass]) -> None:
    """Write what `metadata` gives; shards and chunks that are there stay."""
    for key, data in metadata(n_positions, batch_size, classes).items():
        storage.write(key, data)


def metadata(n_positions: int, batch_size: int, classes: Sequence[RunClass]) -> dict[str, bytes]:
    """
    Files that describe an array of (n_positions, 400, 400), by key: the group's first, the array's last.

    Its coordinates are among them, and the positions themselves, since they follow from the number.
    """
    written: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(written), attributes={"Conventions": "CF-1.11"})
    create_coordinates(group, n_positions, batch_size)
    group.create_array(
        ARRAY,
        shape=(n_positions, *PREVIEW_SHAPE),
        chunks=(1, *PREVIEW_SHAPE),
        shards=(batch_size, *PREVIEW_SHAPE),
        dtype="uint8",
        fill_value=0,
        compressors=ZstdCodec(level=_ZSTD_LEVEL),
        dimension_names=(POSITIONS, "y", "x"),
        # CF conventions, sections 3.5, bits that may be set together, and 5, further coordinates.
        attributes={
            "flag_masks": [class_.bit for class_ in classes],
            "flag_meanings": " ".join(class_.label for class_ in classes),
            "coordinates": " ".join(COORDINATES),
        },
    )
    described = {key: value.to_bytes() for key, value in written.items()}
    array = described.pop(f"{ARRAY}/zarr.json")
    files = {**described, **position_chunks(n_positions), f"{ARRAY}/zarr.json": array}
    return {f"{FOLDER}/{key}": data for key, data in files.items()}


def metadata_hashes(config: RunConfig) -> dict[str, str]:
    """The sha256 of the files that `metadata` gives for a configuration, by key."""
    described = metadata(config.n_positions, config.batch_size, config.classes)
    return {key: hashlib.sha256(data).hexdigest() for key, data in described.items()}


def is_created(storage: Storage, n_positions: int) -> bool:
    """Whether there is an array of that length, in its group."""
    try:
        storage.read(f"{FOLDER}/zarr.json")
        return bool(json.loads(storage.read(_METADATA))["shape"][0] == n_positions)
    except (FileNotFoundError, ValueError, LookupError, StoreError):
        return False
