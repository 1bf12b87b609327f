"""Tests of which FITS files are one exposure."""

import os

import numpy as np
import pytest
from astropy.io import fits
from reader_files import paths

from cascade.core.errors import InputError
from cascade.inputs import open_inputs
from cascade.inputs.fits.reader import open_fits


def ccd_file(path, ccdnum, detpos, *, empty_primary=False, n_ccds=1, **facts):
    """A file of small images of CCDs, which is never rendered."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = fits.Header({"EXPNUM": 890123, "MJD-OBS": 57828.26, **facts})
    primary = fits.PrimaryHDU(header=None if empty_primary else said)
    images = [
        fits.ImageHDU(
            np.zeros((4, 4), np.float32), fits.Header({"CCDNUM": ccdnum + k, **(said if empty_primary else {})})
        )
        for k in range(n_ccds)
    ]
    images[0].header["EXTNAME"] = detpos
    fits.HDUList([primary, *images]).writeto(path)
    return str(path)


def groups(folder, names=None):
    reader = open_fits(names or sorted(map(str, folder.rglob("*.fits*"))), camera="decam")
    return [(reader.source(k).path, [file.name for file in reader.files(k)]) for k in range(len(reader))]


@pytest.mark.parametrize(
    "names",
    [
        ("c4d_170316_062107_ooi_z_ls9.S4.fits", "c4d_170316_062107_ooi_z_ls9.N2.fits"),
        ("DECam_00890123_28.fits", "DECam_00890123_33.fits"),
        ("a.fits", "b.fits"),
        ("x_c28.fits.gz", "x_c33.fits.gz"),
    ],
)
@pytest.mark.parametrize("empty_primary", [False, True])
def test_one_file_a_ccd_in_any_naming_is_one_exposure(tmp_path, names, empty_primary):
    for name, (ccdnum, detpos) in zip(names, ((28, "S4"), (33, "N2")), strict=True):
        ccd_file(tmp_path / name, ccdnum, detpos, empty_primary=empty_primary)
    ((path, files),) = groups(tmp_path)
    assert files == sorted(names)
    start = os.path.commonprefix(names)  # noqa: RUF071 - of text
    assert path.startswith(f"{tmp_path}/{start}*")
    assert paths(open_inputs(tmp_path)) == [path]
    assert paths(open_inputs(f"{tmp_path}/")) == [path]


def test_files_of_other_exposures_are_kept_apart(tmp_path):
    ccd_file(tmp_path / "a.fits", 28, "S4")
    ccd_file(tmp_path / "b.fits", 33, "N2", EXPNUM=890124)
    ccd_file(tmp_path / "c.fits", 35, "N4", **{"MJD-OBS": 57829.0})
    ccd_file(tmp_path / "other" / "d.fits", 35, "N4")
    ccd_file(tmp_path / "e.fits", 1, "S29", n_ccds=3)
    assert [files for _, files in groups(tmp_path)] == [["a.fits"], ["b.fits"], ["c.fits"], ["e.fits"], ["d.fits"]]


def test_exposures_without_a_number_are_told_apart_by_their_time(tmp_path):
    for name, time in (("a", 57828.26), ("b", 57828.27)):
        for ccdnum, detpos in ((28, "S4"), (33, "N2")):
            ccd_file(tmp_path / f"{name}{ccdnum}.fits", ccdnum, detpos, **{"EXPNUM": 0, "MJD-OBS": time})
    assert [files for _, files in groups(tmp_path)] == [["a28.fits", "a33.fits"], ["b28.fits", "b33.fits"]]


def test_versions_of_an_exposure_are_sets_of_their_own(tmp_path):
    for version in ("v1", "v2"):
        for ccdnum, detpos in ((28, "S4"), (33, "N2")):
            ccd_file(tmp_path / f"e_{version}.{detpos}.fits", ccdnum, detpos)
    assert groups(tmp_path) == [
        (f"{tmp_path}/e_{version}.*.fits", [f"e_{version}.N2.fits", f"e_{version}.S4.fits"]) for version in ("v1", "v2")
    ]


def test_products_that_are_no_images_are_left_out_and_said(tmp_path, caplog):
    for kind in ("immasked", "bkg", "nullweight", "segmap", "nwgint", "red-fullcat", "piff"):
        ccd_file(tmp_path / f"D00890123_z_c28_r1p01_{kind}.fits", 28, "S4")
    ccd_file(tmp_path / "DECam_00890123_28_bkg.fits", 28, "S4")
    assert [files for _, files in groups(tmp_path)] == [["D00890123_z_c28_r1p01_immasked.fits"]]
    assert "left out 7 of 8 files: a mask, weight, background or catalogue by their names, such as " in caplog.text
    with pytest.raises(InputError, match=r"bkg.fits: expected FITS images of CCDs .*, got a mask, weight, background"):
        groups(tmp_path, [str(tmp_path / "DECam_00890123_28_bkg.fits")])


@pytest.mark.parametrize(
    ("product", "got"),
    [
        ("opi", "opi, resampled or stacked onto the sky, which shows no CCDs"),
        ("osi", "osi, resampled or stacked onto the sky, which shows no CCDs"),
        ("opd", "opd, resampled or stacked onto the sky, which shows no CCDs"),
        ("ood", "ood, a mask"),
        ("oow", "oow of the Community Pipeline"),
        ("fci", "fci of the Community Pipeline"),
    ],
)
def test_products_of_the_community_pipeline_are_named(tmp_path, caplog, product, got):
    files = [tmp_path / f"c4d_170316_062107_{kind}_z_v1.fits" for kind in (product, "ooi")]
    names = [ccd_file(file, 28, "S4") for file in files]
    with pytest.raises(InputError, match=f"_{product}_z_v1.fits: expected FITS images .*, got {got}"):
        groups(tmp_path, names[:1])
    groups(tmp_path, names)
    said = f"left out 1 of 2 files: {got} by their names, such as {names[0]}"
    assert (said in caplog.text) is (product != "ood")


def test_files_that_cannot_be_read_are_exposures_that_fail(tmp_path):
    (tmp_path / "a.fits").write_bytes(b"garbage")
    (tmp_path / "b.fits.gz").write_bytes(b"garbage")
    ccd_file(tmp_path / "c.fits", 28, "S4")
    os.mkfifo(tmp_path / "d.fits")
    assert [files for _, files in groups(tmp_path)] == [["a.fits"], ["b.fits.gz"], ["c.fits"], ["d.fits"]]
