"""Masks of previews at the full resolution of a CCD."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera, Ccd
from cascade.core.exposure import BoolArray

_EDGE = 0.5  # an edge lies where the interpolated mask is one half


def ccd_mask(
    mask: BoolArray, camera: Camera, ccd: Ccd, shape: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0)
) -> BoolArray:
    """
    Draw a mask on a CCD, its edges interpolated between the centres of preview pixels.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        On the camera's preview grid.
    camera : Camera
    ccd : Ccd
    shape : tuple of int
        (ny, nx) of the image of the CCD, FITS axes 2 and 1.
    origin : tuple of float
        (y, x) on the whole CCD of its first pixel.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    y = origin[0] + np.arange(shape[0]) + 0.5
    x = origin[1] + np.arange(shape[1]) + 0.5
    rows, _ = camera.ccd_pixel_to_preview(ccd, 0, x)
    _, columns = camera.ccd_pixel_to_preview(ccd, y, 0)
    # FITS axis 1 runs down the preview: first interpolate all rows of the CCD, then its columns.
    low, share = _between(rows, mask.shape[0])
    along = mask[low] * (1 - share)[:, None] + mask[low + 1] * share[:, None]
    along = np.ascontiguousarray(along.astype(np.float32).T)
    low, share = _between(columns, mask.shape[1])
    drawn: BoolArray = along[low] * (1 - share)[:, None] + along[low + 1] * share[:, None] >= np.float32(_EDGE)
    return drawn


def sampled_mask(mask: BoolArray, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> BoolArray:
    """A mask, interpolated in the same way, at single positions (row, column) of the preview; False outside of it."""
    low_row, share_row = _between(rows, mask.shape[0])
    low_column, share_column = _between(columns, mask.shape[1])
    total = np.zeros(len(rows), np.float32)
    for down in (0, 1):
        for right in (0, 1):
            weight = (share_row if down else 1 - share_row) * (share_column if right else 1 - share_column)
            total += weight * mask[low_row + down, low_column + right]
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    sampled: BoolArray = inside & (total >= _EDGE)
    return sampled


def touched_ccds(mask: BoolArray, camera: Camera) -> list[Ccd]:
    """CCDs that a mask touches by at least a pixel, by rising ccdnum."""
    touched = set(np.unique(camera.labels[mask]).tolist())
    return [ccd for ccd in camera.ccds if ccd.ccdnum in touched]


def _between(at: npt.NDArray[np.float64], size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """The pixel whose centre precedes each position, and the fraction towards the next one; clamped at the ends."""
    position = np.clip(at - 0.5, 0, size - 1)
    low = np.minimum(position.astype(np.intp), size - 2)
    return low, (position - low).astype(np.float32)
