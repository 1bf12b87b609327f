"""What differs between exposures before any ghost is drawn: band, depth, stretch, and the survey's processing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.sky.brightness import PIXEL_ARCSEC2, SKY_MAG

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

# Meshes a CCD and bias that leave of annotated circles the profiles measured along them: best (5, 10) and 0.35.
_MESHES = ((4, 8), (5, 10), (6, 12))
_MESH_BIAS = (0.15, 0.6)

_NOISE_SHARE = 0.0042  # of the sky, in g: what makes ghosts as bright as real ones (prototype)
_NOISE_SHARE_SCATTER = 0.3


@dataclass(frozen=True, slots=True)
class Ranges:
    """
    What exposures are drawn from; anything but the defaults asks networks for what they were not trained on.

    Attributes
    ----------
    sky_level
        Lowest and highest grey level of the sky; the defaults are measured on the DES common-core images.
    star_density
        Factor on the number of stars.
    filter_offsets_mm
        Places of the filter: slots of the filter changer, inferred from real ghosts.
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
        One of `BANDS`.
    sky_level
        Median grey level of the sky in the preview.
    noise
        Standard deviation of the pixel noise in grey levels.
    noise_share
        The same noise as a share of the light of the sky: small in deep exposures, where ghosts stand out.
    star_density
        Number of stars relative to the median exposure.
    ccd_scatter
        Standard deviation of the sky level from CCD to CCD, grey levels.
    shift_px
        (row, column) offset of the mosaic from its nominal place.
    rotation
        Rotation of the mosaic, radians.
    height_px
        By how much CCDs reach further down than their nominal size.
    ccd_2_dead
        Whether CCD 2 was dark, as from November 2013 to December 2016.
    meshes
        Number of meshes of the survey's background along the rows and the columns of a CCD.
    mesh_bias
        How far the background lies under the mean where light is uneven; see `Mosaic.background`.
    jpeg_quality
        Of the JPEG that the preview was kept as.
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
        """Light of a whole star, in grey levels summed over pixels."""
        in_sky = 10 ** (-0.4 * (magnitude - SKY_MAG[self.band])) / PIXEL_ARCSEC2
        return float(in_sky * self.noise / self.noise_share)


def draw_conditions(rng: np.random.Generator, ranges: Ranges) -> Conditions:
    """Conditions as different as those of the real exposures, and somewhat more."""
    band = str(rng.choice(BANDS))
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
