import warnings
from pathlib import Path

import numpy as np
import pytest

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError
from cascade.optics.ghost_optics import GhostOptics
from cascade.sky.catalogue import BrightStars, unit_vectors
from cascade.sky.pointing import Pointing

STARS = BrightStars.load()
OPTICS = GhostOptics.load()
CAMERA = Camera.decam()
PIXEL_MM = 0.015
MJD_OF_2000 = 51544.5

# Headers of DECam Community Pipeline images, and what astropy's TPV makes of the first pixel of these cut-outs:
# detpos, band, tangent point, first pixel's CRPIX, its place on the sky (degrees).
CUTOUTS = [
    ("N2", "z", (187.3234793723, 25.47929312829), (-118.2001, 7292.67), (186.73380735280946, 25.4704886467042)),
    ("N10", "g", (244.9465892377, 12.31743481015), (-3338.6, 2250.667), (244.7777657152809, 12.073858182387255)),
    ("S9", "g", (110.8651436106, 23.73809083757), (2559.6, 6972.0), (110.30796841024937, 23.9235653848437)),
]
# batoid's plate scale is 0.4 % smaller than the sky's; 7 arcsec are 0.4 px of a preview.
TANGENT_TOLERANCE_ARCSEC = 8
POINTING_TOLERANCE_ARCSEC = 16  # the header's TELRA, TELDEC are off by up to 10


def focal_plane(pointing, ra, dec):
    """(x_mm, y_mm) where a place on the sky is imaged."""
    angle, azimuth = pointing.project(unit_vectors(np.atleast_1d(ra), np.atleast_1d(dec)))
    mix = OPTICS.bank.mix_of_band(pointing.band)
    radius = np.array([OPTICS.bank.star_radius_mm(a, mix) for a in angle])
    return radius * np.cos(np.deg2rad(azimuth)), radius * np.sin(np.deg2rad(azimuth))


def pixel_mm(ccd, crpix, pixel=1.0):
    """Focal-plane mm of a pixel of a cut-out: the tangent point of the whole CCD's WCS is the optical axis."""
    whole = np.array([1024, 2048]) - np.array([ccd.x_mm, ccd.y_mm]) / PIXEL_MM
    corner = whole - crpix
    assert corner == pytest.approx(np.rint(corner), abs=0.01)  # cut out at whole pixels, so the geometry is right
    return np.array([ccd.x_mm, ccd.y_mm]) + (np.rint(corner) + pixel - np.array([1024, 2048])) * PIXEL_MM


def miss_arcsec(got, expected):
    return np.hypot(*(np.ravel(got) - expected)) * 17.585


@pytest.mark.parametrize(("detpos", "band", "tangent", "crpix", "sky"), CUTOUTS)
def test_a_star_lands_on_the_pixel_that_the_headers_of_real_images_say(detpos, band, tangent, crpix, sky):
    ccd = next(ccd for ccd in CAMERA.ccds if ccd.detpos == detpos)
    got = focal_plane(Pointing(*tangent, band), *sky)
    assert miss_arcsec(got, pixel_mm(ccd, crpix)) < TANGENT_TOLERANCE_ARCSEC
    row, column = (int(place[0]) for place in CAMERA.to_pixel(*got))
    assert CAMERA.labels[row, column] == ccd.ccdnum


def test_stars_land_where_the_wcs_of_the_real_files_says(real_data):
    fits = pytest.importorskip("astropy.io.fits", reason="astropy, of the extra 'test', reads the real headers")
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS

    paths = sorted((real_data / "decam_fits").glob("*_ooi_*.fits"))
    if not paths:
        pytest.skip(f"the real DECam headers are absent: {real_data}/decam_fits holds no *_ooi_*.fits")
    for path in paths:
        with fits.open(path) as file:
            primary, header = file[0].header, file[1].header
        ccd = next(ccd for ccd in CAMERA.ccds if ccd.detpos == header["DETPOS"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers of the pipeline hold cards that astropy mends aloud
            wcs = WCS(header)
        pointed = SkyCoord(primary["TELRA"], primary["TELDEC"], unit=("hourangle", "deg"))
        size = np.array([header["NAXIS1"], header["NAXIS2"]])
        for pixel in (np.array([1, 1]), np.array([size[0], 1]), size):
            expected = pixel_mm(ccd, np.array([header["CRPIX1"], header["CRPIX2"]]), pixel)
            sky = wcs.pixel_to_world(*(pixel - 1))
            for axis, tolerance in (
                ((header["CRVAL1"], header["CRVAL2"]), TANGENT_TOLERANCE_ARCSEC),
                ((pointed.ra.deg, pointed.dec.deg), POINTING_TOLERANCE_ARCSEC),
            ):
                got = focal_plane(Pointing(*axis, primary["BAND"]), sky.ra.deg, sky.dec.deg)
                assert miss_arcsec(got, expected) < tolerance, f"{Path(path).name} {pixel}"


def test_previews_have_north_up_and_east_left():
    pointing = Pointing(30.0, -20.0, "g")
    north_row, _ = CAMERA.to_pixel(*focal_plane(pointing, 30.0, -19.5))
    _, east_column = CAMERA.to_pixel(*focal_plane(pointing, 30.5, -20.0))
    assert north_row[0] < 110
    assert east_column[0] < 110


def test_rotation_turns_north_towards_east():
    turned = Pointing(30.0, 0.0, "g", rotation_deg=90.0)
    _, azimuth = turned.project(unit_vectors(np.array([30.5]), np.array([0.0])))
    _, upright = Pointing(30.0, 0.0, "g").project(unit_vectors(np.array([30.0]), np.array([0.5])))
    assert azimuth[0] == pytest.approx(upright[0], abs=0.01)  # east is now where north was


@pytest.mark.parametrize(
    ("hip", "ra", "dec"),
    [(104214, 316.724748, 38.749417), (71683, 219.902066, -60.833975)],  # 61 Cyg A, alpha Cen A at J2000 (SIMBAD)
)
def test_proper_motion_brings_stars_to_the_date(hip, ra, dec):
    star = np.flatnonzero(STARS.hip == hip)
    moved, still = STARS.positions(star, MJD_OF_2000), STARS.positions(star, None)
    expected = unit_vectors(np.array([ra]), np.array([dec]))
    assert np.rad2deg(np.linalg.norm(moved - expected)) * 3600 < 1.0
    assert np.rad2deg(np.linalg.norm(still - expected)) * 3600 > 20


@pytest.mark.parametrize(
    ("hip", "magnitudes"),
    [
        (91262, {"g": -0.08, "r": 0.16, "i": 0.37, "z": 0.53}),  # Vega's AB magnitudes in SDSS filters
        (79672, {"g": 5.77, "r": 5.33, "i": 5.22, "z": 5.20}),  # 18 Sco, V 5.50 with the Sun's SDSS colours
    ],
)
def test_magnitudes_are_good_to_a_tenth(hip, magnitudes):
    star = np.flatnonzero(STARS.hip == hip)
    for band, expected in magnitudes.items():
        assert STARS.magnitudes(star, band)[0] == pytest.approx(expected, abs=0.15)


def test_the_catalogue_names_its_source():
    assert len(STARS) == 78352
    assert "van Leeuwen 2007" in STARS.description["source"]
    assert STARS.hp.max() <= 9.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Pointing(float("nan"), 0, "g"), ConfigError, "expected finite ra, dec"),
        (lambda: Pointing(0, -91, "g"), ConfigError, r"declination in \[-90, 90\] degrees, got -91"),
        (lambda: Pointing(400, 0, "g"), ConfigError, r"right ascension in \[-180, 360\] degrees, got 400"),
        (lambda: Pointing(0, 0, "g", 56000.0), ConfigError, "since DECam's first light, MJD 56182, got 56000"),
        (lambda: STARS.magnitudes(np.array([0]), "q"), ConfigError, "band: expected one of u, g, r"),
        (lambda: BrightStars.load(Path("none.npz")), InputError, "build one with python -m .*build_catalogue"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
