"""Training targets: anchors and proposals matched to the true instances."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from cascade.networks.nets.boxes import Tensor, encode, overlaps
from cascade.networks.nets.nms import pick

_PADDING_IOU = -1.0  # overlap with padding, below that with any true box


@dataclass(frozen=True, slots=True)
class AnchorTargets:
    """
    Per anchor (B, A): `positive` and `negative` bool, the sampled ones; `offsets` (B, A, 4) of the positives.

    Anchors in neither are ignored.
    """

    positive: Tensor
    negative: Tensor
    offsets: Tensor


@dataclass(frozen=True, slots=True)
class RegionTargets:
    """
    R regions per image, positives first.

    `boxes` (B, R, 4); `classes` (B, R) int32, 0 is background; `used` (B, R) bool, false for padding; and for the
    first P, the slots of positives: `offsets` (B, P, 4), `matched` (B, P) int32 index of the true instance,
    `positive` (B, P) bool.
    """

    boxes: Tensor
    classes: Tensor
    used: Tensor
    offsets: Tensor
    matched: Tensor
    positive: Tensor


def match_anchors(
    anchors: Tensor, boxes: Tensor, present: Tensor, seed: keras.random.SeedGenerator, *, n_sampled: int
) -> AnchorTargets:
    """
    Sample the anchors for training.

    Positive: intersection over union of 0.7 or more with a true box, or the best anchor of a true box. Negative: below
    0.3 with all. At most half of the sample is positive; without any true box all of it is negative.

    Parameters
    ----------
    anchors : tensor, shape (A, 4)
    boxes : tensor, shape (B, G, 4)
        True boxes, padded.
    present : tensor of bool, shape (B, G)
        Which of them are real.
    seed : keras.random.SeedGenerator
        Of the random sample.
    n_sampled : int
        Anchors per image.

    References
    ----------
    Ren et al. 2015, arXiv:1506.01497, section 3.1.2.
    """
    overlap = ops.where(ops.expand_dims(present, 1), overlaps(ops.expand_dims(anchors, 0), boxes), _PADDING_IOU)
    best_overlap = ops.max(overlap, axis=-1)
    matched = ops.argmax(overlap, axis=-1)
    best_of_box = ops.max(overlap, axis=1, keepdims=True)
    is_best = ops.any(ops.logical_and(overlap >= best_of_box, overlap > 0.0), axis=-1)
    positive = _sample(ops.logical_or(best_overlap >= 0.7, is_best), n_sampled // 2, seed)
    negative = ops.logical_and(best_overlap < 0.3, ops.logical_not(is_best))
    n_positive = ops.sum(ops.cast(positive, "int32"), axis=-1, keepdims=True)
    negative = _sample(negative, n_sampled, seed, limit=n_sampled - n_positive)
    return AnchorTargets(positive, negative, encode(pick(boxes, matched), ops.expand_dims(anchors, 0)))


def sample_regions(
    proposals: Tensor, valid: Tensor, boxes: Tensor, classes: Tensor, seed: keras.random.SeedGenerator, *,
    n_regions: int, n_positive: int,
) -> RegionTargets:  # fmt: skip
    """
    Sample the regions for training, from proposals and the true boxes themselves.

    Positive: intersection over union of 0.5 or more with a true box. The rest of the `n_regions` is background.

    Parameters
    ----------
    proposals, valid : tensor, shapes (B, N, 4) and (B, N)
    boxes : tensor, shape (B, G, 4)
    classes : tensor of int, shape (B, G)
        Indices among the classes of the model; -1 for padding.
    seed : keras.random.SeedGenerator
        Of the random sample.
    n_regions, n_positive : int
        Maximum number of regions per image, and of positive ones.

    References
    ----------
    He et al. 2017, arXiv:1703.06870, section 3.1.
    """
    present = classes >= 0
    regions = ops.concatenate([boxes, proposals], axis=1)
    valid = ops.concatenate([present, valid], axis=1)
    overlap = ops.where(ops.expand_dims(present, 1), overlaps(regions, boxes), _PADDING_IOU)
    best_overlap = ops.max(overlap, axis=-1)
    is_positive = ops.logical_and(valid, best_overlap >= 0.5)
    is_negative = ops.logical_and(valid, best_overlap < 0.5)

    positive, positive_indices = _draw(is_positive, n_positive, seed)
    negative, negative_indices = _draw(is_negative, n_regions - n_positive, seed)
    chosen = ops.concatenate([positive_indices, negative_indices], axis=1)
    matched = ops.cast(ops.take_along_axis(ops.argmax(overlap, axis=-1), positive_indices, axis=1), "int32")
    true_class = ops.where(positive, ops.take_along_axis(ops.cast(classes, "int32"), matched, axis=1) + 1, 0)
    chosen_boxes = pick(regions, chosen)
    return RegionTargets(
        boxes=chosen_boxes,
        classes=ops.concatenate([true_class, ops.zeros_like(negative_indices, dtype="int32")], axis=1),
        used=ops.concatenate([positive, negative], axis=1),
        offsets=encode(pick(boxes, matched), chosen_boxes[:, : positive.shape[1]]),
        matched=matched,
        positive=positive,
    )


def crop_masks(masks: Tensor, boxes: Tensor, matched: Tensor, *, size: int) -> Tensor:
    """
    Crop the true masks to boxes.

    Parameters
    ----------
    masks : tensor, shape (B, G, H, W)
        0 or 1.
    boxes : tensor, shape (B, P, 4)
        In pixels of the masks; outside, masks are 0.
    matched : tensor of int, shape (B, P)
        The mask of each box.
    size : int
        Bins on each side, sampled at the nearest pixel.

    Returns
    -------
    tensor of float32, shape (B, P, size, size)
    """
    n_masks, height, width = masks.shape[1:]
    bins = ops.convert_to_tensor((np.arange(size) + 0.5) / size, dtype="float32")
    y = ops.cast(ops.floor(boxes[..., 0:1] + (boxes[..., 2:3] - boxes[..., 0:1]) * bins), "int32")[..., :, None]
    x = ops.cast(ops.floor(boxes[..., 1:2] + (boxes[..., 3:4] - boxes[..., 1:2]) * bins), "int32")[..., None, :]
    inside = ops.logical_and(ops.logical_and(y >= 0, y < height), ops.logical_and(x >= 0, x < width))
    pixel = ops.clip(y, 0, height - 1) * width + ops.clip(x, 0, width - 1)
    pixel = pixel + matched[..., None, None] * (height * width)
    flat = ops.take_along_axis(
        ops.reshape(masks, (-1, n_masks * height * width)),
        ops.reshape(pixel, (-1, boxes.shape[1] * size * size)),
        axis=1,
    )
    cut = ops.cast(ops.reshape(flat, (-1, boxes.shape[1], size, size)), "float32")
    return cut * ops.cast(inside, "float32")


def _draw(eligible: Tensor, count: int, seed: keras.random.SeedGenerator) -> tuple[Tensor, Tensor]:
    """Sample min(count, N) of (B, N), eligible ones first: which of the sampled are eligible, and indices."""
    noise = keras.random.uniform(ops.shape(eligible), seed=seed)
    ranked, indices = ops.top_k(ops.where(eligible, noise, -1.0), min(count, eligible.shape[1]))
    return ranked >= 0.0, ops.cast(indices, "int32")


def _sample(eligible: Tensor, count: int, seed: keras.random.SeedGenerator, limit: Tensor | None = None) -> Tensor:
    """Mask (B, N) of at most `count` eligible entries per image, or of `limit` (B, 1), sampled at random."""
    noise = ops.where(eligible, keras.random.uniform(ops.shape(eligible), seed=seed), -1.0)
    ranked, _ = ops.top_k(noise, count)
    last = count - 1 if limit is None else ops.maximum(limit - 1, 0)
    threshold = ranked[:, -1:] if limit is None else ops.take_along_axis(ranked, ops.cast(last, "int32"), axis=1)
    return ops.logical_and(eligible, noise >= threshold)
