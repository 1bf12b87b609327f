import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from cascade.networks.nets.roi_align import feature_table, roi_align

STRIDES = (8, 16, 32, 64)
SIZE = 256
CANONICAL_PX = 56.0


def random_pyramid(rng, batch=1, channels=3):
    return [rng.normal(size=(batch, SIZE // s, SIZE // s, channels)).astype(np.float32) for s in STRIDES]


def aligned(pyramid, boxes, size=7):
    boxes = np.asarray(boxes, np.float32)
    shapes = [level.shape[1:3] for level in pyramid]
    return ops.convert_to_numpy(
        roi_align(feature_table(pyramid), boxes, shapes=shapes, strides=STRIDES, canonical_px=CANONICAL_PX, size=size)
    )


def sampled(features, box, stride, size=7):
    """The oracle: scipy's linear interpolation at the middle of every bin."""
    bins = (np.arange(size) + 0.5) / size
    y, x = (box[k] + (box[k + 2] - box[k]) * bins for k in (0, 1))
    where = np.stack(np.meshgrid(y / stride - 0.5, x / stride - 0.5, indexing="ij"))
    channels = [ndimage.map_coordinates(c, where, order=1, mode="nearest") for c in np.moveaxis(features, -1, 0)]
    return np.stack(channels, axis=-1)


# Side in pixels and the level that He et al. 2017 choose for it, with 56 px on the second.
@pytest.mark.parametrize(
    ("side", "level"), [(1, 0), (20, 0), (55.9, 0), (56, 1), (111, 1), (112, 2), (224, 3), (250, 3)]
)
def test_equals_scipy_on_the_level_that_fits(side, level):
    rng = np.random.default_rng(level)
    pyramid = random_pyramid(rng)
    corner = rng.uniform(0, SIZE - side, 2)
    box = np.concatenate([corner, corner + side])
    expected = sampled(pyramid[level][0], box, STRIDES[level])
    np.testing.assert_allclose(aligned(pyramid, [[box]])[0, 0], expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_edge_to_edge_equals_crop_and_resize(seed):
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    last = 255.0  # of 256 px
    corner = rng.uniform(0, 100, (2, 9, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 150, (2, 9, 2))], axis=-1).astype(np.float32)
    expected = tf.image.crop_and_resize(features, boxes.reshape(-1, 4) / last, np.repeat([0, 1], 9), (7, 7))
    ours = roi_align(
        feature_table([features]), boxes, shapes=[(32, 32)], strides=(8,), canonical_px=CANONICAL_PX, size=7,
        edge_to_edge=last,
    )  # fmt: skip
    np.testing.assert_allclose(ops.convert_to_numpy(ours).reshape(18, 7, 7, 3), expected, atol=1e-4)


def test_level_follows_the_area_not_the_longer_side():
    pyramid = [np.full((1, SIZE // s, SIZE // s, 1), s, np.float32) for s in STRIDES]
    boxes = [[[0, 0, 10, 250], [0, 0, 28, 112], [0, 0, 28, 111], [0, 0, 256, 256]]]
    assert aligned(pyramid, boxes, size=1).ravel().tolist() == [8, 16, 8, 64]


def test_boxes_beyond_the_image_see_its_border():
    rng = np.random.default_rng(5)
    pyramid = random_pyramid(rng)
    box = np.array([-40.0, 230.0, 15.0, 300.0])
    np.testing.assert_allclose(aligned(pyramid, [[box]])[0, 0], sampled(pyramid[1][0], box, 16), atol=1e-4)


def test_a_linear_ramp_gives_the_position_of_the_bins():
    pyramid = []
    for stride in STRIDES:
        y, x = (np.indices((SIZE // stride, SIZE // stride)) + 0.5) * stride
        pyramid.append(np.stack([y, x], axis=-1)[None].astype(np.float32))
    got = aligned(pyramid, [[[100, 60, 128, 102]]], size=7)[0, 0]
    np.testing.assert_allclose(got[:, 0, 0], np.arange(102, 128, 4), atol=1e-3)
    np.testing.assert_allclose(got[0, :, 1], np.arange(63, 102, 6), atol=1e-3)


def test_an_empty_box_gives_finite_features():
    pyramid = random_pyramid(np.random.default_rng(1))
    got = aligned(pyramid, np.zeros((1, 2, 4)))
    np.testing.assert_allclose(got[0, 0, 3, 3], pyramid[0][0, 0, 0], atol=1e-6)


def test_images_of_a_batch_keep_apart():
    rng = np.random.default_rng(2)
    pyramid = random_pyramid(rng, batch=3)
    boxes = np.sort(rng.uniform(0, SIZE, (3, 5, 2, 2)), axis=2).reshape(3, 5, 4)
    batch = aligned(pyramid, boxes)
    assert batch.shape == (3, 5, 7, 7, 3)
    for n in range(3):
        alone = aligned([level[n : n + 1] for level in pyramid], boxes[n : n + 1])
        np.testing.assert_allclose(batch[n : n + 1], alone, atol=1e-5)


def test_bfloat16_features_stay_bfloat16_and_close():
    pyramid = random_pyramid(np.random.default_rng(3))
    box = np.array([[[30.0, 40.0, 90.0, 100.0]]], np.float32)
    halved = [ops.cast(level, "bfloat16") for level in pyramid]
    shapes = [level.shape[1:3] for level in pyramid]
    got = roi_align(feature_table(halved), box, shapes=shapes, strides=STRIDES, canonical_px=CANONICAL_PX, size=7)
    assert "bfloat16" in str(got.dtype)
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(got, "float32")), aligned(pyramid, box), atol=0.05)
