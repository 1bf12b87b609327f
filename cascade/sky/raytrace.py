"""Ray-tracing predictor: ghosts on the focal plane from a pointing and a catalogue of bright stars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray, Instances, tight_boxes
from cascade.optics.ghost_optics import MAX_FIELD_ANGLE_DEG, GhostOptics, Reflectivity, Star
from cascade.sky.brightness import PIXEL_ARCSEC2, SKY_MAG, ghost_class
from cascade.sky.catalogue import BrightStars
from cascade.sky.pointing import Pointing

PREVIEW_NOISE_SHARE = 0.0042
"""Noise of a preview pixel as a fraction of the sky in a DES exposure (estimate); separates Bright from Faint."""

_MIN_AREA_PX = 30
_SKY_MAG = {**SKY_MAG, "u": 22.6, "VR": 21.5}  # the last two are assumed


@dataclass(frozen=True, slots=True)
class RaytraceRule:
    """
    Which ghosts are predicted.

    Attributes
    ----------
    min_contrast
        Minimum surface brightness as a fraction of the sky's, above 0.
    faintest
        Limiting magnitude Hp of the stars.
    reflectivity
        Of the surfaces; assumed, so that the contrast is uncertain by a factor of about 3.
    filter_offset_mm
        Filter position relative to batoid's model; it differs between exposures and is in no header.
    sky_mag
        Surface brightness of the sky by band, mag/arcsec2; bands not listed have that of a dark sky.

    Raises
    ------
    ConfigError
        If `min_contrast` is not positive.
    """

    min_contrast: float = 0.03
    faintest: float = 9.0
    reflectivity: Reflectivity = field(default_factory=Reflectivity)
    filter_offset_mm: float = 0.0
    sky_mag: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.min_contrast > 0:
            msg = f"min_contrast: expected a fraction above 0, got {self.min_contrast}"
            raise ConfigError(msg)

    def sky(self, band: str) -> float:
        """Surface brightness of the sky, mag/arcsec2."""
        if band not in {**_SKY_MAG, **self.sky_mag}:
            msg = f"band: expected one of {', '.join(_SKY_MAG)}, got {band!r}"
            raise ConfigError(msg)
        return self.sky_mag.get(band, _SKY_MAG[band])


@dataclass(frozen=True, eq=False)
class PredictedGhost:
    """
    One surface pair's ghost of one star.

    Attributes
    ----------
    hip
        Hipparcos number of the star.
    magnitude
        In the band of the exposure, AB.
    star
        Field angle and azimuth.
    pair
        The surfaces.
    contrast
        Typical surface brightness as a fraction of the sky's.
    artifact
        Bright or Faint, by size and contrast.
    mask
        (400, 400) bool, the filled outline.
    """

    hip: int
    magnitude: float
    star: Star
    pair: str
    contrast: float
    artifact: Artifact
    mask: BoolArray


def predict_ghosts(
    pointing: Pointing, rule: RaytraceRule, *, optics: GhostOptics, stars: BrightStars
) -> list[PredictedGhost]:
    """
    Predict the ghosts of all bright stars in and around the field.

    Parameters
    ----------
    pointing : Pointing
    rule : RaytraceRule
    optics : GhostOptics
    stars : BrightStars

    Returns
    -------
    list of PredictedGhost
        By falling contrast; those outside the preview are omitted.

    Raises
    ------
    ConfigError
        If the band is unknown.
    """
    sky = rule.sky(pointing.band)
    # Proper motions since 1991 are under 0.2 degrees.
    near = stars.near(pointing.ra, pointing.dec, MAX_FIELD_ANGLE_DEG + 0.2, rule.faintest)
    angles, azimuths = pointing.project(stars.positions(near, pointing.mjd_obs))
    found = []
    for index, magnitude, angle, azimuth in zip(
        near, stars.magnitudes(near, pointing.band), angles, azimuths, strict=True
    ):
        if angle > MAX_FIELD_ANGLE_DEG:
            continue
        star = Star(float(angle), float(azimuth), pointing.band, rule.filter_offset_mm)
        sky_fraction = 10 ** (-0.4 * (magnitude - sky)) / PIXEL_ARCSEC2  # if all the star's light fell on one pixel
        levels = optics.surface_brightness(star, rule.reflectivity, cutoff=rule.min_contrast / sky_fraction)
        for pair, level in levels.items():
            contrast = float(level * sky_fraction)
            outline, mask = optics.outline(pair, star), optics.footprint(pair, star)
            if outline is None or mask.sum() < _MIN_AREA_PX:
                continue
            area = np.pi * outline.major * outline.minor
            artifact = ghost_class(contrast / PREVIEW_NOISE_SHARE, area)
            hip = int(stars.hip[index])
            found.append(PredictedGhost(hip, float(magnitude), star, pair, contrast, artifact, mask))
    return sorted(found, key=lambda ghost: -ghost.contrast)


def ghost_instances(ghosts: list[PredictedGhost], rule: RaytraceRule) -> Instances:
    """
    Convert predictions to instances, the format of network detections.

    The score rises with the contrast from 0.5 at the rule's limit towards 1; it is not a probability.
    """
    if not ghosts:
        return Instances.empty(PREVIEW_SHAPE)
    masks = np.stack([ghost.mask for ghost in ghosts])
    contrast = np.array([ghost.contrast for ghost in ghosts])
    scores = contrast / (contrast + rule.min_contrast)
    classes = np.array([ghost.artifact for ghost in ghosts], np.uint8)
    return Instances(classes, scores.astype(np.float32), tight_boxes(masks), masks)
