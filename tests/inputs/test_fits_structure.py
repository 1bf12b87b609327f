"""Tests of cascade.inputs.fits.structure."""

import contextlib
import gzip
import os

import numpy as np
import pytest
from astropy.io import fits
from fits_files import small_fits
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.core.errors import InputError
from cascade.inputs.fits import structure
from cascade.inputs.fits.structure import BLOCK, plain_file, read_bytes, read_primary, read_structure


@pytest.fixture
def three_hdus(tmp_path):
    """An empty primary, an image, a compressed image with checksums."""
    rng = np.random.default_rng(0)
    image = fits.ImageHDU(rng.normal(0, 1, (20, 30)).astype(np.float32), name="N2")
    compressed = fits.CompImageHDU(rng.integers(0, 99, (40, 50)).astype(np.int32), name="N3", compression_type="RICE_1")
    path = tmp_path / "three.fits"
    fits.HDUList([fits.PrimaryHDU(), image, compressed]).writeto(path, checksum=True)
    return path


def test_places_and_shapes_are_those_that_astropy_sees(three_hdus):
    hdus = read_structure(three_hdus, "x")
    assert [hdu.shape for hdu in hdus] == [(), (20, 30), (40, 50)]
    assert [hdu.is_compressed for hdu in hdus] == [False, False, True]
    assert [hdu.name for hdu in hdus] == ["HDU 0", "HDU 1 (N2)", "HDU 2 (N3)"]
    with fits.open(three_hdus, disable_image_compression=True) as opened:
        assert [hdu.data_start for hdu in hdus] == [hdu.fileinfo()["datLoc"] for hdu in opened]


def test_right_checksums_pass(three_hdus):
    for hdu in read_structure(three_hdus, "x"):
        read_bytes(three_hdus, hdu, "x")


@pytest.mark.parametrize("hdu", [1, 2])
def test_changed_byte_of_the_data_is_noticed(three_hdus, hdu):
    place = read_structure(three_hdus, "x")[hdu].data_start + 100
    content = bytearray(three_hdus.read_bytes())
    content[place] ^= 4
    three_hdus.write_bytes(content)
    with pytest.raises(InputError, match=rf"x: HDU {hdu} \(N\d\): expected DATASUM \d+, got \d+: its data"):
        read_bytes(three_hdus, read_structure(three_hdus, "x")[hdu], "x")


def test_checksums_of_an_earlier_header_count_for_nothing(three_hdus):
    with fits.open(three_hdus) as opened:
        header, data = opened["N2"].header.copy(), opened["N2"].data - 3
    header["OBJECT"] = "corrected"
    corrected = three_hdus.with_name("corrected.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header)]).writeto(corrected)
    hdu = read_structure(corrected, "x")[1]
    assert "CHECKSUM" in hdu.header
    assert hdu.is_edited
    read_bytes(corrected, hdu, "x")
    assert not any(hdu.is_edited for hdu in read_structure(three_hdus, "x"))


def test_checksum_without_the_sum_of_the_data_is_checked(tmp_path):
    path = tmp_path / "a.fits"
    hdu = fits.ImageHDU(np.zeros((9, 9), np.int16), name="N2")
    hdu.add_checksum()
    del hdu.header["DATASUM"]
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    with pytest.raises(InputError, match=r"HDU 1 \(N2\): expected its bytes to add up to 0, got 0x\w+ with CHECKSUM"):
        read_bytes(path, read_structure(path, "x")[1], "x")


@pytest.mark.parametrize("n_zeros", [1, BLOCK, 3 * BLOCK + 7])
def test_zeros_after_the_last_hdu_are_passed_over(three_hdus, n_zeros):
    before = read_structure(three_hdus, "x")
    with three_hdus.open("ab") as file:
        file.write(bytes(n_zeros))
    after = read_structure(three_hdus, "x")
    assert [(hdu.start, hdu.data_bytes) for hdu in after] == [(hdu.start, hdu.data_bytes) for hdu in before]


def test_zeros_in_place_of_announced_hdus_are_a_truncated_file(three_hdus):
    with fits.open(three_hdus, mode="update", disable_image_compression=True) as opened:
        opened[0].header["NEXTEND"] = 2
    start, size = read_structure(three_hdus, "x")[2].start, three_hdus.stat().st_size
    with three_hdus.open("r+b") as file:
        file.truncate(start)
        file.truncate(size)
    with pytest.raises(InputError, match="x: truncated: expected 2 extensions, as NEXTEND says, got 1, then zeros"):
        read_structure(three_hdus, "x")


@pytest.mark.parametrize(
    ("cut", "message"), [(-2000, "HDU 2 .*truncated: its data end at byte"), (3000, "HDU 1: trunc")]
)
def test_truncated_file_is_refused(three_hdus, cut, message):
    three_hdus.write_bytes(three_hdus.read_bytes()[:cut])
    with pytest.raises(InputError, match=message):
        read_structure(three_hdus, "x")


def header(*cards):
    text = "".join(card.ljust(80) for card in (*cards, "END"))
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a FITS file, got an empty one"),
        (b"\xff\xd8\xff" * 1000, "expected FITS, which starts with SIMPLE"),
        (header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0") + b"rubbish" * 500, "HDU 1: expected FITS, which starts"),
        (b"SIMPLE  = T".ljust(BLOCK), "HDU 0: truncated in its header"),
        (header("SIMPLE  = T", "NAXIS   = 2"), "HDU 0: expected a FITS header with axes, got .*NAXIS1"),
        (header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = -5"), "expected axes of positive length"),
        (header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 'x'"), "expected a FITS header with axes"),
        (header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1E999"), "with axes, got cannot convert float infinity"),
        (header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 1E999"), "got cannot convert float infinity"),
        (
            header("SIMPLE  = T", "BITPIX  = 64", "NAXIS   = 2", "NAXIS1  = 900000000", "NAXIS2  = 900000000"),
            "truncated: its data end at byte",
        ),
        (
            header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0")
            + header(
                "XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 0", "NAXIS2  = 0", "PCOUNT  = 0",
                "GCOUNT  = 1", "ZIMAGE  = T", "ZBITPIX = 8", "ZNAXIS  = 2", "ZNAXIS1 = 90000", "ZNAXIS2 = 90000",
            ),
            "HDU 1: expected an image of at most 67108864 pixels, got",
        ),
        (
            header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0")
            + header(
                "XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 0", "NAXIS2  = 0", "PCOUNT  = 0",
                "GCOUNT  = 1", "ZIMAGE  = T", "ZBITPIX = 8", "ZNAXIS  = 2", "ZNAXIS1 = 9", "ZNAXIS2 = 9",
                "ZTILE1  = 900000000",
            ),
            "HDU 1: expected tiles within the image",
        ),
    ],
)  # fmt: skip
def test_what_is_no_fits_is_refused(tmp_path, content, message):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_structure(path, "x")


def test_endless_header_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(structure, "_MAX_HEADER_BLOCKS", 3)
    path = tmp_path / "a.fits"
    path.write_bytes(b"SIMPLE  = T".ljust(80).ljust(BLOCK * 5))
    with pytest.raises(InputError, match="expected a header of at most 3 blocks, got no END in it"):
        read_structure(path, "x")


def test_too_many_hdus_are_refused(three_hdus, monkeypatch):
    monkeypatch.setattr(structure, "_MAX_HDUS", 2)
    with pytest.raises(InputError, match="at most 2 HDUs, got more"):
        read_structure(three_hdus, "x")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20000), st.integers(0, 255)), min_size=1, max_size=8))
def test_spoilt_bytes_are_read_or_refused_but_never_crash(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("spoilt")
    content = bytearray(small_fits(folder / "a.fits", CCDNUM=3).read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    (folder / "b.fits").write_bytes(content)
    with contextlib.suppress(InputError):
        for hdu in read_structure(folder / "b.fits", "x"):
            read_bytes(folder / "b.fits", hdu, "x")


def test_gzip_is_unpacked_aside_and_taken_away_again(three_hdus, tmp_path):
    packed = tmp_path / "three.fits.gz"
    packed.write_bytes(gzip.compress(three_hdus.read_bytes()))
    with plain_file(packed, "x") as plain:
        assert plain.read_bytes() == three_hdus.read_bytes()
    assert not plain.exists()
    assert len(read_primary(packed, "x")) == len(read_primary(three_hdus, "x"))


def test_damaged_gzip_is_refused(three_hdus, tmp_path):
    packed = tmp_path / "three.fits.gz"
    packed.write_bytes(gzip.compress(three_hdus.read_bytes())[:-100])
    with pytest.raises(InputError, match="x: truncated or damaged gzip"), plain_file(packed, "x"):
        pass


def test_gzip_with_damaged_bits_is_refused(three_hdus, tmp_path):
    packed = tmp_path / "three.fits.gz"
    content = bytearray(gzip.compress(three_hdus.read_bytes()))
    content[30] ^= 0x10
    content[60] ^= 0x55
    packed.write_bytes(content)
    with pytest.raises(InputError, match="x: truncated or damaged gzip"), plain_file(packed, "x"):
        pass
    with pytest.raises(InputError, match=r"^x: Error -3 while decompressing"):
        read_primary(packed, "x")


@pytest.mark.parametrize("name", ["x.fits", "x.fits.gz"])
def test_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=r"^x: not a file$"):
        read_primary(tmp_path / name, "x")


def test_gzip_that_grows_beyond_all_bounds_is_refused(three_hdus, tmp_path, monkeypatch):
    monkeypatch.setattr(structure, "_MAX_UNPACKED_BYTES", 5000)
    packed = tmp_path / "three.fits.gz"
    packed.write_bytes(gzip.compress(three_hdus.read_bytes()))
    with pytest.raises(InputError, match="at most 5000 bytes when unpacked"), plain_file(packed, "x"):
        pass


def test_missing_file_and_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.fits")
    for name, message in (("none.fits", "x: No such file"), ("pipe.fits", "x: not a file")):
        with pytest.raises(InputError, match=message), plain_file(tmp_path / name, "x"):
            pass
    with pytest.raises(InputError, match="x: No such file"):
        read_primary(tmp_path / "none.fits", "x")


def test_what_to_install_is_said_where_the_packages_are_missing(monkeypatch):
    monkeypatch.setattr(structure, "find_spec", lambda name: None if name == "sep" else object())
    with pytest.raises(InputError, match=r"got no sep: pip install 'ghost-cascade\[fits\]'"):
        structure.require_fits_extra()
