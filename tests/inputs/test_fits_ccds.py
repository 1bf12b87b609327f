"""Tests of cascade.inputs.fits.ccds: which HDU holds which CCD, and what headers say."""

import numpy as np
import pytest
from astropy.io import fits
from fits_files import DECAM, change, night, preview_of, small_fits

from cascade.camera import Camera
from cascade.core.errors import InputError
from cascade.core.exposure import HeaderFields
from cascade.inputs.fields import header_facts
from cascade.inputs.fits.ccds import has_codes, mask_beside, open_exposure, peek, section


def opened(files, camera=DECAM, **options):
    with open_exposure(files, "x", camera, **options) as exposure:
        return exposure


@pytest.fixture(scope="module")
def exposure_files(tmp_path_factory):
    """Three CCDs of one exposure, in no order."""
    return night(tmp_path_factory.mktemp("night"), 158776, ccdnums=(62, 1, 33), ra=33.25, dec=-7.0858, band="z")


def test_ccds_are_placed_by_number_whatever_their_order(exposure_files):
    exposure = opened(exposure_files)
    assert [(image.ccd.ccdnum, image.ccd.detpos, image.hdu.index) for image in exposure.ccds] == [
        (1, "S29", 2), (33, "N2", 3), (62, "N31", 1),
    ]  # fmt: skip
    assert exposure.expnum == 158776
    assert exposure.header.band == "z"
    assert (exposure.header.ra, exposure.header.dec) == pytest.approx((33.25, -7.0858), abs=1e-4)
    assert exposure.header.exptime == 90.0
    assert all(image.origin == (1, 1) and not image.raw for image in exposure.ccds)
    assert peek(exposure_files[0], "x") == (158776, exposure.header)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({}, HeaderFields()),
        (
            {"FILTER": "Y DECam c0005 10095.0 1130.0", "TELRA": "12:29:17.948", "TELDEC": "-00:28:40.296"},
            HeaderFields("Y", None, 187.32478333, -0.47786),
        ),
        (
            {"FILTER": "r_57", "RA": 10.5, "DEC": -88.0, "MJD-OBS": 60000.5, "EXPTIME": 30},
            HeaderFields("r", 60000.5, 10.5, -88.0, 30.0),
        ),
        ({"RA": "NaN", "DEC": 120.0, "EXPTIME": "long", "MJD-OBS": float("inf")}, HeaderFields()),
        ({"TELRA": "25:00:00", "TELDEC": "1:2"}, HeaderFields()),
        ({"TELRA": "", "RA": 0.0, "TELDEC": None, "DEC": 0, "BAND": "", "FILTER": "g"}, HeaderFields("g", None, 0, 0)),
        ({"TELRA": 1.5, "RA": 2.5, "EXPTIME": 0, "MJD-OBS": 0.0}, HeaderFields(None, None, 1.5, None, 0)),
        ({"MJD_OBS": "57828.26", "EXP_TIME": "30."}, HeaderFields(None, 57828.26, None, None, 30.0)),
    ],
)  # fmt: skip
def test_fields_come_from_the_header_or_are_unknown(header, expected):
    got = header_facts(header).header
    assert (got.band, got.mjd_obs, got.exptime) == (expected.band, expected.mjd_obs, expected.exptime)
    assert (got.ra, got.dec) == (pytest.approx(expected.ra), pytest.approx(expected.dec))


@pytest.mark.parametrize(
    ("plver", "codes"),
    [("V4.8.2a", True), ("V3.5.0", True), ("DES V3.9+1", True), ("V3.4.9", False), ("V2.0", False), ("", False)],
)
def test_masks_hold_codes_from_version_3_5_on(plver, codes):
    assert has_codes(plver) is codes


def test_section_counts_from_one_and_includes_its_end():
    assert section({"TRIMSEC": "[57:2104,51:4146]"}, "TRIMSEC") == (50, 4146, 56, 2104)
    assert section({"TRIMSEC": "[2104:57, 4146:51]"}, "TRIMSEC") == (50, 4146, 56, 2104)
    assert section({"TRIMSEC": "nonsense"}, "TRIMSEC") is None


def test_cutouts_of_real_exposures_are_recognised_but_refused(real_data):
    path = real_data / "decam_fits" / "c4d_170316_062107_ooi_z_ls9.N2.fits"
    with pytest.raises(InputError, match=r"x: HDU 1 \(N2\): expected a whole CCD of 2048x4096 pixels, got a cut-out"):
        opened([path])


@pytest.mark.parametrize(
    ("name", "expnum", "ccdnum", "band", "ra", "dec"),
    [
        ("c4d_170316_062107_ooi_z_ls9.N2.fits", 630780, 33, "z", 187.324783, 25.47786),
        ("c4d_180908_000426_ooi_g_ls9.N10.fits", 770496, 41, "g", 244.946533, 12.314833),
        ("c4d_181214_050844_ooi_g_ls9.S9.fits", 802955, 20, "g", 110.865283, 23.739027),
    ],
)
def test_cutouts_of_real_exposures_are_placed_when_asked_for(real_data, name, expnum, ccdnum, band, ra, dec):
    exposure = opened([real_data / "decam_fits" / name], cutouts=True)
    (image,) = exposure.ccds
    assert (exposure.expnum, image.ccd.ccdnum, exposure.header.band) == (expnum, ccdnum, band)
    assert (exposure.header.ra, exposure.header.dec) == pytest.approx((ra, dec), abs=1e-5)
    height, width = image.hdu.shape
    assert 0 <= image.origin[0] <= 4096 - height
    assert 0 <= image.origin[1] <= 2048 - width


def test_mask_of_a_real_cutout_is_found_beside_it(real_data):
    folder = real_data / "decam_fits"
    path = folder / "c4d_170316_062107_ooi_z_ls9.N2.fits"
    assert mask_beside(path) == folder / "c4d_170316_062107_ood_z_ls9.N2.fits"
    (image,) = opened([path], cutouts=True).ccds
    assert image.mask is not None
    assert image.mask.codes
    assert mask_beside(folder / "c4d_180908_000426_ooi_g_ls9.N10.fits") is None


def test_planes_beside_the_image_and_guide_ccds_are_no_ccds(tmp_path):
    (file,) = night(tmp_path, ccdnums=(28,), layout="immasked")
    exposure = opened([file])
    assert [image.hdu.header["EXTNAME"] for image in exposure.ccds] == ["SCI"]
    assert exposure.ccds[0].mask is not None
    assert not exposure.ccds[0].mask.codes
    change(file, 2, CCDNUM="S4")  # then the name of the file says which CCD its mask is of
    assert opened([file]).ccds[0].mask is not None
    change(file, 1, CCDNUM=63, DETPOS="FS1")
    with pytest.raises(InputError, match="x: expected images of CCDs of DECam, got none"):
        opened([file])


@pytest.mark.parametrize(
    ("hdu", "cards", "message"),
    [
        (0, {"OBSTYPE": "zero"}, "expected an exposure of the sky, OBSTYPE 'object', got 'zero'"),
        (0, {"OBSTYPE": "dome flat"}, "got 'dome flat'"),
        (0, {"PRODTYPE": "dqmask"}, "expected an image, got PRODTYPE 'dqmask'"),
        (0, {"PROCTYPE": "Stacked"}, "expected a raw or calibrated image of CCDs, got PROCTYPE 'Stacked'"),
        (0, {"INSTRUME": "LSSTCam"}, "expected an exposure of DECam, got one of LSSTCam"),
        (2, {"CCDNUM": 28, "DETPOS": "S4"}, r"two images of CCD 28 \(S4\): HDU 1 \(S4\) and HDU 2"),
        (2, {"CCDNUM": None, "DETPOS": None, "EXTNAME": "image"}, r"HDU 2 \(image\): expected CCDNUM or DETPOS"),
        (2, {"DETPOS": "N3"}, "HDU 2 .*: CCDNUM 33 and DETPOS 'N3' are two CCDs"),
        (2, {"CCDNUM": "S33"}, "HDU 2 .*: expected CCDNUM to be a number, got 'S33'"),
    ],
)
def test_exposure_that_cannot_be_used_is_refused_with_a_reason(tmp_path, hdu, cards, message):
    (file,) = night(tmp_path)
    change(file, hdu, **cards)
    with pytest.raises(InputError, match=f"x: .*{message}"):
        opened([file])


@pytest.mark.parametrize("text", ["700001", "00700001", 700001.0])
def test_numbers_may_be_text(tmp_path, text):
    (file,) = night(tmp_path)
    change(file, 0, EXPNUM=text)
    change(file, 2, CCDNUM="33")
    exposure = opened([file])
    assert (exposure.expnum, [image.ccd.ccdnum for image in exposure.ccds]) == (700001, [28, 33])
    assert exposure.remarks == ()


def test_image_with_a_third_axis_of_length_one_is_read(tmp_path):
    (file,) = night(tmp_path)
    with fits.open(file) as old:
        for hdu in old[1:]:
            for key in ("CHECKSUM", "DATASUM"):
                hdu.header.remove(key, ignore_missing=True)
        thick = [fits.ImageHDU(hdu.data[None], hdu.header) for hdu in old[1:]]
        fits.HDUList([fits.PrimaryHDU(header=old[0].header), *thick]).writeto(tmp_path / "thick.fits")
    np.testing.assert_array_equal(preview_of(tmp_path / "thick.fits").image, preview_of(file).image)


def test_cube_is_no_ccd(tmp_path):
    path = small_fits(tmp_path / "a.fits", np.zeros((2, 10, 12), np.float32), CCDNUM=28)
    with pytest.raises(InputError, match=r"HDU 1: expected an image of two axes, got \(2, 10, 12\)"):
        opened([path])


def test_ccd_without_a_number_is_placed_by_its_name(tmp_path):
    (file,) = night(tmp_path)
    change(file, 2, CCDNUM=None)
    assert [image.ccd.ccdnum for image in opened([file]).ccds] == [28, 33]


def test_files_of_two_exposures_are_no_exposure(tmp_path):
    files = night(tmp_path, 700001, ccdnums=(28,)) + night(tmp_path, 700002, ccdnums=(33,))
    with pytest.raises(InputError, match=r"expected files of one exposure, got \[700001, 700002\]"):
        opened(files)


def test_cutout_without_a_wcs_cannot_be_placed(tmp_path):
    path = small_fits(tmp_path / "a.fits", CCDNUM=28)
    with pytest.raises(InputError, match="expected CRPIX1 and CRPIX2 to place a cut-out"):
        opened([path], cutouts=True)


def test_mask_of_another_size_is_refused(tmp_path):
    (file,) = night(tmp_path, ccdnums=(28,))
    small_fits(file.with_name(file.name.replace("_ooi_", "_ood_")), np.zeros((3, 3), np.int32), CCDNUM=28)
    with pytest.raises(InputError, match=r"expected a mask of \(4094, 2046\) for CCD 28, got \(3, 3\)"):
        opened([file])


def test_image_without_light_inside_its_trim_section_is_refused(tmp_path):
    path = small_fits(tmp_path / "a.fits", CCDNUM=28, BIASSECA="[1:2,1:9]", TRIMSEC="[1:40,1:9]")
    with pytest.raises(InputError, match="expected TRIMSEC within the image"):
        opened([path])


def test_lsstcam_is_placed_by_raft_and_slot(tmp_path):
    path = small_fits(tmp_path / "a.fits", np.zeros((4004, 4096), np.float32), EXTNAME="R22_S11")
    (image,) = opened([path], Camera.load("lsstcam")).ccds
    assert (image.ccd.ccdnum, image.origin) == (95, (-2, -12))
