import numpy as np
from fakes import instances

from cascade.camera import Camera
from cascade.exposure import PREVIEW_SHAPE, Artifact, Instances
from cascade.simulate import simulate_exposure
from cascade.training.augment import Warp, augmented


def square_exposure():
    """A sky with a bright square in a corner, and the square as an instance."""
    image = np.full(PREVIEW_SHAPE, 53, np.uint8)
    image[20:60, 30:90] = 220
    return image, instances((Artifact.RAYS, 1.0, 20, 30, 60, 90))


def test_masks_move_with_the_pixels():
    image, found = square_exposure()
    places = set()
    for seed in range(20):
        changed, moved = augmented(image, found, np.random.default_rng(seed))
        assert np.array_equal(changed > 140, moved.masks[0])
        y0, x0, y1, x1 = moved.boxes[0].astype(int)
        assert moved.masks[0, y0:y1, x0:x1].all()
        assert moved.masks.sum() == 40 * 60
        places.add((y0, x0))
    assert places == {(20, 30), (20, 310), (340, 30), (340, 310)}


def test_gaps_stay_exactly_as_dark():
    image = simulate_exposure((), Camera.decam(), np.random.default_rng(0))
    changed, _ = augmented(image, Instances.empty(), np.random.default_rng(1))
    assert changed.dtype == np.uint8
    assert np.sum(changed == 23) >= np.sum(image == 23)


def test_augmentation_follows_the_generator():
    image, found = square_exposure()
    first, again, other = (augmented(image, found, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_warp_moves_masks_and_pixels_alike():
    image, found = square_exposure()
    for seed in range(10):
        warp = Warp.random(PREVIEW_SHAPE, np.random.default_rng(seed))
        moved = warp.mask(found.masks)[0]
        assert np.array_equal((warp.image(image) == 220) & warp.inside, moved)
        assert not moved[~warp.inside].any()


def test_a_warp_grows_areas_by_its_zoom():
    middle = instances((Artifact.FAINT, 1.0, 150, 150, 250, 250))
    for seed in range(10):
        warp = Warp.random(PREVIEW_SHAPE, np.random.default_rng(seed))
        (area,) = warp.instances(middle).masks.sum(axis=(1, 2))
        np.testing.assert_allclose(area, 100 * 100 * warp.zoom**2, rtol=0.03)


def test_instances_that_leave_the_picture_are_left_out():
    corner = instances((Artifact.BRIGHT, 1.0, 0, 0, 8, 8), (Artifact.BRIGHT, 1.0, 190, 190, 210, 210))
    for seed in range(20):
        warp = Warp.random(PREVIEW_SHAPE, np.random.default_rng(seed))
        moved = warp.instances(corner)
        assert np.all(moved.masks.sum(axis=(1, 2)) >= 40)
        assert len(moved) >= 1  # the middle never leaves


def test_no_instances_warp_to_none():
    warp = Warp.random(PREVIEW_SHAPE, np.random.default_rng(0))
    assert len(warp.instances(Instances.empty())) == 0
