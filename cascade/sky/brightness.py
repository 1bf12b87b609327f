"""Surface brightness of the sky, and the class of a ghost by brightness and size."""

from __future__ import annotations

import numpy as np

from cascade.core.artifact import Artifact

SKY_MAG = {"u": 22.6, "g": 22.1, "r": 21.1, "i": 20.1, "z": 18.8, "Y": 18.0, "VR": 21.5}
"""Dark sky at Cerro Tololo, mag/arcsec² (g to Y: Neilsen et al. 2016, rounded; u and VR assumed)."""

PIXEL_ARCSEC2 = 18.58**2
"""Area of a preview pixel: 17.585 arcsec/mm over 0.9465 px/mm, squared."""

# Bright if contrast / noise > 3.4 (radius / 25 px)**1.8, which reproduces the annotators' mix of classes and sizes.
_BRIGHT_CONTRAST = 3.4
_BRIGHT_RADIUS_PX = 25.0
_BRIGHT_POWER = 1.8


def ghost_class(contrast: float, area_px: float) -> Artifact:
    """
    Classify a ghost as Bright or Faint.

    Parameters
    ----------
    contrast : float
        Surface brightness in units of the pixel noise.
    area_px : float
        Area within the outline.
    """
    radius = np.sqrt(area_px / np.pi)
    limit = _BRIGHT_CONTRAST * (radius / _BRIGHT_RADIUS_PX) ** _BRIGHT_POWER
    return Artifact.BRIGHT if contrast > limit else Artifact.FAINT
