"""The mask planes of a run as a Zarr array, one shard a batch; a clean exposure takes no space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from cascade.core.errors import StoreError
from cascade.core.exposure import PREVIEW_SHAPE, UInt8Array
from cascade.runs.classes import RunClass
from cascade.storage import Storage

FOLDER = "masks.zarr"
"""The Zarr group in a run directory."""

_ARRAY = "mask"
_METADATA = f"{FOLDER}/{_ARRAY}/zarr.json"
_ZSTD_LEVEL = 3  # higher levels gain little on masks: a plane is a few long runs
_NO_CHUNK = 2**64 - 1  # stands for an empty plane


def shard_key(index: int) -> str:
    """Where the shard of a batch lies in the run directory."""
    return f"{FOLDER}/{_ARRAY}/c/{index}/0/0"


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


def create_masks(storage: Storage, n_positions: int, batch_size: int, classes: Sequence[RunClass]) -> None:
    """Write the metadata of an array of (n_positions, 400, 400); shards that are there stay."""
    for key, data in metadata(n_positions, batch_size, classes).items():
        storage.write(key, data)


def metadata(n_positions: int, batch_size: int, classes: Sequence[RunClass]) -> dict[str, bytes]:
    """Files that describe an array of (n_positions, 400, 400), by key: the group's first, the array's last."""
    written: dict[str, Buffer] = {}
    zarr.create_group(MemoryStore(written)).create_array(
        _ARRAY,
        shape=(n_positions, *PREVIEW_SHAPE),
        chunks=(1, *PREVIEW_SHAPE),
        shards=(batch_size, *PREVIEW_SHAPE),
        dtype="uint8",
        fill_value=0,
        compressors=ZstdCodec(level=_ZSTD_LEVEL),
        dimension_names=("exposure", "y", "x"),
        # CF conventions, section 3.5: bits that may be set together.
        attributes={
            "flag_masks": [class_.bit for class_ in classes],
            "flag_meanings": " ".join(class_.label for class_ in classes),
        },
    )
    return {f"{FOLDER}/{key}": value.to_bytes() for key, value in written.items()}


def is_created(storage: Storage, n_positions: int) -> bool:
    """Whether there is an array of that length, in its group."""
    try:
        storage.read(f"{FOLDER}/zarr.json")
        return bool(json.loads(storage.read(_METADATA))["shape"][0] == n_positions)
    except (FileNotFoundError, ValueError, LookupError, StoreError):
        return False


def open_masks(storage: Storage) -> zarr.Array[Any]:
    """
    Open the array to read it.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    try:
        opened = zarr.open_array(storage.zarr(f"{FOLDER}/{_ARRAY}"), mode="r")
    except (OSError, ValueError, KeyError) as error:
        msg = f"{storage.url}/{FOLDER}/{_ARRAY}: expected the masks of a run, got {error!r}"
        raise StoreError(msg) from error
    return opened


def read_planes(storage: Storage, start: int, stop: int) -> UInt8Array:
    """
    Read the (stop - start, 400, 400) planes of some positions; zeros where there is no exposure.

    Raises
    ------
    StoreError
        If the array is missing or damaged.
    OutageError
        If the store is unavailable.
    """

    def read() -> UInt8Array:
        return np.asarray(open_masks(storage)[start:stop], np.uint8)

    return storage.retried(read, f"{storage.url}/{FOLDER}")  # which Zarr does not
