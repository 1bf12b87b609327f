"""From the sky to the focal plane: field angles and azimuths of stars for a pointing of DECam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascade.core.errors import ConfigError
from cascade.sky.catalogue import unit_vectors

Floats = npt.NDArray[np.float64]

FIRST_LIGHT_MJD = 56182.0
"""12 September 2012."""


@dataclass(frozen=True, slots=True)
class Pointing:
    """
    Pointing of a camera: direction, band, date and rotation.

    Attributes
    ----------
    ra, dec
        Of the optical axis, degrees (ICRS).
    band
        u, g, r, i, z, Y or VR.
    mjd_obs
        Modified Julian date in days; None: no proper motion since 1991.25.
    rotation_deg
        Rotation of the camera from north through east. DECam is on an equatorial mount: always 0, up to 0.1 degrees.

    Raises
    ------
    ConfigError
        If a number is not finite or out of range, or the date is before the camera's first light.
    """

    ra: float
    dec: float
    band: str
    mjd_obs: float | None = None
    rotation_deg: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.ra, self.dec, self.rotation_deg, 0.0 if self.mjd_obs is None else self.mjd_obs)
        if not np.all(np.isfinite(numbers)):
            msg = f"pointing: expected finite ra, dec, rotation and date, got {numbers}"
            raise ConfigError(msg)
        if not -180 <= self.ra <= 360:
            msg = f"pointing: expected a right ascension in [-180, 360] degrees, got {self.ra}"
            raise ConfigError(msg)
        if not -90 <= self.dec <= 90:
            msg = f"pointing: expected a declination in [-90, 90] degrees, got {self.dec}"
            raise ConfigError(msg)
        if self.mjd_obs is not None and not self.mjd_obs >= FIRST_LIGHT_MJD:
            msg = f"pointing: expected a date since DECam's first light, MJD {FIRST_LIGHT_MJD:g}, got {self.mjd_obs:g}"
            raise ConfigError(msg)

    def project(self, stars: Floats) -> tuple[Floats, Floats]:
        """
        Field angles and azimuths of stars.

        Parameters
        ----------
        stars : ndarray of float64, shape (n, 3)
            ICRS unit vectors.

        Returns
        -------
        tuple of ndarray of float64
            Angle from the axis in [0, 180] degrees, and azimuth of the image on the focal plane from +x_mm towards
            +y_mm, degrees. On DECam's focal plane south is +x_mm and east is +y_mm (headers of the Community
            Pipeline), so previews have north up and east to the left.
        """
        ra = np.deg2rad(self.ra)
        axis = unit_vectors(np.array([self.ra]), np.array([self.dec]))[0]
        east_unit = np.array([-np.sin(ra), np.cos(ra), 0.0])
        east, north = stars @ east_unit, stars @ np.cross(axis, east_unit)
        angle = np.rad2deg(np.arctan2(np.hypot(east, north), stars @ axis))
        turn = np.deg2rad(self.rotation_deg)
        up = north * np.cos(turn) + east * np.sin(turn)
        left = east * np.cos(turn) - north * np.sin(turn)
        return angle, np.rad2deg(np.arctan2(left, -up))
