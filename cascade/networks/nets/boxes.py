"""Boxes (y0, x0, y1, x1): anchors, intersection over union, and encoded offsets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

Tensor = Any
"""A tensor of whichever backend Keras runs on."""

OFFSET_SCALE = (0.1, 0.1, 0.2, 0.2)
"""Standard deviations by which offsets are divided, as in Matterport's `BBOX_STD_DEV`."""

MAX_LOG_SCALE = math.log(1000.0 / 16.0)
"""Largest log growth of a side, so that a wild offset cannot overflow (Detectron's choice)."""


def pyramid_anchors(
    size: int,
    strides: Sequence[int],
    sizes: Sequence[float],
    ratios: Sequence[float],
    *,
    centre: float = 0.5,
    inclusive: bool = False,
) -> npt.NDArray[np.float32]:
    """
    Generate the anchors of all levels of a pyramid.

    Parameters
    ----------
    size : int
        Side of the square input in pixels.
    strides : sequence of int
        Pixels per cell of each level.
    sizes : sequence of float
        Side of the square anchor of each level in pixels.
    ratios : sequence of float
        Width over height, at constant area.
    centre : float
        Centre of an anchor within its cell, in cells; 0, the corner, for Matterport's.
    inclusive : bool
        Whether anchors end on their last pixel, one before their far edge, as in Matterport's normalised coordinates.

    Returns
    -------
    ndarray of float32, shape (A, 4)
        By level, row, column, ratio.
    """
    levels = []
    root = np.sqrt(np.asarray(ratios))
    for stride, side in zip(strides, sizes, strict=True):
        centres = (np.arange(-(-size // stride)) + centre) * stride
        y, x = np.meshgrid(centres, centres, indexing="ij")
        half = np.stack([side / root, side * root], axis=-1) / 2
        middle = np.stack([y, x], axis=-1)[:, :, None]
        levels.append(np.concatenate([middle - half, middle + half - inclusive], axis=-1).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """
    Intersection over union of every box of `a` with every box of `b`; 0 where either is empty.

    Parameters
    ----------
    a, b : tensor, shapes (..., N, 4) and (..., M, 4)

    Returns
    -------
    tensor, shape (..., N, M)
    """
    # Side by side, since arrays of (..., N, M, 2) would double the memory.
    height, width = (
        ops.minimum(a[..., :, None, high], b[..., None, :, high])
        - ops.maximum(a[..., :, None, low], b[..., None, :, low])
        for low, high in ((0, 2), (1, 3))
    )
    shared = ops.maximum(height, 0.0) * ops.maximum(width, 0.0)
    return shared / ops.maximum(area(a)[..., :, None] + area(b)[..., None, :] - shared, 1e-6)


def area(boxes: Tensor) -> Tensor:
    """Area of boxes (..., 4) in square pixels; 0 for inverted boxes."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """
    Offsets (dy, dx, dh, dw) from anchors to boxes, in units of `OFFSET_SCALE`.

    Both have shape (..., 4) and sides of at least 1e-3 px are assumed for empty boxes.

    References
    ----------
    Ren et al. 2015, arXiv:1506.01497, equation 2.
    """
    size, centre = _size_centre(boxes)
    anchor_size, anchor_centre = _size_centre(anchors)
    offsets = ops.concatenate([(centre - anchor_centre) / anchor_size, ops.log(size / anchor_size)], axis=-1)
    return offsets / ops.convert_to_tensor(OFFSET_SCALE, dtype="float32")


def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Apply offsets (..., 4), in units of `OFFSET_SCALE`, to anchors (..., 4): the inverse of `encode`."""
    offsets = offsets * ops.convert_to_tensor(OFFSET_SCALE, dtype="float32")
    anchor_size, anchor_centre = _size_centre(anchors)
    centre = anchor_centre + offsets[..., :2] * anchor_size
    half = anchor_size * ops.exp(ops.minimum(offsets[..., 2:], MAX_LOG_SCALE)) / 2
    return ops.concatenate([centre - half, centre + half], axis=-1)


def clip(boxes: Tensor, size: float) -> Tensor:
    """Clip boxes (..., 4) to a square of `size` pixels."""
    return ops.clip(boxes, 0.0, float(size))


def _size_centre(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Sides, at least 1e-3 px, and centres."""
    size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-3)
    return size, (boxes[..., 2:] + boxes[..., :2]) / 2
