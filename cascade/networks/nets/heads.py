"""The box head, which classifies and refines regions, and the mask head."""

from __future__ import annotations

import keras
from keras import layers

from cascade.networks.nets.boxes import Tensor


def build_box_head(size: int, channels: int, width: int, n_classes: int) -> keras.Model:
    """
    Build the head that classifies regions and refines their boxes.

    Returns
    -------
    keras.Model
        (R, size, size, channels) to logits (R, 1 + n_classes), background first, and offsets (R, n_classes * 4),
        float32.
    """
    regions = keras.Input((size, size, channels))
    x = layers.Flatten()(regions)
    x = layers.Dense(width, activation="relu", name="hidden1")(x)
    x = layers.Dense(width, activation="relu", name="hidden2")(x)
    logits = layers.Dense(1 + n_classes, dtype="float32", name="logits")(x)
    offsets = layers.Dense(4 * n_classes, dtype="float32", name="offsets", kernel_initializer=_small())(x)
    return keras.Model(regions, [logits, offsets], name="box_head")


def build_mask_head(size: int, channels: int, width: int, depth: int, n_classes: int) -> keras.Model:
    """
    Build the head that predicts masks, one per class.

    Returns
    -------
    keras.Model
        (R, size, size, channels) to logits (R, 2 * size, 2 * size, n_classes), float32.
    """
    regions = keras.Input((size, size, channels))
    x = regions
    for k in range(1, depth + 1):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{k}")(x)
    x = layers.Conv2DTranspose(width, 2, strides=2, activation="relu", name="upsample")(x)
    logits = layers.Conv2D(n_classes, 1, dtype="float32", name="logits")(x)
    return keras.Model(regions, logits, name="mask_head")


def split_box_head(head: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Split a box head into its hidden layers and its two output layers of logits and offsets."""
    (logits,) = (layer for layer in head.layers if layer.name.endswith("logits"))
    return keras.Model(head.inputs, logits.input), keras.Model(logits.input, head.outputs)


def by_region(head: keras.Model, regions: Tensor) -> list[Tensor]:
    """Run a head on (B, N, h, w, C) regions at once; outputs have shape (B, N, ...)."""
    n_regions = regions.shape[1]
    outputs = head(keras.ops.reshape(regions, (-1, *regions.shape[2:])))
    return [
        keras.ops.reshape(output, (-1, n_regions, *output.shape[1:]))
        for output in (outputs if isinstance(outputs, list) else [outputs])
    ]


def _small() -> keras.initializers.Initializer:
    """Offsets start near zero."""
    return keras.initializers.RandomNormal(stddev=0.001)
