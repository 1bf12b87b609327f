"""Outlines of masks: closed polygons in pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage import measure

from cascade.core.exposure import BoolArray

FloatArray = npt.NDArray[np.float64]

_TOLERANCE_PX = 0.5  # largest deviation of a polygon from the outline
_MIN_CORNERS = 3


def outlines(mask: BoolArray) -> list[FloatArray]:
    """
    Outline a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)

    Returns
    -------
    list of ndarray of float64, shape (n, 2)
        For each connected part (row, column) corners in pixels, continuous from the outer corner of pixel (0, 0), the
        first not repeated at the end. Holes are ignored: annotation tools have none.
    """
    padded = np.pad(mask, 1).astype(np.float32)
    found = []
    for contour in measure.find_contours(padded, 0.5, positive_orientation="low"):  # type: ignore[no-untyped-call]
        corners = measure.approximate_polygon(contour, _TOLERANCE_PX)[:-1]  # type: ignore[no-untyped-call]
        # Contours run through the centres of pixels; around a hole they have the opposite orientation.
        if len(corners) >= _MIN_CORNERS and _signed_area(corners) > 0:
            found.append(np.clip(corners - 0.5, 0, mask.shape))
    return found


def _signed_area(corners: FloatArray) -> float:
    """Area of a polygon, negative for the opposite orientation."""
    y, x = corners.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)
