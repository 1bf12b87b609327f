"""Render one ghost on a preview, by inverse mapping of pixels to the pupil or by splatting samples of the pupil."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera
from cascade.core.exposure import Float32Array
from cascade.optics.bank import GhostMap
from cascade.optics.polynomial import DEGREE, EVEN, ODD, chebyshev, coefficient_matrix, lagrange, powers_matrix
from cascade.optics.pupil import PUPIL_RADIUS_M, VaneWidths, open_area_m2, transmission

Floats = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]

_N_NODES = DEGREE + 1  # Chebyshev nodes per side: exact for polynomials of that degree
_N_JACOBIAN = 2 * (DEGREE - 1) + 1
_CLEAR = 0.9  # squared ray height at an edge, in clear radii, below which nothing is vignetted
_SPLAT_SAMPLES = 256  # per side of the pupil
_SPLAT_PER_PX = 6.0  # minimum samples per pixel; larger ghosts are rendered on coarser pixels and upsampled


@dataclass(frozen=True, slots=True)
class Patch:
    """
    The part of a preview that a ghost covers.

    Attributes
    ----------
    y0, x0
        First row and column.
    values
        (h, w) float32 flux per pixel as a fraction of the star's.
    """

    y0: int
    x0: int
    values: Float32Array

    @property
    def where(self) -> tuple[slice, slice]:
        """Rows and columns in the preview."""
        height, width = self.values.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


@dataclass(frozen=True, slots=True)
class StarGeometry:
    """
    Geometry of a star on a preview, shared by all surface pairs.

    Attributes
    ----------
    angle, azimuth
        Field angle and azimuth of the star, radians.
    shape
        (H, W) of the preview.
    vane_width_m
        See `cascade.optics.pupil.transmission`; None: no obscuration, the rim alone.
    camera
        On a grid of that shape.
    """

    angle: float
    azimuth: float
    shape: tuple[int, int]
    vane_width_m: VaneWidths | None
    camera: Camera

    @classmethod
    def of(
        cls, field_angle_deg: float, azimuth_deg: float, shape: tuple[int, int], vane_width_m: VaneWidths | None
    ) -> Self:
        """Build from degrees, for DECam."""
        angle, azimuth = np.deg2rad([field_angle_deg, azimuth_deg])
        return cls(float(angle), float(azimuth), shape, vane_width_m, Camera.decam(shape))

    def to_pixel(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """(row, column) of a position in the star's frame, mm."""
        cos, sin = np.cos(self.azimuth), np.sin(self.azimuth)
        return self.camera.to_pixel(cos * x - sin * y, sin * x + cos * y)

    def to_plane(self, rows: Floats, columns: Floats) -> tuple[Floats, Floats]:
        """Position in the star's frame, mm, of pixels."""
        x, y = self.camera.to_mm(rows, columns)
        cos, sin = np.cos(self.azimuth), np.sin(self.azimuth)
        return cos * x + sin * y, cos * y - sin * x

    def rim(self, map_: GhostMap) -> tuple[Floats, Floats]:
        """(rows, columns) of the image of the pupil's rim."""
        turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        half = PUPIL_RADIUS_M / 2
        x, y = _apply(map_.forward, half * np.cos(turn), half * np.sin(turn))
        return self.to_pixel(x, y)

    def transmission(self, x: Float32Array, y: Float32Array, width: Float32Array | np.float32) -> Float32Array:
        """Transmission of the pupil."""
        widths, shadows = self.vane_width_m or (0.0, 0.0, 0.0, 0.0), self.vane_width_m is not None
        return transmission(x, y, width, angle=self.angle, azimuth=self.azimuth, vane_width_m=widths, shadows=shadows)


def _apply(coefficients: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Evaluate both coordinates of a map at N points."""
    n_even = len(EVEN)
    return powers_matrix(x, y, EVEN) @ coefficients[:n_even], powers_matrix(x, y, ODD) @ coefficients[n_even:]


def draw_ghost(map_: GhostMap, geometry: StarGeometry, throughput: float) -> Patch | None:
    """
    Render the ghost of one surface pair.

    Parameters
    ----------
    map_ : GhostMap
    geometry : StarGeometry
    throughput : float
        Flux of the pair relative to the star's direct image.

    Returns
    -------
    Patch or None
        None if no light falls on the preview.
    """
    rows, columns = geometry.rim(map_)
    y0, x0 = (max(int(np.floor(edge.min())) - 1, 0) for edge in (rows, columns))
    y1, x1 = (min(int(np.ceil(e.max())) + 1, n) for e, n in zip((rows, columns), geometry.shape, strict=True))
    if map_.invertible and (y1 <= y0 or x1 <= x0):
        return None
    scale = throughput / open_area_m2()
    patch = _warp(map_, geometry, (y0, x0, y1, x1), scale) if map_.invertible else _splat(map_, geometry, scale)
    return patch if patch is not None and patch.values.any() else None


@lru_cache(maxsize=4096)
def _onto_pixels(n_pixels: int, n_nodes: int) -> Float32Array:
    """Interpolation matrix from Chebyshev nodes across a box to its pixel centres."""
    centres = (2 * np.arange(n_pixels) + 1) / n_pixels - 1
    return lagrange(chebyshev(n_nodes), centres).astype(np.float32)


@lru_cache(maxsize=1)
def _node_matrices() -> tuple[Floats, Floats]:
    """Matrices from the nodes of the map to those of its Jacobian: values, and derivatives across the box."""
    nodes, at, step = chebyshev(_N_NODES), chebyshev(_N_JACOBIAN), 1e-4
    slope = (lagrange(nodes, at + step) - lagrange(nodes, at - step)) / (2 * step)
    return lagrange(nodes, at), slope


def _warp(map_: GhostMap, geometry: StarGeometry, box: Box, scale: float) -> Patch:
    """Map every pixel to the pupil: sharp at any size, but needs an invertible map."""
    y0, x0, y1, x1 = box
    height, width = y1 - y0, x1 - x0
    nodes = (chebyshev(_N_NODES) + 1) / 2
    rows, columns = np.meshgrid(y0 + nodes * height, x0 + nodes * width, indexing="ij")
    x, y = geometry.to_plane(rows.ravel(), columns.ravel())
    position = (x - map_.box[0]) / map_.box[1], y / map_.box[2]
    at_nodes = [values.reshape(_N_NODES, _N_NODES) for values in _apply(map_.inverse, *position)]
    value, slope = _node_matrices()
    down = [slope @ p @ value.T * (2 / height) for p in at_nodes]
    across = [value @ p @ slope.T * (2 / width) for p in at_nodes]
    jacobian = down[0] * across[1] - down[1] * across[0]
    jacobian *= np.sign(np.median(jacobian))

    def on_pixels(values: Floats, n_nodes: int) -> Float32Array:
        image = _onto_pixels(height, n_nodes) @ values.astype(np.float32) @ _onto_pixels(width, n_nodes).T
        return np.asarray(image, np.float32)

    area = np.maximum(on_pixels(jacobian, _N_JACOBIAN), np.float32(1e-9))  # m2 of pupil on a pixel
    image = geometry.transmission(on_pixels(at_nodes[0], _N_NODES), on_pixels(at_nodes[1], _N_NODES), np.sqrt(area))
    image *= area * np.float32(scale)
    for stop in map_.stops_plane:
        height2 = (powers_matrix(*position, EVEN) @ stop).reshape(_N_NODES, _N_NODES)
        if height2.max() < _CLEAR:
            continue
        steep = np.hypot(slope @ height2 @ value.T * (2 / height), value @ height2 @ slope.T * (2 / width))
        edge = (1 - on_pixels(height2, _N_NODES)) / np.float32(max(np.median(steep), 1e-6)) + np.float32(0.5)
        image *= np.clip(edge, 0, 1, out=edge)
    return Patch(y0, x0, image)


@lru_cache(maxsize=1)
def _samples() -> tuple[Floats, npt.NDArray[np.intp], Float32Array, Float32Array, np.float32]:
    """Powers along a side of the pupil, and indices, positions and spacing of the samples within its rim, m."""
    step = 2 * PUPIL_RADIUS_M / (_SPLAT_SAMPLES - 2)
    side = (np.arange(_SPLAT_SAMPLES) - (_SPLAT_SAMPLES - 1) / 2) * step
    x, y = np.meshgrid(side, side)
    inside = np.flatnonzero(np.hypot(x, y) < PUPIL_RADIUS_M + step)
    powers = (side / 2)[:, None] ** np.arange(DEGREE + 1)
    return powers, inside, *(a.ravel()[inside].astype(np.float32) for a in (x, y)), np.float32(step)


def _splat(map_: GhostMap, geometry: StarGeometry, scale: float) -> Patch | None:
    """Map samples of the pupil forward: for folded or squeezed ghosts, whose map is not invertible."""
    powers, inside, px, py, step = _samples()

    def at_samples(coefficients: Floats, terms: tuple[tuple[int, int], ...]) -> Floats:
        return np.asarray((powers @ coefficient_matrix(coefficients, terms).T @ powers.T).ravel()[inside], np.float64)

    weights = geometry.transmission(px, py, step) * np.float32(scale * step * step)
    for stop in map_.stops_pupil:
        if stop.any():
            weights *= at_samples(stop, EVEN) < 1
    rows, columns = geometry.to_pixel(
        at_samples(map_.forward[: len(EVEN)], EVEN), at_samples(map_.forward[len(EVEN) :], ODD)
    )
    height, width = geometry.shape
    lit = (weights > 0) & (rows > -0.5) & (columns > -0.5) & (rows < height + 0.5) & (columns < width + 0.5)
    if not lit.any():
        return None
    rows, columns, weights = rows[lit], columns[lit], weights[lit]
    y0, x0 = max(int(rows.min()) - 1, 0), max(int(columns.min()) - 1, 0)
    y1, x1 = min(int(rows.max()) + 2, height), min(int(columns.max()) + 2, width)
    zoom = max(1, round(np.sqrt(_SPLAT_PER_PX * (y1 - y0) * (x1 - x0) / rows.size)))
    patch = _deposit((rows - y0) / zoom, (columns - x0) / zoom, weights, (-(-(y1 - y0) // zoom), -(-(x1 - x0) // zoom)))
    if zoom > 1:
        patch = patch.repeat(zoom, axis=0).repeat(zoom, axis=1) / np.float32(zoom * zoom)
    return Patch(y0, x0, np.ascontiguousarray(patch[: y1 - y0, : x1 - x0]))


def _deposit(rows: Floats, columns: Floats, weights: Float32Array, shape: tuple[int, int]) -> Float32Array:
    """Distribute samples bilinearly over four pixels; they lie at most half a pixel outside, where light is lost."""
    height, width = shape[0] + 2, shape[1] + 2  # with a border of one pixel for it
    rows, columns = rows + 0.5, columns + 0.5
    row, column = np.floor(rows).astype(np.intp), np.floor(columns).astype(np.intp)
    down, across = rows - row, columns - column
    index = row * width + column
    total = np.zeros(height * width)
    for shift, share in (
        (0, (1 - down) * (1 - across)), (1, (1 - down) * across), (width, down * (1 - across)),
        (width + 1, down * across),
    ):  # fmt: skip
        total += np.bincount(index + shift, weights * share, total.size)
    return total.reshape(height, width)[1:-1, 1:-1].astype(np.float32)
