"""Ghosts of bright stars in one exposure: which stars, how bright, and what of them a person would see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cascade.core.exposure import BoolArray, Float32Array
from cascade.optics.ghost_image import Patch
from cascade.optics.ghost_optics import GhostOptics, Reflectivity, Star
from cascade.optics.pupil import VANE_WIDTH_MM, VaneWidths
from cascade.simulate.conditions import Conditions
from cascade.simulate.labels import (
    MIN_GHOST_SNR,
    Label,
    cut_off,
    ellipse_region,
    outline_region,
    visibility,
)
from cascade.simulate.mosaic import Mosaic
from cascade.simulate.night_sky import core_radius
from cascade.sky.brightness import ghost_class

_DEGREES = 1.12  # stars beyond it make no ghost that can be seen
_FILTER_SCATTER_MM = 6.0
_REFLECTIVITY_RANGE = 2.2  # each surface; pairs thus differ by up to five times from the assumed
# Relative to the assumed ones, with which compact ghosts would outshine those of real exposures whose large rings are
# as plain (steps along annotated outlines, benchmarks/simulator.md).
_WEAKER = {"C4_entrance": 0.3, "C5_entrance": 0.35, "C5_exit": 0.3}
_VANE_SCATTER = 0.3
_MAGNITUDES = (0.7, 6.6)
_MAGNITUDE_POWER = 0.85  # under 1: more faint stars
_FAINT_MAGNITUDES = (6.5, 9.5)  # of further stars, and of those in clean exposures
_N_MORE_STARS = 0.35  # mean number of further, fainter stars
_CUTOFF_NOISE = 0.22  # ghosts with less light a pixel, in units of the noise, are not drawn
_WHOLE_SHARE = 0.66
_LEAST_LIT = 0.2  # share of an outline on CCDs under which nobody draws it
_MIN_SEEN = 1.15  # a ghosted exposure's highest-S/N ghost has at least this many times the least S/N
_MAX_SEEN = 25.0  # and at most this many; plainer ones than any real one would come of lucky draws of everything
_MAX_UNSEEN = 0.8  # a clean exposure's has at most this

_STRONGER = {"C5_exit>C5_entrance": 4.0}  # the same comparison, of the small ring that two faces of C5 make

_RIPPLED_PX = 90  # compact ghosts show weak rings within
_RIPPLE = 0.3

# D>C4_entrance shows fine stripes across the direction of its star, in real exposures.
_STRIPED = "D>C4_entrance"
_STRIPED_SHARE = 0.85
_STRIPE_PITCH_PX = (2.05, 3.1)
_STRIPE_STRENGTH = (0.08, 0.45)
_STRIPE_LEVEL = 24.0  # grey levels
_STRIPED_WITHIN_DEG = 0.9  # beyond it the ghost is a sliver without stripes


@dataclass(frozen=True, eq=False)
class Ghosts:
    """
    A star's ghosts in one exposure.

    Attributes
    ----------
    star
        Where it is.
    magnitude
        In the band of the exposure.
    place
        (row, column) of its own image in pixels; may lie outside the preview.
    light
        (400, 400) float32 grey levels of all its ghosts.
    snrs
        Surface pair to signal-to-noise ratio, of all that were drawn.
    labels
        Those that a person would draw.
    """

    star: Star
    magnitude: float
    place: tuple[float, float]
    light: Float32Array
    snrs: dict[str, float]
    labels: list[Label]


@dataclass(frozen=True, eq=False)
class Scene:
    """
    What all stars of one exposure share.

    Attributes
    ----------
    optics
        Draws the ghosts.
    mosaic
        Says where CCDs are.
    lit
        (400, 400) bool: pixels on CCDs at work.
    conditions
        Band, depth and stretch.
    noise
        Of the sky in grey levels, unresolved stars included.
    filter_offsets_mm
        Places in which the filter may be.
    """

    optics: GhostOptics
    mosaic: Mosaic
    lit: BoolArray
    conditions: Conditions
    noise: float
    filter_offsets_mm: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Glass:
    """State of the telescope in one exposure."""

    filter_offset_mm: float
    reflectivity: Reflectivity
    vanes: VaneWidths


def draw_ghosts(scene: Scene, seen: bool, rng: np.random.Generator) -> list[Ghosts]:
    """
    Draw the bright stars of an exposure.

    Parameters
    ----------
    scene : Scene
    seen : bool
        Whether any ghost is to be seen; if not, only stars too faint for it are drawn, often none.
    rng : numpy.random.Generator

    Returns
    -------
    list of Ghosts
        The first is the brightest.
    """
    widths = np.exp(rng.normal(0, _VANE_SCATTER)) * np.array(VANE_WIDTH_MM) * np.exp(rng.normal(0, 0.12, 4))
    glass = _Glass(
        float(rng.choice(scene.filter_offsets_mm) + rng.normal(0, _FILTER_SCATTER_MM)),
        _reflectivity(scene.optics, rng),
        (float(widths[0]), float(widths[1]), float(widths[2]), float(widths[3])),
    )
    low, high = _MAGNITUDES
    drawn = []
    for number in range(rng.poisson(_N_MORE_STARS) + int(seen)):
        main = seen and number == 0
        magnitude = low + (high - low) * rng.random() ** _MAGNITUDE_POWER if main else rng.uniform(*_FAINT_MAGNITUDES)
        angle = _DEGREES * float(np.sqrt(rng.random()))
        star = Star(angle, float(rng.uniform(0, 360)), scene.conditions.band, glass.filter_offset_mm)
        limits = (_MIN_SEEN if main else 0.0, _MAX_SEEN if seen else _MAX_UNSEEN)
        drawn.append(_ghosts_of(scene, glass, number, star, float(magnitude), limits, rng))
    return drawn


def _reflectivity(optics: GhostOptics, rng: np.random.Generator) -> Reflectivity:
    """Reflectivities around the assumed ones, surface by surface."""
    assumed = Reflectivity()
    names = sorted({name for pair in optics.pairs for name in pair.split(">")})
    spread = np.exp(rng.uniform(-1, 1, len(names)) * np.log(_REFLECTIVITY_RANGE))
    return Reflectivity(
        surfaces={
            name: min(assumed.of(name) * _WEAKER.get(name, 1.0) * float(factor), 0.6)
            for name, factor in zip(names, spread, strict=True)
        }
    )


def _ghosts_of(
    scene: Scene,
    glass: _Glass,
    number: int,
    star: Star,
    magnitude: float,
    limits: tuple[float, float],
    rng: np.random.Generator,
) -> Ghosts:
    """Draw a star's ghosts, the star brighter or fainter than asked if its highest-S/N ghost is beyond the limits."""
    flux = scene.conditions.grey_of_star(magnitude)
    patches = scene.optics.patches(
        star, reflectivity=glass.reflectivity, vane_width_mm=glass.vanes, cutoff=_CUTOFF_NOISE * scene.noise / flux
    )
    row, column = scene.mosaic.camera.to_pixel(*scene.optics.star_mm(star))
    place = float(row), float(column)
    striped = star.field_angle_deg < _STRIPED_WITHIN_DEG and rng.random() < _STRIPED_SHARE
    patches = {
        pair: _textured(
            _scaled(patch, _STRONGER.get(pair, 1.0)),
            place,
            _STRIPE_LEVEL / flux if striped and pair == _STRIPED else 0.0,
            rng,
        )
        for pair, patch in patches.items()
    }
    seeable = scene.lit & ~_glare(place, flux, scene.lit.shape)
    snrs = _snrs(patches, flux, seeable, scene.noise)
    best = max(snrs.values(), default=0.0) / MIN_GHOST_SNR
    if 0 < best < limits[0] or best > limits[1]:
        spread = rng.uniform(1, 1.6) if best < limits[0] else rng.uniform(0.5, 1)
        flux *= float(np.clip(best, *limits)) * spread / best
        snrs = _snrs(patches, flux, seeable, scene.noise)
    light = np.zeros(scene.lit.shape, np.float32)
    labels = []
    for pair, patch in patches.items():
        light[patch.where] += patch.values * np.float32(flux)
        if snrs[pair] >= MIN_GHOST_SNR and (label := _label(scene, pair, patch, star, flux)) is not None:
            labels.append(replace(label, snr=snrs[pair], star=number))
    dimmed = -2.5 * float(np.log10(flux / scene.conditions.grey_of_star(magnitude)))
    return Ghosts(star, magnitude + dimmed, place, light, snrs, labels)


def _snrs(patches: dict[str, Patch], flux: float, seeable: BoolArray, noise: float) -> dict[str, float]:
    """Signal-to-noise ratio of each ghost of a star."""
    return {
        pair: visibility(patch.values * np.float32(flux), seeable[patch.where], noise)
        for pair, patch in patches.items()
    }


def _glare(place: tuple[float, float], flux: float, shape: tuple[int, ...]) -> BoolArray:
    """Pixels that the star itself saturates."""
    radius = core_radius(flux) + 1
    y2 = (np.arange(shape[0], dtype=np.float32)[:, None] + np.float32(0.5 - place[0])) ** 2
    x2 = (np.arange(shape[1], dtype=np.float32) + np.float32(0.5 - place[1])) ** 2
    glare: BoolArray = np.less(y2 + x2, radius**2)
    return glare


def _scaled(patch: Patch, factor: float) -> Patch:
    """A ghost with more light."""
    return replace(patch, values=patch.values * np.float32(factor))


def _textured(patch: Patch, place: tuple[float, float], stripe_level: float, rng: np.random.Generator) -> Patch:
    """Give a ghost its mottle and, if the level is not 0, stripes of at most that amplitude."""
    height, width = patch.values.shape
    coarse = rng.normal(0, 0.2, (height // 6 + 2, width // 6 + 2)).astype(np.float32)
    rows, columns = np.arange(height) / 6, np.arange(width) / 6
    mottle = _bilinear(coarse, rows, columns)
    values = patch.values * np.maximum(1 + mottle, 0.2)
    if max(height, width) < _RIPPLED_PX:
        y = np.arange(height, dtype=np.float32)[:, None] - np.float32(height / 2)
        x = np.arange(width, dtype=np.float32) - np.float32(width / 2)
        depth = np.hypot(y / max(height, 1), x / max(width, 1)) * np.float32(max(height, width))
        phase = depth * np.float32(2 * np.pi / rng.uniform(3, 9)) + np.float32(rng.uniform(0, 6))
        values = values * (1 + np.float32(rng.uniform(0, _RIPPLE)) * np.sin(phase))
    if stripe_level:
        y = patch.y0 + np.arange(height, dtype=np.float32)[:, None] - np.float32(place[0])
        x = patch.x0 + np.arange(width, dtype=np.float32) - np.float32(place[1])
        toward = np.array([patch.y0 + height / 2 - place[0], patch.x0 + width / 2 - place[1]])
        toward /= np.hypot(*toward) + 1e-6
        along = np.float32(toward[0]) * y + np.float32(toward[1]) * x
        aside = np.float32(toward[0]) * x - np.float32(toward[1]) * y
        distance = along + aside**2 * np.float32(rng.normal(0, 1 / 400))
        phase = distance * np.float32(2 * np.pi / rng.uniform(*_STRIPE_PITCH_PX))
        stripes = np.minimum(np.float32(rng.uniform(*_STRIPE_STRENGTH)) * values, np.float32(stripe_level))
        values = values + stripes * np.sign(np.sin(phase))
    return Patch(patch.y0, patch.x0, values)


def _bilinear(coarse: Float32Array, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> Float32Array:
    """A coarse field on a fine grid."""
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    down, across = (rows - top).astype(np.float32)[:, None], (columns - left).astype(np.float32)
    lines = coarse[top] * (1 - down) + coarse[top + 1] * down
    fine: Float32Array = (lines[:, left] * (1 - across) + lines[:, left + 1] * across).astype(np.float32)
    return fine


def _label(scene: Scene, pair: str, patch: Patch, star: Star, flux: float) -> Label | None:
    """The outline of one ghost, as a person draws it; its S/N is still to be told."""
    outline = scene.optics.outline(pair, star)
    if outline is None:
        return None
    bright = patch.values[patch.values > 0]
    contrast = float(np.median(patch.values[patch.values > 0.2 * patch.values.max()])) * flux / scene.noise
    artifact = ghost_class(contrast, np.pi * outline.major * outline.minor)
    region = ellipse_region(artifact, outline.row, outline.column, outline.major, outline.minor, outline.theta)
    shape = scene.mosaic.camera.shape
    mask = region.mask(shape)
    # Hole and vanes take up to a third; where more is dark, a lens edge may have cut the ghost.
    lit_px = np.count_nonzero(bright > 0.3 * np.median(bright))
    if lit_px < _WHOLE_SHARE * mask.sum() and cut_off(footprint := scene.optics.footprint(pair, star), mask):
        polygon = outline_region(artifact, footprint)
        if polygon is None:
            return None
        mask = polygon.mask(shape)
        if not mask.any():
            return None
        region = replace(polygon, artifact=ghost_class(contrast, float(mask.sum())))
    if not mask.any() or scene.lit[mask].mean() < _LEAST_LIT:
        return None
    return Label(region, mask, 0.0, pair)
