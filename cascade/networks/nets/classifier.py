"""The screen: a CNN that classifies exposures as clean or ghosted."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from cascade.core.exposure import PREVIEW_SHAPE
from cascade.networks.nets.backbone import conv_norm_relu, residual_stages
from cascade.networks.nets.boxes import Tensor
from cascade.networks.nets.semantic import CELL_PX, semantic_loss

_N_CELLS = 25  # along each side, of 16 px


def build_screen_cnn(
    *,
    widths: Sequence[int],
    blocks: Sequence[int],
    offset: float,
    scale: float,
    dropout: float,
    map_width: int,
    n_classes: int,
) -> keras.Model:
    """
    Build the screening network.

    Features are pooled by mean and by maximum: a faint ring fills half the focal plane, a short beam of Rays a corner.
    Those of a coarse map, supervised with the positions of artifacts, are pooled, too: one label per image is a weak
    signal, and a network of the same cost without the map was far less accurate.

    Parameters
    ----------
    widths, blocks : sequence of int
        Channels and residual blocks of each stage of the backbone.
    offset, scale : float
        Normalisation of grey levels: ``(image - offset) / scale``.
    dropout : float
        Fraction of pooled features dropped in training, in [0, 1).
    map_width : int
        Channels of the map's features.
    n_classes : int
        Classes that the map tells apart, C.

    Returns
    -------
    keras.Model
        (B, 400, 400, 1) images of 0-255 to (B, 1) float32 logits.
    """
    images = keras.Input((*PREVIEW_SHAPE, 1), name="image")
    x = layers.Rescaling(1 / scale, -offset / scale, name="normalise")(images)
    *_, fine, x = residual_stages(x, widths, blocks)
    pooled = [layers.GlobalAveragePooling2D(name="mean")(x), layers.GlobalMaxPooling2D(name="maximum")(x)]
    coarse = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(map_width, 1, name="map_coarse")(x))
    coarse = layers.Cropping2D(((0, 1), (0, 1)))(coarse)  # from 26 to 25 cells of stride 16
    merged = layers.ReLU()(layers.Add()([layers.Conv2D(map_width, 1, name="map_fine")(fine), coarse]))
    merged = conv_norm_relu(merged, map_width, name="map")
    cells = layers.Conv2D(n_classes + 1, 1, dtype="float32", name="cells")(merged)
    pooled += [layers.GlobalAveragePooling2D()(merged), layers.GlobalMaxPooling2D()(merged)]
    pooled += [layers.GlobalMaxPooling2D(dtype="float32")(cells)]
    x = layers.Dropout(dropout, name="dropout")(layers.Concatenate(name="pooled")(pooled))
    return keras.Model(images, layers.Dense(1, dtype="float32", name="logit")(x), name="screen_cnn")


class ScreenTraining(keras.Model):
    """
    A screen with its losses, like `cascade.networks.nets.semantic.SemanticTraining`.

    Input: a dict of `image` (B, 400, 400, 1); `ghosted` (B, 1), whether anything was annotated; and `shares`
    (B, 100, 100, C + 1), as in `cascade.networks.nets.semantic`. The target of a cell of the screen's map is the
    maximum of the fractions in it.

    Parameters
    ----------
    network : keras.Model
        Built by `build_screen_cnn`.
    """

    loss_names = ("ghosted", "map")

    def __init__(self, network: keras.Model) -> None:
        super().__init__(name="screen_training", dtype="float32")
        self.both = keras.Model(network.input, [network.output, network.get_layer("cells").output])
        self.built = True

    def call(self, batch: dict[str, Tensor], training: bool = True) -> dict[str, Tensor]:
        """Compute the losses."""
        logits, cells = self.both(batch["image"], training=training)
        n_each = PREVIEW_SHAPE[0] // CELL_PX // _N_CELLS
        split = ops.reshape(batch["shares"], (-1, _N_CELLS, n_each, _N_CELLS, n_each, cells.shape[-1]))
        ghosted = ops.softplus(logits) - batch["ghosted"] * logits
        return {"ghosted": ops.squeeze(ghosted, axis=1), "map": semantic_loss(cells, ops.max(split, axis=(2, 4)))}
