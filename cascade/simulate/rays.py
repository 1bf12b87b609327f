"""
Rays: light scattered past the baffles, as an empirical model.

No ray-traced ghost resembles them (their stars lie outside the field), so this model imitates the appearance of real
ones: wedges of fine straight striae that enter at the rim of the field, crossed near the mouth by broken
arcs, split by dark gaps, saturated at the mouth and fading inwards; and patches of arcs or curls alone at the rim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, map_coordinates

from cascade.camera import Camera
from cascade.core.exposure import Float32Array

_FIELD_RADIUS_PX = 198.0  # rim of the focal plane in the preview
_N_BEAMS = ((1, 2, 3), (0.38, 0.42, 0.20))
_KINDS = (("beam", "arcs", "curls"), (0.70, 0.25, 0.05))
_TEXTURE = (192, 192)  # across, along


@dataclass(frozen=True, slots=True)
class Beam:
    """
    The light of one beam.

    Attributes
    ----------
    light
        Grey levels in its box.
    box
        Rows and columns in the preview.
    kind
        ``"beam"``, ``"arcs"`` or ``"curls"``.
    """

    light: Float32Array
    box: tuple[slice, slice]
    kind: str


@dataclass(frozen=True, slots=True)
class Throw:
    """
    The beams of a known star.

    Attributes
    ----------
    azimuth_deg
        Where on the rim they enter, from +x_mm towards +y_mm.
    size
        Factor on their length and width, of a median of 0.84 in DES exposures.
    """

    azimuth_deg: float
    size: float


def draw_rays(noise: float, camera: Camera, rng: np.random.Generator, throw: Throw | None = None) -> list[Beam]:
    """
    Draw the beams scattered from one star outside the field.

    Parameters
    ----------
    noise : float
        Pixel noise in grey levels, which sets the scale of the brightness.
    camera : Camera
        On a 400x400 grid.
    rng : numpy.random.Generator
    throw : Throw or None
        Where they enter and how far they reach; None: anywhere, as far as DES's.

    Returns
    -------
    list of Beam
        One to three.
    """
    azimuth = rng.uniform(0, 2 * np.pi) if throw is None else np.deg2rad(throw.azimuth_deg - 90)
    slant = rng.normal(0, 0.22)
    level = noise * 10 ** rng.normal(0.95, 0.33)
    kind = str(rng.choice(_KINDS[0], p=_KINDS[1]))
    size = 0.84 * np.exp(rng.normal(0, 0.42)) if throw is None else throw.size * np.exp(rng.normal(0, 0.15))
    beams = []
    for n in range(int(rng.choice(_N_BEAMS[0], p=_N_BEAMS[1]))):
        if n and rng.random() < 0.2:
            kind = str(rng.choice(_KINDS[0], p=_KINDS[1]))
        turn = 0.0 if n == 0 else rng.normal(0, 0.22) + rng.choice([-1, 1]) * rng.uniform(0.05, 0.2)
        light = float(level * 10 ** rng.normal(-0.15 * n, 0.2))
        beams.append(_beam(kind, azimuth + turn, slant + rng.normal(0, 0.06), size, light, camera, rng))
    return [beam for beam in beams if beam is not None]


def _beam(
    kind: str, azimuth: float, slant: float, size: float, level: float, camera: Camera, rng: np.random.Generator
) -> Beam | None:
    """One beam, or None if it lies outside the preview."""
    rim = _rim_radius(azimuth)
    # The mouth: where the axis of the beam meets the rim of the field.
    mouth = np.array(camera.shape) / 2 - rim * np.array([np.sin(azimuth), np.cos(azimuth)])
    length = size * {"beam": 40.0, "arcs": 15.0, "curls": 12.0}[kind] * np.exp(rng.normal(0, 0.36))
    half_width = size * {"beam": 11.0, "arcs": 11.0, "curls": 9.0}[kind] * np.exp(rng.normal(0, 0.42))
    direction = azimuth + slant
    box = _box(mouth, direction, length, half_width, camera.shape)
    if box is None:
        return None
    y = np.arange(box[0].start, box[0].stop, dtype=np.float32)[:, None] + np.float32(0.5 - mouth[0])
    x = np.arange(box[1].start, box[1].stop, dtype=np.float32)[None, :] + np.float32(0.5 - mouth[1])
    cos, sin = np.float32(np.cos(direction)), np.float32(np.sin(direction))
    along, aside = cos * x + sin * y, cos * y - sin * x
    reached = (along > -25) & (along < 2.6 * length) & (np.abs(aside) < 2.2 * half_width + 6)
    paint = {"beam": _striated, "arcs": _arcs, "curls": _curls}[kind]
    light = np.zeros(reached.shape, np.float32)
    light[reached] = _compressed(paint(along[reached], aside[reached], length, half_width, level, rng), level)
    return Beam(light, box, kind)


def _compressed(light: Float32Array, level: float) -> Float32Array:
    """Soft-clipped light, since exponentials of noise have too long a tail."""
    clipped: Float32Array = light / (1 + light / np.float32(6 * level + 150))
    return clipped


def _rim_radius(azimuth: float) -> float:
    """Distance of the focal plane's rim from its middle: a hexagon-like shape, wider along columns."""
    return float(_FIELD_RADIUS_PX * (1 - 0.04 * np.sin(azimuth) ** 2) - 3)


def _box(
    mouth: npt.NDArray[np.float64], direction: float, length: float, half_width: float, shape: tuple[int, int]
) -> tuple[slice, slice] | None:
    """The part of the preview that a beam can reach."""
    forward = np.array([np.sin(direction), np.cos(direction)])
    sideways = np.array([forward[1], -forward[0]])
    reach, wide = 2.6 * length + 10, 2.2 * half_width + 6
    corners = [mouth + a * forward + b * sideways for a in (-25, reach) for b in (-wide, wide)]
    first = np.clip(np.floor(np.min(corners, axis=0)), 0, shape).astype(int)
    last = np.clip(np.ceil(np.max(corners, axis=0)), 0, shape).astype(int)
    if np.any(last - first < 2):
        return None
    return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))


def _noise(rng: np.random.Generator, n: int, finest: float, slope: float, coarsest: float = 1e9) -> Float32Array:
    """A line of n samples of unit-variance noise: power ~ wavelength**slope between two wavelengths in samples."""
    frequency = np.fft.rfftfreq(n)
    with np.errstate(divide="ignore"):
        gain = np.where(frequency > 0, frequency ** (-slope / 2), 0.0)
    gain *= np.exp(-((frequency * finest) ** 2)) * (frequency > 1 / coarsest)
    line = np.fft.irfft(gain * np.exp(2j * np.pi * rng.random(len(frequency))), n)
    line = (line - line.mean()) / (line.std() + 1e-12)
    noise: Float32Array = line.astype(np.float32)
    return noise


def _striae(rng: np.random.Generator, n_across: int, n_along: int, pixel: float) -> Float32Array:
    """(across, along) texture of straight striae of varying brightness along the beam; `pixel` in samples."""
    texture = np.zeros((n_across, n_along), np.float32)
    place = np.linspace(0, 1, n_along, dtype=np.float32)
    for _ in range(4):
        line = np.exp(
            rng.uniform(0.7, 1.2) * _noise(rng, n_across, rng.uniform(0.7, 2.2) * pixel, rng.uniform(0.3, 1.5))
        )
        start, spread = rng.uniform(-0.1, 0.8), rng.uniform(0.25, 0.9)
        texture += line[:, None] * np.exp(-(((place - start) / spread) ** 2))[None, :]
    texture /= texture.mean()
    # No stria is uniform along its length.
    ripple = rng.standard_normal((n_across, n_along)).astype(np.float32)
    ripple = gaussian_filter1d(gaussian_filter1d(ripple, 5.0, axis=1), 0.4 * pixel, axis=0)
    striae: Float32Array = texture * np.exp(0.6 * ripple / ripple.std())
    return striae


def _gaps(rng: np.random.Generator, n_across: int, pixel: float) -> Float32Array:
    """Transmission across the beam: dark gaps with sharp edges, some double."""
    passed = np.ones(n_across, np.float32)
    t = np.arange(n_across, dtype=np.float32)
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.2, 0.35, 0.3, 0.15]))):
        centre, half = rng.uniform(0.12, 0.88) * n_across, rng.uniform(0.5, 2.6) * pixel
        twin = rng.uniform(2.5, 5) * half if rng.random() < 0.4 else 0.0
        for offset in {0.0, twin}:
            passed *= 1 - rng.uniform(0.8, 1) / (1 + (np.abs(t - centre - offset) / half) ** 6)
    return passed


def _striated(
    along: Float32Array,
    aside: Float32Array,
    length: float,
    half_width: float,
    level: float,
    rng: np.random.Generator,
) -> Float32Array:
    """A wedge of striae with arcs near its mouth."""
    n_across, n_along = _TEXTURE
    # The wedge widens inwards or narrows, as its apex lies behind the mouth or ahead of it.
    widening = rng.normal(0.10, 0.22)
    grown = np.clip(1 + widening * along / length, 0.35, 2.2)
    t = aside / (half_width * grown)
    pixel = n_across / (3.2 * half_width)  # samples a pixel at the mouth
    texture = _striae(rng, n_across, n_along, pixel)
    profile = 1 / (1 + np.abs(np.linspace(-1.6, 1.6, n_across, dtype=np.float32)) ** rng.uniform(6, 26))
    profile *= np.exp(0.35 * _noise(rng, n_across, 12 * pixel, 2.0)) * _gaps(rng, n_across, pixel)
    bend = rng.normal(0, 0.05) * (along / length) ** 2
    across = (t + bend) * ((n_across - 1) / 3.2) + (n_across - 1) / 2
    onward = np.clip(along / (2.6 * length), 0, 1) * (n_along - 1)
    light = map_coordinates(texture * profile[:, None], [across, onward], order=1, mode="constant", prefilter=False)
    # The length varies across the beam, so that it ends in fingers.
    reach = np.exp(rng.uniform(0.1, 0.35) * _noise(rng, n_across, 4 * pixel, 1.5))
    reach = np.take(reach, np.clip(across, 0, n_across - 1).astype(np.intp)) * length
    depth = np.clip(along, 0, None) / reach
    light *= level * np.exp(-1.1 * depth) / (1 + (depth / 1.5) ** rng.uniform(3, 9)) * 1.3
    if rng.random() < 0.8:
        hatch = _hatch(along, aside, half_width, rng)
        share = np.exp(-((np.clip(along, 0, None) / (length * rng.uniform(0.25, 0.8))) ** 2))
        light *= 1 + share * (rng.uniform(1.0, 3.2) * hatch - 1)
        light += level * rng.uniform(0.1, 0.8) * hatch * share * (np.abs(t) < rng.uniform(0.9, 1.25))
    striated: Float32Array = light.astype(np.float32)
    return striated


def _hatch(along: Float32Array, aside: Float32Array, half_width: float, rng: np.random.Generator) -> Float32Array:
    """Families of arcs, uneven in spacing and broken into pieces; of mean near 1."""
    total = np.zeros(along.shape, np.float32)
    n_families = int(rng.integers(1, 4))
    for _ in range(n_families):
        total += _arc_family(along, aside, half_width, rng)
    return total / np.float32(1.8 * n_families)


def _arc_family(along: Float32Array, aside: Float32Array, half_width: float, rng: np.random.Generator) -> Float32Array:
    """Arcs about one point near the axis of the beam."""
    # The centre lies behind the mouth, or ahead and beyond the beam.
    behind = half_width * np.exp(rng.uniform(0.4, 2.1))
    ahead = -float(along.max()) * rng.uniform(1.05, 2)
    radius = behind if rng.random() < 0.6 else ahead
    off_axis = aside - np.float32(rng.normal(0, 0.5) * half_width)
    distance = np.hypot(along + np.float32(radius), off_axis) - abs(radius)
    n = 1024  # samples, 4 a pixel
    rings = np.exp(rng.uniform(0.6, 1.1) * _noise(rng, n, rng.uniform(3, 10), rng.uniform(0, 1.2), 80))
    # The brightness varies along each arc over a few pixels, independently between arcs.
    side = np.clip(off_axis * 2 + 128, 0, 255).astype(np.intp)
    shift = 4 * rng.uniform(0, 2.5) * _noise(rng, 256, 12, 1.5)
    ring = np.clip(distance * 4 + n / 2 + shift[side], 0, n - 1).astype(np.intp)
    pieces = rng.standard_normal((n // 12 + 1, 256)).astype(np.float32)
    pieces = gaussian_filter1d(gaussian_filter1d(pieces, rng.uniform(2.5, 9), axis=1), 0.6, axis=0)
    pieces = np.exp(rng.uniform(0.5, 1.2) * pieces / pieces.std())
    family: Float32Array = rings[ring] * pieces[ring // 12, side] * np.float32(0.7)
    return family


def _arcs(
    along: Float32Array,
    aside: Float32Array,
    length: float,
    half_width: float,
    level: float,
    rng: np.random.Generator,
) -> Float32Array:
    """Crescents at the rim without a beam."""
    hatch = _hatch(along, aside, half_width, rng)
    middle, depth = rng.uniform(0.0, 0.7) * length, length * rng.uniform(0.25, 0.8)
    t = aside / half_width
    envelope = np.exp(-(((along - middle) / depth) ** 4)) / (1 + np.abs(t) ** rng.uniform(3, 10))
    striae = np.exp(0.6 * _noise(rng, 512, 512 / (3 * half_width) * 2.2, 0.5))
    striae = striae[np.clip((t / 3 + 0.5) * 511, 0, 511).astype(np.intp)]
    light: Float32Array = (1.1 * level * envelope * hatch * striae).astype(np.float32)
    return light


def _curls(
    along: Float32Array,
    aside: Float32Array,
    length: float,
    half_width: float,
    level: float,
    rng: np.random.Generator,
) -> Float32Array:
    """Thin curved filaments at the rim, like caustics."""
    light = np.zeros(np.broadcast_shapes(along.shape, aside.shape), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        centre = rng.uniform(0, 0.8) * length, rng.normal(0, 0.5) * half_width
        radius, squeeze = rng.uniform(4, 18), rng.uniform(0.4, 1.0)
        distance = np.hypot(along - centre[0], (aside - centre[1]) / squeeze)
        angle = np.arctan2(aside - centre[1], along - centre[0])
        turn, wobble = rng.uniform(-np.pi, np.pi), rng.uniform(0, 2)
        ring = radius + wobble * np.sin(3 * angle + turn)
        thread = np.exp(-(((distance - ring) / rng.uniform(0.7, 1.5)) ** 2))
        thread += 0.6 * np.exp(-(((distance - ring + rng.uniform(2, 4)) / rng.uniform(0.7, 1.4)) ** 2))
        light += thread * np.clip(np.cos(angle - turn) + rng.uniform(-0.3, 0.5), 0, 1)
    return (0.8 * level * light).astype(np.float32)
