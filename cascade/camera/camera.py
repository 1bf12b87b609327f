"""CCD layout of a camera, read from a data file, and its label image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from cascade.core.errors import ConfigError
from cascade.core.exposure import PREVIEW_SHAPE, UInt8Array
from cascade.core.records import Range, parse_toml, read_record

FloatArray = npt.NDArray[np.float64]

CAMERAS = ("decam", "lsstcam")
"""Cameras with a shipped layout."""

NOON_UTC_H = 12.0
"""When the date of a night changes unless the layout says otherwise: by day from 90 degrees west to 90 east."""

_MAX_LAYOUT_BYTES = 2**20

CcdNumber = Annotated[int, Range(1, 255)]  # labels are uint8
Size = Annotated[int, Range(1, 10**6)]
Length = Annotated[float, Range(1e-6, 1e6)]
Place = Annotated[float, Range(-1e6, 1e6)]


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
        Centre on the focal plane in mm, along FITS axis 1 and FITS axis 2 of its images.
    """

    ccdnum: int
    detpos: str
    x_mm: float
    y_mm: float


@dataclass(frozen=True, slots=True)
class DeadArea:
    """
    A CCD, or one half of it as seen in the preview, that was dark from `first_expnum` to `last_expnum`, inclusive.

    None: from the first, or to the last exposure of the camera.
    """

    ccdnum: int
    half: Literal["upper", "lower"] | None = None
    first_expnum: int | None = None
    last_expnum: int | None = None

    def covers(self, expnum: int | None) -> bool:
        """Whether the area was dark in exposure `expnum`; for an unknown expnum, whether it has never come back."""
        if expnum is None:
            return self.last_expnum is None
        return (self.first_expnum or 0) <= expnum <= (expnum if self.last_expnum is None else self.last_expnum)


@dataclass(frozen=True, eq=False)
class Camera:
    """
    The CCDs of a camera on an (H, W) preview grid.

    Positions in pixels are continuous (row, column) from the outer corner of pixel (0, 0): pixel i covers [i, i + 1).

    Attributes
    ----------
    name
        Name of the camera, e.g. ``"decam"``, or the layout file it was read from.
    instrument
        Value of ``INSTRUME`` in FITS headers.
    shape
        (H, W) of the preview.
    ccds
        All CCDs, by increasing ccdnum.
    dead
        Known dark areas.
    labels
        (H, W) uint8: the ccdnum whose light-sensitive area contains the centre of the pixel, 0 in gaps.
    ccd_shape
        (rows, columns) of a whole CCD in pixels: FITS axes 2 and 1.
    pixel_mm
        Side of a CCD pixel in mm.
    night_rollover_utc_h
        When the date of a night changes at the observatory, hours UTC in [0, 24); see `night_of`.
    """

    name: str
    instrument: str
    shape: tuple[int, int]
    ccds: tuple[Ccd, ...]
    dead: tuple[DeadArea, ...]
    labels: UInt8Array
    ccd_shape: tuple[int, int]
    pixel_mm: float
    night_rollover_utc_h: float
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
        return cls.load("decam", shape)

    @classmethod
    def load(cls, name: str, shape: tuple[int, int] = PREVIEW_SHAPE) -> Camera:
        """
        Build a camera from its layout file.

        Parameters
        ----------
        name : str
            One of `CAMERAS`, or the path of a ``.toml`` file like ``cascade/camera/decam.toml``.
        shape : tuple of int
            (H, W) of the preview in pixels.

        Raises
        ------
        ConfigError
            If a side of `shape` is not positive, or there is no such camera or layout.
        """
        if min(shape) < 1:
            msg = f"camera shape: expected a positive height and width, got {shape}"
            raise ConfigError(msg)
        return _build(name if name in CAMERAS else str(Path(name).absolute()), shape)

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilt on arrival, so that Dask tasks do not transfer the label image.
        return _build, (self.name, self.shape)

    def to_pixel(self, x_mm: npt.ArrayLike, y_mm: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Map focal-plane mm to (row, column) pixels; rows increase with x_mm, columns decrease with y_mm."""
        rows = self._centre_px[0] + self._scale_px_mm[0] * np.asarray(x_mm, float)
        columns = self._centre_px[1] - self._scale_px_mm[1] * np.asarray(y_mm, float)
        return rows, columns

    def to_mm(self, row: npt.ArrayLike, column: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Map (row, column) pixels to focal-plane (x_mm, y_mm); the inverse of `to_pixel`."""
        x_mm = (np.asarray(row, float) - self._centre_px[0]) / self._scale_px_mm[0]
        y_mm = (self._centre_px[1] - np.asarray(column, float)) / self._scale_px_mm[1]
        return x_mm, y_mm

    def ccd_pixel_to_preview(self, ccd: Ccd, y: npt.ArrayLike, x: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """
        Map positions on a CCD to the preview.

        Parameters
        ----------
        ccd : Ccd
        y, x : array-like
            Pixels along FITS axis 2 and 1 of the whole CCD, continuous, from the outer corner of its first pixel.

        Returns
        -------
        tuple of ndarray
            (row, column): x increases downwards, y to the left, so that DECam's previews have north up and east left.
        """
        height, width = self.ccd_shape
        x_mm = ccd.x_mm + (np.asarray(x, float) - width / 2) * self.pixel_mm
        y_mm = ccd.y_mm + (np.asarray(y, float) - height / 2) * self.pixel_mm
        return self.to_pixel(x_mm, y_mm)

    def preview_to_ccd_pixel(
        self, ccd: Ccd, row: npt.ArrayLike, column: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Map (row, column) on the preview to (y, x) on a CCD, even outside it: inverse of `ccd_pixel_to_preview`."""
        x_mm, y_mm = self.to_mm(row, column)
        height, width = self.ccd_shape
        return (y_mm - ccd.y_mm) / self.pixel_mm + height / 2, (x_mm - ccd.x_mm) / self.pixel_mm + width / 2

    def ccd(self, ccdnum: int) -> Ccd:
        """
        Look up a CCD.

        Raises
        ------
        ConfigError
            If the camera has no such CCD.
        """
        for ccd in self.ccds:
            if ccd.ccdnum == ccdnum:
                return ccd
        msg = f"ccdnum: {self.name} has no CCD {ccdnum}"
        raise ConfigError(msg)

    def detpos(self, ccdnum: int) -> str:
        """Name of the position of a CCD; ConfigError if the camera has no such CCD."""
        return self.ccd(ccdnum).detpos

    def areas(self) -> npt.NDArray[np.int64]:
        """Pixels of each CCD on the preview, indexed by ccdnum; entry 0 counts the gaps."""
        return self.count(np.ones(self.shape, bool))

    def count(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Pixels of an (H, W) bool mask on each CCD, indexed by ccdnum; entry 0 counts the gaps."""
        return np.bincount(self.labels[mask], minlength=self.ccds[-1].ccdnum + 1)

    def dead_ccdnums(self, expnum: int | None) -> frozenset[int]:
        """CCDs entirely dark in an exposure; for an unknown expnum, those that never came back."""
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


@dataclass(frozen=True, slots=True)
class _Preview:
    """The table ``[preview]``: where CCDs lie on the preview; lengths and places in pixels, (row, column)."""

    shape: tuple[Size, Size]
    centre: tuple[Place, Place]
    cell: tuple[Length, Length]
    inset: tuple[Place, Place]


@dataclass(frozen=True, slots=True)
class _CcdSize:
    """The table ``[ccd]``: the pitch along FITS axis 1 and 2, the pixels of a CCD along FITS axis 2 and 1."""

    pitch_mm: tuple[Length, Length]
    shape: tuple[Size, Size]
    pixel_mm: Length


@dataclass(frozen=True, slots=True)
class _Observatory:
    """The table ``[observatory]``: when the date of a night changes, hours UTC."""

    night_rollover_utc_h: Annotated[float, Range(0, 24, open_high=True)] = NOON_UTC_H


@dataclass(frozen=True, slots=True)
class _Layout:
    """A layout file; `ccds` holds ccdnum, detpos, x_mm and y_mm; `name` is for people."""

    instrument: str
    ccds: tuple[tuple[CcdNumber, str, Place, Place], ...]
    preview: _Preview
    ccd: _CcdSize
    observatory: _Observatory = _Observatory()
    dead: tuple[DeadArea, ...] = ()
    name: str = ""


def _read_layout(name: str) -> _Layout:
    """Read a shipped layout, or a file of the user's."""
    data = _layout_bytes(name)
    return read_record(_Layout, parse_toml(data, where=name, error=ConfigError), where=name, error=ConfigError)


def _layout_bytes(name: str) -> bytes:
    """A layout file as it stands."""
    if name in CAMERAS:
        return resources.files(__package__).joinpath(f"{name}.toml").read_bytes()
    path = Path(name)
    if path.suffix != ".toml" or not path.is_file():
        msg = f"camera {path.name!r}: expected one of {', '.join(CAMERAS)}, or a layout file ending in .toml"
        raise ConfigError(msg)
    if path.stat().st_size > _MAX_LAYOUT_BYTES:
        msg = f"{path}: expected a layout of at most {_MAX_LAYOUT_BYTES} bytes, got {path.stat().st_size}"
        raise ConfigError(msg)
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot read the layout of a camera: {error.strerror}"
        raise ConfigError(msg) from error


@cache
def _build(name: str, shape: tuple[int, int]) -> Camera:
    """Build a camera once a shape; it is immutable."""
    layout = _read_layout(name)
    preview = layout.preview
    zoom = np.asarray(shape, float) / preview.shape
    cell_px = np.asarray(preview.cell) * zoom
    ccds = tuple(sorted((Ccd(*row) for row in layout.ccds), key=lambda ccd: ccd.ccdnum))
    numbers = [ccd.ccdnum for ccd in ccds]
    if not ccds or len(set(numbers)) < len(ccds):
        msg = f"{name}: key ccds: expected CCDs numbered once each, got {numbers}"
        raise ConfigError(msg)
    labels = np.zeros(shape, np.uint8)
    camera = Camera(
        name=name,
        instrument=layout.instrument,
        shape=shape,
        ccds=ccds,
        dead=layout.dead,
        labels=labels,
        ccd_shape=layout.ccd.shape,
        pixel_mm=layout.ccd.pixel_mm,
        night_rollover_utc_h=layout.observatory.night_rollover_utc_h,
        _centre_px=np.asarray(preview.centre) * zoom,
        _scale_px_mm=cell_px / layout.ccd.pitch_mm,
    )
    half_height, half_width = cell_px / 2 - np.asarray(preview.inset) * zoom
    for ccd in ccds:
        row, column = (float(c) for c in camera.to_pixel(ccd.x_mm, ccd.y_mm))
        labels[_covered(row, half_height, shape[0]), _covered(column, half_width, shape[1])] = ccd.ccdnum
    labels.setflags(write=False)
    return camera


def _covered(centre: float, half: float, size: int) -> slice:
    """Pixels whose centres lie within `half` of `centre`, cut to [0, size)."""
    first, last = np.clip(np.ceil(np.array([centre - half, centre + half]) - 0.5), 0, size).astype(int)
    return slice(int(first), int(last))
