"""Tests of the exports that people look at, and of sky maps."""

import json

import healsparse
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from export_runs import DECAM, box_of, corner_marks, run_of
from fits_files import night
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from regions import Regions
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.core.errors import InputError, StoreError
from cascade.core.exposure import HeaderFields, Instances, Source
from cascade.core.outlines import outlines
from cascade.core.via import read_via, region_instances
from cascade.export import export_run
from cascade.export.ghosted import SkyHeaders
from cascade.export.healsparse_maps import exposure_pixels, write_maps
from cascade.inputs.preview_night import preview_night
from cascade.simulate.full_resolution import FullExposure, write_exposure
from cascade.storage import open_storage


@pytest.fixture(scope="module")
def fits_exposure(tmp_path_factory):
    """An exposure in FITS with two CCDs beside each other."""
    (file,) = night(tmp_path_factory.mktemp("night"), 700001, ccdnums=(28, 35))
    return file


@pytest.fixture(scope="module")
def sky_run(tmp_path_factory, fits_exposure):
    """A ghosted exposure, a clean one of the same field, and one that nobody knows the WCS of."""
    header = HeaderFields("g", 56232.5, 150.0, -30.0, 90.0)
    items = [
        (Source(str(fits_exposure), 700001, header), corner_marks(28)),
        (Source(str(fits_exposure), 700002, header), Instances.empty()),
        (Source("photo.jpg", 700003, header), corner_marks(28)),
    ]
    return run_of(tmp_path_factory.mktemp("run") / "run", items)


def test_outline_of_a_rectangle_is_its_corners():
    mask = np.zeros((400, 400), bool)
    mask[10:20, 30:60] = True
    (corners,) = outlines(mask)
    assert corners.min(axis=0) == pytest.approx([10, 30], abs=0.6)
    assert corners.max(axis=0) == pytest.approx([20, 60], abs=0.6)


def test_every_part_is_outlined_and_holes_are_not():
    mask = np.zeros((60, 60), bool)
    mask[5:30, 5:30] = True
    mask[10:20, 10:20] = False
    mask[40:50, 40:50] = True
    assert len(outlines(mask)) == 2
    assert outlines(np.zeros((60, 60), bool)) == []
    assert len(outlines(np.ones((60, 60), bool))) == 1


@settings(max_examples=25, deadline=None)
@given(
    st.floats(30, 370), st.floats(30, 370), st.floats(6, 60), st.floats(0.4, 1.0), st.floats(0, np.pi),
)  # fmt: skip
def test_outline_filled_again_is_the_mask(row, column, radius, flat, turn):
    rows, columns = np.mgrid[:400, :400] + 0.5
    y, x = rows - row, columns - column
    u, v = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / flat
    mask = np.hypot(u, v) < radius
    (corners,) = outlines(mask)
    y, x = corners.T
    area = abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2
    perimeter = np.hypot(np.diff(y, append=y[0]), np.diff(x, append=x[0])).sum()
    assert area == pytest.approx(mask.sum(), abs=0.5 * perimeter)  # corners are half a pixel off at most


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_via_is_read_back_by_our_own_reader(sky_run, tmp_path):
    written = export_run(sky_run, "via", tmp_path)
    assert (written.n_exposures, written.n_files) == (2, 1)
    assert written.n_bytes == (tmp_path / "via.json").stat().st_size
    read = read_via(tmp_path / "via.json")
    assert list(read) == ["D00700001.png", "photo.jpg"]
    drawn, back = corner_marks(28), region_instances(read["photo.jpg"])
    assert back.classes.tolist() == drawn.classes.tolist()
    assert all(iou(a, b) > 0.75 for a, b in zip(drawn.masks, back.masks, strict=True))


def test_coco_is_read_by_its_own_tools(sky_run, tmp_path, capsys):
    written = export_run(sky_run, "coco", tmp_path)
    assert (written.n_exposures, written.n_files) == (2, 1)
    coco = COCO(tmp_path / "coco.json")
    capsys.readouterr()
    assert coco.dataset["info"]["description"]  # which pycocotools 2.0.9 and 2.0.10 want of what `loadRes` takes
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["D00700001.png", "photo.jpg"]
    assert [category["name"] for category in coco.loadCats([1, 2, 3])] == ["bright", "faint", "rays"]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[0]))
    drawn = corner_marks(28)
    assert [a["category_id"] for a in annotations] == [1, 2, 3]
    assert all(iou(coco.annToMask(a) > 0, mask) > 0.75 for a, mask in zip(annotations, drawn.masks, strict=True))
    assert [a["area"] for a in annotations] == drawn.masks.sum(axis=(1, 2)).tolist()


def test_empty_run_gives_documents_that_can_be_read(tmp_path):
    run = run_of(tmp_path / "run", [(Source("a.jpg", 1), Instances.empty())])
    for format_ in ("coco", "via"):
        export_run(run, format_, tmp_path)
        assert json.loads((tmp_path / f"{format_}.json").read_text()) is not None


def test_images_of_one_name_stay_apart(tmp_path):
    marks = corner_marks(28)
    run = run_of(tmp_path / "run", [(Source(f"set.zip!{k}/D1.jpg", 1), marks) for k in "ab"])
    export_run(run, "via", tmp_path)
    assert list(read_via(tmp_path / "via.json")) == ["D1.jpg", "D1_2.jpg"]


def test_region_on_the_sky_is_where_the_wcs_of_the_ccd_puts_it(sky_run, fits_exposure, tmp_path):
    written = export_run(sky_run, "ds9", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "D00700001_preview.reg", "D00700001_sky.reg", "D00700003_preview.reg",
    }  # fmt: skip
    assert (written.n_files, written.skipped) == (3, {"without a WCS, in preview coordinates only": 1})
    on_preview = Regions.read(tmp_path / "D00700001_preview.reg", format="ds9")
    on_sky = Regions.read(tmp_path / "D00700001_sky.reg", format="ds9")
    assert len(on_preview) == len(on_sky) == 3
    wcs = WCS(fits.getheader(fits_exposure, 1))
    ccd = DECAM.ccd(28)
    for flat, curved in zip(on_preview, on_sky, strict=True):
        # Back from the sky through astropy's own TPV to the CCD, and from there to the preview.
        x, y = wcs.all_world2pix(curved.vertices.ra.deg, curved.vertices.dec.deg, 0)
        row, column = DECAM.ccd_pixel_to_preview(ccd, y + 0.5 + 1, x + 0.5 + 1)  # one pixel was trimmed
        one_arcsec = 0.9465 / 17.5
        assert np.abs(row - (399.5 - flat.vertices.y)).max() < 2 * one_arcsec
        assert np.abs(column - (flat.vertices.x + 0.5)).max() < 2 * one_arcsec


def test_region_covers_the_artifact_on_the_picture_that_ds9_shows(sky_run, tmp_path):
    export_run(sky_run, "ds9", tmp_path)
    drawn = np.zeros((400, 400), bool)
    for region in Regions.read(tmp_path / "D00700001_preview.reg", format="ds9"):
        drawn |= region.to_mask().to_image(drawn.shape) > 0
    assert iou(drawn, (sky_run.masks[0] > 0)[::-1]) > 0.75  # DS9 puts the last row of a picture at y = 1


def test_via_finds_its_picture_by_name_and_size(tmp_path):
    picture = tmp_path / "D00000007.jpg"
    picture.write_bytes(b"x" * 1234)
    items = [(Source(str(picture), 7), corner_marks(28)), (Source("away/D00000008.jpg", 8), corner_marks(28))]
    export_run(run_of(tmp_path / "run", items), "via", tmp_path)
    content = json.loads((tmp_path / "via.json").read_text())
    assert {key: record["size"] for key, record in content.items()} == {
        "D00000007.jpg1234": 1234, "D00000008.jpg-1": -1,
    }  # fmt: skip
    assert list(read_via(tmp_path / "via.json")) == ["D00000007.jpg", "D00000008.jpg"]


def test_region_upper_left_on_the_preview_is_north_east(sky_run, tmp_path):
    export_run(sky_run, "ds9", tmp_path)
    square, bar, low = Regions.read(tmp_path / "D00700001_sky.reg", format="ds9")
    centres = [(r.vertices.ra.deg.mean(), r.vertices.dec.deg.mean()) for r in (square, bar, low)]
    assert centres[0][0] > centres[1][0]  # the bar is in the upper right: west
    assert centres[0][1] > centres[2][1]  # the last one is below: south


def test_wcs_is_found_beside_a_store_of_previews_and_in_files_that_are_named(fits_exposure, tmp_path):
    preview_night([fits_exposure], tmp_path / "p.zarr")
    row = {"path": f"{tmp_path}/p.zarr[0]", "expnum": 700001}
    stored = SkyHeaders(DECAM).patches(row)
    named = SkyHeaders(DECAM, [str(fits_exposure)]).patches({"path": "gone.jpg", "expnum": 700001})
    direct = SkyHeaders(DECAM).patches({"path": str(fits_exposure), "expnum": 700001})
    assert set(stored) == set(named) == set(direct) == {28, 35}
    for patches in (stored, named):
        np.testing.assert_allclose(patches[35].to_sky(10, 20), direct[35].to_sky(10, 20))
    for path in ("gone.fits", "gone.jpg", f"{tmp_path}/gone.zarr[3]", str(tmp_path)):
        assert SkyHeaders(DECAM).patches({"path": path, "expnum": None}) == {}


def test_run_and_previews_on_an_object_store_are_exported(s3_folder, fits_exposure, tmp_path):
    preview_night([fits_exposure], tmp_path / "p.zarr")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            open_storage(s3_folder).write(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    source = Source(f"{s3_folder}/p.zarr[0]", 700001, HeaderFields("g", 56232.5, 150.0, -30.0, 90.0))
    run = run_of(f"{s3_folder}/run", [(source, corner_marks(28))])
    for format_ in ("fits-mask", "lsst", "ds9", "coco", "via", "healsparse"):
        written = export_run(run, format_, tmp_path / format_)
        assert (written.n_exposures, written.n_files) == (1, 2 if format_ in ("ds9", "healsparse") else 1)
    assert (tmp_path / "ds9" / "D00700001_sky.reg").is_file()
    assert "CTYPE1" in fits.getheader(tmp_path / "fits-mask" / "D00700001_ghost.fits.fz", 1)


def test_damaged_input_has_no_wcs_but_a_named_one_is_an_error(tmp_path):
    (tmp_path / "bad.fits").write_bytes(b"rubbish")
    assert SkyHeaders(DECAM).patches({"path": str(tmp_path / "bad.fits"), "expnum": 1}) == {}
    with pytest.raises(InputError, match="expected FITS, which starts with SIMPLE"):
        SkyHeaders(DECAM, [str(tmp_path / "bad.fits")])


def test_maps_count_exposures_and_the_fraction_with_artifacts(sky_run, tmp_path):
    written = write_maps(sky_run, tmp_path, SkyHeaders(DECAM), nside=8192)
    assert (written.n_exposures, written.n_files, written.skipped) == (2, 2, {"without a WCS": 1})
    seen = healsparse.HealSparseMap.read(str(tmp_path / "exposures_g.hsp"))
    ghosted = healsparse.HealSparseMap.read(str(tmp_path / "ghosted_g.hsp"))
    assert set(np.unique(seen[seen.valid_pixels])) == {2}
    assert set(np.unique(ghosted[ghosted.valid_pixels])) == {0.0, 0.5}
    assert ghosted.metadata["GHMODEL"] == "segment-fake"
    np.testing.assert_array_equal(seen.valid_pixels, ghosted.valid_pixels)


def test_area_of_the_map_is_that_of_the_mask(fits_exposure):
    """A round ghost; a square one would lie along the rings of HEALPix and be off by up to one of its 90."""
    y0, x0, y1, x1 = box_of(28)
    rows, columns = np.mgrid[:400, :400] + 0.5
    mask = (np.hypot(rows - (y0 + y1) / 2, columns - (x0 + x1) / 2) < 13).astype(np.uint8)
    patches = SkyHeaders(DECAM).patches({"path": str(fits_exposure), "expnum": 700001})
    looked, marked = exposure_pixels(mask, DECAM, patches, 32768)
    pixel_area = 4 * np.pi * np.rad2deg(1) ** 2 / (12 * 32768**2)
    ccd = DECAM.ccd(28)
    # Area of a CCD pixel on the sky where the mask lies, from the WCS alone.
    y, x = DECAM.preview_to_ccd_pixel(ccd, (y0 + y1) / 2, (x0 + x1) / 2)
    (ra, dec) = patches[28].to_sky([y, y + 1, y], [x, x, x + 1])
    east, north = (ra[1:] - ra[0]) * np.cos(np.deg2rad(dec[0])), dec[1:] - dec[0]
    ccd_pixel = abs(east[0] * north[1] - east[1] * north[0])
    scale = np.prod([abs(s) for s in DECAM._scale_px_mm]) * DECAM.pixel_mm**2
    assert len(marked) * pixel_area == pytest.approx((mask > 0).sum() / scale * ccd_pixel, rel=0.01)
    assert set(marked) <= set(looked)
    # Both CCDs, each of 2048x4096 pixels.
    assert len(looked) * pixel_area == pytest.approx(2 * 2048 * 4096 * ccd_pixel, rel=0.01)


def test_name_of_a_band_leads_no_map_elsewhere(fits_exposure, tmp_path):
    header = [HeaderFields(band, 56232.5, 150.0, -30.0, 90.0) for band in ("g/../é", "g_.._é")]
    items = [(Source(str(fits_exposure), 700001, fact), Instances.empty()) for fact in header]
    write_maps(run_of(tmp_path / "run", items), tmp_path, SkyHeaders(DECAM), nside=8192)
    made = sorted(path.name for path in tmp_path.glob("exposures_*"))
    assert made == ["exposures_g_..__.hsp", "exposures_g_..___2.hsp"]
    assert healsparse.HealSparseMap.read(str(tmp_path / made[0])).metadata["BAND"] == "g/../?"


def test_run_without_any_wcs_gives_no_map(tmp_path):
    run = run_of(tmp_path / "run", [(Source("a.jpg", 1), corner_marks(28))])
    with pytest.raises(StoreError, match="expected exposures with a WCS, got none; name their FITS files with --fits"):
        export_run(run, "healsparse", tmp_path / "out")


@pytest.mark.parametrize("format_", ["via", "ds9"])
def test_command_says_how_much_it_wrote(sky_run, tmp_path, format_):
    words = ["export", str(sky_run.path), "--format", format_, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'out'}: 2 exposures in" in result.output
    assert " MB" in result.output
    assert CliRunner().invoke(app, ["export", "--help"]).exit_code == 0


@pytest.mark.slow
def test_full_exposure_of_lsstcam_has_its_own_wcs(tmp_path):
    from cascade.camera import Camera

    camera = Camera.load("lsstcam")
    (file,) = write_exposure(FullExposure(9), tmp_path, camera, ccdnums=(95,), compress=False)
    patches = SkyHeaders(camera).patches({"path": str(file), "expnum": 9})
    ra, dec = patches[95].to_sky(2000, 2036)
    assert (float(ra), float(dec)) == pytest.approx((150.0, -30.0), abs=1e-6)
