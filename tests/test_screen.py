import warnings

import numpy as np
import pytest

from cascade.models import write_model
from cascade.screen import KerasScreener, fixed_batches, sigmoid


class FakeNetwork:
    """Answers with the mean grey level of an image, and notes the shapes that it saw."""

    def __init__(self):
        self.seen = []

    def predict_on_batch(self, images):
        self.seen.append((images.shape, images.dtype.name))
        return images.mean(axis=(1, 2))


def flat_images(*levels):
    return np.stack([np.full((400, 400), level, np.uint8) for level in levels])


def test_scores_follow_the_images_in_order():
    scores = KerasScreener(FakeNetwork()).score(flat_images(0, 3, 1))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, 1 / (1 + np.exp([0.0, -3.0, -1.0])), rtol=1e-6)


def test_network_sees_one_shape_however_many_images_there_are():
    network = FakeNetwork()
    scores = KerasScreener(network).score(flat_images(*range(33)))
    assert scores.shape == (33,)
    assert network.seen == [((32, 400, 400, 1), "float32")] * 2


def test_no_images_no_scores_and_no_work():
    network = FakeNetwork()
    scores = KerasScreener(network).score(np.zeros((0, 400, 400), np.uint8))
    assert scores.shape == (0,)
    assert scores.dtype == np.float32
    assert not network.seen


@pytest.mark.parametrize(("n_images", "n_batches"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2)])
def test_fixed_batches_are_filled_up_with_blank_images(n_images, n_batches):
    images = np.full((n_images, 2, 3), 7, np.uint8)
    batches = fixed_batches(images, 4)
    assert [batch.shape for batch in batches] == [(4, 2, 3, 1)] * n_batches
    assert sum(batch.sum() for batch in batches) == 7 * 6 * n_images
    if n_images:
        assert np.array_equal(np.concatenate(batches)[:n_images, ..., 0], images)


def test_sigmoid_neither_overflows_nor_leaves_its_range():
    logits = np.array([-1e30, -100, -1, 0, 1, 100, 1e30], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = sigmoid(logits)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [0, 0, 0.26894143, 0.5, 0.73105857, 1, 1], atol=1e-7)


def test_screener_loads_from_a_model_folder(tiny_architectures, tmp_path):
    from cascade.models import build_network

    architecture = tiny_architectures["screen"]
    network = build_network(architecture)
    info = write_model(tmp_path / "m", network, task="screen", architecture=architecture, threshold=0.5, training={})
    images = np.random.default_rng(0).integers(0, 256, (2, 400, 400)).astype(np.uint8)
    np.testing.assert_allclose(KerasScreener.load(info).score(images), KerasScreener(network).score(images), atol=1e-6)
