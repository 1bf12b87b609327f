"""
Our Matterport graph against Matterport's own code: `matterport/golden.npz` holds what `mrcnn.model` answered.

It ran unmodified, in Python 3.7 (`matterport/make_golden.py` says how); weights and images come from their names.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from matterport.weights import image, sample, weight

from cascade.core.artifact import PAPER_CLASSES
from cascade.networks.nets.heads import by_region
from cascade.networks.nets.matterport import MEAN_PIXEL, MatterportConfig, build_matterport, named_layers
from cascade.networks.paste import paste_masks

SIZE = 384
LAST = SIZE - 1.0
CASES = (("r50-0", 50, 0), ("r50-1", 50, 1), ("r101-2", 101, 2))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=CASES, ids=[case for case, *_ in CASES])
def case(request):
    """What Matterport answered, our network with its weights, and what the input looks like to both."""
    name, depth, n = request.param
    with np.load(Path(__file__).parents[1] / "matterport/golden.npz", allow_pickle=False) as file:
        golden = {key.split("/")[1]: file[key] for key in file if key.startswith(f"{name}/")}
    network = build_matterport(
        MatterportConfig(depth=depth, size=SIZE, channels=3, n_proposals=64, n_detections=24, min_score=0.4),
        len(PAPER_CLASSES),
    )
    for layer_name, layer in named_layers(network).items():
        layer.set_weights([weight(f"{layer_name}/{v.name}", tuple(v.shape)) for v in layer.weights])
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    if n == 2:
        pixels[:, 42:342] = image(2)
    else:
        pixels[:] = image(0) if n == 0 else golden["resized"]
    molded = pixels.astype(np.float32) - np.array(MEAN_PIXEL, np.float32)
    np.testing.assert_allclose(sample(molded), golden["molded"], atol=1e-3)
    stages = [f"res{last}_out" for last in ("2c", "3d", "4f" if depth == 50 else "4w", "5c")]
    inner = keras.Model(
        network.pyramid.get_layer("pad_conv1").input,
        [*(network.pyramid.get_layer(stage).output for stage in stages), *network.pyramid.outputs],
    )
    maps = inner.predict_on_batch(molded[None])
    return golden, network, dict(zip(("C2", "C3", "C4", "C5", "P2", "P3", "P4", "P5", "P6"), maps, strict=True))


def assert_same(ours, golden, name, rtol=1e-4):
    """Equal within a small share of the root mean square of the whole array."""
    rms = golden.get(f"{name}_rms", np.sqrt(np.mean(np.square(golden[name]))))
    ours = ops.convert_to_numpy(ours)
    ours = ours if ours.shape == golden[name].shape else sample(ours, SAMPLES.get(name, 600))
    np.testing.assert_allclose(ours, golden[name], rtol=0, atol=rtol * float(rms), err_msg=name)


SAMPLES = {"mrcnn_mask": 6000, "pooled_class": 1200, "pooled_mask": 1200, "rpn_class_logits": 1200, "rpn_bbox": 1200,
           "rpn_class": 1200, "anchors": 1200}  # fmt: skip


def table_of(network, maps):
    return network.table([ops.convert_to_tensor(maps[name]) for name in ("P2", "P3", "P4", "P5")])


def test_backbone_and_pyramid_are_the_same(case):
    golden, _, maps = case
    for name, value in maps.items():
        assert_same(value, golden, name)


def test_anchors_are_the_same(case):
    golden, network, _ = case
    assert_same(network.anchors / LAST, golden, "anchors", rtol=1e-6)


def test_anchor_scores_offsets_and_proposals_are_the_same(case):
    golden, network, maps = case
    levels = [ops.convert_to_tensor(maps[name]) for name in ("P2", "P3", "P4", "P5", "P6")]
    logits, offsets = network.rpn_head(levels)
    scores = ops.convert_to_numpy(ops.sigmoid(logits))
    assert_same(np.stack([1 - scores, scores], axis=-1), golden, "rpn_class")
    assert_same(offsets, golden, "rpn_bbox")
    proposals, valid = network.propose(logits, offsets)
    assert ops.convert_to_numpy(valid).all()
    np.testing.assert_allclose(ops.convert_to_numpy(proposals)[0] / LAST, golden["rpn_rois"], atol=1e-5)


def test_regions_and_what_the_box_head_says_of_them_are_the_same(case):
    golden, network, maps = case
    boxes = ops.convert_to_tensor(golden["rpn_rois"][None] * LAST)
    regions = network.align(table_of(network, maps), boxes, 7)
    assert_same(regions, golden, "pooled_class")
    logits, shifts = by_region(network.box_head, regions)
    assert_same(logits[0], golden, "mrcnn_class_logits")
    assert_same(ops.reshape(shifts[0], (64, 3, 4)), {"mrcnn_bbox": golden["mrcnn_bbox"][:, 1:]}, "mrcnn_bbox")


def test_detections_are_the_same(case):
    golden, network, _ = case
    if golden["image_meta"][7:11].tolist() != [0, 0, SIZE, SIZE]:
        pytest.skip("this image was padded, and our previews fill the square")
    n = len(golden["rpn_rois"])
    boxes, scores, classes = network.detect(
        ops.convert_to_tensor(golden["rpn_rois"][None] * LAST), ops.ones((1, n), "bool"),
        ops.convert_to_tensor(golden["mrcnn_class_logits"][None]),
        ops.reshape(ops.convert_to_tensor(golden["mrcnn_bbox"][:, 1:]), (1, n, 12)),
    )  # fmt: skip
    found = ops.convert_to_numpy(scores)[0] > 0
    np.testing.assert_allclose(ops.convert_to_numpy(boxes)[0] / LAST, golden["detections"][:, :4], atol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(classes)[0] + 1, golden["detections"][:, 4])
    np.testing.assert_allclose(ops.convert_to_numpy(scores)[0], golden["detections"][:, 5], atol=1e-5)
    pixels = np.around(ops.convert_to_numpy(boxes)[0] + [0, 0, 1, 1])
    np.testing.assert_array_equal(pixels[found], golden["result_rois"])


def test_masks_are_the_same(case):
    golden, network, maps = case
    boxes = ops.convert_to_tensor(golden["detections"][None, :, :4] * LAST)
    regions = network.align(table_of(network, maps), boxes, 14)
    assert_same(regions, golden, "pooled_mask")
    found = golden["detections"][:, 5] > 0
    classes = ops.convert_to_tensor(np.maximum(golden["detections"][None, :, 4] - 1, 0).astype(np.int32))
    # All four classes, background first; ours never draws background, so that it is not compared.
    every = np.zeros((1, 24, 28, 28, 4), np.float32)
    for artifact in range(3):
        every[..., artifact + 1] = ops.convert_to_numpy(network.draw(regions, ops.full_like(classes, artifact)))
    positions = sample(np.tile(np.arange(4), every.size // 4).reshape(every.shape), SAMPLES["mrcnn_mask"])
    ours = sample(every, SAMPLES["mrcnn_mask"])
    np.testing.assert_allclose(ours[positions > 0], golden["mrcnn_mask"][positions > 0], atol=1e-4)
    if golden["image_meta"][7:11].tolist() == [0, 0, SIZE, SIZE] and golden["image_meta"][1] == SIZE:
        drawn = ops.convert_to_numpy(network.draw(regions, classes))[0, found]
        pasted = paste_masks(drawn, golden["result_rois"].astype(np.float32), (SIZE, SIZE))
        theirs = np.unpackbits(golden["result_masks"])[: pasted.size].reshape(-1, SIZE, SIZE) > 0
        shared = (pasted & theirs).sum(axis=(1, 2)) / (pasted | theirs).sum(axis=(1, 2))
        # Theirs fades to nothing towards the edges of the box.
        assert shared.min() > 0.9
        assert np.median(shared) > 0.97
