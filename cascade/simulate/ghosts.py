"""Ghosts of bright stars in one exposure: stars, brightness, and the labels of those that annotators would draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from cascade.core.artifact import Artifact
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

_MAX_FIELD_ANGLE_DEG = 1.12  # stars beyond it make no visible ghost
_FILTER_SCATTER_MM = 6.0
_REFLECTIVITY_RANGE = 2.2  # per surface; the throughput of a pair thus varies by up to a factor of five
# Relative to the assumed ones, with which compact ghosts would be too bright for real exposures with large rings of
# the same S/N (steps along annotated outlines, benchmarks/simulator.md).
_WEAKER = {"C4_entrance": 0.3, "C5_entrance": 0.35, "C5_exit": 0.3}
_VANE_SCATTER = 0.3
_MAGNITUDES = (0.7, 6.6)
_MAGNITUDE_POWER = 0.85  # under 1: more faint stars
_FAINT_MAGNITUDES = (6.5, 9.5)  # of additional stars, and of those in clean exposures
_N_MORE_STARS = 0.35  # mean number of additional, fainter stars
_CUTOFF_NOISE = 0.22  # fainter ghosts, in light per pixel over the noise, are not rendered
_WHOLE_SHARE = 0.66
_MIN_LIT = 0.2  # fraction of an outline on CCDs below which annotators do not draw it
_MIN_SEEN = 1.15  # S/N of a ghosted exposure's highest-S/N ghost over the visibility limit, at least
_MAX_SEEN = 25.0  # and at most: extreme draws of all parameters together would exceed any real ghost
_MAX_UNSEEN = 0.8  # the same for a clean exposure, at most
_HIDDEN_SNR = 0.5  # ghosts that glare or gaps hide but for this are not made brighter
_SCALINGS = 5  # S/N grows more slowly than light, so that a factor may have to be found in steps

_STRONGER = {"C5_exit>C5_entrance": 4.0}  # from the same comparison, for the small ring from the two faces of C5

_RIPPLED_PX = 90  # smaller ghosts show weak inner rings
_RIPPLE = 0.3

# In real exposures D>C4_entrance shows fine stripes perpendicular to the direction of its star.
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
        Its position in the field.
    magnitude
        In the band of the exposure.
    position
        (row, column) of its direct image in pixels; may lie outside the preview.
    light
        (400, 400) float32 grey levels of all its ghosts.
    snrs
        Surface pair to signal-to-noise ratio, of all rendered ghosts.
    labels
        Of the ghosts that annotators would draw.
    hip
        Hipparcos number of a real star.
    """

    star: Star
    magnitude: float
    position: tuple[float, float]
    light: Float32Array
    snrs: dict[str, float]
    labels: list[Label]
    hip: int | None = None


@dataclass(frozen=True, eq=False)
class PlacedStar:
    """
    A real star beside which, or on which, an exposure looks.

    Attributes
    ----------
    hip
        Hipparcos number.
    field_angle_deg, azimuth_deg
        Its place; see `Star`.
    magnitude
        In the band of the exposure.
    drawn
        The surface pairs whose ghosts people draw, and how they call them.
    """

    hip: int
    field_angle_deg: float
    azimuth_deg: float
    magnitude: float
    drawn: Mapping[str, Artifact]


@dataclass(frozen=True, eq=False)
class Scene:
    """
    What all stars of one exposure share.

    Attributes
    ----------
    optics
        Draws the ghosts.
    mosaic
        CCD layout.
    lit
        (400, 400) bool: pixels on live CCDs.
    conditions
        Band, depth and stretch.
    noise
        Of the sky in grey levels, unresolved stars included.
    filter_offsets_mm
        Possible filter positions.
    """

    optics: GhostOptics
    mosaic: Mosaic
    lit: BoolArray
    conditions: Conditions
    noise: float
    filter_offsets_mm: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Telescope:
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
        Whether at least one ghost is visible; else only stars too faint for that are drawn, often none.
    rng : numpy.random.Generator

    Returns
    -------
    list of Ghosts
        The first is the brightest.
    """
    telescope = _telescope(scene, rng)
    low, high = _MAGNITUDES
    drawn = []
    for number in range(rng.poisson(_N_MORE_STARS) + int(seen)):
        main = seen and number == 0
        magnitude = low + (high - low) * rng.random() ** _MAGNITUDE_POWER if main else rng.uniform(*_FAINT_MAGNITUDES)
        angle = _MAX_FIELD_ANGLE_DEG * float(np.sqrt(rng.random()))
        star = Star(angle, float(rng.uniform(0, 360)), scene.conditions.band, telescope.filter_offset_mm)
        limits = (_MIN_SEEN if main else 0.0, _MAX_SEEN if seen else _MAX_UNSEEN)
        drawn.append(_ghosts_of(scene, telescope, number, star, float(magnitude), limits, rng))
    return drawn


def place_ghosts(
    scene: Scene, stars: Sequence[PlacedStar], filter_offset_mm: float, rng: np.random.Generator
) -> list[Ghosts]:
    """
    Render the ghosts of real stars.

    Those that people draw are made plain enough to be seen, all others too weak for it: what is labelled is visible in
    the pixels, and which ghosts that are is the caller's choice. The stars keep their magnitudes.

    Parameters
    ----------
    scene : Scene
    stars : sequence of PlacedStar
    filter_offset_mm : float
    rng : numpy.random.Generator

    Returns
    -------
    list of Ghosts
        One a star.
    """
    telescope = _telescope(scene, rng, filter_offset_mm)
    return [_placed(scene, telescope, number, star, rng) for number, star in enumerate(stars)]


def _placed(scene: Scene, telescope: _Telescope, number: int, placed: PlacedStar, rng: np.random.Generator) -> Ghosts:
    """Render a real star's ghosts, each as bright as its being drawn or not demands."""
    star = Star(placed.field_angle_deg, placed.azimuth_deg, scene.conditions.band, telescope.filter_offset_mm)
    flux = scene.conditions.grey_of_star(placed.magnitude)
    position, patches = _rendered(scene, telescope, star, flux, rng, always=tuple(placed.drawn))
    visible = scene.lit & ~_glare(position, flux, scene.lit.shape)
    light = np.zeros(scene.lit.shape, np.float32)
    labels, snrs = [], {}
    for pair, patch in patches.items():
        low, high = (_MIN_SEEN * rng.uniform(1, 1.6), _MAX_SEEN) if pair in placed.drawn else (0.0, _MAX_UNSEEN)
        shown, snrs[pair] = _within(patch, flux, visible, scene.noise, (low * MIN_GHOST_SNR, high * MIN_GHOST_SNR))
        light[shown.where] += shown.values * np.float32(flux)
        if pair in placed.drawn and snrs[pair] >= MIN_GHOST_SNR:
            label = _label(scene, pair, shown, star, flux)
            if label is not None:
                region = replace(label.region, artifact=placed.drawn[pair])
                labels.append(replace(label, region=region, snr=snrs[pair], star=number))
    return Ghosts(star, placed.magnitude, position, light, snrs, labels, placed.hip)


def _within(
    patch: Patch, flux: float, visible: BoolArray, noise: float, limits: tuple[float, float]
) -> tuple[Patch, float]:
    """A ghost scaled until its S/N is within limits, and its S/N; one that nothing is seen of stays as it is."""
    for _ in range(_SCALINGS):
        snr = visibility(patch.values * np.float32(flux), visible[patch.where], noise)
        if snr < _HIDDEN_SNR or limits[0] <= snr <= limits[1]:
            break
        patch = _scaled(patch, float(np.clip(snr, *limits)) / snr)
    return patch, snr


def _telescope(scene: Scene, rng: np.random.Generator, filter_offset_mm: float | None = None) -> _Telescope:
    """Draw the state of the telescope, with the filter at one of the scene's places unless it is given."""
    widths = np.exp(rng.normal(0, _VANE_SCATTER)) * np.array(VANE_WIDTH_MM) * np.exp(rng.normal(0, 0.12, 4))
    if filter_offset_mm is None:
        filter_offset_mm = float(rng.choice(scene.filter_offsets_mm) + rng.normal(0, _FILTER_SCATTER_MM))
    vanes = (float(widths[0]), float(widths[1]), float(widths[2]), float(widths[3]))
    return _Telescope(filter_offset_mm, _reflectivity(scene.optics, rng), vanes)


def _reflectivity(optics: GhostOptics, rng: np.random.Generator) -> Reflectivity:
    """Draw reflectivities around the assumed ones, surface by surface."""
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
    telescope: _Telescope,
    number: int,
    star: Star,
    magnitude: float,
    limits: tuple[float, float],
    rng: np.random.Generator,
) -> Ghosts:
    """Render a star's ghosts; the star is rescaled if its highest-S/N ghost is outside the limits."""
    flux = scene.conditions.grey_of_star(magnitude)
    position, patches = _rendered(scene, telescope, star, flux, rng)
    visible = scene.lit & ~_glare(position, flux, scene.lit.shape)
    snrs = _snrs(patches, flux, visible, scene.noise)
    best = max(snrs.values(), default=0.0) / MIN_GHOST_SNR
    if 0 < best < limits[0] or best > limits[1]:
        spread = rng.uniform(1, 1.6) if best < limits[0] else rng.uniform(0.5, 1)
        flux *= float(np.clip(best, *limits)) * spread / best
        snrs = _snrs(patches, flux, visible, scene.noise)
    light = np.zeros(scene.lit.shape, np.float32)
    labels = []
    for pair, patch in patches.items():
        light[patch.where] += patch.values * np.float32(flux)
        if snrs[pair] >= MIN_GHOST_SNR and (label := _label(scene, pair, patch, star, flux)) is not None:
            labels.append(replace(label, snr=snrs[pair], star=number))
    dimmed = -2.5 * float(np.log10(flux / scene.conditions.grey_of_star(magnitude)))
    return Ghosts(star, magnitude + dimmed, position, light, snrs, labels)


def _rendered(
    scene: Scene,
    telescope: _Telescope,
    star: Star,
    flux: float,
    rng: np.random.Generator,
    always: tuple[str, ...] = (),
) -> tuple[tuple[float, float], dict[str, Patch]]:
    """Position of a star, and its ghosts but for those that are too weak to render; some pairs always."""
    render = partial(scene.optics.patches, star, reflectivity=telescope.reflectivity, vane_width_mm=telescope.vanes)
    others = [pair for pair in scene.optics.pairs if pair not in always]
    patches = render(pairs=others, cutoff=_CUTOFF_NOISE * scene.noise / flux) | render(pairs=always)
    row, column = scene.mosaic.camera.to_pixel(*scene.optics.star_mm(star))
    position = float(row), float(column)
    striped = star.field_angle_deg < _STRIPED_WITHIN_DEG and rng.random() < _STRIPED_SHARE
    return position, {
        pair: _textured(
            _scaled(patch, _STRONGER.get(pair, 1.0)),
            position,
            _STRIPE_LEVEL / flux if striped and pair == _STRIPED else 0.0,
            rng,
        )
        for pair, patch in patches.items()
    }


def _snrs(patches: dict[str, Patch], flux: float, visible: BoolArray, noise: float) -> dict[str, float]:
    """Signal-to-noise ratio of each ghost of a star."""
    return {
        pair: visibility(patch.values * np.float32(flux), visible[patch.where], noise)
        for pair, patch in patches.items()
    }


def _glare(position: tuple[float, float], flux: float, shape: tuple[int, ...]) -> BoolArray:
    """Pixels saturated by the star itself."""
    radius = core_radius(flux) + 1
    y2 = (np.arange(shape[0], dtype=np.float32)[:, None] + np.float32(0.5 - position[0])) ** 2
    x2 = (np.arange(shape[1], dtype=np.float32) + np.float32(0.5 - position[1])) ** 2
    glare: BoolArray = np.less(y2 + x2, radius**2)
    return glare


def _scaled(patch: Patch, factor: float) -> Patch:
    """A ghost scaled in brightness."""
    return replace(patch, values=patch.values * np.float32(factor))


def _textured(patch: Patch, position: tuple[float, float], stripe_level: float, rng: np.random.Generator) -> Patch:
    """Add mottling to a ghost and, if the level is not 0, stripes of at most that amplitude."""
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
        y = patch.y0 + np.arange(height, dtype=np.float32)[:, None] - np.float32(position[0])
        x = patch.x0 + np.arange(width, dtype=np.float32) - np.float32(position[1])
        toward = np.array([patch.y0 + height / 2 - position[0], patch.x0 + width / 2 - position[1]])
        toward /= np.hypot(*toward) + 1e-6
        along = np.float32(toward[0]) * y + np.float32(toward[1]) * x
        aside = np.float32(toward[0]) * x - np.float32(toward[1]) * y
        distance = along + aside**2 * np.float32(rng.normal(0, 1 / 400))
        phase = distance * np.float32(2 * np.pi / rng.uniform(*_STRIPE_PITCH_PX))
        stripes = np.minimum(np.float32(rng.uniform(*_STRIPE_STRENGTH)) * values, np.float32(stripe_level))
        values = values + stripes * np.sign(np.sin(phase))
    return Patch(patch.y0, patch.x0, values)


def _bilinear(coarse: Float32Array, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> Float32Array:
    """Interpolate a coarse field to a fine grid."""
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    down, across = (rows - top).astype(np.float32)[:, None], (columns - left).astype(np.float32)
    lines = coarse[top] * (1 - down) + coarse[top + 1] * down
    fine: Float32Array = (lines[:, left] * (1 - across) + lines[:, left + 1] * across).astype(np.float32)
    return fine


def _label(scene: Scene, pair: str, patch: Patch, star: Star, flux: float) -> Label | None:
    """Label of one ghost with the outline that annotators draw; the caller sets its S/N."""
    outline = scene.optics.outline(pair, star)
    if outline is None:
        return None
    bright = patch.values[patch.values > 0]
    contrast = float(np.median(patch.values[patch.values > 0.2 * patch.values.max()])) * flux / scene.noise
    artifact = ghost_class(contrast, np.pi * outline.major * outline.minor)
    region = ellipse_region(artifact, outline.row, outline.column, outline.major, outline.minor, outline.theta)
    shape = scene.mosaic.camera.shape
    mask = region.mask(shape)
    # Hole and vanes cover up to a third; where more is dark, a lens edge may vignette the ghost.
    lit_px = np.count_nonzero(bright > 0.3 * np.median(bright))
    if lit_px < _WHOLE_SHARE * mask.sum() and cut_off(footprint := scene.optics.footprint(pair, star), mask):
        polygon = outline_region(artifact, footprint)
        if polygon is None:
            return None
        mask = polygon.mask(shape)
        if not mask.any():
            return None
        region = replace(polygon, artifact=ghost_class(contrast, float(mask.sum())))
    if not mask.any() or scene.lit[mask].mean() < _MIN_LIT:
        return None
    return Label(region, mask, 0.0, pair)
