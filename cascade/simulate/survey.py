"""Where simulated exposures look: pointings of a survey like DES, or those of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cascade.core.errors import ConfigError, InputError
from cascade.core.exposure import HeaderFields, Source
from cascade.inputs.pointings import read_pointings
from cascade.sky.brightness import SKY_MAG
from cascade.sky.pointing import Pointing

# Declinations of DES's footprint by right ascension, degrees, drawn along its published map; and its equatorial strip.
_RA = (-60.0, -5.0, 0.0, 15.0, 20.0, 45.0, 50.0, 65.0, 90.0, 98.0)
_SOUTH = (-65.0, -65.0, -63.0, -62.0, -61.0, -54.0, -51.0, -48.0, -45.0, -44.0)
_NORTH = (-40.0, -40.0, -30.0, -20.0, 5.0, 5.0, -12.0, -18.0, -24.0, -30.0)
_STRIP = (-45.0, 20.0, -2.5, 2.5)

_SEASONS = ((56535, 56700), (56877, 57070), (57230, 57432), (57613, 57804), (57980, 58166), (58368, 58490))
"""First and last nights of the six years, MJD."""

_NIGHT = (0.0, 0.37)  # fractions of the day, UTC, from dusk to dawn in Chile
_HOUR_ANGLES_DEG = (-60.0, 70.0)
_LONGITUDE_DEG = -70.806
_BANDS = (("g", "r", "i", "z", "Y"), (0.22, 0.22, 0.22, 0.22, 0.12))
_EXPTIME_S = {"Y": 45.0}
_USUAL_EXPTIME_S = 90.0
_EXPOSURES_A_NIGHT = 60
_LEAST_NIGHTS = 4


@dataclass(frozen=True, slots=True)
class Observation:
    """
    Where and when an exposure is taken.

    Attributes
    ----------
    pointing
        Direction, band and date.
    exptime
        Seconds; None: unknown.
    """

    pointing: Pointing
    exptime: float | None

    @property
    def header(self) -> HeaderFields:
        """As the header of an exposure says it."""
        at = self.pointing
        return HeaderFields(at.band, at.mjd_obs, at.ra, at.dec, self.exptime)


class Survey(Protocol):
    """Interface of what exposures are drawn from."""

    def draw(self, rng: np.random.Generator) -> Observation:
        """Draw one."""
        ...

    @property
    def description(self) -> dict[str, Any]:
        """Provenance, for JSON."""
        ...


class WideSurvey:
    """
    A survey like DES: its footprint, bands and nights, each field well above the horizon.

    Parameters
    ----------
    n_exposures : int
        They are taken in one night per sixty, and four at least.
    seed : int
        Chooses the nights.
    """

    def __init__(self, n_exposures: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 0, 0])
        all_nights = np.concatenate([np.arange(first, last + 1) for first, last in _SEASONS])
        n_nights = min(max(_LEAST_NIGHTS, -(-n_exposures // _EXPOSURES_A_NIGHT)), len(all_nights))
        self._nights = np.sort(rng.choice(all_nights, n_nights, replace=False))

    @property
    def description(self) -> dict[str, Any]:
        """Provenance, for JSON."""
        return {"survey": "like DES", "nights": len(self._nights)}

    def draw(self, rng: np.random.Generator) -> Observation:
        """Draw an exposure of one of the nights."""
        while True:
            mjd = float(rng.choice(self._nights) + rng.uniform(*_NIGHT))
            ra = float(rng.uniform(_RA[0], _RA[-1]))
            dec = float(np.rad2deg(np.arcsin(rng.uniform(-1, np.sin(np.deg2rad(max(_NORTH)))))))
            if _HOUR_ANGLES_DEG[0] < _hour_angle_deg(ra, mjd) < _HOUR_ANGLES_DEG[1] and _in_footprint(ra, dec):
                break
        band = str(rng.choice(_BANDS[0], p=_BANDS[1]))
        return Observation(Pointing(ra % 360, dec, band, mjd), _EXPTIME_S.get(band, _USUAL_EXPTIME_S))


def _hour_angle_deg(ra: float, mjd: float) -> float:
    """Hour angle at Cerro Tololo in [-180, 180)."""
    sidereal = 280.4606 + 360.985647 * (mjd - 51544.5) + _LONGITUDE_DEG
    return float((sidereal - ra + 180) % 360 - 180)


def _in_footprint(ra: float, dec: float) -> bool:
    """Whether a position lies in the footprint; the right ascension in [-180, 180)."""
    west, east, south, north = _STRIP
    in_strip = west < ra < east and south < dec < north
    return in_strip or bool(np.interp(ra, _RA, _SOUTH) < dec < np.interp(ra, _RA, _NORTH))


@dataclass(frozen=True, eq=False)
class TableSurvey:
    """
    N given exposures; read them with `TableSurvey.read`.

    Attributes
    ----------
    name
        Of the table.
    bands
        (N,) text.
    numbers
        (N, 5) ra, dec, mjd_obs, rotation, exptime in degrees, days and seconds; NaN where unknown.
    """

    name: str
    bands: npt.NDArray[np.str_]
    numbers: npt.NDArray[np.float64]

    @classmethod
    def of(cls, name: str, observations: Sequence[Observation]) -> TableSurvey:
        """A survey of some exposures."""
        rows = [
            (one.pointing.ra, one.pointing.dec, one.pointing.mjd_obs, one.pointing.rotation_deg, one.exptime)
            for one in observations
        ]
        return cls(name, np.array([one.pointing.band for one in observations]), np.array(rows, np.float64))

    @classmethod
    def read(cls, path: str | Path) -> TableSurvey:
        """
        Read a table of pointings; see `read_pointings`.

        Raises
        ------
        InputError
            If it cannot be read, or a row has no usable pointing or a band that is not DECam's.
        """
        given = read_pointings(path)
        return cls.of(Path(path).name, list(map(_observation, given.sources, given.rotations_deg)))

    @property
    def description(self) -> dict[str, Any]:
        """Provenance, for JSON."""
        return {"survey": self.name, "pointings": len(self.bands)}

    def draw(self, rng: np.random.Generator) -> Observation:
        """Draw one; all are as likely."""
        row = int(rng.integers(len(self.bands)))
        ra, dec, mjd, rotation, exptime = (float(number) for number in self.numbers[row])
        pointing = Pointing(ra, dec, str(self.bands[row]), None if np.isnan(mjd) else mjd, rotation)
        return Observation(pointing, None if np.isnan(exptime) else exptime)


def _observation(source: Source, rotation_deg: float) -> Observation:
    """A row of a table of pointings."""
    header = source.header
    if header.ra is None or header.dec is None or header.band not in SKY_MAG:
        got = f"ra {header.ra}, dec {header.dec}, band {header.band}"
        msg = f"{source.path}: expected ra, dec and a band of {', '.join(SKY_MAG)}, got {got}"
        raise InputError(msg)
    try:
        pointing = Pointing(header.ra, header.dec, header.band, header.mjd_obs, rotation_deg)
    except ConfigError as error:
        msg = f"{source.path}: {error}"
        raise InputError(msg) from error
    return Observation(pointing, header.exptime)
