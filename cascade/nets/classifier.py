"""The screen: a CNN that says how likely an exposure shows an artifact."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from cascade.exposure import PREVIEW_SHAPE
from cascade.nets.backbone import residual_stages


def build_screen_cnn(
    *, widths: Sequence[int], blocks: Sequence[int], offset: float, scale: float, dropout: float
) -> keras.Model:
    """
    Build the screening network.

    Features are pooled by mean and by maximum: a faint ring fills half the focal plane, a short beam of Rays a corner.

    Parameters
    ----------
    widths, blocks : sequence of int
        Channels and residual blocks of each stage of the backbone.
    offset, scale : float
        Grey level of the sky and of one unit: the network sees ``(image - offset) / scale``.
    dropout : float
        Share of pooled features dropped in training, in [0, 1).

    Returns
    -------
    keras.Model
        (B, 400, 400, 1) images of 0-255 to (B, 1) float32 logits.
    """
    images = keras.Input((*PREVIEW_SHAPE, 1), name="image")
    x = layers.Rescaling(1 / scale, -offset / scale, name="normalise")(images)
    x = residual_stages(x, widths, blocks)[-1]
    pooled = [layers.GlobalAveragePooling2D(name="mean")(x), layers.GlobalMaxPooling2D(name="maximum")(x)]
    x = layers.Dropout(dropout, name="dropout")(layers.Concatenate(name="pooled")(pooled))
    return keras.Model(images, layers.Dense(1, dtype="float32", name="logit")(x), name="screen_cnn")
