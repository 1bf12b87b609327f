"""Previews that are none, though they are images of the right size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from reader_files import encode, preview

from cascade.camera import Camera
from cascade.core.errors import InputError
from cascade.inputs.decode import decode_image, grey_levels
from cascade.inputs.focal_plane import check_focal_plane

CAMERA = Camera.decam()


def focal_plane(sky: float = 52, gap: float = 23, camera: Camera = CAMERA) -> np.ndarray:
    """A preview with sky on all CCDs, noise and a ghost."""
    noise = np.random.default_rng(0).normal(0, 4, camera.shape)
    ghost = 60 * (np.hypot(*(np.mgrid[:400, :400] - 150)) < 80)
    levels = np.where(camera.labels > 0, sky + noise + ghost, gap)
    return np.clip(levels, 0, 255).astype(np.uint8)


def check(image: np.ndarray, expnum: int | None = None, camera: Camera = CAMERA) -> None:
    check_focal_plane(np.ascontiguousarray(image), camera, expnum, "a.jpg")


@pytest.mark.parametrize("camera", ["decam", "lsstcam"])
@pytest.mark.parametrize(("sky", "gap"), [(52, 23), (36, 23), (64, 23), (120, 0)])
def test_preview_with_gaps_where_they_must_be_passes(camera, sky, gap):
    camera = Camera.load(camera)
    image = focal_plane(sky, gap, camera)
    check(image, camera=camera)
    check(decode_image(encode(image, "JPEG", quality=20), "a"), camera=camera)


def test_preview_of_one_ccd_passes():
    check(np.where(CAMERA.labels == 28, focal_plane(), 23).astype(np.uint8))


@pytest.mark.parametrize("image", [np.full((400, 400), 50, np.uint8), preview(), np.zeros((400, 400), np.uint8)])
def test_image_without_contrast_between_ccds_and_gaps_passes(image):
    check(image)


@pytest.mark.parametrize("missing", [np.s_[:200, :200], np.s_[200:], np.s_[:, 100:200], np.s_[300:350, 200:250]])
def test_part_that_is_black_is_refused(missing):
    image = focal_plane()
    image[missing] = 0
    with pytest.raises(InputError, match=r"^a\.jpg: expected CCDs with sky, got \d+ black ones \([NS]\d+.*\): part of"):
        check(image)


def test_dead_ccd_may_be_black_while_it_is_dead():
    image = focal_plane()
    image[CAMERA.labels == 2] = 0
    check(image, expnum=300_000)
    with pytest.raises(InputError, match=r"got 1 black ones \(S30\)"):
        check(image, expnum=100_000)


def test_black_gaps_and_black_ccds_between_lit_ones_pass():
    check(np.where(CAMERA.labels == 28, 0, focal_plane(gap=0)).astype(np.uint8))


def test_negative_is_refused():
    with pytest.raises(
        InputError, match=r"expected gaps between the CCDs darker than the sky, got level 232 against 2\d"
    ):
        check(255 - focal_plane())


@pytest.mark.parametrize(
    "spoil",
    [
        np.rot90,
        np.transpose,
        lambda image: np.roll(image, 10, 0),
        lambda image: np.roll(image, -8, 1),
        lambda image: np.asarray(Image.fromarray(image[20:-20, 20:-20]).resize((400, 400))),
    ],
)
def test_picture_that_is_turned_shifted_or_cropped_is_refused(spoil):
    with pytest.raises(InputError, match=r"the gaps between the CCDs of decam to be dark, got light in \d+% of them"):
        check(spoil(focal_plane()))


def test_preview_of_another_camera_is_refused():
    with pytest.raises(InputError, match="of another camera"):
        check(focal_plane(camera=Camera.load("lsstcam")))


def test_black_images_and_masks_are_refused():
    for levels in (np.zeros((400, 400), np.uint8), np.eye(400, dtype=np.uint8)):
        with pytest.raises(
            InputError, match=rf"^a: expected grey levels from 0 to 255, got none above {levels.max()}: "
        ):
            decode_image(encode(levels), "a")
        with pytest.raises(InputError, match=rf"got none above {levels.max()}: no sky in it"):
            grey_levels(levels.astype(float), "a")


def test_all_real_previews_pass(real_data):
    for file in (real_data / "des_common_core" / "images").glob("*.jpg"):
        check(decode_image(file.read_bytes(), file.name), int(file.stem[-8:]))
