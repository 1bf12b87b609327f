"""Reading the mask planes of a run and their coordinates, through a Zarr store that holds what the ledger says."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from cascade.core.errors import StoreError
from cascade.core.exposure import UInt8Array
from cascade.runs.coordinates import COORDINATES
from cascade.runs.files import (
    COMPLETE,
    LedgerEntry,
    check_sha256,
    entry_key,
    parse_config,
    parse_entry,
    read_run_json,
    recorded_files,
)
from cascade.runs.masks import ARRAY, FOLDER, metadata_hashes
from cascade.storage import Storage

_OF_A_BATCH = re.compile(rf"(?:{ARRAY}/c/(\d+)/0/0|(?:{'|'.join(COORDINATES)})/c/(\d+))")
_N_KEPT = 32  # files, of which each is asked for once a plane; Zarr reads ten at a time


class MaskStore(Store):
    """
    The group of the masks, for Zarr to read; files have the hashes of the ledger and of ``run.json``, or are an error.

    A batch that is not in the ledger holds nothing. A file is read, and its hash compared, once, and kept for a while.

    Parameters
    ----------
    storage : Storage
        The run directory.
    check : bool
        False: take the files as they are.
    """

    def __init__(self, storage: Storage, *, check: bool = True) -> None:
        super().__init__(read_only=True)
        self._storage, self._check = storage, check
        self._kept: OrderedDict[str, bytes | None] = OrderedDict()
        self._entries: dict[int, LedgerEntry] = {}
        self._recorded: dict[str, str] | None = None

    def __eq__(self, value: object) -> bool:
        return isinstance(value, MaskStore) and (value._storage, value._check) == (self._storage, self._check)

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """
        What a key holds, or a range of it; None if there is nothing.

        Raises
        ------
        StoreError
            If it is not what the run recorded.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            self._kept[key] = await asyncio.to_thread(self._read, key)
            while len(self._kept) > _N_KEPT:
                self._kept.popitem(last=False)
        data = self._kept[key]
        buffer = (prototype or default_buffer_prototype()).buffer
        return None if data is None else buffer.from_bytes(_ranged(data, byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """What `get` gives for each."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether a key holds anything."""
        return await self.get(key) is not None

    @property
    def supports_writes(self) -> bool:
        """False."""
        return False

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse."""
        self._check_writable()

    @property
    def supports_deletes(self) -> bool:
        """False."""
        return False

    async def delete(self, key: str) -> None:
        """Refuse."""
        self._check_writable()

    @property
    def supports_listing(self) -> bool:
        """True."""
        return True

    async def list(self) -> AsyncIterator[str]:
        """All keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """All keys that begin so."""
        for key in await asyncio.to_thread(lambda: sorted(self._storage.files_below(FOLDER))):
            if (below := key.removeprefix(f"{FOLDER}/")).startswith(prefix):
                yield below

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names in a folder."""
        for name in await asyncio.to_thread(self._storage.names, f"{FOLDER}/{prefix}".rstrip("/")):
            yield name

    def _read(self, key: str) -> bytes | None:
        """A whole file, whose hash is right; None if there is nothing, or nothing that counts."""
        name = f"{self._storage.url}/{FOLDER}/{key}"
        of_batch = _OF_A_BATCH.fullmatch(key)
        if self._check and of_batch:
            return self._read_of_batch(key, int(of_batch[1] or of_batch[2]))
        try:
            data = self._storage.read(f"{FOLDER}/{key}")
        except FileNotFoundError as error:
            if self._check and f"{FOLDER}/{key}" in self._files():
                msg = f"{name}: expected a file of the run, got none; run `cascade verify`"
                raise StoreError(msg) from error
            return None
        if self._check and (recorded := self._files().get(f"{FOLDER}/{key}")) is not None:
            self._check_metadata(data, key, recorded)
        return data

    def _read_of_batch(self, key: str, index: int) -> bytes | None:
        """A shard or chunk, if the ledger has it."""
        file = f"{FOLDER}/{key}"
        name = f"{self._storage.url}/{file}"
        known = index in self._entries
        entry = self._entry(index)
        if entry is None or file not in entry.files:
            return None
        try:
            data = self._storage.read(file)
            check_sha256(data, entry.files[file], name)
        except (FileNotFoundError, StoreError) as error:
            if known:  # perhaps the batch was done again meanwhile
                del self._entries[index]
                return self._read_of_batch(key, index)
            if isinstance(error, StoreError):
                raise
            msg = f"{name}: expected a file of batch {index}, got none; run `cascade verify`"
            raise StoreError(msg) from error
        return data

    def _entry(self, index: int) -> LedgerEntry | None:
        """The ledger entry of a batch, or None if it is not done."""
        if index not in self._entries:
            key = entry_key(index)
            try:
                self._entries[index] = parse_entry(self._storage.read(key), f"{self._storage.url}/{key}", index)
            except FileNotFoundError as error:
                if read_run_json(self._storage)["status"] == COMPLETE:
                    msg = (
                        f"{self._storage.url}/{key}: expected a batch of a complete run, got none; run `cascade verify`"
                    )
                    raise StoreError(msg) from error
                return None
        return self._entries[index]

    def _files(self) -> dict[str, str]:
        """The hashes that ``run.json`` holds."""
        if self._recorded is None:
            self._recorded = recorded_files(read_run_json(self._storage))
        return self._recorded

    def _check_metadata(self, data: bytes, key: str, recorded: str) -> None:
        """Refuse metadata that are neither those in ``run.json`` nor, of a run that just grew, the next ones."""
        file = f"{FOLDER}/{key}"
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 != recorded:
            config = parse_config(read_run_json(self._storage), self._storage)
            if sha256 != metadata_hashes(config).get(file):
                check_sha256(data, recorded, f"{self._storage.url}/{file}")


def _ranged(data: bytes, byte_range: ByteRequest | None) -> bytes:
    """A range of a file."""
    match byte_range:
        case RangeByteRequest(start, end):
            return data[start:end]
        case OffsetByteRequest(offset):
            return data[offset:]
        case SuffixByteRequest(suffix):
            return data[max(len(data) - suffix, 0) :]
    return data


def open_masks(storage: Storage, *, check: bool = True, name: str = ARRAY) -> zarr.Array[Any]:
    """
    Open the array of masks, or one of its coordinates, to read it.

    Parameters
    ----------
    storage : Storage
        The run directory.
    check : bool
        Whether files that the run did not record are an error, see `MaskStore`; else they are read as they are.
    name : str
        Of the array.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    OutageError
        If the store is unavailable.
    """
    try:
        opened = zarr.open_array(MaskStore(storage, check=check), path=name, mode="r")
    except (OSError, ValueError, KeyError) as error:
        msg = f"{storage.url}/{FOLDER}/{name}: expected the masks of a run, got {error!r}; run `cascade verify`"
        raise StoreError(msg) from error
    return opened


def read_planes(storage: Storage, start: int, stop: int, *, check: bool = True) -> UInt8Array:
    """
    Read the (stop - start, 400, 400) planes of some positions; zeros where there is no exposure.

    Parameters
    ----------
    storage, check
        As `open_masks` takes them.
    start, stop : int
        Half-open range of positions.

    Raises
    ------
    StoreError
        If the array is missing, damaged or not what the run recorded.
    OutageError
        If the store is unavailable.
    """
    return np.asarray(open_masks(storage, check=check)[start:stop], np.uint8)


def read_coordinates(storage: Storage, start: int, stop: int, *, check: bool = True) -> dict[str, npt.NDArray[Any]]:
    """Read the (stop - start,) coordinates of some positions, by name; the rest as for `read_planes`."""
    return {name: np.asarray(open_masks(storage, check=check, name=name)[start:stop]) for name in COORDINATES}
