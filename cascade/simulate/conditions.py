"""Observing conditions of an exposure: band, depth, stretch, and the survey's processing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cascade.sky.brightness import PIXEL_ARCSEC2, SKY_MAG

if TYPE_CHECKING:
    from cascade.simulate.survey import Observation

BANDS = ("g", "r", "i", "z", "Y")
"""DECam's broad bands as DES used them."""

GAP_LEVEL = 23.0
"""Grey level of gaps and dead areas (measured)."""

# Measured on the DES common-core images.
_NOISE_AT_SKY = (7.5, 0.038)  # 7.5 grey levels at a sky of 30, 6.4 at 60; unresolved stars add to it
_NOISE_SCATTER = 0.06
_CCD_LEVEL_SCATTER = (0.1, 1.0)  # median 0.9 over exposures
_SHIFT_SCATTER_PX = (0.10, 0.33)
_HEIGHT_SCATTER_PX = 0.25  # of the lit area of all CCDs, at their lower edge
_ROTATION_SCATTER = 0.0018  # radians: mosaics are projected with the exposure's own WCS

# Meshes per CCD and bias, fitted to radial profiles along annotated circles: best (5, 10) and 0.35.
_MESHES = ((4, 8), (5, 10), (6, 12))
_MESH_BIAS = (0.15, 0.6)

_NOISE_SHARE = 0.0042  # of the sky, in g: matches the brightness of real ghosts (prototype)
_NOISE_SHARE_SCATTER = 0.3
_EXPTIME_S = 90.0  # of the exposures that it was matched to

_CCD_2_DARK_MJD = (56626.0, 57751.0)


@dataclass(frozen=True, slots=True)
class Ranges:
    """
    Parameter ranges of the simulator; beyond the defaults, exposures are out of distribution for the shipped models.

    Attributes
    ----------
    sky_level
        Lowest and highest grey level of the sky; the defaults are measured on the DES common-core images.
    star_density
        Factor on the number of stars.
    filter_offsets_mm
        Filter positions: slots of the filter changer, inferred from real ghosts.
    """

    sky_level: tuple[float, float] = (36.0, 64.0)
    star_density: float = 1.0
    filter_offsets_mm: tuple[float, ...] = (0.0, -45.0, -100.0, -150.0)


@dataclass(frozen=True, slots=True)
class Conditions:
    """
    Conditions of one exposure.

    Attributes
    ----------
    band
        Filter of DECam.
    sky_level
        Median grey level of the sky in the preview.
    noise
        Standard deviation of the pixel noise in grey levels.
    noise_share
        The same noise as a fraction of the sky's light: small in deep exposures, where ghosts stand out.
    star_density
        Number of stars relative to the median exposure.
    ccd_scatter
        Standard deviation of the sky level from CCD to CCD, grey levels.
    shift_px
        (row, column) offset of the mosaic from its nominal position.
    rotation
        Rotation of the mosaic, radians.
    height_px
        Excess of the height of CCDs over the nominal one, at their lower edge.
    ccd_2_dead
        Whether CCD 2 was dark, as from November 2013 to December 2016.
    meshes
        Number of meshes of the survey's background along the rows and the columns of a CCD.
    mesh_bias
        Bias of the background below the mean where light is uneven; see `Mosaic.background`.
    jpeg_quality
        JPEG quality of the stored preview.
    """

    band: str
    sky_level: float
    noise: float
    noise_share: float
    star_density: float
    ccd_scatter: float
    shift_px: tuple[float, float]
    rotation: float
    height_px: float
    ccd_2_dead: bool
    meshes: tuple[int, int]
    mesh_bias: float
    jpeg_quality: int = 75

    def grey_of_star(self, magnitude: float) -> float:
        """Flux of a star, in grey levels summed over pixels."""
        in_sky = 10 ** (-0.4 * (magnitude - SKY_MAG[self.band])) / PIXEL_ARCSEC2
        return float(in_sky * self.noise / self.noise_share)


def draw_conditions(rng: np.random.Generator, ranges: Ranges, band: str | None = None) -> Conditions:
    """Draw conditions that vary somewhat more than those of real exposures; the band, too, if it is None."""
    band = str(rng.choice(BANDS)) if band is None else band
    low, high = ranges.sky_level
    sky_level = low + (high - low) * rng.random() ** 0.75
    noise = (_NOISE_AT_SKY[0] - _NOISE_AT_SKY[1] * (sky_level - 30)) * np.exp(rng.normal(0, _NOISE_SCATTER))
    photon_limited = 10 ** (-0.2 * (SKY_MAG["g"] - SKY_MAG[band]))
    return Conditions(
        band=band,
        sky_level=float(sky_level),
        noise=float(noise),
        noise_share=float(_NOISE_SHARE * photon_limited * np.exp(rng.normal(0, _NOISE_SHARE_SCATTER))),
        star_density=float(ranges.star_density * np.exp(rng.normal(0, 0.22))),
        ccd_scatter=float(rng.uniform(*_CCD_LEVEL_SCATTER)),
        shift_px=(float(rng.normal(0, _SHIFT_SCATTER_PX[0])), float(rng.normal(0, _SHIFT_SCATTER_PX[1]))),
        rotation=float(rng.normal(0, _ROTATION_SCATTER)),
        height_px=float(rng.normal(0, _HEIGHT_SCATTER_PX)),
        ccd_2_dead=bool(rng.random() < 0.5),
        meshes=_MESHES[int(rng.choice(3, p=[0.2, 0.55, 0.25]))],
        mesh_bias=float(rng.uniform(*_MESH_BIAS)),
    )


def conditions_of(observation: Observation, rng: np.random.Generator, ranges: Ranges) -> Conditions:
    """Draw the conditions of an observation: its band and depth, and CCD 2 dark if it was at that date."""
    mjd, exptime = observation.pointing.mjd_obs, observation.exptime
    conditions = draw_conditions(rng, ranges, observation.pointing.band)
    if exptime:
        conditions = replace(conditions, noise_share=conditions.noise_share * float(np.sqrt(_EXPTIME_S / exptime)))
    if mjd is not None:
        conditions = replace(conditions, ccd_2_dead=_CCD_2_DARK_MJD[0] <= mjd < _CCD_2_DARK_MJD[1])
    return conditions
