import warnings

import numpy as np
from engine_fakes import MeanEngine

from cascade.engines import sigmoid
from cascade.screen import NetworkScreener


def flat_images(*levels):
    return np.stack([np.full((400, 400), level, np.uint8) for level in levels])


def test_scores_follow_the_images_in_order():
    scores = NetworkScreener(MeanEngine()).score(flat_images(0, 3, 1))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, 1 / (1 + np.exp([0.0, -3.0, -1.0])), rtol=1e-6)


def test_no_images_no_scores_and_no_work():
    engine = MeanEngine()
    scores = NetworkScreener(engine).score(np.zeros((0, 400, 400), np.uint8))
    assert scores.shape == (0,)
    assert scores.dtype == np.float32
    assert not engine.seen


def test_sigmoid_neither_overflows_nor_leaves_its_range():
    logits = np.array([-1e30, -100, -1, 0, 1, 100, 1e30], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = sigmoid(logits)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [0, 0, 0.26894143, 0.5, 0.73105857, 1, 1], atol=1e-7)
