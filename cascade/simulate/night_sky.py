"""The night sky without artifacts: noise, stars, galaxies, trails, and saturation effects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from cascade.core.exposure import Float32Array
from cascade.simulate.conditions import Conditions
from cascade.simulate.mosaic import Blank, Mosaic

# Measured on the unmarked CCDs of the DES common-core images: N(peak > f) ~ f**-1.4, 0.75 % of pixels above 100 levels.
_STAR_SLOPE = 1.4
_FAINTEST = 9.0  # grey levels
_N_STARS = 160_000 * 0.0104 * (100 / _FAINTEST) ** _STAR_SLOPE
_BEND = 120.0  # grey levels; brighter peaks grow more slowly with flux
_BEND_POWER = 0.60
_SPILL_POWER = 1.0
_BRIGHTEST_POINT = 330.0  # brighter stars are discs
_CLUMP_SHARE = 0.36  # of the noise: unresolved, clustered galaxies and wings of stars
_CLUMP_PX = 2.0
_SPILLS_FROM = 40.0  # grey levels; fainter stars fill one pixel, their wings being lost in the noise
_SMEAR_PX = 0.25  # half width of a star: seeing, tracking and the resampling of the preview

# Saturated discs: 124 areas of 1 px and more, 12 of 4, 3.2 of 9 and 1.0 of 16 on 100,000 pixels of real CCDs; their
# number falls tenfold a pixel of radius.
_N_DISCS = 31.0
_SMALLEST_DISC_PX = 0.95
_DISC_DECADE_PX = 1.12
_LARGEST_DISC_PX = 4.6
_DISC_LEVEL = 205.0  # grey levels above the sky at the rim of a saturated disc
_BLEED_FROM_PX = 1.9

_N_GALAXIES = 170.0
_LARGE_GALAXY_PX = 0.9  # of scale length
_TRAIL_SHARE = 0.26
_CROSSTALK_SHARE = 0.4
_BAND_SHARE = 0.16
_BANDING_SHARE = 0.12


@dataclass(frozen=True, slots=True)
class Saturated:
    """
    A star with visible glare, bleed trail and masked area.

    Attributes
    ----------
    row, column
        Position in pixels.
    flux
        Flux in grey levels summed over pixels.
    """

    row: float
    column: float
    flux: float


def draw_sky(conditions: Conditions, mosaic: Mosaic, rng: np.random.Generator) -> Float32Array:
    """
    Draw noise, stars, galaxies and trails.

    Parameters
    ----------
    conditions : Conditions
    mosaic : Mosaic
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (400, 400)
        Grey levels above the sky; none of it biases the mesh.
    """
    shape = mosaic.camera.shape
    light = rng.standard_normal(shape, dtype=np.float32)
    light += _CLUMP_SHARE * _clumps(shape, rng)
    light *= np.float32(conditions.noise)
    _add_points(light, conditions, rng)
    _add_galaxies(light, rng)
    _add_discs(light, conditions, mosaic, rng)
    if rng.random() < _TRAIL_SHARE:
        for _ in range(int(rng.choice([1, 2, 3], p=[0.75, 0.18, 0.07]))):
            _add_trail(light, rng)
    if rng.random() < _BANDING_SHARE:
        _add_banding(light, mosaic, rng)
    return light


@cache
def _clump_tile() -> Float32Array:
    """Smooth noise of unit variance, larger than a preview; cached."""
    rough = np.random.default_rng(20210916).standard_normal((768, 768))
    smooth = gaussian_filter(rough, _CLUMP_PX, mode="wrap")
    tile: Float32Array = (smooth / smooth.std()).astype(np.float32)
    return tile


def _clumps(shape: tuple[int, int], rng: np.random.Generator) -> Float32Array:
    """A random part of the tile, mirrored at random."""
    tile = _clump_tile()
    top, left = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(tile.shape, shape, strict=True))
    down, across = rng.choice([-1, 1], 2)
    return tile[top : top + shape[0], left : left + shape[1]][::down, ::across]


def _bent(flux: npt.NDArray[np.float64], power: float) -> npt.NDArray[np.float64]:
    """Flux compressed by a lower power beyond the bend."""
    return np.where(flux > _BEND, _BEND * (flux / _BEND) ** power, flux)


def _add_points(light: Float32Array, conditions: Conditions, rng: np.random.Generator) -> None:
    """Add unresolved stars: nearly one pixel each, spilling over near its edges."""
    shape = light.shape
    n_stars = rng.poisson(_N_STARS * conditions.star_density)
    flux = np.minimum(_FAINTEST * rng.random(n_stars) ** (-1 / _STAR_SLOPE), 1e4)
    # The spill grows faster with the flux of a star than its peak, which saturates.
    spilt = np.minimum(_bent(flux, _SPILL_POWER), 2 * _BRIGHTEST_POINT)
    flux = np.minimum(_bent(flux, _BEND_POWER), _BRIGHTEST_POINT)
    place = rng.random((2, n_stars)) * (np.array(shape)[:, None] - 2) + 1
    faint = flux < _SPILLS_FROM
    pixel = place[:, faint].astype(np.intp)
    light += np.bincount(pixel[0] * shape[1] + pixel[1], flux[faint], light.size).reshape(shape).astype(np.float32)
    place, flux, spilt = place[:, ~faint], flux[~faint], spilt[~faint]
    pixel = place.astype(np.intp)
    within = place - pixel
    after = np.clip((within + _SMEAR_PX - 1) / (2 * _SMEAR_PX), 0, 1)
    before = np.clip((_SMEAR_PX - within) / (2 * _SMEAR_PX), 0, 1)
    shares = np.stack([before, 1 - before - after, after])  # (3, 2, n)
    flat = pixel[0] * shape[1] + pixel[1]
    pixels, weights = [], []
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            weight = (spilt if down or across else flux) * shares[down + 1, 0] * shares[across + 1, 1]
            hit = weight > 0.5
            pixels.append(flat[hit] + down * shape[1] + across)
            weights.append(weight[hit])
    spread = np.bincount(np.concatenate(pixels), np.concatenate(weights), light.size)
    light += spread.reshape(shape).astype(np.float32)
    # The survey's sky is the median.
    light -= np.float32(_FAINTEST * 0.5 * conditions.star_density)


def _stamp(
    light: Float32Array, row: float, column: float, reach: int
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """A view of `light` around a position, and the distances of its pixels in rows and columns."""
    top, left = max(int(row) - reach, 0), max(int(column) - reach, 0)
    view = light[top : int(row) + reach + 1, left : int(column) + reach + 1]
    y = np.arange(top, top + view.shape[0], dtype=np.float32)[:, None] + np.float32(0.5 - row)
    x = np.arange(left, left + view.shape[1], dtype=np.float32)[None, :] + np.float32(0.5 - column)
    return view, y, x


def _add_galaxies(light: Float32Array, rng: np.random.Generator) -> None:
    """Add resolved galaxies: exponential ellipses, few of them large."""
    n_galaxies = rng.poisson(_N_GALAXIES)
    place = rng.random((2, n_galaxies)) * np.array(light.shape)[:, None]
    scale = 0.40 + rng.exponential(0.20, n_galaxies)
    peak = np.minimum(30 * rng.random(n_galaxies) ** -0.8, 350)
    angle, axis_ratio = rng.uniform(0, np.pi, n_galaxies), rng.uniform(0.3, 1.0, n_galaxies)
    for reach, of_size in ((4, scale < _LARGE_GALAXY_PX), (12, scale >= _LARGE_GALAXY_PX)):
        offsets = np.arange(-reach, reach + 1)
        rows, columns = (side[of_size].astype(np.intp)[:, None] + offsets for side in place)
        y = (rows + 0.5 - place[0, of_size, None])[:, :, None]
        x = (columns + 0.5 - place[1, of_size, None])[:, None, :]
        cos, sin = (turn(angle[of_size])[:, None, None] for turn in (np.cos, np.sin))
        along, across = cos * x + sin * y, (cos * y - sin * x) / axis_ratio[of_size, None, None]
        distance = np.sqrt(along**2 + across**2 + 0.1)
        stamps = peak[of_size, None, None] * np.exp(-distance / scale[of_size, None, None])
        inside_rows, inside_columns = (
            (side >= 0) & (side < size) for side, size in zip((rows, columns), light.shape, strict=True)
        )
        inside = inside_rows[:, :, None] & inside_columns[:, None, :]
        pixels = (rows[:, :, None] * light.shape[1] + columns[:, None, :])[inside]
        light += np.bincount(pixels, stamps[inside], light.size).reshape(light.shape).astype(np.float32)


def _add_discs(light: Float32Array, conditions: Conditions, mosaic: Mosaic, rng: np.random.Generator) -> None:
    """Add stars that saturate the preview: flat discs with exponential wings, the larger ones with a bleed trail."""
    n_discs = rng.poisson(_N_DISCS * conditions.star_density)
    radii = _SMALLEST_DISC_PX + rng.exponential(_DISC_DECADE_PX / np.log(10), n_discs)
    places = rng.random((n_discs, 2)) * light.shape
    for radius, (row, column) in zip(np.minimum(radii, _LARGEST_DISC_PX), places, strict=True):
        view, y, x = _stamp(light, row, column, int(radius + 9))
        wing = 0.80 + 0.09 * radius
        distance = np.hypot(y, x)
        glow = np.exp(np.minimum((np.float32(radius) - distance) / np.float32(wing), 0.6)) * np.float32(_DISC_LEVEL)
        halo = 20 / (1 + (distance / (1.2 * radius)) ** 3) if radius > 2 else np.float32(0)
        view += glow + halo
        if radius > _BLEED_FROM_PX:
            _add_bleed(light, row, column, radius, mosaic, rng)


def _add_bleed(
    light: Float32Array, row: float, column: float, radius: float, mosaic: Mosaic, rng: np.random.Generator
) -> None:
    """Add a thin bright trail along the CCD's columns, its crosstalk image, and a band of depressed amplifier bias."""
    place = mosaic.ccd_at(row, column)
    if place is None:
        return
    on_ccd = mosaic.camera.labels == place[0]
    columns = np.flatnonzero(on_ccd.any(axis=0))
    rows = np.flatnonzero(on_ccd.any(axis=1))
    first, last = int(columns[0]), int(columns[-1]) + 1
    reach = rng.exponential(2.2 * radius**1.5) + radius + 1
    left, right = max(int(column - reach), first), min(int(column + reach) + 1, last)
    light[int(row), left:right] += np.float32(rng.uniform(15, 140))
    if rng.random() < _CROSSTALK_SHARE:
        mirrored = int(rows[0] + rows[-1] - int(row))
        light[mirrored, max(int(column) - 1, first) : min(int(column) + 2, last)] -= np.float32(rng.uniform(10, 60))
    if radius > 2.4 and rng.random() < _BAND_SHARE:
        top, bottom = max(int(row - 1), int(rows[0])), min(int(row + 2), int(rows[-1]) + 1)
        side = slice(first, int(column)) if rng.random() < 0.5 else slice(int(column), last)
        light[top:bottom, side] -= np.float32(rng.uniform(6, 28))


def _add_trail(light: Float32Array, rng: np.random.Generator) -> None:
    """Add the trail of a satellite or aircraft: thin and even, dashed, or double; across the field or a part of it."""
    height, width = light.shape
    angle = rng.uniform(0, np.pi)
    through = rng.uniform(0.1, 0.9, 2) * light.shape
    half = 600.0 if rng.random() < 0.62 else rng.uniform(8, 110)
    along = np.arange(-half, half, 0.5, dtype=np.float32)
    level = np.full(along.shape, 10 ** rng.uniform(1.2, 2.35), np.float32)
    kind = rng.random()
    if kind < 0.12:  # strobes
        level = level * (np.sin(along * rng.uniform(0.15, 0.5)) > rng.uniform(-0.2, 0.7))
    elif kind < 0.35:  # a tumbling satellite
        level = level * (1 + 0.7 * np.sin(along * rng.uniform(0.01, 0.06) + rng.uniform(0, 6)))
    tracks = (0.0,) if kind > 0.06 else (0.0, float(rng.uniform(2, 6)))
    softness = rng.uniform(0.3, 0.6) if rng.random() < 0.8 else rng.uniform(0.7, 1.4)
    for offset in tracks:
        rows = through[0] + along * np.sin(angle) + offset * np.cos(angle)
        columns = through[1] + along * np.cos(angle) - offset * np.sin(angle)
        steps = np.array([-1.5, -1, -0.5, 0, 0.5, 1, 1.5], np.float32)
        weights = np.exp(-0.5 * (steps / softness) ** 2)
        weights *= 0.25 / weights.sum() * 2
        for step, weight in zip(steps, weights, strict=True):
            y = np.floor(rows + step * np.cos(angle)).astype(np.intp)
            x = np.floor(columns - step * np.sin(angle)).astype(np.intp)
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            index = y[inside] * width + x[inside]
            light += np.bincount(index, level[inside] * weight, light.size).reshape(light.shape).astype(np.float32)


def _add_banding(light: Float32Array, mosaic: Mosaic, rng: np.random.Generator) -> None:
    """Add weak stripes across CCDs, as in some exposures."""
    stripes = rng.standard_normal(mosaic.camera.shape[1]).astype(np.float32)
    light += stripes * np.float32(rng.uniform(1, 3))


def saturated_light(
    star: Saturated, conditions: Conditions, mosaic: Mosaic, rng: np.random.Generator
) -> tuple[Float32Array, Float32Array, tuple[Blank, ...]]:
    """
    Draw the glare of a very bright star.

    Parameters
    ----------
    star : Saturated
    conditions : Conditions
    mosaic : Mosaic
    rng : numpy.random.Generator

    Returns
    -------
    extended : ndarray of float32, shape (400, 400)
        Halo with spikes, in grey levels; biases the mesh.
    sharp : ndarray of float32, shape (400, 400)
        Core and bleed trail.
    blanks : tuple of Blank
        Areas that the survey masks around it.
    """
    shape = mosaic.camera.shape
    extended, sharp = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    core = core_radius(star.flux)
    view, y, x = _stamp(extended, star.row, star.column, int(min(14 * core + 10, 150)))
    distance = np.hypot(y, x)
    spikes = _around(rng, distance, np.arctan2(y, x), core)
    view += (star.flux * 4e-5) * spikes / (1 + (distance / 2.0) ** 2.4)
    inner, y, x = _stamp(sharp, star.row, star.column, int(3 * core + 8))
    edge = core * (1 + 0.25 * (_around(rng, np.hypot(y, x), np.arctan2(y, x), core) - 1))
    inner += 320 * np.exp(np.clip((edge - np.hypot(y, x * 0.85)) / (0.9 + 0.08 * core), -12, 0.3)).astype(np.float32)
    place = mosaic.ccd_at(star.row, star.column)
    if place is None:
        return extended, sharp, ()
    on_ccd = mosaic.camera.labels == place[0]
    if rng.random() < 0.6:  # the core ends at the edge of its CCD: the next one has other amplifiers
        sharp *= on_ccd
    _add_wide_bleed(sharp, star, core, on_ccd, rng)
    return extended, sharp, _masked(place, core, rng)


def core_radius(flux: float) -> float:
    """Radius in pixels within which a star saturates the preview: 2.4 at magnitude 7, 7.7 at 2, from number counts."""
    return float(np.clip(1.15 * (flux / 3e5) ** 0.25, 0.8, 11))


def _around(rng: np.random.Generator, distance: Float32Array, angle: Float32Array, core: float) -> Float32Array:
    """Spikes: brightness that varies with the angle around a star, more so further out."""
    n_angles = 512
    rough = rng.standard_normal(n_angles)
    frequency = np.fft.rfftfreq(n_angles, 1 / n_angles)
    smooth = np.fft.irfft(np.fft.rfft(rough) * np.exp(-((frequency / 45) ** 2)) * (frequency > 2), n_angles)
    smooth /= smooth.std()
    index = ((angle + np.pi) * (n_angles / (2 * np.pi))).astype(np.intp) % n_angles
    strength = np.clip(distance / (2 * core), 0, 1) * 0.6
    spikes: Float32Array = np.exp(strength * smooth[index].astype(np.float32))
    return spikes


def _add_wide_bleed(
    sharp: Float32Array, star: Saturated, core: float, on_ccd: npt.NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Add the bleed trail of a very bright star: a few rows high, within its CCD."""
    columns, rows = (np.flatnonzero(on_ccd.any(axis=axis)) for axis in (0, 1))
    reach = core * rng.uniform(1.0, 2.2) + rng.exponential(6)
    left, right = max(int(star.column - reach), columns[0]), min(int(star.column + reach) + 1, columns[-1] + 1)
    half = 0.07 * core
    top, bottom = max(int(star.row - half), rows[0]), min(int(star.row + half) + 1, rows[-1] + 1)
    sharp[top:bottom, left:right] += np.float32(rng.uniform(20, 160))
    if rng.random() < _BAND_SHARE:  # depressed amplifier bias, on one side
        side = slice(columns[0], int(star.column)) if rng.random() < 0.5 else slice(int(star.column), columns[-1] + 1)
        sharp[max(top - 1, rows[0]) : bottom + 1, side] -= np.float32(rng.uniform(5, 28))


def _masked(place: tuple[int, float, float], core: float, rng: np.random.Generator) -> tuple[Blank, ...]:
    """Blank half of the CCD, upper or lower, over its full width or on one side of the star."""
    if rng.random() > min(0.12 * core, 0.75) - 0.15:
        return ()
    ccdnum, down, across = place
    rows = (0.0, 0.5) if down < 0.5 else (0.5, 1.0)
    if rng.random() < 0.25:
        rows = (0.5, 1.0) if rows[0] == 0 else (0.0, 0.5)
    kind = rng.random()
    if kind < 0.35:
        columns = (0.0, 1.0)
    elif kind < 0.7:
        columns = (min(across + rng.uniform(0.05, 0.3), 0.95), 1.0)
    else:
        columns = (0.0, max(across - rng.uniform(0.05, 0.3), 0.05))
    return (Blank(ccdnum, rows, columns),)
