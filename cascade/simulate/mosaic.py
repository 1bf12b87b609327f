"""From light on the focal plane to an 8-bit preview: the survey's sky mesh, CCD by CCD, and the stretch."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.interpolate import CubicSpline
from scipy.ndimage import median_filter

from cascade.camera import Camera
from cascade.core.exposure import BoolArray, Float32Array, UInt8Array
from cascade.simulate.conditions import GAP_LEVEL, Conditions

_WINDOW = (33, 63)  # pixels around a CCD that contain it under any shift
_HALF_PX = (14.32, 28.88)  # of the lit area of a CCD (measured)
_OFFSET_PX = (0.27, 0.0)  # of its centre from the lattice (measured)
_JITTER_PX = (0.06, 0.12)  # of its position from CCD to CCD (measured)
_MEDIAN_OF = 3  # meshes each way
_LOBE = 0.04  # the resampling of the previews overshoots at edges
_EDGE_GLOW = (0.4, 0.1)  # grey levels that the outer three pixels of a CCD lie above its middle (measured)
_GRADIENT_SCATTER = 0.6  # grey levels from the middle of a CCD to its rim, residual of the mesh

_MeshMaps = tuple[Float32Array, Float32Array, Float32Array, Float32Array]
_Bounds = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Blank:
    """
    A part of a CCD that the survey masked, as it does around the brightest stars.

    Attributes
    ----------
    ccdnum
        Of the CCD.
    rows, columns
        First and last position in the CCD, as fractions of its height and width.
    """

    ccdnum: int
    rows: tuple[float, float]
    columns: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Mosaic:
    """
    The CCDs of a camera on its preview, and the survey's processing of each.

    Attributes
    ----------
    camera
        On a 400x400 grid.
    """

    camera: Camera
    _maps: dict[tuple[int, int], _MeshMaps] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def centres(self) -> npt.NDArray[np.float64]:
        """(N, 2) nominal (row, column) centre of each CCD."""
        x_mm, y_mm = np.array([(ccd.x_mm, ccd.y_mm) for ccd in self.camera.ccds]).T
        return np.stack(self.camera.to_pixel(x_mm, y_mm), axis=1) + _OFFSET_PX

    @cached_property
    def _corners(self) -> npt.NDArray[np.intp]:
        """(N, 2) first row and column of the window of each CCD; may lie outside the image."""
        return np.floor(self.centres - np.array(_WINDOW) / 2).astype(np.intp)

    @cached_property
    def _pixels(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """(N, h) rows and (N, w) columns of each window, clipped to the image."""
        rows = self._corners[:, :1] + np.arange(_WINDOW[0])
        columns = self._corners[:, 1:] + np.arange(_WINDOW[1])
        height, width = self.camera.shape
        return np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)

    def _mesh_maps(self, meshes: tuple[int, int]) -> _MeshMaps:
        """Matrices that average pixels into meshes and interpolate meshes to pixels; cached."""
        if meshes not in self._maps:
            averages, splines = [], []
            for axis in (0, 1):
                edges = (self.centres - self._corners)[:, axis, None] - _HALF_PX[axis]
                size = 2 * _HALF_PX[axis] / meshes[axis]
                pixel = np.arange(_WINDOW[axis])
                left = edges[:, :, None] + np.arange(meshes[axis])[:, None] * size
                overlap = np.clip(np.minimum(pixel + 1, left + size) - np.maximum(pixel, left), 0, None)
                averages.append((overlap / overlap.sum(axis=2, keepdims=True)).astype(np.float32))
                at = np.clip((pixel + 0.5 - edges) / size - 0.5, -0.5, meshes[axis] - 0.5)
                spline = CubicSpline(np.arange(meshes[axis]), np.eye(meshes[axis]), bc_type="natural")
                splines.append(spline(at).astype(np.float32))
            self._maps[meshes] = (averages[0], averages[1], splines[0], splines[1])
        return self._maps[meshes]

    @cached_property
    def _edge_glow(self) -> npt.NDArray[np.float32]:
        """(N, h, w) excess grey levels towards the rim of a CCD."""
        glows = []
        for axis in (0, 1):
            depth = _HALF_PX[axis] - np.abs(
                np.arange(_WINDOW[axis]) + 0.5 + self._corners[:, axis, None] - self.centres[:, axis, None]
            )
            glows.append(_EDGE_GLOW[axis] * np.clip((4 - depth) / 2, 0, 1))
        return (glows[0][:, :, None] + glows[1][:, None, :]).astype(np.float32)

    def cells(self, light: Float32Array) -> Float32Array:
        """(N, h, w) windows of the CCDs in an (H, W) image."""
        rows, columns = self._pixels
        return light[rows[:, :, None], columns[:, None, :]]

    def background(self, cells: Float32Array, meshes: tuple[int, int], bias: float) -> Float32Array:
        """
        Emulate the survey's estimate of the sky background.

        Means over the meshes of a CCD, lowered where the light within a mesh is uneven, a 3x3 median over them, and
        bicubic interpolation, as SExtractor does. Of a ghost larger than some meshes this leaves only the edges.

        Parameters
        ----------
        cells : ndarray of float32, shape (N, h, w)
            Windows of the CCDs.
        meshes : tuple of int
            Number of meshes along the rows and the columns of a CCD.
        bias : float
            Standard deviations of the light within a mesh by which its mean is lowered: emulates sigma clipping.

        Returns
        -------
        ndarray of float32, shape (N, h, w)
        """
        along_rows, along_columns, to_rows, to_columns = self._mesh_maps(meshes)
        across = along_columns.transpose(0, 2, 1)
        mesh = along_rows @ cells @ across
        spread = along_rows @ (cells * cells) @ across - mesh * mesh
        mesh -= np.float32(bias) * np.sqrt(np.maximum(spread, 0))
        mesh = median_filter(mesh, size=(1, _MEDIAN_OF, _MEDIAN_OF), mode="nearest")
        smooth: Float32Array = to_rows @ mesh @ to_columns.transpose(0, 2, 1)
        return smooth

    @cached_property
    def _windows(self) -> list[tuple[_Bounds, _Bounds]]:
        """Window of each CCD in the image, and the part of the window inside the image."""
        windows = []
        for corner in self._corners:
            first = np.maximum(corner, 0)
            last = np.minimum(corner + _WINDOW, self.camera.shape)
            image = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
            inside = tuple(slice(int(a), int(b)) for a, b in zip(first - corner, last - corner, strict=True))
            windows.append(((image[0], image[1]), (inside[0], inside[1])))
        return windows

    def preview(
        self,
        extended: Float32Array,
        sharp: Float32Array,
        conditions: Conditions,
        rng: np.random.Generator,
        blanks: tuple[Blank, ...] = (),
    ) -> UInt8Array:
        """
        Apply sky mesh, soft edges, dead areas, stretch and JPEG to the light.

        Parameters
        ----------
        extended : ndarray of float32, shape (400, 400)
            Light that biases the mesh, grey levels above the sky: ghosts, Rays, halos.
        sharp : ndarray of float32, shape (400, 400)
            Light and noise that the mesh clips: ordinary stars, trails.
        conditions : Conditions
        rng : numpy.random.Generator
        blanks : tuple of Blank
            Masked parts of CCDs.

        Returns
        -------
        ndarray of uint8, shape (400, 400)
        """
        cells = self.cells(extended)
        cells = cells - self.background(cells, conditions.meshes, conditions.mesh_bias) + self.cells(sharp)
        n_ccds = len(cells)
        cells += conditions.sky_level - np.float32(GAP_LEVEL)
        cells += rng.normal(0, conditions.ccd_scatter, (n_ccds, 1, 1)).astype(np.float32)
        tilts = rng.normal(0, _GRADIENT_SCATTER, (2, n_ccds, 1)).astype(np.float32)
        cells += (tilts[0] * np.linspace(-1, 1, _WINDOW[0], dtype=np.float32))[:, :, None]
        cells += (tilts[1] * np.linspace(-1, 1, _WINDOW[1], dtype=np.float32))[:, None, :]
        cells += self._edge_glow
        np.clip(cells, -GAP_LEVEL, 255 - GAP_LEVEL, out=cells)
        rows, columns = self._covered(conditions, rng)
        self._blank(rows, cells, conditions, blanks)
        cells *= rows[:, :, None] * columns[:, None, :]
        levels = np.full(self.camera.shape, GAP_LEVEL, np.float32)
        for cell, (window, inside) in zip(cells, self._windows, strict=True):
            levels[window] += cell[inside]
        return _jpeg(levels, conditions.jpeg_quality)

    def _covered(self, conditions: Conditions, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
        """Lit fraction of each row (N, h) and column (N, w) of a window; edges fall within pixels."""
        turn = np.array([[0, conditions.rotation], [-conditions.rotation, 0]])
        middle = np.array(self.camera.shape) / 2
        centres = self.centres - self._corners + conditions.shift_px + (self.centres - middle) @ turn.T
        shares = []
        for axis in (0, 1):
            pixel = np.arange(_WINDOW[axis])
            ends = centres[:, axis, None] + np.array([-_HALF_PX[axis], _HALF_PX[axis]])
            ends[:, 1] += conditions.height_px if axis == 0 else 0.0
            ends += rng.normal(0, _JITTER_PX[axis], ends.shape)
            share = np.clip(np.minimum(pixel + 1, ends[:, 1:]) - np.maximum(pixel, ends[:, :1]), 0, 1)
            lobes = np.diff(share, n=2, axis=1, prepend=0, append=0)
            shares.append((share - _LOBE * lobes).astype(np.float32))
        return shares[0], shares[1]

    def _blank(
        self, rows: Float32Array, cells: Float32Array, conditions: Conditions, blanks: tuple[Blank, ...]
    ) -> None:
        """Blank dead CCDs, dead halves and masked parts, in place."""
        index = {ccd.ccdnum: n for n, ccd in enumerate(self.camera.ccds)}
        dead = [Blank(2, (0, 1), (0, 1))] if conditions.ccd_2_dead else []
        for area in self.camera.dead:
            if area.covers(None):
                ends = {None: (0.0, 1.0), "upper": (0.0, 0.5), "lower": (0.5, 1.0)}[area.half]
                dead.append(Blank(area.ccdnum, ends, (0, 1)))
        for blank in (*dead, *blanks):
            n = index[blank.ccdnum]
            spans = []
            for axis, ends in ((0, blank.rows), (1, blank.columns)):
                edge = self.centres[n, axis] - self._corners[n, axis] - _HALF_PX[axis]
                first, last = (round(float(edge + 2 * _HALF_PX[axis] * end)) for end in ends)
                # A part at the edge of the CCD includes its soft edge.
                spans.append(slice(first if ends[0] > 0 else 0, last if ends[1] < 1 else _WINDOW[axis]))
            cells[n, spans[0], spans[1]] = 0

    def ccd_at(self, row: float, column: float) -> tuple[int, float, float] | None:
        """The CCD at a position, and the position in it as fractions of its height and width; None in the gaps."""
        offset = (np.array([row, column]) - self.centres) / _HALF_PX
        n = int(np.argmin(np.abs(offset).max(axis=1)))
        if np.abs(offset[n]).max() > 1:
            return None
        return self.camera.ccds[n].ccdnum, float(offset[n, 0] + 1) / 2, float(offset[n, 1] + 1) / 2


def _jpeg(levels: Float32Array, quality: int) -> UInt8Array:
    """Quantise to 8 bits and compress as JPEG, as real previews were stored: networks respond to JPEG artifacts."""
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    image: UInt8Array = np.array(Image.open(buffer))
    return image


def lit_pixels(mosaic: Mosaic, conditions: Conditions) -> BoolArray:
    """(H, W) bool: pixels on CCDs that are not dead."""
    camera = mosaic.camera
    lit: BoolArray = (camera.labels > 0) & ~camera.dark_pixels(None)
    if conditions.ccd_2_dead:
        lit &= camera.labels != 2
    return lit
