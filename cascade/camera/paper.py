"""The CCD boxes of the paper, only for comparison with its CCD metrics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cascade.camera.camera import Camera

PAPER_CCD_AREA_PX = 32 * 60.1169
"""Area of one CCD in pixels in the paper (DeepGhostBusters notebooks)."""

_SIZE = 400
_PADDING = 8  # 2 % of the image on each side
_COLUMNS, _ROWS = 7, 12
_STRETCH = 38.5 * 0.0025  # the paper widens x about the middle to make room for the seven-CCD rows


def paper_boxes(camera: Camera) -> npt.NDArray[np.int64]:
    """
    Build the boxes of CCDs used by the paper on a 400x400 preview.

    They include the gaps, are up to 2.5 px off in x and are for DECam only; use `Camera.labels` for anything else.

    Parameters
    ----------
    camera : Camera
        DECam; only the row and order of its CCDs are used.

    Returns
    -------
    ndarray of int, shape (62, 4)
        (y0, x0, y1, x1) half-open, for ccdnum 1 to 62.

    References
    ----------
    Tanoglidis et al. 2021, arXiv:2109.08246, section 5, and its notebooks.
    """
    width = (_SIZE - 2 * _PADDING) / _COLUMNS
    height = (_SIZE - 2 * _PADDING) / _ROWS
    rows: dict[float, list[int]] = {}
    for ccd in camera.ccds:
        rows.setdefault(ccd.x_mm, []).append(ccd.ccdnum)
    boxes = np.zeros((len(camera.ccds), 4), np.int64)
    for row, x_mm in enumerate(sorted(rows)):
        ccdnums = sorted(rows[x_mm], reverse=True)  # ccdnum falls from left to right
        left = _SIZE / 2 - len(ccdnums) * width / 2
        for k, ccdnum in enumerate(ccdnums):
            y0, y1 = int(_PADDING + row * height), int(_PADDING + (row + 1) * height)
            x0, x1 = (_widened(int(left + (k + edge) * width)) for edge in (0, 1))
            boxes[ccdnum - 1] = y0, max(x0, 0), min(y1 + 1, _SIZE), min(x1 + 1, _SIZE)
    return boxes


def _widened(x: int) -> int:
    """The paper's stretch of a column about the middle of the image."""
    return int(x + (x - _SIZE / 2) * _STRETCH)
