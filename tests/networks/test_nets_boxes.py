import numpy as np
import pytest
from keras import ops

from cascade.networks.nets.boxes import MAX_LOG_SCALE, area, clip, decode, encode, overlaps, pyramid_anchors


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def random_boxes(rng, *shape):
    corner = rng.uniform(0, 300, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(2, 100, (*shape, 2))], axis=-1).astype(np.float32)


def test_anchors_of_two_levels_by_hand():
    anchors = pyramid_anchors(16, (8, 16), (6.0, 20.0), (1.0,))
    assert anchors.dtype == np.float32
    assert anchors.tolist() == [[1, 1, 7, 7], [1, 9, 7, 15], [9, 1, 15, 7], [9, 9, 15, 15], [-2, -2, 18, 18]]


def test_anchor_ratio_is_width_over_height_and_keeps_the_area():
    wide, tall = pyramid_anchors(8, (8,), (8.0,), (4.0, 0.25))
    assert wide.tolist() == [2, -4, 6, 12]
    assert tall.tolist() == [-4, 2, 12, 6]


def test_a_level_that_does_not_divide_the_image_gets_a_cell_for_the_rest():
    assert pyramid_anchors(20, (8,), (8.0,), (1.0,)).shape == (9, 4)


def test_every_level_needs_a_size():
    with pytest.raises(ValueError, match="zip"):
        pyramid_anchors(16, (8, 16), (8.0,), (1.0,))


def test_overlaps_by_hand():
    a = np.array([[0, 0, 2, 2], [0, 0, 4, 1]], np.float32)
    b = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 4, 4], [5, 5, 5, 9]], np.float32)
    expected = [[1, 1 / 7, 0, 0], [2 / 6, 0, 0, 0]]
    np.testing.assert_allclose(numbers(overlaps(a, b)), expected, rtol=1e-6)


def test_overlap_of_empty_boxes_is_zero_and_finite():
    empty = np.zeros((2, 4), np.float32)
    assert numbers(overlaps(empty, empty)).tolist() == [[0, 0], [0, 0]]


def test_overlaps_are_symmetric_and_independent_across_the_batch():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 2, 5), random_boxes(rng, 2, 7)
    batch = numbers(overlaps(a, b))
    assert batch.shape == (2, 5, 7)
    np.testing.assert_allclose(batch, numbers(overlaps(b, a)).swapaxes(1, 2), rtol=1e-6)
    np.testing.assert_allclose(batch[1], numbers(overlaps(a[1], b[1])), rtol=1e-6)


def test_area_by_hand_and_zero_for_a_box_turned_inside_out():
    boxes = np.array([[1, 2, 4, 4], [4, 4, 1, 1], [0, 5, 9, 5]], np.float32)
    assert numbers(area(boxes)).tolist() == [6, 0, 0]


def test_offsets_by_hand():
    anchor = np.array([[0, 0, 10, 20]], np.float32)
    # Shifted by half its height and a tenth of its width, of the same height, and e times as wide.
    box = np.array([[5, 12 - 10 * np.e, 15, 12 + 10 * np.e]], np.float32)
    np.testing.assert_allclose(numbers(encode(box, anchor)), [[5.0, 1.0, 0.0, 5.0]], atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_decode_is_the_inverse_of_encode(seed):
    rng = np.random.default_rng(seed)
    boxes, anchors = random_boxes(rng, 3, 50), random_boxes(rng, 50)
    np.testing.assert_allclose(numbers(decode(encode(boxes, anchors), anchors)), boxes, atol=2e-3)


def test_offsets_of_zero_leave_the_anchor():
    anchors = random_boxes(np.random.default_rng(0), 10)
    np.testing.assert_allclose(numbers(decode(np.zeros((10, 4), np.float32), anchors)), anchors, atol=1e-4)


def test_wild_offsets_stay_finite():
    anchor = np.array([[0, 0, 16, 16]], np.float32)
    grown = numbers(decode(np.array([[0, 0, 1e9, 1e9]], np.float32), anchor))
    np.testing.assert_allclose(grown[0, 2] - grown[0, 0], 16 * np.exp(MAX_LOG_SCALE), rtol=1e-5)


def test_offsets_of_an_empty_box_are_finite():
    assert np.isfinite(numbers(encode(np.zeros((1, 4), np.float32), np.array([[0, 0, 9, 9]], np.float32)))).all()


def test_clipped_boxes_lie_in_the_image():
    assert numbers(clip(np.array([[-3, 5, 9, 99]], np.float32), 8)).tolist() == [[0, 5, 8, 8]]
