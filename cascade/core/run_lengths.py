"""
COCO's run-length encoding of masks: the only module that encodes, validates and decodes it.

Every function that takes counts checks them before pycocotools' C code sees them: damaged counts make it read out of
bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from cascade.core.errors import InputError
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray

Counts = bytes | str
"""Compressed counts of one mask, as bytes, or as str in tables and JSON."""

_LONGEST = 4  # characters of one number; four hold 2^19, more than the pixels of a preview


def encode_masks(masks: BoolArray) -> tuple[bytes, ...]:
    """
    Compress masks as COCO does.

    Parameters
    ----------
    masks : ndarray of bool, shape (N, H, W)

    Returns
    -------
    tuple of bytes
        Compressed counts, one per instance; ASCII.
    """
    if not len(masks):
        return ()
    encoded = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), np.uint8))
    return tuple(rle["counts"] for rle in encoded)


def run_lengths(counts: Counts, shape: tuple[int, int] = PREVIEW_SHAPE) -> npt.NDArray[np.int64]:
    """
    Decompress the counts of one mask.

    Parameters
    ----------
    counts : bytes or str
        Compressed counts: numbers of 5 bits a character, least first, from the fourth on as a difference to the one
        two before (pycocotools, maskApi.c).
    shape : tuple of int
        (H, W) of the mask.

    Returns
    -------
    ndarray of int64
        Lengths of alternating runs of 0 and 1, column by column, that sum to H * W.

    Raises
    ------
    InputError
        If the counts are invalid.
    """
    letters = np.frombuffer(_bytes(counts), np.uint8).astype(np.int64) - 48
    if not len(letters) or letters.min() < 0 or letters.max() > 63 or letters[-1] & 32:
        raise _damaged(counts, shape, "not a sequence of encoded integers")
    ends = np.flatnonzero((letters & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    n_letters = ends - starts + 1
    if n_letters.max() > _LONGEST:
        raise _damaged(counts, shape, "a run is longer than the mask")
    place = np.arange(len(letters)) - np.repeat(starts, n_letters)
    values = np.add.reduceat((letters & 31) << (5 * place), starts)
    negative = (letters[ends] & 16) > 0
    values -= np.where(negative, 1 << (5 * n_letters), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    if values.min() < 0 or values.sum() != shape[0] * shape[1]:
        raise _damaged(counts, shape, f"they sum to {values.sum()} px, the least is {values.min()}")
    return values


def marked_pixels(counts: Counts, shape: tuple[int, int] = PREVIEW_SHAPE) -> npt.NDArray[np.int64]:
    """
    Find the pixels of one mask.

    Returns
    -------
    ndarray of int64, shape (area,)
        Rising positions in the mask column by column, as COCO counts; raises InputError as `run_lengths` does.
    """
    lengths = run_lengths(counts, shape)
    ends = np.cumsum(lengths)[1::2]
    covered = lengths[1::2]
    # Within a run positions rise by one; between runs they jump by what was not covered.
    return np.arange(covered.sum()) + np.repeat(ends - np.cumsum(covered), covered)


def decode_mask(counts: Counts, shape: tuple[int, int] = PREVIEW_SHAPE) -> BoolArray:
    """Decompress one mask to (H, W) bool; raises InputError as `run_lengths` does."""
    flat = np.zeros(shape[0] * shape[1], bool)
    flat[marked_pixels(counts, shape)] = True
    return flat.reshape(shape[::-1]).T


def coco_shapes(counts: Iterable[Counts], shape: tuple[int, int] = PREVIEW_SHAPE) -> list[dict[str, Any]]:
    """
    Describe masks as COCO's annotations do.

    Parameters
    ----------
    counts : iterable of bytes or str
        Compressed counts of N masks.
    shape : tuple of int
        (H, W) of the masks.

    Returns
    -------
    list of dict
        Of each mask its ``segmentation`` (size and counts), ``bbox`` (x, y, width, height) and ``area`` in pixels.

    Raises
    ------
    InputError
        If counts are damaged.
    """
    rles = _checked(counts, shape)
    if not rles:
        return []
    boxes, areas = coco_mask.toBbox(rles), coco_mask.area(rles)
    return [
        {"segmentation": rle, "bbox": [float(side) for side in box], "area": float(area)}
        for rle, box, area in zip(rles, boxes, areas, strict=True)
    ]


def overlaps(
    one: Iterable[Counts], other: Iterable[Counts], shape: tuple[int, int] = PREVIEW_SHAPE, *, boxes: bool = False
) -> npt.NDArray[np.float64]:
    """
    Intersection over union of all pairs of masks.

    Parameters
    ----------
    one, other : iterable of bytes or str
        Compressed counts of k and m masks.
    shape : tuple of int
        (H, W) of the masks.
    boxes : bool
        Compare their tight boxes instead.

    Returns
    -------
    ndarray of float64, shape (k, m)

    Raises
    ------
    InputError
        If counts are damaged.
    """
    sides = [_checked(counts, shape) for counts in (one, other)]
    if not all(sides):
        return np.zeros((len(sides[0]), len(sides[1])))
    n_crowd = [0] * len(sides[1])
    return np.asarray(coco_mask.iou(*(map(coco_mask.toBbox, sides) if boxes else sides), n_crowd), float)


def _checked(counts: Iterable[Counts], shape: tuple[int, int]) -> list[dict[str, Any]]:
    """Masks as pycocotools expects them; raises InputError as `run_lengths` does."""
    rles = []
    for one in counts:
        run_lengths(one, shape)
        rles.append({"size": list(shape), "counts": _bytes(one)})
    return rles


def _bytes(counts: Counts) -> bytes:
    """Counts as bytes; non-ASCII text becomes bytes that valid counts never contain."""
    return counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts


def _damaged(counts: Counts, shape: tuple[int, int], problem: str) -> InputError:
    """The error about invalid counts."""
    height, width = shape
    msg = f"expected COCO's compressed run lengths of a {height}x{width} mask, got {counts[:40]!r}: {problem}"
    return InputError(msg)
