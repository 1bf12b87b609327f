"""A CCD in blocks of 8x8 pixels: robust means, the sky under them, and the noise of a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.core.exposure import BoolArray, Float32Array
from cascade.inputs.fits.pixels import CcdPixels

BLOCK_PX = 8
"""Side of a block: eight of them fit into a preview pixel of DECam each way, so its edges stay sharp."""

EDGE_PX = 16
"""Pixels at the edges of a CCD that are left out: they glow, and DES masks 15 (lit height of 28.64 preview pixels)."""

MESH_PX = 410
"""Side of a mesh of the sky background: of DES previews, a tenth of the long side of a CCD fits best."""

_CLIP_SIGMA = 30.0  # a pixel counts at most so far from the sky, so that stars are points and cosmic rays nothing
_SAMPLE = (32, 4)  # every so many rows and columns give the level and noise of a CCD
_STRIP = 64  # rows clipped and summed at a time, which stay in the cache
_MIN_GOOD = 0.25  # share of the pixels of a block that must be good
_MESHES = 3  # the mesh is median-filtered over 3x3, as SExtractor does
_MAD_TO_SIGMA = 1.4826
_OUTLIER = 4.0  # standard deviations beyond which a difference of neighbours is no noise
_INSIDE = 0.99946  # standard deviation of a normal distribution cut there


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """
    A CCD in blocks.

    Attributes
    ----------
    excess
        (h, w) float32 mean over the sky background, in units of the image; 0 where not good.
    good
        (h, w) bool: blocks with enough good pixels.
    margin
        (y, x) pixels left out before the first block.
    sky, noise
        Level and standard deviation of a pixel of sky, in units of the image.
    """

    excess: Float32Array
    good: BoolArray
    margin: tuple[int, int]
    sky: float
    noise: float


def blocks_of(pixels: CcdPixels) -> Blocks | None:
    """
    Bin a CCD and take its sky off.

    Returns
    -------
    Blocks or None
        None if the CCD is dead: not one finite good pixel, or no noise at all.
    """
    values = pixels.values
    sky, noise = _level_and_noise(values)
    if not noise > 0:
        return None
    (top, height), (left, width) = (_blocks_along(side) for side in values.shape)
    if height < 1 or width < 1:
        return None
    window = np.s_[top : top + height * BLOCK_PX, left : left + width * BLOCK_PX]
    bad = None if pixels.bad is None else pixels.bad[window]
    limits = (np.float32(sky - _CLIP_SIGMA * noise), np.float32(sky + _CLIP_SIGMA * noise))
    sums, counts = _clipped_sums(values[window], bad, limits)
    good = counts >= _MIN_GOOD * BLOCK_PX**2
    if not good.any():
        return None
    means = (sums / np.maximum(counts, 1)).astype(np.float32)
    means -= _background(means, good)
    means[~good] = 0
    return Blocks(means, good, (top, left), sky, noise)


def _level_and_noise(values: Float32Array) -> tuple[float, float]:
    """Median of a CCD and the noise of its pixels, from differences of neighbours, which gradients do not feed."""
    sample = values[:: _SAMPLE[0]]
    finite = sample[:, :: _SAMPLE[1]]
    finite = finite[np.isfinite(finite)]
    steps = sample[:, 1::2] - sample[:, : sample.shape[1] // 2 * 2 : 2]
    steps = steps[np.isfinite(steps)]
    if not len(finite) or not len(steps):
        return float("nan"), 0.0
    steps -= np.median(steps)
    # The median of whole numbers is one; the standard deviation within a cut is not.
    inside = steps[np.abs(steps) <= _OUTLIER * _MAD_TO_SIGMA * np.median(np.abs(steps))]
    return float(np.median(finite)), float(np.std(inside) / _INSIDE / np.sqrt(2))


def _blocks_along(side: int) -> tuple[int, int]:
    """Margin before the first block, and number of blocks, along a side of a CCD."""
    n_blocks = max(side - 2 * EDGE_PX, 0) // BLOCK_PX
    return (side - n_blocks * BLOCK_PX) // 2, n_blocks


def _clipped_sums(
    values: Float32Array, bad: BoolArray | None, limits: tuple[np.float32, np.float32]
) -> tuple[Float32Array, Float32Array]:
    """Sums of the good pixels of each block, each pixel clipped, and their number."""
    n_rows, n_columns = values.shape[0] // BLOCK_PX, values.shape[1] // BLOCK_PX
    starts = np.arange(0, values.shape[1], BLOCK_PX)
    sums = np.empty((n_rows, n_columns), np.float32)
    counts = np.full((n_rows, n_columns), BLOCK_PX**2, np.float32)
    for first in range(0, values.shape[0], _STRIP):
        strip = np.clip(values[first : first + _STRIP], *limits)
        rows = slice(first // BLOCK_PX, (first + len(strip)) // BLOCK_PX)
        columns = np.add.reduce(strip.reshape(-1, BLOCK_PX, strip.shape[1]), axis=1)
        mask = None if bad is None else bad[first : first + _STRIP]
        if (mask is not None and mask.any()) or not np.isfinite(columns).all():
            good = np.isfinite(strip) if mask is None else np.isfinite(strip) & ~mask
            strip[~good] = 0
            columns = np.add.reduce(strip.reshape(-1, BLOCK_PX, strip.shape[1]), axis=1)
            numbers = np.add.reduce(good.reshape(-1, BLOCK_PX, good.shape[1]), axis=1, dtype=np.float32)
            counts[rows] = np.add.reduceat(numbers, starts, axis=1)
        sums[rows] = np.add.reduceat(columns, starts, axis=1)
    return sums, counts


def _background(means: Float32Array, good: BoolArray) -> Float32Array:
    """Sky background of the blocks: clipped modes in meshes, a median over 3x3 of them, and a spline between."""
    import sep

    mesh = round(MESH_PX / BLOCK_PX)
    background = sep.Background(
        np.ascontiguousarray(means),
        mask=None if good.all() else ~good,
        bw=min(mesh, means.shape[1]),
        bh=min(mesh, means.shape[0]),
        fw=_MESHES,
        fh=_MESHES,
    )
    smooth: Float32Array = background.back(dtype=np.float32)
    return smooth
