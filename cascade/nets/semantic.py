"""A semantic branch on the feature pyramid, used in training alone: a dense signal teaches the backbone sooner."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from cascade.nets.boxes import Tensor


def build_semantic_head(levels: Sequence[Tensor], width: int, n_classes: int) -> keras.Model:
    """
    Build a head that tells the class of every cell of the finest level.

    Parameters
    ----------
    levels : sequence of tensor, shapes (B, H_l, W_l, C)
        Pyramid levels, fine to coarse, each half the size of the one before.
    width : int
        Channels of the merged features.
    n_classes : int

    Returns
    -------
    keras.Model
        The levels to logits (B, H_0, W_0, n_classes), float32.

    References
    ----------
    Kirillov et al. 2019, arXiv:1901.02446 (Panoptic FPN); as an auxiliary loss in Chen et al. 2019, arXiv:1901.07518.
    """
    inputs = [keras.Input(level.shape[1:]) for level in levels]
    merged = []
    for k, level in enumerate(inputs):
        x = layers.Conv2D(width, 1, name=f"lateral{k}")(level)
        merged.append(layers.UpSampling2D(2**k, interpolation="bilinear")(x) if k else x)
    x = layers.ReLU()(layers.Add()(merged))
    x = layers.Conv2D(width, 3, padding="same", activation="relu", name="conv")(x)
    return keras.Model(inputs, layers.Conv2D(n_classes, 1, dtype="float32", name="logits")(x), name="semantic_head")


def semantic_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """
    Binary cross-entropy of every cell and class, averaged.

    Parameters
    ----------
    logits : tensor, shape (B, H, W, n_classes)
    shares : tensor, shape (B, H, W, n_classes)
        Share of each cell that artifacts of the class cover, in [0, 1].

    Returns
    -------
    tensor, shape (B,)
    """
    return ops.mean(ops.softplus(logits) - shares * logits, axis=(1, 2, 3))
