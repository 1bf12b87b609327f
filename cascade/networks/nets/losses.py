"""The five losses of Mask R-CNN, one number per image."""

from __future__ import annotations

from keras import ops

from cascade.networks.nets.boxes import Tensor
from cascade.networks.nets.targets import AnchorTargets, RegionTargets


def anchor_losses(logits: Tensor, offsets: Tensor, targets: AnchorTargets) -> tuple[Tensor, Tensor]:
    """
    Losses of the region proposal network.

    Parameters
    ----------
    logits, offsets : tensor, shapes (B, A) and (B, A, 4)
    targets : AnchorTargets

    Returns
    -------
    score : tensor, shape (B,)
        Cross-entropy, averaged over the sampled anchors.
    box : tensor, shape (B,)
        Huber loss of the positives, averaged over the sampled anchors; 0 without any.
    """
    positive = ops.cast(targets.positive, "float32")
    sampled = positive + ops.cast(targets.negative, "float32")
    n_sampled = ops.maximum(ops.sum(sampled, axis=-1), 1.0)
    entropy = ops.softplus(logits) - positive * logits
    distance = ops.sum(_huber(offsets - targets.offsets), axis=-1)
    return ops.sum(entropy * sampled, axis=-1) / n_sampled, ops.sum(distance * positive, axis=-1) / n_sampled


def region_losses(logits: Tensor, offsets: Tensor, targets: RegionTargets) -> tuple[Tensor, Tensor]:
    """
    Losses of the box head.

    Parameters
    ----------
    logits : tensor, shape (B, R, 1 + n_classes)
    offsets : tensor, shape (B, R, n_classes * 4)
    targets : RegionTargets

    Returns
    -------
    class : tensor, shape (B,)
        Cross-entropy, averaged over the regions used.
    box : tensor, shape (B,)
        Huber loss of the true class's offsets, summed over positives, averaged over the regions used.
    """
    used = ops.cast(targets.used, "float32")
    n_used = ops.maximum(ops.sum(used, axis=-1), 1.0)
    n_classes = logits.shape[-1] - 1
    truth = ops.one_hot(targets.classes, n_classes + 1, dtype="float32")
    entropy = -ops.sum(ops.log_softmax(logits, axis=-1) * truth, axis=-1)

    n_positive = targets.positive.shape[1]
    chosen = _of_class(ops.reshape(offsets[:, :n_positive], (-1, n_positive, n_classes, 4)), targets)
    distance = ops.sum(_huber(chosen - targets.offsets), axis=-1) * ops.cast(targets.positive, "float32")
    return ops.sum(entropy * used, axis=-1) / n_used, ops.sum(distance, axis=-1) / n_used


def mask_loss(logits: Tensor, masks: Tensor, targets: RegionTargets) -> Tensor:
    """
    Binary cross-entropy of the true class's mask, averaged over positives; 0 without any.

    Parameters
    ----------
    logits : tensor, shape (B, P, h, w, n_classes)
    masks : tensor, shape (B, P, h, w)
        True masks in [0, 1].
    targets : RegionTargets

    Returns
    -------
    tensor, shape (B,)
    """
    _, n_positive, height, width, n_classes = logits.shape
    by_class = ops.reshape(ops.moveaxis(logits, -1, 2), (-1, n_positive, n_classes, height * width))
    chosen = _of_class(by_class, targets)
    truth = ops.reshape(masks, (-1, n_positive, height * width))
    entropy = ops.mean(ops.softplus(chosen) - truth * chosen, axis=-1)
    positive = ops.cast(targets.positive, "float32")
    return ops.sum(entropy * positive, axis=-1) / ops.maximum(ops.sum(positive, axis=-1), 1.0)


def _of_class(values: Tensor, targets: RegionTargets) -> Tensor:
    """The true class's entry (B, P, C) of (B, P, n_classes, C)."""
    n_positive = targets.positive.shape[1]
    true_class = ops.maximum(targets.classes[:, :n_positive] - 1, 0)
    weights = ops.one_hot(true_class, values.shape[2], dtype="float32")
    return ops.sum(values * ops.expand_dims(weights, -1), axis=2)


def _huber(error: Tensor) -> Tensor:
    """Huber loss (smooth L1) with delta = 1."""
    size = ops.abs(error)
    return ops.where(size < 1.0, 0.5 * size * size, size - 0.5)
