"""Blocks of many CCDs onto one preview: each pixel the mean of the sky it covers, stretched by the noise alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from logging import getLogger
from typing import NamedTuple

import numpy as np

from cascade.camera import Camera
from cascade.core.errors import input_error, printable
from cascade.core.exposure import Float32Array, UInt8Array
from cascade.inputs.fits.binning import BLOCK_PX, Blocks, blocks_of
from cascade.inputs.fits.ccds import CcdImage, FitsExposure
from cascade.inputs.fits.pixels import read_ccd
from cascade.inputs.time_limit import check_time

logger = getLogger(__name__)

GAP_LEVEL = 23.0
"""Grey level of gaps and dead areas in DES previews (measured)."""

SKY_LEVEL = 52.5
"""Grey level of the sky: the median of DES previews, where it runs from 36 to 64."""

GREY_PER_SIGMA = 71.0
"""
Grey levels for an excess of the noise of one CCD pixel.

In DES previews the noise is 6.6 grey levels, and 0.42 % of the sky in g, 0.092 % in z, by the brightness of their
ghosts (`cascade.simulate.conditions`). A CCD pixel has 4.7 % and 0.92 % (AVSIG / AVSKY of Community Pipeline exposures
of 100 s), 10.7 times as much on average, hence 10.7 * 6.6. So a ghost is as bright as in a DES preview; the noise is
lower, for all pixels are averaged.
"""

_DEAD_NOISE = 0.25  # of the median of all CCDs: without light only the noise of the readout is left
_MIN_SHARE = 0.25  # of the lit part of a preview pixel that good blocks must cover for it to count in full


class _Tile(NamedTuple):
    """A CCD on the preview: its window, the excess in it, and how much of each pixel is lit."""

    rows: slice
    columns: slice
    excess: Float32Array
    share: Float32Array
    noise: float


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """
    A preview and what was met on the way.

    Attributes
    ----------
    image
        (H, W) uint8 on the camera's grid.
    noise
        Standard deviation of a CCD pixel in the units of the exposure, median over its CCDs: what the stretch rests on.
    n_ccds
        CCDs with light.
    remarks
        One line for each CCD that was there but dark, and for each value of a header that could not be used.
    """

    image: UInt8Array
    noise: float
    n_ccds: int
    remarks: tuple[str, ...]


def render(exposure: FitsExposure, camera: Camera) -> Preview:
    """
    Make the preview of an exposure; one CCD is in memory at a time.

    Parameters
    ----------
    exposure : FitsExposure
        Its CCDs are placed by their numbers; missing ones stay dark.
    camera : Camera
        Knows where they lie and which areas are dead.

    Returns
    -------
    Preview

    Raises
    ------
    InputError
        If a CCD cannot be read, or none holds light.
    """
    tiles: dict[str, _Tile] = {}  # by detpos
    remarks = list(exposure.remarks)
    dead = camera.dead_ccdnums(exposure.expnum)
    for image in exposure.ccds:
        if image.ccd.ccdnum in dead:
            continue
        pixels = read_ccd(image, exposure.name)
        check_time(exposure.name)
        remarks += [f"{image.ccd.detpos}: {remark}" for remark in pixels.remarks]
        blocks = blocks_of(pixels)
        if blocks is None:
            remarks.append(f"{image.ccd.detpos}: no pixels of sky, left dark")
        else:
            tiles[image.ccd.detpos] = _tile(blocks, image, camera)
    if not tiles:
        raise input_error(exposure.name, "expected CCDs with light, got none")
    noise = float(np.median([tile.noise for tile in tiles.values()]))
    levels = np.zeros(camera.shape, np.float32)
    n_ccds = 0
    for detpos, tile in tiles.items():
        if tile.noise < _DEAD_NOISE * noise:
            remarks.append(f"{detpos}: noise {tile.noise:.3g} against {noise:.3g} of all CCDs, left dark")
            continue
        n_ccds += 1
        lit = SKY_LEVEL - GAP_LEVEL + GREY_PER_SIGMA / noise * tile.excess
        levels[tile.rows, tile.columns] += tile.share * np.clip(lit, -GAP_LEVEL, 255 - GAP_LEVEL)
    levels[camera.dark_pixels(exposure.expnum)] = 0
    for remark in remarks:
        logger.warning("%s", printable(f"{exposure.name}: {remark}"))
    grey = np.clip(np.rint(levels + GAP_LEVEL), 0, 255).astype(np.uint8)
    return Preview(grey, noise, n_ccds, tuple(remarks))


def _tile(blocks: Blocks, image: CcdImage, camera: Camera) -> _Tile:
    """Average the blocks of a CCD over the preview pixels that they fall on."""
    height, width = blocks.excess.shape
    y = image.origin[0] + blocks.margin[0] + BLOCK_PX * np.arange(height + 1)
    x = image.origin[1] + blocks.margin[1] + BLOCK_PX * np.arange(width + 1)
    place = partial(camera.ccd_pixel_to_preview, image.ccd)
    row_edges, column_edges = place(0, x)[0], place(y, 0)[1]
    rows, along_x = _overlaps(row_edges, camera.shape[0])
    columns, along_y = _overlaps(column_edges, camera.shape[1])
    # FITS axis 1 runs down the preview and axis 2 to the left: the matrices turn the CCD.
    good = blocks.good.astype(np.float32)
    covered = along_x @ good.T @ along_y.T
    excess = (along_x @ blocks.excess.T @ along_y.T) / np.maximum(covered, 1e-6)
    lit = along_x.sum(axis=1)[:, None] * along_y.sum(axis=1)
    share = np.minimum(lit, covered / np.float32(_MIN_SHARE))
    return _Tile(rows, columns, excess.astype(np.float32), share, blocks.noise)


def _overlaps(edges: np.ndarray, size: int) -> tuple[slice, Float32Array]:
    """Pixels along an axis of the preview, and the share of each that every block, between its edges, covers."""
    low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    first = int(np.clip(np.floor(low.min()), 0, size))
    last = int(np.clip(np.ceil(high.max()), first, size))
    pixel = np.arange(first, last)[:, None]
    overlap = np.clip(np.minimum(pixel + 1, high) - np.maximum(pixel, low), 0, None)
    return slice(first, last), overlap.astype(np.float32)
