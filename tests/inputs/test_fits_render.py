"""Tests of pixels, binning and rendering: from CCDs to a preview."""

import numpy as np
import pytest
from astropy.io import fits
from fits_files import DECAM, change, night, preview_of, small_fits
from scipy import ndimage

from cascade.camera import Camera
from cascade.core.errors import InputError
from cascade.inputs.fits.binning import BLOCK_PX, blocks_of
from cascade.inputs.fits.pixels import CcdPixels, amplifier_gains
from cascade.inputs.fits.render import GAP_LEVEL, GREY_PER_SIGMA, SKY_LEVEL
from cascade.simulate import conditions
from cascade.simulate.conditions import Conditions
from cascade.simulate.full_resolution import FullExposure, write_exposure
from cascade.simulate.synthetic_exposure import Simulator

pytestmark = pytest.mark.slow

CORNERS = (28, 33, 1, 62)  # two on each side of the focal plane, S and N


def corner_marks():
    """A mark of its own in three corners of each CCD: bright, twice as long, faint; away from the edges."""
    light = np.zeros((400, 400), np.float32)
    for ccdnum in CORNERS:
        rows, columns = np.nonzero(DECAM.labels == ccdnum)
        top, bottom, left, right = rows.min() + 3, rows.max() - 5, columns.min() + 4, columns.max() - 6
        light[top : top + 3, left : left + 3] = 150
        light[top : top + 3, right - 3 : right + 3] = 100
        light[bottom : bottom + 3, left : left + 3] = 60
    return light


@pytest.fixture(scope="module")
def marked():
    return corner_marks()


def marks_seen(image):
    """Where a preview is brighter than sky and noise."""
    return image.astype(float) - SKY_LEVEL


@pytest.mark.parametrize("layout", ["instcal", "raw", "immasked"])
def test_every_corner_of_north_and_south_ccds_lands_the_right_way_up(tmp_path, marked, layout):
    files = night(tmp_path, ccdnums=CORNERS, layout=layout, light=marked)
    seen = marks_seen(preview_of(files).image)
    on_ccds = np.isin(DECAM.labels, CORNERS)
    np.testing.assert_allclose(seen[marked > 0], marked[marked > 0], atol=12)
    inner = ndimage.binary_erosion(on_ccds, np.ones((3, 3))) & ~ndimage.binary_dilation(marked > 0)
    assert np.abs(seen[inner]).max() < 12
    assert set(np.unique(np.where(DECAM.labels == 0, 0, DECAM.labels)[seen > 40])) == set(CORNERS)


def test_missing_ccds_are_dark_and_dead_ones_too(tmp_path):
    files = night(tmp_path, 300000, ccdnums=(2, 31, 28))
    image = preview_of(files).image
    assert set(np.unique(image[~np.isin(DECAM.labels, (31, 28)) & (DECAM.labels > 0)])) == {GAP_LEVEL}
    lit = image > (GAP_LEVEL + SKY_LEVEL) / 2
    rows = np.nonzero((DECAM.labels == 31).any(axis=1))[0]
    assert lit[DECAM.labels == 28].mean() > 0.9
    assert lit[rows[2] : rows[12], 10:18].all()  # the upper half of S7
    assert not lit[rows[18] : rows[-1]][:, 10:18].any()


def test_stretch_follows_the_noise_alone(tmp_path, marked):
    faint = night(tmp_path / "a", ccdnums=(28,), light=marked, sky=420, noise=20)
    deep = night(tmp_path / "b", ccdnums=(28,), light=marked, sky=42000, noise=400)
    a, b = (preview_of(files) for files in (faint, deep))
    assert (a.noise, b.noise) == (pytest.approx(20, rel=0.02), pytest.approx(400, rel=0.02))
    np.testing.assert_allclose(a.image.astype(int), b.image.astype(int), atol=2)


def test_raw_and_calibrated_exposures_give_the_same_preview(tmp_path, marked):
    instcal = night(tmp_path, ccdnums=(28, 33), light=marked)
    raw = night(tmp_path, ccdnums=(28, 33), light=marked, layout="raw")
    difference = preview_of(instcal).image.astype(float) - preview_of(raw).image
    assert np.abs(difference).mean() < 1
    assert np.percentile(np.abs(difference), 99.9) <= 12  # the pixel of trimming at the edges


def test_compression_changes_next_to_nothing(tmp_path, marked):
    plain = night(tmp_path, ccdnums=(28,), light=marked)
    packed = night(tmp_path, ccdnums=(28,), light=marked, compress=True)
    np.testing.assert_allclose(preview_of(plain).image.astype(int), preview_of(packed).image.astype(int), atol=1)


def test_ccd_without_any_pixel_is_left_dark_and_remarked(tmp_path):
    (file,) = night(tmp_path)
    with fits.open(file, mode="update") as opened:
        opened[2].data[:] = np.nan
        opened[2].add_checksum()
    preview = preview_of(file)
    assert preview.n_ccds == 1
    assert preview.remarks == ("N2: no pixels of sky, left dark",)
    assert set(np.unique(preview.image[DECAM.labels == 33])) == {GAP_LEVEL}


def test_exposure_of_dead_ccds_alone_is_refused(tmp_path):
    (file,) = night(tmp_path, ccdnums=(28,))
    with fits.open(file, mode="update") as opened:
        opened[1].data[:] = 7
        opened[1].add_checksum()
    with pytest.raises(InputError, match="expected CCDs with light, got none"):
        preview_of(file)


def test_ccd_with_noise_of_the_readout_alone_is_dead(tmp_path):
    (file,) = night(tmp_path, ccdnums=(28, 33, 35))
    with fits.open(file, mode="update") as opened:
        opened[3].data[:] = np.random.default_rng(0).normal(0, 2, opened[3].data.shape)
        opened[3].add_checksum()
    preview = preview_of(file)
    assert (preview.n_ccds, len(preview.remarks)) == (2, 1)
    assert preview.remarks[0].startswith("N4: noise 2 against 19.9 of all CCDs")


def test_pixels_that_the_mask_calls_bad_are_ignored(tmp_path):
    (file,) = night(tmp_path, ccdnums=(28,))
    clean = preview_of(file).image
    spot = np.s_[1000:1300, 500:900]
    codes = np.zeros((4094, 2046), np.int32)
    with fits.open(file, mode="update") as opened:
        opened[1].data[spot][::2] = 5000.0  # every other row
        opened[1].add_checksum()
    codes[spot][::2] = 5
    assert np.abs(preview_of(file).image.astype(int) - clean).max() > 100
    mask = fits.ImageHDU(codes, fits.Header({"CCDNUM": 28, "EXTNAME": "S4"}))
    primary = fits.PrimaryHDU(header=fits.Header({"PLVER": "V4.8.2"}))
    fits.HDUList([primary, mask]).writeto(file.with_name(file.name.replace("_ooi_", "_ood_")))
    np.testing.assert_allclose(preview_of(file).image.astype(int), clean, atol=2)


def test_mask_that_holds_no_whole_numbers_is_refused(tmp_path):
    (file,) = night(tmp_path, ccdnums=(28,))
    small_fits(file.with_name(file.name.replace("_ooi_", "_ood_")), np.zeros((4094, 2046), np.float32), CCDNUM=28)
    with pytest.raises(InputError, match="expected a mask of integers, got float32"):
        preview_of(file)


def test_damaged_ccd_is_refused(tmp_path):
    (file,) = night(tmp_path, ccdnums=(28,))
    content = bytearray(file.read_bytes())
    content[60000] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"HDU 1 \(S4\): expected DATASUM \d+, got \d+: its data are damaged"):
        preview_of(file)


def test_corrected_image_with_its_old_checksum_is_read_and_said(tmp_path, caplog):
    (file,) = night(tmp_path)
    before = preview_of(file).image
    with fits.open(file) as opened:
        header, data = opened[1].header.copy(), opened[1].data - 3
        header["HISTORY"] = "pupil ghost subtracted"
        corrected = fits.HDUList([opened[0].copy(), fits.ImageHDU(data, header), opened[2].copy()])
        corrected.writeto(tmp_path / "corrected.fits")
    with (tmp_path / "corrected.fits").open("ab") as padded:
        padded.write(bytes(2880))
    made = preview_of(tmp_path / "corrected.fits")
    np.testing.assert_allclose(made.image.astype(int), before, atol=1)
    assert made.remarks == (
        "2880 zeros after HDU 2: taken for padding",
        "CHECKSUM of 1 of 2 CCDs, such as S4: it is of an earlier header, so the data cannot be checked",
    )
    assert "corrected.fits: CHECKSUM of 1 of 2 CCDs" in caplog.text


def test_damaged_tiles_are_refused(tmp_path):
    (file,) = night(tmp_path, ccdnums=(28,), compress=True)
    change(file, 1, DATASUM=None, CHECKSUM=None)
    content = bytearray(file.read_bytes())
    content[60000:62000] = bytes(2000)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"HDU 1 \(S4\): cannot read it"):
        preview_of(file)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"BIASSECB": None}, "expected DATASECB and BIASSECB in a raw image"),
        ({"DATASECA": "[1081:2104,51:9000]"}, "expected sections within the image and TRIMSEC"),
    ],
)
def test_raw_image_without_its_sections_is_refused(tmp_path, cards, message):
    (file,) = night(tmp_path, ccdnums=(28,), layout="raw")
    change(file, 1, **cards, DATASUM=None, CHECKSUM=None)
    with pytest.raises(InputError, match=message):
        preview_of(file)


def test_blocks_are_means_and_bad_pixels_do_not_count():
    rng = np.random.default_rng(0)
    values = rng.normal(100, 1, (400, 320)).astype(np.float32)
    bad = np.zeros(values.shape, bool)
    bad[40:80, 40:80] = True
    values[bad] = np.nan
    values[200:208, 100:104] = 1e6  # counts at most thirty standard deviations
    blocks = blocks_of(CcdPixels(values, bad))
    assert blocks is not None
    assert blocks.margin == (16, 16)
    assert blocks.excess.shape == (46, 36)
    assert blocks.noise == pytest.approx(1, rel=0.05)
    assert not blocks.good[3:8, 3:8].any()
    assert blocks.good.sum() == blocks.good.size - 25
    assert blocks.excess.std() < 1.2
    assert blocks.excess.max() < 30
    assert BLOCK_PX == 8


def test_values_without_noise_are_no_ccd():
    assert blocks_of(CcdPixels(np.full((400, 320), 7, np.float32), None)) is None
    assert blocks_of(CcdPixels(np.full((400, 320), np.nan, np.float32), None)) is None
    noise = np.random.default_rng(0).normal(0, 1, (20, 20)).astype(np.float32)
    assert blocks_of(CcdPixels(noise, None)) is None  # nothing is left within the edges


def test_levels_are_those_of_the_simulator():
    assert GAP_LEVEL == conditions.GAP_LEVEL
    assert 36 < SKY_LEVEL < 64
    assert pytest.approx(10.7, abs=0.1) == GREY_PER_SIGMA / 6.65


def test_preview_of_a_full_resolution_exposure_is_that_of_the_simulator(tmp_path, monkeypatch):
    """The same light through both: without JPEG, which spoils noise, they agree to a few grey levels."""
    simulator = Simulator()
    told = {}
    draw = simulator.mosaic.preview

    def listen(extended, sharp, _conditions, rng, _blanks=()):
        told["light"] = extended + sharp
        told["extended"] = extended
        plain = Conditions(
            band="g", sky_level=SKY_LEVEL, noise=6.65, noise_share=0.0042, star_density=1.0, ccd_scatter=0.0,
            shift_px=(0.0, 0.0), rotation=0.0, height_px=0.0, ccd_2_dead=False, meshes=(5, 10), mesh_bias=0.35,
            jpeg_quality=100,
        )  # fmt: skip
        return draw(extended, sharp, plain, rng, ())

    monkeypatch.setattr(type(simulator.mosaic), "preview", lambda _self, *args: listen(*args))
    ccdnums = (27, 28, 29, 34, 35, 36)
    drawn = simulator.draw("ghosts", np.random.default_rng(5))
    exposure = FullExposure(900001, light=told["light"], sky=420, noise=20)
    made = preview_of(write_exposure(exposure, tmp_path, DECAM, ccdnums=ccdnums, compress=False)).image
    inner = np.zeros((400, 400), bool)
    for ccdnum in ccdnums:
        rows, columns = np.nonzero(DECAM.labels == ccdnum)
        inner[rows.min() + 2 : rows.max() - 1, columns.min() + 2 : columns.max() - 1] = True
    difference = made.astype(float)[inner] - drawn.image[inner]
    assert abs(np.median(difference)) < 3  # meshes of the two are clipped in their own ways
    assert 1.4826 * np.median(np.abs(difference - np.median(difference))) < 4
    assert np.corrcoef(made[inner], drawn.image[inner])[0, 1] > 0.98


def test_lsstcam_gives_previews_too(tmp_path):
    camera = Camera.load("lsstcam")
    light = np.zeros((400, 400), np.float32)
    light[195:199, 203:206] = 100  # in the upper right of the middle CCD
    files = write_exposure(FullExposure(5, light=light), tmp_path, camera, ccdnums=(95, 1), compress=False)
    preview = preview_of(files, camera)
    assert preview.n_ccds == 2
    seen = marks_seen(preview.image)
    assert seen[195:199, 203:206].mean() == pytest.approx(100, abs=15)
    assert abs(seen[camera.labels == 1].mean()) < 3


def test_values_of_the_header_that_cannot_be_used_are_remarked(tmp_path):
    (file,) = night(tmp_path)
    change(file, 0, **{"EXPNUM": 0, "MJD-OBS": 0.0})
    assert preview_of(file).remarks == (
        "EXPNUM: expected a positive whole number, got '0': taken for unknown",
        "MJD-OBS: expected an MJD from 50000 to 80000, got '0.0': taken for unknown",
    )


@pytest.mark.parametrize(
    ("header", "gains", "remarks"),
    [
        ({"GAINA": "4.3", "GAINB": 4}, {"A": 4.3, "B": 4.0}, ()),
        ({"GAINA": 4.5}, {"A": 4.5, "B": 4.5}, ("expected GAINB in a raw image, got none; taken for 4.5",)),
        (
            {"GAINA": 0, "GAINB": 4.5},
            {"A": 4.5, "B": 4.5},
            ("GAINA: expected a positive number, got '0'; taken for 4.5",),
        ),
        (
            {"GAINB": "?"},
            {"A": 1.0, "B": 1.0},
            (
                "expected GAINA in a raw image, got none; taken for 1",
                "GAINB: expected a number, got '?'; taken for 1",
            ),
        ),
    ],
)
def test_gains_may_be_text_and_are_never_guessed_in_silence(header, gains, remarks):
    assert amplifier_gains(header) == (gains, remarks)
