"""Convert the detections of a Mask R-CNN to instances: masks are pasted onto the focal plane."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cascade.core.exposure import PREVIEW_SHAPE, BoolArray, Float32Array, Instances

_MASK_THRESHOLD = 0.5
_WINDOWS_PX = (64, 128, 256, 1 << 20)
"""Masks are pasted in windows of these sides, so that a small artifact does not cost as much as a full image."""


def instances_of(
    boxes: Float32Array, scores: Float32Array, classes: npt.NDArray[np.int32], masks: Float32Array, *, min_score: float
) -> Instances:
    """
    Convert the padded detections of one image to instances.

    Parameters
    ----------
    boxes : ndarray of float32, shape (D, 4)
    scores : ndarray of float32, shape (D,)
        0 where there is no detection.
    classes : ndarray of int32, shape (D,)
    masks : ndarray of float32, shape (D, m, m)
        Outputs of `cascade.networks.nets.mask_rcnn.MaskRCNN`.
    min_score : float
        Detections below it are dropped, in [0, 1].

    Returns
    -------
    Instances
        Without empty masks.
    """
    keep = (scores > 0) & (scores >= min_score)
    pasted = paste_masks(masks[keep], boxes[keep])
    # Boxes may extend into the padding of the network's input.
    inside = np.clip(boxes[keep], 0, np.array(2 * pasted.shape[1:], np.float32))
    found = Instances(classes[keep].astype(np.uint8), scores[keep], inside, pasted)
    visible: BoolArray = np.any(pasted, axis=(1, 2))
    return found.select(visible)


def paste_masks(masks: Float32Array, boxes: Float32Array, shape: tuple[int, int] = PREVIEW_SHAPE) -> BoolArray:
    """
    Resize masks to their boxes, bilinearly, and threshold them at 0.5.

    Parameters
    ----------
    masks : ndarray of float32, shape (N, m, m)
        Probabilities within each box; constant beyond the outermost bin centres.
    boxes : ndarray of float32, shape (N, 4)
        (y0, x0, y1, x1) in pixels; clipped to the image.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    ndarray of bool, shape (N, H, W)
    """
    pasted = np.zeros((len(masks), *shape), bool)
    longest = np.max(np.ceil(boxes[:, 2:]) - np.floor(boxes[:, :2]), axis=1, initial=0)
    for side, smaller in zip(_WINDOWS_PX, (0, *_WINDOWS_PX), strict=False):
        fits = np.flatnonzero((longest > smaller) & (longest <= side))
        if len(fits):
            _paste_windows(pasted, fits, masks[fits], boxes[fits], (min(side, shape[0]), min(side, shape[1])))
    return pasted


def _paste_windows(
    pasted: BoolArray, which: npt.NDArray[np.intp], masks: Float32Array, boxes: Float32Array, window: tuple[int, int]
) -> None:
    """Paste masks whose boxes fit into a window of (h, w) pixels, all at once, into entries `which` of `pasted`."""
    pixels = []
    weights = []
    for axis, (side, size) in enumerate(zip(window, pasted.shape[1:], strict=True)):
        low, high = boxes[:, axis], boxes[:, axis + 2]
        first = np.clip(np.floor(low), 0, size - side).astype(np.intp)
        pixels.append(first[:, None] + np.arange(side))
        weights.append(_weights(low, high, pixels[-1], masks.shape[axis + 1]))
    binary = weights[0] @ masks @ weights[1].transpose(0, 2, 1) >= _MASK_THRESHOLD
    if binary.shape[1:] == pasted.shape[1:]:
        pasted[which] = binary
    else:
        pasted[which[:, None, None], pixels[0][:, :, None], pixels[1][:, None, :]] = binary


def _weights(low: Float32Array, high: Float32Array, pixels: npt.NDArray[np.intp], bins: int) -> Float32Array:
    """Interpolation weights (N, side, bins) of the bins at the centres of pixels (N, side); 0 outside the box."""
    centres = pixels.astype(np.float32) + np.float32(0.5)
    along = (centres - low[:, None]) / np.maximum(high - low, 1e-3)[:, None]
    position = np.clip(along * bins - 0.5, 0, bins - 1)
    lower = np.minimum(position.astype(np.intp), bins - 2)
    fraction = position - lower
    within = (along >= 0) & (along < 1)
    weights = np.zeros((*pixels.shape, bins), np.float32)
    np.put_along_axis(weights, lower[..., None], ((1 - fraction) * within)[..., None], axis=-1)
    np.put_along_axis(weights, lower[..., None] + 1, (fraction * within)[..., None], axis=-1)
    return weights
