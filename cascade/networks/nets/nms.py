"""Non-maximum suppression with static shapes, which `keras.ops` lacks."""

from __future__ import annotations

from keras import ops

from cascade.networks.nets.boxes import Tensor, overlaps

_BLOCK = 512  # boxes compared at a time with all of higher score; bounds memory


def suppress(boxes: Tensor, valid: Tensor, *, max_overlap: float) -> Tensor:
    """
    Greedy non-maximum suppression of boxes sorted by falling score.

    Greedy suppression is the unique fixed point of "a box is kept unless a kept box of higher score overlaps it".
    Iterating this rule from "all kept" converges in as many steps as the longest chain of suppressions, usually a
    handful, instead of one step per box; each step is a matrix product. Long lists are processed in blocks, so that
    memory is linear in their length.

    Parameters
    ----------
    boxes : tensor, shape (B, K, 4)
        By falling score.
    valid : tensor of bool, shape (B, K)
        Entries that are not padding.
    max_overlap : float
        Intersection over union with a kept box of higher score above which a box is dropped.

    Returns
    -------
    tensor of bool, shape (B, K)
        The kept boxes.
    """
    blocks: list[Tensor] = []
    for start in range(0, boxes.shape[1], _BLOCK):
        block = boxes[:, start : start + _BLOCK]
        free = valid[:, start : start + _BLOCK]
        if blocks:
            higher = ops.concatenate(blocks, axis=1)
            hit = ops.logical_and(overlaps(boxes[:, :start], block) > max_overlap, higher[..., None])
            free = ops.logical_and(free, ops.logical_not(ops.any(hit, axis=1)))
        blocks.append(_suppress_block(block, free, max_overlap))
    return blocks[0] if len(blocks) == 1 else ops.concatenate(blocks, axis=1)


def _suppress_block(boxes: Tensor, valid: Tensor, max_overlap: float) -> Tensor:
    """Suppress (B, K) boxes at once."""
    n_boxes = boxes.shape[1]
    rank = ops.arange(n_boxes)
    higher = ops.expand_dims(rank, -1) < ops.expand_dims(rank, 0)
    overlapped = ops.cast(ops.logical_and(overlaps(boxes, boxes) > max_overlap, higher), "float32")

    def iterate(kept: Tensor, _changed: Tensor) -> tuple[Tensor, Tensor]:
        hits = ops.matmul(ops.expand_dims(ops.cast(kept, "float32"), 1), overlapped)[:, 0]
        new = ops.logical_and(valid, hits < 0.5)
        return new, ops.any(ops.not_equal(new, kept))

    kept, _ = ops.while_loop(
        lambda _kept, changed: changed, iterate, (valid, ops.any(valid)), maximum_iterations=n_boxes
    )
    return kept


def best(keep: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """
    Indices of the first `count` kept entries of sorted lists.

    Parameters
    ----------
    keep : tensor of bool, shape (B, K)
        Kept entries.
    count : int
        At most K.

    Returns
    -------
    indices : tensor of int, shape (B, count)
        Into K, rising.
    valid : tensor of bool, shape (B, count)
        False where fewer than `count` entries are kept.
    """
    n_entries = keep.shape[1]
    ranked, indices = ops.top_k(ops.where(keep, ops.arange(n_entries, 0, -1, dtype="float32"), 0.0), count)
    return indices, ranked > 0.0


def pick(values: Tensor, indices: Tensor) -> Tensor:
    """Rows `indices` (B, n) of `values` (B, K, C), as (B, n, C)."""
    return ops.take_along_axis(values, ops.expand_dims(indices, -1), axis=1)
