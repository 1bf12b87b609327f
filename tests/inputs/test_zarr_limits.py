"""Stores of Zarr that claim too much, or would run code."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import tracemalloc
import zlib
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from reader_files import preview, write_zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from cascade.core.errors import InputError
from cascade.inputs import open_inputs
from cascade.inputs.zarr_limits import check_unpacked

BOMB = np.zeros(2**28, np.uint8)  # packed, some kB


def zstd_without_size(data: bytes) -> bytes:
    """A frame of raw blocks that does not say what it holds, as streaming writers make it."""
    blocks = [data[k : k + 2**17] for k in range(0, len(data), 2**17)]
    headers = [(len(block) << 3 | (k == len(blocks) - 1)).to_bytes(3, "little") for k, block in enumerate(blocks)]
    return b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(h + b for h, b in zip(headers, blocks, strict=True))


def zstd_that_repeats(n_blocks: int) -> bytes:
    """A frame of blocks of 128 KiB that take four bytes each."""
    block = [(2**17 << 3 | 2 | (k == n_blocks - 1)).to_bytes(3, "little") + b"\0" for k in range(n_blocks)]
    return b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(block)


@pytest.mark.parametrize(
    ("version", "packer"),
    [
        (3, ZstdCodec()),
        (3, GzipCodec()),
        (3, BloscCodec()),
        (2, numcodecs.Zstd()),
        (2, numcodecs.Zlib()),
        (2, numcodecs.GZip()),
        (2, numcodecs.LZ4()),
        (2, numcodecs.Blosc()),
    ],
)
def test_chunk_that_unpacks_to_more_than_it_declares_costs_its_exposure_only(tmp_path, version, packer):
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=version)
    array = group.create_array("preview", shape=(2, 400, 400), chunks=(1, 400, 400), dtype="uint8", compressors=packer)
    array[:] = np.stack([preview(0), preview(1)])
    packed = numcodecs.get_codec({"id": type(packer).__name__.lower().removesuffix("codec")}).encode(BOMB)
    (tmp_path / "s.zarr" / "preview" / ("c/0/0/0" if version == 3 else "0.0.0")).write_bytes(packed)
    reader = open_inputs(tmp_path / "s.zarr")
    with pytest.raises(InputError, match=r"s\.zarr\[0\]: cannot read the preview: expected a chunk that holds at most"):
        reader.read(0)
    np.testing.assert_array_equal(reader.read(1).image, preview(1))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read(1).image, preview(1))


def test_chunk_in_a_shard_that_unpacks_to_more_is_refused(tmp_path):
    array = zarr.create_array(
        tmp_path / "s.zarr", shape=(4, 400, 400), chunks=(1, 400, 400), shards=(4, 400, 400), dtype="uint8"
    )
    array[:] = np.stack([preview(k) for k in range(4)])
    shard = tmp_path / "s.zarr" / "c" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    start, length = np.frombuffer(data, "<u8", 2, len(data) - 4 - 64)
    bomb = bytes(numcodecs.Zstd().encode(BOMB[: 2**24]))
    assert len(bomb) < length
    data[start : start + len(bomb)] = bomb
    shard.write_bytes(data)
    with pytest.raises(InputError, match="expected a chunk that holds at most"):
        open_inputs(tmp_path / "s.zarr").read(0)
    np.testing.assert_array_equal(open_inputs(tmp_path / "s.zarr").read(1).image, preview(1))


@pytest.mark.parametrize(
    ("format_", "data"),
    [
        ("zstd", bytes(numcodecs.Zstd().encode(bytes(1000)))),
        ("zstd", zstd_without_size(bytes(1000))),
        ("deflate", 2 * gzip.compress(bytes(500), mtime=0)),
        ("deflate", zlib.compress(bytes(1000))),
        ("blosc", bytes(numcodecs.Blosc().encode(bytes(1000)))),
        ("lz4", bytes(numcodecs.LZ4().encode(bytes(1000)))),
    ],
)
def test_size_of_packed_bytes_is_known_before_they_are_unpacked(format_, data):
    largest = 2**17 if data[5:6] == b"\x58" else 1000  # of a stream, only the number of blocks is known
    check_unpacked(format_, data, largest)
    with pytest.raises(ValueError, match=f"expected a chunk that holds at most {largest - 1} bytes, got more"):
        check_unpacked(format_, data, largest - 1)


def test_blocks_of_zstd_that_repeat_a_byte_are_counted():
    with pytest.raises(ValueError, match="expected a chunk that holds at most 160000 bytes, got more"):
        check_unpacked("zstd", zstd_that_repeats(8192), 160_000)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"garbage", "expected a frame of zstd"),
        (b"", "expected a frame of zstd"),
        (zstd_without_size(bytes(10)) * 2, "expected one frame of zstd, got more"),
    ],
)
def test_what_does_not_say_how_much_it_holds_is_refused(data, problem):
    with pytest.raises(ValueError, match=problem):
        check_unpacked("zstd", data, 2**20)


def test_bytes_are_counted_in_little_memory():
    packed = gzip.compress(bytes(2**28))
    tracemalloc.start()
    with pytest.raises(ValueError, match="at most 160000 bytes"):
        check_unpacked("deflate", packed, 160_000)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def v2_store(folder: Path, **band) -> Path:
    """A store of one preview in Zarr v2, and what its array of bands says of itself."""
    plain = {"zarr_format": 2, "order": "C", "compressor": None, "filters": None}
    for name, described in {
        "preview": {"shape": [1, 400, 400], "chunks": [1, 400, 400], "dtype": "|u1", "fill_value": 0},
        "band": {"shape": [1], "chunks": [1], "dtype": "|O", "fill_value": "", **band},
    }.items():
        (folder / name).mkdir(parents=True)
        (folder / name / ".zarray").write_text(json.dumps({**plain, **described}))
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / "preview" / "0.0.0").write_bytes(preview().tobytes())
    return folder


@pytest.mark.parametrize("filters", [[{"id": "vlen-utf8"}, {"id": "pickle"}], [{"id": "vlen-utf8"}, {"id": "json2"}]])
def test_codec_that_runs_code_is_refused_before_any_chunk_is_read(tmp_path, filters):
    store = v2_store(tmp_path / "s.zarr", filters=filters)
    (store / "band" / "0").write_bytes(pickle.dumps(pytest.fail))
    with pytest.raises(InputError, match=r"s\.zarr/band: expected a codec among bytes, .*, got '(pickle|json2)'"):
        open_inputs(store)


def test_codec_of_previews_outside_the_list_is_refused(tmp_path):
    zarr.create_array(
        tmp_path / "s.zarr", shape=(1, 400, 400), chunks=(1, 400, 400), dtype="uint8", zarr_format=2,
        compressors=numcodecs.BZ2(),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"s\.zarr: expected a codec among bytes, .*, got 'bz2'$"):
        open_inputs(tmp_path / "s.zarr")


def test_texts_in_a_store_of_v2_are_read(tmp_path):
    store = v2_store(tmp_path / "s.zarr", filters=[{"id": "vlen-utf8"}])
    (store / "band" / "0").write_bytes(numcodecs.VLenUTF8().encode(np.array(["g"], object)))
    assert open_inputs(store).source(0).header.band == "g"


def test_texts_that_claim_a_great_number_are_refused(tmp_path):
    store = v2_store(tmp_path / "s.zarr", filters=[{"id": "vlen-utf8"}])
    (store / "band" / "0").write_bytes((2**32 - 1).to_bytes(4, "little") + bytes(40))
    with pytest.raises(InputError, match="cannot read 'band': expected a chunk that holds at most 1 items, got more"):
        open_inputs(store)


def test_store_that_claims_more_exposures_than_there_are_is_refused(tmp_path):
    zarr.create_array(tmp_path / "s.zarr", shape=(10**12, 400, 400), chunks=(1, 400, 400), dtype="uint8")
    with pytest.raises(InputError, match=r"s\.zarr: expected at most 4194304 previews, got 1000000000000"):
        open_inputs(tmp_path / "s.zarr")


def test_column_of_gigabytes_is_refused(tmp_path):
    store = v2_store(tmp_path / "s.zarr", dtype="<U300000000", chunks=[1])
    with pytest.raises(InputError, match=r"s\.zarr/band: expected chunks of at most 64 MiB, got \(1,\)"):
        open_inputs(store)


def test_column_of_many_wide_texts_is_refused(tmp_path):
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=2)
    group.create_array("preview", shape=(2**20, 400, 400), chunks=(1, 400, 400), dtype="uint8")
    group.create_array("band", shape=(2**20,), chunks=(1,), dtype="<U1000")
    with pytest.raises(InputError, match=r"s\.zarr/band: expected at most 1024 MiB, got 4000 MiB"):
        open_inputs(tmp_path / "s.zarr")


@pytest.mark.parametrize(
    ("chunks", "shards", "problem"),
    [
        ((1, 1, 1), None, r"expected at most 1600 chunks a preview, got \(1, 1, 1\)"),
        ((1, 400, 400), (10_000, 400, 400), r"expected shards of at most 1024 MiB, got \(10000, 400, 400\)"),
    ],
)
def test_chunks_out_of_bounds_are_refused(tmp_path, chunks, shards, problem):
    zarr.create_array(tmp_path / "s.zarr", shape=(10_000, 400, 400), chunks=chunks, shards=shards, dtype="uint8")
    with pytest.raises(InputError, match=problem):
        open_inputs(tmp_path / "s.zarr")


def test_header_arrays_in_any_codec_of_the_list_are_read(tmp_path):
    store = write_zarr(tmp_path / "s.zarr", expnum=[5, 6, 7], band=np.array(["g", "r", "i"], np.dtypes.StringDType()))
    reader = open_inputs(store)
    assert [(reader.source(k).expnum, reader.source(k).header.band) for k in range(3)] == [
        (5, "g"), (6, "r"), (7, "i")
    ]  # fmt: skip


def test_pipe_in_the_place_of_a_chunk_costs_its_exposure_and_is_not_waited_for(tmp_path):
    store = write_zarr(tmp_path / "s.zarr")
    chunk = store / "preview" / "c" / "1" / "0" / "0"
    chunk.unlink()
    os.mkfifo(chunk)
    reader = pickle.loads(pickle.dumps(open_inputs(store)))
    with pytest.raises(InputError, match=r"s\.zarr\[1\]: cannot read the preview: preview/c/1/0/0: not a file$"):
        reader.read(1)
    np.testing.assert_array_equal(reader.read(2).image, preview(2))


def test_pipe_in_the_place_of_metadata_is_refused(tmp_path):
    store = write_zarr(tmp_path / "s.zarr")
    (store / "preview" / "zarr.json").unlink()
    os.mkfifo(store / "preview" / "zarr.json")
    with pytest.raises(InputError, match=r"expected a Zarr store of previews: preview/zarr\.json: not a file$"):
        open_inputs(store)


def test_chunk_file_of_gigabytes_is_refused_before_it_is_read(tmp_path):
    store = write_zarr(tmp_path / "s.zarr")
    with (store / "preview" / "c" / "1" / "0" / "0").open("wb") as stream:
        stream.truncate(2**34)  # sparse: takes no disk
    with pytest.raises(InputError, match=r"preview/c/1/0/0: expected at most 1024 MiB, got 16384 MiB$"):
        open_inputs(store).read(1)
