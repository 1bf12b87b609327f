import numpy as np
import pytest
from fakes import instances
from scipy import ndimage

from cascade.core.artifact import Artifact
from cascade.core.exposure import PREVIEW_SHAPE, Instances
from cascade.networks.fuse import MIN_AREA_PX, _window, class_regions, fused, upsampled

BRIGHT, FAINT, RAYS, ANY = range(4)
N_CELLS = 100


def cells(*squares, shape=(N_CELLS, N_CELLS)):
    """A semantic map, 0 but for (channel, probability, y0, x0, y1, x1) in cells."""
    semantic = np.zeros((*shape, 4), np.float32)
    for channel, probability, y0, x0, y1, x1 in squares:
        semantic[y0:y1, x0:x1, channel] = probability
    return semantic


def map_of(mask, probability=0.9, channel=FAINT):
    """A map of cells as sure as can be where a mask of pixels is."""
    semantic = np.zeros((N_CELLS, N_CELLS, 4), np.float32)
    semantic[..., channel] = probability * mask.reshape(N_CELLS, 4, N_CELLS, 4).mean(axis=(1, 3))
    return semantic


def box(mask):
    """The first and last row and column of a mask, half-open."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


# upsampled


@pytest.mark.parametrize("shape", [(400, 400), (7, 13), (3, 5)])
def test_a_constant_map_stays_constant(shape):
    fine = upsampled(np.full((3, 5, 2), 0.37, np.float32), shape)
    assert fine.shape == (*shape, 2)
    assert fine.dtype == np.float32
    np.testing.assert_allclose(fine, 0.37, rtol=1e-6)


def test_a_map_of_the_same_size_stays_as_it_is():
    semantic = np.random.default_rng(0).random((5, 7, 4)).astype(np.float32)
    np.testing.assert_array_equal(upsampled(semantic, (5, 7)), semantic)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_linear_ramp_stays_linear_between_the_middles_of_cells(axis):
    ramp = np.moveaxis(np.broadcast_to(np.arange(10, dtype=np.float32)[:, None, None], (10, 6, 1)), 0, axis)
    shape = (40, 24) if axis == 0 else (24, 40)
    fine = np.moveaxis(upsampled(np.ascontiguousarray(ramp), shape), axis, 0)[:, :, 0]
    # The middle of cell k lies at 4 k + 1.5 in indices of pixels.
    expected = np.clip((np.arange(40) - 1.5) / 4, 0, 9)
    np.testing.assert_allclose(fine, np.broadcast_to(expected[:, None], (40, 24)), atol=1e-5)


def test_enlarging_equals_scipy():
    semantic = np.random.default_rng(1).random((9, 12, 4)).astype(np.float32)
    where = np.meshgrid((np.arange(36) + 0.5) / 4 - 0.5, (np.arange(36) + 0.5) / 3 - 0.5, indexing="ij")
    for channel in range(4):
        expected = ndimage.map_coordinates(semantic[..., channel], where, order=1, mode="nearest")
        np.testing.assert_allclose(upsampled(semantic, (36, 36))[..., channel], expected, atol=1e-6)


def test_a_map_of_a_single_cell_can_be_enlarged():
    np.testing.assert_allclose(upsampled(np.full((1, 1, 4), 0.25, np.float32), (4, 4)), 0.25)


@pytest.mark.parametrize("shape", [(40, 40), (41, 67), (7, 5)])
def test_nothing_is_drawn_outside_the_window(shape):
    rng = np.random.default_rng(3)
    for _ in range(50):
        semantic = np.zeros((10, 10, 4), np.float32)
        at = rng.integers(0, 10, (2, rng.integers(1, 4)))
        semantic[at[0], at[1], rng.integers(0, 4, at.shape[1])] = rng.uniform(0.4, 1, at.shape[1])
        window = _window(semantic, shape, 0.5)
        drawn = class_regions(upsampled(semantic, shape), 0.5)
        if window is None:
            assert not drawn.any()
            continue
        np.testing.assert_allclose(upsampled(semantic, shape, window), upsampled(semantic, shape)[window], atol=1e-6)
        drawn[:, *window] = False
        assert not drawn.any()


# class_regions


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ((0.6, 0.1, 0.1, 0.7), [True, False, False]),
        ((0.6, 0.55, 0.1, 0.9), [True, True, False]),  # a pixel may belong to two classes
        ((0.5, 0.1, 0.1, 0.2), [True, False, False]),  # a class alone is enough, and so is the threshold itself
        ((0.3, 0.4, 0.1, 0.7), [False, True, False]),  # people disagree on the class: the likeliest
        ((0.3, 0.4, 0.45, 0.5), [False, False, True]),
        ((0.3, 0.4, 0.1, 0.49), [False, False, False]),
        ((0.1, 0.6, 0.5, 0.7), [False, True, True]),
    ],
)
def test_classes_of_a_pixel(probabilities, expected):
    fine = np.array(probabilities, np.float32)[None, None]
    assert class_regions(fine, 0.5)[:, 0, 0].tolist() == expected


# fused


def test_an_empty_map_adds_nothing():
    found = instances((FAINT, 0.9, 100, 100, 200, 200), (RAYS, 0.7, 0, 0, 50, 50))
    united = fused(found, cells(), threshold=0.5)
    for name in ("classes", "scores", "boxes", "masks"):
        np.testing.assert_array_equal(getattr(united, name), getattr(found, name))


def test_nothing_found_and_nothing_drawn_is_nothing():
    united = fused(Instances.empty(), cells(), threshold=0.5)
    assert len(united) == 0
    assert united.masks.shape == (0, *PREVIEW_SHAPE)


def test_a_region_that_no_instance_covers_becomes_one():
    united = fused(Instances.empty(), cells((RAYS, 0.9, 20, 30, 40, 60)), threshold=0.5)
    assert united.classes.tolist() == [Artifact.RAYS]
    assert (united.classes.dtype, united.scores.dtype, united.boxes.dtype) == (np.uint8, np.float32, np.float32)
    np.testing.assert_allclose(box(united.masks[0]), [80, 120, 160, 240], atol=1)
    assert united.boxes[0].tolist() == box(united.masks[0])
    assert 0.75 < united.scores[0] <= 0.9


def test_the_score_of_a_region_is_its_mean_probability():
    semantic = np.zeros((N_CELLS, N_CELLS, 4), np.float32)
    semantic[..., RAYS] = np.linspace(0.6, 0.8, N_CELLS)[:, None]
    united = fused(Instances.empty(), semantic, threshold=0.5)
    assert len(united) == 1
    assert united.masks.all()
    np.testing.assert_allclose(united.scores, 0.7, atol=1e-3)


def test_a_region_that_an_instance_of_its_class_covers_is_not_repeated():
    found = instances((FAINT, 0.9, 80, 80, 160, 160))
    united = fused(found, map_of(found.masks[0]), threshold=0.5)
    assert len(united) == 1
    np.testing.assert_array_equal(united.masks, found.masks)
    assert united.scores.tolist() == found.scores.tolist()


def test_an_instance_of_another_class_covers_nothing():
    found = instances((BRIGHT, 0.95, 80, 80, 160, 160))
    united = fused(found, map_of(found.masks[0]), threshold=0.5)
    assert united.classes.tolist() == [Artifact.BRIGHT, Artifact.FAINT]


def test_a_seam_around_an_instance_is_no_artifact():
    """The map reaches two pixels farther than the instance on each side."""
    found = instances((FAINT, 0.9, 82, 82, 158, 158))
    drawn = instances((FAINT, 0.9, 80, 80, 160, 160))
    assert len(fused(found, map_of(drawn.masks[0]), threshold=0.5)) == 1
    # Two pixels wide and 80 long would be enough without the instance.
    bare = instances((FAINT, 0.9, 80, 80, 84, 160))
    assert len(fused(Instances.empty(), map_of(bare.masks[0]), threshold=0.5)) == 1


def test_what_is_left_beside_an_instance_becomes_one():
    found = instances((FAINT, 0.9, 80, 80, 160, 160))
    drawn = instances((FAINT, 0.9, 80, 80, 160, 240))
    united = fused(found, map_of(drawn.masks[0]), threshold=0.5)
    assert united.classes.tolist() == [FAINT, FAINT]
    assert not (united.masks[0] & united.masks[1]).any()
    np.testing.assert_allclose(box(united.masks[1]), [80, 160, 160, 240], atol=2)
    np.testing.assert_array_equal(united.masks[0], found.masks[0])


def test_regions_apart_become_artifacts_of_their_own_and_diagonal_ones_are_one():
    semantic = cells((BRIGHT, 0.9, 10, 10, 20, 20), (BRIGHT, 0.8, 10, 60, 20, 70), (BRIGHT, 0.7, 20, 70, 30, 80))
    united = fused(Instances.empty(), semantic, threshold=0.3)
    assert len(united) == 2
    assert united.masks[0].sum() < united.masks[1].sum()


@pytest.mark.parametrize(("side", "n_found"), [(4, 0), (5, 1)])
def test_regions_of_too_few_pixels_are_left_out(side, n_found):
    """On a map as fine as the picture a square of cells is one of pixels."""
    assert 4 * 4 < MIN_AREA_PX <= 5 * 5
    found = Instances.empty((40, 40))
    semantic = cells((RAYS, 0.9, 3, 3, 3 + side, 3 + side), shape=(40, 40))
    united = fused(found, semantic, threshold=0.5)
    assert len(united) == n_found
    assert united.masks.shape == (n_found, 40, 40)


def test_an_instance_is_kept_however_small():
    found = instances((RAYS, 0.9, 3, 3, 5, 5))
    assert len(fused(found, cells(), threshold=0.5)) == 1


def test_scores_fall_and_everything_follows_them():
    found = instances((FAINT, 0.95, 0, 0, 40, 40), (BRIGHT, 0.3, 300, 300, 340, 340))
    united = fused(found, cells((RAYS, 0.7, 20, 30, 40, 60)), threshold=0.5)
    assert united.classes.tolist() == [FAINT, RAYS, BRIGHT]
    assert np.all(np.diff(united.scores) < 0)
    for one in range(3):
        assert united.boxes[one].tolist() == box(united.masks[one])


def test_boxes_of_instances_stay_what_the_network_said():
    found = instances((FAINT, 0.9, 80, 80, 160, 160))
    loose = Instances(found.classes, found.scores, found.boxes + np.float32(0.25), found.masks)
    united = fused(loose, cells((RAYS, 0.7, 40, 70, 50, 80)), threshold=0.5)
    assert united.boxes[0].tolist() == loose.boxes[0].tolist()


def test_people_who_disagree_on_the_class_still_see_an_artifact():
    semantic = cells((BRIGHT, 0.35, 20, 20, 40, 40), (FAINT, 0.4, 20, 20, 40, 40), (ANY, 0.8, 20, 20, 40, 40))
    united = fused(Instances.empty(), semantic, threshold=0.5)
    assert united.classes.tolist() == [Artifact.FAINT]
    assert 0.6 < united.scores[0] <= 0.8


def test_a_lower_threshold_never_covers_less():
    rng = np.random.default_rng(3)
    semantic = ndimage.gaussian_filter(rng.random((N_CELLS, N_CELLS, 4)), (4, 4, 0)).astype(np.float32)
    semantic = (semantic - semantic.min()) / np.ptp(semantic)
    covered = [
        np.any(fused(Instances.empty(), semantic, threshold=threshold).masks, axis=0).sum()
        for threshold in (0.9, 0.7, 0.5, 0.3)
    ]
    assert covered == sorted(covered)
    assert covered[-1] > covered[0]


def test_nothing_that_was_given_is_changed():
    found, semantic = instances((FAINT, 0.9, 80, 80, 160, 160)), cells((FAINT, 0.9, 30, 30, 60, 60))
    masks, before = found.masks.copy(), semantic.copy()
    fused(found, semantic, threshold=0.5)
    assert np.array_equal(found.masks, masks)
    assert np.array_equal(semantic, before)
