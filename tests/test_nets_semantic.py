import keras
import numpy as np
from keras import ops

from cascade.nets.semantic import build_semantic_head, semantic_loss


def test_head_answers_at_the_finest_level():
    levels = [keras.Input((side, side, 4)) for side in (16, 8, 4)]
    head = build_semantic_head(levels, 6, 3)
    features = [np.ones((2, side, side, 4), np.float32) for side in (16, 8, 4)]
    assert head.predict_on_batch(features).shape == (2, 16, 16, 3)


def test_loss_equals_its_formula():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(2, 4, 4, 3)).astype(np.float32)
    shares = rng.random((2, 4, 4, 3)).astype(np.float32)
    probability = 1 / (1 + np.exp(-logits))
    expected = -(shares * np.log(probability) + (1 - shares) * np.log(1 - probability)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(ops.convert_to_numpy(semantic_loss(logits, shares)), expected, rtol=1e-5)


def test_extreme_logits_give_finite_losses():
    logits = np.full((1, 2, 2, 1), -1e4, np.float32)
    assert ops.convert_to_numpy(semantic_loss(logits, np.zeros_like(logits))).tolist() == [0]
