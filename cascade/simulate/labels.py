"""
Labels as annotators draw them: one filled outline per artifact, classified by appearance, if it is visible.

**Visibility.** A ghost or a beam is labelled if its signal-to-noise ratio

    S/N = sqrt(sum over lit pixels of (band-passed light)²) / noise

is at least `MIN_GHOST_SNR` or `MIN_RAYS_SNR`, and at least `MIN_SHARE` of that of the highest-S/N artifact in the
exposure, since annotators skip the weakest beside it. The band pass is a mean over 3 pixels, since stripes of single
pixels are invisible, minus one over 9, which emulates the survey's sky mesh: of a ghost it leaves only edges. The noise
includes unresolved stars. The limit is set from real exposures: along the circles and ellipses that annotators drew, a
fitted step has an S/N of 8.7 or more in nine of ten ghosts under 25 px of radius, 7.3 from 25 to 50 px and 5.4 beyond
(4.7 in the median at random places, since the fit looks for the best step nearby). Of the simulated ghosts that the
rule labels, nine of ten reach 8.9, 7.8 and 6.1; see benchmarks/simulator.md.

**Shape.** What annotators draw around a ghost is the image of the pupil's rim, as a circle or an ellipse, or as a
polygon where a lens edge cuts it off. It includes holes, vanes and gaps between CCDs. A beam of Rays gets the convex
hull of where it stands out.

**Class.** Bright is compact with a high surface brightness, Faint large or weak; annotators disagree on the boundary.
See `cascade.sky.brightness.ghost_class`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure, morphology

from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray, Float32Array
from cascade.core.via import Region

MIN_GHOST_SNR = 10.0
"""Minimum signal-to-noise ratio of a visible ghost."""

MIN_RAYS_SNR = 14.0
"""The same for a beam of Rays, whose texture is easier to confuse with stars than a smooth edge."""

MIN_SHARE = 0.1
"""Minimum S/N relative to the highest-S/N artifact of the exposure."""

_FINE_PX = 3
_HIGH_PASS_PX = 9  # about two meshes of the survey's background
_TEXTURE_PX = 9
_RAYS_CONTRAST = 0.5  # local rms over noise at which annotators end a beam
_MIN_AREA_PX = 70
_CIRCLE_RATIO = 1.12  # rounder ellipses are drawn as circles
_CUT_SHARE = 0.86  # lit fraction of the outline's ellipse below which it is drawn as a polygon
_SAME_OVERLAP = 0.62  # two outlines this alike are drawn once

# Fraction of annotators who draw an artifact: 1 / (1 + (half / S/N)**_DRAWN_POWER). Measured on the 66 rings and discs
# that anyone drew on the 25 dev exposures: of small ones (to 30 px of radius) 0.62 to 0.77 of the eight annotators drew
# those with a fitted step of 7 to 12, of large ones (from 60 px) 0.12 did up to 9, 0.7 from 12 to 16; simulated ones
# have such steps at these S/N. Rays were not measured: half at their limit.
_DRAWN_HALF_SNR = (10.0, 21.0)
_DRAWN_RADII_PX = (30.0, 60.0)
_DRAWN_POWER = 5.0


@dataclass(frozen=True, slots=True)
class Label:
    """
    One labelled artifact.

    Attributes
    ----------
    region
        Outline and class.
    mask
        (400, 400) bool, the filled outline.
    snr
        Signal-to-noise ratio; see the module's docstring.
    origin
        Surface pair of a ghost, or kind of a beam.
    star
        Number of the star that makes the ghost; None for a beam.
    """

    region: Region
    mask: BoolArray
    snr: float
    origin: str
    star: int | None = None

    @property
    def drawn_share(self) -> float:
        """Fraction of annotators who would draw it, in [0, 1]; see `_DRAWN_HALF_SNR`."""
        half = MIN_RAYS_SNR
        if self.region.artifact != Artifact.RAYS:
            radius = float(np.sqrt(np.count_nonzero(self.mask) / np.pi))
            half = float(np.interp(radius, _DRAWN_RADII_PX, _DRAWN_HALF_SNR))
        return float(1 / (1 + (half / max(self.snr, 1e-3)) ** _DRAWN_POWER))


def band_passed(light: Float32Array) -> Float32Array:
    """Light averaged over 3x3 pixels, minus its mean over about two meshes."""
    fine: Float32Array = ndimage.uniform_filter(light, _FINE_PX, mode="nearest")
    smooth: Float32Array = ndimage.uniform_filter(light, _HIGH_PASS_PX, mode="nearest")
    return fine - smooth


def visibility(light: Float32Array, lit: BoolArray, noise: float) -> float:
    """
    Signal-to-noise ratio of an artifact's band-passed light.

    Parameters
    ----------
    light : ndarray of float32, shape (h, w)
        Its light in grey levels.
    lit : ndarray of bool, shape (h, w)
        Pixels on live CCDs that no saturated star hides.
    noise : float
        Grey levels.
    """
    # Beyond 6 times the noise a pixel is no more visible.
    clipped = np.clip(band_passed(light)[lit] / np.float32(noise), -6, 6)
    return float(np.sqrt(np.dot(clipped, clipped)))


def ellipse_region(artifact: Artifact, row: float, column: float, major: float, minor: float, theta: float) -> Region:
    """A circle if nearly round, else an ellipse; `theta` from +column towards +row, radians."""
    if major < _CIRCLE_RATIO * minor:
        radius = float(np.sqrt(major * minor))
        return Region(artifact, "circle", (row,), (column,), (radius, radius))
    return Region(artifact, "ellipse", (row,), (column,), (minor, major), theta)


def outline_region(artifact: Artifact, mask: BoolArray) -> Region | None:
    """A polygon of few corners around the convex hull of the largest part of a mask; None if it is too small."""
    parts, n_parts = ndimage.label(mask)
    if n_parts == 0:
        return None
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    rows, columns = (np.flatnonzero(largest.any(axis=axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if min(largest[box].shape) < 2:
        return None
    hull = morphology.convex_hull_image(largest[box])  # type: ignore[no-untyped-call]
    if hull.sum() < _MIN_AREA_PX:
        return None
    contours = measure.find_contours(np.pad(hull, 1).astype(float), 0.5)  # type: ignore[no-untyped-call]
    corners = measure.approximate_polygon(max(contours, key=len), tolerance=1.0)  # type: ignore[no-untyped-call]
    corners = corners[:-1] - 1 + [rows[0], columns[0]]
    return Region(artifact, "polygon", tuple(map(float, corners[:, 0])), tuple(map(float, corners[:, 1])))


def rays_extent(light: Float32Array, lit: BoolArray, noise: float) -> BoolArray:
    """Where a beam stands out: (h, w) bool, with gaps between CCDs closed."""
    square = (light - ndimage.uniform_filter(light, _HIGH_PASS_PX, mode="nearest")) ** 2
    weight = ndimage.uniform_filter(lit.astype(np.float32), _TEXTURE_PX, mode="constant")
    power = ndimage.uniform_filter(np.where(lit, square, 0), _TEXTURE_PX, mode="constant")
    rms = np.sqrt(np.maximum(power, 0) / np.maximum(weight, 0.1))
    extent: BoolArray = (rms > _RAYS_CONTRAST * noise) & (weight > 0.2)
    return extent


def cut_off(footprint: BoolArray, ellipse: BoolArray) -> bool:
    """Whether a lens edge vignettes so much of a ghost that its outline is not an ellipse."""
    area = int(ellipse.sum())
    return area == 0 or int((footprint & ellipse).sum()) < _CUT_SHARE * area


def merged(labels: list[Label], min_share: float = MIN_SHARE) -> list[Label]:
    """Labels by falling S/N, without near-duplicates of one of higher S/N, of any class."""
    kept: list[Label] = []
    least = min_share * max((label.snr for label in labels), default=0.0)
    labels = [label for label in labels if label.snr >= least]
    for label in sorted(labels, key=lambda label: -label.snr):
        if label.mask.sum() >= _MIN_AREA_PX and all(_overlap(label.mask, other.mask) < _SAME_OVERLAP for other in kept):
            kept.append(label)
    return kept


def _overlap(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Intersection over union."""
    first, second = first[::2, ::2], second[::2, ::2]
    both = int(np.count_nonzero(first & second))
    return both / max(int(np.count_nonzero(first | second)), 1)
