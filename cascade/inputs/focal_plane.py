"""Whether a preview shows the focal plane of a camera: its gaps where they must be, and darker than the sky."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage

from cascade.camera import Camera
from cascade.core.errors import input_error
from cascade.core.exposure import BoolArray, UInt8Array

# The numbers below are from 25 DES previews and from a few of them spoilt.
_EDGE_PX = 2  # at both sides of the edge of a CCD, where a JPEG rings
_FLAT = 8  # levels within which gaps are flat: 99.8 % of their pixels, and of pictures of anything else under 20 %
_FLAT_SHARE = 0.5
_MIN_GREY = 0.1  # of the gaps above level 0, from which black is taken for what is missing
_MAX_LIT = 0.03  # of the gaps; 0.001 in good ones, 0.06 where shifted by 10 pixels, 0.09 where turned
_MAX_BLACK = 0.3  # of a CCD at level 0, where gaps are not; 0.06 in good ones


def check_focal_plane(image: UInt8Array, camera: Camera, expnum: int | None, path: str) -> None:
    """
    Refuse what is no preview of a camera, so that nothing is screened that the networks were not made for.

    An image without contrast between CCDs and gaps passes, and so do CCDs as dark as gaps: not all are always there.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W)
        On the camera's grid.
    camera : Camera
    expnum : int or None
        Exposure number, which says what CCDs are dead.
    path : str
        How errors name the exposure.

    Raises
    ------
    InputError
        If CCDs are black, below the level of the gaps; if the gaps are brighter than the CCDs, as in a negative; or if
        there is light in the gaps, as in a picture that is turned, shifted, cropped or of another camera.
    """
    gaps, ccds = _gaps_and_ccds(camera)
    if not gaps.any() or not ccds.any():
        return
    in_gaps = image[gaps].astype(np.int16)
    gap, sky = int(np.median(in_gaps)), int(np.median(image[ccds]))
    if np.count_nonzero(in_gaps) > _MIN_GREY * in_gaps.size:
        _check_black(image, camera, expnum, path)
    if np.mean(np.abs(in_gaps - gap) <= _FLAT) < _FLAT_SHARE or abs(sky - gap) <= _FLAT:
        return
    if gap > sky:
        problem = f"expected gaps between the CCDs darker than the sky, got level {gap} against {sky}: a negative?"
        raise input_error(path, problem)
    if (lit := float(np.mean(in_gaps > gap + _FLAT))) > _MAX_LIT:
        problem = f"expected the gaps between the CCDs of {camera.name} to be dark, got light in {lit:.0%} of them"
        raise input_error(path, f"{problem}: turned, shifted, cropped, or of another camera?")


def _check_black(image: UInt8Array, camera: Camera, expnum: int | None, path: str) -> None:
    """Refuse an image in which CCDs are black that are not known to be dead."""
    black = camera.count(image == 0) > _MAX_BLACK * np.maximum(camera.areas(), 1)
    dead = camera.dead_ccdnums(expnum)
    found = [ccd.detpos for ccd in camera.ccds if black[ccd.ccdnum] and ccd.ccdnum not in dead]
    if found:
        names = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
        raise input_error(path, f"expected CCDs with sky, got {len(found)} black ones ({names}): part of it is missing")


@cache
def _gaps_and_ccds(camera: Camera) -> tuple[BoolArray, BoolArray]:
    """Pixels of gaps and of CCDs, without those near an edge, once a camera."""
    on_ccd = camera.labels > 0
    gaps: BoolArray = ndimage.binary_erosion(~on_ccd, iterations=_EDGE_PX, border_value=1)
    ccds: BoolArray = ndimage.binary_erosion(on_ccd, iterations=_EDGE_PX)
    return gaps, ccds
