import keras
import numpy as np
import pytest
from keras import ops

from cascade.core.artifact import PAPER_CLASSES
from cascade.networks.models import build_network
from cascade.networks.nets.mask_rcnn import mean_loss
from cascade.networks.nets.semantic import (
    SemanticNet,
    SemanticTraining,
    build_semantic_head,
    semantic_loss,
)

N_CLASSES, N_CHANNELS = 3, 4


def head_of(sides, *, padding, width=6, channels=5):
    """A head on pyramid levels of these sides."""
    levels = [keras.Input((side, side, channels)) for side in sides]
    return build_semantic_head(levels, width, N_CLASSES, padding=padding)


@pytest.fixture
def network(tiny_architectures) -> SemanticNet:
    keras.utils.set_random_seed(0)
    return build_network(tiny_architectures["semantic"], PAPER_CLASSES)


def test_head_answers_in_cells_half_as_long_as_those_of_the_finest_level():
    head = head_of((16, 8, 4), padding=0)
    features = [np.ones((2, side, side, 5), np.float32) for side in (16, 8, 4)]
    assert head.predict_on_batch(features).shape == (2, 32, 32, N_CHANNELS)


def test_head_leaves_the_padding_out():
    keras.utils.set_random_seed(1)
    padded, whole = head_of((16, 8, 4), padding=8), head_of((16, 8, 4), padding=0)
    whole.set_weights(padded.get_weights())
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(1, side, side, 5)).astype(np.float32) for side in (16, 8, 4)]
    # 8 px are two cells of 4 px on each side.
    np.testing.assert_array_equal(padded.predict_on_batch(features), whole.predict_on_batch(features)[:, 2:-2, 2:-2])


def with_planted_logits(head, table):
    """Make the last convolution give the first channel of the finest level times a (2, 2, 4) table to four cells."""
    for layer in head.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([np.ones_like(gamma), np.zeros_like(beta), np.zeros_like(mean), np.ones_like(variance)])
        elif isinstance(layer, keras.layers.Conv2D):
            kernel = np.zeros(layer.kernel.shape, np.float32)
            middle = kernel.shape[0] // 2
            if layer.name == "logits":
                kernel[0, 0, 0] = np.ravel(table)
            elif layer.name == "lateral0" or "conv" in layer.name:
                kernel[middle, middle, 0, 0] = 1.0
            layer.set_weights([kernel, *[np.zeros(w.shape, np.float32) for w in layer.weights[1:]]])
    return head


def test_depth_becomes_space_without_turning_or_swapping():
    """Every one of the 2 x 2 cells and of the 4 channels that a place gives has a value of its own."""
    table = 1.0 + np.arange(16, dtype=np.float32).reshape(2, 2, N_CHANNELS)  # row, column, channel
    head = with_planted_logits(head_of((6, 3), padding=0), table)
    fine, coarse = np.zeros((1, 6, 6, 5), np.float32), np.zeros((1, 3, 3, 5), np.float32)
    fine[0, 1, 4, 0] = 1.0
    (cells,) = head.predict_on_batch([fine, coarse])
    expected = np.zeros((12, 12, N_CHANNELS), np.float32)
    expected[2:4, 8:10] = table
    np.testing.assert_allclose(cells, expected, rtol=5e-3)  # the normalisation adds a small epsilon


def test_a_semantic_net_answers_with_probabilities_of_cells(network):
    images = np.random.default_rng(0).integers(0, 256, (2, 400, 400, 1)).astype(np.float32)
    found = network.predict_on_batch(images)
    assert set(found) == {"semantic"}
    assert found["semantic"].shape == (2, 100, 100, N_CHANNELS)
    assert found["semantic"].dtype == np.float32
    logits = ops.convert_to_numpy(network.logits(images, training=False))
    np.testing.assert_allclose(found["semantic"], 1 / (1 + np.exp(-logits)), atol=1e-5)
    assert not np.allclose(found["semantic"][0], found["semantic"][1])


def test_a_bright_square_changes_the_cells_below_it_most(network):
    """The map of the whole network lies on the preview: 8 px of padding are neither kept nor cut twice."""
    images = np.full((2, 400, 400, 1), 53, np.float32)
    images[1, 40:80, 300:340] = 255
    blank, square = network.predict_on_batch(images)["semantic"]
    change = np.abs(square - blank).sum(axis=-1)
    centre = (np.indices(change.shape) * change).sum(axis=(1, 2)) / change.sum()
    np.testing.assert_allclose(centre, [14.5, 79.5], atol=6)  # receptive fields end at the border


@pytest.mark.slow
def test_a_few_steps_lower_the_semantic_loss(network):
    training = SemanticTraining(network)
    assert training.loss_names == ("semantic",)
    training.compile(keras.optimizers.Adam(1e-2), loss={"semantic": mean_loss}, jit_compile=False)
    rng = np.random.default_rng(0)
    images = np.full((2, 400, 400, 1), 53, np.float32) + rng.normal(0, 5, (2, 400, 400, 1)).astype(np.float32)
    shares = np.zeros((2, 100, 100, N_CHANNELS), np.float32)
    images[0, 100:200, 100:200], shares[0, 25:50, 25:50, 0], shares[0, 25:50, 25:50, 3] = 150, 1, 1
    batch, dummies = {"image": images, "shares": shares}, {"semantic": np.zeros(2, np.float32)}
    history = training.fit(batch, dummies, batch_size=2, epochs=20, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert np.mean(history[-3:]) < 0.8 * history[0]


def test_the_loss_is_that_of_each_image(network):
    images = np.random.default_rng(1).integers(0, 256, (2, 400, 400, 1)).astype(np.float32)
    shares = np.random.default_rng(2).random((2, 100, 100, N_CHANNELS)).astype(np.float32)
    losses = SemanticTraining(network)({"image": images, "shares": shares}, training=False)["semantic"]
    expected = semantic_loss(network.logits(images, training=False), shares)
    assert tuple(losses.shape) == (2,)
    np.testing.assert_allclose(ops.convert_to_numpy(losses), ops.convert_to_numpy(expected), rtol=1e-5)


def test_saved_weights_of_a_semantic_net_give_the_same_map(network, tiny_architectures, tmp_path):
    network.save_weights(tmp_path / "x.weights.h5")
    other = build_network(tiny_architectures["semantic"], PAPER_CLASSES)
    other.load_weights(tmp_path / "x.weights.h5")
    images = np.random.default_rng(0).integers(0, 256, (1, 400, 400, 1)).astype(np.float32)
    expected = network.predict_on_batch(images)["semantic"]
    np.testing.assert_allclose(other.predict_on_batch(images)["semantic"], expected, atol=1e-6)


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
