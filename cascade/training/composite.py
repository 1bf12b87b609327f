"""Mosaics of real CCDs: clean exposures, and ghosted ones with another background."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.core.exposure import BoolArray, UInt8Array
from cascade.training.augment import LIT, Warp

_FULL_WIDTH = 0.9  # CCDs cut off by the image border are narrower than this fraction of a whole one
_OWN_SHARE = 0.5  # probability to fill a CCD from its own exposure, if that has enough clean CCDs
_MIN_OWN = 12


class Compositor:
    """
    Recompose exposures from unmarked CCDs.

    A replaced CCD comes from the same exposure or from one of similar noise, is flipped within its cell at random, and
    scaled to the noise of the target. Few sources per image keep the seams faint; as a network may still learn them,
    ghosted exposures must be recomposed like clean ones.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 400, 400)
    marked : ndarray of bool, shape (N, 1 + n_ccds)
        CCDs on which any annotator marked a pixel, by ccdnum.
    camera : Camera

    Raises
    ------
    ConfigError
        If no exposure has enough clean CCDs.
    """

    def __init__(self, images: UInt8Array, marked: BoolArray, camera: Camera) -> None:
        self._images, self._marked = images, marked
        self._cells = {ccd.ccdnum: _extent(camera.labels == ccd.ccdnum) for ccd in camera.ccds}
        full = max(columns.stop - columns.start for _, columns in self._cells.values()) * _FULL_WIDTH
        quadrants = [self._quadrants(image) for image in images]
        self._alive = np.array([lit.any(axis=1) for lit in quadrants])
        self._whole = np.array([lit.all(axis=1) for lit in quadrants])
        self._on_ccds: BoolArray = camera.labels > 0
        self._always_dark = camera.dark_pixels(None)
        self._lit = np.stack([self._lit_pixels(lit, camera.labels) for lit in quadrants])
        self._donors = [
            [
                image[cell]
                for ccdnum, cell in self._cells.items()
                if not marked[n, ccdnum] and self._whole[n, ccdnum] and cell[1].stop - cell[1].start >= full
            ]
            for n, image in enumerate(images)
        ]
        self._is_donor = np.array([len(donors) >= _MIN_OWN for donors in self._donors])
        if not self._is_donor.any():
            most = max(map(len, self._donors), default=0)
            msg = f"clean mosaics: expected an exposure with {_MIN_OWN} whole unmarked CCDs, got {most} at most"
            raise ConfigError(msg)
        self._sky, self._noise = np.array([_sky_and_noise(donors) for donors in self._donors]).T

    def clean(self, index: int, rng: np.random.Generator) -> UInt8Array:
        """Exposure `index` with all marked CCDs and a random subset of the others replaced."""
        return self._rebuilt(index, self._marked[index] | self._some(rng), rng)

    def with_other_background(self, index: int, rng: np.random.Generator) -> UInt8Array:
        """Exposure `index` with a random subset of the unmarked CCDs replaced."""
        return self._rebuilt(index, self._some(rng) & ~self._marked[index], rng)

    def transplanted(self, index: int, warp: Warp, region: BoolArray, rng: np.random.Generator) -> UInt8Array:
        """
        Paste part of exposure `index`, warped, onto a clean mosaic of another.

        Pixels in gaps of the target are lost; gaps of the source show the target.

        Parameters
        ----------
        index : int
            Source exposure.
        warp : Warp
            Geometric transform.
        region : ndarray of bool, shape (400, 400)
            Part of the source, before warping.
        rng : numpy.random.Generator
            Chooses the target.
        """
        target = int(rng.integers(len(self._images)))
        pasted = warp.mask(region & self._lit[index]) & self._lit[target]
        image = self.clean(target, rng)
        image[pasted] = self._matched(warp.image(self._images[index]), index, target)[pasted]
        return image

    def injected(self, image: UInt8Array, region: BoolArray, rng: np.random.Generator) -> UInt8Array:
        """
        Paste part of a foreign exposure onto a clean mosaic, at the mosaic's sky and noise.

        Parameters
        ----------
        image : ndarray of uint8, shape (400, 400)
        region : ndarray of bool, shape (400, 400)
            Part to paste.
        rng : numpy.random.Generator
            Chooses the target.
        """
        target = int(rng.integers(len(self._images)))
        mosaic = self.clean(target, rng)
        rest = image[self._on_ccds & ~region]
        sky, noise = _sky_and_noise([rest] if rest.size else [])
        pasted = region & self._lit[target]
        mosaic[pasted] = self._levels(image[pasted], sky, noise, target)
        return mosaic

    def _some(self, rng: np.random.Generator) -> BoolArray:
        """A random subset of the CCDs, of random size."""
        some: BoolArray = np.less(rng.random(self._marked.shape[1]), rng.random())
        return some

    def _rebuilt(self, index: int, replaced: BoolArray, rng: np.random.Generator) -> UInt8Array:
        """Exposure `index` with CCDs replaced; dead ones stay dead."""
        image: UInt8Array = self._images[index].copy()
        other = self._similar(index, rng)
        for ccdnum, cell in self._cells.items():
            if replaced[ccdnum] and self._alive[index, ccdnum]:
                own = self._is_donor[index] and rng.random() < _OWN_SHARE
                image[cell] = self._patch(index if own else other, index, image[cell].shape, rng)
        image[self._always_dark] = self._images[index][self._always_dark]
        return image

    def _similar(self, index: int, rng: np.random.Generator) -> int:
        """One of the three donor exposures closest in noise."""
        n_donors = int(self._is_donor.sum())
        distance = np.abs(np.log(self._noise / self._noise[index]))
        distance[~self._is_donor] = np.inf
        distance[index] = np.inf if n_donors > 1 else distance[index]
        return int(rng.choice(np.argsort(distance)[: min(3, max(n_donors - 1, 1))]))

    def _patch(self, source: int, target: int, shape: tuple[int, ...], rng: np.random.Generator) -> UInt8Array:
        """One donor CCD, flipped at random, cropped or padded to `shape`, at the target's noise."""
        donor = self._donors[source][rng.integers(len(self._donors[source]))]
        donor = donor[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])][: shape[0], : shape[1]]
        donor = np.pad(donor, [(0, full - got) for full, got in zip(shape, donor.shape, strict=True)], mode="edge")
        return self._matched(donor, source, target)

    def _matched(self, pixels: UInt8Array, source: int, target: int) -> UInt8Array:
        """Pixels of one exposure, rescaled to the sky level and noise of another."""
        return self._levels(pixels, self._sky[source], self._noise[source], target)

    def _levels(self, pixels: UInt8Array, sky: float, noise: float, target: int) -> UInt8Array:
        """Pixels of given sky level and noise, rescaled to those of an exposure."""
        gain = self._noise[target] / noise
        levels = self._sky[target] + gain * (pixels.astype(np.float32) - sky)
        matched: UInt8Array = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        return matched

    def _lit_pixels(self, quadrants: BoolArray, labels: UInt8Array) -> BoolArray:
        """(400, 400) bool: pixels on lit quarters of CCDs."""
        lit = np.zeros(labels.shape, bool)
        for ccdnum, cell in self._cells.items():
            quarters = quadrants[ccdnum].reshape(2, 2)
            for half, sides in zip(np.array_split(lit[cell], 2), quarters, strict=True):
                for quarter, is_lit in zip(np.array_split(half, 2, axis=1), sides, strict=True):
                    quarter[:] = is_lit
        return lit & (labels > 0)

    def _quadrants(self, image: UInt8Array) -> BoolArray:
        """Which quarters of each CCD are lit, (1 + n_ccds, 4) by ccdnum: bright stars blank parts of a CCD."""
        lit = np.zeros((self._marked.shape[1], 4), bool)
        for ccdnum, cell in self._cells.items():
            quarters = (q for half in np.array_split(image[cell], 2) for q in np.array_split(half, 2, axis=1))
            lit[ccdnum] = [float(np.median(quarter)) > LIT for quarter in quarters]
        return lit


def _extent(pixels: BoolArray) -> tuple[slice, slice]:
    """Rows and columns that a mask spans."""
    rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _sky_and_noise(donors: list[UInt8Array]) -> tuple[float, float]:
    """Median grey level and robust standard deviation (1.4826 MAD) of clean CCDs."""
    if not donors:
        return 53.0, 12.0
    values: npt.NDArray[np.float64] = np.concatenate([donor.ravel() for donor in donors]).astype(float)
    sky = float(np.median(values))
    return sky, 1.4826 * float(np.median(np.abs(values - sky)))
