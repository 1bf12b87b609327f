"""A small season of simple synthetic exposures: enough to show the cascade at work, not to train it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cascade.camera import Camera
from cascade.exposure import Artifact, UInt8Array

FloatImage = npt.NDArray[np.float64]

# The look of the real previews (measured on the DES common-core images).
_SKY = 53.0  # grey level
_GAP = 23.0
_NOISE = 13.0
_CCD_LEVEL_SCATTER = 0.9
_EDGE_SHARE = {"top": 0.1, "bottom": 0.55, "left": 0.45, "right": 0.45}  # of sky in the outermost pixels of a CCD
_MESH_PX = 4.0  # scale of the background that the survey subtracts, CCD by CCD
_N_STARS = (2500, 6000)
_STAR_SLOPE = 1.0  # N(> flux) ~ flux**-slope
_PEAK = 30 * _NOISE  # of a star's Gaussian core; saturates the preview over two radii
_VANE_ANGLE = np.pi / 4  # the spider's vanes lie on the diagonals
_VANE_SHARE = 0.06  # width of a vane's shadow in radii of the ghost


@dataclass(frozen=True, slots=True)
class SimulatedExposure:
    """
    One synthetic exposure.

    Attributes
    ----------
    expnum
        Made-up exposure number.
    image
        (400, 400) uint8.
    artifacts
        Classes of the artifacts drawn into it; empty if it is clean.
    """

    expnum: int
    image: UInt8Array
    artifacts: tuple[Artifact, ...]


def simulate_season(
    n_exposures: int, camera: Camera, *, ghosted_share: float, seed: int, first_expnum: int = 900001
) -> Iterator[SimulatedExposure]:
    """
    Draw exposures one after the other.

    Parameters
    ----------
    n_exposures : int
    camera : Camera
        Gives the size and the pattern of CCDs.
    ghosted_share : float
        Share of exposures with artifacts, in [0, 1]; rounded to whole exposures, spread evenly.
    seed : int
        The same seed draws the same season.
    first_expnum : int
        Exposure number of the first.

    Yields
    ------
    SimulatedExposure
    """
    n_ghosted = round(n_exposures * ghosted_share)
    kinds = list(Artifact)
    for n in range(n_exposures):
        rng = np.random.default_rng([seed, n])
        so_far = n * n_ghosted // n_exposures
        ghosted = (n + 1) * n_ghosted // n_exposures > so_far
        artifacts = (kinds[so_far % len(kinds)],) if ghosted else ()
        yield SimulatedExposure(first_expnum + n, simulate_exposure(artifacts, camera, rng), artifacts)


def simulate_exposure(artifacts: tuple[Artifact, ...], camera: Camera, rng: np.random.Generator) -> UInt8Array:
    """
    Draw one exposure with artifacts of the given classes.

    Parameters
    ----------
    artifacts : tuple of Artifact
    camera : Camera
        On a 400x400 grid.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of uint8, shape (400, 400)
    """
    light = np.zeros(camera.shape)
    _add_stars(light, rng)
    for artifact in artifacts:
        _PAINTERS[artifact](light, rng)
    light += rng.normal(0, _NOISE, camera.shape)
    levels = np.full(camera.shape, _GAP)
    for ccd in camera.ccds:
        on_ccd = camera.labels == ccd.ccdnum
        rows, columns = (np.flatnonzero(on_ccd.any(axis=axis)) for axis in (1, 0))
        cell = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        sky = _SKY + rng.normal(0, _CCD_LEVEL_SCATTER)
        share = _edge_share((len(rows), len(columns)))
        levels[cell] = _GAP + share * (sky - _GAP + light[cell] - _background(light[cell]))
    levels[camera.dark_pixels(None)] = _GAP
    image: UInt8Array = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return image


def _edge_share(shape: tuple[int, int]) -> FloatImage:
    """Share of each pixel of a CCD that is CCD and not gap; networks notice where the soft edges are missing."""
    share = np.ones(shape)
    share[0] *= _EDGE_SHARE["top"]
    share[-1] *= _EDGE_SHARE["bottom"]
    share[:, 0] *= _EDGE_SHARE["left"]
    share[:, -1] *= _EDGE_SHARE["right"]
    return share


def _background(light: FloatImage) -> FloatImage:
    """What the survey's mesh takes for sky, so that only the edges of large ghosts are left."""
    capped = np.minimum(light, np.median(light) + 3 * _NOISE)
    smooth: FloatImage = ndimage.gaussian_filter(capped, _MESH_PX, mode="nearest")
    return smooth


def _add_stars(light: FloatImage, rng: np.random.Generator) -> None:
    """Stars of falling number with flux; the brightest grow into saturated discs."""
    n_stars = int(rng.integers(*_N_STARS))
    flux = _NOISE * rng.random(n_stars) ** (-1 / _STAR_SLOPE)
    rows, columns = rng.integers(0, light.shape[0], (2, n_stars))
    faint = flux < 12 * _NOISE
    np.add.at(light, (rows[faint], columns[faint]), flux[faint])
    for row, column, peak in zip(rows[~faint], columns[~faint], flux[~faint], strict=True):
        _add_star(light, row, column, min(peak, _PEAK), 0.5 + 0.25 * np.log10(peak / _NOISE / 12) ** 1.5)


def _add_star(light: FloatImage, row: float, column: float, peak: float, radius: float) -> None:
    """One star with a Gaussian profile of the given radius in pixels."""
    reach = int(3 * radius + 2)
    top, left = max(int(row) - reach, 0), max(int(column) - reach, 0)
    stamp = light[top : int(row) + reach + 1, left : int(column) + reach + 1]
    y, x = np.indices(stamp.shape)
    stamp += peak * np.exp(-((y + top - row) ** 2 + (x + left - column) ** 2) / (2 * radius**2))


def _add_ring(light: FloatImage, row: float, column: float, radius: float, brightness: float, squeeze: float) -> None:
    """The image of the pupil: a disc with a central hole and the shadows of the spider's vanes."""
    y, x = np.indices(light.shape, float)
    y, x = y - row, (x - column) / squeeze
    distance = np.hypot(y, x) / radius
    pupil = (distance < 1.0) & (distance > 0.36)  # DECam's prime-focus cage hides the middle of the pupil
    for angle in (_VANE_ANGLE, -_VANE_ANGLE):
        pupil &= np.abs(y * np.cos(angle) - x * np.sin(angle)) > _VANE_SHARE * radius
    light += brightness * ndimage.gaussian_filter(pupil.astype(float), 0.8)


def _paint_bright(light: FloatImage, rng: np.random.Generator) -> None:
    """A saturated star within compact rings of high surface brightness."""
    row, column = rng.uniform(110, 290, 2)
    _add_star(light, row, column, _PEAK, rng.uniform(4, 7))
    for radius, brightness in ((rng.uniform(10, 14), 25.0), (rng.uniform(20, 30), 9.0)):
        shift = rng.normal(0, 3, 2)
        _add_ring(light, row + shift[0], column + shift[1], radius, brightness * _NOISE, rng.uniform(0.8, 1.0))


def _paint_faint(light: FloatImage, rng: np.random.Generator) -> None:
    """Large rings of low surface brightness about one axis, and the star that makes them."""
    row, column = rng.uniform(120, 280, 2)
    _add_star(light, row, column, _PEAK, rng.uniform(5, 8))
    for radius in (rng.uniform(28, 40), rng.uniform(60, 85), rng.uniform(100, 140)):
        along = rng.uniform(-0.4, 1.0)  # from the star through the middle of the field
        centre = np.array([row, column]) + along * (200 - np.array([row, column]))
        _add_ring(light, centre[0], centre[1], radius, rng.uniform(2.5, 4.0) * _NOISE, rng.uniform(0.9, 1.0))


def _paint_rays(light: FloatImage, rng: np.random.Generator) -> None:
    """A fan of striations that enters at the edge of the field, with cross-hatched arcs near its mouth."""
    azimuth = rng.uniform(0, 2 * np.pi)
    y, x = np.indices(light.shape, float)
    mouth = 200 + 190 * np.array([np.sin(azimuth), np.cos(azimuth)])
    apex = 200 + 260 * np.array([np.sin(azimuth), np.cos(azimuth)])
    inward = np.arctan2(200 - apex[0], 200 - apex[1])
    angle = np.angle(np.exp(1j * (np.arctan2(y - apex[0], x - apex[1]) - inward)))
    half_width = rng.uniform(0.18, 0.32)
    striae = np.exp(ndimage.gaussian_filter1d(rng.normal(0, 4, 512), 1.5))
    fan = np.interp(angle / half_width, np.linspace(-1, 1, 512), striae, left=0, right=0)
    depth = np.hypot(y - mouth[0], x - mouth[1])
    arcs = 1 + 0.8 * np.sin(2 * np.pi * depth / rng.uniform(6, 10))
    light += 8 * _NOISE * np.minimum(fan * arcs * np.exp(-depth / rng.uniform(22, 40)), 12)


_PAINTERS = {Artifact.BRIGHT: _paint_bright, Artifact.FAINT: _paint_faint, Artifact.RAYS: _paint_rays}
