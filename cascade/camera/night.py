"""The date of the night that an exposure belongs to, by what its observatory says of when a night ends."""

from __future__ import annotations

import math
from datetime import date, timedelta

from cascade.camera.camera import Camera
from cascade.core.exposure import is_mjd

_MJD_EPOCH = date(1858, 11, 17)


def night_of(mjd_obs: float | None, camera: Camera) -> date | None:
    """
    The night of an exposure.

    Parameters
    ----------
    mjd_obs : float or None
        Start of the exposure, modified Julian date in days; None if unknown.
    camera : Camera
        Whose `night_rollover_utc_h` counts.

    Returns
    -------
    date or None
        The UTC date of the last rollover; with a rollover by day this is the local date at sunset. None for a time
        outside `MJD_RANGE`, which a table written by others, or by an older run, may hold.
    """
    if mjd_obs is None or not is_mjd(mjd_obs):
        return None
    return _MJD_EPOCH + timedelta(days=math.floor(mjd_obs - camera.night_rollover_utc_h / 24))


def mjd_of_night(night: date, camera: Camera) -> float:
    """The middle of a night, 12 hours after the rollover, MJD in days; `night_of` gives the night back."""
    return (night - _MJD_EPOCH).days + camera.night_rollover_utc_h / 24 + 0.5
