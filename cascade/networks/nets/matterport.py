"""
Matterport's Mask R-CNN: the graph of the paper and of the `mrcnn` package, with the same layers and names.

It loads weights of `mrcnn` (`cascade.networks.convert`) and gives the same detections, up to the resizing of previews.
Differences: regions under one square pixel are dropped, and padding of the list of proposals is never classified.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers

from cascade.networks.nets.boxes import Tensor, pyramid_anchors
from cascade.networks.nets.fpn import feature_pyramid
from cascade.networks.nets.frame import Frame, normalised, preview_input
from cascade.networks.nets.mask_rcnn import Limits, MaskRCNN, Sampling
from cascade.networks.nets.resnet import frozen_norm, resnet_stages
from cascade.networks.nets.rpn import RPNHead

MEAN_PIXEL = (123.7, 116.8, 103.9)
"""Mean red, green and blue grey level that Matterport's `MEAN_PIXEL` subtracts."""

_STRIDES = (4, 8, 16, 32, 64)
_ANCHOR_SIZES_PX = (32.0, 64.0, 128.0, 256.0, 512.0)
_ANCHOR_RATIOS = (0.5, 1.0, 2.0)
_PYRAMID_CHANNELS = 256
_RPN_CHANNELS = 512
_BOX_BINS, _MASK_BINS = 7, 14
_HEAD_WIDTH = 1024
_MASK_WIDTH, _MASK_DEPTH = 256, 4
_LEVEL_PX = 224.0  # regions of this side use the third level


@dataclass(frozen=True, slots=True)
class MatterportConfig:
    """
    Size and limits of the network; the defaults are those of Matterport's `Config` and of the paper.

    Attributes
    ----------
    depth
        Of the ResNet, 50 or 101.
    size
        Side of the square to which previews are resized, a multiple of 64.
    channels
        1, or 3 equal ones as in the original: the first convolution then takes twice the time, without folding.
    n_candidates, n_proposals, n_detections
        See `cascade.networks.nets.mask_rcnn.Limits`.
    min_score
        Detections below it are dropped; the paper used 0.8.
    """

    depth: int
    size: int = 1024
    channels: int = 1
    n_candidates: int = 6000
    n_proposals: int = 1000
    n_detections: int = 100
    min_score: float = 0.7


def build_matterport(config: MatterportConfig, n_classes: int) -> MaskRCNN:
    """
    Build the network.

    Raises
    ------
    ValueError
        If the depth, the size or the number of channels is not supported.
    """
    if config.size % _STRIDES[-1] or config.size <= 0:
        msg = f"size: expected a multiple of {_STRIDES[-1]}, got {config.size}"
        raise ValueError(msg)
    if config.channels not in (1, 3):
        msg = f"channels: expected 1 or 3, got {config.channels}"
        raise ValueError(msg)
    frame = Frame(size=config.size, stretched=True, inclusive=True)
    images = preview_input()
    x = _normalised(frame.fit(images, sky=0.0), config.channels)
    levels = feature_pyramid(resnet_stages(x, config.depth), _PYRAMID_CHANNELS, first=2)
    return MaskRCNN(
        frame=frame,
        pyramid=keras.Model(images, levels, name="pyramid"),
        rpn_head=RPNHead(_RPN_CHANNELS, len(_ANCHOR_RATIOS), paired=True, name="rpn_head"),
        box_head=_build_box_head(n_classes),
        mask_head=_build_mask_head(n_classes),
        anchors=pyramid_anchors(config.size, _STRIDES, _ANCHOR_SIZES_PX, _ANCHOR_RATIOS, centre=0.0, inclusive=True),
        sampling=Sampling(
            strides=_STRIDES[:-1],
            # Matterport rounds log2(side / 224) where Lin et al. truncate it, and its sides are a pixel shorter.
            canonical_px=_LEVEL_PX * frame.limit / frame.size / 2**1.5,
            box_bins=_BOX_BINS,
            mask_bins=_MASK_BINS,
            edge_to_edge=frame.limit,
        ),
        limits=Limits(
            n_candidates=min(config.n_candidates, _n_anchors(config.size)),
            n_proposals=config.n_proposals,
            n_detections=config.n_detections,
            min_score=config.min_score,
            detection_overlap=0.3,
            one_class=True,
        ),
    )


def named_layers(network: MaskRCNN) -> dict[str, keras.layers.Layer]:
    """Layers with weights of a network built here, by Matterport's name, in the order of the graph."""
    rpn = {
        "rpn_conv_shared": network.rpn_head.shared,
        "rpn_class_raw": network.rpn_head.logits,
        "rpn_bbox_pred": network.rpn_head.offsets,
    }
    parts = [{layer.name: layer for layer in part.layers if layer.weights} for part in
             (network.pyramid, network.box_head, network.mask_head)]  # fmt: skip
    return parts[0] | rpn | parts[1] | parts[2]


def _normalised(images: Tensor, channels: int) -> Tensor:
    """Grey levels minus the mean pixel, in 1 or 3 channels."""
    if channels == 1:
        return normalised(images, offset=sum(MEAN_PIXEL) / 3, scale=1.0)
    colours = layers.Concatenate(name="colours")([images] * channels)
    return layers.Normalization(mean=MEAN_PIXEL, variance=[1.0] * channels, name="normalise")(colours)


def _n_anchors(size: int) -> int:
    """Number of anchors of all levels."""
    return len(_ANCHOR_RATIOS) * sum((size // stride) ** 2 for stride in _STRIDES)


def _build_box_head(n_classes: int) -> keras.Model:
    """(R, 7, 7, 256) to logits (R, 1 + n_classes) and offsets (R, n_classes * 4), without those of background."""
    regions = keras.Input((_BOX_BINS, _BOX_BINS, _PYRAMID_CHANNELS))
    x = layers.Conv2D(_HEAD_WIDTH, _BOX_BINS, name="mrcnn_class_conv1")(regions)
    x = layers.ReLU()(frozen_norm(x, "mrcnn_class_bn1"))
    x = layers.Conv2D(_HEAD_WIDTH, 1, name="mrcnn_class_conv2")(x)
    x = layers.Flatten()(layers.ReLU()(frozen_norm(x, "mrcnn_class_bn2")))
    logits = layers.Dense(1 + n_classes, dtype="float32", name="mrcnn_class_logits")(x)
    offsets = layers.Dense(4 * (1 + n_classes), dtype="float32", name="mrcnn_bbox_fc")(x)
    return keras.Model(regions, [logits, offsets[:, 4:]], name="box_head")


def _build_mask_head(n_classes: int) -> keras.Model:
    """(R, 14, 14, 256) to logits (R, 28, 28, n_classes), without those of background."""
    regions = keras.Input((_MASK_BINS, _MASK_BINS, _PYRAMID_CHANNELS))
    x = regions
    for k in range(1, _MASK_DEPTH + 1):
        x = layers.Conv2D(_MASK_WIDTH, 3, padding="same", name=f"mrcnn_mask_conv{k}")(x)
        x = layers.ReLU()(frozen_norm(x, f"mrcnn_mask_bn{k}"))
    x = layers.Conv2DTranspose(_MASK_WIDTH, 2, strides=2, activation="relu", name="mrcnn_mask_deconv")(x)
    logits = layers.Conv2D(1 + n_classes, 1, dtype="float32", name="mrcnn_mask")(x)
    return keras.Model(regions, logits[..., 1:], name="mask_head")
