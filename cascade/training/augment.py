"""Augmentations of an exposure that preserve the pattern of the CCDs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from cascade.camera import Camera
from cascade.core.exposure import BoolArray, Float32Array, Instances, UInt8Array, tight_boxes
from cascade.training.sample import Sample

LIT = 35
"""Grey level between gaps or dead CCDs (24) and the sky (45-60)."""

GAP = 24
"""Grey level of gaps and dead CCDs."""

_SKY = 53.0
_SMOOTH_PX = 5
_DARK = 30.0  # smoothed grey level between lit pixels and gaps
_DEAD_SHARE = 0.15
_CONTRAST_SCATTER = 0.15  # of the logarithm
_MAX_NOISE = 5.0
_SKY_SCATTER = 3.0
_ZOOM_SCATTER = 0.12  # of the logarithm
_SHIFT_SCATTER_PX = 12.0
_MIN_AREA_PX = 40
_MIN_AREA_SHARE = 0.25  # of an artifact that must remain in the image


@dataclass(frozen=True, slots=True)
class Warp:
    """
    Geometric transform by nearest neighbour, which preserves the noise.

    Attributes
    ----------
    rows, columns
        (H, W) source pixel of each pixel.
    inside
        (H, W) bool: whether the source pixel lies within the image.
    zoom
        Factor by which lengths grow.
    """

    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    inside: BoolArray
    zoom: float

    @classmethod
    def random(cls, shape: tuple[int, int], rng: np.random.Generator) -> Warp:
        """Random rotation, and a small zoom and shift: ghosts move around the field with their stars."""
        angle, zoom = rng.uniform(0, 2 * np.pi), float(np.exp(rng.normal(0, _ZOOM_SCATTER)))
        middle = (np.array(shape) - 1) / 2
        shifted = middle + rng.normal(0, _SHIFT_SCATTER_PX, 2)
        y = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(shifted[0])
        x = np.arange(shape[1], dtype=np.float32) - np.float32(shifted[1])
        cos, sin = np.float32(np.cos(angle) / zoom), np.float32(np.sin(angle) / zoom)
        rows = np.rint(cos * y - sin * x + np.float32(middle[0])).astype(np.intp)
        columns = np.rint(sin * y + cos * x + np.float32(middle[1])).astype(np.intp)
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        return cls(np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1), inside, zoom)

    def image(self, image: UInt8Array) -> UInt8Array:
        """An (H, W) image, warped; undefined where not `inside`."""
        return image[self.rows, self.columns]

    def mask(self, mask: BoolArray) -> BoolArray:
        """A (..., H, W) mask, warped; False where not `inside`."""
        return mask[..., self.rows, self.columns] & self.inside

    def sample(self, sample: Sample, image: UInt8Array, field: BoolArray) -> Sample:
        """
        Transform the annotations of a sample to its warped `image`.

        Artifacts that leave most of the `field` of the CCDs, (H, W) bool, are dropped.
        """
        found = sample.found
        masks = self.mask(found.masks)
        seen = (masks & field).sum(axis=(1, 2))
        before = (found.masks & field).sum(axis=(1, 2)) * self.zoom**2
        keep = (seen >= _MIN_AREA_PX) & (seen >= _MIN_AREA_SHARE * before)
        kept = Instances(found.classes, found.scores, tight_boxes(masks), masks).select(keep)
        marked: Float32Array = sample.marked[:, self.rows, self.columns] * (self.inside & field)
        return Sample(image, kept, marked)


def augmented(sample: Sample, on_ccds: BoolArray, rng: np.random.Generator) -> Sample:
    """
    Flip an exposure at random, and change its contrast, noise and sky.

    The lattice of the CCDs is symmetric under vertical and horizontal flips.

    Parameters
    ----------
    sample : Sample
        Only flips change its annotations.
    on_ccds : ndarray of bool, shape (H, W)
        Pixels on CCDs; gaps keep their grey level.
    rng : numpy.random.Generator
    """
    down, across = (slice(None, None, int(step)) for step in rng.choice([-1, 1], size=2))
    image, masks = sample.image[down, across], sample.found.masks[:, down, across]
    found = Instances(sample.found.classes, sample.found.scores, tight_boxes(masks), masks)
    contrast, sky = np.exp(rng.normal(0, _CONTRAST_SCATTER)), _SKY + rng.normal(0, _SKY_SCATTER)
    levels = rng.standard_normal(image.shape, dtype=np.float32)
    levels *= np.float32(rng.uniform(0, _MAX_NOISE))
    levels += np.float32(contrast) * image + np.float32(sky - contrast * _SKY)
    # Smoothed, since single pixels at the dark edges of ghosts are below the level of the gaps.
    lit = on_ccds & (uniform_filter(image.astype(np.float32), _SMOOTH_PX, mode="nearest") > _DARK)
    image = np.where(lit, np.clip(np.rint(levels), 0, 255).astype(np.uint8), image)
    return Sample(image, found, sample.marked[:, down, across])


def with_dead_ccd(image: UInt8Array, camera: Camera, rng: np.random.Generator) -> UInt8Array:
    """An (H, W) image, with a random CCD dead at a probability of 15 %; annotations ignore dead CCDs."""
    if rng.random() >= _DEAD_SHARE:
        return image
    ccdnum = camera.ccds[int(rng.integers(len(camera.ccds)))].ccdnum
    dead: UInt8Array = np.where(camera.labels == ccdnum, np.uint8(GAP), image)
    return dead
