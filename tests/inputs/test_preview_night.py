"""Tests of FITS as an input, of the store of previews, and of a night from one to the other."""

import gzip
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest
import zarr
from astropy.io import fits
from fits_files import DeadlyReader, change, night
from reader_files import expnums, paths, write, write_zarr
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.core.errors import ConfigError, InputError, StoreError
from cascade.core.exposure import HeaderFields, Source
from cascade.inputs import open_inputs
from cascade.inputs.fits.entry import Entry
from cascade.inputs.fits.reader import find_fits, open_fits
from cascade.inputs.fits.sky_patches import SkyPatch
from cascade.inputs.fits.structure import read_structure
from cascade.inputs.preview_night import _made, preview_night
from cascade.inputs.preview_store import header_table, open_store

CARDS = "CTYPE1  = 'RA---TAN'\nCTYPE2  = 'DEC--TAN'\nCRVAL1  = 10.0\nCRVAL2  = -30.0\nCD1_2 = 7e-5\nCD2_1 = -7e-5"


@pytest.fixture(scope="module")
def two_exposures(tmp_path_factory):
    """A folder with an exposure in one file, its mask's name, and one in a file a CCD."""
    folder = tmp_path_factory.mktemp("night")
    night(folder, 700001, ccdnums=(28,))
    night(folder, 700002, ccdnums=(28, 33), layout="immasked")
    (folder / "c4d_121101_700009_ood_g_v1.fits").write_bytes(b"a mask")
    return folder


def entry(expnum, grey=7):
    header = HeaderFields("g", 56232.5, 10.0, -30.0, 90.0)
    patches = (SkyPatch(28, 1, 1, CARDS),)
    image = np.full((400, 400), grey, np.uint8)
    return Entry(Source(f"night/{expnum}.fits", expnum, header), image, 20.0, 60, ("N2: dark",), patches)


def test_folder_of_fits_lists_exposures_and_no_masks(two_exposures):
    reader = open_inputs(two_exposures)
    assert paths(reader) == [
        f"{two_exposures}/D00700002_g_c*_r2357p01_immasked.fits", f"{two_exposures}/c4d_121101_700001_ooi_g_v1.fits",
    ]  # fmt: skip
    exposures = [reader.read(k) for k in range(2)]
    assert [exposure.source.expnum for exposure in exposures] == [700002, 700001]
    assert exposures[0].source.header.exptime == 90.0
    assert all(exposure.image.shape == (400, 400) and exposure.image.dtype == np.uint8 for exposure in exposures)
    part = reader.part(1, 2)
    np.testing.assert_array_equal(part.read(0).image, exposures[1].image)


def test_pattern_and_single_files_are_read_too(two_exposures):
    assert len(open_inputs(f"{two_exposures}/c4d*.fits")) == 1
    assert len(open_inputs(sorted(two_exposures.glob("*ooi*")))) == 1


def test_folder_of_images_and_fits_gives_both_and_says_so(two_exposures, tmp_path, caplog):
    write(tmp_path / "D00000001.png", np.zeros((400, 400), np.uint8))
    (file,) = [shutil.copy(next(two_exposures.glob("*ooi*")), tmp_path)]
    for given in (tmp_path, f"{tmp_path}/", f"{tmp_path}/*"):
        assert paths(open_inputs(given)) == [f"{tmp_path}/D00000001.png", str(file)]
    assert "holds 1 images and 1 FITS exposures, and all are taken; a pattern such as *.fits* takes one" in caplog.text


def test_gzipped_exposure_is_read_like_the_plain_one(two_exposures, tmp_path):
    plain = next(two_exposures.glob("*ooi*"))
    packed = tmp_path / f"{plain.name}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes(), 1))
    np.testing.assert_array_equal(open_inputs(packed).read(0).image, open_inputs(plain).read(0).image)


def test_masks_alone_are_refused(two_exposures):
    with pytest.raises(InputError, match=r"expected FITS images of CCDs \(.* ori or ooi\), got ood, a mask"):
        open_fits([str(next(two_exposures.glob("*ood*")))], camera="decam")


def test_input_without_fits_is_refused(tmp_path):
    for name in (tmp_path, tmp_path / "none.fits", tmp_path / "*.fits"):
        with pytest.raises(InputError, match="expected FITS files, found none"):
            find_fits([name])
    with pytest.raises(InputError, match="s3://survey/night: expected FITS files on this machine"):
        find_fits(["s3://survey/night"])


def test_store_of_another_camera_is_refused(tmp_path):
    path = write_zarr(tmp_path / "p.zarr")
    zarr.open_group(path).attrs["camera"] = "lsstcam"
    with pytest.raises(InputError, match="expected previews of decam, got previews of lsstcam; --camera lsstcam takes"):
        open_inputs(path)
    assert len(open_inputs(path, camera="lsstcam")) == 3


def test_what_is_stored_is_read_back(tmp_path):
    path = tmp_path / "p.zarr"
    with open_store(path, "decam") as opened:
        opened.append([entry(1, 7), entry(2, 8)])
        opened.append([entry(3, 9)])
        assert len(opened) == 3
        assert opened.expnums == {1, 2, 3}
    reader = open_inputs(path)
    assert [(reader.source(k).expnum, reader.read(k).image[0, 0]) for k in range(3)] == [(1, 7), (2, 8), (3, 9)]
    assert reader.source(0).header == HeaderFields("g", 56232.5, 10.0, -30.0, 90.0)
    rows = header_table(path).to_pylist()
    assert [row["path"] for row in rows] == ["night/1.fits", "night/2.fits", "night/3.fits"]
    assert rows[0]["ccds"] == [{"ccdnum": 28, "y": 1.0, "x": 1.0, "cards": CARDS}]
    assert (rows[0]["noise"], rows[0]["n_ccds"], rows[0]["remarks"]) == (20.0, 60, ["N2: dark"])
    assert zarr.open_group(path)["preview"].shards == (64, 400, 400)


def test_batch_of_a_killed_process_is_cut_off(tmp_path):
    path = tmp_path / "p.zarr"
    with open_store(path, "decam") as opened:
        opened.append([entry(1, 7)])
    group = zarr.open_group(path, mode="r+")
    group["preview"].resize((5, 400, 400))
    group["expnum"].resize((3,))
    with open_store(path, "decam") as opened:
        assert len(opened) == 1
        opened.append([entry(2, 8)])
    reader = open_inputs(path)
    assert [(reader.source(k).expnum, reader.read(k).image[0, 0]) for k in range(len(reader))] == [(1, 7), (2, 8)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: zarr.open_group(path, mode="r+")["expnum"].resize((0,)),
            "expected 1 previews in the store, got 0",
        ),
        (lambda path: shutil.rmtree(path / "band"), "expected an array 'band' in the store, got None"),
        (lambda path: zarr.open_group(path).attrs.update(camera="x"), "expected previews of decam, got a store of x"),
        (lambda path: (path / "zarr.json").write_text("{"), "expected a store of previews, got"),
        (
            lambda path: (path.with_suffix(".headers") / "part-00000.parquet").write_bytes(b"x"),
            "expected a part of a header table",
        ),
        (lambda path: shutil.rmtree(path.with_suffix(".headers")), "expected a new store or one with its header table"),
    ],
)
def test_damaged_store_is_refused(tmp_path, spoil, message):
    path = tmp_path / "p.zarr"
    with open_store(path, "decam") as opened:
        opened.append([entry(1)])
    spoil(path)
    with pytest.raises(StoreError, match=message), open_store(path, "decam"):
        pass


def test_store_is_not_written_to_an_object_store(two_exposures):
    with pytest.raises(ConfigError, match=r"s3://survey/p\.zarr: expected a local path, got a URL"):
        preview_night([two_exposures], "s3://survey/p.zarr")


def test_second_writer_and_wrong_name_are_refused(tmp_path):
    with (
        open_store(tmp_path / "p.zarr", "decam"),
        pytest.raises(StoreError, match="another process is writing to it"),
        open_store(tmp_path / "p.zarr", "decam"),
    ):
        pass
    with pytest.raises(StoreError, match=r"expected a name ending in \.zarr"), open_store(tmp_path / "p", "decam"):
        pass


@pytest.mark.slow
def test_bad_exposures_get_their_line_and_the_rest_of_the_night_is_done(two_exposures, tmp_path):
    folder = tmp_path / "night"
    good = next(two_exposures.glob("*ooi*"))
    shutil.copytree(two_exposures, folder)
    for n, name in enumerate(("truncated", "bias", "twice", "unnumbered", "damaged"), start=2):
        shutil.copy(good, folder / f"c4d_121101_70000{n}_ooi_g_{name}.fits")
        change(folder / f"c4d_121101_70000{n}_ooi_g_{name}.fits", 0, EXPNUM=800000 + n)
    (truncated,) = folder.glob("*truncated*")
    truncated.write_bytes(truncated.read_bytes()[:-5000])
    change(next(folder.glob("*bias*")), 0, OBSTYPE="zero")
    change(next(folder.glob("*unnumbered*")), 1, CCDNUM=None, DETPOS=None, EXTNAME="image")
    (damaged,) = folder.glob("*damaged*")
    content = bytearray(damaged.read_bytes())
    content[-5000] ^= 1
    damaged.write_bytes(content)
    (twice,) = folder.glob("*twice*")
    twice.write_bytes(twice.read_bytes() + twice.read_bytes()[read_structure(twice, "x")[1].start :])
    lines = {}
    out = tmp_path / "p.zarr"
    done = preview_night([folder], out, on_exposure=lambda name, error: lines.update({name: error}))
    assert (done.n_added, done.n_known, done.n_failed) == (2, 0, 5)
    errors = " | ".join(sorted(error for error in lines.values() if error))
    for part in ("truncated", "OBSTYPE 'object', got 'zero'", "expected CCDNUM or DETPOS", "DATASUM", "two images"):
        assert part in errors
    again = preview_night([folder], out, n_workers=2)
    assert (again.n_added, again.n_known, again.n_failed) == (0, 2, 5)
    assert len(open_inputs(out)) == 2


def test_damaged_gzip_and_pipe_cost_an_exposure_each_and_not_the_night(two_exposures, tmp_path):
    packed = bytearray(gzip.compress(next(two_exposures.glob("*ooi*")).read_bytes(), 1))
    for place, change_ in ((30, 0x10), (60, 0x55), (100, 0xFF)):
        packed[place] ^= change_
    (tmp_path / "a.fits.gz").write_bytes(packed)
    os.mkfifo(tmp_path / "b.fits")
    said = {}
    summary = preview_night(
        [two_exposures, tmp_path], tmp_path / "p.zarr", on_exposure=lambda name, error: said.update({name: error})
    )
    assert (summary.n_added, summary.n_failed) == (2, 2)
    assert "damaged gzip" in said[str(tmp_path / "a.fits.gz")]
    assert said[str(tmp_path / "b.fits")] == f"{tmp_path}/b.fits: not a file"


@pytest.mark.slow
def test_night_is_the_same_with_several_processes(two_exposures, tmp_path):
    preview_night([two_exposures], tmp_path / "a.zarr")
    preview_night([two_exposures], tmp_path / "b.zarr", n_workers=2)
    for k in range(2):
        one, other = (open_inputs(tmp_path / name).read(k) for name in ("a.zarr", "b.zarr"))
        assert one.source.expnum == other.source.expnum
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.slow
def test_exposure_that_kills_its_process_is_found_and_the_rest_is_done():
    names = ("a", "deadly", "b", "c", "d")
    made = list(_made(DeadlyReader(names), range(len(names)), 2))
    assert [name for name, _ in made] == list(names)
    assert [isinstance(entry, str) for _, entry in made] == [name == "deadly" for name in names]
    assert "deadly: the process that read it died" in made[1][1]


def test_exposure_that_is_there_under_another_name_is_skipped(two_exposures, tmp_path):
    preview_night([two_exposures], tmp_path / "p.zarr")
    moved = tmp_path / "c4d_121101_700001_ooi_g_v2.fits"
    shutil.copy(next(two_exposures.glob("*ooi*")), moved)
    done = preview_night([moved], tmp_path / "p.zarr")
    assert (done.n_added, done.n_known) == (0, 1)


def test_command_says_what_it_did(two_exposures, tmp_path):
    words = ["preview", str(two_exposures), "--out", str(tmp_path / "p.zarr"), "--quiet"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "2 previews added, 0 already in the store, 0 failed" in result.output
    assert "0 previews added, 2 already in the store" in CliRunner().invoke(app, words).output


def test_command_says_which_ccds_are_dark(tmp_path):
    (file,) = night(tmp_path, 700003)
    with fits.open(file, mode="update") as opened:
        opened[2].data[:] = np.nan
        opened[2].add_checksum()
    result = CliRunner().invoke(app, ["preview", str(file), "--out", str(tmp_path / "p.zarr"), "--quiet"])
    assert "1 previews added" in result.output
    assert "ooi_g_v1.fits: N2: no pixels of sky, left dark" in result.output
    assert header_table(tmp_path / "p.zarr")["n_ccds"].to_pylist() == [1]


def test_wcs_of_every_ccd_is_kept(two_exposures, tmp_path):
    preview_night([two_exposures], tmp_path / "p.zarr")
    table = header_table(tmp_path / "p.zarr")
    assert isinstance(table, pa.Table)
    row = next(row for row in table.to_pylist() if row["expnum"] == 700001)
    (ccd,) = row["ccds"]
    patch = SkyPatch(**ccd)
    # The optical axis lies at 0 mm; CCD 28 is centred on y_mm 0, x_mm -16.908.
    ra, dec = patch.to_sky(2048, 1024 + 16.908 / 0.015)
    assert (float(ra), float(dec)) == pytest.approx((150.0, -30.0), abs=1e-6)
    # FITS axis 1 runs south, axis 2 east.
    assert float(patch.to_sky(2048, 1024)[1]) > -30.0
    assert float(patch.to_sky(3000, 1024 + 16.908 / 0.015)[0]) > 150.0


@pytest.mark.parametrize("cards", ["CTYPE1  = 'LINEAR'", "NAXIS = -1\nCTYPE1  = 'RA---TPV'\nCTYPE2  = 'DEC--TAN'"])
def test_wcs_that_makes_no_sense_is_refused(cards):
    with pytest.raises(InputError, match="CCD 28: "):
        SkyPatch(28, 0, 0, cards).to_sky(0, 0)


def test_exposures_of_one_number_are_all_kept_unless_their_time_is_the_same(tmp_path, caplog):
    for name, expnum, time in (("a", 0, 57828.1), ("b", 0, 57828.2), ("c", 700001, 57828.1), ("d", 700001, 57828.2)):
        (file,) = night(tmp_path / name, ccdnums=(28,))
        change(file, 0, **{"EXPNUM": expnum, "MJD-OBS": time})
        file.rename(tmp_path / name / f"{name}.fits")
    (tmp_path / "e").mkdir()
    shutil.copy(tmp_path / "d" / "d.fits", tmp_path / "e" / "e.fits")
    summary = preview_night([tmp_path], tmp_path / "p.zarr")
    assert (summary.n_added, summary.n_known, summary.n_failed) == (4, 1, 0)
    assert expnums(open_inputs(tmp_path / "p.zarr")) == [None, None, 700001, 700001]
    assert f"{tmp_path}/e/e.fits: left out: exposure 700001 of the same time is among the previews" in caplog.text
