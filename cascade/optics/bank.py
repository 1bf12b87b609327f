"""The optics bank: ghosts of DECam as polynomials between pupil and focal plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.core.data_files import read_npz
from cascade.core.errors import ConfigError

Floats = npt.NDArray[np.float64]

BANK_FILE = "optics_bank.npz"

SURFACES = (
    "C1_entrance", "C1_exit", "C2_entrance", "C2_exit", "C3_entrance", "C3_exit", "Filter_entrance", "Filter_exit",
    "C4_entrance", "C4_exit", "C5_entrance", "C5_exit", "D",
)  # fmt: skip
"""Reflecting surfaces along the light path; D is the detector."""


def pair_surfaces(pair: str) -> tuple[str, str]:
    """
    Surfaces of the first and of the second reflection of a pair.

    Raises
    ------
    ConfigError
        If it is not two surfaces, the one further along the light path first, such as ``"D>C5_exit"``.
    """
    first, _, second = pair.partition(">")
    if first in SURFACES and second in SURFACES and SURFACES.index(first) > SURFACES.index(second):
        return first, second
    msg = f"surface pair: expected two of {', '.join(SURFACES)}, the later first, as in 'D>C5_exit', got {pair!r}"
    raise ConfigError(msg)


@dataclass(frozen=True, slots=True)
class GhostMap:
    """
    Mapping of the pupil by one surface pair, in the frame with the star towards +x.

    Attributes
    ----------
    forward, inverse
        Coefficients, `EVEN` then `ODD`: focal plane in mm by pupil in units of 2 m; pupil in m by position in the box.
    box
        Centre x and half-widths (x, y) of the ghost's bounding box, mm.
    stops_pupil, stops_plane
        Squared ray height at the limiting lens edges in units of their clear radius, by pupil and by position in the
        box, `EVEN` terms; rows of zeros mean no edge.
    invertible
        Whether `inverse` and `stops_plane` may be used.
    share
        Unvignetted fraction of the pupil.
    density
        Typical pupil area, m2, imaged onto a mm2.
    """

    forward: Floats
    inverse: Floats
    box: Floats
    stops_pupil: Floats
    stops_plane: Floats
    invertible: bool
    share: float
    density: float


@dataclass(frozen=True, eq=False)
class OpticsBank:
    """
    The shipped bank; read it with `OpticsBank.load`.

    Attributes
    ----------
    description
        Provenance and grid: batoid's version, sha256 of the telescope file and of the arrays, angles, wavelengths.
    arrays
        By name; rows are (pair, filter offset), then wavelength and field angle.
    """

    description: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    _density: dict[str, npt.NDArray[Any]] = field(default_factory=dict)  # by pair and angle, filled lazily

    @classmethod
    def load(cls, path: Path | None = None) -> OpticsBank:
        """
        Read the bank and check its hash.

        Parameters
        ----------
        path : Path or None
            None: the shipped one.

        Raises
        ------
        InputError
            If the file is missing or damaged.
        """
        return _load(path)

    @property
    def pairs(self) -> tuple[str, ...]:
        """Names of the surface pairs, ``first>second`` reflection, brightest first."""
        return tuple(self.description["pairs"])

    def mix_of_band(self, band: str) -> float:
        """
        Interpolation weight of the longer traced wavelength for a filter; linear in the refractive index.

        Raises
        ------
        ConfigError
            If the filter is unknown.
        """
        indices = self.description["band_indices"]
        if band not in indices:
            msg = f"band: expected one of {', '.join(indices)}, got {band!r}"
            raise ConfigError(msg)
        blue, red = self.description["refractive_indices"]
        return float((indices[band] - blue) / (red - blue))

    def star_radius_mm(self, angle_deg: float, mix: float) -> float:
        """Distance of a star's direct image from the axis, mm."""
        blue, red = (np.interp(angle_deg, self.description["angles_deg"], row) for row in self.arrays["star_radius_mm"])
        return float(blue + mix * (red - blue))

    def density(self, pair: str, angle_deg: float) -> float:
        """
        Highest `GhostMap.density` of a pair around a field angle, over all filter positions; 0 if it is dark.

        Raises
        ------
        ConfigError
            If there is no such pair.
        """
        if pair not in self._density:
            self._density[pair] = self.arrays["facts"][self.rows(pair)][..., 1].max(axis=(0, 1))
        angle, _ = _between(np.asarray(self.description["angles_deg"]), angle_deg)
        return float(self._density[pair][angle].max())

    def rows(self, pair: str) -> npt.NDArray[np.intp]:
        """
        Rows of the arrays that belong to a pair, by rising filter offset.

        Raises
        ------
        ConfigError
            If there is no such pair.
        """
        if pair not in self.pairs:
            msg = f"surface pair: expected one of {', '.join(self.pairs)}, got {pair!r}"
            raise ConfigError(msg)
        return np.flatnonzero(self.arrays["row_pair"] == self.pairs.index(pair))

    def ghost_map(self, pair: str, angle_deg: float, mix: float, offset_mm: float) -> GhostMap | None:
        """
        Interpolate between the traced states.

        Parameters
        ----------
        pair : str
        angle_deg : float
            Field angle; at most the last traced one.
        mix : float
            See `mix_of_band`.
        offset_mm : float
            Filter position relative to batoid's model, towards the detector; clipped to the traced range.

        Returns
        -------
        GhostMap or None
            None if the pair is fully vignetted.
        """
        rows = self.rows(pair)
        row, at_row = _between(self.arrays["row_offset_mm"][rows], offset_mm)
        angle, at_angle = _between(np.asarray(self.description["angles_deg"]), angle_deg)
        state = np.ix_(rows[row], np.arange(2), np.array(angle))
        weight = np.multiply.outer(np.multiply.outer(at_row, (1 - mix, mix)), at_angle)
        transmission = self.arrays["facts"][state]
        lit = transmission[..., 0] > 0
        share = float((weight * transmission[..., 0]).sum())
        if share <= 0:
            return None
        weight = np.where(lit, weight, 0.0)
        weight /= weight.sum()

        def mixed(name: str) -> Floats:
            return np.tensordot(weight, self.arrays[name][state], 3)

        return GhostMap(
            forward=mixed("forward"),
            inverse=mixed("inverse"),
            box=mixed("box"),
            stops_pupil=mixed("stops_pupil"),
            stops_plane=mixed("stops_plane"),
            invertible=bool((transmission[..., 2] > 0)[lit].all()),
            share=share,
            density=float(mixed("facts")[1]),
        )


def _between(nodes: npt.NDArray[Any], value: float) -> tuple[list[int], list[float]]:
    """Indices and linear weights of the nodes around a value; values outside are clipped."""
    if len(nodes) == 1:
        return [0], [1.0]
    value = float(np.clip(value, nodes[0], nodes[-1]))
    first = int(np.clip(np.searchsorted(nodes, value) - 1, 0, len(nodes) - 2))
    weight = float((value - nodes[first]) / (nodes[first + 1] - nodes[first]))
    return ([first, first + 1], [1 - weight, weight]) if 0 < weight < 1 else ([first + round(weight)], [1.0])


@cache
def _load(path: Path | None) -> OpticsBank:
    """Read a bank once."""
    return OpticsBank(*read_npz(__package__, BANK_FILE, path, build="python -m cascade.optics.build_bank"))
