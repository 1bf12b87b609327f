"""Non-maximum suppression with fixed shapes, for `keras.ops` has none."""

from __future__ import annotations

from keras import ops

from cascade.networks.nets.boxes import Tensor, overlaps

_BLOCK = 512  # boxes that are compared with all better ones at a time; bounds memory


def suppress(boxes: Tensor, valid: Tensor, *, max_overlap: float) -> Tensor:
    """
    Greedy non-maximum suppression of boxes sorted by falling score.

    Greedy suppression is the one solution of "a box stays unless a better box that stays overlaps it". Iterating that
    sentence from "all stay" reaches it after as many rounds as the longest chain of suppressions, usually a handful,
    instead of one round a box; every round is one matrix product. Long lists go block by block, so that memory grows
    with the length of the list and not with its square.

    Parameters
    ----------
    boxes : tensor, shape (B, K, 4)
        By falling score.
    valid : tensor of bool, shape (B, K)
        Entries that take part.
    max_overlap : float
        A box whose intersection over union with a better one that stays exceeds this is dropped.

    Returns
    -------
    tensor of bool, shape (B, K)
        The boxes that stay.
    """
    blocks: list[Tensor] = []
    for start in range(0, boxes.shape[1], _BLOCK):
        block = boxes[:, start : start + _BLOCK]
        free = valid[:, start : start + _BLOCK]
        if blocks:
            better = ops.concatenate(blocks, axis=1)
            hit = ops.logical_and(overlaps(boxes[:, :start], block) > max_overlap, better[..., None])
            free = ops.logical_and(free, ops.logical_not(ops.any(hit, axis=1)))
        blocks.append(_suppress_block(block, free, max_overlap))
    return blocks[0] if len(blocks) == 1 else ops.concatenate(blocks, axis=1)


def _suppress_block(boxes: Tensor, valid: Tensor, max_overlap: float) -> Tensor:
    """Suppress (B, K) boxes at once."""
    n_boxes = boxes.shape[1]
    rank = ops.arange(n_boxes)
    better = ops.expand_dims(rank, -1) < ops.expand_dims(rank, 0)
    overlapped = ops.cast(ops.logical_and(overlaps(boxes, boxes) > max_overlap, better), "float32")

    def round_(stays: Tensor, _changed: Tensor) -> tuple[Tensor, Tensor]:
        hits = ops.matmul(ops.expand_dims(ops.cast(stays, "float32"), 1), overlapped)[:, 0]
        new = ops.logical_and(valid, hits < 0.5)
        return new, ops.any(ops.not_equal(new, stays))

    stays, _ = ops.while_loop(
        lambda _stays, changed: changed, round_, (valid, ops.any(valid)), maximum_iterations=n_boxes
    )
    return stays


def best(keep: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """
    Pick the first `count` entries to keep of lists that are sorted, best first.

    Parameters
    ----------
    keep : tensor of bool, shape (B, K)
        Entries that may be picked.
    count : int
        At most K.

    Returns
    -------
    indices : tensor of int, shape (B, count)
        Into K, rising.
    valid : tensor of bool, shape (B, count)
        False where fewer than `count` entries were to keep.
    """
    n_entries = keep.shape[1]
    ranked, indices = ops.top_k(ops.where(keep, ops.arange(n_entries, 0, -1, dtype="float32"), 0.0), count)
    return indices, ranked > 0.0


def pick(values: Tensor, indices: Tensor) -> Tensor:
    """Rows `indices` (B, n) of `values` (B, K, C), as (B, n, C)."""
    return ops.take_along_axis(values, ops.expand_dims(indices, -1), axis=1)
