import numpy as np
import pytest
from keras import ops

from cascade.networks.nets.frame import Frame


def test_a_padded_frame_moves_boxes():
    frame = Frame(size=416, stretched=False)
    boxes = ops.convert_to_numpy(frame.to_network(np.array([[0, 0, 400, 400]], np.float32)))
    assert boxes.tolist() == [[8, 8, 408, 408]]
    assert frame.limit == 416


def test_a_stretched_frame_scales_boxes_and_ends_them_on_their_last_pixel():
    frame = Frame(size=1024, stretched=True, inclusive=True)
    boxes = ops.convert_to_numpy(frame.to_network(np.array([[0, 100, 400, 200]], np.float32)))
    assert boxes.tolist() == [[0, 256, 1023, 511]]
    assert frame.limit == 1023


@pytest.mark.parametrize("frame", [Frame(416, stretched=False), Frame(512, stretched=True, inclusive=True)])
def test_back_to_the_preview_is_the_inverse(frame):
    boxes = np.random.default_rng(0).uniform(0, 400, (5, 3, 4)).astype(np.float32)
    back = ops.convert_to_numpy(frame.to_preview(frame.to_network(boxes)))
    np.testing.assert_allclose(back, boxes, atol=1e-3)


def test_a_padded_preview_keeps_its_pixels():
    image = np.random.default_rng(0).normal(size=(1, 400, 400, 1)).astype(np.float32)
    fitted = ops.convert_to_numpy(Frame(416, stretched=False).fit(image, sky=53.0))
    assert fitted.shape == (1, 416, 416, 1)
    np.testing.assert_array_equal(fitted[:, 8:-8, 8:-8], image)
    assert np.all(fitted[:, :8] == 53)


def test_a_stretched_preview_is_what_matterport_makes_of_it():
    utils = pytest.importorskip("mrcnn.utils", reason="the oracle is in the extra `mrcnn`")
    image = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.float32)
    theirs, window, scale, *_ = utils.resize_image(image, min_dim=1024, max_dim=1024, mode="square")
    assert (window, scale) == ((0, 0, 1024, 1024), 2.56)
    ours = ops.convert_to_numpy(Frame(1024, stretched=True).fit(image[None], sky=0.0))[0]
    # Beyond the outermost pixel centres theirs fades to black, ours goes on as it ends.
    np.testing.assert_allclose(ours[2:-2, 2:-2], theirs[2:-2, 2:-2], atol=0.01)
