"""Compressed images of FITS whose tiles do not hold what the header says."""

from __future__ import annotations

import gzip
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from cascade.core.errors import InputError, OutageError
from cascade.inputs.fits import isolated_image
from cascade.inputs.fits.isolated_image import read_isolated
from cascade.inputs.fits.structure import hdu_alone, read_structure
from cascade.inputs.time_limit import time_limit

IMAGE = np.random.default_rng(0).integers(0, 3000, (50, 70)).astype(np.int32)
FLOATS = np.random.default_rng(1).normal(0, 1e9, (50, 70)).astype(np.float32)  # which only gzip takes as they are


def compressed(path: Path, method: str, image: np.ndarray = IMAGE, tile: tuple[int, int] = (20, 30), **options) -> Path:
    fits.HDUList(
        [fits.PrimaryHDU(), fits.CompImageHDU(image, compression_type=method, tile_shape=tile, **options)]
    ).writeto(path)
    return path


def read(path: Path) -> np.ndarray:
    with hdu_alone(path, read_structure(path, "x")[1], "x") as alone:
        return np.asarray(alone.data)


def spoil(path: Path, tile: int, packed: bytes, column: str = "COMPRESSED_DATA") -> Path:
    """Put other bytes in the place of a tile, at the end of the file if they are longer."""
    with fits.open(path, disable_image_compression=True) as opened:
        table = opened[1]
        header, data = table.header, table.data
        names = [name.upper() for name in data.names]
        rows = [[bytes(np.asarray(cell, np.uint8)) for cell in data[name]] for name in data.names[:1]]
        rows[0][tile] = packed
        columns = [
            fits.Column(column, "1PB()", array=np.array([np.frombuffer(row, np.uint8) for row in rows[0]], object))
        ]
        columns += [fits.Column(n, data.formats[k], array=data[n]) for k, n in enumerate(names) if k]
        new = fits.BinTableHDU.from_columns(columns)
        for card in header.cards:
            if card.keyword.startswith("Z"):
                new.header.append(card)
        fits.HDUList([fits.PrimaryHDU(), new]).writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("method", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS"])
def test_good_tiles_pass(tmp_path, method):
    np.testing.assert_array_equal(read(compressed(tmp_path / "x.fits", method)), IMAGE)


@pytest.mark.parametrize("method", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
def test_good_tiles_of_floats_pass(tmp_path, method):
    path = compressed(tmp_path / "x.fits", method, FLOATS, quantize_level=4)
    with fits.open(path) as opened:
        np.testing.assert_array_equal(read(path), opened[1].data)


@pytest.mark.parametrize("method", ["GZIP_1", "GZIP_2"])
def test_gzip_tile_that_unpacks_to_more_is_refused_in_little_memory(tmp_path, method):
    path = spoil(compressed(tmp_path / "x.fits", method), 4, gzip.compress(bytes(2**28)))
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"^x: HDU 1: damaged {method} image: tile 4: expected at most 4800 bytes"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def hcompress(sides: tuple[int, int], planes: bytes = b"\5\5\5", magic: bytes = b"\xdd\x99") -> bytes:
    """The start of a stream, and zeros."""
    return magic + np.array([*sides, 0], ">i4").tobytes() + bytes(8) + planes + bytes(200)


@pytest.mark.parametrize(
    ("packed", "problem"),
    [
        (hcompress((4000, 4000)), "expected 600 pixels, got 4000 x 4000"),
        (hcompress((-20, -30)), "expected 600 pixels, got -20 x -30"),
        (hcompress((2**31 - 1, 2**31 - 1)), "expected 600 pixels, got 2147483647 x 2147483647"),
        (hcompress((20, 30), b"\5\xff\5"), "expected at most 64 bit planes, got 255"),
        (hcompress((20, 30), magic=b"\0\0"), r"expected an HCOMPRESS stream, got b'\\x00\\x00'"),
        (hcompress((20, 30))[:20], "expected an HCOMPRESS stream, got "),
    ],
)
def test_hcompress_stream_that_contradicts_the_header_is_refused(tmp_path, packed, problem):
    path = spoil(compressed(tmp_path / "x.fits", "HCOMPRESS_1"), 1, packed)
    with pytest.raises(InputError, match=rf"^x: HDU 1: damaged HCOMPRESS_1 image: tile 1: {problem}"):
        read(path)


def test_tile_outside_the_data_is_refused(tmp_path):
    path = compressed(tmp_path / "x.fits", "GZIP_1")
    hdu = read_structure(path, "x")[1]
    content = bytearray(path.read_bytes())
    content[hdu.data_start : hdu.data_start + 4] = (10**6).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"tile 0: expected it within the \d+ bytes of data, got bytes \d+ to 1000\d+"):
        read(path)


@pytest.mark.parametrize(
    ("card", "other", "problem"),
    [
        (b"TFORM1  = '1PB", b"TFORM1  = '1AB", "expected COMPRESSED_DATA of variable length, got '1AB'"),
        (b"TFORM1  = '1PB", b"TFORM1  = '??B", "expected a format of FITS in TFORM1, got "),
    ],
)
def test_table_that_makes_no_sense_is_refused(tmp_path, card, other, problem):
    path = compressed(tmp_path / "x.fits", "GZIP_1")
    content = path.read_bytes()
    assert content.count(card) == 1
    path.write_bytes(content.replace(card, other))
    with pytest.raises(InputError, match=problem.replace("?", r"\?")):
        read(path)


@pytest.fixture
def fresh_processes():
    """No process from before, and none left."""
    isolated_image._end_all()
    yield
    isolated_image._end_all()


@pytest.mark.parametrize("method", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS"])
def test_images_are_unpacked_by_one_other_process(tmp_path, fresh_processes, method):
    path = compressed(tmp_path / "x.fits", method)
    hdu = read_structure(path, "x")[1]
    np.testing.assert_array_equal(read_isolated(path, hdu, "x"), IMAGE)
    (process,) = isolated_image._IDLE
    np.testing.assert_array_equal(read_isolated(path, hdu, "x"), IMAGE)
    (same,) = isolated_image._IDLE
    assert same is process


def test_threads_have_a_process_each(tmp_path, fresh_processes):
    path = compressed(tmp_path / "x.fits", "RICE_1", np.arange(4_000_000, dtype=np.int32).reshape(2000, 2000))
    hdu = read_structure(path, "x")[1]
    with ThreadPoolExecutor(2) as pool:
        images = list(pool.map(lambda _: read_isolated(path, hdu, "x"), range(6)))
    assert all(np.array_equal(image, images[0]) for image in images)
    assert 1 <= len(isolated_image._IDLE) <= 2


def spoilt(line: str) -> str:
    """The code of the process, that does something else than unpack."""
    code = isolated_image._UNPACK.replace("values = numpy.ascontiguousarray(hdus[1].data)", line)
    assert code != isolated_image._UNPACK
    return code


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("os.kill(os.getpid(), 11)", "cannot read its pixels: the process that unpacked it was killed by SIGSEGV$"),
        ("os.kill(os.getpid(), 7)", "cannot read its pixels: the process that unpacked it was killed by SIGBUS$"),
        ("raise ValueError('bad\\ncode')", r"cannot read its pixels: bad\\ncode$"),
        ("os._exit(3)", "cannot read its pixels: the process that unpacked it ended with status 3$"),
    ],
)
def test_image_that_ends_the_process_that_unpacks_it_costs_its_exposure(
    tmp_path, monkeypatch, fresh_processes, line, problem
):
    path = compressed(tmp_path / "x.fits", "RICE_1")
    hdu = read_structure(path, "x")[1]
    with monkeypatch.context() as patch:
        patch.setattr(isolated_image, "_UNPACK", spoilt(line))
        with pytest.raises(InputError, match=rf"^x: HDU 1 \(COMPRESSED_IMAGE\): {problem}"):
            read_isolated(path, hdu, "x")
    isolated_image._end_all()
    np.testing.assert_array_equal(read_isolated(path, hdu, "x"), IMAGE)


def test_image_that_takes_too_long_costs_its_exposure(tmp_path, monkeypatch, fresh_processes):
    monkeypatch.setattr(isolated_image, "_UNPACK", spoilt("[None for _ in iter(int, 1)]"))
    path = compressed(tmp_path / "x.fits", "RICE_1")
    with time_limit(0.2), pytest.raises(InputError, match=r"expected to unpack it in 1 s of CPU, got no end of it$"):
        read_isolated(path, read_structure(path, "x")[1], "x")


def test_time_of_the_other_process_counts(tmp_path, monkeypatch, fresh_processes):
    line = "values = [numpy.sort(numpy.arange(10)) for _ in range(100000)][0]"
    monkeypatch.setattr(isolated_image, "_UNPACK", spoilt(line))
    path = compressed(tmp_path / "x.fits", "RICE_1")
    with time_limit(0.05), pytest.raises(InputError, match=r"x: expected to read it in 0\.05 s of CPU, got no end"):
        read_isolated(path, read_structure(path, "x")[1], "x")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("raise MemoryError", "HDU 1 .*: expected 256 MiB of memory beside the networks, got less; the run can be"),
        ("os.kill(os.getpid(), 9)", "the process that unpacked it was killed by SIGKILL: expected 256 MiB"),
    ],
)
def test_lack_of_memory_is_no_fault_of_the_exposure(tmp_path, monkeypatch, fresh_processes, line, problem):
    monkeypatch.setattr(isolated_image, "_UNPACK", spoilt(line))
    path = compressed(tmp_path / "x.fits", "RICE_1")
    with pytest.raises(OutageError, match=problem):
        read_isolated(path, read_structure(path, "x")[1], "x")


def test_large_image_is_to_blame_for_lack_of_memory(tmp_path, monkeypatch, fresh_processes):
    monkeypatch.setattr(isolated_image, "_UNPACK", spoilt("raise MemoryError"))
    monkeypatch.setattr(isolated_image, "USUAL_BYTES", 20_000)
    path = compressed(tmp_path / "x.fits", "RICE_1")
    with pytest.raises(InputError, match=r"expected an image that fits into memory, got \(50, 70\)"):
        read_isolated(path, read_structure(path, "x")[1], "x")


def test_process_that_cannot_start_is_no_fault_of_the_exposure(tmp_path, monkeypatch, fresh_processes):
    path = compressed(tmp_path / "x.fits", "RICE_1")
    monkeypatch.setattr(isolated_image, "_UNPACK", "raise SystemExit(1)")
    with pytest.raises(OutageError, match="a process that unpacks images ended with status 1 as it started"):
        read_isolated(path, read_structure(path, "x")[1], "x")
