"""The compact Mask R-CNN: a preview at its own scale, a light backbone, strides of 8 to 64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras

from cascade.networks.nets.backbone import residual_stages
from cascade.networks.nets.boxes import Tensor, pyramid_anchors
from cascade.networks.nets.efficientnet import efficientnet_lite0_stages
from cascade.networks.nets.fpn import feature_pyramid
from cascade.networks.nets.frame import Frame, normalised, preview_input
from cascade.networks.nets.heads import build_box_head, build_mask_head
from cascade.networks.nets.mask_rcnn import Limits, MaskRCNN, Sampling
from cascade.networks.nets.rpn import RPNHead
from cascade.networks.nets.semantic import N_LEVELS, SemanticNet, build_semantic_head

FRAME = Frame(size=416, stretched=False)
"""The preview of 400 px is padded to 416, a multiple of 32, and the padding cut again."""
STRIDES = (8, 16, 32, 64)
_FIRST_LEVEL = 3  # stride 2**3; one finer would double the cost for artifacts that are rarely under 20 px
ANCHOR_RATIOS = (0.5, 1.0, 2.0)
BOX_BINS, MASK_BINS = 7, 14


@dataclass(frozen=True, slots=True)
class CompactConfig:
    """
    Size and limits of the network.

    Attributes
    ----------
    offset, scale
        Normalisation of grey levels: ``(image - offset) / scale``.
    pyramid_channels
        Channels of the feature pyramid.
    head_width, mask_width, mask_depth
        Width of the box head's hidden layers; width and number of the mask head's convolutions.
    anchor_sizes_px
        Anchor side at strides 8, 16, 32 and 64.
    n_candidates, n_proposals, n_detections, min_score
        See `cascade.networks.nets.mask_rcnn.Limits`.
    backbone
        ``"residual"`` or ``"efficientnet_lite0"``.
    widths, blocks
        Channels and residual blocks of the residual backbone's five stages (strides 2 to 32).
    semantic_width
        Width of the semantic head; 0: no head.
    """

    offset: float
    scale: float
    pyramid_channels: int
    head_width: int
    mask_width: int
    mask_depth: int
    anchor_sizes_px: tuple[float, ...]
    n_candidates: int
    n_proposals: int
    n_detections: int
    min_score: float
    backbone: str = "residual"
    widths: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    semantic_width: int = 0


_BACKBONES: Mapping[str, Callable[[Tensor, CompactConfig], list[Tensor]]] = {
    "residual": lambda x, config: residual_stages(x, config.widths, config.blocks),
    "efficientnet_lite0": lambda x, _config: efficientnet_lite0_stages(x),
}


def build_compact(config: CompactConfig, n_classes: int) -> MaskRCNN:
    """
    Build the network.

    Raises
    ------
    ValueError
        If there is no such backbone, or a number is invalid.
    """
    channels = config.pyramid_channels
    pyramid = _build_pyramid(config)
    return MaskRCNN(
        frame=FRAME,
        pyramid=pyramid,
        rpn_head=RPNHead(channels, len(ANCHOR_RATIOS), name="rpn_head"),
        box_head=build_box_head(BOX_BINS, channels, config.head_width, n_classes),
        mask_head=build_mask_head(MASK_BINS, channels, config.mask_width, config.mask_depth, n_classes),
        anchors=pyramid_anchors(FRAME.size, STRIDES, config.anchor_sizes_px, ANCHOR_RATIOS),
        sampling=Sampling(
            strides=STRIDES, canonical_px=config.anchor_sizes_px[1], box_bins=BOX_BINS, mask_bins=MASK_BINS
        ),
        limits=Limits(
            n_candidates=config.n_candidates, n_proposals=config.n_proposals, n_detections=config.n_detections,
            min_score=config.min_score,
        ),
        semantic_head=_build_semantic_head(pyramid, config, n_classes) if config.semantic_width else None,
    )  # fmt: skip


def build_semantic_net(config: CompactConfig, n_classes: int) -> SemanticNet:
    """
    Build the pyramid and the semantic head only: for pretraining, and as a baseline for Mask R-CNN.

    Raises
    ------
    ValueError
        If there is no such backbone, no semantic head, or a number is invalid.
    """
    if not config.semantic_width:
        msg = "semantic_width: expected a positive number, got 0"
        raise ValueError(msg)
    pyramid = _build_pyramid(config)
    return SemanticNet(pyramid=pyramid, semantic_head=_build_semantic_head(pyramid, config, n_classes))


def _build_semantic_head(pyramid: keras.Model, config: CompactConfig, n_classes: int) -> keras.Model:
    """The semantic head on the finest levels of a pyramid."""
    return build_semantic_head(pyramid.outputs[:N_LEVELS], config.semantic_width, n_classes, padding=FRAME.padding)


def _build_pyramid(config: CompactConfig) -> keras.Model:
    """Images (B, 400, 400, 1) to the four levels of the padded preview."""
    if config.backbone not in _BACKBONES:
        msg = f"backbone: expected one of {', '.join(_BACKBONES)}, got {config.backbone!r}"
        raise ValueError(msg)
    images = preview_input()
    x = normalised(FRAME.fit(images, sky=config.offset), offset=config.offset, scale=config.scale)
    stages = _BACKBONES[config.backbone](x, config)
    levels = feature_pyramid(stages[-3:], config.pyramid_channels, first=_FIRST_LEVEL)
    return keras.Model(images, levels, name="pyramid")
