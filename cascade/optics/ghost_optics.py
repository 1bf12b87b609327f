"""Ghosts of a star on the focal plane: reflections between two surfaces of DECam, from the optics bank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray, Float32Array
from cascade.optics.bank import SURFACES, GhostMap, OpticsBank, pair_surfaces
from cascade.optics.ghost_image import Patch, StarGeometry, draw_ghost
from cascade.optics.pupil import VANE_WIDTH_MM, VaneWidths, open_area_m2

MAX_FIELD_ANGLE_DEG = 1.5
"""Beyond it no pair sends light to the detector (ray-traced)."""

DETECTOR_RADIUS_MM = 225.68
"""The detector reflects stars imaged within this distance of the axis (batoid's DECam)."""


@dataclass(frozen=True, slots=True)
class Reflectivity:
    """
    Reflectivities of the surfaces.

    No measurements were found for DECam: the defaults are assumed, and the real ones vary with wavelength.

    Attributes
    ----------
    detector
        Silicon, in [0, 1].
    glass
        A coated face of a lens or filter.
    surfaces
        Overrides for single surfaces, by their names in `SURFACES`.

    Raises
    ------
    ConfigError
        If a value is outside [0, 1] or a surface is unknown.
    """

    detector: float = 0.20
    glass: float = 0.015
    surfaces: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in {"detector": self.detector, "glass": self.glass, **self.surfaces}.items():
            if name not in (*SURFACES, "detector", "glass"):
                msg = f"reflectivity: expected one of {', '.join(SURFACES)}, got {name!r}"
                raise ConfigError(msg)
            if not 0 <= value <= 1:
                msg = f"reflectivity of {name}: expected a number in [0, 1], got {value}"
                raise ConfigError(msg)

    def of(self, surface: str) -> float:
        """Reflectivity of one surface."""
        return self.surfaces.get(surface, self.detector if surface == "D" else self.glass)

    def throughput(self, pair: str) -> float:
        """Flux of a pair relative to the direct image: two reflections, and the glass between twice more."""
        first, second = pair_surfaces(pair)
        between = SURFACES[SURFACES.index(second) + 1 : SURFACES.index(first)]
        passed = np.prod([(1 - self.of(name)) ** 2 for name in between])
        return float(self.of(first) * self.of(second) * passed)


@dataclass(frozen=True, slots=True)
class Star:
    """
    Position of a star, and the filter.

    Attributes
    ----------
    field_angle_deg
        Distance from the optical axis on the sky, in [0, `MAX_FIELD_ANGLE_DEG`].
    azimuth_deg
        Direction of its image from the centre of the focal plane, from +x_mm towards +y_mm.
    band
        Filter: u, g, r, i, z, Y or VR.
    filter_offset_mm
        Filter position relative to batoid's model, towards the detector, in [-200, 50].

    Raises
    ------
    ConfigError
        If the field angle is out of range.
    """

    field_angle_deg: float
    azimuth_deg: float
    band: str = "g"
    filter_offset_mm: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.field_angle_deg <= MAX_FIELD_ANGLE_DEG:
            msg = f"field angle: expected degrees in [0, {MAX_FIELD_ANGLE_DEG}], got {self.field_angle_deg}"
            raise ConfigError(msg)


@dataclass(frozen=True, slots=True)
class Outline:
    """
    Ellipse around a ghost without vignetting, in continuous pixels.

    Attributes
    ----------
    row, column
        Centre.
    major, minor
        Semi-axes.
    theta
        Direction of the major axis in radians, from +column towards +row.
    """

    row: float
    column: float
    major: float
    minor: float
    theta: float


@dataclass(frozen=True, eq=False)
class GhostOptics:
    """
    Renders the ghosts of stars; read it with `GhostOptics.load`.

    Attributes
    ----------
    bank
        The ray-traced optics.
    """

    bank: OpticsBank

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read the optics bank of the package, or another; see `OpticsBank.load`."""
        return cls(OpticsBank.load(path))

    @property
    def pairs(self) -> tuple[str, ...]:
        """Names of the surface pairs, ``first>second`` reflection."""
        return self.bank.pairs

    def star_mm(self, star: Star) -> tuple[float, float]:
        """(x_mm, y_mm) of the star's direct image."""
        radius = self.bank.star_radius_mm(star.field_angle_deg, self.bank.mix_of_band(star.band))
        azimuth = np.deg2rad(star.azimuth_deg)
        return float(radius * np.cos(azimuth)), float(radius * np.sin(azimuth))

    def render(
        self,
        *,
        field_angle_deg: float,
        azimuth_deg: float,
        band: str,
        filter_offset_mm: float = 0.0,
        reflectivity: Reflectivity | None = None,
        vane_width_mm: VaneWidths = VANE_WIDTH_MM,
        cutoff: float = 0.0,
        pairs: Iterable[str] | None = None,
        shape: tuple[int, int] = PREVIEW_SHAPE,
    ) -> dict[str, Float32Array]:
        """
        Render every ghost of a star on a whole preview.

        Parameters
        ----------
        field_angle_deg, azimuth_deg, band, filter_offset_mm
            See `Star`.
        reflectivity, vane_width_mm, cutoff, pairs, shape
            See `patches`.

        Returns
        -------
        dict
            Pair to (H, W) float32: flux per pixel as a fraction of the star's; pairs without light on the preview are
            omitted.
        """
        star = Star(field_angle_deg, azimuth_deg, band, filter_offset_mm)
        images = {}
        drawn = self.patches(
            star, reflectivity=reflectivity, vane_width_mm=vane_width_mm, cutoff=cutoff, pairs=pairs, shape=shape
        )
        for pair, patch in drawn.items():
            images[pair] = np.zeros(shape, np.float32)
            images[pair][patch.where] = patch.values
        return images

    def patches(
        self,
        star: Star,
        *,
        reflectivity: Reflectivity | None = None,
        vane_width_mm: VaneWidths = VANE_WIDTH_MM,
        cutoff: float = 0.0,
        pairs: Iterable[str] | None = None,
        shape: tuple[int, int] = PREVIEW_SHAPE,
    ) -> dict[str, Patch]:
        """
        Render every ghost of a star within its bounding box.

        Parameters
        ----------
        star : Star
        reflectivity : Reflectivity or None
            None: the assumed defaults.
        vane_width_mm : tuple of float
            Widths of the spider's vanes towards azimuths 45, 225, 135 and 315 degrees.
        cutoff : float
            Pairs of lower typical surface brightness, as a fraction of the star's flux per pixel of the preview, are
            skipped before rendering.
        pairs : iterable of str or None
            Pairs to render; None: all.
        shape : tuple of int
            (H, W) of the preview.

        Returns
        -------
        dict
            Pair to `Patch`; pairs without light on the preview are omitted.
        """
        chosen = self._visible(star, reflectivity or Reflectivity(), cutoff, pairs, shape)
        geometry = _geometry(star, shape, vane_width_mm)
        drawn = {pair: draw_ghost(map_, geometry, throughput) for pair, (map_, throughput) in chosen.items()}
        return {pair: patch for pair, patch in drawn.items() if patch is not None}

    def surface_brightness(
        self,
        star: Star,
        reflectivity: Reflectivity | None = None,
        *,
        cutoff: float = 0.0,
        shape: tuple[int, int] = PREVIEW_SHAPE,
    ) -> dict[str, float]:
        """
        Typical flux per pixel of every lit pair, as a fraction of the star's; renders nothing.

        Pairs below `cutoff` are omitted.
        """
        reflectivity = reflectivity or Reflectivity()
        area = _pixel_area_mm2(shape) / open_area_m2()
        maps = self._visible(star, reflectivity, cutoff, None, shape)
        levels = {pair: map_.density * throughput * area for pair, (map_, throughput) in maps.items()}
        return {pair: level for pair, level in levels.items() if level >= cutoff}

    def footprint(self, pair: str, star: Star, shape: tuple[int, int] = PREVIEW_SHAPE) -> BoolArray:
        """
        Pixels within a ghost's outer edge, its hole and the vanes' shadows filled in, as annotators draw it.

        Returns
        -------
        ndarray of bool, shape (H, W)
            All False if no light of the pair falls on the preview.
        """
        mask = np.zeros(shape, bool)
        map_ = self._map(pair, star)
        patch = None if map_ is None else draw_ghost(map_, _geometry(star, shape, None), 1.0)
        if patch is not None:
            lit = patch.values[patch.values > 0]
            mask[patch.where] = patch.values > 0.25 * float(np.median(lit))  # an edge pixel is lit in part
        return mask

    def outline(self, pair: str, star: Star, shape: tuple[int, int] = PREVIEW_SHAPE) -> Outline | None:
        """
        Fit an ellipse to the image of the pupil's rim; None if the pair is dark.

        Vignetting is ignored: near the edge of the field the real ghost is smaller than its outline.
        """
        map_ = self._map(pair, star)
        if map_ is None:
            return None
        rows, columns = _geometry(star, shape, None).rim(map_)
        offsets = np.stack([columns - columns.mean(), rows - rows.mean()])
        variances, axes = np.linalg.eigh(offsets @ offsets.T / rows.size)
        minor, major = np.sqrt(2 * np.maximum(variances, 0))
        theta = np.arctan2(axes[1, 1], axes[0, 1])
        return Outline(float(rows.mean()), float(columns.mean()), float(major), float(minor), float(theta))

    def _map(self, pair: str, star: Star) -> GhostMap | None:
        """Ghost map of a pair for a star; None if it is dark."""
        mix = self.bank.mix_of_band(star.band)
        on_detector = self.bank.star_radius_mm(star.field_angle_deg, mix) < DETECTOR_RADIUS_MM
        if pair.startswith("D>") and not on_detector:
            return None
        return self.bank.ghost_map(pair, star.field_angle_deg, mix, star.filter_offset_mm)

    def _visible(
        self,
        star: Star,
        reflectivity: Reflectivity,
        cutoff: float,
        pairs: Iterable[str] | None,
        shape: tuple[int, int],
    ) -> dict[str, tuple[GhostMap, float]]:
        """Maps and throughputs of the pairs that are bright enough."""
        area = _pixel_area_mm2(shape) / open_area_m2()
        chosen = {}
        for pair in self.pairs if pairs is None else pairs:
            throughput = reflectivity.throughput(pair)
            if cutoff > 0 and self.bank.density(pair, star.field_angle_deg) * throughput * area < cutoff:
                continue
            map_ = self._map(pair, star)
            if map_ is not None:
                chosen[pair] = map_, throughput
        return chosen


def _pixel_area_mm2(shape: tuple[int, int]) -> float:
    """Area of a pixel of the preview on the focal plane."""
    x, y = Camera.decam(shape).to_mm([0.0, 1.0], [0.0, 1.0])
    return float(abs((x[1] - x[0]) * (y[1] - y[0])))


def _geometry(star: Star, shape: tuple[int, int], vane_width_mm: VaneWidths | None) -> StarGeometry:
    """Geometry of a star on a preview."""
    if vane_width_mm is None:
        return StarGeometry.of(star.field_angle_deg, star.azimuth_deg, shape, None)
    a, b, c, d = (width * 1e-3 for width in vane_width_mm)
    return StarGeometry.of(star.field_angle_deg, star.azimuth_deg, shape, (a, b, c, d))
