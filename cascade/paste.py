"""From what a Mask R-CNN says of one image to instances: its small masks pasted back onto the focal plane."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cascade.exposure import PREVIEW_SHAPE, BoolArray, Float32Array, Instances

_MASK_THRESHOLD = 0.5


def instances_of(
    boxes: Float32Array, scores: Float32Array, classes: npt.NDArray[np.int32], masks: Float32Array, *, min_score: float
) -> Instances:
    """
    Turn the padded detections of one image into instances.

    Parameters
    ----------
    boxes : ndarray of float32, shape (D, 4)
    scores : ndarray of float32, shape (D,)
        0 where there is no detection.
    classes : ndarray of int32, shape (D,)
    masks : ndarray of float32, shape (D, m, m)
        As `cascade.nets.mask_rcnn.MaskRCNN` gives them.
    min_score : float
        Detections below it are dropped, in [0, 1].

    Returns
    -------
    Instances
        Without those of which no pixel is left.
    """
    keep = (scores > 0) & (scores >= min_score)
    pasted = paste_masks(masks[keep], boxes[keep])
    # The network's boxes may reach into its padding.
    inside = np.clip(boxes[keep], 0, np.array(2 * pasted.shape[1:], np.float32))
    found = Instances(classes[keep].astype(np.uint8), scores[keep], inside, pasted)
    visible: BoolArray = np.any(pasted, axis=(1, 2))
    return found.select(visible)


def paste_masks(masks: Float32Array, boxes: Float32Array, shape: tuple[int, int] = PREVIEW_SHAPE) -> BoolArray:
    """
    Stretch masks over their boxes, bilinearly, and cut them at a probability of 0.5.

    Parameters
    ----------
    masks : ndarray of float32, shape (N, m, m)
        Probabilities within each box; beyond the outermost bin centres they continue as they end.
    boxes : ndarray of float32, shape (N, 4)
        (y0, x0, y1, x1) in pixels; parts outside the image are cut.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    ndarray of bool, shape (N, H, W)
    """
    rows = _weights(boxes[:, 0], boxes[:, 2], shape[0], masks.shape[1])
    columns = _weights(boxes[:, 1], boxes[:, 3], shape[1], masks.shape[2])
    pasted: BoolArray = rows @ masks @ columns.transpose(0, 2, 1) >= _MASK_THRESHOLD
    return pasted


def _weights(low: Float32Array, high: Float32Array, size: int, bins: int) -> Float32Array:
    """Interpolation weights (N, size, bins) of the bins at every pixel centre; 0 outside the box."""
    centres = np.arange(size, dtype=np.float32) + 0.5
    along = (centres - low[:, None]) / np.maximum(high - low, 1e-3)[:, None]
    position = np.clip(along * bins - 0.5, 0, bins - 1)
    weights = np.maximum(0, 1 - np.abs(position[..., None] - np.arange(bins, dtype=np.float32)))
    within: Float32Array = weights * ((along >= 0) & (along < 1))[..., None]
    return within
