"""
What the networks answer on one Keras backend: `KERAS_BACKEND=jax python tests/backend_answers.py answers.npz`.

Weights and images come from NumPy, and every sample that training draws is large enough to hold all there is, so that
the answers depend on no backend's random numbers.
"""

from __future__ import annotations

import sys

import keras
import numpy as np
from keras import ops
from matterport.weights import image, weight

from cascade.networks.models import build_network
from cascade.networks.nets.mask_rcnn import MaskRCNNTraining, mean_loss
from cascade.networks.nets.matterport import named_layers
from cascade.networks.nets.nms import suppress
from cascade.networks.nets.roi_align import feature_table, roi_align

COMPACT = {
    "name": "mask_rcnn", "offset": 53.0, "scale": 32.0, "backbone": "residual", "widths": [4, 4, 8, 8, 8],
    "blocks": [0, 0, 0, 0, 1], "pyramid_channels": 8, "semantic_width": 8, "head_width": 8, "mask_width": 8,
    "mask_depth": 1, "anchor_sizes_px": [24.0, 56.0, 128.0, 280.0], "n_candidates": 64, "n_proposals": 16,
    "n_detections": 6, "min_score": 0.05,
}  # fmt: skip
MATTERPORT = {
    "name": "matterport", "depth": 50, "size": 256, "channels": 3, "n_candidates": 600, "n_proposals": 20,
    "n_detections": 6, "min_score": 0.0,
}  # fmt: skip
SCREEN = {
    "name": "screen_cnn", "widths": [4, 4, 8, 8, 8], "blocks": [0, 0, 0, 0, 1], "offset": 53.0, "scale": 32.0,
    "dropout": 0.0, "map_width": 4,
}  # fmt: skip


def with_known_weights(network: keras.Model, seed: int) -> keras.Model:
    """The network with weights that are the same everywhere."""
    rng = np.random.default_rng(seed)
    weights = []
    for variable in network.weights:
        if variable.name == "kernel":
            drawn = rng.normal(0, np.sqrt(2 / np.prod(variable.shape[:-1])), variable.shape)
        else:
            around = 1.0 if variable.name in ("gamma", "moving_variance") else 0.0
            drawn = rng.normal(around, 0.1, variable.shape)
        weights.append(drawn.astype(np.float32))
    network.set_weights(weights)
    return network


def answers() -> dict[str, np.ndarray]:
    """Everything that is compared, by name."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 400, 400, 1)).astype(np.float32)
    corner = rng.uniform(0, 300, (2, 700, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 100, (2, 700, 2))], axis=-1).astype(np.float32)
    levels = [ops.convert_to_tensor(rng.normal(size=(2, 400 // s, 400 // s, 5)).astype("float32")) for s in (8, 16)]
    told = {"suppress": suppress(ops.convert_to_tensor(boxes), ops.ones((2, 700), "bool"), max_overlap=0.4)}
    some = ops.convert_to_tensor(boxes[:, :30])
    for name, edge in (("centres", None), ("edges", 399.0)):
        told[f"align {name}"] = roi_align(
            feature_table(levels), some, shapes=[(50, 50), (25, 25)], strides=(8, 16), canonical_px=56.0, size=7,
            edge_to_edge=edge,
        )  # fmt: skip
    told["screen"] = with_known_weights(build_network(SCREEN), 1).predict_on_batch(images)
    compact = with_known_weights(build_network(COMPACT), 2).predict_on_batch(images)
    told |= {f"compact {name}": value for name, value in compact.items()}
    matterport = build_network(MATTERPORT)
    for layer_name, layer in named_layers(matterport).items():
        layer.set_weights([weight(f"{layer_name}/{v.name}", tuple(v.shape)) for v in layer.weights])
    drawn = (image(0)[:, :, 0] // 2 + 20)[None, :, :, None].astype(np.float32)
    found = matterport.predict_on_batch(np.pad(drawn, [(0, 0), (8, 8), (8, 8), (0, 0)]))
    told |= {f"matterport {name}": value for name, value in found.items()}
    told |= losses(images)
    return {name: ops.convert_to_numpy(value) for name, value in told.items()}


def losses(images: np.ndarray) -> dict[str, np.ndarray]:
    """The losses of a batch, one image of it empty, and how they fall in a few steps of `fit`."""
    network = with_known_weights(build_network(COMPACT), 2)
    n_anchors = len(network.anchors)
    training = MaskRCNNTraining(network, n_anchors=n_anchors, n_regions=2 * 18, n_positive=18, seed=0)
    boxes, classes = np.zeros((2, 2, 4), np.float32), np.full((2, 2), -1, np.int32)
    masks, shares = np.zeros((2, 2, 400, 400), np.uint8), np.zeros((2, 100, 100, 4), np.float32)
    boxes[0], classes[0] = [[96, 200, 160, 264], [40, 40, 360, 360]], [1, 2]
    masks[0, 0, 96:160, 200:264], masks[0, 1, 40:360, 40:360] = 1, 1
    shares[0, 24:40, 50:66, 1], shares[0, 10:90, 10:90, 2:] = 1, 1
    batch = {"image": images, "boxes": boxes, "classes": classes, "masks": masks, "shares": shares}
    told = {
        f"loss {name}": value
        for name, value in training({k: ops.convert_to_tensor(v) for k, v in batch.items()}).items()
    }
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    names = training.loss_names
    training.compile(keras.optimizers.Adam(3e-3), loss=dict.fromkeys(names, mean_loss), jit_compile=jit)
    dummies = {name: np.zeros(2, np.float32) for name in names}
    history = training.fit(batch, dummies, batch_size=2, epochs=6, verbose=0).history["loss"]
    return told | {"history": np.asarray(history)}


if __name__ == "__main__":
    np.savez(sys.argv[1], **answers())
