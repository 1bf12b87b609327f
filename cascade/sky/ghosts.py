"""Ghosts that stars can make: their outlines, how bright they are, and the law of which of them people draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage import draw

from cascade.core.exposure import PREVIEW_SHAPE, BoolArray
from cascade.optics.bank import OpticsBank
from cascade.optics.rims import N_CORNERS, Rims, rims
from cascade.sky.boosted_trees import BoostedTrees
from cascade.sky.brightness import SKY_MAG
from cascade.sky.filter_slots import filter_offset_mm
from cascade.sky.nearby import NearbyStars

Floats = npt.NDArray[np.float64]

FAMILIES: dict[str, tuple[str, ...]] = {
    "D>C5_exit": ("D>C5_exit",),
    "D>C5_entrance": ("D>C5_entrance",),
    "D>C4_entrance": ("D>C4_entrance",),
    "C5_exit>C5_entrance": ("C5_exit>C5_entrance",),
    "D>C4_exit": ("D>C4_exit",),
    "D>C3_entrance": ("D>C3_entrance",),
    "D>C3_exit": ("D>C3_exit",),
    "D>Filter": ("D>Filter_exit", "D>Filter_entrance"),
    "C4_exit>Filter": ("C4_exit>Filter_exit", "C4_exit>Filter_entrance"),
}
"""
Surface pairs whose ghosts people draw, out of the 26 traced; faces of the filter make one ghost for the eye.

Of 1,800 drawn ghosts, D>C2 and the 14 pairs of lens faces that are left out explain fewer than ten each.
"""

GHOST_RADIUS_DEG = 1.45
FAINTEST_GHOST_MAG = 6.0
"""Fainter stars' ghosts are hardly ever drawn: 3 % of those of magnitude 5 to 6, in any pair but D>C5_exit."""

BAND_ORDER = {"u": 0.0, "g": 0.0, "r": 1.0, "VR": 1.0, "i": 2.0, "z": 3.0, "Y": 4.0}
"""Bands by wavelength as the laws know them; no annotated exposure is in u or VR, which are taken for g and r."""

GHOST_FEATURES = ("magnitude", "field_angle", "family", "band", "log_area", "mjd", "log_contrast", "share_on_preview")

_MIN_AREA_PX = 32
_N_SCAN_LINES = 64  # on which the area of an outline is measured; outlines are convex but for folded slivers


@dataclass(frozen=True, eq=False)
class Ghosts:
    """
    The N ghosts that the stars around one pointing can make.

    Attributes
    ----------
    star
        (N,) row of the star in `NearbyStars`.
    family
        (N,) index into `FAMILIES`.
    outlines
        (N, 64, 2) corners (row, column) of the outlines, px.
    features
        (N, 8) see `GHOST_FEATURES`: magnitude of the star in the band; its field angle, degrees; the family; the band,
        see `BAND_ORDER`; natural logarithm of the pixels on the preview; date; decimal logarithm of the ghost's
        surface brightness over the sky's, times a constant, for surfaces that reflect everything; share of the outline
        that lies on the preview.
    """

    star: npt.NDArray[np.intp]
    family: npt.NDArray[np.intp]
    outlines: Floats
    features: Floats

    def __len__(self) -> int:
        return len(self.star)

    def mask(self, ghost: int) -> BoolArray:
        """The (400, 400) bool mask of a ghost, its outline filled."""
        return filled(self.outlines[ghost])


def filled(outline: Floats, shape: tuple[int, int] = PREVIEW_SHAPE) -> BoolArray:
    """Fill an outline of (row, column) corners."""
    mask = np.zeros(shape, bool)
    mask[draw.polygon(outline[:, 0], outline[:, 1], shape)] = True  # type: ignore[no-untyped-call]
    return mask


def possible_ghosts(nearby: NearbyStars, bank: OpticsBank) -> Ghosts:
    """
    Trace the ghosts of the stars around a pointing.

    Parameters
    ----------
    nearby : NearbyStars
        Those within `GHOST_RADIUS_DEG` and brighter than `FAINTEST_GHOST_MAG` are traced.
    bank : OpticsBank

    Returns
    -------
    Ghosts
        Those of which at least 32 px lie on the preview.
    """
    pointing = nearby.pointing
    stars = np.flatnonzero((nearby.angles_deg < GHOST_RADIUS_DEG) & (nearby.magnitudes < FAINTEST_GHOST_MAG))
    offset = filter_offset_mm(pointing.band, pointing.mjd_obs)
    found: list[tuple[int, int, Floats, list[float]]] = []
    for family, pairs in enumerate(FAMILIES.values() if stars.size else ()):
        faces = [
            rims(bank, pair, nearby.angles_deg[stars], nearby.azimuths_deg[stars], band=pointing.band, offset_mm=offset)
            for pair in pairs
        ]
        for n, star in enumerate(stars):
            lit = [face for face in faces if face.lit[n]]
            if not lit:
                continue
            outline = np.mean([np.stack([face.rows[n], face.columns[n]], axis=-1) for face in lit], axis=0)
            measured = _measure(outline)
            if measured is not None:
                row = _features(nearby, int(star), family, lit[0], n, *measured)
                found.append((int(star), family, outline, row))
    if not found:
        none = np.zeros(0, np.intp)
        return Ghosts(none, none, np.zeros((0, N_CORNERS, 2)), np.zeros((0, len(GHOST_FEATURES))))
    star_of, family_of, outlines, features = zip(*found, strict=True)
    return Ghosts(np.array(star_of), np.array(family_of), np.array(outlines), np.array(features))


def _measure(outline: Floats) -> tuple[float, float] | None:
    """Area on the preview, px, and its share of the outline's whole area; None if there is next to nothing."""
    (top, left), (bottom, right) = outline.min(axis=0), outline.max(axis=0)
    height, width = PREVIEW_SHAPE
    if bottom < 0 or right < 0 or top > height or left > width:
        return None
    first, last = max(top, 0.0), min(bottom, float(height))
    lines = first + (last - first) * (np.arange(_N_SCAN_LINES) + 0.5) / _N_SCAN_LINES
    (y0, x0), (y1, x1) = outline.T[:, None], np.roll(outline, -1, axis=0).T[:, None]
    along = (lines[:, None] - y0) / np.where(y1 == y0, 1.0, y1 - y0)
    crossings = x0 + along * (x1 - x0)
    crossed = (np.minimum(y0, y1) <= lines[:, None]) & (lines[:, None] < np.maximum(y0, y1))
    starts = np.where(crossed, crossings, np.inf).min(axis=1).clip(0, width)
    ends = np.where(crossed, crossings, -np.inf).max(axis=1).clip(0, width)
    on_preview = float(np.maximum(ends - starts, 0).mean() * (last - first))
    rows, columns = outline.T
    whole = abs(float(np.dot(columns, np.roll(rows, 1)) - np.dot(rows, np.roll(columns, 1)))) / 2
    return None if on_preview < _MIN_AREA_PX else (on_preview, on_preview / max(whole, 1.0))


def _features(
    nearby: NearbyStars, star: int, family: int, rim: Rims, n: int, area_px: float, share: float
) -> list[float]:
    """A row of the law's features."""
    pointing, magnitude = nearby.pointing, float(nearby.magnitudes[star])
    dense = max(float(rim.density[n] * rim.share[n]), 1e-6)
    log_contrast = -0.4 * (magnitude - SKY_MAG[pointing.band]) + np.log10(dense)
    mjd = np.nan if pointing.mjd_obs is None else pointing.mjd_obs
    angle, band = float(nearby.angles_deg[star]), BAND_ORDER[pointing.band]
    return [magnitude, angle, float(family), band, float(np.log(area_px)), mjd, float(log_contrast), share]


@dataclass(frozen=True, eq=False)
class GhostLaw:
    """
    Which ghosts people draw, and how they call them.

    Attributes
    ----------
    drawn
        Probability that a person outlines a ghost.
    bright
        Probability that an outlined ghost is called Bright; else it is Faint.
    """

    drawn: BoostedTrees
    bright: BoostedTrees
