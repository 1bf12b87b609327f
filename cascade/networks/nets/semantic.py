"""
The semantic branch: semantic segmentation of each class.

The map has a channel for each of the C classes of the model, in its order, and a last one for any class: annotators who
agree on an artifact often disagree on its class.

The branch is attached to the feature pyramid beside the heads of Mask R-CNN. Its dense loss trains the backbone faster,
and it detects what no proposal covers: `cascade.networks.fuse` combines both.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from cascade.networks.nets.backbone import conv_norm_relu
from cascade.networks.nets.boxes import Tensor

CELL_PX = 4
"""Side of a cell of the semantic map, in pixels of the preview."""

N_LEVELS = 3
"""Pyramid levels that are merged, from stride 8 on."""

_FINEST_STRIDE = 8


def build_semantic_head(levels: Sequence[Tensor], width: int, n_classes: int, *, padding: int) -> keras.Model:
    """
    Build a head that predicts the fraction of every cell that each class covers.

    Parameters
    ----------
    levels : sequence of tensor, shapes (B, H_l, W_l, C)
        Pyramid levels, fine to coarse, each half the size of the previous; the finest has a stride of 8.
    width : int
        Channels of the merged features.
    n_classes : int
        C.
    padding : int
        Pixels around the preview, on each side, that the levels cover and the map does not; a multiple of 8.

    Returns
    -------
    keras.Model
        The levels to logits (B, 100, 100, C + 1), float32, by cell of `CELL_PX`.

    References
    ----------
    Kirillov et al. 2019, arXiv:1901.02446 (Panoptic FPN), and Chen et al. 2019, arXiv:1901.07518, who train it jointly;
    the last step trades channels for resolution (Shi et al. 2016, arXiv:1609.05158).
    """
    n_channels = n_classes + 1
    inputs = [keras.Input(level.shape[1:]) for level in levels]
    merged = []
    for k, level in enumerate(inputs):
        x = layers.Conv2D(width, 1, name=f"lateral{k}")(level)
        merged.append(layers.UpSampling2D(2**k, interpolation="bilinear")(x) if k else x)
    x = layers.ReLU()(layers.Add()(merged))
    x = conv_norm_relu(x, width, name="conv1")
    x = conv_norm_relu(x, width, name="conv2")
    fine = _FINEST_STRIDE // CELL_PX
    x = layers.Conv2D(fine * fine * n_channels, 1, dtype="float32", name="logits")(x)
    height, width_ = x.shape[1:3]
    x = layers.Reshape((height, width_, fine, fine, n_channels), dtype="float32", name="apart")(x)
    x = layers.Permute((1, 3, 2, 4, 5), dtype="float32", name="interleaved")(x)
    x = layers.Reshape((height * fine, width_ * fine, n_channels), dtype="float32", name="cells")(x)
    cut = padding // CELL_PX
    return keras.Model(
        inputs, layers.Cropping2D(cut, dtype="float32", name="preview")(x) if cut else x, name="semantic_head"
    )


def semantic_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """
    Binary cross-entropy of every cell and class, averaged.

    Parameters
    ----------
    logits : tensor, shape (B, H, W, C + 1)
    shares : tensor, shape (B, H, W, C + 1)
        Covered fraction of each cell by class, in [0, 1].

    Returns
    -------
    tensor, shape (B,)
    """
    return ops.mean(ops.softplus(logits) - shares * logits, axis=(1, 2, 3))


class SemanticNet(keras.Model):
    """
    A semantic map of previews, without instances.

    Input (B, 400, 400, 1), grey levels 0-255. Output: a dict of `semantic`, (B, 100, 100, C + 1) probabilities.

    Parameters
    ----------
    pyramid : keras.Model
        Previews to feature levels, fine to coarse.
    semantic_head : keras.Model
        See `build_semantic_head`.
    """

    def __init__(self, *, pyramid: keras.Model, semantic_head: keras.Model) -> None:
        super().__init__(name="semantic_net", dtype="float32")
        self.pyramid, self.semantic_head = pyramid, semantic_head
        self.built = True

    def call(self, images: Tensor) -> dict[str, Tensor]:
        """Predict the semantic map."""
        return {"semantic": ops.sigmoid(self.logits(images, training=False))}

    def logits(self, images: Tensor, *, training: bool) -> Tensor:
        """Logits of the map, (B, 100, 100, C + 1)."""
        levels = self.pyramid(images, training=training)
        return self.semantic_head(levels[:N_LEVELS], training=training)


class SemanticTraining(keras.Model):
    """
    A semantic net with its loss, like `cascade.networks.nets.mask_rcnn.MaskRCNNTraining`.

    Of the same input it uses `image` and `shares`.
    """

    loss_names = ("semantic",)

    def __init__(self, network: SemanticNet) -> None:
        super().__init__(name="semantic_training", dtype="float32")
        self.network = network
        self.built = True

    def call(self, batch: dict[str, Tensor], training: bool = True) -> dict[str, Tensor]:
        """Compute the loss."""
        logits = self.network.logits(batch["image"], training=training)
        return {"semantic": semantic_loss(logits, batch["shares"])}
