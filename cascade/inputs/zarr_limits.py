"""
What a Zarr array may claim, checked before anything is read, and how much a chunk of it may unpack to.

Codecs are chosen by whoever wrote the store: some run code, most unpack a few bytes to gigabytes. So those outside a
list are refused, and in front of those in it stands a guard that knows from the packed bytes what they unpack to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Any

import numcodecs.abc
import numpy as np
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec
from zarr.core.sync import sync
from zarr.storage import LocalStore

from cascade.core.errors import input_error
from cascade.core.exposure import BoolArray, UInt8Array
from cascade.inputs.decode import MAX_BYTES
from cascade.inputs.inflate import inflated_size

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, BufferPrototype

_MAX_SHARD_BYTES = 2**30
_MAX_COLUMN_BYTES = 2**30  # of the array of one header field
_MAX_CHUNKS_A_PREVIEW = 1600  # of 10 x 10 pixels
_SLACK = 2**18  # two blocks of zstd, of which only the number need be known

# By the name of a codec in Zarr v3 or its id in v2: the format of what it packs, None where it changes no size.
_FORMATS: dict[str, str | None] = {
    "bytes": None,
    "transpose": None,
    "crc32c": None,
    "shuffle": None,
    "sharding_indexed": None,
    "vlen-utf8": "items",
    "vlen-bytes": "items",
    "blosc": "blosc",
    "gzip": "deflate",
    "zlib": "deflate",
    "zstd": "zstd",
    "lz4": "lz4",
}

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK = 2**17  # most bytes of one (RFC 8878, section 3.1.1.2.4)


class PlainFiles(LocalStore):
    """A store on this machine of which only plain files are opened: a pipe would be waited for for ever."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """What a key holds, None if it is not there, or ValueError if it is neither a file nor of bounded size."""
        path = self.root / key
        status = path.stat() if path.exists() else None
        if status is not None and not (S_ISREG(status.st_mode) or S_ISDIR(status.st_mode)):
            msg = f"{key}: not a file"
            raise ValueError(msg)
        if status is not None and status.st_size > _MAX_SHARD_BYTES:
            msg = f"{key}: expected at most {_MAX_SHARD_BYTES >> 20} MiB, got {status.st_size >> 20} MiB"
            raise ValueError(msg)
        return await LocalStore.get(self, key, prototype, byte_range)


def check_array(array: zarr.Array[Any], name: str) -> None:
    """
    Refuse an array of which the codecs are unknown, or a chunk is too large to be held.

    Parameters
    ----------
    array : zarr.Array
    name : str
        How errors call it.

    Raises
    ------
    InputError
        If a codec is not in the list, or a chunk, a shard or the number of its items is out of bounds.
    """
    for codec in _codec_names(array.metadata):
        if codec.removeprefix("numcodecs.") not in _FORMATS:
            raise input_error(name, f"expected a codec among {', '.join(_FORMATS)}, got {codec!r}")
    itemsize = array.dtype.itemsize
    for what, shape, largest in (
        ("chunks", array.chunks, MAX_BYTES),
        ("shards", array.shards or array.chunks, _MAX_SHARD_BYTES),
    ):
        if math.prod(shape) * itemsize > largest:
            raise input_error(name, f"expected {what} of at most {largest >> 20} MiB, got {shape}: rechunk it")


def check_previews(array: zarr.Array[Any], name: str) -> None:
    """Refuse previews that `check_array` refuses, or in chunks too small; InputError."""
    check_array(array, name)
    if math.prod(math.ceil(n / side) for n, side in zip(array.shape[1:], array.chunks[1:], strict=True)) > (
        _MAX_CHUNKS_A_PREVIEW
    ):
        raise input_error(name, f"expected at most {_MAX_CHUNKS_A_PREVIEW} chunks a preview, got {array.chunks}")


def check_column(array: zarr.Array[Any], name: str) -> None:
    """Refuse an array of a header field that `check_array` refuses, or that is too large; InputError."""
    check_array(array, name)
    if (n_bytes := math.prod(array.shape) * array.dtype.itemsize) > _MAX_COLUMN_BYTES:
        raise input_error(name, f"expected at most {_MAX_COLUMN_BYTES >> 20} MiB, got {n_bytes >> 20} MiB")


def bounded(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """The same array, of which no chunk unpacks to more than its shape says; not to be pickled."""
    metadata = array.metadata
    n_items = math.prod(array.chunks)
    limits = {"items": n_items}
    n_bytes = MAX_BYTES if array.dtype.kind in ("O", "T") else n_items * array.dtype.itemsize + _SLACK
    if metadata.zarr_format == 2:
        filters = tuple(_GuardedV2.around(codec, limits, n_bytes) for codec in metadata.filters or ())
        compressor = None if metadata.compressor is None else _GuardedV2.around(metadata.compressor, limits, n_bytes)
        guarded: Any = replace(metadata, filters=filters or None, compressor=compressor)
    else:
        guarded = replace(metadata, codecs=_guarded(metadata.codecs, limits, n_bytes))
    plain = array.async_array
    return zarr.Array(type(plain)(metadata=guarded, store_path=plain.store_path, config=plain.config))


def missing_chunk(array: zarr.Array[Any], row: int, preview: UInt8Array, lit: BoolArray) -> str | None:
    """
    Find a chunk of a preview that the store does not have, and for which Zarr gave the fill value.

    Parameters
    ----------
    array : zarr.Array
        (N, H, W) uint8.
    row : int
        Which of the N.
    preview : ndarray of uint8, shape (H, W)
        As Zarr gave it.
    lit : ndarray of bool, shape (H, W)
        Pixels on a CCD. A chunk without any may be left out by the writer as empty.

    Returns
    -------
    str or None
        Key of the first one in the store, such as ``c/17/0/0``. Of a chunk inside a shard that is there, the key of
        the shard, since what it lacks cannot be told from what is the fill value throughout.
    """
    fill = array.fill_value or 0
    _, height, width = array.chunks
    file_shape = array.shards or array.chunks
    for y, x in product(range(0, preview.shape[0], height), range(0, preview.shape[1], width)):
        chunk = slice(y, y + height), slice(x, x + width)
        if lit[chunk].any() and (preview[chunk] == fill).all():
            key = array.metadata.encode_chunk_key((row // file_shape[0], y // file_shape[1], x // file_shape[2]))
            if array.shards is not None or not sync((array.async_array.store_path / key).exists()):
                return str(key)
    return None


def check_unpacked(format_: str, data: bytes, limit: int) -> None:
    """
    Refuse packed bytes before they are unpacked.

    Parameters
    ----------
    format_ : str
        ``"zstd"``, ``"deflate"`` (gzip or zlib), ``"blosc"``, ``"lz4"``, or ``"items"``: texts, of which the number
        comes first.
    data : bytes
        As they are in the store.
    limit : int
        Most bytes, or items, that they may hold.

    Raises
    ------
    ValueError
        If they hold more, or do not say how much.
    """
    if format_ == "deflate":
        n = inflated_size(data, limit)
    elif format_ == "zstd":
        n = _zstd_size(data)
    else:
        start = 4 if format_ == "blosc" else 0  # after the versions, the flags and the size of an item
        n = int.from_bytes(data[start : start + 4], "little")
    if n > limit:
        msg = f"expected a chunk that holds at most {limit} {'items' if format_ == 'items' else 'bytes'}, got more"
        raise ValueError(msg)


def _zstd_size(data: bytes) -> int:
    """Bytes that a frame of zstd says to hold, or that its blocks can hold (RFC 8878, section 3.1.1)."""
    if data[:4] != _ZSTD_MAGIC or len(data) < 6:
        msg = "expected a frame of zstd"
        raise ValueError(msg)
    descriptor = data[4]
    is_single = bool(descriptor & 0x20)
    at = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    width = (int(is_single), 2, 4, 8)[descriptor >> 6]
    if width:
        return int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
    n = 0
    while at + 3 <= len(data):
        header = int.from_bytes(data[at : at + 3], "little")
        n += _ZSTD_BLOCK
        at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)  # type 1 repeats one byte
        if header & 1:
            break
    if at + (4 if descriptor & 4 else 0) < len(data):
        msg = "expected one frame of zstd, got more"
        raise ValueError(msg)
    return n


def _codec_names(metadata: Any) -> list[str]:  # noqa: ANN401 - of either version
    """The names of all codecs, those inside shards among them."""
    if metadata.zarr_format == 2:
        return [codec.codec_id for codec in (*(metadata.filters or ()), metadata.compressor) if codec is not None]
    names, pending = [], list(metadata.codecs)
    while pending:
        codec = pending.pop(0)
        names.append(str(codec.to_dict()["name"]))
        if isinstance(codec, ShardingCodec):
            pending += [*codec.codecs, *codec.index_codecs]
    return names


def _guarded(codecs: Iterable[Any], limits: dict[str, int], n_bytes: int) -> tuple[Any, ...]:
    """The codecs of Zarr v3, each that unpacks with a guard that sees the bytes first."""
    guarded: list[Any] = []
    for codec in codecs:
        if isinstance(codec, ShardingCodec):
            guarded.append(replace(codec, codecs=_guarded(codec.codecs, limits, n_bytes)))
            continue
        guarded.append(codec)
        format_ = _FORMATS[str(codec.to_dict()["name"]).removeprefix("numcodecs.")]
        if format_ is not None:
            guarded.append(_Guard(format_, limits.get(format_, n_bytes)))
    return tuple(guarded)


@dataclass(frozen=True)
class _Guard(BytesBytesCodec):
    """A codec of Zarr v3 that changes nothing, and refuses bytes that hold too much."""

    format: str
    limit: int
    is_fixed_size = True

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        check_unpacked(self.format, chunk_bytes.to_bytes(), self.limit)
        return chunk_bytes

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        return input_byte_length


class _GuardedV2(numcodecs.abc.Codec):  # type: ignore[misc] # it has no types
    """A codec of Zarr v2 that refuses bytes that hold too much."""

    codec_id = "guard"  # Zarr asks for one

    def __init__(self, codec: Any, format_: str, limit: int) -> None:  # noqa: ANN401 - numcodecs has no types
        self._codec, self._format, self._limit = codec, format_, limit

    @classmethod
    def around(cls, codec: Any, limits: dict[str, int], n_bytes: int) -> Any:  # noqa: ANN401
        """The codec with a guard, or as it is where it unpacks nothing."""
        format_ = _FORMATS[codec.codec_id]
        return codec if format_ is None else cls(codec, format_, limits.get(format_, n_bytes))

    def encode(self, buf: Any) -> Any:  # noqa: ANN401
        return self._codec.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:  # noqa: ANN401
        check_unpacked(self._format, np.asarray(buf).tobytes(), self._limit)
        return self._codec.decode(buf, out)
