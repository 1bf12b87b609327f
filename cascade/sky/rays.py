"""Rays: light of stars outside the field that enters past the baffles, and the law of which CCDs it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray
from cascade.sky.boosted_trees import BoostedTrees
from cascade.sky.ghosts import BAND_ORDER
from cascade.sky.nearby import NearbyStars

Floats = npt.NDArray[np.float64]

RAYS_STARS = 3
_MEDIAN_ANGLE_DEG = 1.46  # of the stars that throw Rays (middle half 1.39 to 1.54)
_MAG_PER_DEG = 6.0  # how the field angle counts against the magnitude when the three likeliest stars are chosen
_ORDERED = (1.15, 1.9, 6.5)  # field angles and faintest magnitude of these
_THROWING = (1.15, 1.85, 6.0)  # the same of stars that may throw Rays alone
_BRIGHT = (1.05, 2.3, 2.5)  # and of very bright ones
_NO_STAR_MAG = 9.0
_HALF_WIDTH_DEG = 25.0  # of a sector of Rays around the star's azimuth: 80 % of annotated Rays lie within 20
_LEAST_COVER = 0.2  # of a CCD that the law names, below which all of it is marked

PLACE_FEATURES = (
    "offset_azimuth", "across", "along", "nearest_along", "nearest_across", "nearest_azimuth", "outermost", "mouth"
)  # fmt: skip
"""
Place of a CCD seen from the optical axis with the star straight ahead. Of its centre: angle from the star's azimuth,
rad; components across and along the star's direction, px. Of 24 points on it: the largest along, the smallest across,
the smallest angle, the largest distance from the axis, and the largest along less across of those ahead.
"""


@dataclass(frozen=True, eq=False)
class RaysLaw:
    """
    Which CCDs people mark with Rays, told from the stars outside the field.

    Attributes
    ----------
    by_star
        Probability that one star alone reaches a CCD; what several stars do is independent.
    by_field
        Probability that a CCD has Rays, from the three likeliest stars together.
    """

    by_star: BoostedTrees
    by_field: BoostedTrees

    def probabilities(self, nearby: NearbyStars) -> tuple[Floats, npt.NDArray[np.intp]]:
        """
        Probabilities of Rays on more than 5 % of each CCD, and the star that most likely throws them.

        The mean of both kinds of trees, which is better than either (832 exposures, folds by night).

        Returns
        -------
        probabilities : ndarray of float64, shape (62,)
        stars : ndarray of int, shape (62,)
            Rows of `NearbyStars`; -1 where no star can.
        """
        n_ccds = len(_ccd_grid().distance)
        stars = throwing_stars(nearby)
        if not stars.size:
            return np.zeros(n_ccds), np.full(n_ccds, -1)
        alone = np.stack([self.by_star.probability(star_features(nearby, int(star))) for star in stars])
        together = 1 - np.prod(1 - alone, axis=0)
        field = self.by_field.probability(field_features(nearby))
        return (together + field) / 2, stars[np.argmax(alone, axis=0)]


def throwing_stars(nearby: NearbyStars) -> npt.NDArray[np.intp]:
    """Rows of the stars that may throw Rays."""
    return np.flatnonzero(_within(nearby, _THROWING) | _within(nearby, _BRIGHT))


def _within(nearby: NearbyStars, limits: tuple[float, float, float]) -> BoolArray:
    """Whether stars lie between two field angles and are brighter than a magnitude."""
    inner, outer, faintest = limits
    angles = nearby.angles_deg
    return np.asarray((angles > inner) & (angles < outer) & (nearby.magnitudes < faintest))


def star_features(nearby: NearbyStars, star: int) -> Floats:
    """(62, 13) features of each CCD: the star's magnitude and field angle, `PLACE_FEATURES`, distance, date, band."""
    grid = _ccd_grid()
    alone = (nearby.magnitudes[star], nearby.angles_deg[star])
    place = _places(float(nearby.azimuths_deg[star]))
    return np.column_stack([np.broadcast_to(alone, (len(place), 2)), place, grid.distance, *_conditions(nearby)])


def field_features(nearby: NearbyStars) -> Floats:
    """(62, 4 + 3 * 10) features of each CCD: distance and outermost point, date, band; then those of three stars."""
    grid = _ccd_grid()
    chosen = np.flatnonzero(_within(nearby, _ORDERED))
    merit = nearby.magnitudes[chosen] + _MAG_PER_DEG * np.abs(nearby.angles_deg[chosen] - _MEDIAN_ANGLE_DEG)
    chosen = chosen[np.argsort(merit)]
    columns = [grid.distance, grid.outermost, *_conditions(nearby)]
    for n in range(RAYS_STARS):
        if n < len(chosen):
            star = int(chosen[n])
            columns += [
                np.full(len(grid.distance), value) for value in (nearby.magnitudes[star], nearby.angles_deg[star])
            ]
            columns += list(_places(float(nearby.azimuths_deg[star])).T)
        else:
            columns += [np.full(len(grid.distance), _NO_STAR_MAG)]
            columns += [np.full(len(grid.distance), np.nan)] * (1 + len(PLACE_FEATURES))
    return np.column_stack(columns)


def sector(azimuth_deg: float, ccdnums: npt.NDArray[np.intp]) -> BoolArray:
    """
    Where Rays of a star lie on CCDs that the law names: a sector around the star's azimuth.

    Parameters
    ----------
    azimuth_deg : float
        Of the star.
    ccdnums : ndarray of int
        The CCDs; one of which the sector covers less than a fifth is marked whole.

    Returns
    -------
    ndarray of bool, shape (400, 400)
    """
    camera = Camera.decam()
    on_ccds = np.isin(camera.labels, ccdnums)
    mask = on_ccds & (np.abs((_azimuths_deg() - azimuth_deg + 180) % 360 - 180) < _HALF_WIDTH_DEG)
    covered, areas = camera.count(mask), camera.areas()
    whole = [ccdnum for ccdnum in ccdnums if covered[ccdnum] < _LEAST_COVER * areas[ccdnum]]
    return np.asarray(mask | np.isin(camera.labels, whole))


@cache
def _azimuths_deg() -> npt.NDArray[np.float32]:
    """(400, 400) azimuth of each pixel of a preview."""
    rows, columns = np.indices(PREVIEW_SHAPE, np.float32) - (PREVIEW_SHAPE[0] - 1) / 2
    return np.asarray(np.rad2deg(np.arctan2(-columns, rows)), np.float32)


def _conditions(nearby: NearbyStars) -> tuple[Floats, Floats]:
    """Date and band, the same for each CCD."""
    pointing, n_ccds = nearby.pointing, len(_ccd_grid().distance)
    mjd = np.nan if pointing.mjd_obs is None else pointing.mjd_obs
    return np.full(n_ccds, mjd), np.full(n_ccds, BAND_ORDER[pointing.band])


@dataclass(frozen=True, eq=False)
class _CcdGrid:
    """Places of the 62 CCDs on the preview, px from the axis: centres, and 4 x 6 points each."""

    centres: Floats  # (62, 2) down and to the right
    points: Floats  # (62, 24, 2)
    distance: Floats  # (62,) of the centre
    outermost: Floats  # (62,) of the farthest point


@cache
def _ccd_grid() -> _CcdGrid:
    """Measure the CCDs once; those cut by the border of the preview count with what is left of them."""
    camera = Camera.decam()
    points = []
    for ccd in camera.ccds:
        rows, columns = (where - (PREVIEW_SHAPE[0] - 1) / 2 for where in np.nonzero(camera.labels == ccd.ccdnum))
        down, right = np.linspace(rows.min(), rows.max(), 4), np.linspace(columns.min(), columns.max(), 6)
        points.append(np.stack(np.meshgrid(down, right, indexing="ij"), axis=-1).reshape(-1, 2))
    placed = np.array(points)
    centres = placed.mean(axis=1)
    farthest = np.hypot(placed[..., 0], placed[..., 1]).max(axis=1)
    return _CcdGrid(centres, placed, np.hypot(centres[:, 0], centres[:, 1]), farthest)


def _places(azimuth_deg: float) -> Floats:
    """(62, 8) `PLACE_FEATURES` of every CCD for a star at an azimuth."""
    grid = _ccd_grid()
    turn = np.deg2rad(azimuth_deg)
    ahead = np.array([np.cos(turn), -np.sin(turn)])  # azimuth 0 is down, 90 degrees to the left
    left = np.array([-np.sin(turn), -np.cos(turn)])
    along, across = grid.points @ ahead, np.abs(grid.points @ left)
    centre_along, centre_across = grid.centres @ ahead, grid.centres @ left
    return np.column_stack(
        [
            np.abs(np.arctan2(centre_across, centre_along)),
            centre_across,
            centre_along,
            along.max(axis=1),
            across.min(axis=1),
            np.abs(np.arctan2(across, along)).min(axis=1),
            grid.outermost,
            np.where(along > 0, along - across, -np.inf).max(axis=1).clip(-PREVIEW_SHAPE[0]),
        ]
    )
