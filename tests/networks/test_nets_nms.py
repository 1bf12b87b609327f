import numpy as np
import pytest
from keras import ops

from cascade.networks.nets.nms import best, pick, suppress

tf = pytest.importorskip("tensorflow")


def stays(boxes, valid=None, max_overlap=0.5):
    """Suppression of one image's boxes."""
    boxes = np.asarray(boxes, np.float32)
    valid = np.ones(len(boxes), bool) if valid is None else np.asarray(valid)
    return ops.convert_to_numpy(suppress(boxes[None], valid[None], max_overlap=max_overlap))[0].tolist()


def random_boxes(rng, n_boxes):
    corner = rng.uniform(0, 60, (n_boxes, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 50, (n_boxes, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize("max_overlap", [0.1, 0.3, 0.5, 0.7])
def test_equals_tensorflow_on_random_boxes(max_overlap):
    rng = np.random.default_rng(round(100 * max_overlap))
    boxes = np.stack([random_boxes(rng, 40) for _ in range(25)])
    valid = rng.random((25, 40)) < rng.random((25, 1))
    batch = ops.convert_to_numpy(suppress(boxes, valid, max_overlap=max_overlap))
    falling = np.linspace(1, 0.1, 40, dtype=np.float32)
    for image_boxes, image_valid, got in zip(boxes, valid, batch, strict=True):
        entries = np.flatnonzero(image_valid)
        chosen = tf.image.non_max_suppression(
            image_boxes[entries], falling[entries], max_output_size=40, iou_threshold=max_overlap
        )
        assert np.flatnonzero(got).tolist() == sorted(entries[chosen.numpy()].tolist())


def test_a_long_list_equals_tensorflow_too():
    rng = np.random.default_rng(11)
    boxes = random_boxes(rng, 1300) * 4
    chosen = tf.image.non_max_suppression(
        boxes, np.linspace(1, 0.1, 1300, dtype=np.float32), max_output_size=1300, iou_threshold=0.6
    )
    assert 100 < len(chosen) < 1200
    assert np.flatnonzero(stays(boxes, max_overlap=0.6)).tolist() == sorted(chosen.numpy().tolist())


def test_a_suppressed_box_suppresses_nothing():
    # Each overlaps the next by 2/3, so that every second one stays: the longest chain there can be.
    chain = [[0, 2 * k, 10, 2 * k + 10] for k in range(9)]
    assert stays(chain, max_overlap=0.6) == [True, False] * 4 + [True]


def test_an_invalid_box_suppresses_nothing_and_never_stays():
    same = [[0, 0, 9, 9]] * 3
    assert stays(same, valid=[False, True, True]) == [False, True, False]


def test_without_valid_boxes_none_stays():
    assert stays([[0, 0, 9, 9]] * 3, valid=[False] * 3) == [False] * 3


def test_overlap_of_exactly_the_limit_is_allowed():
    assert stays([[0, 0, 2, 1], [0, 0, 1, 1]], max_overlap=0.5) == [True, True]


def test_empty_boxes_suppress_nothing():
    assert stays([[3, 3, 3, 3]] * 2) == [True, True]


def test_images_do_not_touch_each_other():
    boxes = np.stack([random_boxes(np.random.default_rng(seed), 20) for seed in range(4)])
    valid = np.ones((4, 20), bool)
    batch = ops.convert_to_numpy(suppress(boxes, valid, max_overlap=0.3))
    for n in range(4):
        assert batch[n].tolist() == stays(boxes[n], max_overlap=0.3)


def test_best_are_the_first_to_keep_and_padding_is_not_valid():
    keep = np.array([[True, True, False, True], [False, False, False, False]])
    indices, valid = map(ops.convert_to_numpy, best(keep, 4))
    assert indices[0, :3].tolist() == [0, 1, 3]
    assert valid.tolist() == [[True, True, True, False], [False] * 4]


def test_no_more_than_asked_for():
    indices, valid = map(ops.convert_to_numpy, best(np.ones((1, 5), bool), 2))
    assert indices.tolist() == [[0, 1]]
    assert valid.all()


def test_pick_takes_rows():
    values = np.arange(12).reshape(2, 3, 2)
    picked = ops.convert_to_numpy(pick(values, np.array([[2, 0], [1, 1]])))
    assert picked.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]
