"""The stars around a pointing: where they are imaged and how bright they are in its band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from cascade.sky.catalogue import BrightStars
from cascade.sky.pointing import Pointing

Floats = npt.NDArray[np.float64]

_RADIUS_DEG = 2.3
_FAINTEST_HP = 7.5  # a margin of 1 mag for red stars in red bands
_PROPER_MOTION_DEG = 0.2  # the largest since 1991


@dataclass(frozen=True, eq=False)
class NearbyStars:
    """
    The N stars within 2.3 degrees of a pointing.

    Attributes
    ----------
    pointing
    index
        (N,) indices into the catalogue.
    angles_deg, azimuths_deg
        (N,) see `Pointing.project`.
    magnitudes
        (N,) in the band of the pointing, AB.
    """

    pointing: Pointing
    index: npt.NDArray[np.intp]
    angles_deg: Floats
    azimuths_deg: Floats
    magnitudes: Floats

    @classmethod
    def of(cls, pointing: Pointing, stars: BrightStars) -> Self:
        """
        Look the stars up.

        Raises
        ------
        ConfigError
            If the band is unknown.
        """
        index = stars.near(pointing.ra, pointing.dec, _RADIUS_DEG + _PROPER_MOTION_DEG, _FAINTEST_HP)
        angles, azimuths = pointing.project(stars.positions(index, pointing.mjd_obs))
        return cls(pointing, index, angles, azimuths, stars.magnitudes(index, pointing.band))
