"""Mask R-CNN (He et al. 2017, arXiv:1703.06870): the wiring of its parts, for use and for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from cascade.exposure import PREVIEW_SHAPE, Artifact
from cascade.nets.backbone import residual_stages
from cascade.nets.boxes import Tensor, area, clip, decode, pyramid_anchors
from cascade.nets.fpn import feature_pyramid
from cascade.nets.heads import build_box_head, build_mask_head, by_region
from cascade.nets.losses import anchor_losses, mask_loss, region_losses
from cascade.nets.nms import best, pick, suppress
from cascade.nets.roi_align import roi_align
from cascade.nets.rpn import RPNHead, propose
from cascade.nets.semantic import build_semantic_head, semantic_loss
from cascade.nets.targets import crop_masks, match_anchors, sample_regions

N_CLASSES = len(Artifact)
STRIDES = (8, 16, 32, 64)
ANCHOR_RATIOS = (0.5, 1.0, 2.0)
BOX_BINS, MASK_BINS = 7, 14
MASK_SIZE = 2 * MASK_BINS
PADDED_PX = 416
"""The preview of 400 px is padded to this, a multiple of 32, and the padding cut again."""
PADDING_PX = (PADDED_PX - PREVIEW_SHAPE[0]) // 2
LOSSES = ("anchor_score", "anchor_box", "region_class", "region_box", "mask", "semantic")
"""Names of the losses, in the order in which training reports them."""
SEMANTIC_CELL_PX = STRIDES[0]
"""Side of a cell of the semantic targets; the padding is exactly one cell on each side."""
_SEMANTIC_LEVELS = 3
_SEMANTIC_WIDTH = 64


@dataclass(frozen=True, slots=True)
class MaskRCNNConfig:
    """
    Size and limits of the network.

    Attributes
    ----------
    offset, scale
        Grey level of the sky and of one unit: the network sees ``(image - offset) / scale``.
    widths, blocks
        Channels and residual blocks of the backbone's five stages (strides 2 to 32).
    pyramid_channels
        Channels of the feature pyramid.
    head_width, mask_width, mask_depth
        Width of the box head's hidden layers; width and number of the mask head's convolutions.
    anchor_sizes_px
        Anchor side at strides 8, 16, 32 and 64.
    n_candidates, n_proposals
        Anchors that enter non-maximum suppression, and regions that leave it, an image.
    n_detections
        Instances an image at most; the annotators drew 13 at most.
    min_score
        Detections below it are dropped before the last suppression.
    """

    offset: float
    scale: float
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    pyramid_channels: int
    head_width: int
    mask_width: int
    mask_depth: int
    anchor_sizes_px: tuple[float, ...]
    n_candidates: int
    n_proposals: int
    n_detections: int
    min_score: float


class MaskRCNN(keras.Model):
    """
    Find artifacts in previews.

    Input (B, 400, 400, 1), grey levels 0-255. Output, a dict of float32: `boxes` (B, D, 4) in pixels of the preview,
    `scores` (B, D), 0 where there is no detection, `classes` (B, D) int32 values of `Artifact`, and `masks`
    (B, D, 28, 28) probabilities within each box.
    """

    def __init__(self, config: MaskRCNNConfig) -> None:
        # Boxes must stay float32 under mixed precision: bfloat16 resolves only 2 px at 400. The parts that convolve
        # follow the global policy.
        super().__init__(name="mask_rcnn", dtype="float32")
        self.config = config
        self.pyramid = _build_pyramid(config)
        self.rpn_head = RPNHead(config.pyramid_channels, len(ANCHOR_RATIOS), name="rpn_head")
        self.box_head = build_box_head(BOX_BINS, config.pyramid_channels, config.head_width, N_CLASSES)
        self.mask_head = build_mask_head(
            MASK_BINS, config.pyramid_channels, config.mask_width, config.mask_depth, N_CLASSES
        )
        self.anchors = pyramid_anchors(PADDED_PX, STRIDES, config.anchor_sizes_px, ANCHOR_RATIOS)
        for level in self.pyramid.outputs:
            if not self.rpn_head.built:
                self.rpn_head.build(level.shape)
        self.built = True

    def call(self, images: Tensor) -> dict[str, Tensor]:
        """Detect artifacts."""
        levels, logits, offsets = self.look(images, training=False)
        proposals, valid = self.propose(logits, offsets)
        class_logits, shifts = by_region(self.box_head, self.align(levels, proposals, BOX_BINS))
        boxes, scores, classes = self._detections(proposals, valid, class_logits, shifts)
        (mask_logits,) = by_region(self.mask_head, self.align(levels, boxes, MASK_BINS))
        of_class = ops.one_hot(classes, N_CLASSES, dtype="float32")[:, :, None, None]
        return {
            "boxes": boxes - float(PADDING_PX),
            "scores": scores,
            "classes": classes,
            "masks": ops.sigmoid(ops.sum(mask_logits * of_class, axis=-1)),
        }

    def look(self, images: Tensor, *, training: bool) -> tuple[list[Tensor], Tensor, Tensor]:
        """Feature pyramid, and the logits (B, A) and offsets (B, A, 4) of all anchors."""
        levels = self.pyramid(images, training=training)
        scored = [self.rpn_head(level) for level in levels]
        logits, offsets = (ops.concatenate(parts, axis=1) for parts in zip(*scored, strict=True))
        return levels, logits, offsets

    def propose(self, logits: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Regions (B, N, 4) worth a second look, in pixels of the padded preview, and which are valid."""
        return propose(
            ops.stop_gradient(logits), ops.stop_gradient(offsets), ops.convert_to_tensor(self.anchors),
            size=PADDED_PX, n_candidates=self.config.n_candidates, n_proposals=self.config.n_proposals,
            max_overlap=0.7,
        )  # fmt: skip

    def align(self, levels: list[Tensor], boxes: Tensor, bins: int) -> Tensor:
        """Features of boxes, (B, N, bins, bins, C)."""
        return roi_align(levels, boxes, strides=STRIDES, canonical_px=self.config.anchor_sizes_px[1], size=bins)

    def _detections(
        self, proposals: Tensor, valid: Tensor, class_logits: Tensor, shifts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Suppress duplicates class by class and keep the best."""
        config = self.config
        n_pairs = config.n_proposals * N_CLASSES
        scores = ops.softmax(class_logits, axis=-1)[..., 1:] * ops.cast(valid, "float32")[..., None]
        shifts = ops.reshape(shifts, (-1, config.n_proposals, N_CLASSES, 4))
        boxes = clip(decode(shifts, proposals[:, :, None]), PADDED_PX)
        scores, order = ops.top_k(ops.reshape(scores, (-1, n_pairs)), min(n_pairs, config.n_candidates))
        boxes = pick(ops.reshape(boxes, (-1, n_pairs, 4)), order)
        classes = ops.cast(order % N_CLASSES, "int32")
        # Far apart, boxes of different classes never overlap.
        apart = boxes + ops.cast(classes, "float32")[..., None] * (2.0 * PADDED_PX)
        usable = ops.logical_and(scores >= config.min_score, area(boxes) >= 1.0)
        chosen, found = best(scores, suppress(apart, usable, max_overlap=0.5), config.n_detections)
        scores = ops.where(found, ops.take_along_axis(scores, chosen, axis=1), 0.0)
        return pick(boxes, chosen), scores, ops.take_along_axis(classes, chosen, axis=1)


class MaskRCNNTraining(keras.Model):
    """
    A Mask R-CNN together with its losses, for `keras.Model.fit`.

    Input: a dict of `image` (B, 400, 400, 1), `boxes` (B, G, 4) in pixels of the preview, `classes` (B, G) values of
    `Artifact` or -1 for padding, `masks` (B, G, 400, 400) uint8 0 or 1, `shares` (B, 50, 50, 3) share of each cell that
    each class covers. Output: a dict of the losses (B,) in `LOSSES`;
    compile it with `mean_loss` for each. Images without any instance train as background.
    """

    def __init__(self, network: MaskRCNN, *, n_anchors: int, n_regions: int, n_positive: int, seed: int) -> None:
        super().__init__(name="mask_rcnn_training", dtype="float32")
        self.network = network
        levels = network.pyramid.outputs[:_SEMANTIC_LEVELS]
        self.semantic_head = build_semantic_head(levels, _SEMANTIC_WIDTH, N_CLASSES)
        self.n_anchors, self.n_regions, self.n_positive = n_anchors, n_regions, n_positive
        self.seed = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, batch: dict[str, Tensor], training: bool = True) -> dict[str, Tensor]:
        """Compute the losses."""
        network = self.network
        present = batch["classes"] >= 0
        boxes = ops.cast(batch["boxes"], "float32") + float(PADDING_PX)
        levels, logits, offsets = network.look(batch["image"], training=training)
        anchors = match_anchors(
            ops.convert_to_tensor(network.anchors), boxes, present, self.seed, n_sampled=self.n_anchors
        )
        proposals, valid = network.propose(logits, offsets)
        regions = sample_regions(
            proposals,
            valid,
            boxes,
            batch["classes"],
            self.seed,
            n_regions=self.n_regions,
            n_positive=self.n_positive,
        )
        class_logits, shifts = by_region(network.box_head, network.align(levels, regions.boxes, BOX_BINS))
        positives = regions.boxes[:, : regions.positive.shape[1]]
        (mask_logits,) = by_region(network.mask_head, network.align(levels, positives, MASK_BINS))
        masks = crop_masks(batch["masks"], positives - float(PADDING_PX), regions.matched, size=MASK_SIZE)
        losses = (
            *anchor_losses(logits, offsets, anchors),
            *region_losses(class_logits, shifts, regions),
            mask_loss(mask_logits, masks, regions),
            semantic_loss(self.semantic_head(levels[:_SEMANTIC_LEVELS])[:, 1:-1, 1:-1], batch["shares"]),
        )
        return dict(zip(LOSSES, losses, strict=True))


def mean_loss(_unused: Tensor, losses: Tensor) -> Tensor:
    """Mean over the batch of a loss that the model computed itself, in the signature that Keras wants."""
    return ops.mean(losses)


def _build_pyramid(config: MaskRCNNConfig) -> keras.Model:
    """Images (B, 400, 400, 1) to the four levels of the padded preview."""
    images = keras.Input((*PREVIEW_SHAPE, 1), name="image")
    x = layers.Rescaling(1 / config.scale, -config.offset / config.scale, name="normalise")(images)
    x = layers.ZeroPadding2D(PADDING_PX, name="pad")(x)
    stages = residual_stages(x, config.widths, config.blocks)
    return keras.Model(images, feature_pyramid(stages[-3:], config.pyramid_channels), name="pyramid")


def probe(network: MaskRCNN, images: Tensor) -> npt.NDArray[np.float32]:
    """
    Reduce every head's answer on fixed boxes to a few numbers, for golden checks.

    They are root mean squares, which unlike detections change smoothly with the weights and never vanish.
    """
    side = float(PADDED_PX)
    fixed = [
        [0.25 * side, 0.25 * side, 0.75 * side, 0.75 * side],
        [0.3 * side, 0.5 * side, 0.5 * side, 0.8 * side],
    ]
    boxes = ops.tile(ops.convert_to_tensor([fixed], dtype="float32"), (len(images), 1, 1))
    levels, logits, offsets = network.look(ops.convert_to_tensor(images), training=False)
    class_logits, shifts = by_region(network.box_head, network.align(levels, boxes, BOX_BINS))
    (mask_logits,) = by_region(network.mask_head, network.align(levels, boxes, MASK_BINS))
    parts = (logits, offsets, class_logits, shifts, mask_logits)
    squares = [ops.mean(ops.square(ops.reshape(part, (len(images), -1))), axis=-1) for part in parts]
    return np.asarray(ops.convert_to_numpy(ops.sqrt(ops.concatenate(squares))), np.float32)


def load_config(parameters: dict[str, Any]) -> MaskRCNNConfig:
    """Build the configuration from the `[architecture]` table of a model folder."""
    frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()}
    return MaskRCNNConfig(**frozen)
