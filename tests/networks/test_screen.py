import warnings

import numpy as np
from engine_fakes import MeanEngine

from cascade.networks.calibration import Calibration
from cascade.networks.engines import sigmoid
from cascade.networks.screen import NetworkScreener


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


def test_scores_are_calibrated_in_order():
    halved, squared = Calibration("isotonic", (0.0, 1.0), (0.0, 0.5)), Calibration("platt", (2.0,), (0.0,))
    raw = NetworkScreener(MeanEngine()).score(flat_images(0, 3, 1))
    scores = NetworkScreener(MeanEngine(), (halved, squared)).score(flat_images(0, 3, 1))
    np.testing.assert_array_equal(scores, squared(halved(raw)))
    assert not np.allclose(scores, halved(squared(raw)), atol=1e-3)
    assert np.array_equal(np.argsort(scores), np.argsort(raw))


def test_a_model_is_loaded_with_its_calibration(monkeypatch):
    from types import SimpleNamespace

    halved = Calibration("isotonic", (0.0, 1.0), (0.0, 0.5))
    monkeypatch.setattr("cascade.networks.screen.load_engine", lambda _info, _engine: MeanEngine())
    screener = NetworkScreener.load(SimpleNamespace(calibration=(halved,)))
    np.testing.assert_allclose(screener.score(flat_images(50)), [0.5], atol=1e-3)
