import numpy as np
import pytest
from scipy import ndimage

from cascade.exposure import Artifact
from cascade.models import build_network, write_model
from cascade.segment import KerasSegmenter, paste_masks


class FakeNetwork:
    """Finds one box in each image, of the class and with the score that its first pixels name; notes what it saw."""

    def __init__(self, box=(10, 20, 50, 80), mask=1.0):
        self.seen, self._box, self._mask = [], box, mask

    def predict_on_batch(self, images):
        self.seen.append((images.shape, images.dtype.name))
        n_images = len(images)
        boxes, scores = np.zeros((n_images, 3, 4), np.float32), np.zeros((n_images, 3), np.float32)
        classes, masks = np.zeros((n_images, 3), np.int32), np.zeros((n_images, 3, 28, 28), np.float32)
        boxes[:, 0], masks[:, 0] = self._box, self._mask
        classes[:, 0], scores[:, 0] = images[:, 0, 0, 0], images[:, 0, 1, 0] / 100
        return {"boxes": boxes, "scores": scores, "classes": classes, "masks": masks}


def images_of(*class_scores):
    """Images that tell the fake what to find, from (class, score in percent)."""
    images = np.zeros((len(class_scores), 400, 400), np.uint8)
    images[:, 0, :2] = class_scores
    return images


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


def test_instances_follow_the_images_in_order():
    found = KerasSegmenter(FakeNetwork(), min_score=0.5).segment(images_of((0, 90), (2, 80), (1, 20)))
    assert [len(instances) for instances in found] == [1, 1, 0]
    assert found[1].classes.tolist() == [Artifact.RAYS]
    assert found[1].classes.dtype == np.uint8
    assert found[1].scores[0] == pytest.approx(0.8)
    assert found[1].boxes.tolist() == [[10, 20, 50, 80]]
    assert np.argwhere(found[1].masks[0]).min(axis=0).tolist() == [10, 20]
    assert found[1].masks.sum() == 40 * 60


def test_network_sees_one_shape_however_many_images_there_are():
    network = FakeNetwork()
    found = KerasSegmenter(network, min_score=0.5).segment(images_of(*[(0, 90)] * 9))
    assert len(found) == 9
    assert network.seen == [((8, 400, 400, 1), "float32")] * 2


def test_no_images_no_instances():
    assert KerasSegmenter(FakeNetwork(), min_score=0.5).segment(np.zeros((0, 400, 400), np.uint8)) == []


def test_a_score_at_the_threshold_is_kept_and_padding_never_is():
    assert len(KerasSegmenter(FakeNetwork(), min_score=0.5).segment(images_of((0, 50)))[0]) == 1
    assert len(KerasSegmenter(FakeNetwork(), min_score=0.0).segment(images_of((0, 1)))[0]) == 1
    assert len(KerasSegmenter(FakeNetwork(), min_score=0.0).segment(images_of((0, 0)))[0]) == 0


def test_boxes_are_cut_to_the_image():
    (found,) = KerasSegmenter(FakeNetwork(box=(-8, 350, 30, 408)), min_score=0.5).segment(images_of((0, 90)))
    assert found.boxes.tolist() == [[0, 350, 30, 400]]
    assert found.masks[0, :30, 350:].all()


@pytest.mark.parametrize("network", [FakeNetwork(mask=0.4), FakeNetwork(box=(-8, 0, 0, 40))])
def test_an_instance_without_pixels_is_left_out(network):
    (found,) = KerasSegmenter(network, min_score=0.5).segment(images_of((0, 90)))
    assert len(found) == 0
    assert found.masks.shape == (0, 400, 400)


def test_segmenter_loads_from_a_model_folder(tiny_architectures, tmp_path):
    architecture = tiny_architectures["segment"]
    network = build_network(architecture)
    info = write_model(tmp_path / "m", network, task="segment", architecture=architecture, threshold=0.2, training={})
    images = np.random.default_rng(0).integers(0, 256, (1, 400, 400)).astype(np.uint8)
    (found,), (expected,) = (
        segmenter.segment(images) for segmenter in (KerasSegmenter.load(info), KerasSegmenter(network, min_score=0.2))
    )
    assert len(found) > 0
    assert np.array_equal(found.masks, expected.masks)
    np.testing.assert_allclose(found.boxes, expected.boxes)
