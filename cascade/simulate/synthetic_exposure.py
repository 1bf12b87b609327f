"""One synthetic exposure: sky, ghosts of bright stars, Rays, and the labels that annotators would draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray, Float32Array, Instances, UInt8Array
from cascade.core.via import region_instances
from cascade.optics.ghost_optics import GhostOptics
from cascade.simulate.conditions import Conditions, Ranges, draw_conditions
from cascade.simulate.ghosts import Ghosts, Scene, draw_ghosts
from cascade.simulate.labels import MIN_RAYS_SNR, MIN_SHARE, Label, merged, outline_region, rays_extent, visibility
from cascade.simulate.mosaic import Blank, Mosaic, lit_pixels
from cascade.simulate.night_sky import Saturated, draw_sky, saturated_light
from cascade.simulate.rays import Beam, Throw, draw_rays

if TYPE_CHECKING:
    from cascade.simulate.survey import Observation

Kind = Literal["clean", "ghosts", "rays", "both"]

_UNRESOLVED = 1.35  # factor on the pixel noise from unresolved stars
_TRIES = 8


@dataclass(frozen=True, slots=True)
class StarTruth:
    """
    Ground truth of a star bright enough to make ghosts.

    Attributes
    ----------
    magnitude
        In the band of the exposure.
    field_angle_deg, azimuth_deg
        Its position; see `cascade.optics.ghost_optics.Star`.
    filter_offset_mm
        Filter position.
    pairs
        Surface pairs of the rendered ghosts.
    snrs
        Signal-to-noise ratio of each, by the rule of `cascade.simulate.labels`.
    hip
        Hipparcos number of a real star.
    """

    magnitude: float
    field_angle_deg: float
    azimuth_deg: float
    filter_offset_mm: float
    pairs: tuple[str, ...]
    snrs: tuple[float, ...]
    hip: int | None = None


@dataclass(frozen=True)
class SimulatedExposure:
    """
    One synthetic exposure.

    Attributes
    ----------
    expnum
        Synthetic exposure number.
    image
        (400, 400) uint8.
    labels
        What annotators would draw; empty if clean.
    stars
        The bright stars, whether or not their ghosts are visible.
    conditions
        Band, depth and stretch.
    observation
        Where it looked and when; None: nowhere in particular.
    """

    expnum: int
    image: UInt8Array
    labels: tuple[Label, ...]
    stars: tuple[StarTruth, ...]
    conditions: Conditions
    observation: Observation | None = None

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Distinct classes of the labels, sorted."""
        return tuple(sorted({label.region.artifact for label in self.labels}))

    @cached_property
    def instances(self) -> Instances:
        """The labels as instances with masks."""
        return region_instances([label.region for label in self.labels], self.image.shape[:2])


class Simulator:
    """
    Draws exposures; caches the optics and the static fields of the camera.

    Parameters
    ----------
    camera : Camera or None
        On a 400x400 grid; None: DECam.
    optics : GhostOptics or None
        None: the shipped bank.
    ranges : Ranges or None
        None: those that networks are trained on.
    """

    def __init__(
        self, camera: Camera | None = None, optics: GhostOptics | None = None, ranges: Ranges | None = None
    ) -> None:
        self.mosaic = Mosaic(camera or Camera.decam())
        self.optics = optics or GhostOptics.load()
        self.ranges = ranges or Ranges()

    def draw(self, kind: Kind, rng: np.random.Generator, *, expnum: int = 900001) -> SimulatedExposure:
        """
        Draw one exposure.

        Parameters
        ----------
        kind : {"clean", "ghosts", "rays", "both"}
            Clean exposures have no label, but may contain saturated stars, trails and invisibly weak ghosts; the others
            have at least one.
        rng : numpy.random.Generator
        expnum : int

        Returns
        -------
        SimulatedExposure
        """
        ghosts = partial(draw_ghosts, seen=kind in ("ghosts", "both"))
        throws = (None,) if kind in ("rays", "both") else ()
        return self.compose(draw_conditions(rng, self.ranges), ghosts, throws, rng, expnum=expnum)

    def compose(
        self,
        conditions: Conditions,
        ghosts_of: Callable[..., list[Ghosts]],
        throws: Sequence[Throw | None],
        rng: np.random.Generator,
        *,
        expnum: int,
        observation: Observation | None = None,
    ) -> SimulatedExposure:
        """
        Put an exposure together.

        Parameters
        ----------
        conditions : Conditions
        ghosts_of : callable
            Renders the ghosts of a `Scene`, given as ``scene`` and ``rng``.
        throws : sequence of Throw or None
            A star each that throws Rays.
        rng : numpy.random.Generator
        expnum : int
        observation : Observation or None
            What the exposure is of, if people's choice of what to draw is part of that already; None: they skip what
            is weakest beside the rest.
        """
        lit = lit_pixels(self.mosaic, conditions)
        noise = conditions.noise * _UNRESOLVED
        extended = np.zeros(self.mosaic.camera.shape, np.float32)
        sharp = draw_sky(conditions, self.mosaic, rng)
        labels: list[Label] = []
        blanks: list[Blank] = []
        scene = Scene(self.optics, self.mosaic, lit, conditions, noise, self.ranges.filter_offsets_mm)
        ghosts = ghosts_of(scene=scene, rng=rng)
        for ghost in ghosts:
            extended += ghost.light
            blanks += self._add_star(ghost, extended, sharp, conditions, rng)
            labels += ghost.labels
        for throw in throws:
            labels += self._add_rays(extended, lit, noise, rng, throw)
        image = self.mosaic.preview(extended, sharp, conditions, rng, tuple(blanks))
        kept = merged(labels, MIN_SHARE if observation is None else 0.0)
        stars = tuple(_truth(ghost) for ghost in ghosts)
        return SimulatedExposure(expnum, image, tuple(kept), stars, conditions, observation)

    def _add_star(
        self,
        ghosts: Ghosts,
        extended: Float32Array,
        sharp: Float32Array,
        conditions: Conditions,
        rng: np.random.Generator,
    ) -> tuple[Blank, ...]:
        """Add the star of the ghosts, if its direct image is on the preview."""
        row, column = ghosts.position
        if not (0 <= row < extended.shape[0] and 0 <= column < extended.shape[1]):
            return ()
        star = Saturated(row, column, conditions.grey_of_star(ghosts.magnitude))
        halo, core, blanks = saturated_light(star, conditions, self.mosaic, rng)
        extended += halo
        sharp += core
        return blanks

    def _add_rays(
        self, extended: Float32Array, lit: BoolArray, noise: float, rng: np.random.Generator, throw: Throw | None
    ) -> list[Label]:
        """Add beams, at least one of them visible; returns their labels."""
        for _ in range(_TRIES):
            beams = draw_rays(noise, self.mosaic.camera, rng, throw)
            labels = [label for beam in beams if (label := _rays_label(beam, lit, noise)) is not None]
            if labels:
                break
        for beam in beams:
            extended[beam.box] += beam.light
        return labels


def _rays_label(beam: Beam, lit: BoolArray, noise: float) -> Label | None:
    """The label of a beam, or None if it is not visible."""
    inside = lit[beam.box]
    snr = visibility(beam.light, inside, noise)
    if snr < MIN_RAYS_SNR:
        return None
    extent = np.zeros(lit.shape, bool)
    extent[beam.box] = rays_extent(beam.light, inside, noise)
    region = outline_region(Artifact.RAYS, extent)
    return None if region is None else Label(region, region.mask(lit.shape), snr, beam.kind)


def _truth(ghosts: Ghosts) -> StarTruth:
    """Ground truth of one star."""
    star = ghosts.star
    return StarTruth(
        ghosts.magnitude,
        star.field_angle_deg,
        star.azimuth_deg,
        star.filter_offset_mm,
        tuple(ghosts.snrs),
        tuple(ghosts.snrs.values()),
        ghosts.hip,
    )
