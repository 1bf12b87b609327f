import numpy as np
import pytest
from scipy import ndimage

from cascade.networks.paste import paste_masks


def pasted(mask, box, shape=(40, 40)):
    return paste_masks(np.asarray(mask, np.float32)[None], np.array([box], np.float32), shape)[0]


def test_a_full_mask_fills_exactly_the_pixels_whose_centres_lie_in_the_box():
    mask = pasted(np.ones((28, 28)), [3.4, 5.6, 11.4, 30.5])
    expected = np.zeros((40, 40), bool)
    expected[3:11, 6:30] = True  # centres 3.5 ... 10.5 and 6.5 ... 29.5; the upper end is open
    assert np.array_equal(mask, expected)


def test_whole_pixels_are_half_open():
    mask = pasted(np.ones((14, 14)), [2, 3, 5, 4])
    assert np.argwhere(mask).tolist() == [[2, 3], [3, 3], [4, 3]]


def test_a_box_beyond_the_border_is_cut():
    mask = pasted(np.ones((28, 28)), [-8, 30, 10, 48])
    expected = np.zeros((40, 40), bool)
    expected[:10, 30:] = True
    assert np.array_equal(mask, expected)


def test_a_box_outside_the_image_is_empty():
    assert not pasted(np.ones((28, 28)), [50, 50, 60, 60]).any()


def test_an_empty_box_is_empty():
    assert not pasted(np.ones((28, 28)), [5, 5, 5, 5]).any()


def test_half_of_the_mask_is_half_of_the_box():
    half = np.zeros((28, 28))
    half[:, :14] = 1
    mask = pasted(half, [0, 0, 28, 28])
    assert mask[:28, :14].all()
    assert not mask[:, 14:].any()


def test_no_masks_give_no_masks():
    assert paste_masks(np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32)).shape == (0, 400, 400)


@pytest.mark.parametrize("seed", range(5))
def test_interpolation_equals_scipy(seed):
    rng = np.random.default_rng(seed)
    probabilities = ndimage.gaussian_filter(rng.random((28, 28)), 2) + rng.normal(0, 0.02, (28, 28))
    probabilities = (probabilities - probabilities.min()) / np.ptp(probabilities)
    y0, x0, y1, x1 = np.sort(rng.uniform(0, 100, (2, 2)), axis=0).ravel()
    rows, columns = ((np.arange(100) + 0.5 - low) / (high - low) for low, high in ((y0, y1), (x0, x1)))
    where = np.stack(np.meshgrid(rows * 28 - 0.5, columns * 28 - 0.5, indexing="ij"))
    level = ndimage.map_coordinates(probabilities, where, order=1, mode="nearest")
    inside = np.outer((rows >= 0) & (rows < 1), (columns >= 0) & (columns < 1))
    sure = np.abs(level - 0.5) > 1e-4
    got = pasted(probabilities, [y0, x0, y1, x1], (100, 100))
    assert np.array_equal(got[sure], ((level >= 0.5) & inside)[sure])
