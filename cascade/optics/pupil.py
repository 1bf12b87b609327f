"""Obscuration of the entrance pupil by the telescope's top end, spider and baffles."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]

PUPIL_Z_M = 0.534
"""Height of the pupil plane, the mask around the primary mirror (batoid 0.9, DECam.yaml; as all heights here)."""

PUPIL_RADIUS_M = 1.971

_FOCAL_M = 21.3115998206672 / 2
# (height, radius) in m of obscuring discs on the way down to the mirror, and on the way up again.
_DISCS_DOWN = (
    (12.0228, 0.8254), (11.4894, 0.8254), (10.3079, 0.7896), (9.0446, 0.7896), (7.927, 0.7896), (7.4622, 0.8181),
    (3.7530, 0.4699), (2.6823, 0.5334), (1.7139, 0.6223), (0.1, 0.6477), (0.0, 0.6684),
)  # fmt: skip
_DISCS_UP = ((0.1, 0.6477), (1.7139, 0.6223), (2.6823, 0.5334), (3.7530, 0.4699))
# The box of the filter changer sticks out of the cage: |x| < half width, |y| < reach - sag (x / half width)^2.
_CHANGER_Z_M = 10.3079
_CHANGER_HALF_WIDTH_M = 0.459
_CHANGER_REACH_M = 1.0119
_CHANGER_SAG_M = 0.1333
_SPIDER_Z_M = 9.7459

VaneWidths = tuple[float, float, float, float]

VANE_WIDTH_MM: VaneWidths = (90.0, 50.0, 50.0, 50.0)
"""
Widths of the vanes' shadows in real ghosts; the metal is 19 mm.

They match the large rings of ten real exposures better than 19 mm in each of them (mean correlation .055 against .047);
which vane is the wide one is uncertain.
"""


def shadow_circles(angle: float) -> list[tuple[float, float]]:
    """(centre x, radius) in m of the shadows; those wholly inside another are omitted."""
    tangent = np.tan(angle)
    circles = [(tangent * (z - PUPIL_Z_M), radius) for z, radius in _DISCS_DOWN]
    for z, radius in _DISCS_UP:  # on the way up the beam has shrunk towards the focus
        scale = 1 - z / _FOCAL_M
        circles.append((-tangent * z / scale, radius / scale))
    kept: list[tuple[float, float]] = []
    for centre, radius in sorted(circles, key=lambda circle: -circle[1]):
        if all(abs(centre - other) + radius > reach for other, reach in kept):
            kept.append((centre, radius))
    return kept


def transmission(
    x: Float32s,
    y: Float32s,
    width: Float32s | np.float32,
    *,
    angle: float,
    azimuth: float,
    vane_width_m: VaneWidths,
    shadows: bool = True,
) -> Float32s:
    """
    Unobscured fraction of small patches of the pupil.

    Parameters
    ----------
    x, y : ndarray of float32
        Centres of the patches in m, in the frame in which the star lies towards +x.
    width : ndarray of float32, or float32
        Their size in m, over which edges are smoothed.
    angle, azimuth : float
        Field angle, and azimuth of the star from the x axis of the focal plane towards its y axis; radians.
    vane_width_m : tuple of float
        Widths of the vanes towards azimuths 45, 225, 135 and 315 degrees.
    shadows : bool
        False: the rim alone.

    Returns
    -------
    ndarray of float32
        In [0, 1].
    """
    radius2 = x * x + y * y
    softness = np.float32(1) / width
    open_ = _fraction_inside(_inside(x, radius2, 0.0, PUPIL_RADIUS_M), softness)
    if not shadows:
        return open_
    cos, sin = np.float32(np.cos(azimuth)), np.float32(np.sin(azimuth))
    turned_x, turned_y = cos * x - sin * y, sin * x + cos * y
    # The changer's box and the spider, in the frame of the camera and at their heights.
    shift = np.float32(np.tan(angle) * (_CHANGER_Z_M - PUPIL_Z_M))
    across = np.abs(turned_x - cos * shift)
    along = np.abs(turned_y - sin * shift)
    along += np.float32(_CHANGER_SAG_M / _CHANGER_HALF_WIDTH_M**2) * across * across - np.float32(_CHANGER_REACH_M)
    hidden = np.minimum(np.float32(_CHANGER_HALF_WIDTH_M) - across, -along)
    for centre, radius in shadow_circles(angle):
        np.maximum(hidden, _inside(x, radius2, centre, radius), out=hidden)
    open_ *= 1 - _fraction_inside(hidden, softness)
    shift = np.float32(np.tan(angle) * (_SPIDER_Z_M - PUPIL_Z_M) * np.sqrt(0.5))
    half_root = np.float32(np.sqrt(0.5))
    rising = (turned_x + turned_y) * half_root - (cos + sin) * shift
    falling = (turned_x - turned_y) * half_root - (cos - sin) * shift
    half = [np.float32(vane / 2) for vane in vane_width_m]
    for off, on, ahead, behind in ((falling, rising, half[0], half[1]), (rising, falling, half[3], half[2])):
        vane = ahead if ahead == behind else np.where(on > 0, ahead, behind)
        off = vane - np.abs(off)
        off += width / 2
        np.minimum(off, np.minimum(2 * vane, width), out=off)  # a vane may be narrower than the patch
        np.maximum(off, 0, out=off)
        off *= softness
        open_ *= 1 - off
    return open_


def _inside(x: Float32s, radius2: Float32s, centre: float, radius: float) -> Float32s:
    """Distance to the edge of a circle, positive inside; accurate near the edge, which is enough."""
    # (radius^2 - (x - centre)^2 - y^2) / (2 radius)
    distance = x * np.float32(2 * centre) if centre else np.zeros_like(x)
    distance += np.float32(radius**2 - centre**2)
    distance -= radius2
    distance *= np.float32(0.5 / radius)
    return distance


def _fraction_inside(distance: Float32s, softness: Float32s | np.float32) -> Float32s:
    """Fraction of a patch on the positive side of an edge; overwrites the distance."""
    distance *= softness
    distance += np.float32(0.5)
    return np.clip(distance, 0, 1, out=distance)


@cache
def open_area_m2() -> float:
    """On-axis collecting area, without the spider."""
    side = np.linspace(-2, 2, 1601, dtype=np.float32)
    x, y = np.meshgrid(side, side)
    step = np.float32(side[1] - side[0])
    open_ = transmission(x, y, step, angle=0.0, azimuth=0.0, vane_width_m=(0.0, 0.0, 0.0, 0.0))
    return float(open_.sum(dtype=np.float64) * step**2)
