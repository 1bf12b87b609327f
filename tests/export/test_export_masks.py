"""Tests of the FITS exports: on the right CCD, the right way up, nothing else touched."""

import hashlib
from dataclasses import replace
from pathlib import Path

import export_runs
import fitsio
import numpy as np
import pytest
from astropy.io import fits
from export_runs import DECAM, box_of, corner_marks, run_of
from fits_files import night, preview_of

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError, StoreError
from cascade.core.exposure import HeaderFields, Instances, Source
from cascade.core.versions import installed_versions
from cascade.export import export_run
from cascade.export.ccd_masks import ccd_mask, sampled_mask
from cascade.inputs.fits.render import GREY_PER_SIGMA
from cascade.networks.model_id import ModelId
from cascade.runs.run import Run
from cascade.simulate.full_resolution import FullExposure

pytestmark = pytest.mark.slow

CCDNUMS = (28, 33, 1, 62)


def marks_on(ccdnums=CCDNUMS, camera=DECAM) -> Instances:
    found = [corner_marks(ccdnum, camera) for ccdnum in ccdnums]
    return Instances(*(np.concatenate([getattr(i, f) for i in found]) for f in ("classes", "scores", "boxes", "masks")))


@pytest.fixture(scope="module")
def marked_run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("run") / "run", [(Source("x.jpg", 158776), marks_on())])


def read_all(path, reader):
    """Masks by EXTNAME, with astropy or fitsio."""
    if reader == "astropy":
        with fits.open(path, checksum=True) as file:
            return {hdu.name: (hdu.data.copy(), dict(hdu.header)) for hdu in file[1:]}
    with fitsio.FITS(str(path)) as file:
        return {hdu.get_extname(): (hdu.read(), dict(hdu.read_header())) for hdu in file[1:]}


@pytest.mark.parametrize("reader", ["astropy", "fitsio"])
def test_mask_lies_on_the_right_ccd_the_right_way_up(marked_run, tmp_path, reader):
    written = export_run(marked_run, "fits-mask", tmp_path)
    assert (written.n_exposures, written.n_files) == (1, 1)
    path = tmp_path / "D00158776_ghost.fits.fz"
    assert written.n_bytes == path.stat().st_size < 200_000
    masks = read_all(path, reader)
    assert list(masks) == [DECAM.detpos(n) for n in sorted(CCDNUMS)]
    for ccdnum in CCDNUMS:
        mask, header = masks[DECAM.detpos(ccdnum)]
        assert (mask.shape, header["CCDNUM"], header["GHOSTBIT"]) == ((4096, 2048), ccdnum, 32768)
        assert set(np.unique(mask)) == {0, 32768}
        # The preview shows FITS axis 1 downwards and axis 2 to the left: its upper left is (small x, large y).
        left_up, right_up = mask[2048:, :1024] > 0, mask[:2048, :1024] > 0
        left_down, right_down = mask[2048:, 1024:] > 0, mask[:2048, 1024:] > 0
        pixels = 1 / (0.015**2 * np.prod(DECAM._scale_px_mm))  # of a CCD in one of the preview
        assert left_up.sum() / pixels == pytest.approx(36, rel=0.05)
        assert right_up.sum() / pixels == pytest.approx(96, rel=0.05)
        assert left_down.sum() / pixels == pytest.approx(16, rel=0.07)
        assert not right_down.any()


def test_mask_covers_the_light_that_it_was_drawn_on(tmp_path):
    """From light on CCDs to a preview, by threshold to a mask, and back to the CCDs."""
    light = np.zeros((400, 400), np.float32)
    light[marks_on().masks.any(axis=0)] = 150
    exposure = FullExposure(700001, light=light, noise=20)
    (file,) = night(tmp_path, ccdnums=(28, 62), light=light)
    seen = preview_of(file).image > 52.5 + 60
    for ccdnum in (28, 62):
        ccd = DECAM.ccd(ccdnum)
        drawn = ccd_mask(seen, DECAM, ccd, DECAM.ccd_shape)
        blocks = exposure.pixels(ccd, DECAM).reshape(512, 8, 256, 8).mean(axis=(1, 3)) - exposure.sky
        lit = blocks > 0.5 * 150 / GREY_PER_SIGMA * exposure.noise
        drawn = drawn.reshape(512, 8, 256, 8).mean(axis=(1, 3)) > 0.5
        assert (lit & drawn).sum() / (lit | drawn).sum() > 0.75


def test_edges_are_interpolated_and_not_in_steps_of_preview_pixels():
    rows, columns = np.mgrid[:400, :400] + 0.5
    ccd = DECAM.ccd(28)
    row, column = DECAM.to_pixel(ccd.x_mm, ccd.y_mm)
    disc = np.hypot(rows - row, columns - column) < 10
    drawn = ccd_mask(disc, DECAM, ccd, DECAM.ccd_shape)
    y, x = np.mgrid[:4096, :2048] + 0.5
    at_row, at_column = DECAM.ccd_pixel_to_preview(ccd, y, x)
    exact = np.hypot(at_row - row, at_column - column) < 10
    assert drawn.sum() == pytest.approx(exact.sum(), rel=0.01)
    assert (drawn ^ exact).sum() / exact.sum() < 0.06
    some = np.random.default_rng(0).integers(0, 2048, 500)
    np.testing.assert_array_equal(sampled_mask(disc, at_row[some, some], at_column[some, some]), drawn[some, some])


def test_sample_outside_of_the_preview_is_never_masked():
    everything = np.ones((400, 400), bool)
    assert not sampled_mask(everything, np.array([-0.1, 400.0, 5.0]), np.array([5.0, 5.0, 400.1])).any()


def test_header_says_what_made_the_mask(marked_run, tmp_path):
    export_run(marked_run, "fits-mask", tmp_path, bit=1024)
    header = fits.getheader(tmp_path / "D00158776_ghost.fits.fz", 0)
    assert (header["EXPNUM"], header["GHMODEL"], header["GHSHA256"]) == (158776, "segment-fake", "bb")
    assert header["GHOSTBIT"] == 1024
    assert header.get("GHVERS") == installed_versions().get("ghost-cascade")


@pytest.mark.parametrize("name", ["segment-lite-v1", "it's", f"segment-{'of-the-second-season-' * 4}v12"])
@pytest.mark.parametrize("format_", ["fits-mask", "lsst"])
def test_headers_are_valid_whatever_the_model_is_called(tmp_path, monkeypatch, name, format_):  # or astropy warns
    settings = replace(export_runs.config(), segment=ModelId(name, "ab" * 32, "cd" * 32))
    sizes = {"n_exposures": 1, "batch_size": 1}
    monkeypatch.setattr(export_runs, "config", lambda **_: replace(settings, **sizes))
    run = run_of(tmp_path / "run", [(Source("x.jpg", 158776), marks_on((28,)))])
    export_run(run, format_, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.fits*")
    with fits.open(path) as file:
        file.verify("exception")
        header = file[0].header
    assert (header["GHMODEL"], header["GHSHA256"]) == (name, "ab" * 16)
    assert header.comments["GHSHA256"] == "sha256 of its weights, first half"


@pytest.mark.parametrize("bit", [0, 3, -4, 2**31])
def test_bit_that_is_none_is_refused(marked_run, tmp_path, bit):
    with pytest.raises(ConfigError, match="bit: expected a power of two"):
        export_run(marked_run, "fits-mask", tmp_path, bit=bit)


def test_lsst_planes_are_found_by_name(marked_run, tmp_path):
    export_run(marked_run, "lsst", tmp_path)
    masks = read_all(tmp_path / "D00158776_mask.fits.fz", "astropy")
    mask, header = masks["S4"]
    bits = {key: 1 << header[f"MP_{key}"] for key in ("GHOST", "GHOST_BRIGHT", "GHOST_FAINT", "GHOST_RAYS", "NO_DATA")}
    assert len(set(bits.values())) == 5
    any_class = (mask & bits["GHOST"]) > 0
    by_class = {key: (mask & bits[f"GHOST_{key}"]) > 0 for key in ("BRIGHT", "FAINT", "RAYS")}
    np.testing.assert_array_equal(any_class, by_class["BRIGHT"] | by_class["FAINT"] | by_class["RAYS"])
    assert by_class["FAINT"].sum() > 2 * by_class["BRIGHT"].sum() > 0
    assert not (mask & bits["NO_DATA"]).any()


def mask_file(path, planes, plver="V4.8.2", dtype=np.int16, compress=True, **cards):
    """A mask of a pipeline; planes by EXTNAME and CCDNUM."""
    hdus = [fits.PrimaryHDU(header=fits.Header({"EXPNUM": 158776, "PLVER": plver}))]
    for (name, ccdnum), values in planes.items():
        header = fits.Header({"EXTNAME": name, "CCDNUM": ccdnum, **cards})
        hdus.append(
            fits.CompImageHDU(values.astype(dtype), header, compression_type="GZIP_1")
            if compress
            else fits.ImageHDU(values.astype(dtype), header)
        )
    fits.HDUList(hdus).writeto(path, checksum=True)
    return path


@pytest.fixture(scope="module")
def old_mask():
    """A few marks of a pipeline all over a CCD that the Community Pipeline trimmed."""
    old = np.zeros((4094, 2046), np.int32)
    old[::100, ::100] = 1
    old[3800:3900, 100:300] = 3
    return old


@pytest.mark.parametrize(("plver", "codes"), [("V4.8.2", True), ("V2.1", False)])
@pytest.mark.parametrize("compress", [True, False])
def test_copy_of_a_pipeline_mask_gets_a_bit_or_a_code(marked_run, tmp_path, old_mask, plver, codes, compress):
    source = mask_file(
        tmp_path / "c4d_121101_000000_ood_g_v1.fits", {("S4", 28): old_mask, ("N12", 43): old_mask}, plver,
        compress=compress, BUNIT="old",
    )  # fmt: skip
    before = hashlib.sha256(source.read_bytes()).digest()
    written = export_run(marked_run, "fits-mask", tmp_path / "out", onto=[str(source)])
    assert hashlib.sha256(source.read_bytes()).digest() == before
    assert (written.n_exposures, written.n_files) == (1, 1)
    masks = read_all(tmp_path / "out" / "c4d_121101_000000_ood_g_v1_ghost.fits", "astropy")
    ghost = ccd_mask(marks_on().masks.any(axis=0), DECAM, DECAM.ccd(28), (4094, 2046), (1, 1))
    expected = np.where(ghost & (old_mask == 0), 9, old_mask) if codes else old_mask | np.where(ghost, 32768, 0)
    new, header = masks["S4"]
    np.testing.assert_array_equal(new, expected)
    assert (ghost & (old_mask == 3)).any()
    assert header["BUNIT"] == "old"
    assert header["GHOSTCOD" if codes else "GHOSTBIT"] == (9 if codes else 32768)
    np.testing.assert_array_equal(masks["N12"][0], old_mask)  # untouched by any artifact


def test_badpix_plane_of_des_gets_its_bit_and_the_image_stays(marked_run, tmp_path):
    (source,) = night(tmp_path, 158776, ccdnums=(33,), layout="immasked", compress=True)
    export_run(marked_run, "fits-mask", tmp_path / "out", onto=[str(source)])
    copy = tmp_path / "out" / source.name.replace(".fits", "_ghost.fits")
    with fits.open(source) as old, fits.open(copy) as new:
        assert [hdu.name for hdu in new] == [hdu.name for hdu in old]
        np.testing.assert_array_equal(new["SCI"].data, old["SCI"].data)
        added = new["MSK"].data ^ old["MSK"].data
    assert set(np.unique(added)) == {0, 32768}
    np.testing.assert_array_equal(fitsio.read(str(copy), ext="MSK") ^ fitsio.read(str(source), ext="MSK"), added)


def test_mask_is_never_overwritten_and_a_cutout_is_refused(marked_run, tmp_path, old_mask):
    source = mask_file(tmp_path / "a_ood.fits", {("S4", 28): old_mask})
    copy = tmp_path / "a_ood_ghost.fits"
    copy.hardlink_to(source)
    with pytest.raises(InputError, match="expected another output folder"):
        export_run(marked_run, "fits-mask", tmp_path, onto=[str(source)])
    small = mask_file(tmp_path / "b_ood.fits", {("S4", 28): old_mask[:100]})
    with pytest.raises(InputError, match="expected the mask of a whole CCD, got 2046x100 pixels"):
        export_run(marked_run, "fits-mask", tmp_path / "out", onto=[str(small)])


def test_mask_that_is_the_first_image_of_its_file_stays_so(marked_run, tmp_path, old_mask):
    source = tmp_path / "a_ood.fits"
    header = fits.Header({"EXPNUM": 158776, "CCDNUM": 28, "DETPOS": "S4"})
    fits.PrimaryHDU(old_mask.astype(np.int16), header).writeto(source)
    export_run(marked_run, "fits-mask", tmp_path / "out", onto=[str(source)])
    with fits.open(tmp_path / "out" / "a_ood_ghost.fits", checksum=True) as copy:
        (hdu,) = copy
        assert set(np.unique(hdu.data ^ old_mask)) == {0, 32768}
    assert fitsio.read(str(tmp_path / "out" / "a_ood_ghost.fits")).shape == old_mask.shape


def test_images_and_weights_beside_the_masks_are_not_marked(marked_run, tmp_path, old_mask):
    source = mask_file(tmp_path / "c4d_121101_000000_ood_g_v1.fits", {("S4", 28): old_mask})
    others = [source.with_name(source.name.replace("ood", product)) for product in ("ori", "ooi", "oow")]
    for other in others:
        other.write_bytes(source.read_bytes())
    written = export_run(marked_run, "fits-mask", tmp_path / "out", onto=[str(path) for path in (source, *others)])
    assert written.n_files == 1
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["c4d_121101_000000_ood_g_v1_ghost.fits"]


def test_band_that_fits_cannot_hold_is_spelt_out(tmp_path):
    header = HeaderFields("é\n", None, None, None, None)
    run = run_of(tmp_path / "run", [(Source("a.jpg", 5, header), corner_marks(28))])
    export_run(run, "fits-mask", tmp_path / "out")
    assert fits.getheader(tmp_path / "out" / "D00000005_ghost.fits.fz")["BAND"] == r"?\n"


def test_exposure_without_a_mask_to_write_onto_is_counted(marked_run, tmp_path, old_mask):
    source = mask_file(tmp_path / "a_ood.fits", {("S4", 28): old_mask})
    with fits.open(source, mode="update") as file:
        file[0].header["EXPNUM"] = 5
    written = export_run(marked_run, "fits-mask", tmp_path / "out", onto=[str(source)])
    assert (written.n_files, written.skipped) == (0, {"without a mask to copy": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "png"}, "expected one of fits-mask, lsst, ds9, coco, via, healsparse, got 'png'"),
        ({"format": "lsst", "onto": ["x"]}, "onto: expected it with the format fits-mask, got lsst"),
        ({"format": "fits-mask", "onto": ["x"], "code": 0}, "code: expected a number from 1 to 32767, got 0"),
        ({"format": "coco", "out": Path("s3://survey/masks")}, "s3:/survey/masks: expected a local path, got a URL"),
    ],
)
def test_options_that_make_no_sense_are_refused(marked_run, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        export_run(marked_run, **{"out": tmp_path, **options})


def test_missing_package_is_named(marked_run, tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.export.formats.find_spec", lambda name: None if name == "regions" else object())
    with pytest.raises(ConfigError, match="expected the package regions: pip install"):
        export_run(marked_run, "ds9", tmp_path)


def test_run_that_is_not_complete_is_refused(marked_run, tmp_path):
    half = Run.create_or_resume(tmp_path / "half", marked_run.config)
    for format_ in ("fits-mask", "healsparse"):
        with pytest.raises(StoreError, match="expected a complete run, got 0 of 1 batches"):
            export_run(half, format_, tmp_path / "out")


def test_exposure_processed_twice_and_one_without_a_number_get_files_of_their_own(tmp_path):
    marks = corner_marks(28)
    items = [(Source("a.jpg", 5), marks), (Source("b.jpg", 5), marks), (Source("c.jpg", None), marks)]
    run = run_of(tmp_path / "run", [*items, (Source("d.jpg", 9), Instances.empty())])
    written = export_run(run, "fits-mask", tmp_path / "out")
    assert written.n_files == 3
    names = {path.name for path in (tmp_path / "out").glob("[!.]*")}
    assert names == {"D00000005_ghost.fits.fz", "D00000005_2_ghost.fits.fz", "exposure000002_ghost.fits.fz"}


def test_masks_of_another_camera_are_of_its_size(tmp_path):
    camera = Camera.load("lsstcam")
    y0, x0, y1, x1 = box_of(95, camera)
    assert y1 - y0 > 20
    assert x1 - x0 > 20
    run = run_of(tmp_path / "run", [(Source("x", 7), corner_marks(95, camera))], camera)
    export_run(run, "lsst", tmp_path / "out")
    masks = read_all(tmp_path / "out" / "D00000007_mask.fits.fz", "astropy")
    assert list(masks) == ["R22_S11"]
    assert masks["R22_S11"][0].shape == (4000, 4072)
