import keras
import numpy as np
import pytest

from cascade.networks.models import build_network
from cascade.networks.nets.classifier import ScreenTraining


@pytest.fixture(scope="module")
def network(tiny_architectures):
    keras.utils.set_random_seed(1)
    return build_network(tiny_architectures["screen"])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 400, 400, 1)).astype(np.float32)


def test_one_float32_logit_an_image(network, images):
    logits = network.predict_on_batch(images)
    assert logits.shape == (3, 1)
    assert logits.dtype == np.float32
    assert len(np.unique(logits)) == 3


def test_images_of_a_batch_keep_apart(network, images):
    logits = network.predict_on_batch(images)
    np.testing.assert_array_equal(network.predict_on_batch(images), logits)
    np.testing.assert_allclose(network.predict_on_batch(images[::-1]), logits[::-1], atol=1e-6)
    np.testing.assert_allclose(network.predict_on_batch(images[1:2]), logits[1:2], atol=1e-6)


def test_grey_levels_are_shifted_and_scaled_before_all_else(network):
    normalise = network.get_layer("normalise")
    levels = np.array([53.0, 85.0, 21.0], np.float32)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(normalise(levels)), [0, 1, -1], atol=1e-6)


def test_saved_weights_give_the_same_logits(network, images, tiny_architectures, tmp_path):
    network.save_weights(tmp_path / "x.weights.h5")
    other = build_network(tiny_architectures["screen"])
    assert not np.array_equal(other.predict_on_batch(images), network.predict_on_batch(images))
    other.load_weights(tmp_path / "x.weights.h5")
    np.testing.assert_array_equal(other.predict_on_batch(images), network.predict_on_batch(images))


def test_each_stage_halves_the_image_and_blocks_keep_it(tiny_architectures):
    deeper = build_network({**tiny_architectures["screen"], "blocks": [0, 0, 0, 1, 2]})
    sides = [deeper.get_layer(f"stage{k}_relu").output.shape[1] for k in range(1, 6)]
    assert sides == [200, 100, 50, 25, 13]
    assert deeper.get_layer("stage5_block2_out").output.shape[1:] == (13, 13, 8)


def test_mixed_precision_keeps_the_logit_float32(tiny_architectures, images):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build_network(tiny_architectures["screen"])
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert mixed.get_layer("stage3_conv").compute_dtype == "bfloat16"
    assert mixed.predict_on_batch(images).dtype == np.float32


def test_losses_are_those_of_the_logit_and_of_the_coarse_map(network, images):
    training = ScreenTraining(network)
    shares = np.zeros((3, 100, 100, 4), np.float32)
    shares[0, 41, 83, 1] = 0.75  # in cell (10, 20)
    ghosted = np.array([[1.0], [0.0], [1.0]], np.float32)
    losses = training({"image": images, "ghosted": ghosted, "shares": shares}, training=False)
    logits, cells = (keras.ops.convert_to_numpy(value) for value in training.both(images, training=False))
    np.testing.assert_allclose(logits, network.predict_on_batch(images), atol=1e-5)

    def cross_entropy(wanted, logit):
        probability = 1 / (1 + np.exp(-logit))
        return -wanted * np.log(probability) - (1 - wanted) * np.log(1 - probability)

    wanted = np.zeros((3, 25, 25, 4))
    wanted[0, 10, 20, 1] = 0.75
    np.testing.assert_allclose(losses["ghosted"], cross_entropy(ghosted, logits)[:, 0], rtol=1e-4)
    np.testing.assert_allclose(losses["map"], cross_entropy(wanted, cells).mean(axis=(1, 2, 3)), rtol=1e-4)
