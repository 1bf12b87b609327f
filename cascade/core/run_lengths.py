"""COCO run lengths, checked before any C code sees them: those of a damaged file could make it read wild memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from cascade.core.errors import InputError
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray

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
        Compressed counts, one an instance.
    """
    if not len(masks):
        return ()
    encoded = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), np.uint8))
    return tuple(rle["counts"] for rle in encoded)


def run_lengths(counts: bytes, shape: tuple[int, int] = PREVIEW_SHAPE) -> npt.NDArray[np.int64]:
    """
    Decompress the counts of one mask.

    Parameters
    ----------
    counts : bytes
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
        If they are no such counts.
    """
    letters = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(letters) or letters.min() < 0 or letters.max() > 63 or letters[-1] & 32:
        msg = f"expected compressed run lengths of a mask, got {counts[:40]!r}"
        raise InputError(msg)
    ends = np.flatnonzero((letters & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    n_letters = ends - starts + 1
    if n_letters.max() > _LONGEST:
        msg = f"expected run lengths within a mask of {shape}, got {counts[:40]!r}"
        raise InputError(msg)
    place = np.arange(len(letters)) - np.repeat(starts, n_letters)
    values = np.add.reduceat((letters & 31) << (5 * place), starts)
    negative = (letters[ends] & 16) > 0
    values -= np.where(negative, 1 << (5 * n_letters), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    if values.min() < 0 or values.sum() != shape[0] * shape[1]:
        msg = f"expected run lengths that sum to {shape[0] * shape[1]}, got {values.sum()}, the least {values.min()}"
        raise InputError(msg)
    return values


def marked_pixels(counts: bytes, shape: tuple[int, int] = PREVIEW_SHAPE) -> npt.NDArray[np.int64]:
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


def decode_mask(counts: bytes, shape: tuple[int, int] = PREVIEW_SHAPE) -> BoolArray:
    """Decompress one mask to (H, W) bool; raises InputError as `run_lengths` does."""
    flat = np.zeros(shape[0] * shape[1], bool)
    flat[marked_pixels(counts, shape)] = True
    return flat.reshape(shape[::-1]).T
