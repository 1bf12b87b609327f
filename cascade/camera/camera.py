"""CCD layout of a camera, read from a data file, and its label image."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cascade.errors import ConfigError
from cascade.exposure import PREVIEW_SHAPE, UInt8Array

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ccd:
    """
    One CCD.

    Attributes
    ----------
    ccdnum
        Number of the CCD, from 1.
    detpos
        Name of its position, e.g. ``"S29"``.
    x_mm, y_mm
        Centre on the focal plane in mm, along the short and the long side of the CCD.
    """

    ccdnum: int
    detpos: str
    x_mm: float
    y_mm: float


@dataclass(frozen=True, slots=True)
class DeadArea:
    """
    A CCD, or one half of it as seen in the preview, that was dark from `first_expnum` to `last_expnum`.

    None as an end means: from the first, or to the last exposure of the camera.
    """

    ccdnum: int
    half: Literal["upper", "lower"] | None = None
    first_expnum: int | None = None
    last_expnum: int | None = None

    def covers(self, expnum: int | None) -> bool:
        """Whether the area was dark in exposure `expnum`; an unknown expnum meets only permanent ones."""
        if self.first_expnum is None and self.last_expnum is None:
            return True
        if expnum is None:
            return False
        return (self.first_expnum or 0) <= expnum <= (self.last_expnum or expnum)


@dataclass(frozen=True, eq=False)
class Camera:
    """
    The CCDs of a camera on an (H, W) preview grid.

    Positions in pixels are continuous (row, column) from the outer corner of pixel (0, 0): pixel i covers [i, i + 1).

    Attributes
    ----------
    name
        Name of the camera, e.g. ``"decam"``.
    shape
        (H, W) of the preview.
    ccds
        All CCDs, by rising ccdnum.
    dead
        Areas known to be dark.
    labels
        (H, W) uint8: the ccdnum whose light-sensitive area holds the centre of the pixel, 0 in gaps.
    """

    name: str
    shape: tuple[int, int]
    ccds: tuple[Ccd, ...]
    dead: tuple[DeadArea, ...]
    labels: UInt8Array
    _centre_px: FloatArray
    _scale_px_mm: FloatArray

    @classmethod
    def decam(cls, shape: tuple[int, int] = PREVIEW_SHAPE) -> Camera:
        """
        Build the Dark Energy Camera on a preview of any size.

        Parameters
        ----------
        shape : tuple of int
            (H, W) of the preview in pixels; the lattice, measured at (400, 400), is scaled to it.

        Raises
        ------
        ConfigError
            If a side of `shape` is not positive.
        """
        if min(shape) < 1:
            msg = f"camera shape: expected a positive height and width, got {shape}"
            raise ConfigError(msg)
        return _decam(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        # Built anew where it arrives, so that a Dask task does not carry the label image.
        return _decam, (self.shape,)

    def to_pixel(self, x_mm: npt.ArrayLike, y_mm: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Map focal-plane mm to (row, column) pixels; rows follow x_mm, columns run against y_mm."""
        rows = self._centre_px[0] + self._scale_px_mm[0] * np.asarray(x_mm, float)
        columns = self._centre_px[1] - self._scale_px_mm[1] * np.asarray(y_mm, float)
        return rows, columns

    def to_mm(self, row: npt.ArrayLike, column: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Map (row, column) pixels to focal-plane (x_mm, y_mm); the inverse of `to_pixel`."""
        x_mm = (np.asarray(row, float) - self._centre_px[0]) / self._scale_px_mm[0]
        y_mm = (self._centre_px[1] - np.asarray(column, float)) / self._scale_px_mm[1]
        return x_mm, y_mm

    def detpos(self, ccdnum: int) -> str:
        """
        Name of the position of a CCD.

        Raises
        ------
        ConfigError
            If the camera has no such CCD.
        """
        for ccd in self.ccds:
            if ccd.ccdnum == ccdnum:
                return ccd.detpos
        msg = f"ccdnum: {self.name} has no CCD {ccdnum}"
        raise ConfigError(msg)

    def areas(self) -> npt.NDArray[np.int64]:
        """Pixels of each CCD on the preview, indexed by ccdnum; entry 0 counts the gaps."""
        return self.count(np.ones(self.shape, bool))

    def count(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Pixels of an (H, W) bool mask on each CCD, indexed by ccdnum; entry 0 counts the gaps."""
        return np.bincount(self.labels[mask], minlength=self.ccds[-1].ccdnum + 1)

    def dead_ccdnums(self, expnum: int | None) -> frozenset[int]:
        """CCDs wholly dark in an exposure; an unknown expnum meets only the permanent ones."""
        return frozenset(area.ccdnum for area in self.dead if area.half is None and area.covers(expnum))

    def dark_pixels(self, expnum: int | None) -> npt.NDArray[np.bool_]:
        """(H, W) bool: pixels of dead CCDs and dead halves in an exposure."""
        dark = np.zeros(self.shape, bool)
        for area in self.dead:
            if area.covers(expnum):
                pixels = self.labels == area.ccdnum
                rows = np.flatnonzero(pixels.any(axis=1))
                middle = (rows[0] + rows[-1] + 1) // 2
                if area.half == "upper":
                    pixels[middle:] = False
                elif area.half == "lower":
                    pixels[:middle] = False
                dark |= pixels
        return dark


def _read_layout(name: str) -> dict[str, Any]:
    """Parse the data file of a camera."""
    return tomllib.loads(resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))


@cache
def _decam(shape: tuple[int, int]) -> Camera:
    """Build the camera once a shape; it is immutable."""
    layout = _read_layout("decam")
    preview = layout["preview"]
    zoom = np.asarray(shape, float) / preview["shape"]
    cell_px = np.asarray(preview["cell"]) * zoom
    ccds = tuple(sorted((Ccd(*row) for row in layout["ccds"]), key=lambda ccd: ccd.ccdnum))
    dead = tuple(DeadArea(**area) for area in layout["dead"])
    labels = np.zeros(shape, np.uint8)
    camera = Camera(
        name=layout["name"],
        shape=shape,
        ccds=ccds,
        dead=dead,
        labels=labels,
        _centre_px=np.asarray(preview["centre"]) * zoom,
        _scale_px_mm=cell_px / layout["ccd"]["pitch_mm"],
    )
    half_height, half_width = cell_px / 2 - np.asarray(preview["inset"]) * zoom
    for ccd in ccds:
        row, column = (float(c) for c in camera.to_pixel(ccd.x_mm, ccd.y_mm))
        labels[_covered(row, half_height, shape[0]), _covered(column, half_width, shape[1])] = ccd.ccdnum
    labels.setflags(write=False)
    return camera


def _covered(centre: float, half: float, size: int) -> slice:
    """Pixels whose centres lie within `half` of `centre`, cut to [0, size)."""
    first, last = np.ceil(np.array([centre - half, centre + half]) - 0.5).astype(int)
    return slice(max(int(first), 0), max(min(int(last), size), 0))
