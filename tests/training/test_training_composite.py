import numpy as np
import pytest
from annotated import BRIGHT_ON_28, GHOST_LEVEL, annotated_set

from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.training.augment import Warp
from cascade.training.composite import Compositor

CAMERA = Camera.decam()


@pytest.fixture(scope="module")
def annotated():
    return annotated_set(4)


@pytest.fixture(scope="module")
def compositor(annotated):
    return Compositor(annotated.images, annotated.marked_ccds(CAMERA), CAMERA)


def test_nothing_of_a_planted_artifact_survives_in_a_clean_mosaic(compositor):
    for index in range(4):
        for seed in range(5):
            assert compositor.clean(index, np.random.default_rng(seed)).max() < GHOST_LEVEL - 20


def test_marked_ccds_are_kept_in_another_ground(compositor, annotated):
    changed = set()
    for seed in range(20):
        image = compositor.with_other_background(1, np.random.default_rng(seed))
        kept = np.isin(CAMERA.labels, [28, 35])
        assert np.array_equal(image[kept], annotated.images[1][kept])
        changed |= set(np.unique(CAMERA.labels[image != annotated.images[1]]))
    # All others are replaced now and then, but for the dead one.
    assert changed == set(range(1, 63)) - {28, 35, 61}


def test_mosaics_follow_the_generator(compositor):
    for draw in (compositor.clean, compositor.with_other_background):
        first, again, other = (draw(0, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_gaps_and_dead_ccds_stay_as_they_are(compositor, annotated):
    untouched = (CAMERA.labels == 0) | CAMERA.dark_pixels(None)
    for seed in range(5):
        image = compositor.clean(2, np.random.default_rng(seed))
        assert np.array_equal(image[untouched], annotated.images[2][untouched])


def test_a_ccd_dark_in_this_exposure_alone_stays_dark(annotated):
    images = annotated.images.copy()
    images[0][CAMERA.labels == 40] = 23
    compositor = Compositor(images, annotated.marked_ccds(CAMERA), CAMERA)
    for seed in range(10):
        assert np.all(compositor.clean(0, np.random.default_rng(seed))[CAMERA.labels == 40] == 23)


def test_a_ccd_dark_in_one_quarter_gives_nothing(annotated):
    images = annotated.images[:1].copy()
    rows, columns = (np.flatnonzero((CAMERA.labels == 40).any(axis=axis)) for axis in (1, 0))
    blank = np.s_[rows[0] : rows[len(rows) // 2], columns[0] : columns[len(columns) // 2]]
    images[0][blank] = 23
    compositor = Compositor(images, annotated.marked_ccds(CAMERA)[:1], CAMERA)
    elsewhere = (CAMERA.labels > 0) & (CAMERA.labels != 40) & ~CAMERA.dark_pixels(None)
    for seed in range(20):
        image = compositor.clean(0, np.random.default_rng(seed))
        assert np.mean(image[elsewhere] == 23) < 0.02


def test_donors_are_brought_to_the_noise_of_the_exposure_that_they_enter(annotated):
    images = annotated.images[:2].copy()
    lit = (CAMERA.labels > 0) & ~CAMERA.dark_pixels(None)
    loud = 60 + 1.8 * (images[1][lit].astype(float) - 53)
    images[1][lit] = np.clip(np.rint(loud), 40, GHOST_LEVEL)
    compositor = Compositor(images, annotated.marked_ccds(CAMERA)[:2], CAMERA)
    on_28 = CAMERA.labels == 28
    quiet, loud = (
        [np.percentile(compositor.clean(index, np.random.default_rng(seed))[on_28], 75) for seed in range(12)]
        for index in (0, 1)
    )
    assert np.ptp(quiet) < 6
    assert np.ptp(loud) < 10
    assert min(loud) > max(quiet)


def test_images_are_not_changed_in_place(annotated):
    images = annotated.images.copy()
    compositor = Compositor(images, annotated.marked_ccds(CAMERA), CAMERA)
    compositor.clean(0, np.random.default_rng(0))
    compositor.with_other_background(0, np.random.default_rng(0))
    compositor.transplanted(0, identity(), np.ones((400, 400), bool), np.random.default_rng(0))
    assert np.array_equal(images, annotated.images)


def test_a_single_exposure_is_its_own_donor(annotated):
    compositor = Compositor(annotated.images[:1], annotated.marked_ccds(CAMERA)[:1], CAMERA)
    assert compositor.clean(0, np.random.default_rng(0)).max() < GHOST_LEVEL


def test_exposures_marked_all_over_take_from_the_others(annotated):
    marked = annotated.marked_ccds(CAMERA)
    marked[0] = True
    image = Compositor(annotated.images, marked, CAMERA).clean(0, np.random.default_rng(0))
    assert image.max() < GHOST_LEVEL


def test_no_exposure_with_clean_ccds_is_an_error(annotated):
    with pytest.raises(ConfigError, match="expected an exposure with 12 whole unmarked CCDs, got 0 at most"):
        Compositor(annotated.images, np.ones((4, 63), bool), CAMERA)


def identity():
    """Every pixel comes from its own place."""
    rows, columns = np.indices((400, 400))
    return Warp(rows, columns, np.ones((400, 400), bool), 1.0)


def test_a_transplanted_artifact_stands_on_a_clean_sky(annotated, compositor):
    y0, x0, y1, x1 = BRIGHT_ON_28[2:]
    region = np.zeros((400, 400), bool)
    region[y0:y1, x0:x1] = True
    for seed in range(5):
        image = compositor.transplanted(0, identity(), region, np.random.default_rng(seed))
        assert image[region].min() > GHOST_LEVEL - 60
        assert image[~region].max() < GHOST_LEVEL - 20
        assert np.array_equal(image[CAMERA.labels == 0], annotated.images[0][CAMERA.labels == 0])


def synthetic(sky, noise, region, level):
    """An exposure of another origin, with an artifact of a level on it."""
    image = np.clip(np.rint(np.random.default_rng(5).normal(sky, noise, (400, 400))), 0, 255).astype(np.uint8)
    image[region] = np.clip(image[region].astype(int) + level, 0, 255)
    return image


def test_an_injected_artifact_stands_on_a_clean_mosaic_and_changes_nothing_else(annotated, compositor):
    region = np.zeros((400, 400), bool)
    region[150:230, 120:260] = True
    image = synthetic(90, 10, region, 60)
    for seed in range(5):
        got = compositor.injected(image, region, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        mosaic = compositor.clean(int(rng.integers(4)), rng)
        lit = (CAMERA.labels > 0) & ~CAMERA.dark_pixels(None)
        assert np.array_equal(got[~(region & lit)], mosaic[~(region & lit)])
        assert np.mean(got[region & lit]) > np.mean(mosaic[lit]) + 30


@pytest.mark.parametrize(("sky", "noise"), [(90, 6), (40, 10), (120, 25)])
def test_what_is_injected_gets_the_sky_and_noise_of_the_mosaic(annotated, compositor, sky, noise):
    """A region without any artifact cannot be told from the mosaic around it."""
    region = np.zeros((400, 400), bool)
    region[140:260, 120:280] = True
    got = compositor.injected(synthetic(sky, noise, region, 0), region, np.random.default_rng(0))
    lit = (CAMERA.labels > 0) & ~CAMERA.dark_pixels(None)
    inside, outside = got[region & lit].astype(float), got[~region & lit].astype(float)
    assert np.median(inside) == pytest.approx(np.median(outside), abs=2)
    deviations = [np.median(np.abs(values - np.median(values))) for values in (inside, outside)]
    assert deviations[0] == pytest.approx(deviations[1], rel=0.25)


def test_what_is_injected_is_not_changed_in_place(compositor):
    region = np.zeros((400, 400), bool)
    region[150:230, 120:260] = True
    image = synthetic(90, 10, region, 60)
    before = image.copy()
    compositor.injected(image, region, np.random.default_rng(0))
    assert np.array_equal(image, before)


def test_an_artifact_on_every_ccd_can_be_injected(compositor):
    everywhere = np.ones((400, 400), bool)
    got = compositor.injected(synthetic(90, 10, everywhere, 60), everywhere, np.random.default_rng(0))
    assert got.std() > 1
