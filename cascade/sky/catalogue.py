"""Bright stars of the Hipparcos catalogue: positions at any epoch and magnitudes in DECam's bands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.core.data_files import read_npz
from cascade.core.errors import ConfigError

Floats = npt.NDArray[np.float64]

CATALOGUE_FILE = "bright_stars.npz"

_MJD_OF_1991_25 = 48349.0625
_DAYS_A_YEAR = 365.25
_RADIANS_A_MAS = np.deg2rad(1 / 3.6e6)

# V - Hp by B-V (Bessell 2000, PASP 112, 961, table 2, his B_T - V_T times 0.85), constant beyond its ends.
_BV = (-0.2125, 0.0, 0.2125, 0.425, 0.6375, 0.85, 1.0625)
_V_MINUS_HP = (0.066, -0.011, -0.069, -0.108, -0.134, -0.155, -0.162)
_RC_IC_PER_VI = 0.5  # Rc - Ic of normal stars over V - Ic


@dataclass(frozen=True, eq=False)
class BrightStars:
    """
    Stars of the Hipparcos catalogue; read it with `BrightStars.load`.

    Attributes
    ----------
    description
        Provenance.
    hip
        (N,) Hipparcos numbers.
    hp, bv, vi
        (N,) Hp magnitudes and colours B-V and V-I.
    """

    description: dict[str, Any]
    hip: npt.NDArray[np.int32]
    hp: Floats
    bv: Floats
    vi: Floats
    _position: Floats  # (N, 3) unit vectors at the catalogue's epoch
    _motion: Floats  # (N, 3) radians a year

    @classmethod
    def load(cls, path: Path | None = None) -> BrightStars:
        """
        Read the catalogue of the package, or another.

        Raises
        ------
        InputError
            If the file is missing or damaged.
        """
        return _load(path)

    def __len__(self) -> int:
        return len(self.hip)

    def near(self, ra: float, dec: float, radius_deg: float, faintest: float) -> npt.NDArray[np.intp]:
        """Cone search at the catalogue's epoch: indices of the stars of magnitude Hp `faintest` or brighter."""
        centre = unit_vectors(np.array([ra]), np.array([dec]))[0]
        return np.flatnonzero((self._position @ centre > np.cos(np.deg2rad(radius_deg))) & (self.hp <= faintest))

    def positions(self, stars: npt.NDArray[np.intp], mjd: float | None) -> Floats:
        """
        Positions of stars, corrected for proper motion.

        Parameters
        ----------
        stars : ndarray of int, shape (n,)
            Indices.
        mjd : float or None
            Modified Julian date in days; None: the catalogue's epoch, 1991.25.

        Returns
        -------
        ndarray of float64, shape (n, 3)
            ICRS unit vectors.
        """
        years = 0.0 if mjd is None else (mjd - _MJD_OF_1991_25) / _DAYS_A_YEAR
        moved = self._position[stars] + years * self._motion[stars]
        return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float64)

    def places(self, stars: npt.NDArray[np.intp], mjd: float | None) -> tuple[Floats, Floats]:
        """Right ascensions in [0, 360) and declinations of stars, degrees, ICRS; see `positions`."""
        x, y, z = self.positions(stars, mjd).T
        return np.rad2deg(np.arctan2(y, x)) % 360, np.rad2deg(np.arcsin(np.clip(z, -1, 1)))

    def magnitudes(self, stars: npt.NDArray[np.intp], band: str) -> Floats:
        """
        AB magnitudes in a band of DECam, from Hp and two colours.

        Accurate to 0.1 mag in g, r, i, 0.3 in z and Y, 0.5 in u: far better than the reflectivities.

        Parameters
        ----------
        stars : ndarray of int, shape (n,)
        band : str
            u, g, r, i, z, Y or VR.

        Raises
        ------
        ConfigError
            If the band is unknown.

        References
        ----------
        Bessell 2000, PASP 112, 961, for V; Jester et al. 2005, AJ 130, 873, table 1 (all stars with Rc-Ic < 1.15), for
        g, r, i, z; u from the mean stellar locus and Y as z are rough.
        """
        if band not in _COLOURS:
            msg = f"band: expected one of {', '.join(_COLOURS)}, got {band!r}"
            raise ConfigError(msg)
        bv, ri = self.bv[stars], _RC_IC_PER_VI * self.vi[stars]
        v = self.hp[stars] + np.interp(bv, _BV, _V_MINUS_HP)
        constant, per_bv, per_ri = _COLOURS[band]
        return np.asarray(v + constant + per_bv * bv + per_ri * ri, np.float64)


# Band - V = constant + a (B-V) + b (Rc-Ic).
_COLOURS = {
    "u": (0.88, 1.90, 0.0),
    "g": (-0.12, 0.60, 0.0),
    "r": (0.11, -0.42, 0.0),
    "i": (0.31, -0.42, -0.91),
    "z": (0.52, -0.42, -1.72),
    "Y": (0.52, -0.42, -1.72),
    "VR": (0.05, -0.21, 0.0),
}


def unit_vectors(ra: Floats, dec: Floats) -> Floats:
    """(N, 3) unit vectors of positions in degrees."""
    ra, dec = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


@cache
def _load(path: Path | None) -> BrightStars:
    """Read a catalogue once."""
    description, arrays = read_npz(__package__, CATALOGUE_FILE, path, build="python -m cascade.sky.build_catalogue")
    ra, dec = arrays["ra"].astype(np.float64), arrays["dec"].astype(np.float64)
    east = np.stack([-np.sin(np.deg2rad(ra)), np.cos(np.deg2rad(ra)), np.zeros_like(ra)], axis=-1)
    position = unit_vectors(ra, dec)
    north = np.cross(position, east)
    motion = (arrays["pmra_masyr"][:, None] * east + arrays["pmdec_masyr"][:, None] * north) * _RADIANS_A_MAS
    hp, bv, vi = (arrays[f"{name}_millimag"] / 1000.0 for name in ("hp", "bv", "vi"))
    return BrightStars(description, arrays["hip"], hp, bv, vi, position, motion)
