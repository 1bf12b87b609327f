"""Outlines of many stars' ghosts at once: the image of the pupil's rim, by one surface pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray
from cascade.optics.bank import OpticsBank
from cascade.optics.ghost_optics import DETECTOR_RADIUS_MM
from cascade.optics.polynomial import EVEN, ODD, powers_matrix
from cascade.optics.pupil import PUPIL_RADIUS_M

Floats = npt.NDArray[np.float64]
Nodes = list[tuple[npt.NDArray[np.intp], Floats]]

N_CORNERS = 64


@dataclass(frozen=True, eq=False)
class Rims:
    """
    Rims of the ghosts of N stars by one surface pair.

    Attributes
    ----------
    rows, columns
        (N, `N_CORNERS`) corners of the outlines in continuous pixels, without vignetting.
    lit
        (N,) whether any light comes through; the other attributes mean nothing where it does not.
    share
        (N,) unvignetted fraction of the pupil.
    density
        (N,) typical pupil area, m2, imaged onto a mm2 of the focal plane.
    """

    rows: Floats
    columns: Floats
    lit: BoolArray
    share: Floats
    density: Floats


def rims(
    bank: OpticsBank,
    pair: str,
    angles_deg: Floats,
    azimuths_deg: Floats,
    *,
    band: str,
    offset_mm: float,
    shape: tuple[int, int] = PREVIEW_SHAPE,
) -> Rims:
    """
    Outline the ghosts of N stars, interpolating between the traced states as `OpticsBank.ghost_map` does.

    Parameters
    ----------
    bank : OpticsBank
    pair : str
        Surfaces, such as ``"D>C5_exit"``.
    angles_deg, azimuths_deg : ndarray of float64, shape (N,)
        Field angles and azimuths of the stars, see `Star`; beyond the last traced angle all is dark.
    band : str
        u, g, r, i, z, Y or VR.
    offset_mm : float
        Filter position relative to batoid's model, towards the detector; clipped to the traced range.
    shape : tuple of int
        (H, W) of the preview.

    Raises
    ------
    ConfigError
        If the pair or the band is unknown.
    """
    mix = bank.mix_of_band(band)
    rows = bank.rows(pair)
    traced = np.asarray(bank.description["angles_deg"])
    offsets = _between(bank.arrays["row_offset_mm"][rows], np.full(len(angles_deg), offset_mm))
    forward, facts = bank.arrays["forward"], bank.arrays["facts"]
    coefficients = np.zeros((len(angles_deg), forward.shape[-1]))
    share, density, weights = np.zeros((3, len(angles_deg)))
    for row, at_row in offsets:
        for colour, at_colour in ((0, 1 - mix), (1, mix)):
            for angle, at_angle in _between(traced, angles_deg):
                weight = at_row * at_colour * at_angle
                through, dense, _ = facts[rows[row], colour, angle].T
                share += weight * through
                weight = np.where(through > 0, weight, 0.0)
                density += weight * dense
                coefficients += weight[:, None] * forward[rows[row], colour, angle]
                weights += weight
    lit = (share > 0) & (angles_deg <= traced[-1])
    if pair.startswith("D>"):
        blue, red = (np.interp(angles_deg, traced, radius) for radius in bank.arrays["star_radius_mm"])
        lit &= blue + mix * (red - blue) < DETECTOR_RADIUS_MM
    weights = np.where(weights > 0, weights, 1.0)
    even, odd = _rim_powers()
    x, y = ((coefficients / weights[:, None])[:, part] @ powers.T for part, powers in ((_EVEN, even), (_ODD, odd)))
    azimuths = np.deg2rad(azimuths_deg)[:, None]
    cos, sin = np.cos(azimuths), np.sin(azimuths)
    on_preview = Camera.decam(shape).to_pixel(cos * x - sin * y, sin * x + cos * y)
    return Rims(*on_preview, lit, share, density / weights)


_EVEN, _ODD = slice(0, len(EVEN)), slice(len(EVEN), None)


@cache
def _rim_powers() -> tuple[Floats, Floats]:
    """Even and odd powers at corners of the rim, in units of 2 m."""
    turn = np.linspace(0, 2 * np.pi, N_CORNERS, endpoint=False)
    x, y = PUPIL_RADIUS_M / 2 * np.cos(turn), PUPIL_RADIUS_M / 2 * np.sin(turn)
    return powers_matrix(x, y, EVEN), powers_matrix(x, y, ODD)


def _between(nodes: Floats, values: Floats) -> Nodes:
    """The nodes below and above N values with their linear weights; values outside are clipped."""
    if len(nodes) == 1:
        return [(np.zeros(len(values), np.intp), np.ones(len(values)))]
    values = np.clip(values, nodes[0], nodes[-1])
    below = np.clip(np.searchsorted(nodes, values) - 1, 0, len(nodes) - 2)
    weight = (values - nodes[below]) / (nodes[below + 1] - nodes[below])
    return [(below, 1 - weight), (below + 1, weight)]
