"""ROIAlign over a feature pyramid: one gather for all levels and boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import ops

from cascade.networks.nets.boxes import Tensor, area


def feature_table(levels: Sequence[Tensor]) -> Tensor:
    """Concatenate the cells of all levels (B, H_l, W_l, C) to (B, R, C), level by level and row by row."""
    return ops.concatenate([ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])) for x in levels], axis=1)


def roi_align(
    table: Tensor, boxes: Tensor, *, shapes: Sequence[tuple[int, int]], strides: Sequence[int], canonical_px: float,
    size: int, edge_to_edge: float | None = None,
) -> Tensor:  # fmt: skip
    """
    Sample a square grid of features inside each box, from the level that matches its size.

    All levels are in one table, so that the corners of all samples of all boxes take four gathers. There is one sample
    per bin, at its centre, and the border is clamped.

    Parameters
    ----------
    table : tensor, shape (B, R, C)
        Levels, fine to coarse, from `feature_table`.
    boxes : tensor, shape (B, N, 4)
        In pixels of the input.
    shapes : sequence of (int, int)
        Rows and columns of each level.
    strides : sequence of int
        Pixels per cell of each level, each twice the previous.
    canonical_px : float
        Boxes of one to two times this side, in pixels, use the second level.
    size : int
        Bins on each side.
    edge_to_edge : float or None
        None samples at the centres of bins. Else the outermost samples lie on the edges of the box, and this length, in
        pixels of the input, spans each level from the centre of its first cell to that of its last: what
        `tf.image.crop_and_resize` does with Matterport's normalised boxes, where it is the side of the input less one.

    Returns
    -------
    tensor, shape (B, N, size, size, C)

    References
    ----------
    He et al. 2017, arXiv:1703.06870, section 3; levels as in Lin et al. 2017, arXiv:1612.03144, equation 1.
    """
    n_boxes, channels = boxes.shape[1], table.shape[-1]
    heights, widths = np.array(shapes).T
    starts = np.concatenate([[0], np.cumsum(heights * widths)[:-1]])
    side = ops.sqrt(ops.maximum(area(boxes), 1.0))
    level = 1.0 + ops.floor(ops.log(side / canonical_px) / np.log(2.0))
    level = ops.cast(ops.clip(level, 0.0, len(shapes) - 1.0), "int32")

    def of_level(values: np.ndarray, dtype: str) -> Tensor:
        """One value per level -> (B, N, 1)."""
        return ops.expand_dims(ops.take(ops.convert_to_tensor(values, dtype=dtype), level, axis=0), -1)

    height, width = of_level(heights, "int32"), of_level(widths, "int32")
    if edge_to_edge is None:
        bins, first = (np.arange(size) + 0.5) / size, -0.5
        cells_y, cells_x = 1 / np.asarray(strides), 1 / np.asarray(strides)
    else:
        bins, first = np.arange(size) / (size - 1), 0.0
        cells_y, cells_x = (heights - 1) / edge_to_edge, (widths - 1) / edge_to_edge
    at = ops.convert_to_tensor(bins, dtype="float32")
    y0, y1, fy = _neighbours(boxes[..., 0:1], boxes[..., 2:3], at, of_level(cells_y, "float32"), first, height)
    x0, x1, fx = _neighbours(boxes[..., 1:2], boxes[..., 3:4], at, of_level(cells_x, "float32"), first, width)

    start = ops.expand_dims(of_level(starts, "int32"), -1)
    width = ops.expand_dims(width, -1)
    fy = ops.cast(fy, table.dtype)[..., :, None, None]
    fx = ops.cast(fx, table.dtype)[..., None, :, None]

    def corner(y: Tensor, x: Tensor) -> Tensor:
        """Features at cells (y, x): (B, N, size, size, C)."""
        cell = start + ops.expand_dims(y, -1) * width + ops.expand_dims(x, -2)
        flat = ops.reshape(cell, (-1, n_boxes * size * size))
        return ops.reshape(_take_rows(table, flat), (-1, n_boxes, size, size, channels))

    top = corner(y0, x0) * (1 - fx) + corner(y0, x1) * fx
    bottom = corner(y1, x0) * (1 - fx) + corner(y1, x1) * fx
    return top * (1 - fy) + bottom * fy


def _neighbours(
    low: Tensor, high: Tensor, bins: Tensor, cells_per_px: Tensor, first: float, count: Tensor
) -> tuple[Tensor, ...]:
    """Lower and upper cell of every bin along one axis, and the fractional position between them."""
    last = ops.cast(count - 1, "float32")
    position = ops.clip((low + (high - low) * bins) * cells_per_px + first, 0.0, last)
    below = ops.floor(position)
    index = ops.cast(below, "int32")
    return index, ops.minimum(index + 1, count - 1), position - below


def _take_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Rows (B, n) of a table (B, R, C); flattened, since a batched gather is slow on CPUs."""
    n_rows, channels = table.shape[1], table.shape[2]
    batch = ops.shape(table)[0]
    offset = ops.expand_dims(ops.arange(batch, dtype="int32") * n_rows, -1)
    flat = ops.take(ops.reshape(table, (-1, channels)), ops.reshape(rows + offset, (-1,)), axis=0)
    return ops.reshape(flat, (batch, -1, channels))
