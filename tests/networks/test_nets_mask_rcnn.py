from contextlib import contextmanager

import keras
import numpy as np
import pytest
from keras import ops

from cascade.networks.models import build_network
from cascade.networks.nets.boxes import overlaps
from cascade.networks.nets.mask_rcnn import LOSSES, MaskRCNNTraining, mean_loss, probe

pytestmark = pytest.mark.slow

N_DETECTIONS = 4
MASK_SIZE = 28
PADDING_PX = 8


@pytest.fixture(scope="module")
def network(tiny_architectures):
    keras.utils.set_random_seed(3)
    network = build_network(tiny_architectures["segment"])
    # Spread out what an untrained network says, so that proposals, classes and masks differ.
    rng = np.random.default_rng(3)
    for layer, scale in (
        (network.rpn_head.logits, 2.0), (network.rpn_head.offsets, 1.0), (network.box_head.get_layer("logits"), 2.0),
        (network.box_head.get_layer("offsets"), 1.0), (network.mask_head.get_layer("logits"), 3.0),
    ):  # fmt: skip
        layer.kernel.assign(rng.normal(0, scale, layer.kernel.shape))
    return network


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, 400, 400, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def found(network, images):
    return network.predict_on_batch(images)


def trainer(network):
    training = MaskRCNNTraining(network, n_anchors=64, n_regions=16, n_positive=4, seed=0)
    # For a single step, tracing costs more than it saves.
    losses = dict.fromkeys(training.loss_names, mean_loss)
    training.compile(keras.optimizers.Adam(1e-2), loss=losses, run_eagerly=True)
    return training


def annotated_batch(n_images=2):
    """Image 0 shows a square of class 1; the rest is blank."""
    images = np.full((n_images, 400, 400, 1), 53, np.float32)
    boxes, classes = np.zeros((n_images, 3, 4), np.float32), np.full((n_images, 3), -1, np.int32)
    masks = np.zeros((n_images, 3, 400, 400), np.uint8)
    images[0, 100:160, 200:260] = 200
    boxes[0, 0], classes[0, 0] = [100, 200, 160, 260], 1
    masks[0, 0, 100:160, 200:260] = 1
    shares = np.zeros((n_images, 100, 100, 4), np.float32)
    shares[..., 1] = shares[..., 3] = masks[:, 0].reshape(n_images, 100, 4, 100, 4).mean(axis=(2, 4))
    return {"image": images, "boxes": boxes, "classes": classes, "masks": masks, "shares": shares}


def test_shapes_and_types_of_the_output(found):
    assert {name: (value.shape, value.dtype.name) for name, value in found.items()} == {
        "boxes": ((3, N_DETECTIONS, 4), "float32"),
        "scores": ((3, N_DETECTIONS), "float32"),
        "classes": ((3, N_DETECTIONS), "int32"),
        "masks": ((3, N_DETECTIONS, MASK_SIZE, MASK_SIZE), "float32"),
        "semantic": ((3, 100, 100, 4), "float32"),
    }


def test_values_of_the_output_are_in_range(found):
    assert np.all(found["scores"] > 0.05)
    assert np.all(found["scores"] <= 1)
    assert np.all(np.diff(found["scores"], axis=1) <= 0)
    assert set(np.unique(found["classes"])) <= {0, 1, 2}
    assert all(np.all((found[name] >= 0) & (found[name] <= 1)) for name in ("masks", "semantic"))
    assert np.all((found["boxes"] >= -PADDING_PX) & (found["boxes"] <= 400 + PADDING_PX))
    assert np.all(found["boxes"][..., 2:] > found["boxes"][..., :2])


def test_detections_of_one_class_hardly_overlap(found):
    overlap = ops.convert_to_numpy(overlaps(found["boxes"], found["boxes"]))
    same_class = found["classes"][:, :, None] == found["classes"][:, None]
    pairs = same_class & ~np.eye(N_DETECTIONS, dtype=bool)
    assert np.all(overlap[pairs] <= 0.5 + 1e-5)


def test_images_look_different_to_the_network(found):
    assert not np.allclose(found["masks"][0], found["masks"][1], atol=1e-3)


def test_the_same_images_give_the_same_output(network, images, found):
    again = network.predict_on_batch(images)
    for name, value in found.items():
        np.testing.assert_array_equal(again[name], value)


def test_permuting_images_permutes_results(network, images, found):
    permuted = network.predict_on_batch(images[[2, 0, 1]])
    for name, value in found.items():
        np.testing.assert_allclose(permuted[name], value[[2, 0, 1]], atol=2e-3)


def test_a_batch_equals_its_images_one_by_one(network, images, found):
    for n in range(3):
        alone = network.predict_on_batch(images[n : n + 1])
        for name, value in found.items():
            np.testing.assert_allclose(alone[name][0], value[n], atol=2e-3)


def test_saved_weights_give_the_same_output(network, images, found, tiny_architectures, tmp_path):
    network.save_weights(tmp_path / "x.weights.h5")
    other = build_network(tiny_architectures["segment"])
    other.load_weights(tmp_path / "x.weights.h5")
    for name, value in other.predict_on_batch(images).items():
        np.testing.assert_array_equal(value, found[name])
    assert np.array_equal(probe(other, images), probe(network, images))


@contextmanager
def box_head_saying(network, class_logits):
    """Make the box head say the same of every region, and leave its box alone."""
    before = network.get_weights()
    for name, said in (("logits", class_logits), ("offsets", np.zeros(12))):
        layer = network.box_head.get_layer(name)
        layer.kernel.assign(np.zeros(layer.kernel.shape))
        layer.bias.assign(np.array(said))
    yield
    network.set_weights(before)


def test_boxes_are_proposals_without_the_padding(network, images):
    with box_head_saying(network, [0.0, 5.0, 0.0, 0.0]):
        found = network.predict_on_batch(images)
        _, logits, offsets = network.look(ops.convert_to_tensor(images), training=False)
        proposals = ops.convert_to_numpy(network.propose(logits, offsets)[0])
    distance = np.abs(found["boxes"][:, :, None] + PADDING_PX - proposals[:, None]).max(axis=-1)
    assert np.all(distance.min(axis=-1) < 0.1)


def test_artifacts_of_two_classes_may_share_a_box_and_those_of_one_may_not(network, images):
    with box_head_saying(network, [0.0, 5.0, 5.0, -5.0]):
        found = network.predict_on_batch(images)
    assert set(np.unique(found["classes"])) == {0, 1}
    for boxes, classes in zip(found["boxes"], found["classes"], strict=True):
        first, second = boxes[classes == 0], boxes[classes == 1]
        assert any(np.array_equal(a, b) for a in first for b in second)
        assert len(np.unique(first, axis=0)) == len(first)


def test_a_network_sure_of_background_finds_nothing(network, images):
    with box_head_saying(network, [100.0, 0.0, 0.0, 0.0]):
        found = network.predict_on_batch(images)
    assert not found["scores"].any()
    assert all(np.isfinite(value).all() for value in found.values())


def test_every_head_changes_the_probe(network, images):
    before = probe(network, images)
    assert before.shape == (18,)  # six parts, three images
    for k, bias in enumerate(
        (
            network.rpn_head.logits.bias, network.rpn_head.offsets.bias, network.box_head.get_layer("logits").bias,
            network.box_head.get_layer("offsets").bias, network.mask_head.get_layer("logits").bias,
            network.semantic_head.get_layer("logits").bias,
        )
    ):  # fmt: skip
        bias.assign_add(np.ones(bias.shape))
        moved = np.flatnonzero(np.abs(probe(network, images) - before) > 0.01)
        bias.assign_sub(np.ones(bias.shape))
        assert moved.tolist() == [3 * k, 3 * k + 1, 3 * k + 2]


def test_mixed_precision_keeps_boxes_float32(tiny_architectures, images):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build_network(tiny_architectures["segment"])
        levels, logits, offsets = mixed.look(ops.convert_to_tensor(images[:1]), training=False)
        found = mixed.predict_on_batch(images[:1])
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert "bfloat16" in str(levels[0].dtype)
    assert "float32" in str(logits.dtype)
    assert "float32" in str(offsets.dtype)
    assert {name: value.dtype.name for name, value in found.items()} == {
        "boxes": "float32", "scores": "float32", "classes": "int32", "masks": "float32", "semantic": "float32",
    }  # fmt: skip
    # bfloat16 has no numbers between 256 and 258, so that some box must show more digits than that.
    boxes = ops.convert_to_tensor(found["boxes"])
    assert np.any(ops.convert_to_numpy(ops.cast(ops.cast(boxes, "bfloat16"), "float32")) != found["boxes"])


def test_losses_are_finite_with_and_without_instances(tiny_architectures):
    training = trainer(build_network(tiny_architectures["segment"]))
    losses = {name: ops.convert_to_numpy(loss) for name, loss in training(annotated_batch(), training=True).items()}
    assert list(losses) == list(LOSSES)
    assert all(loss.shape == (2,) and np.isfinite(loss).all() for loss in losses.values())
    assert all(losses[name][0] > 0 for name in LOSSES)
    # The blank image teaches what is not there, but neither boxes nor masks.
    assert losses["anchor_score"][1] > 0
    assert losses["region_class"][1] > 0
    assert losses["semantic"][1] > 0
    assert [losses[name][1] for name in ("anchor_box", "region_box", "mask")] == [0, 0, 0]


def without_semantic_head(tiny_architectures):
    return build_network({**tiny_architectures["segment"], "semantic_width": 0})


def test_the_semantic_head_is_optional(tiny_architectures, images):
    network = without_semantic_head(tiny_architectures)
    assert set(network.predict_on_batch(images[:1])) == {"boxes", "scores", "classes", "masks"}
    assert probe(network, images).shape == (15,)
    training = trainer(network)
    assert training.loss_names == LOSSES[:-1]
    assert list(training(annotated_batch(), training=True)) == list(LOSSES[:-1])
    told = training.train_on_batch(annotated_batch(), {name: np.zeros(2, np.float32) for name in LOSSES[:-1]})
    assert np.isfinite(told).all()


def test_instances_do_not_depend_on_the_semantic_head(network, images, found, tiny_architectures):
    plain = without_semantic_head(tiny_architectures)
    for part in ("pyramid", "rpn_head", "box_head", "mask_head"):
        getattr(plain, part).set_weights(getattr(network, part).get_weights())
    for name, value in plain.predict_on_batch(images).items():
        np.testing.assert_allclose(value, found[name], atol=1e-4)


def test_the_semantic_map_is_that_of_a_semantic_net_with_the_same_weights(network, images, found, tiny_architectures):
    alone = build_network(tiny_architectures["semantic"])
    for part in ("pyramid", "semantic_head"):
        getattr(alone, part).set_weights(getattr(network, part).get_weights())
    np.testing.assert_allclose(alone.predict_on_batch(images)["semantic"], found["semantic"], atol=1e-5)


def test_a_batch_without_any_instance_trains(tiny_architectures):
    network = build_network(tiny_architectures["segment"])
    training = trainer(network)
    batch = {name: value[1:] for name, value in annotated_batch().items()}
    before = [weight.copy() for weight in network.get_weights()]
    loss = training.train_on_batch(batch, {name: np.zeros(1, np.float32) for name in LOSSES})
    assert np.isfinite(loss).all()
    after = network.get_weights()
    assert all(np.isfinite(weight).all() for weight in after)
    assert any(not np.array_equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="records gradients with TensorFlow's tape")
def test_no_gradient_flows_through_the_choice_of_proposals(network):
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        _, logits, offsets = network.look(ops.convert_to_tensor(annotated_batch()["image"]), training=False)
        boxes, _ = network.propose(logits, offsets)
    assert all(gradient is None for gradient in tape.gradient(boxes, network.trainable_variables))


def test_mean_loss_ignores_what_keras_calls_truth():
    assert float(mean_loss(np.ones(2), np.array([1.0, 4.0], np.float32))) == 2.5
