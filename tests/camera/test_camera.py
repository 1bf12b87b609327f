from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from cascade.camera import PAPER_CCD_AREA_PX, Camera, DeadArea, paper_boxes
from cascade.camera.build_lsstcam import layout
from cascade.core.errors import ConfigError

GAP_LEVEL = 38  # grey level half-way between the gaps (~24) and the sky (~53)


@pytest.fixture
def decam() -> Camera:
    return Camera.decam()


def test_decam_has_62_ccds_in_the_known_places(decam):
    assert [ccd.ccdnum for ccd in decam.ccds] == list(range(1, 63))
    assert decam.detpos(1) == "S29"
    assert decam.detpos(31) == "S7"
    assert decam.detpos(62) == "N31"
    # ccdnum falls from left to right, and the rows run from 1-3 at the top to 60-62 at the bottom.
    assert [decam.labels[24, x] for x in (140, 200, 260)] == [3, 2, 1]
    assert [decam.labels[376, x] for x in (140, 200, 260)] == [62, 61, 60]
    assert [decam.labels[184, x] for x in (20, 200, 380)] == [31, 28, 25]


def test_every_ccd_has_about_the_same_area_but_those_at_the_border(decam):
    areas = decam.areas()[1:]
    whole = np.delete(areas, np.array([25, 31, 32, 38]) - 1)
    assert np.all(np.abs(whole / np.median(whole) - 1) < 0.03)
    assert np.all(areas[np.array([25, 31, 32, 38]) - 1] < 0.9 * np.median(whole))


def test_unknown_ccd_is_an_error(decam):
    with pytest.raises(ConfigError, match="decam has no CCD 63"):
        decam.detpos(63)


def test_empty_shape_is_an_error():
    with pytest.raises(ConfigError, match=r"expected a positive height and width, got \(0, 400\)"):
        Camera.decam((0, 400))


def test_pixel_to_mm_and_back_is_identity(decam):
    rng = np.random.default_rng(0)
    rows, columns = rng.uniform(0, 400, (2, 50))
    back = decam.to_pixel(*decam.to_mm(rows, columns))
    np.testing.assert_allclose(back, (rows, columns))


def test_centre_of_every_ccd_lies_on_it(decam):
    for ccd in decam.ccds:
        row, column = decam.to_pixel(ccd.x_mm, ccd.y_mm)
        assert decam.labels[int(row), int(np.clip(column, 0, 399))] == ccd.ccdnum


def test_lattice_scales_with_the_preview():
    small, large = Camera.decam(), Camera.decam((800, 800))
    np.testing.assert_allclose(large.areas()[1:], 4 * small.areas()[1:], rtol=0.05)
    assert large.labels[48, 280] == 3
    assert large.shape == (800, 800)


def test_dead_ccds_depend_on_the_exposure(decam):
    assert decam.dead_ccdnums(None) == {61}
    assert decam.dead_ccdnums(100_000) == {61}
    assert decam.dead_ccdnums(300_000) == {2, 61}
    assert decam.dead_ccdnums(700_000) == {61}


@pytest.mark.parametrize(
    ("first", "last", "covered"),
    [
        (100, 200, {100, 101, 199, 200}),
        (100, None, {100, 101, 199, 200, 201}),
        (None, 200, {0, 99, 100, 101, 199, 200}),
        (100, 100, {100}),
        (0, 0, {0}),
        (None, None, {0, 99, 100, 101, 199, 200, 201, None}),
    ],
)
def test_both_ends_of_a_dead_time_belong_to_it(first, last, covered):
    area = DeadArea(2, None, first, last)
    assert {expnum for expnum in (None, 0, 99, 100, 101, 199, 200, 201) if area.covers(expnum)} == covered


def test_ccd_2_is_dead_from_the_first_exposure_to_the_last_that_showed_it(decam):
    expnums = (259350, 259351, 582392, 582393)
    assert [2 in decam.dead_ccdnums(expnum) for expnum in expnums] == [False, True, True, False]
    assert [decam.dark_pixels(expnum)[decam.labels == 2].all() for expnum in expnums] == [False, True, True, False]


def test_lower_half_of_ccd_31_is_always_dark(decam):
    dark = decam.dark_pixels(None)
    rows = np.flatnonzero(((decam.labels == 31) & dark).any(axis=1))
    lit = np.flatnonzero(((decam.labels == 31) & ~dark).any(axis=1))
    assert rows.min() > lit.max()
    assert np.all(dark[decam.labels == 61])


def test_gaps_of_the_real_images_fall_on_the_gaps_of_the_labels(decam, real_data):
    files = sorted((real_data / "des_common_core" / "images").glob("*.jpg"))
    median = np.median([np.asarray(Image.open(file).convert("L")) for file in files], axis=0)
    dark = decam.dark_pixels(None)
    for ccd in decam.ccds:
        expected = (decam.labels == ccd.ccdnum) & ~dark
        if not expected.any() or ccd.ccdnum == 2:  # CCD 61 is dead, CCD 2 in about half of the exposures
            continue
        cell = ndimage.find_objects(expected.astype(int))[0]
        around = tuple(slice(max(s.start - 4, 0), s.stop + 4) for s in cell)
        # The median along the other axis, so that no star decides where an edge lies.
        for axis, sides in enumerate(cell):
            across = (around[0], cell[1]) if axis == 0 else (cell[0], around[1])
            lit = np.flatnonzero(np.median(median[across], axis=1 - axis) > GAP_LEVEL) + around[axis].start
            inside = lit[(lit >= sides.start - 1) & (lit <= sides.stop)]  # the neighbour's edge is 2 px or more away
            assert abs(inside[0] - sides.start) <= 1, ccd
            assert abs(inside[-1] + 1 - sides.stop) <= 1, ccd
            assert len(inside) == inside[-1] - inside[0] + 1, ccd


def test_real_gaps_are_dark_where_the_labels_say_so(decam, real_data):
    files = sorted((real_data / "des_common_core" / "images").glob("*.jpg"))
    median = np.median([np.asarray(Image.open(file).convert("L")) for file in files], axis=0)
    lit_labels = (decam.labels > 0) & ~decam.dark_pixels(None)
    within_1_px = np.ones((3, 3), bool)
    assert not np.any((median > GAP_LEVEL) & ~ndimage.binary_dilation(lit_labels, within_1_px))


def test_paper_boxes_follow_the_paper(decam):
    boxes = paper_boxes(decam)
    assert boxes.shape == (62, 4)
    # CCD 2 is the middle one of the top row: x from int(172.57) to int(227.43), stretched about 200 by 9.625 %.
    assert boxes[1].tolist() == [8, 169, 41, 230]
    # Seven CCDs need 421 px, so the outermost are cut at the border.
    assert boxes[30].tolist() == [168, 0, 201, 49]
    assert boxes[24, 3] == 400
    heights, widths = (boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert set(heights) == {33}
    assert abs(np.median(widths) * 33 / PAPER_CCD_AREA_PX - 1) < 0.06


def test_paper_boxes_name_the_same_ccds_as_the_labels(decam):
    for ccd, (y0, x0, y1, x1) in zip(decam.ccds, paper_boxes(decam), strict=True):
        inside = decam.labels[y0:y1, x0:x1]
        assert np.bincount(inside[inside > 0]).argmax() == ccd.ccdnum


def test_fits_x_runs_down_the_preview_and_fits_y_to_the_left(decam):
    ccd = decam.ccd(33)
    row, column = decam.ccd_pixel_to_preview(ccd, 2048, 1024)
    assert (row, column) == decam.to_pixel(ccd.x_mm, ccd.y_mm)
    assert decam.ccd_pixel_to_preview(ccd, 2048, 1124)[0] > row
    assert decam.ccd_pixel_to_preview(ccd, 2148, 1024)[1] < column


def test_preview_to_ccd_pixel_and_back_is_identity(decam):
    y, x = np.random.default_rng(0).uniform(-500, 5000, (2, 20))
    back = decam.preview_to_ccd_pixel(decam.ccd(5), *decam.ccd_pixel_to_preview(decam.ccd(5), y, x))
    np.testing.assert_allclose(back, (y, x), atol=1e-6)


def test_lsstcam_is_21_rafts_of_9_ccds_on_one_lattice():
    camera = Camera.load("lsstcam")
    assert len(camera.ccds) == 189
    assert camera.instrument == "LSSTCam"
    # Detector numbers of the observatory, plus one: R01_S00 is 0, R22_S11 the middle one, R43_S22 the last.
    places = {ccd.detpos: (ccd.ccdnum, ccd.x_mm, ccd.y_mm) for ccd in camera.ccds}
    assert places["R01_S00"] == (1, -169.25, -296.25)
    assert places["R22_S11"] == (95, 0.0, 0.0)
    assert places["R43_S22"] == (189, 169.25, 296.25)
    assert places["R20_S01"] == (74, -254.0, -42.25)
    areas = camera.areas()[1:]
    assert areas.min() > 0.9 * areas.max()
    assert camera.labels[0, 0] == 0
    assert camera.labels[200, 200] == 95


def test_layout_in_the_documentation_is_one(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "cameras.md").read_text(encoding="utf-8")
    (tmp_path / "mycam.toml").write_text(text.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    camera = Camera.load(str(tmp_path / "mycam.toml"))
    assert (camera.instrument, [ccd.detpos for ccd in camera.ccds]) == ("MyCam", ["A1", "A2"])
    assert (camera.labels[105, 200], camera.labels[295, 200], camera.labels[200, 200]) == (1, 2, 0)
    assert camera.dark_pixels(150).sum() * 4 == pytest.approx((camera.labels > 0).sum(), rel=0.01)


def test_lsstcam_file_is_what_its_script_writes():
    shipped = Path(__file__).parents[2] / "cascade" / "camera" / "lsstcam.toml"
    assert shipped.read_text() == layout()


def test_camera_arrives_in_another_process_as_it_was():
    for name in ("decam", "lsstcam"):
        camera = Camera.load(name)
        assert pickle.loads(pickle.dumps(camera)) is camera


def test_camera_of_the_users_own_is_read_from_its_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(layout().replace('"LSSTCam"', '"MineCam"'))
    camera = Camera.load(str(path))
    assert camera.instrument == "MineCam"
    np.testing.assert_array_equal(camera.labels, Camera.load("lsstcam").labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name =", "expected TOML: "),
        ('instrument = "X"', "key ccds: missing; expected a list"),
        (
            "ccds = []\n" + layout().replace("ccds =", "[x]\ny ="),
            "key x: unknown; expected one of instrument, ccds, ",
        ),
        (layout().replace("[2, ", "[1, "), r"key ccds: expected CCDs numbered once each, got \[1, 1, 3, "),
        (layout().replace("[189, ", "[300, "), r"key ccds\[188\]\[0\]: expected an integer in \[1, 255\], got 300"),
        (
            layout().replace(", -169.25, ", ", nan, ", 1),
            r"key ccds\[0\]\[2\]: expected a number in \[-1000000.0, 1000000.0\], got nan",
        ),
        (
            layout().replace("pixel_mm = 0.01", "pixel_mm = 0"),
            r"key ccd.pixel_mm: expected a number in \[1e-06, 1000000.0\], got 0",
        ),
        (
            layout().replace("shape = [400,", "shape = [0,"),
            r"key preview.shape\[0\]: expected an integer in \[1, 1000000\], got 0",
        ),
        (
            layout() + '[[dead]]\nccdnum = 1\nhalf = "left"',
            r"key dead\[0\].half: expected one of upper, lower, got 'left'",
        ),
    ],
)
def test_layout_that_makes_no_sense_is_refused(tmp_path, text, message):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Camera.load(str(tmp_path / "mine.toml"))


def test_layout_that_is_too_large_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_text("#" * 2**20 + "\n")
    with pytest.raises(ConfigError, match="at most 1048576 bytes, got 1048577"):
        Camera.load(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("name", ["hsc", "nowhere.toml"])
def test_unknown_camera_is_refused(name):
    with pytest.raises(ConfigError, match="expected one of decam, lsstcam, or a layout file"):
        Camera.load(name)
