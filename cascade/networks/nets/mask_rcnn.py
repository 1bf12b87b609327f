"""Mask R-CNN (He et al. 2017, arXiv:1703.06870): the wiring of its parts, for inference and for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from cascade.networks.nets.boxes import Tensor, area, clip, decode
from cascade.networks.nets.frame import Frame
from cascade.networks.nets.heads import by_region
from cascade.networks.nets.losses import anchor_losses, mask_loss, region_losses
from cascade.networks.nets.nms import best, pick, suppress
from cascade.networks.nets.roi_align import feature_table, roi_align
from cascade.networks.nets.rpn import RPNHead, propose
from cascade.networks.nets.semantic import N_LEVELS as N_SEMANTIC_LEVELS
from cascade.networks.nets.semantic import semantic_loss
from cascade.networks.nets.targets import crop_masks, match_anchors, sample_regions

LOSSES = ("anchor_score", "anchor_box", "region_class", "region_box", "mask", "semantic")
"""Names of the losses, in the order of training logs."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """
    Sampling of region features from the pyramid.

    Attributes
    ----------
    strides
        Pixels per cell of the levels used by ROIAlign, fine to coarse; the pyramid may have more.
    canonical_px
        Regions of one to two times this side, in network pixels, use the second level.
    box_bins, mask_bins
        Samples on each side for the box and for the mask head.
    edge_to_edge
        See `cascade.networks.nets.roi_align.roi_align`.
    """

    strides: tuple[int, ...]
    canonical_px: float
    box_bins: int
    mask_bins: int
    edge_to_edge: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Maximum number of boxes per image at each step; bounds time and memory on crowded images.

    Attributes
    ----------
    n_candidates, n_proposals
        Anchors before non-maximum suppression, and proposals after it.
    n_detections
        Maximum number of instances; annotators drew up to 13.
    min_score
        Detections below it are dropped before the final suppression.
    proposal_overlap, detection_overlap
        Intersection over union above which the lower-scoring of two proposals, or of two detections of one class, is
        dropped.
    one_class
        Whether a region is a detection of its most probable class only, and none if that is background (Matterport's
        rule); else of every class.
    """

    n_candidates: int
    n_proposals: int
    n_detections: int
    min_score: float
    proposal_overlap: float = 0.7
    detection_overlap: float = 0.5
    one_class: bool = False


class MaskRCNN(keras.Model):
    """
    Find artifacts in previews.

    Input (B, 400, 400, 1), grey levels 0-255. Output, a dict of float32: `boxes` (B, D, 4) in pixels of the preview,
    `scores` (B, D), 0 where there is no detection, `classes` (B, D) int32 indices among the C classes of the model, and
    `masks` (B, D, m, m) probabilities within each box. With a semantic head there is also `semantic`,
    (B, 100, 100, C + 1) probabilities; see `cascade.networks.nets.semantic`.

    Parameters
    ----------
    frame : Frame
        Mapping of previews to the network's input.
    pyramid : keras.Model
        Previews to feature levels, fine to coarse.
    rpn_head : RPNHead
        Logits and offsets of the anchors of one level.
    box_head, mask_head : keras.Model
        See `cascade.networks.nets.heads`.
    anchors : ndarray of float32, shape (A, 4)
        Of all levels, in network pixels.
    sampling : Sampling
    limits : Limits
    semantic_head : keras.Model or None
        See `cascade.networks.nets.semantic`.
    """

    def __init__(
        self, *, frame: Frame, pyramid: keras.Model, rpn_head: RPNHead, box_head: keras.Model, mask_head: keras.Model,
        anchors: npt.NDArray[np.float32], sampling: Sampling, limits: Limits, semantic_head: keras.Model | None = None,
    ) -> None:  # fmt: skip
        # Boxes must stay float32 under mixed precision: bfloat16 resolves only 2 px at 400. The parts that convolve
        # follow the global policy.
        super().__init__(name="mask_rcnn", dtype="float32")
        self.frame, self.sampling, self.limits, self.anchors = frame, sampling, limits, anchors
        self.pyramid, self.rpn_head, self.box_head, self.mask_head = pyramid, rpn_head, box_head, mask_head
        self.semantic_head = semantic_head
        if not rpn_head.built:
            rpn_head.build([level.shape for level in pyramid.outputs])
        self.built = True

    @property
    def mask_size(self) -> int:
        """Side of the masks of the mask head."""
        return int(self.mask_head.output.shape[1])

    @property
    def n_classes(self) -> int:
        """How many classes the heads tell apart."""
        return int(self.mask_head.output.shape[-1])

    def call(self, images: Tensor) -> dict[str, Tensor]:
        """Detect artifacts."""
        levels, logits, offsets = self.look(images, training=False)
        table = self.table(levels)
        proposals, valid = self.propose(logits, offsets)
        class_logits, shifts = by_region(self.box_head, self.align(table, proposals, self.sampling.box_bins))
        boxes, scores, classes = self.detect(proposals, valid, class_logits, shifts)
        masks = self.draw(self.align(table, boxes, self.sampling.mask_bins), classes)
        outputs = {"boxes": self.frame.to_preview(boxes), "scores": scores, "classes": classes, "masks": masks}
        if self.semantic_head is not None:
            outputs["semantic"] = ops.sigmoid(self.semantic_logits(levels, training=False))
        return outputs

    def semantic_logits(self, levels: Sequence[Tensor], *, training: bool) -> Tensor:
        """Logits of the semantic map, (B, 100, 100, C + 1); only with a semantic head."""
        assert self.semantic_head is not None
        return self.semantic_head(levels[:N_SEMANTIC_LEVELS], training=training)

    def look(self, images: Tensor, *, training: bool) -> tuple[list[Tensor], Tensor, Tensor]:
        """Feature pyramid, and the logits (B, A) and offsets (B, A, 4) of all anchors."""
        levels = self.pyramid(images, training=training)
        return levels, *self.rpn_head(levels)

    def table(self, levels: Sequence[Tensor]) -> Tensor:
        """The levels that regions are cut from as one table (B, R, C)."""
        return feature_table(levels[: len(self.sampling.strides)])

    def propose(self, logits: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals (B, N, 4) in network pixels, and which are valid."""
        return propose(
            ops.stop_gradient(logits), ops.stop_gradient(offsets), ops.convert_to_tensor(self.anchors),
            limit=self.frame.limit, n_candidates=self.limits.n_candidates, n_proposals=self.limits.n_proposals,
            max_overlap=self.limits.proposal_overlap,
        )  # fmt: skip

    def align(self, table: Tensor, boxes: Tensor, bins: int) -> Tensor:
        """Features of boxes, (B, N, bins, bins, C)."""
        sampling = self.sampling
        shapes = [(level.shape[1], level.shape[2]) for level in self.pyramid.outputs[: len(sampling.strides)]]
        return roi_align(
            table, boxes, shapes=shapes, strides=sampling.strides, canonical_px=sampling.canonical_px, size=bins,
            edge_to_edge=sampling.edge_to_edge,
        )  # fmt: skip

    def draw(self, regions: Tensor, classes: Tensor) -> Tensor:
        """Masks (B, D, m, m) of regions (B, D, bins, bins, C), each for its own class."""
        (logits,) = by_region(self.mask_head, regions)
        of_class = ops.one_hot(classes, self.n_classes, dtype="float32")[:, :, None, None]
        return ops.sigmoid(ops.sum(logits * of_class, axis=-1))

    def detect(
        self, proposals: Tensor, valid: Tensor, class_logits: Tensor, shifts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, D, 4), scores and classes (B, D) after class-wise non-maximum suppression."""
        limits = self.limits
        n_pairs = limits.n_proposals * self.n_classes
        probabilities = ops.softmax(class_logits, axis=-1) * ops.cast(valid, "float32")[..., None]
        scores = probabilities[..., 1:]
        n_usable = n_pairs
        if limits.one_class:
            scores = ops.where(scores >= ops.max(probabilities, axis=-1, keepdims=True), scores, 0.0)
            n_usable = limits.n_proposals
        shifts = ops.reshape(shifts, (-1, limits.n_proposals, self.n_classes, 4))
        boxes = clip(decode(shifts, proposals[:, :, None]), self.frame.limit)
        scores, order = ops.top_k(ops.reshape(scores, (-1, n_pairs)), min(n_usable, limits.n_candidates))
        boxes = pick(ops.reshape(boxes, (-1, n_pairs, 4)), order)
        classes = ops.cast(order % self.n_classes, "int32")
        # Shifted by class, boxes of different classes never overlap.
        shifted = boxes + ops.cast(classes, "float32")[..., None] * (2.0 * self.frame.size)
        usable = ops.logical_and(scores >= limits.min_score, area(boxes) >= 1.0)
        kept = suppress(shifted, usable, max_overlap=limits.detection_overlap)
        chosen, found = best(kept, limits.n_detections)
        scores = ops.where(found, ops.take_along_axis(scores, chosen, axis=1), 0.0)
        return pick(boxes, chosen), scores, ops.take_along_axis(classes, chosen, axis=1)


class MaskRCNNTraining(keras.Model):
    """
    A Mask R-CNN with its losses, for `keras.Model.fit`.

    Input: a dict of `image` (B, 400, 400, 1), `boxes` (B, G, 4) in pixels of the preview, `classes` (B, G)
    indices among the C classes or -1 for padding, `masks` (B, G, 400, 400) uint8 0 or 1, `shares` (B, 100, 100, C + 1),
    the covered fraction of each cell by class, and by any. Output: a dict of the losses (B,) in `LOSSES`,
    without that of a missing semantic head; compile it with `mean_loss` for each. Images without any instance train as
    background.
    """

    def __init__(self, network: MaskRCNN, *, n_anchors: int, n_regions: int, n_positive: int, seed: int) -> None:
        super().__init__(name="mask_rcnn_training", dtype="float32")
        self.network = network
        self.loss_names = LOSSES if network.semantic_head is not None else LOSSES[:-1]
        self.n_anchors, self.n_regions, self.n_positive = n_anchors, n_regions, n_positive
        self.seed = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, batch: dict[str, Tensor], training: bool = True) -> dict[str, Tensor]:
        """Compute the losses."""
        network = self.network
        present = batch["classes"] >= 0
        boxes = network.frame.to_network(ops.cast(batch["boxes"], "float32"))
        levels, logits, offsets = network.look(batch["image"], training=training)
        table = network.table(levels)
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
        class_logits, shifts = by_region(
            network.box_head, network.align(table, regions.boxes, network.sampling.box_bins)
        )
        positives = regions.boxes[:, : regions.positive.shape[1]]
        (mask_logits,) = by_region(network.mask_head, network.align(table, positives, network.sampling.mask_bins))
        masks = crop_masks(batch["masks"], network.frame.to_preview(positives), regions.matched, size=network.mask_size)
        losses = (
            *anchor_losses(logits, offsets, anchors),
            *region_losses(class_logits, shifts, regions),
            mask_loss(mask_logits, masks, regions),
        )
        named = dict(zip(LOSSES, losses, strict=False))
        if network.semantic_head is not None:
            named["semantic"] = semantic_loss(network.semantic_logits(levels, training=training), batch["shares"])
        return named


def mean_loss(_unused: Tensor, losses: Tensor) -> Tensor:
    """Mean over the batch of a loss computed by the model itself, with the signature of a Keras loss."""
    return ops.mean(losses)


def probe(network: MaskRCNN, images: Tensor) -> npt.NDArray[np.float32]:
    """
    Reduce every head's output on fixed boxes to a few numbers, for golden outputs.

    They are root mean squares, which unlike detections change smoothly with the weights and never vanish.
    """
    side = float(network.frame.size)
    fixed = [
        [0.25 * side, 0.25 * side, 0.75 * side, 0.75 * side],
        [0.3 * side, 0.5 * side, 0.5 * side, 0.8 * side],
    ]
    boxes = ops.tile(ops.convert_to_tensor([fixed], dtype="float32"), (len(images), 1, 1))
    levels, logits, offsets = network.look(ops.convert_to_tensor(images), training=False)
    table = network.table(levels)
    class_logits, shifts = by_region(network.box_head, network.align(table, boxes, network.sampling.box_bins))
    (mask_logits,) = by_region(network.mask_head, network.align(table, boxes, network.sampling.mask_bins))
    parts = [logits, offsets, class_logits, shifts, mask_logits]
    if network.semantic_head is not None:
        parts.append(network.semantic_logits(levels, training=False))
    squares = [ops.mean(ops.square(ops.reshape(part, (len(images), -1))), axis=-1) for part in parts]
    return np.asarray(ops.convert_to_numpy(ops.sqrt(ops.concatenate(squares))), np.float32)
