import numpy as np
import pytest
from fakes import instances

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import PREVIEW_SHAPE, Instances
from cascade.simulate import simulate_exposure
from cascade.training.augment import GAP, Warp, augmented, with_dead_ccd
from cascade.training.sample import Sample

CAMERA = Camera.decam()
ON_CCDS = CAMERA.labels > 0
EVERYWHERE = np.ones(PREVIEW_SHAPE, bool)
FLIPS = [(slice(None, None, down), slice(None, None, across)) for down in (1, -1) for across in (1, -1)]


def square_exposure():
    """A sky with a bright square in a corner, and the square as an instance."""
    image = np.full(PREVIEW_SHAPE, 53, np.uint8)
    image[20:60, 30:90] = 220
    return Sample.of_one(image, instances((Artifact.RAYS, 1.0, 20, 30, 60, 90)))


def augmented_by(sample, seed, on_ccds=EVERYWHERE):
    return augmented(sample, on_ccds, np.random.default_rng(seed))


def test_masks_move_with_the_pixels():
    places = set()
    for seed in range(20):
        changed = augmented_by(square_exposure(), seed)
        moved = changed.found
        assert np.array_equal(changed.image > 140, moved.masks[0])
        y0, x0, y1, x1 = moved.boxes[0].astype(int)
        assert moved.masks[0, y0:y1, x0:x1].all()
        assert moved.masks.sum() == 40 * 60
        places.add((y0, x0))
    assert places == {(20, 30), (20, 310), (340, 30), (340, 310)}


def test_what_annotators_marked_moves_with_the_pixels_too():
    sample = square_exposure()
    for seed in range(6):
        changed = augmented_by(Sample(sample.image, sample.found, sample.marked * np.float32(0.5)), seed)
        for channel in (Artifact.RAYS, 3):
            assert np.array_equal(changed.marked[channel] == 0.5, changed.found.masks[0])
        assert not changed.marked[:2].any()


def test_the_lattice_falls_on_itself_when_mirrored():
    """But for some columns at the edges of gaps, by one pixel, where the lattice lies a little off the middle."""
    for flip in FLIPS:
        differs = ON_CCDS[flip] != ON_CCDS
        assert differs.mean() < 0.005
        assert not (differs & np.roll(differs, 1, axis=1)).any()


def test_gaps_stay_exactly_as_they_are():
    """Gaps are no darker than ghosts' edges, but their pixels are known; JPEG leaves marks in them."""
    rng = np.random.default_rng(0)
    image = simulate_exposure((), CAMERA, rng)
    image[~ON_CCDS] = rng.integers(15, 45, (~ON_CCDS).sum())
    used = set()
    for seed in range(12):
        changed = augmented_by(Sample.clean(image), seed, ON_CCDS)
        assert changed.image.dtype == np.uint8
        (flip,) = [k for k, flip in enumerate(FLIPS) if np.array_equal(changed.image[~ON_CCDS], image[flip][~ON_CCDS])]
        used.add(flip)
    assert used == {0, 1, 2, 3}


def test_dead_ccds_stay_exactly_as_dark():
    image = np.full(PREVIEW_SHAPE, 53, np.uint8)
    image[~ON_CCDS | (CAMERA.labels == 28)] = GAP
    for seed in range(8):
        changed = augmented_by(Sample.clean(image), seed, ON_CCDS).image
        rows, columns = (np.flatnonzero((CAMERA.labels == 28).any(axis=axis)) for axis in (1, 0))
        # The middle of the CCD, wherever it was mirrored to; light of the neighbours smooths into its border.
        dark = np.zeros(PREVIEW_SHAPE, bool)
        dark[rows[3] : rows[-3], columns[3] : columns[-3]] = True
        assert any(np.all(changed[dark[flip]] == GAP) for flip in FLIPS)


def test_dark_edges_of_ghosts_on_ccds_are_changed_like_the_sky():
    """A dark ring, one pixel wide, as background subtraction leaves it around a ghost."""
    y, x = np.indices(PREVIEW_SHAPE)
    ring = (np.abs(np.hypot(y - 199.5, x - 199.5) - 60) < 0.6) & ON_CCDS
    image = np.full(PREVIEW_SHAPE, 53, np.uint8)
    image[~ON_CCDS] = GAP
    image[ring] = 15
    within = ring & (np.min([np.roll(ON_CCDS, shift, axis) for axis in (0, 1) for shift in range(-5, 6)], axis=0) > 0)
    changed_share, falls = [], []
    for seed in range(20):
        changed = augmented_by(Sample.clean(image), seed, ON_CCDS).image
        changed_share.append(np.mean(changed[within] != 15))
        falls.append(np.median(changed[ON_CCDS & ~ring]) - changed[within].mean())
    assert np.mean(changed_share) > 0.8
    # The contrast is changed, so that the ring is now more, now less below the sky than its 38 levels.
    assert min(falls) < 36 < 40 < max(falls)


def test_noise_sky_and_contrast_change():
    image = np.full(PREVIEW_SHAPE, 53, np.uint8)
    image[100:200, 100:200] = 153
    clean = Sample.clean(image)
    square = np.zeros(PREVIEW_SHAPE, bool)
    square[100:200, 100:200] = True
    skies, contrasts, noises = [], [], []
    for seed in range(30):
        changed = augmented_by(clean, seed).image
        # The square lies in the middle of no mirror axis: find it.
        where = next(square[flip] for flip in FLIPS if changed[square[flip]].mean() > 110)
        sky = changed[~where]
        skies.append(sky.mean())
        noises.append(sky.std())
        contrasts.append((changed[where].mean() - sky.mean()) / 100)
    assert np.std(skies) == pytest.approx(3.0, rel=0.5)
    assert np.std(np.log(contrasts)) == pytest.approx(0.15, rel=0.5)
    assert min(noises) < 1.5 < 3.5 < max(noises) < 5.5


def test_augmentation_follows_the_generator():
    first, again, other = (augmented_by(square_exposure(), seed).image for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_is_given_is_not_changed():
    sample = square_exposure()
    image, masks, marked = sample.image.copy(), sample.found.masks.copy(), sample.marked.copy()
    augmented_by(sample, 3)
    with_dead_ccd(sample.image, CAMERA, np.random.default_rng(0))
    assert np.array_equal(sample.image, image)
    assert np.array_equal(sample.found.masks, masks)
    assert np.array_equal(sample.marked, marked)


def test_now_and_then_one_whole_ccd_dies():
    image = np.full(PREVIEW_SHAPE, 53, np.uint8)
    died = []
    for seed in range(300):
        changed = with_dead_ccd(image, CAMERA, np.random.default_rng(seed))
        differs = changed != image
        if differs.any():
            (ccdnum,) = np.unique(CAMERA.labels[differs])
            assert np.array_equal(differs, CAMERA.labels == ccdnum)
            assert np.all(changed[differs] == GAP)
            died.append(ccdnum)
    assert 20 < len(died) < 75  # 15 % of 300, four standard deviations of 6
    assert len(set(died)) > 15
    assert 0 not in died


def identity():
    """Every pixel comes from its own place."""
    rows, columns = np.indices(PREVIEW_SHAPE)
    return Warp(rows, columns, EVERYWHERE, 1.0)


def shifted(down, across):
    """Everything moves by whole pixels."""
    rows, columns = np.indices(PREVIEW_SHAPE) - np.array([down, across])[:, None, None]
    inside = (rows >= 0) & (rows < 400) & (columns >= 0) & (columns < 400)
    return Warp(np.clip(rows, 0, 399), np.clip(columns, 0, 399), inside, 1.0)


def warped(warp, found, on_ccds=EVERYWHERE):
    sample = Sample.of_one(np.zeros(PREVIEW_SHAPE, np.uint8), found)
    return warp.sample(sample, sample.image, on_ccds)


def test_a_warp_moves_masks_and_pixels_alike():
    sample = square_exposure()
    for seed in range(10):
        warp = Warp.random(PREVIEW_SHAPE, np.random.default_rng(seed))
        moved = warp.mask(sample.found.masks)[0]
        assert np.array_equal((warp.image(sample.image) == 220) & warp.inside, moved)
        assert not moved[~warp.inside].any()


def test_a_warp_moves_what_annotators_marked_alike():
    sample = square_exposure()
    for seed in range(5):
        warp = Warp.random(PREVIEW_SHAPE, np.random.default_rng(seed))
        marked = warp.sample(sample, sample.image, EVERYWHERE).marked
        assert np.array_equal(marked[Artifact.RAYS] == 1, warp.mask(sample.found.masks)[0])
        assert np.array_equal(marked[3], marked[Artifact.RAYS])


def test_a_warp_grows_areas_by_its_zoom():
    middle = instances((Artifact.FAINT, 1.0, 150, 150, 250, 250))
    zooms = []
    for seed in range(10):
        warp = Warp.random(PREVIEW_SHAPE, np.random.default_rng(seed))
        (area,) = warped(warp, middle).found.masks.sum(axis=(1, 2))
        np.testing.assert_allclose(area, 100 * 100 * warp.zoom**2, rtol=0.03)
        zooms.append(warp.zoom)
    assert min(zooms) < 1 < max(zooms)


def test_instances_that_leave_the_picture_are_left_out():
    corner = instances((Artifact.BRIGHT, 1.0, 0, 0, 8, 8), (Artifact.BRIGHT, 1.0, 190, 190, 210, 210))
    for seed in range(20):
        moved = warped(Warp.random(PREVIEW_SHAPE, np.random.default_rng(seed)), corner).found
        assert np.all(moved.masks.sum(axis=(1, 2)) >= 40)
        assert len(moved) >= 1  # the middle never leaves


def test_no_instances_warp_to_none():
    assert len(warped(Warp.random(PREVIEW_SHAPE, np.random.default_rng(0)), Instances.empty()).found) == 0


def test_what_falls_beyond_the_ccds_does_not_count():
    """The corners of the picture show no CCD."""
    assert not ON_CCDS[:60, :60].any()
    found = instances((Artifact.BRIGHT, 1.0, 100, 100, 140, 140), (Artifact.FAINT, 1.0, 180, 180, 220, 220))
    stays = warped(identity(), found, ON_CCDS)
    assert stays.found.classes.tolist() == [Artifact.BRIGHT, Artifact.FAINT]
    moved = warped(shifted(-90, -90), found, ON_CCDS)
    assert moved.found.classes.tolist() == [Artifact.FAINT]
    assert not moved.marked[Artifact.BRIGHT].any()
    # Without the CCDs in mind it would still be in the picture.
    assert len(warped(shifted(-90, -90), found).found) == 2


def test_marks_end_where_ccds_end():
    found = instances((Artifact.FAINT, 1.0, 180, 180, 220, 220))
    sample = warped(identity(), found, ON_CCDS)
    assert np.array_equal(sample.marked[3] == 1, found.masks[0] & ON_CCDS)
    assert np.array_equal(sample.found.masks, found.masks)  # outlines go on across gaps


@pytest.mark.parametrize(("n_rows_left", "counts"), [(9, False), (11, True)])
def test_a_quarter_of_an_artifact_must_be_left(n_rows_left, counts):
    found = instances((Artifact.RAYS, 1.0, 0, 100, 40, 140))
    assert (len(warped(shifted(n_rows_left - 40, 0), found).found) == 1) is counts


@pytest.mark.parametrize(("side", "counts"), [(6, False), (7, True)])
def test_forty_pixels_must_be_left(side, counts):
    found = instances((Artifact.RAYS, 1.0, 100, 100, 100 + side, 100 + side))
    assert (len(warped(identity(), found).found) == 1) is counts
